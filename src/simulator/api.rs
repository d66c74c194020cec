//! Mimecast's API: leads a request to what serves it, after it was let in.

use hyper::Method;

use super::articles::refuse;
use super::call::{Call, TOKEN_PATH};
use super::fault::Action;
use super::reply::Reply;
use super::shelf::Kept;
use super::token::media_type;
use super::world::{State, World};
use super::{auth, batch_files, envelope, feed, siem_files, stream, token};
use crate::mimecast::log_types::{LOG_TYPES, LogType};

/// What a server of a log needs to know of who asks.
pub(super) struct Asked<'a> {
    pub(super) world: &'a World,
    pub(super) call: &'a Call,
    pub(super) account: &'a str,
    pub(super) log: &'static LogType,
    /// The fault being played, for those that change what is listed.
    pub(super) fault: Option<&'a Action>,
}

pub(super) fn serve(
    world: &World,
    call: &Call,
    account: Option<&str>,
    fault: Option<&Action>,
) -> Reply {
    let mut state = world.state();
    if call.path == TOKEN_PATH {
        let name = account.unwrap_or_default();
        return metered(world, &mut state, call, name, |state| {
            token::serve(world, state, call, account)
        });
    }
    let path = call.path.strip_suffix('/').unwrap_or(&call.path);
    let named = |log: &&LogType| log.path == path || log.stream == Some(path);
    // Feeds have one path; which it is, the request says.
    let is_asked = |log: &&LogType| named(log) && feed::names(call, log);
    let Some(log) = LOG_TYPES.iter().find(is_asked) else {
        state.violation(call, "no such path, or no such feed");
        return refuse(call, 404, "");
    };
    let method = match Kept::of(log) {
        Kept::Batches => Method::GET,
        Kept::Chain | Kept::Span | Kept::Queue | Kept::Feed => Method::POST,
    };
    if call.method != method || path != call.path {
        state.violation(call, "the wrong method, or a slash at the end");
        return Reply::empty(405).with("allow", method);
    }
    let (account, api) = match auth::admit(world, &mut state, call, account) {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    if !log.apis.contains(&api) {
        state.violation(call, "this version of the API does not offer the path");
        return refuse(call, 404, "");
    }
    let asked = Asked {
        world,
        call,
        account: &account,
        log,
        fault,
    };
    metered(world, &mut state, call, &account, |state| {
        asked.answer(state)
    })
}

/// Serves a request that its quota allows, and tells how much is left.
fn metered(
    world: &World,
    state: &mut State,
    call: &Call,
    account: &str,
    serve: impl FnOnce(&mut State) -> Reply,
) -> Reply {
    let rows = &world.options.rate_limits;
    let Some(quota) = state.windows.count(rows, account, &call.path, world.now()) else {
        return serve(state);
    };
    quota.tell(if quota.exceeded {
        refuse(call, 429, "")
    } else {
        serve(state)
    })
}

impl Asked<'_> {
    fn answer(&self, state: &mut State) -> Reply {
        if let Err(wrong) = self.check_headers() {
            state.violation(self.call, wrong);
            return refuse(self.call, 400, "");
        }
        let answered = match Kept::of(self.log) {
            Kept::Chain => siem_files::serve(self, state),
            Kept::Batches if self.log.stream == Some(&*self.call.path) => {
                stream::serve(self, state)
            }
            Kept::Batches => batch_files::serve(self, state),
            Kept::Span | Kept::Queue => envelope::serve(self, state),
            Kept::Feed => feed::serve(self, state),
        };
        answered.unwrap_or_else(|refused| {
            if let Some(violation) = refused.violation {
                state.violation(self.call, &violation);
            }
            refused.reply
        })
    }

    fn check_headers(&self) -> Result<(), &'static str> {
        let call = self.call;
        let json = "application/json";
        if call.method == Method::POST && call.header("content-type").map(media_type) != Some(json)
        {
            return Err("the content type is not application/json");
        }
        let accepts = |kind: &str| [json, "application/*", "*/*"].contains(&media_type(kind));
        match call.header("accept") {
            Some(accept) if !accept.split(',').any(accepts) => {
                Err("Accept leaves out application/json")
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A request that is refused for what it asks.
pub(super) struct Refused {
    reply: Reply,
    /// What a right client would not have done.
    violation: Option<String>,
}

impl Refused {
    /// Refuses what a right client may send too.
    pub(super) const fn fair(reply: Reply) -> Self {
        Self {
            reply,
            violation: None,
        }
    }

    /// Refuses a value that a right client would not have sent.
    pub(super) fn value(call: &Call, field: &str, message: &str) -> Self {
        Self {
            reply: super::articles::invalid(call, field, message),
            violation: Some(format!("{field}: {message}")),
        }
    }

    /// Refuses a request that cannot be read.
    pub(super) fn unreadable(call: &Call, what: String) -> Self {
        Self {
            reply: refuse(call, 400, ""),
            violation: Some(what),
        }
    }

    /// Refuses with a reply of its own.
    pub(super) const fn with(reply: Reply, violation: String) -> Self {
        Self {
            reply,
            violation: Some(violation),
        }
    }
}
