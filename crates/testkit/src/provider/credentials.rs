//! What a request shows to say who sends it.
//! Invariant: nothing is judged here; whether a credential is good is the provider's own question.

use axum::http::HeaderMap;
use base64::Engine as _;

/// Credentials of an `Authorization` header: user and password of Basic, or the token alone.
pub(crate) enum Credentials {
    None,
    Token(String),
    Basic(String, String),
}

pub(crate) fn credentials(headers: &HeaderMap) -> Credentials {
    let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) else {
        return Credentials::None;
    };
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return Credentials::Token(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(rest.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default();
        let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
        return Credentials::Basic(user.to_owned(), password.to_owned());
    }
    Credentials::Token(String::new())
}
