//! The log of requests, by which tests judge what a client did.

use std::time::Duration;

use super::call::{AuthKind, Call, Service};
use crate::model::Timestamp;

/// A request as it was seen.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it came, by the simulator's wall clock.
    pub at: Timestamp,
    /// When it came, in real time since the start.
    pub since_start: Duration,
    /// Which listener took it.
    pub service: Service,
    /// Whose credential it showed, right or wrong; for downloads, whose file it asked for.
    pub account: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The parameters of its query, signatures and all.
    pub query: Vec<(String, String)>,
    /// The token of the list or page that it goes on from; for downloads, the file's key.
    pub cursor: Option<String>,
    /// What it showed to be let in.
    pub auth: AuthKind,
    /// What it was answered; `None` while it is not, and if it never was.
    pub status: Option<u16>,
    /// The fault that was played.
    pub fault: Option<&'static str>,
}

impl Request {
    pub(super) fn new(call: &Call, at: Timestamp, since_start: Duration) -> Self {
        Self {
            at,
            since_start,
            service: call.service,
            account: None,
            method: call.method.to_string(),
            path: call.path.clone(),
            query: call.query.clone().unwrap_or_default(),
            cursor: cursor(call),
            auth: call.authorization().0,
            status: None,
            fault: None,
        }
    }

    /// A parameter of its query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        super::call::pair(&self.query, name)
    }
}

fn cursor(call: &Call) -> Option<String> {
    if call.service == Service::Objects {
        return Some(call.path.clone());
    }
    if let Some(token) = call.parameter("nextPage") {
        return Some(token.to_owned());
    }
    if call.service == Service::Hec {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&call.body).ok()?;
    ["/data/0/token", "/meta/pagination/pageToken"]
        .iter()
        .find_map(|place| Some(body.pointer(place)?.as_str()?.to_owned()))
}
