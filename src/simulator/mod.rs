//! A Mimecast of our own on loopback, and a Splunk event collector: for the demo, for tests and for benches.
//!
//! ```text
//!  API 1.0 and 2.0 ──┐ /oauth/token, /siem/…, /api/…   strict: signatures, dates, quotas, values
//!  object store ─────┼─► call ─► script of faults ─► answer ─► transport, whole or broken
//!  event collector ──┘                 every request is logged, every event counted
//! ```
//!
//! It refuses what the vendor would refuse, and notes what a right client would not have sent as a violation. It knows
//! the names in the table of log types and shares no other code with what it checks: signing, paging and files are
//! written twice on purpose. It holds all it published in memory, and binds to 127.0.0.1 only.

mod answer;
mod api;
mod articles;
mod auth;
mod batch_files;
mod call;
mod envelope;
mod fault;
mod feed;
mod handle;
mod hec;
mod hec_ack;
mod http;
mod limits;
mod objects;
mod options;
mod records;
mod reply;
mod seen;
mod shelf;
mod siem_files;
mod stream;
mod token;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use answer::{After, Answer};
pub use articles::{ARTICLES, Article};
pub use call::{AuthKind, Service};
pub use fault::{Action, Fault, FaultId, Target};
pub use handle::Handle;
pub use hec::{Hec, HecEvent};
pub use hec_ack::{Confirms, HecAcks};
pub use options::{Account, IdleToken, Keep, Key, LockOut, Options, Ports, RateLimit};
pub use records::Dirt;
#[cfg(test)]
pub(crate) use records::samples;
pub use seen::Request;
pub use shelf::{Form, Publication, PublishError};

use world::World;

/// A running simulator. It ends when it is dropped, or gently by [`Simulator::stop`].
pub struct Simulator {
    world: Arc<World>,
    api: SocketAddr,
    objects: SocketAddr,
    hec: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Simulator {
    /// Binds its three ports and serves them.
    ///
    /// # Errors
    /// A port that cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let ports = options.ports;
        let (api_listener, api) = bind(ports.api).await?;
        let (objects_listener, objects) = bind(ports.objects).await?;
        let (hec_listener, hec) = bind(ports.hec).await?;
        let world = Arc::new(World::new(options, format!("http://{objects}")));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (listener, service) in [
            (api_listener, Service::Api),
            (objects_listener, Service::Objects),
            (hec_listener, Service::Hec),
        ] {
            tasks.spawn(http::serve(listener, service, world.clone(), stop.clone()));
        }
        Ok(Self {
            world,
            api,
            objects,
            hec,
            stop,
            tasks,
        })
    }

    /// The base URL of both versions of the API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The base URL of the object store.
    #[must_use]
    pub fn object_store_url(&self) -> String {
        format!("http://{}", self.objects)
    }

    /// The base URL of the event collector.
    #[must_use]
    pub fn hec_url(&self) -> String {
        format!("http://{}", self.hec)
    }

    /// What to publish, script and ask with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.world.clone())
    }

    /// Closes the listeners and all connections. What was seen stays with the handles.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn bind(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
