//! What etcd's JSON gateway is sent and answers. Pure.
//!
//! The gateway writes what etcd's gRPC says as JSON by the rules of proto3: bytes are base64, 64-bit integers are texts, and what is zero or
//! empty is left out. The paths are those of etcd 3.4 and later.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::{Value, json};

use crate::cluster::registry::{Change, Compare, Entry, LeaseId, RegistryError, Revision};
use crate::health::failure::printable;

pub(super) const RANGE: &str = "/v3/kv/range";
pub(super) const TXN: &str = "/v3/kv/txn";
pub(super) const GRANT: &str = "/v3/lease/grant";
pub(super) const KEEP_ALIVE: &str = "/v3/lease/keepalive";
pub(super) const REVOKE: &str = "/v3/lease/revoke";
pub(super) const AUTHENTICATE: &str = "/v3/auth/authenticate";
pub(super) const STATUS: &str = "/v3/maintenance/status";

/// Keys of one answer, so that it stays far below the 4 MiB that the gateway takes from its own server.
const PAGE: usize = 500;

/// A 64-bit integer, which comes as a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Int64<T>(pub(super) T);

/// As some gateways write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Text(String),
    Number(T),
}

impl<'de, T: FromStr + Deserialize<'de>> Deserialize<'de> for Int64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text
                .parse()
                .map(Self)
                .map_err(|_| D::Error::custom(format!("{text:?} is not a 64-bit integer"))),
        }
    }
}

/// Bytes, which come as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Which cluster has answered, and how far it is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) cluster_id: Int64<u64>,
    pub(super) member_id: Int64<u64>,
    pub(super) revision: Int64<u64>,
}

/// What every answer has.
pub(super) trait Answer: DeserializeOwned {
    fn header(&self) -> Header;
}

macro_rules! answers {
    ($($type:ty),*) => {
        $(impl Answer for $type {
            fn header(&self) -> Header {
                self.header
            }
        })*
    };
}

answers!(Ranged, Done, Granted, Revoked, Authenticated, Status);

#[derive(Debug, Deserialize)]
pub(super) struct Ranged {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
    #[serde(default)]
    pub(super) more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct KeyValue {
    key: Base64,
    value: Base64,
    create_revision: Int64<u64>,
    mod_revision: Int64<u64>,
    lease: Int64<i64>,
}

impl Ranged {
    /// The keys with their values.
    ///
    /// # Errors
    /// A key that is no text, which nobody here has written.
    pub(super) fn entries(self) -> Result<Vec<Entry>, RegistryError> {
        let entry = |found: KeyValue| {
            let key = String::from_utf8(found.key.0).map_err(|e| {
                let key = String::from_utf8_lossy(e.as_bytes()).into_owned();
                let text =
                    format!("the key {key:?} is no text: somebody else writes below the prefix");
                RegistryError::Unreadable(text)
            })?;
            Ok(Entry {
                key,
                value: found.value.0,
                created: Revision(found.create_revision.0),
                modified: Revision(found.mod_revision.0),
                lease: (found.lease.0 != 0).then_some(LeaseId(found.lease.0)),
            })
        };
        self.kvs.into_iter().map(entry).collect()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Done {
    header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    header: Header,
    #[serde(rename = "ID")]
    pub(super) id: Int64<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Revoked {
    header: Header,
}

#[derive(Deserialize)]
pub(super) struct Authenticated {
    header: Header,
    pub(super) token: String,
}

/// A renewal is an answer of a stream, of which one is read.
#[derive(Debug, Deserialize)]
pub(super) struct KeptAlive {
    result: Renewed,
}

#[derive(Debug, Deserialize)]
struct Renewed {
    header: Header,
    #[serde(rename = "TTL", default)]
    ttl: Int64<i64>,
}

impl KeptAlive {
    /// Whether there was anything to renew.
    pub(super) const fn is_there(&self) -> bool {
        self.result.ttl.0 > 0
    }
}

impl Answer for KeptAlive {
    fn header(&self) -> Header {
        self.result.header
    }
}

/// What a server says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    header: Header,
    pub(super) version: String,
    #[serde(default)]
    pub(super) leader: Int64<u64>,
    #[serde(default, rename = "dbSize")]
    pub(super) db_size: Int64<u64>,
    #[serde(default)]
    pub(super) errors: Vec<String>,
}

impl Status {
    pub(super) const fn is_leader(&self) -> bool {
        self.leader.0 != 0 && self.leader.0 == self.header.member_id.0
    }
}

/// Asks for one key.
pub(super) fn get(key: &str) -> Value {
    json!({ "key": STANDARD.encode(key) })
}

/// Asks for a page of the keys that begin with `prefix`: those behind `after`, as they were at a revision.
pub(super) fn page(prefix: &str, after: Option<(&str, Revision)>) -> Value {
    let end = behind(prefix.as_bytes());
    let start = match after {
        Some((key, _)) => [key.as_bytes(), b"\0"].concat(),
        None if prefix.is_empty() => vec![0],
        None => prefix.as_bytes().to_vec(),
    };
    let revision = after.map_or(0, |(_, revision)| revision.0);
    json!({
        "key": STANDARD.encode(start),
        "range_end": STANDARD.encode(end),
        "limit": PAGE.to_string(),
        "revision": revision.to_string(),
    })
}

/// The first key behind all that begin with `prefix`; for the empty prefix what means "no end".
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    match end.last_mut() {
        // A text has no byte 0xff.
        Some(last) => *last = last.saturating_add(1),
        None => end.push(0),
    }
    end
}

/// Asks for a transaction.
pub(super) fn txn(when: &[Compare], then: &[Change]) -> Value {
    let compare = |target: &str, key: &str, field: &str, value: String| json!({ "result": "EQUAL", "target": target, "key": STANDARD.encode(key), field: value });
    let when = when.iter().map(|holds| match holds {
        Compare::Absent(key) => compare("CREATE", key, "create_revision", "0".to_owned()),
        Compare::Created(key, at) => compare("CREATE", key, "create_revision", at.to_string()),
        Compare::Modified(key, at) => compare("MOD", key, "mod_revision", at.to_string()),
        Compare::Value(key, value) => compare("VALUE", key, "value", STANDARD.encode(value)),
    });
    let then = then.iter().map(|change| match change {
        Change::Put { key, value, lease } => json!({ "request_put": {
            "key": STANDARD.encode(key),
            "value": STANDARD.encode(value),
            "lease": lease.map_or(0, |LeaseId(id)| id).to_string(),
        }}),
        Change::Delete(key) => {
            json!({ "request_delete_range": { "key": STANDARD.encode(key) } })
        }
    });
    json!({ "compare": when.collect::<Vec<_>>(), "success": then.collect::<Vec<_>>() })
}

/// Asks for a lease of so many seconds.
pub(super) fn grant(seconds: u64) -> Value {
    json!({ "TTL": seconds.to_string() })
}

/// Names a lease that is to be renewed or ended.
pub(super) fn lease(LeaseId(id): LeaseId) -> Value {
    json!({ "ID": id.to_string() })
}

/// Asks for a token: the only bytes that hold the password.
pub(super) fn authenticate(name: &str, password: &str) -> Vec<u8> {
    json!({ "name": name, "password": password })
        .to_string()
        .into_bytes()
}

/// An answer that says no.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    error: String,
    message: String,
    code: u8,
}

/// The same within a stream.
#[derive(Debug, Deserialize)]
struct ToldInStream {
    error: InStream,
}

#[derive(Debug, Deserialize)]
struct InStream {
    grpc_code: u8,
    message: String,
}

/// What a server's refusal means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum No {
    /// Nothing was done, and another server may do it.
    NotHere(String),
    /// It may have been done, or be done yet.
    Unknown(String),
    /// The token is not valid any more, or the rights have changed since it was made. Nothing was done.
    Token(String),
    /// The lease is not there. Nothing was done.
    Lease(String),
    /// Who asks, or what. Nothing was done.
    Refused(String),
    /// It is no answer of etcd.
    Unreadable(String),
}

/// Codes of gRPC.
mod code {
    pub(super) const INVALID_ARGUMENT: u8 = 3;
    pub(super) const NOT_FOUND: u8 = 5;
    pub(super) const PERMISSION_DENIED: u8 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(super) const FAILED_PRECONDITION: u8 = 9;
    pub(super) const UNIMPLEMENTED: u8 = 12;
    pub(super) const UNAVAILABLE: u8 = 14;
    pub(super) const UNAUTHENTICATED: u8 = 16;
}

/// What a server says before it has passed anything on. All other words that it is not available may come when the change is on its way,
/// so `request timed out` and `server stopped` say nothing about it.
const NOT_TAKEN: [&str; 4] = [
    "no leader",
    "not capable",
    "not supported for learner",
    "too many requests",
];

/// What a body says that came with a status other than 200, or whose beginning says `error`.
pub(super) fn no(status: u16, body: &[u8]) -> No {
    let told = serde_json::from_slice::<Told>(body).ok();
    let told = told.filter(|told| told.code != 0 && told.error.len() + told.message.len() > 0);
    let in_stream = || {
        let told = serde_json::from_slice::<ToldInStream>(body).ok()?;
        Some((told.error.grpc_code, told.error.message))
    };
    let told = told.map(|told| {
        let text = if told.message.is_empty() {
            told.error
        } else {
            told.message
        };
        (told.code, text)
    });
    let Some((code, text)) = told.or_else(in_stream) else {
        let shown = printable(String::from_utf8_lossy(body).trim_end(), 200);
        if status == 400 && shown.starts_with("CommonName of client") {
            return No::Refused(format!(
                "{shown}: give the collector a client certificate without a CommonName, as the gateway takes no user from it; \
                 the user is set by username and password"
            ));
        }
        return No::Unreadable(match status {
            404 => format!(
                "HTTP 404: {shown}: the endpoint must be an etcd of 3.4 or later whose gateway is on (--enable-grpc-gateway)"
            ),
            _ => format!("HTTP {status}: {shown}"),
        });
    };
    let text = printable(&text, 300);
    let says = |part: &str| text.contains(part);
    let with = |advice: &str| format!("{text}: {advice}");
    match code {
        code::UNAVAILABLE | code::RESOURCE_EXHAUSTED if NOT_TAKEN.iter().any(|told| says(told)) => {
            No::NotHere(text)
        }
        code::UNAUTHENTICATED => No::Token(text),
        code::INVALID_ARGUMENT if says("revision of auth store is old") => No::Token(text),
        code::INVALID_ARGUMENT if says("user name is empty") => No::Refused(with(
            "it wants a user: set username and password in [cluster]",
        )),
        code::INVALID_ARGUMENT if says("authentication failed") => No::Refused(with(
            "correct username or password in [cluster], or set it with: etcdctl user passwd NAME",
        )),
        code::FAILED_PRECONDITION if says("authentication is not enabled") => No::Refused(with(
            "turn it on with: etcdctl auth enable, or take username and password out of [cluster]",
        )),
        code::PERMISSION_DENIED => No::Refused(with(
            "the user's role must have the prefix: etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX",
        )),
        code::NOT_FOUND if says("lease not found") => No::Lease(text),
        code::RESOURCE_EXHAUSTED if says("space exceeded") => No::Refused(with(
            "compact and defragment it, then: etcdctl alarm disarm; and turn on --auto-compaction-retention",
        )),
        code::UNIMPLEMENTED => No::Unreadable(with("etcd must be 3.4 or later")),
        code::INVALID_ARGUMENT | code::NOT_FOUND | code::FAILED_PRECONDITION => No::Refused(text),
        _ => No::Unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_behind_the_last_one_and_ends_with_the_prefix() {
        let first = page("/mc/", None);
        assert_eq!(first["key"], STANDARD.encode("/mc/"));
        assert_eq!(first["range_end"], STANDARD.encode("/mc0"));
        assert_eq!(first["revision"], "0");
        let next = page("/mc/", Some(("/mc/é", Revision(7))));
        assert_eq!(next["key"], STANDARD.encode("/mc/é\0"));
        assert_eq!(next["range_end"], STANDARD.encode("/mc0"));
        assert_eq!(next["revision"], "7");
        let all = page("", None);
        assert_eq!(
            (&all["key"], &all["range_end"]),
            (&json!("AA=="), &json!("AA=="))
        );
    }

    #[test]
    fn a_transaction_is_written_as_the_gateway_reads_it() {
        let when = [
            Compare::Absent("a".to_owned()),
            Compare::Created("b".to_owned(), Revision(3)),
            Compare::Modified("c".to_owned(), Revision(u64::MAX)),
            Compare::Value("d".to_owned(), vec![0, 255]),
        ];
        let then = [
            Change::Put {
                key: "a".to_owned(),
                value: b"v".to_vec(),
                lease: Some(LeaseId(-5)),
            },
            Change::Delete("b".to_owned()),
        ];
        let expected = json!({
            "compare": [
                {"result": "EQUAL", "target": "CREATE", "key": "YQ==", "create_revision": "0"},
                {"result": "EQUAL", "target": "CREATE", "key": "Yg==", "create_revision": "3"},
                {"result": "EQUAL", "target": "MOD", "key": "Yw==", "mod_revision": "18446744073709551615"},
                {"result": "EQUAL", "target": "VALUE", "key": "ZA==", "value": "AP8="},
            ],
            "success": [
                {"request_put": {"key": "YQ==", "value": "dg==", "lease": "-5"}},
                {"request_delete_range": {"key": "Yg=="}},
            ],
        });
        assert_eq!(txn(&when, &then), expected);
    }

    #[test]
    fn keys_are_read_with_what_proto3_leaves_out() {
        let body = br#"{"header":{"cluster_id":"18446744073709551615","member_id":"3","revision":"9"},
            "kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"9","version":"4","value":"dg==","lease":"7"},
                   {"key":"Yg==","create_revision":3,"mod_revision":3,"version":1}],"more":true,"count":"8"}"#;
        let answer: Ranged = serde_json::from_slice(body).unwrap();
        assert_eq!(answer.header().cluster_id.0, u64::MAX);
        assert!(answer.more);
        let entry = |key: &str, value: &[u8], created, modified, lease| Entry {
            key: key.to_owned(),
            value: value.to_vec(),
            created: Revision(created),
            modified: Revision(modified),
            lease,
        };
        let expected = [
            entry("a", b"v", 2, 9, Some(LeaseId(7))),
            entry("b", b"", 3, 3, None),
        ];
        assert_eq!(answer.entries().unwrap(), expected);
        let alien = br#"{"header":{},"kvs":[{"key":"/w=="}]}"#;
        let answer: Ranged = serde_json::from_slice(alien).unwrap();
        let error = answer.entries().unwrap_err().to_string();
        assert!(error.contains("somebody else"), "{error}");
    }

    #[test]
    fn a_renewal_without_a_time_means_that_the_lease_is_over() {
        let over: KeptAlive = serde_json::from_str(r#"{"result":{"header":{},"ID":"5"}}"#).unwrap();
        assert!(!over.is_there());
        let there: KeptAlive =
            serde_json::from_str(r#"{"result":{"header":{},"ID":"5","TTL":"15"}}"#).unwrap();
        assert!(there.is_there());
    }

    #[test]
    fn every_refusal_says_whether_something_may_have_been_done() {
        let told = |code: u8, text: &str| {
            let body = json!({"error": text, "message": text, "code": code}).to_string();
            no(500, body.as_bytes())
        };
        let in_stream =
            br#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#;
        assert_eq!(
            no(200, in_stream),
            No::NotHere("etcdserver: no leader".to_owned())
        );
        // etcd 3.4 leaves `message` out in some builds.
        let older = br#"{"error":"etcdserver: requested lease not found","code":5}"#;
        assert!(matches!(no(404, older), No::Lease(_)));
        for (code, text, expected) in [
            (14, "etcdserver: no leader", "not here"),
            (14, "etcdserver: rpc not supported for learner", "not here"),
            (14, "etcdserver: server stopped", "unknown"),
            (14, "transport is closing", "unknown"),
            (8, "etcdserver: too many requests", "not here"),
            (14, "etcdserver: request timed out", "unknown"),
            (
                14,
                "etcdserver: request timed out, possibly due to previous leader failure",
                "unknown",
            ),
            (14, "etcdserver: leader changed", "unknown"),
            (4, "context deadline exceeded", "unknown"),
            (2, "whatever", "unknown"),
            (16, "etcdserver: invalid auth token", "token"),
            (3, "etcdserver: revision of auth store is old", "token"),
            (5, "etcdserver: requested lease not found", "lease"),
            (3, "etcdserver: user name is empty", "set username"),
            (
                3,
                "etcdserver: authentication failed, invalid user ID or password",
                "etcdctl user passwd",
            ),
            (
                9,
                "etcdserver: authentication is not enabled",
                "etcdctl auth enable",
            ),
            (
                7,
                "etcdserver: permission denied",
                "etcdctl role grant-permission",
            ),
            (
                8,
                "etcdserver: mvcc: database space exceeded",
                "etcdctl alarm disarm",
            ),
            (
                3,
                "etcdserver: duplicate key given in txn request",
                "duplicate key",
            ),
            (12, "unknown method", "3.4 or later"),
        ] {
            let (kind, shown) = match told(code, text) {
                No::NotHere(shown) => ("not here", shown),
                No::Unknown(shown) => ("unknown", shown),
                No::Token(shown) => ("token", shown),
                No::Lease(shown) => ("lease", shown),
                No::Refused(shown) | No::Unreadable(shown) => ("", shown),
            };
            let fits = if kind.is_empty() {
                shown.contains(expected)
            } else {
                kind == expected
            };
            assert!(
                fits && shown.contains(text),
                "{code} {text}: {kind} {shown}"
            );
        }
        for (status, body, words) in [
            (404, "Not Found\n", "--enable-grpc-gateway"),
            (302, "", "HTTP 302"),
            (
                502,
                "<html>\u{1b}[31mBad Gateway</html>",
                "HTTP 502: <html>\\u{1b}",
            ),
        ] {
            let No::Unreadable(shown) = no(status, body.as_bytes()) else {
                panic!("{status} was read");
            };
            assert!(shown.contains(words), "{shown}");
        }
    }
}
