//! What the tests of this module share: a sink in memory, jobs, a gate that is open, a server of scripted answers.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::auth::Credential;
use super::client::{Client, Http, Limits};
use super::{FetchError, Gate, Job, log_types};
use crate::clock::Clock;
use crate::health::Failure;
use crate::http::Connection;
use crate::model::{
    Counted, Cursor, Event, EventId, Form, IntegrationId, Sink, SinkError, StreamId, Timestamp,
};
use crate::secret::Secret;

/// 2026-01-06T09:08:07Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_690_487_000);

#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) kind: String,
    pub(crate) form: Form,
    pub(crate) body: String,
    pub(crate) time: Timestamp,
    pub(crate) id: EventId,
}

/// A sink that remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) pushed: Vec<Pushed>,
    pub(crate) quarantined: Vec<String>,
    /// Their records.
    pub(crate) aside: Vec<String>,
    /// Files that were kept with the last of these.
    pub(crate) kept: Vec<Vec<u8>>,
    pub(crate) memo: Option<Vec<u8>>,
    /// Each commit: its cursor and how many events it covers.
    pub(crate) commits: Vec<(String, usize)>,
    uncommitted: u64,
    /// How often each was counted.
    pub(crate) counted: std::collections::HashMap<Counted, u64>,
    /// What each listing said that there is to fetch.
    pub(crate) listed: Vec<u64>,
}

impl Sink for Memory {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        self.uncommitted += event.body.len() as u64;
        self.pushed.push(Pushed {
            kind: kind.to_owned(),
            form,
            body: event.body.to_owned(),
            time: event.time,
            id: event.id,
        });
        Ok(())
    }

    fn quarantine(&mut self, kind: &str, record: &[u8], reason: &str) -> Result<(), SinkError> {
        self.aside
            .push(String::from_utf8_lossy(record).into_owned());
        self.quarantined.push(format!("{kind}: {reason}"));
        Ok(())
    }

    fn keep(&mut self, file: &mut dyn Read) -> Result<(), SinkError> {
        let mut kept = Vec::new();
        file.read_to_end(&mut kept).unwrap();
        self.kept.push(kept);
        Ok(())
    }

    fn count(&mut self, what: Counted) {
        *self.counted.entry(what).or_default() += 1;
    }

    fn listed(&mut self, files: u64) {
        self.listed.push(files);
    }

    fn uncommitted(&self) -> u64 {
        self.uncommitted
    }

    fn memo(&self) -> Option<Vec<u8>> {
        self.memo.clone()
    }

    fn commit_with(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError> {
        self.uncommitted = 0;
        self.commits
            .push((next.as_str().to_owned(), self.pushed.len()));
        self.memo = memo.map(<[u8]>::to_vec).or(self.memo.take());
        Ok(())
    }
}

/// A sink that others may look at while and after it is used.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<Memory>>);

impl Shared {
    pub(crate) fn bodies(&self) -> Vec<String> {
        let memory = self.0.lock().unwrap();
        memory
            .pushed
            .iter()
            .map(|event| event.body.clone())
            .collect()
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        let memory = self.0.lock().unwrap();
        let (text, _) = memory.commits.last()?;
        Some(Cursor::new(text.clone()).unwrap())
    }
}

impl Sink for Shared {
    fn push(&mut self, kind: &str, form: Form, event: Event<'_>) -> Result<(), SinkError> {
        self.0.lock().unwrap().push(kind, form, event)
    }

    fn quarantine(&mut self, kind: &str, record: &[u8], reason: &str) -> Result<(), SinkError> {
        self.0.lock().unwrap().quarantine(kind, record, reason)
    }

    fn keep(&mut self, file: &mut dyn Read) -> Result<(), SinkError> {
        self.0.lock().unwrap().keep(file)
    }

    fn count(&mut self, what: Counted) {
        self.0.lock().unwrap().count(what);
    }

    fn listed(&mut self, files: u64) {
        self.0.lock().unwrap().listed(files);
    }

    fn uncommitted(&self) -> u64 {
        self.0.lock().unwrap().uncommitted()
    }

    fn memo(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().memo()
    }

    fn commit_with(&mut self, next: &Cursor, memo: Option<&[u8]>) -> Result<(), SinkError> {
        self.0.lock().unwrap().commit_with(next, memo)
    }
}

pub(crate) fn job(log: &str, event_type: &str) -> Job {
    let log = log_types::find(log).unwrap();
    Job {
        stream: StreamId::new(&IntegrationId::new("acme").unwrap(), log.name, event_type),
        log: log.into(),
        cursor: None,
        start: NOW - Duration::from_secs(3 * 86_400),
        until: None,
        polled: NOW,
        slice: Duration::from_secs(86_400),
    }
}

/// Lets everything pass and writes down what failed.
#[derive(Clone, Default)]
pub(crate) struct Open(pub(crate) Arc<Mutex<Vec<String>>>);

impl Gate for Open {
    type Permit = ();

    async fn pass(&self) -> Result<(), FetchError> {
        Ok(())
    }

    fn failed(&self, failure: &Failure) {
        self.0.lock().unwrap().push(failure.key());
    }
}

/// A server on loopback that answers each request, one a connection, by a function of its text.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (base, seen) = (url.clone(), Arc::clone(&requests));
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !complete(&request) {
                    if socket.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                let request = String::from_utf8(request).unwrap();
                let bytes = answer(&base, &request);
                seen.lock().unwrap().push(request);
                // A client that has hung up is its own affair.
                drop(socket.write_all(&bytes).await);
            }
        });
        Self {
            url,
            requests,
            _task: task,
        }
    }

    /// The first lines of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let first = |request: &String| request.lines().next().unwrap_or_default().to_owned();
        requests.iter().map(first).collect()
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

/// An answer of HTTP that ends its connection.
pub(crate) fn http(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nDate: Tue, 06 Jan 2026 09:08:07 GMT\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn v1() -> Credential {
    let secret = |text: &str| Secret::new(text.to_owned());
    let key = secret("U2VjcmV0S2V5");
    Credential::v1(
        "app-id".to_owned(),
        secret("app-key"),
        secret("access-key"),
        &key,
    )
    .unwrap()
}

pub(crate) fn v2() -> Credential {
    Credential::v2("id".to_owned(), Secret::new("client-secret".to_owned())).unwrap()
}

pub(crate) fn client(url: &str, credential: Credential) -> Client {
    let http = Http::new(&Connection::default()).unwrap();
    let limits = Limits::new(std::env::temp_dir());
    Client::new(url, credential, http, Clock::manual(NOW), limits)
}
