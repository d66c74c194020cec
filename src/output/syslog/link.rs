//! A connection to a receiver.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{sleep, timeout};

use super::connect::{failure, failure_of};
use super::frame::Frames;
use super::queue::Ends;
use super::unconfirmed::Number;
use crate::health::Failure;

/// Until a receiver takes a piece of [`PIECE`] bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const PIECE: usize = 64 << 10;

/// So many datagrams go out at once, then none for [`REST`]: a burst would only overflow the receiver's socket.
const BURST: usize = 16;
const REST: Duration = Duration::from_millis(10);

/// A stream of bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The half of a stream that is written to.
pub(super) type Writer = WriteHalf<Box<dyn Stream>>;
/// The half of a stream that is read.
pub(super) type Reader = ReadHalf<Box<dyn Stream>>;

/// What carries messages to a receiver.
pub(super) enum Wire {
    Stream(Writer),
    /// A stream to a Unix socket, whose messages are not framed yet.
    Lines(Writer),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// A connection to write to, and whom it leads to.
pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) server: String,
    /// Of a TCP connection.
    pub(super) ends: Option<Ends>,
    /// 0 until it is put into use.
    pub(super) number: Number,
}

/// The other half of a stream, which only tells of its end.
pub(super) struct Watch {
    stream: Reader,
    pub(super) server: String,
    pub(super) ends: Option<Ends>,
    pub(super) number: Number,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What became of frames that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of them were written to a stream.
    Written,
    /// All of them went out as datagrams.
    Gone,
    /// The datagrams before this one did; this one is too large for the network.
    TooLarge(usize),
}

impl Link {
    /// Sends all frames.
    pub(super) async fn send(&mut self, frames: &Frames) -> Result<Sent, Failure> {
        let server = &self.server;
        match &mut self.wire {
            Wire::Stream(stream) => write(stream, &frames.bytes, server).await?,
            Wire::Lines(stream) => {
                let mut lines = Vec::with_capacity(frames.bytes.len() + frames.ends.len());
                for message in messages(frames) {
                    lines.extend_from_slice(message);
                    lines.extend_from_slice(frames.separator);
                }
                write(stream, &lines, server).await?;
            }
            Wire::Udp(socket) => {
                for (i, message) in messages(frames).enumerate() {
                    if i % BURST == BURST - 1 {
                        sleep(REST).await;
                    }
                    let sent = socket.send(message).await;
                    if is_too_large(&sent) {
                        return Ok(Sent::TooLarge(i));
                    }
                    sent.map_err(|e| failure_of(&e, server))?;
                }
                // What an earlier datagram met on its way shows here.
                if let Some(error) = socket.take_error().map_err(|e| failure_of(&e, server))? {
                    return Err(failure_of(&error, server));
                }
                return Ok(Sent::Gone);
            }
            Wire::Unix(socket) => {
                for (i, message) in messages(frames).enumerate() {
                    let sent = timeout(WRITE_TIMEOUT, socket.send(message)).await;
                    let sent = sent.map_err(|_| stalled(server))?;
                    if is_too_large(&sent) {
                        return Ok(Sent::TooLarge(i));
                    }
                    sent.map_err(|e| failure_of(&e, server))?;
                }
                return Ok(Sent::Gone);
            }
        }
        Ok(Sent::Written)
    }
}

impl Watch {
    pub(super) fn new(link: &Link, stream: Reader) -> Self {
        Self {
            stream,
            server: link.server.clone(),
            ends: link.ends,
            number: link.number,
        }
    }

    /// Waits for the end of the connection. Dropping it misses nothing.
    pub(super) async fn closed(&mut self) -> Failure {
        // A receiver says nothing; what one says all the same is not for us.
        let mut heard = [0; 1024];
        loop {
            match self.stream.read(&mut heard).await {
                Ok(0) => {
                    return failure("reset", &self.server, "the receiver closed the connection");
                }
                Ok(_) => {}
                Err(error) => return failure_of(&error, &self.server),
            }
        }
    }
}

fn messages(frames: &Frames) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    frames.ends.iter().map(move |end| {
        let message = frames.bytes.get(start..*end).unwrap_or_default();
        start = *end;
        message
    })
}

/// Whether a datagram is larger than the network takes.
fn is_too_large(sent: &io::Result<usize>) -> bool {
    /// EMSGSIZE on Linux.
    const TOO_LARGE: i32 = 90;
    sent.as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(TOO_LARGE))
}

async fn write(stream: &mut Writer, bytes: &[u8], server: &str) -> Result<(), Failure> {
    for piece in bytes.chunks(PIECE) {
        let written = timeout(WRITE_TIMEOUT, stream.write_all(piece)).await;
        written
            .map_err(|_| stalled(server))?
            .map_err(|e| failure_of(&e, server))?;
    }
    let flushed = timeout(WRITE_TIMEOUT, stream.flush()).await;
    flushed
        .map_err(|_| stalled(server))?
        .map_err(|e| failure_of(&e, server))
}

pub(super) fn stalled(server: &str) -> Failure {
    failure("stalled", server, "the receiver has taken nothing for 30 s")
}
