//! etcd as the registry of a cluster, through its JSON gateway: the only place that knows how etcd is spoken to.
//!
//! Several servers stand in for one another: one is used until it fails, then the next. A call that only reads, or that does no harm when it is
//! done twice, is taken from server to server within its time; a transaction is taken on only if it is certain that nothing was done,
//! because its second try would meet its own first. Nothing else is tried again: when to ask again is for those who ask.

mod config;
mod wire;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout as within;

pub use config::{EtcdConfig, timeout};

use self::wire::{Answer, No};
use super::registry::{
    Change, Compare, Entry, LeaseId, Listing, Registry, RegistryError, Revision,
};
use crate::health::failure::printable;
use crate::health::lookup;
use crate::http::{HttpError, Purpose, client_as, read_capped, transport_failure};
use crate::secret::{Secret, SecretError};

/// 8 MiB: twice what the gateway takes from its own server.
const MAX_ANSWER: usize = 8 << 20;

/// A cluster of etcd.
#[derive(Debug)]
pub struct Etcd {
    client: reqwest::Client,
    endpoints: Vec<String>,
    /// The one that is used.
    current: AtomicUsize,
    /// The number of the cluster that answered first; 0 before.
    cluster: AtomicU64,
    login: Option<Login>,
    /// How long a call may take.
    timeout: Duration,
}

#[derive(Debug)]
struct Login {
    username: String,
    password: Secret,
    /// What the password was last exchanged for. Held while it is exchanged, so that many calls exchange it once.
    token: Mutex<Option<Secret>>,
}

/// Why etcd cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// A secret cannot be read.
    #[error("cannot read {0} of [cluster]: {1}")]
    Secret(&'static str, #[source] SecretError),
    /// The certificates cannot be used.
    #[error("cannot reach etcd as [cluster] says: {0}")]
    Http(#[from] HttpError),
}

/// What one server of etcd says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its version, such as `3.5.17`.
    pub version: String,
    /// The number of the cluster that it belongs to.
    pub cluster: u64,
    /// Whether it leads the others.
    pub leads: bool,
    /// Whether it knows a leader; without one there is no majority, as far as it sees.
    pub has_leader: bool,
    /// Bytes of its database, which `--quota-backend-bytes` bounds.
    pub db_bytes: u64,
    /// What it complains of, such as a full database.
    pub complaints: Vec<String>,
}

/// Whether a call does harm when it is done twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    Harmless,
    Harmful,
}

/// What is asked of a server.
struct Ask {
    path: &'static str,
    body: Vec<u8>,
    twice: Twice,
}

/// Why one server was no help.
struct Failed {
    error: RegistryError,
    so: So,
}

/// What follows of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum So {
    /// Nothing was done, and another server may do it.
    Next,
    /// It may have been done, or be done yet; another server may do it, if twice does no harm.
    Unknown,
    /// Nothing was done, and may be with another token.
    Token,
    /// That is what the call comes to.
    Final,
}

impl Etcd {
    /// Makes etcd ready to be asked: reads the secrets. Sends nothing. `timeout` is for a call, over all servers.
    ///
    /// # Errors
    /// See [`EtcdError`]; the configuration, or what it names, is to be corrected.
    pub fn new(config: &EtcdConfig, timeout: Duration) -> Result<Self, EtcdError> {
        let read = |what| move |e| EtcdError::Secret(what, e);
        let key = config.client_key.as_ref().map(|source| source.read());
        let key = key.transpose().map_err(read("client_key"))?;
        let identity = config.client_cert.as_deref().zip(key.as_ref());
        let login = match &config.login {
            Some((username, password)) => Some(Login {
                username: username.clone(),
                password: password.read().map_err(read("password"))?,
                token: Mutex::default(),
            }),
            None => None,
        };
        Ok(Self {
            client: client_as(&config.connection(), Purpose::Api, identity)?,
            endpoints: config.endpoints.clone(),
            current: AtomicUsize::new(0),
            cluster: AtomicU64::new(0),
            login,
            timeout,
        })
    }

    /// Its servers, in the order of the configuration.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The server that is used.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        let current = self.current.load(Ordering::Relaxed);
        self.endpoints.get(current).map_or("", String::as_str)
    }

    /// Asks each server how it is, all at once; the answers in the order of [`Etcd::endpoints`].
    pub async fn members(&self) -> Vec<Result<Member, RegistryError>> {
        let asked = self.endpoints.iter().map(async |endpoint| {
            let ask = Ask {
                path: wire::STATUS,
                body: b"{}".to_vec(),
                twice: Twice::Harmless,
            };
            let asked = self.ask(endpoint, &ask, None).await;
            let status: wire::Status = asked.map_err(|failed| failed.error)?;
            Ok(Member {
                leads: status.is_leader(),
                cluster: status.header().cluster_id.0,
                has_leader: status.leader.0 != 0,
                db_bytes: status.db_size.0,
                version: printable(&status.version, 32),
                complaints: status.errors.iter().map(|e| printable(e, 200)).collect(),
            })
        });
        futures_util::future::join_all(asked).await
    }

    /// Whether keys below `prefix` may be read and written, found out without writing one.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn try_rights(&self, prefix: &str) -> Result<(), RegistryError> {
        let key = format!("{prefix}rights");
        // Both cannot hold, and etcd looks at the rights for all of it first.
        let never = [
            Compare::Absent(key.clone()),
            Compare::Created(key.clone(), Revision(1)),
        ];
        let put = Change::Put {
            key: key.clone(),
            value: Vec::new(),
            lease: None,
        };
        self.txn(&never, &[put]).await?;
        self.range(&key).await.map(drop)
    }

    /// Asks within the time of a call, from the server that is used onwards.
    async fn call<A: Answer>(
        &self,
        path: &'static str,
        body: Value,
        twice: Twice,
    ) -> Result<A, RegistryError> {
        let body = body.to_string().into_bytes();
        let ask = Ask { path, body, twice };
        match within(self.timeout, self.ask_with_token(&ask)).await {
            Ok(asked) => asked.map_err(|failed| failed.error),
            Err(_) => Err(self.too_late(self.endpoint(), path, self.timeout)),
        }
    }

    /// Asks with the token there is, and with another one if that has lost its worth.
    async fn ask_with_token<A: Answer>(&self, ask: &Ask) -> Result<A, Failed> {
        let Some(login) = &self.login else {
            return self.ask_each(ask, None).await;
        };
        let token = self.token(login, None).await?;
        match self.ask_each(ask, Some(&token)).await {
            Err(Failed { so: So::Token, .. }) => {
                let token = self.token(login, Some(&token)).await?;
                self.ask_each(ask, Some(&token)).await
            }
            asked => asked,
        }
    }

    /// A token that is not `refused`.
    async fn token(&self, login: &Login, refused: Option<&Secret>) -> Result<Secret, Failed> {
        let mut kept = login.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Some(*token) != refused) {
            return Ok(token.clone());
        }
        *kept = None;
        let ask = Ask {
            path: wire::AUTHENTICATE,
            body: wire::authenticate(&login.username, login.password.expose()),
            twice: Twice::Harmless,
        };
        let answer: wire::Authenticated = self.ask_each(&ask, None).await?;
        let token = Secret::new(answer.token);
        *kept = Some(token.clone());
        Ok(token)
    }

    /// Asks one server after the other.
    async fn ask_each<A: Answer>(&self, ask: &Ask, token: Option<&Secret>) -> Result<A, Failed> {
        let mut last = None;
        for _ in 0..self.endpoints.len() {
            let current = self.current.load(Ordering::Relaxed);
            let endpoint = self.endpoints.get(current).map_or("", String::as_str);
            let failed = match self.ask(endpoint, ask, token).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if matches!(failed.so, So::Next | So::Unknown) {
                self.give_way(current, &failed.error);
            }
            let may_go_on = match failed.so {
                So::Next => true,
                So::Unknown => ask.twice == Twice::Harmless,
                So::Token | So::Final => false,
            };
            if !may_go_on {
                return Err(failed);
            }
            last = Some(failed);
        }
        Err(last.unwrap_or_else(|| Failed {
            error: RegistryError::Unavailable("no endpoint is configured".to_owned()),
            so: So::Final,
        }))
    }

    /// Asks one server once.
    async fn ask<A: Answer>(
        &self,
        endpoint: &str,
        ask: &Ask,
        token: Option<&Secret>,
    ) -> Result<A, Failed> {
        let Ask { path, body, .. } = ask;
        let place = format!("POST {endpoint}{path}");
        // Two servers that do not answer leave no majority, so a third need not be waited for.
        let patience = self.timeout / if self.endpoints.len() > 1 { 2 } else { 1 };
        let request = self
            .client
            .post(format!("{endpoint}{path}"))
            .timeout(patience)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body.clone());
        let request = match token.map(|token| HeaderValue::from_str(token.expose())) {
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            Some(Err(_)) => {
                let text = format!("{place}: its token has characters that no header can hold");
                return Err(RegistryError::Unreadable(text).so(So::Final));
            }
            None => request,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => {
                return Err(self.too_late(endpoint, path, patience).so(So::Unknown));
            }
            Err(error) => {
                let failure = transport_failure(&error, &place);
                let text = format!("{failure}. {}", lookup(&failure).advice);
                let so = if error.is_connect() {
                    So::Next
                } else {
                    So::Unknown
                };
                return Err(RegistryError::Unavailable(text).so(so));
            }
        };
        let status = response.status().as_u16();
        let body = read_capped(response, MAX_ANSWER, &place).await;
        let body = body.map_err(|e| RegistryError::Unavailable(e.to_string()).so(So::Unknown))?;
        if status != 200 {
            return Err(refusal(&place, wire::no(status, &body)));
        }
        let error = match serde_json::from_slice::<A>(&body) {
            Ok(answer) => return self.of_one_cluster(&place, answer),
            Err(error) => error,
        };
        let no = wire::no(status, &body);
        if matches!(no, No::Unreadable(_)) {
            let shown = printable(&String::from_utf8_lossy(&body), 200);
            let text = format!("{place}: {error} in {shown}");
            return Err(RegistryError::Unreadable(text).so(So::Final));
        }
        Err(refusal(&place, no))
    }

    /// The answer, unless another cluster gives it than the first one: two registries would hand out everything twice.
    fn of_one_cluster<A: Answer>(&self, place: &str, answer: A) -> Result<A, Failed> {
        let found = answer.header().cluster_id.0;
        let order = Ordering::Relaxed;
        match self.cluster.compare_exchange(0, found, order, order) {
            Err(first) if first != found => {
                let text = format!(
                    "{place} belongs to cluster {found:x}, and the server that answered first to {first:x}: all endpoints must be of one \
                     cluster; after etcd was restored from a backup, restart the collectors"
                );
                Err(RegistryError::Refused(text).so(So::Final))
            }
            Ok(_) | Err(_) => Ok(answer),
        }
    }

    /// The server has failed: the next is used, unless another call has seen to that.
    fn give_way(&self, current: usize, error: &RegistryError) {
        let next = (current + 1) % self.endpoints.len().max(1);
        let order = Ordering::Relaxed;
        let changed = self.current.compare_exchange(current, next, order, order);
        if changed.is_ok() && next != current {
            tracing::debug!(to = self.endpoint(), %error, "the next server of etcd is used");
        }
    }

    fn too_late(&self, endpoint: &str, path: &str, after: Duration) -> RegistryError {
        let after = after.as_millis();
        RegistryError::Unavailable(format!("no answer of POST {endpoint}{path} in {after} ms"))
    }
}

impl RegistryError {
    fn so(self, so: So) -> Failed {
        Failed { error: self, so }
    }
}

fn refusal(place: &str, no: No) -> Failed {
    let at = |text: String| format!("{place}: {text}");
    match no {
        No::NotHere(text) => RegistryError::Unavailable(at(text)).so(So::Next),
        No::Unknown(text) => RegistryError::Unavailable(at(text)).so(So::Unknown),
        No::Token(text) => RegistryError::Refused(at(text)).so(So::Token),
        No::Lease(text) => RegistryError::LeaseOver(at(text)).so(So::Final),
        No::Refused(text) => RegistryError::Refused(at(text)).so(So::Final),
        No::Unreadable(text) => RegistryError::Unreadable(at(text)).so(So::Final),
    }
}

impl Registry for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, RegistryError> {
        let asked = self.call(wire::RANGE, wire::get(key), Twice::Harmless);
        let answer: wire::Ranged = asked.await?;
        Ok(answer.entries()?.pop())
    }

    async fn range(&self, prefix: &str) -> Result<Listing, RegistryError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut revision = None;
        loop {
            let last = entries.last().map(|entry| entry.key.as_str());
            let asked = self.call(
                wire::RANGE,
                wire::page(prefix, last.zip(revision)),
                Twice::Harmless,
            );
            let answer: wire::Ranged = asked.await?;
            let now = Revision(answer.header().revision.0);
            // The pages after the first are as of the first.
            let revision = *revision.get_or_insert(now);
            let more = answer.more;
            let found = answer.entries()?;
            let is_last = !more || found.is_empty();
            entries.extend(found);
            if is_last {
                return Ok(Listing { revision, entries });
            }
        }
    }

    async fn txn(
        &self,
        when: &[Compare],
        then: &[Change],
    ) -> Result<Option<Revision>, RegistryError> {
        let asked = self.call(wire::TXN, wire::txn(when, then), Twice::Harmful);
        let answer: wire::Done = asked.await?;
        Ok(answer
            .succeeded
            .then(|| Revision(answer.header().revision.0)))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        let asked = self.call(wire::GRANT, wire::grant(ttl.as_secs()), Twice::Harmless);
        let answer: wire::Granted = asked.await?;
        Ok(LeaseId(answer.id.0))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, RegistryError> {
        let asked = self.call(wire::KEEP_ALIVE, wire::lease(lease), Twice::Harmless);
        let answer: wire::KeptAlive = asked.await?;
        Ok(answer.is_there())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        let asked = self.call(wire::REVOKE, wire::lease(lease), Twice::Harmless);
        match asked.await {
            Ok(wire::Revoked { .. }) | Err(RegistryError::LeaseOver(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
