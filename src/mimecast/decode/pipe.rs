//! A body that is still arriving, as a reader for a blocking thread.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// Pieces that wait between network and decoder; a piece is what one read of the socket gave.
const PIECES: usize = 16;

/// A new pipe.
pub(in crate::mimecast) fn pipe() -> (Feed, Pipe) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let pipe = Pipe {
        receiver,
        piece: Bytes::new(),
        state: State::Open,
    };
    (Feed(sender), pipe)
}

/// The end that is filled.
pub(in crate::mimecast) struct Feed(mpsc::Sender<Piece>);

enum Piece {
    Bytes(Bytes),
    /// The body was read whole: a feed that is merely dropped says nothing of the kind.
    End,
}

impl Feed {
    /// Waits for a place and puts a piece in; false if nobody reads any more.
    pub(in crate::mimecast) async fn push(&self, bytes: Bytes) -> bool {
        self.0.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Says that the body is complete.
    pub(in crate::mimecast) async fn end(self) {
        // A reader that is gone does not mind.
        drop(self.0.send(Piece::End).await);
    }
}

/// The end that is read, on a blocking thread only.
pub(in crate::mimecast) struct Pipe {
    receiver: mpsc::Receiver<Piece>,
    piece: Bytes,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Ended,
}

impl Read for Pipe {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.state == State::Open {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = bytes,
                Some(Piece::End) => self.state = State::Ended,
                None => return Err(io::Error::other("the download broke off")),
            }
        }
        let len = self.piece.as_ref().read(to)?;
        self.piece.advance(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_arrives_whole_or_as_an_error() {
        for whole in [true, false] {
            let (feed, mut pipe) = pipe();
            let reader = tokio::task::spawn_blocking(move || {
                let mut body = String::new();
                pipe.read_to_string(&mut body).map(|_| body)
            });
            for n in 0..40 {
                assert!(feed.push(Bytes::from(format!("{n},"))).await);
            }
            if whole {
                feed.end().await;
            } else {
                drop(feed);
            }
            let body = reader.await.unwrap();
            assert_eq!(body.is_ok(), whole);
            assert!(body.is_ok_and(|b| b.ends_with("38,39,")) == whole);
        }
    }

    #[tokio::test]
    async fn a_feed_notices_that_its_reader_is_gone() {
        let (feed, pipe) = pipe();
        drop(pipe);
        assert!(!feed.push(Bytes::from_static(b"x")).await);
    }
}
