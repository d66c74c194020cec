//! One authorised request at a time: credentials, the gate, the head of the answer, failures by their names.
//!
//! It tries once. What every page style shares of asking and reading is here; what is asked is in `paging`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use oauth2::{HttpRequest, HttpResponse};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Request, RequestBuilder, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::auth::oauth::{self, Exchange, Granted, Tokens};
use super::auth::{Credential, signature};
use super::link::Link;
use super::log_types::Paging;
use super::reply::Head;
use super::{FetchError, Gate, Job, Progress, Source, paging};
use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::http::{
    self, Connection, HttpError, Purpose, is_loopback, read_capped, read_prefix, transport_failure,
};
use crate::model::{Sink, SinkError, Timestamp};
use crate::secret::Secret;

/// Bytes of a body that explains a failure.
const MAX_EXPLANATION: usize = 64 << 10;
/// Bytes of an answer of the token endpoint.
const MAX_TOKEN: usize = 64 << 10;
/// Files decoded at once in the process.
const DECODERS: usize = 4;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The HTTP clients of one way to connect; clones share their connections.
#[derive(Clone, Debug)]
pub struct Http {
    api: reqwest::Client,
    objects: reqwest::Client,
}

impl Http {
    /// Makes both clients.
    ///
    /// # Errors
    /// [`HttpError`], which names the part of the configuration that is wrong.
    pub fn new(connection: &Connection) -> Result<Self, HttpError> {
        Ok(Self {
            api: http::client(connection, Purpose::Api)?,
            objects: http::client(connection, Purpose::Objects)?,
        })
    }
}

/// What all clients of the process share; clones are one.
#[derive(Clone, Debug)]
pub struct Limits {
    decoders: Arc<Semaphore>,
    folder: PathBuf,
}

impl Limits {
    /// At most four files are decoded at once; those that cannot be decoded as they come are put into `folder`,
    /// without a name there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            decoders: Arc::new(Semaphore::new(DECODERS)),
            folder,
        }
    }

    /// Waits for a place among the decoders.
    pub(super) async fn decoder(&self) -> Result<OwnedSemaphorePermit, FetchError> {
        // Nobody closes the semaphore.
        let place = Arc::clone(&self.decoders).acquire_owned().await;
        place.map_err(|_| FetchError::Sink(SinkError::Closed))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Mimecast as seen with one credential.
#[derive(Debug)]
pub struct Client {
    base_url: String,
    /// The API is on this machine, as a simulator is: its files may come over plain HTTP too.
    on_loopback: bool,
    credential: Credential,
    http: Http,
    clock: Clock,
    limits: Limits,
    tokens: Tokens,
    /// Milliseconds by which the server's clock was ahead of ours when it last answered.
    server_ahead: AtomicI64,
    /// Milliseconds added to the clock for signatures.
    signing_ahead: AtomicI64,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    /// GET with this query.
    Query(&'a [(&'static str, String)]),
    /// POST with this JSON.
    Json(&'a str),
}

/// An answer whose head has come and is no failure.
pub(super) struct Answer<P> {
    pub(super) head: Head,
    pub(super) response: Response,
    /// Held until the body is read.
    pub(super) permit: P,
}

impl Client {
    /// A client for `base_url`: scheme, host and port, without a slash at the end.
    #[must_use]
    pub fn new(
        base_url: &str,
        credential: Credential,
        http: Http,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        Self {
            base_url: base_url.to_owned(),
            on_loopback: is_loopback(base_url),
            credential,
            http,
            clock,
            limits,
            tokens: Tokens::default(),
            server_ahead: AtomicI64::new(0),
            signing_ahead: AtomicI64::new(0),
        }
    }

    /// The wall clock as the server last showed its own.
    #[must_use]
    pub fn corrected_wall(&self) -> Timestamp {
        ahead(self.clock.wall(), &self.server_ahead)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sends an authorised request and reads the answer's head.
    pub(super) async fn send<G: Gate>(
        &self,
        gate: &G,
        path: &str,
        ask: Ask<'_>,
    ) -> Result<Answer<G::Permit>, FetchError> {
        let (permit, bearer) = self.call(gate, path).await?;
        let url = format!("{}{path}", self.base_url);
        let (method, request) = match ask {
            Ask::Query(query) => ("GET", self.http.api.get(url).query(query)),
            Ask::Json(json) => {
                let request = self.http.api.post(url).header(CONTENT_TYPE, JSON);
                ("POST", request.body(json.to_owned()))
            }
        };
        let id = Uuid::new_v4().to_string();
        let (request, secrets) = self.authorise(request, path, &id, bearer);
        let call = Call {
            origin: Origin::Mimecast,
            endpoint: format!("{method} {path}"),
            sent_id: Some(id),
            secrets,
        };
        let request = request.header(ACCEPT, JSON);
        // What waits for its turn, as thousands may, holds no room for what follows.
        let (head, response) = Box::pin(self.execute(gate, request.build(), call)).await?;
        Ok(Answer {
            head,
            response,
            permit,
        })
    }

    /// Sends an authorised request and reads an answer in JSON of at most `cap` bytes.
    pub(super) async fn json<G: Gate>(
        &self,
        gate: &G,
        path: &str,
        ask: Ask<'_>,
        cap: usize,
    ) -> Result<(Head, Bytes), FetchError> {
        let (head, body) = self.body(gate, path, ask, cap).await?;
        match head.refusal(&body) {
            Some(failure) => Err(refuse(gate, failure)),
            None => Ok((head, body)),
        }
    }

    /// [`Client::json`] for answers that may say no in their body without being a failure: that is for the caller to judge.
    pub(super) async fn body<G: Gate>(
        &self,
        gate: &G,
        path: &str,
        ask: Ask<'_>,
        cap: usize,
    ) -> Result<(Head, Bytes), FetchError> {
        let Answer {
            head,
            response,
            permit: _permit,
        } = self.send(gate, path, ask).await?;
        let body = read_capped(response, cap, &head.endpoint)
            .await
            .map_err(|failure| refuse(gate, failure))?;
        Ok((head, body))
    }

    /// Asks for an object, without our credentials. The gate does not hear of a failure: a link may have
    /// expired, which is for the caller to find out.
    pub(super) async fn object<G: Gate>(
        &self,
        gate: &G,
        link: &Link,
    ) -> Result<Answer<G::Permit>, FetchError> {
        let endpoint = link.endpoint();
        if !(link.is_https() || self.on_loopback) {
            let failure = Failure::new(Origin::ObjectStore, 0, "scheme", &endpoint)
                .with_detail("a link that is not https was not followed");
            return Err(failure.into());
        }
        let permit = gate.pass().await?;
        let request = self.http.objects.get(link.expose());
        let response = request
            .send()
            .await
            .map_err(|error| transport_failure(&error, &endpoint))?;
        let call = Call {
            origin: Origin::ObjectStore,
            endpoint,
            sent_id: None,
            secrets: Vec::new(),
        };
        let (head, response) = self.judge(self.head(call, response)).await?;
        Ok(Answer {
            head,
            response,
            permit,
        })
    }

    /// Passes the gate for a call, with a valid token in hand where one is needed.
    async fn call<G: Gate>(
        &self,
        gate: &G,
        path: &str,
    ) -> Result<(G::Permit, Option<Secret>), FetchError> {
        let (client_id, secret) = match &self.credential {
            Credential::V1 { .. } => return Ok((gate.call(path).await?, None)),
            Credential::V2 {
                client_id,
                client_secret,
            } => (client_id, client_secret),
        };
        loop {
            let fetch = || Box::pin(self.grant(gate, client_id, secret));
            let token = self.tokens.current(&self.clock, fetch).await?;
            let permit = gate.call(path).await?;
            // The gate may have kept us waiting for longer than the token lives.
            if self.tokens.holds(&token, &self.clock) {
                return Ok((permit, Some(token.text)));
            }
        }
    }

    /// Gets a token where one is needed, so that the server's time is known before a request is made that depends on it.
    ///
    /// # Errors
    /// Those of a request.
    pub(super) async fn sign_in<G: Gate>(&self, gate: &G) -> Result<(), FetchError> {
        if let Credential::V2 {
            client_id,
            client_secret,
        } = &self.credential
        {
            let fetch = || Box::pin(self.grant(gate, client_id, client_secret));
            self.tokens.current(&self.clock, fetch).await?;
        }
        Ok(())
    }

    async fn grant<G: Gate>(
        &self,
        gate: &G,
        client_id: &str,
        secret: &Secret,
    ) -> Result<Granted, FetchError> {
        let http = TokenEndpoint {
            client: self,
            gate,
            secret,
        };
        oauth::request(gate, &self.base_url, client_id, secret, &http).await
    }

    /// Sends a request; every failure is told to the gate at once.
    async fn execute<G: Gate>(
        &self,
        gate: &G,
        request: Result<Request, reqwest::Error>,
        call: Call,
    ) -> Result<(Head, Response), FetchError> {
        let sent = match request {
            Ok(request) => self.http.api.execute(request).await,
            Err(error) => Err(error),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                call.sent_id.iter().for_each(|id| gate.requested(id));
                return Err(refuse(gate, transport_failure(&error, &call.endpoint)));
            }
        };
        let answer = self.head(call, response);
        answer
            .0
            .request_id()
            .iter()
            .for_each(|id| gate.requested(id));
        // A refusal tells the time as well as any other answer.
        if let Some(theirs) = answer.0.server_time() {
            let received = answer.0.received.as_millis();
            let ahead = theirs.as_millis().saturating_sub(received);
            self.server_ahead.store(ahead, Ordering::Relaxed);
        }
        if let Some(path) = answer.0.counted_path() {
            gate.left(path, answer.0.allowance());
        }
        let judged = self.judge(answer).await;
        judged.map_err(|failure| refuse(gate, failure))
    }

    fn head(&self, call: Call, mut response: Response) -> (Head, Response) {
        let head = Head {
            origin: call.origin,
            endpoint: call.endpoint,
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            sent_id: call.sent_id,
            received: self.clock.wall(),
            secrets: call.secrets,
        };
        tracing::debug!(endpoint = head.endpoint, status = head.status, "answer");
        (head, response)
    }

    async fn judge(&self, (head, response): (Head, Response)) -> Result<(Head, Response), Failure> {
        if (200..300).contains(&head.status) {
            return Ok((head, response));
        }
        let body = read_prefix(response, MAX_EXPLANATION).await;
        Err(head
            .refusal(&body)
            .unwrap_or_else(|| Failure::new(head.origin, head.status, "", &head.endpoint)))
    }

    /// Adds what proves who we are, and names the parts of it that must not be repeated.
    fn authorise(
        &self,
        request: RequestBuilder,
        path: &str,
        id: &str,
        bearer: Option<Secret>,
    ) -> (RequestBuilder, Vec<Secret>) {
        match &self.credential {
            Credential::V1 {
                application_id,
                application_key,
                access_key,
                secret_key,
            } => {
                let date = signature::date(ahead(self.clock.wall(), &self.signing_ahead));
                let signature =
                    signature::sign(secret_key, &date, id, path, application_key.expose());
                let proof = format!("MC {}:{signature}", access_key.expose());
                let request = request
                    .header(AUTHORIZATION, sensitive(&proof))
                    .header("x-mc-app-id", application_id)
                    .header("x-mc-date", date)
                    .header("x-mc-req-id", id);
                let signature = Secret::new(signature);
                (
                    request,
                    vec![access_key.clone(), application_key.clone(), signature],
                )
            }
            Credential::V2 { .. } => {
                let token = bearer.as_ref().map_or("", Secret::expose);
                let request = request
                    .header(AUTHORIZATION, sensitive(&format!("Bearer {token}")))
                    .header("x-request-id", id);
                (request, bearer.into_iter().collect())
            }
        }
    }
}

/// The token endpoint, behind the gate like all of Mimecast.
struct TokenEndpoint<'a, G> {
    client: &'a Client,
    gate: &'a G,
    secret: &'a Secret,
}

impl<G: Gate> Exchange for TokenEndpoint<'_, G> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let _permit = self.gate.pass().await?;
        let id = Uuid::new_v4().to_string();
        let call = Call {
            origin: Origin::Token,
            endpoint: format!("POST {}", oauth::PATH),
            sent_id: Some(id.clone()),
            secrets: vec![self.secret.clone()],
        };
        let http = &self.client.http.api;
        let request = Request::try_from(request)
            .map(|request| RequestBuilder::from_parts(http.clone(), request))
            .and_then(|request| request.header("x-request-id", id).build());
        let (head, response) = self.client.execute(self.gate, request, call).await?;
        let body = read_capped(response, MAX_TOKEN, &head.endpoint)
            .await
            .map_err(|failure| refuse(self.gate, failure))?;
        if let Some(failure) = head.refusal(&body) {
            return Err(refuse(self.gate, failure));
        }
        Ok(HttpResponse::new(body.to_vec()))
    }
}

/// What is known of a request when its answer comes.
struct Call {
    origin: Origin,
    endpoint: String,
    sent_id: Option<String>,
    secrets: Vec<Secret>,
}

/// Tells the gate of a failure, before anyone acts on it.
pub(super) fn refuse<G: Gate>(gate: &G, failure: Failure) -> FetchError {
    gate.failed(&failure);
    failure.into()
}

/// The failure of an answer that is not what the endpoint promises.
pub(super) fn unreadable(head: &Head, what: impl fmt::Display) -> Failure {
    let mut failure = Failure::new(Origin::Transport, 0, "body", &head.endpoint)
        .with_detail(&format!("the answer is not what was expected: {what}"));
    failure.request_id = head.request_id();
    // Without its body, which may be full of events.
    failure.answer = Some(head.answered(b""));
    failure
}

/// A header that is left out of debug output. Its parts were checked when the credential was read, so the
/// fallback is never reached; the vendor would refuse it.
fn sensitive(text: &str) -> HeaderValue {
    let mut value =
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"));
    value.set_sensitive(true);
    value
}

fn ahead(wall: Timestamp, by: &AtomicI64) -> Timestamp {
    Timestamp::from_millis(wall.as_millis().saturating_add(by.load(Ordering::Relaxed)))
}

impl Source for Client {
    async fn fetch<S: Sink, G: Gate>(
        &self,
        job: Job,
        sink: S,
        gate: G,
    ) -> Result<Progress, FetchError> {
        // Each in a box of its size: else all are as large as the largest.
        match job.log.paging {
            Paging::BatchFiles => Box::pin(paging::batch_files::fetch(self, job, sink, gate)).await,
            Paging::Stream => Box::pin(paging::stream::fetch(self, job, sink, gate)).await,
            Paging::Snapshot(envelope, each) => {
                let which = (envelope, each);
                Box::pin(paging::snapshot::fetch(self, which, job, sink, gate)).await
            }
            Paging::SiemFiles { .. } => {
                Box::pin(paging::siem_files::fetch(self, job, sink, gate)).await
            }
            Paging::Window(_) | Paging::Feed { .. } => {
                Box::pin(paging::window::fetch(self, job, sink, gate)).await
            }
        }
    }

    fn renew(&self) {
        self.tokens.forget();
    }

    fn correct_clock(&self, ahead_ms: i64) {
        self.signing_ahead.store(ahead_ms, Ordering::Relaxed);
    }

    fn server_ahead_ms(&self) -> i64 {
        self.server_ahead.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mimecast::testing::{NOW, Open, Server, client, http, v1, v2};

    const TOKEN: &str = r#"{"access_token":"tok","token_type":"Bearer","expires_in":1799}"#;

    async fn ask(client: &Client, gate: &Open) -> Result<Bytes, FetchError> {
        let answer = client.json(gate, "/x", Ask::Json("{}"), 1000).await;
        answer.map(|(_, body)| body)
    }

    #[tokio::test]
    async fn each_request_is_signed_anew_with_the_corrected_clock() {
        let server = Server::start(|_, _| http(200, "", "{}")).await;
        let (client, gate) = (client(&server.url, v1()), Open::default());
        client.correct_clock(60_000);
        for _ in 0..2 {
            ask(&client, &gate).await.unwrap();
        }
        let requests = server.requests.lock().unwrap().clone();
        let header = |n: usize, name: &str| {
            let line = |line: &str| line.strip_prefix(name).map(str::to_owned);
            requests[n].lines().find_map(line).expect(name)
        };
        assert_eq!(header(0, "x-mc-date: "), "Tue, 06 Jan 2026 09:09:07 UTC");
        assert_eq!(header(0, "x-mc-app-id: "), "app-id");
        assert_eq!(header(0, "accept: "), "application/json");
        for name in ["x-mc-req-id: ", "authorization: "] {
            assert_ne!(header(0, name), header(1, name));
        }
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_renewed() {
        let server = Server::start(|_, request| {
            let token = request.starts_with("POST /oauth/token");
            http(200, "", if token { TOKEN } else { "{}" })
        })
        .await;
        let (client, gate) = (client(&server.url, v2()), Open::default());
        ask(&client, &gate).await.unwrap();
        ask(&client, &gate).await.unwrap();
        client.renew();
        ask(&client, &gate).await.unwrap();
        let tokens = server
            .asked()
            .iter()
            .filter(|line| line.contains("/oauth/"))
            .count();
        assert_eq!((tokens, server.asked().len()), (2, 5));
        let requests = server.requests.lock().unwrap();
        assert!(requests[1].contains("x-request-id: "));
        assert!(requests[1].contains("authorization: Bearer tok\r\n"));
    }

    #[tokio::test]
    async fn a_refusal_of_the_token_endpoint_is_told_once_and_without_the_secret() {
        for (status, body, key) in [
            (
                401,
                r#"{"fail":[{"code":"InvalidClientIdentifier","message":"client-secret?"}]}"#,
                "401/InvalidClientIdentifier",
            ),
            (
                200,
                r#"{"fail":[{"code":"InvalidClientIdentifier"}]}"#,
                "200/InvalidClientIdentifier",
            ),
            (
                400,
                r#"{"error":"invalid_client","error_description":"no such client"}"#,
                "400/invalid_client",
            ),
            (503, "", "503"),
            (200, "<html>", "transport/body"),
        ] {
            let server = Server::start(move |_, _| http(status, "", body)).await;
            let (client, gate) = (client(&server.url, v2()), Open::default());
            let FetchError::Failed(failure) = ask(&client, &gate).await.unwrap_err() else {
                panic!("no failure");
            };
            assert_eq!(failure.key(), key);
            assert!(failure.origin == Origin::Token || key == "transport/body");
            assert!(!failure.to_string().contains("client-secret"), "{failure}");
            assert_eq!(*gate.0.lock().unwrap(), [key]);
        }
    }

    #[tokio::test]
    async fn the_servers_clock_is_remembered() {
        let server = Server::start(|_, _| {
            let answer = String::from_utf8(http(200, "", "{}")).unwrap();
            answer.replace("09:08:07 GMT", "09:18:07 GMT").into_bytes()
        })
        .await;
        let client = client(&server.url, v1());
        assert_eq!(client.corrected_wall(), NOW);
        ask(&client, &Open::default()).await.unwrap();
        assert_eq!(client.corrected_wall(), NOW + Duration::from_secs(600));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let server =
            Server::start(|base, _| http(302, &format!("Location: {base}/y\r\n"), "")).await;
        let client = client(&server.url, v1());
        let error = ask(&client, &Open::default()).await.unwrap_err();
        assert!(error.to_string().starts_with("302 from POST /x"), "{error}");
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_link_to_plain_http_is_followed_on_loopback_only() {
        let link = Link::parse("http://127.0.0.1:9/a?sig=s").unwrap();
        let vendor = client("https://eu-api.mimecast.com", v1());
        let error = vendor.object(&Open::default(), &link).await.err().unwrap();
        assert!(error.to_string().contains("not https"), "{error}");
    }
}
