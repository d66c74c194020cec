//! The token endpoint of API 2.0, and the tokens that are out.

use hyper::Method;
use serde_json::json;

use super::answer::Answer;
use super::articles::refuse;
use super::auth;
use super::call::{Call, pair};
use super::options::Key;
use super::reply::Reply;
use super::world::{State, World};
use crate::model::Timestamp;

/// A bearer token.
pub(super) struct Token {
    pub(super) account: String,
    pub(super) expires: Timestamp,
}

/// `POST /oauth/token`.
pub(super) fn serve(world: &World, state: &mut State, call: &Call, account: Option<&str>) -> Reply {
    if call.method != Method::POST {
        state.violation(call, "a token is got by POST");
        return Reply::empty(405).with("allow", "POST");
    }
    if call.header("content-type").map(media_type) != Some("application/x-www-form-urlencoded") {
        state.violation(call, "a request for a token is a form");
        return refuse(call, 400, "");
    }
    let form = call.form().unwrap_or_default();
    if pair(&form, "grant_type") != Some("client_credentials") {
        state.violation(call, "grant_type must be client_credentials");
        let body =
            r#"{"error":"unsupported_grant_type","error_description":"use client_credentials"}"#;
        return Answer::raw(400, "application/json", body).to(call, world.wall());
    }
    let (Some(account), Some((_, secret))) = (account, call.client()) else {
        return refuse(call, 401, "0003");
    };
    if auth::locked(world, state, account) {
        return refuse(call, 401, "0010");
    }
    let right = state
        .accounts
        .get(account)
        .is_some_and(|member| match &member.key {
            Key::V2 { client_secret, .. } => *client_secret == secret,
            Key::V1 { .. } => false,
        });
    auth::judged(world, state, account, right);
    if !right {
        return refuse(call, 401, "0003");
    }
    state.tokens_made += 1;
    let token = format!(
        "ey{}",
        world.seal("token", &format!("{account}:{}", state.tokens_made))
    );
    let lifetime = world.options.token_lifetime;
    let out = Token {
        account: account.to_owned(),
        expires: world.now() + lifetime,
    };
    state.tokens.insert(token.clone(), out);
    Reply::json(
        200,
        &json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "scope": "",
        }),
    )
}

/// A content type without its parameters.
pub(super) fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}
