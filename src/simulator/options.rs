//! How a simulator is set up; the default is a working one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::hec_ack::HecAcks;
use crate::clock::Clock;
use crate::mimecast::log_types::Api;

/// What a simulator serves, and how strictly.
pub struct Options {
    /// Life spans, lock-outs and rate windows follow [`Clock::now`], so a scaled clock shortens them;
    /// `Date`, signatures and records follow [`Clock::wall`].
    pub clock: Clock,
    /// Equal seeds and equal calls give equal records.
    pub seed: u64,
    /// Who may ask.
    pub accounts: Vec<Account>,
    /// Where it listens.
    pub ports: Ports,
    /// How far the simulator's wall clock is ahead of the machine's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// How far a signature's date may be off. The vendor's width is not published; 15 minutes are assumed.
    pub skew_tolerance: Duration,
    /// How long a bearer token lives; the vendor's live 1799 s.
    pub token_lifetime: Duration,
    /// How long a link to a file can be used.
    pub link_lifetime: Duration,
    /// Quotas: the first row that fits a request counts it. Empty for none.
    pub rate_limits: Vec<RateLimit>,
    /// When wrong credentials lock an account; `None` for never.
    pub lock_out: Option<LockOut>,
    /// Records in a file, unless a publication says otherwise.
    pub records_per_file: usize,
    /// Files in a page of links or in a zip, at most.
    pub files_per_page: usize,
    /// Whether API 1.0 repeats the token when it has nothing more; the vendor does either.
    pub idle_token: IdleToken,
    /// The token that the event collector takes.
    pub hec_token: String,
    /// The indexes that the event collector's token may write to; empty for any.
    pub hec_indexes: Vec<String>,
    /// Uncompressed bytes that the event collector takes in one request.
    pub hec_max_body: usize,
    /// What is kept of received events.
    pub hec_keeps: Keep,
    /// Indexer acknowledgement; `None` for a token without it.
    pub hec_acks: Option<HecAcks>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            seed: 1,
            accounts: vec![Account::v1("one"), Account::v2("two")],
            ports: Ports::default(),
            clock_ahead_ms: 0,
            skew_tolerance: Duration::from_secs(900),
            token_lifetime: Duration::from_secs(1799),
            link_lifetime: Duration::from_secs(3600),
            rate_limits: Vec::new(),
            lock_out: None,
            records_per_file: 100,
            files_per_page: 100,
            idle_token: IdleToken::Omitted,
            hec_token: "00000000-1111-4222-8333-444444444444".to_owned(),
            hec_indexes: Vec::new(),
            hec_max_body: 10 << 20,
            hec_keeps: Keep::Events,
            hec_acks: None,
        }
    }
}

/// Ports on 127.0.0.1; 0 for any that is free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Mimecast's API, both versions.
    pub api: u16,
    /// The object store.
    pub objects: u16,
    /// The event collector.
    pub hec: u16,
}

/// Whether the answer "nothing more" of API 1.0 carries `mc-siem-token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleToken {
    /// No header.
    Omitted,
    /// The header repeats the token that was sent.
    Repeated,
}

/// What the event collector keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every event.
    Events,
    /// How often each id came: for long runs.
    Counts,
}

/// A quota in fixed windows, counted per account and path.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// The path it is for; `None` for the path of every log, but not for tokens.
    pub path: Option<String>,
    /// Calls in a window.
    pub calls: u32,
    /// Its length, from the first call.
    pub window: Duration,
}

/// A lock-out in earnest.
#[derive(Clone, Copy, Debug)]
pub struct LockOut {
    /// Wrong credentials in a row that lock the account.
    pub after: u32,
    /// How long it stays locked; the vendor's take about 30 minutes.
    pub lasts: Duration,
}

/// Someone who may ask.
#[derive(Clone)]
pub struct Account {
    /// The name by which tests speak of it.
    pub name: String,
    /// What it asks with.
    pub key: Key,
}

/// A credential. It has no `Debug`, for it is all secrets.
#[derive(Clone)]
pub enum Key {
    /// API 1.0.
    V1 {
        /// Sent as `x-mc-app-id`.
        application_id: String,
        /// Part of what is signed.
        application_key: String,
        /// Sent in `Authorization`.
        access_key: String,
        /// Base64 of the key of the signature.
        secret_key: String,
    },
    /// API 2.0.
    V2 {
        /// Names the application.
        client_id: String,
        /// Its secret.
        client_secret: String,
    },
}

impl Account {
    /// An account of API 1.0 with credentials made from its name.
    #[must_use]
    pub fn v1(name: &str) -> Self {
        let secret: Vec<u8> = Sha1::digest(name.as_bytes()).to_vec();
        Self {
            name: name.to_owned(),
            key: Key::V1 {
                application_id: format!("application-id-of-{name}"),
                application_key: format!("application-key-of-{name}"),
                access_key: format!("access-key-of-{name}"),
                secret_key: STANDARD.encode(secret),
            },
        }
    }

    /// An account of API 2.0 with credentials made from its name.
    #[must_use]
    pub fn v2(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: Key::V2 {
                client_id: format!("client-id-of-{name}"),
                client_secret: format!("client-secret-of-{name}"),
            },
        }
    }

    /// The version of the API that it may use.
    #[must_use]
    pub const fn api(&self) -> Api {
        match self.key {
            Key::V1 { .. } => Api::V1,
            Key::V2 { .. } => Api::V2,
        }
    }
}
