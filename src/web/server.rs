//! The listener and its connections, with bounds on what they cost.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::prepare::{Manner, Prepared, WebError};
use super::{Reporter, events};

/// Connections at a time; more wait in the socket's queue. A browser takes up to six.
const CONNECTIONS: usize = 64;
/// Of a request's line and headers together: many times what a browser sends.
const HEADERS: usize = 16 << 10;
/// For a TLS handshake, and for a request's headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is closed after that time, so that a reader that does not read gives its place back; browsers connect again.
const LIFETIME: Duration = Duration::from_mins(10);
/// Before the next try when the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A running endpoint; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// As the configuration has it; the port may be 0.
    wanted: SocketAddr,
    manner: watch::Sender<Arc<Manner>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    /// Listens and serves.
    ///
    /// # Errors
    /// The address is taken, or not of this machine.
    pub fn start(prepared: &Prepared, reporter: impl Reporter) -> Result<Self, WebError> {
        let failed = |source| WebError::Listen {
            address: prepared.address,
            source,
        };
        let listener = TcpListener::from_std(prepared.listen()?).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let scheme = if prepared.manner.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(
            url = format!("{scheme}://{address}/"),
            "the status page is served"
        );
        let manner = watch::Sender::new(Arc::clone(&prepared.manner));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, manner.subscribe(), reporter, stop.clone()));
        Ok(Self {
            wanted: prepared.address,
            manner,
            stop,
            tasks,
        })
    }

    /// Whether it can take up `prepared` without another listener.
    #[must_use]
    pub fn serves(&self, prepared: &Prepared) -> bool {
        self.wanted == prepared.address
    }

    /// Takes up other secrets and certificates; connections that are open go on with the former.
    pub fn change(&self, prepared: &Prepared) {
        self.manner.send_replace(Arc::clone(&prepared.manner));
    }

    /// Waits for its end, which only a panic brings before [`Server::stop`].
    pub async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => pass_on(ended),
            None => std::future::pending().await,
        }
    }

    /// Closes the listener and all connections.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            pass_on(ended);
        }
    }
}

/// A panic of a connection is one of the process, as everywhere.
fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn accept<R: Reporter>(
    listener: TcpListener,
    manner: watch::Receiver<Arc<Manner>>,
    reporter: R,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let viewers = Arc::new(Semaphore::new(events::VIEWERS));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => pass_on(ended),
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((client, _)) => {
                    let manner = Arc::clone(&manner.borrow());
                    let serving = serve(client, manner, reporter.clone(), Arc::clone(&viewers));
                    connections.spawn(async move {
                        // What is open then is cut off.
                        timeout(LIFETIME, serving).await.ok();
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the status page");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve<R: Reporter>(
    client: TcpStream,
    manner: Arc<Manner>,
    reporter: R,
    viewers: Arc<Semaphore>,
) {
    let served = match &manner.tls {
        None => converse(client, &manner, &reporter, &viewers).await,
        Some(tls) => {
            let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(client);
            match timeout(PATIENCE, handshake).await {
                Ok(Ok(client)) => converse(client, &manner, &reporter, &viewers).await,
                Ok(Err(error)) => Err(error.into()),
                Err(late) => Err(io::Error::from(late).into()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the status page broke");
    }
}

async fn converse<R: Reporter>(
    client: impl AsyncRead + AsyncWrite + Unpin,
    manner: &Manner,
    reporter: &R,
    viewers: &Arc<Semaphore>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let exchange = service_fn(|request| async {
        Ok::<_, Infallible>(answer(request, &manner.guard, reporter, viewers).await)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(client), exchange)
        .await?;
    Ok(())
}
