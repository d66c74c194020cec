//! The network between a collector and a server of etcd, which can be cut and joined again.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A way to a server. While it is cut, nothing is refused and nothing arrives, as behind a firewall that drops packets; what was on its way
/// arrives when it is joined again.
pub(super) struct Link {
    address: SocketAddr,
    whole: watch::Sender<bool>,
    _carrying: JoinSet<()>,
}

impl Link {
    /// A way to the server at `url`.
    pub(super) async fn to(url: &str) -> Self {
        let server = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (whole, seen) = watch::channel(true);
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                connections.spawn(join(near, server.clone(), seen.clone()));
            }
        });
        Self {
            address,
            whole,
            _carrying: carrying,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(super) fn join(&self) {
        self.whole.send_replace(true);
    }
}

async fn join(near: TcpStream, server: String, mut whole: watch::Receiver<bool>) {
    if whole.wait_for(|whole| *whole).await.is_err() {
        return;
    }
    // A server that is not there: the connection ends at once, as if it had been refused.
    let Ok(far) = TcpStream::connect(server).await else {
        return;
    };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(
        carry(near_in, far_out, whole.clone()),
        carry(far_in, near_out, whole)
    );
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut bytes = Vec::with_capacity(16 << 10);
    loop {
        bytes.clear();
        // An end is on its way like any byte; a reset counts as one.
        let read = from.read_buf(&mut bytes).await.unwrap_or(0);
        if whole.wait_for(|whole| *whole).await.is_err()
            || read == 0
            || to.write_all(&bytes).await.is_err()
        {
            return;
        }
    }
}
