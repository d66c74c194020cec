//! The transport: serves connections, logs each request, and plays the faults that break connections.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::call::{Call, Service, pairs};
use super::fault::Action;
use super::reply::{Reply, http_date};
use super::seen::Request;
use super::world::{State, World, moved};
use super::{api, auth, hec, objects};
use crate::mimecast::log_types::Api;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// 64 MiB: above what any honest client sends.
const MAX_BODY: usize = 64 << 20;

/// How long to wait when no connection can be taken, for lack of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves a listener until `stop`; then all its connections are closed.
pub(super) async fn serve(
    listener: TcpListener,
    service: Service,
    world: Arc<World>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, service, world.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, service: Service, world: Arc<World>) {
    let cut = Arc::new(AtomicBool::new(false));
    let wire = Wire {
        stream,
        cut: cut.clone(),
    };
    let exchange = service_fn(|request| {
        let exchange = exchange(world.clone(), service, request);
        let cut = &cut;
        async move {
            let answered = exchange.await;
            let breaks = match &answered {
                Ok((_, breaks)) => *breaks,
                Err(Lost) => true,
            };
            cut.store(breaks, Ordering::Relaxed);
            answered.map(|(response, _)| response)
        }
    });
    let served = http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(wire), exchange)
        .await;
    if let Err(error) = served {
        // The client went away, or a fault cut it off.
        tracing::debug!(?service, %error, "a connection to the simulator broke");
    }
}

/// No answer: the connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("a fault broke the connection")]
struct Lost;

/// Answers a request, and says whether the connection breaks before the answer's end.
async fn exchange(
    world: Arc<World>,
    service: Service,
    request: hyper::Request<Incoming>,
) -> Result<(hyper::Response<Body>, bool), Lost> {
    let clock = &world.options.clock;
    let (at, since_start) = (world.wall(), clock.monotonic());
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    let call = Call {
        service,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: body.map_err(|_| Lost)?.to_bytes(),
    };
    let mut seen = Request::new(&call, at, since_start);
    let (number, account, fault) = {
        let mut state = world.state();
        let account = auth::claimed(&state, &call);
        let fault = state.script.play(&call, account.as_deref());
        seen.account.clone_from(&account);
        seen.fault = fault.as_ref().map(Action::name);
        state.requests.push(seen);
        (state.requests.len(), account, fault)
    };
    world.happened.send_modify(|count| *count += 1);

    match &fault {
        Some(Action::Reset) => return Err(Lost),
        Some(Action::Stall(None)) => std::future::pending().await,
        Some(Action::Stall(Some(wait))) => tokio::time::sleep(*wait).await,
        Some(_) | None => {}
    }
    let reply = answer(&world, &call, account.as_deref(), fault.as_ref());
    let reply = name(reply, &call, number);
    if let Some(seen) = entry(&mut world.state(), number) {
        seen.status = Some(reply.status);
    }
    world.happened.send_modify(|count| *count += 1);
    respond(&world, reply, fault.as_ref())
}

fn entry(state: &mut State, number: usize) -> Option<&mut Request> {
    state.requests.get_mut(number.checked_sub(1)?)
}

fn answer(world: &World, call: &Call, account: Option<&str>, fault: Option<&Action>) -> Reply {
    let scripted = match fault {
        Some(Action::Answer(answer)) => Some(answer),
        Some(_) | None => None,
    };
    match (call.service, scripted) {
        (Service::Hec, scripted) => hec::serve(world, call, scripted),
        (Service::Api | Service::Objects, Some(answer)) => answer.to(call, world.wall()),
        (Service::Api, None) => api::serve(world, call, account, fault),
        (Service::Objects, None) => objects::serve(world, call, account),
    }
}

/// Adds the id by which support finds a request: the client's own in API 1.0, a new one in 2.0.
fn name(reply: Reply, call: &Call, number: usize) -> Reply {
    match (call.service, call.api(), call.header("x-mc-req-id")) {
        (Service::Api, Api::V1, Some(id)) => reply.with("x-mc-req-id", id),
        (Service::Api, Api::V2, _) => reply.with(
            "x-request-id",
            format!("5b0c0000-0000-4000-8000-{number:012x}"),
        ),
        (Service::Api, Api::V1, None) | (Service::Objects | Service::Hec, _, _) => reply,
    }
}

/// Turns a reply into a response, broken as the fault wants it.
fn respond(
    world: &World,
    reply: Reply,
    fault: Option<&Action>,
) -> Result<(hyper::Response<Body>, bool), Lost> {
    let mut bytes = reply.body;
    let mut wall = world.wall();
    let mut length = None;
    let mut breaks = false;
    let whole = |bytes: Bytes| Full::new(bytes).map_err(never).boxed_unsync();
    let body = match fault {
        Some(Action::LoseReply) => return Err(Lost),
        Some(Action::ResetMidBody { after }) => {
            breaks = true;
            length = Some(bytes.len());
            broken(bytes, *after)
        }
        Some(Action::Slow {
            bytes: piece,
            pause,
        }) => {
            length = Some(bytes.len());
            paced(bytes, *piece, *pause)
        }
        Some(Action::Truncate) => {
            bytes.truncate(bytes.len() / 2);
            whole(bytes)
        }
        Some(Action::WrongDate { ahead_ms }) => {
            wall = moved(wall, *ahead_ms);
            whole(bytes)
        }
        Some(_) | None => whole(bytes),
    };
    let mut response = hyper::Response::builder()
        .status(reply.status)
        .header("date", http_date(wall));
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    if let Some(length) = length {
        response = response.header("content-length", length);
    }
    // Headers come from this module's own texts, or were headers before.
    let response = response.body(body).map_err(|_| Lost)?;
    Ok((response, breaks))
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

/// The first bytes of a body, then the end of the connection.
fn broken(mut body: Bytes, after: usize) -> Body {
    body.truncate(after);
    let sent = stream::iter([Ok(Frame::data(body))]);
    let end = stream::once(async {
        // So that what was sent is on the wire before the connection ends.
        tokio::task::yield_now().await;
        Err(io::Error::other(Lost))
    });
    StreamBody::new(sent.chain(end)).boxed_unsync()
}

/// A body in pieces.
fn paced(body: Bytes, piece: usize, pause: Duration) -> Body {
    let pieces = stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let sent = rest.split_to(piece.clamp(1, rest.len()));
        Some((Ok(Frame::data(sent)), rest))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A connection that ends with a reset, not with an end of stream, when it was cut.
struct Wire {
    stream: TcpStream,
    cut: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.cut.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "cannot reset a connection, it is closed instead");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
