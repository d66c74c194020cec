//! The client against servers that say what they are told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::secret::SecretSource;

/// Long enough for a busy machine to answer on loopback.
const LONG: Duration = Duration::from_secs(30);

/// What a server does with a request.
enum Act {
    Say(u16, String),
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and says nothing.
    Hang,
}

/// A request: path, token, body.
type Seen = (String, Option<String>, Value);

/// A server that does what it is told, in turn.
struct Server {
    url: String,
    acts: Arc<StdMutex<VecDeque<Act>>>,
    seen: Arc<StdMutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let acts = Arc::new(StdMutex::new(acts.into_iter().collect()));
        let seen = Arc::default();
        let mut serving = JoinSet::new();
        let (told, noted) = (Arc::clone(&acts), Arc::clone(&seen));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&told), Arc::clone(&noted)));
            }
        });
        Self {
            url,
            acts,
            seen,
            _serving: serving,
        }
    }

    fn paths(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(path, _, _)| path.clone()).collect()
    }

    fn tokens(&self) -> Vec<Option<String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, token, _)| token.clone()).collect()
    }

    /// Everything that it was told was asked for.
    fn is_done(&self) -> bool {
        self.acts.lock().unwrap().is_empty()
    }
}

async fn serve(
    mut socket: TcpStream,
    acts: Arc<StdMutex<VecDeque<Act>>>,
    seen: Arc<StdMutex<Vec<Seen>>>,
) {
    let mut bytes = Vec::new();
    while let Some(request) = request(&mut socket, &mut bytes).await {
        seen.lock().unwrap().push(request);
        let act = acts.lock().unwrap().pop_front();
        match act.expect("was asked for more than it was told") {
            Act::Say(status, said) => {
                let len = said.len();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {len}\r\n\r\n{said}");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            Act::Close => return,
            Act::Hang => std::future::pending().await,
        }
    }
}

async fn request(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_owned())
            };
            let len: usize = field("content-length").unwrap().parse().unwrap();
            let start = end + 4;
            if bytes.len() >= start + len {
                let body = serde_json::from_slice(&bytes[start..start + len]).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let token = field("authorization");
                bytes.drain(..start + len);
                return Some((path, token, body));
            }
        }
        if socket.read_buf(bytes).await.unwrap() == 0 {
            return None;
        }
    }
}

fn ok(body: Value) -> Act {
    Act::Say(200, body.to_string())
}

fn header() -> Value {
    json!({"cluster_id": "14841639068965178418", "member_id": "1", "revision": "5"})
}

fn done() -> Act {
    ok(json!({"header": header(), "succeeded": true}))
}

fn no_keys() -> Act {
    ok(json!({"header": header()}))
}

fn refuses(status: u16, code: u8, text: &str) -> Act {
    Act::Say(status, json!({"error": text, "code": code}).to_string())
}

fn config(servers: &[&str]) -> EtcdConfig {
    EtcdConfig {
        endpoints: servers.iter().map(|&url| url.to_owned()).collect(),
        login: None,
        client_cert: None,
        client_key: None,
        ca_file: None,
    }
}

fn etcd(servers: &[&Server], timeout: Duration) -> Etcd {
    let urls: Vec<_> = servers.iter().map(|server| server.url.as_str()).collect();
    Etcd::new(&config(&urls), timeout).unwrap()
}

fn put(key: &str) -> [Change; 1] {
    [Change::Put {
        key: key.to_owned(),
        value: b"v".to_vec(),
        lease: None,
    }]
}

/// The address of a server that is gone.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_server_that_is_gone_gives_way_to_the_next_which_goes_on_being_used() {
    let server = Server::start([done(), no_keys()]).await;
    let gone = nobody().await;
    let etcd = Etcd::new(&config(&[&gone, &server.url]), LONG).unwrap();
    assert_eq!(etcd.endpoint(), gone);
    // It never had the transaction, so that the next may be asked for it.
    assert_eq!(etcd.txn(&[], &put("a")).await, Ok(Some(Revision(5))));
    assert_eq!(etcd.endpoint(), server.url);
    assert_eq!(etcd.get("a").await, Ok(None));
    assert!(server.is_done());
}

#[tokio::test]
async fn a_transaction_that_may_have_been_done_is_not_offered_to_another_server() {
    for act in [
        Act::Close,
        refuses(503, 14, "etcdserver: request timed out"),
        refuses(500, 2, "whatever"),
    ] {
        let (first, second) = (Server::start([act]).await, Server::start([done()]).await);
        let etcd = etcd(&[&first, &second], LONG);
        let error = etcd.txn(&[], &put("a")).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains(&first.url), "{error}");
        assert!(second.paths().is_empty());
        // But the next call goes to the other.
        assert_eq!(etcd.txn(&[], &put("a")).await, Ok(Some(Revision(5))));
    }
}

#[tokio::test]
async fn what_does_no_harm_twice_goes_from_server_to_server_until_one_does_it() {
    let lost = [
        Act::Close,
        refuses(503, 14, "etcdserver: request timed out"),
        refuses(503, 14, "etcdserver: no leader"),
    ];
    for act in lost {
        let renewed = json!({"result": {"header": header(), "ID": "7", "TTL": "15"}});
        let (first, second) = (
            Server::start([act]).await,
            Server::start([ok(renewed)]).await,
        );
        let etcd = etcd(&[&first, &second], LONG);
        assert_eq!(etcd.keep_alive(LeaseId(7)).await, Ok(true));
        assert_eq!(first.paths(), [wire::KEEP_ALIVE]);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_and_a_call_ends_in_time() {
    let (first, second) = (
        Server::start([Act::Hang]).await,
        Server::start([no_keys()]).await,
    );
    let etcd_of = |servers: &[&Server]| etcd(servers, Duration::from_millis(600));
    assert_eq!(etcd_of(&[&first, &second]).get("a").await, Ok(None));
    // A second one without an answer would leave no majority: the third is not waited for.
    let hang = || Server::start([Act::Hang]);
    let (one, two, three) = (hang().await, hang().await, hang().await);
    let etcd = etcd_of(&[&one, &two, &three]);
    let error = etcd.get("a").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("no answer of POST http://127.0.0.1:"),
        "{error}"
    );
    assert!(three.paths().is_empty());
}

#[tokio::test]
async fn a_token_that_has_lost_its_worth_is_exchanged_once_for_all_who_have_it() {
    let granted = |token: &str| ok(json!({"header": header(), "token": token}));
    let server = Server::start([
        granted("one"),
        no_keys(),
        refuses(401, 16, "etcdserver: invalid auth token"),
        granted("two"),
        done(),
        // Rights that have changed, and then a password that has.
        refuses(400, 3, "etcdserver: revision of auth store is old"),
        refuses(
            400,
            3,
            "etcdserver: authentication failed, invalid user ID or password",
        ),
    ])
    .await;
    let config = EtcdConfig {
        login: Some((
            "collector".to_owned(),
            SecretSource::Literal(Secret::new("hunter2".to_owned())),
        )),
        ..config(&[&server.url])
    };
    let etcd = Etcd::new(&config, LONG).unwrap();
    assert_eq!(etcd.get("a").await, Ok(None));
    assert_eq!(etcd.txn(&[], &put("a")).await, Ok(Some(Revision(5))));
    let error = etcd.get("a").await.unwrap_err().to_string();
    assert!(error.contains("etcdctl user passwd"), "{error}");
    let shown = format!("{error} {etcd:?} {config:?}");
    for secret in ["hunter2", "two"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let token = |token: &str| Some(token.to_owned());
    let expected = [
        None,
        token("one"),
        token("one"),
        None,
        token("two"),
        token("two"),
        None,
    ];
    assert_eq!(server.tokens(), expected);
    let (_, _, login) = server.seen.lock().unwrap()[0].clone();
    assert_eq!(login, json!({"name": "collector", "password": "hunter2"}));
    assert!(server.is_done());
}

#[tokio::test]
async fn an_answer_of_another_cluster_is_refused() {
    let other = json!({"header": {"cluster_id": "17", "member_id": "1", "revision": "5"}});
    let first = Server::start([no_keys(), Act::Close]).await;
    let second = Server::start([ok(other)]).await;
    let etcd = etcd(&[&first, &second], LONG);
    assert_eq!(etcd.get("a").await, Ok(None));
    let error = etcd.get("a").await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("belongs to cluster 11, "),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_etcd_is_said_to_be_none() {
    let server = Server::start([
        Act::Say(200, "<html>welcome</html>".to_owned()),
        Act::Say(404, "Not Found".to_owned()),
        Act::Say(200, json!({"fine": true}).to_string()),
    ])
    .await;
    let etcd = etcd(&[&server], LONG);
    for words in ["<html>welcome", "--enable-grpc-gateway", "missing field"] {
        let error = etcd.get("a").await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreadable(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_long_listing_is_read_in_pages_as_of_one_moment() {
    let key = |name: &str| json!({"key": name, "create_revision": "2", "mod_revision": "2"});
    let server = Server::start([
        ok(json!({"header": header(), "kvs": [key("YQ=="), key("Yg==")], "more": true})),
        ok(json!({"header": {"cluster_id": "14841639068965178418", "revision": "9"}, "kvs": [key("Yw==")]})),
    ])
    .await;
    let listing = etcd(&[&server], LONG).range("").await.unwrap();
    assert_eq!(listing.revision, Revision(5));
    let keys: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
    let asked = server.seen.lock().unwrap()[1].2.clone();
    assert_eq!(
        (&asked["revision"], &asked["key"]),
        (&json!("5"), &json!("YgA="))
    );
}

#[tokio::test]
async fn a_lease_that_is_over_is_told_from_a_server_that_is_down() {
    let missing = || refuses(404, 5, "etcdserver: requested lease not found");
    let over = json!({"result": {"header": header(), "ID": "7"}});
    let server = Server::start([missing(), missing(), ok(over)]).await;
    let etcd = etcd(&[&server], LONG);
    let error = etcd.txn(&[], &put("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::LeaseOver(_)), "{error}");
    // What is over need not be ended.
    assert_eq!(etcd.revoke(LeaseId(7)).await, Ok(()));
    assert_eq!(etcd.keep_alive(LeaseId(7)).await, Ok(false));
}

#[tokio::test]
async fn each_member_is_asked_how_it_is() {
    let status = json!({
        "header": {"cluster_id": "17", "member_id": "3"}, "version": "3.5.17", "dbSize": "20480", "leader": "3",
        "errors": ["memberID:3 alarm:NOSPACE "],
    });
    let server = Server::start([ok(status)]).await;
    let gone = nobody().await;
    let etcd = Etcd::new(&config(&[&gone, &server.url]), LONG).unwrap();
    let members = etcd.members().await;
    let expected = Member {
        version: "3.5.17".to_owned(),
        cluster: 17,
        leads: true,
        has_leader: true,
        db_bytes: 20_480,
        complaints: vec!["memberID:3 alarm:NOSPACE ".to_owned()],
    };
    assert_eq!(members[1], Ok(expected));
    let error = members[0].as_ref().unwrap_err().to_string();
    assert!(error.contains(&gone), "{error}");
}
