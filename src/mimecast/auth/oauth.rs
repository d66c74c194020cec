//! API 2.0: the bearer token, fetched once for all who wait for it and renewed in time.
//!
//! A token lives by real time, so its end is reckoned on the monotonic clock. It is never logged.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse,
    RefreshToken, RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::health::{Failure, Origin};
use crate::mimecast::client::refuse;
use crate::mimecast::{FetchError, Gate};
use crate::secret::Secret;

/// Path of the token endpoint.
pub(in crate::mimecast) const PATH: &str = "/oauth/token";
/// A token is renewed when this much of its life is left, or a fifth of a short one.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// For an answer that does not say how long its token lives: half of the half hour that is usual.
const UNKNOWN_LIFE: Duration = Duration::from_secs(15 * 60);
/// A token that claims to live shorter is used this long all the same: a refusal of it is told from a token
/// endpoint that is asked in a circle.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// The token of a credential.
#[derive(Debug, Default)]
pub(in crate::mimecast) struct Tokens {
    /// Locked while one is fetched, so that it is fetched once.
    current: Mutex<Option<Token>>,
    /// Counts the calls of [`Tokens::forget`]; a token of an earlier count is not used again.
    epoch: AtomicU64,
}

/// A bearer token with the time, by the monotonic clock, to which it is used.
#[derive(Clone, Debug)]
pub(in crate::mimecast) struct Token {
    /// What goes into the header.
    pub(in crate::mimecast) text: Secret,
    until: Duration,
    epoch: u64,
}

impl Tokens {
    /// The token, fetched by `fetch` if there is none that will do.
    pub(in crate::mimecast) async fn current<F, Fut>(
        &self,
        clock: &Clock,
        fetch: F,
    ) -> Result<Token, FetchError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Granted, FetchError>>,
    {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| self.holds(token, clock)) {
            return Ok(token.clone());
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let granted = fetch().await?;
        let life = granted.life.unwrap_or(UNKNOWN_LIFE);
        let used = life.saturating_sub(MARGIN.min(life / 5));
        let token = Token {
            text: granted.token,
            until: clock.monotonic() + used.max(SHORTEST_LIFE),
            epoch,
        };
        *current = Some(token.clone());
        Ok(token)
    }

    /// Whether a token may still be sent.
    pub(in crate::mimecast) fn holds(&self, token: &Token, clock: &Clock) -> bool {
        token.epoch == self.epoch.load(Ordering::Acquire) && clock.monotonic() < token.until
    }

    /// Makes the next request fetch a new token.
    pub(in crate::mimecast) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// What the token endpoint granted.
#[derive(Debug)]
pub(in crate::mimecast) struct Granted {
    token: Secret,
    life: Option<Duration>,
}

/// One exchange of HTTP with the token endpoint; whoever makes it names every refusal and tells the gate of it.
pub(in crate::mimecast) trait Exchange: Sync {
    /// Sends the request and reads the answer, if that is no refusal.
    fn exchange(
        &self,
        request: HttpRequest,
    ) -> impl Future<Output = Result<HttpResponse, FetchError>> + Send;
}

/// An [`Exchange`] as the `oauth2` crate wants it.
struct Adapter<'e, E>(&'e E);

impl<'c, E: Exchange> AsyncHttpClient<'c> for Adapter<'_, E> {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.0.exchange(request).boxed()
    }
}

/// Asks for a token.
pub(in crate::mimecast) async fn request<G: Gate, E: Exchange>(
    gate: &G,
    base_url: &str,
    client_id: &str,
    client_secret: &Secret,
    http: &E,
) -> Result<Granted, FetchError> {
    let unusable = |what: &str| {
        let failure = Failure::new(Origin::Transport, 0, "body", &format!("POST {PATH}"))
            .with_detail(&format!("the answer is not a token: {what}"));
        refuse(gate, failure)
    };
    let url = TokenUrl::new(format!("{base_url}{PATH}"))
        .map_err(|_| unusable("the base URL is no URL"))?;
    let client = Client::new(ClientId::new(client_id.to_owned()))
        .set_client_secret(ClientSecret::new(client_secret.expose().to_owned()))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(url);
    let answer = client
        .exchange_client_credentials()
        .request_async(&Adapter(http))
        .await
        .map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            // Neither is quoted: it may be a token that is not quite in form.
            RequestTokenError::Parse(..) => unusable("it cannot be read"),
            RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => {
                unusable("it has another form")
            }
        })?;
    let text = answer.access_token.secret();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unusable("no header can carry it"));
    }
    Ok(Granted {
        token: Secret::new(text.clone()),
        life: answer.expires_in,
    })
}

type Client = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// The token endpoint's answer, read more leniently than the standard: its life may be a text.
#[derive(Debug, Deserialize, Serialize)]
struct Answer {
    access_token: AccessToken,
    #[serde(skip, default = "bearer")]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<Duration>,
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    struct Seconds;

    impl serde::de::Visitor<'_> for Seconds {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("seconds, as a number or a text")
        }

        fn visit_u64<E>(self, seconds: u64) -> Result<Self::Value, E> {
            Ok(Some(Duration::from_secs(seconds)))
        }

        fn visit_f64<E>(self, seconds: f64) -> Result<Self::Value, E> {
            Ok(Duration::try_from_secs_f64(seconds).ok())
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.trim().parse().ok().map(Duration::from_secs))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    from.deserialize_any(Seconds)
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::mimecast::testing::Open;
    use crate::model::Timestamp;

    /// Answers with this body, having looked at the request.
    struct Answering(String);

    impl Exchange for Answering {
        async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
            let form = String::from_utf8(request.body().clone()).unwrap();
            assert_eq!(request.uri().path(), PATH);
            assert!(!request.headers().contains_key("authorization"));
            assert!(form.contains("grant_type=client_credentials"), "{form}");
            assert!(
                form.contains("client_id=id&client_secret=s%26cret"),
                "{form}"
            );
            Ok(HttpResponse::new(self.0.clone().into_bytes()))
        }
    }

    async fn ask(body: &str) -> Result<Granted, FetchError> {
        let secret = Secret::new("s&cret".to_owned());
        let (gate, http) = (Open::default(), Answering(body.to_owned()));
        request(&gate, "http://127.0.0.1:1", "id", &secret, &http).await
    }

    #[tokio::test]
    async fn the_credentials_go_in_the_body_and_the_life_may_be_a_text() {
        let lives = [
            ("1799", Some(1799)),
            ("\"1800\"", Some(1800)),
            ("null", None),
        ];
        for (life, seconds) in lives {
            let body = format!(
                r#"{{"access_token":"abc","token_type":"Bearer","expires_in":{life},"scope":""}}"#
            );
            let granted = ask(&body).await.unwrap();
            assert_eq!(granted.token.expose(), "abc");
            assert_eq!(granted.life, seconds.map(Duration::from_secs));
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_a_failure_that_does_not_quote_it() {
        for body in [
            "<html>",
            r#"{"access_token":"se\ncret"}"#,
            r#"{"access_token":["secret"]}"#,
        ] {
            let error = ask(body).await.unwrap_err().to_string();
            assert!(error.contains("not a token"), "{error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }

    fn granting(calls: &AtomicU32, life: u64) -> Result<Granted, FetchError> {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        Ok(Granted {
            token: Secret::new(format!("token-{call}")),
            life: Some(Duration::from_secs(life)),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_renewed_before_its_end() {
        let (tokens, calls) = (Tokens::default(), AtomicU32::new(0));
        let clock = Clock::starting_at(Timestamp::from_millis(0));
        let get = || async {
            let fetch = || async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                granting(&calls, 1799)
            };
            let token = tokens.current(&clock, fetch).await.unwrap();
            token.text.expose().to_owned()
        };
        let (a, b) = tokio::join!(get(), get());
        assert_eq!((a.as_str(), b.as_str()), ("token-0", "token-0"));
        tokio::time::sleep(Duration::from_secs(1498)).await;
        assert_eq!(get().await, "token-0");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(get().await, "token-1");
        tokens.forget();
        assert_eq!(get().await, "token-2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_with_no_life_left_is_not_fetched_in_a_circle() {
        let (tokens, calls) = (Tokens::default(), AtomicU32::new(0));
        let clock = Clock::starting_at(Timestamp::from_millis(0));
        let token = tokens
            .current(&clock, || async { granting(&calls, 0) })
            .await
            .unwrap();
        assert!(tokens.holds(&token, &clock));
    }
}
