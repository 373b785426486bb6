//! What an OAuth app asks about its own tokens, with its id and secret as Basic credentials.
//! Invariant: an app learns nothing about tokens of another app; a dead token is 404, never a failed sign-in.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::reply::{ApiError, ApiResult, Reply};
use crate::github::Inner;
use crate::github::access::{Credentials, credentials};
use crate::github::state::State;
use crate::github::tokens::Token;

pub(super) fn route(inner: &Arc<Inner>, parts: &Parts, client_id: &str, what: &str, body: &[u8]) -> ApiResult {
    let mut state = inner.state();
    let authentic = match credentials(&parts.headers) {
        Credentials::Basic(id, secret) => {
            id == client_id && state.apps.get(client_id).is_some_and(|app| app.public.client_secret == secret)
        }
        _ => false,
    };
    if !authentic {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Bad credentials"));
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(value) = body.get("access_token").and_then(Value::as_str) else {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed"));
    };
    let index = find(&state, client_id, value).ok_or_else(ApiError::not_found)?;
    match (&parts.method, what) {
        (&Method::POST, "token") => Ok(Reply::ok(inner.urls().authorization(&state, &state.tokens[index]))),
        (&Method::PATCH, "token") => {
            let id = state.tokens[index].id;
            state.reset_token(id);
            Ok(Reply::ok(inner.urls().authorization(&state, &state.tokens[index])))
        }
        (&Method::DELETE, "token") => {
            state.revoke_token(value);
            Ok(Reply::no_content())
        }
        (&Method::DELETE, "grant") => {
            let user = state.tokens[index].user;
            state.revoke_grant(user, client_id);
            drop(state);
            inner.tell_authorization_revoked(user, client_id);
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::not_found()),
    }
}

fn find(state: &State, client_id: &str, value: &str) -> Option<usize> {
    let now = state.now_ms();
    let theirs = |token: &Token| token.value == value && token.app.as_deref() == Some(client_id) && token.lives(now);
    state.tokens.iter().position(theirs)
}
