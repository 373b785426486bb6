//! Tokens on their way into headers and out of answers.
//!
//! Invariant: a header with a credential is marked sensitive, so that no log or `Debug` prints it.

use base64::Engine;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::error::ForgeError;
use crate::text;

/// Bitbucket's tokens have more than 2,500 characters today and grow with what is in them.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// `Authorization: Bearer ...`
pub(crate) fn bearer(token: &SecretString) -> Result<HeaderValue, ForgeError> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

/// `Authorization: Basic ...`
pub(crate) fn basic(user: &str, password: &SecretString) -> Result<HeaderValue, ForgeError> {
    let pair = format!("{user}:{}", password.expose_secret());
    sensitive(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn sensitive(text: &str) -> Result<HeaderValue, ForgeError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| ForgeError::Unauthorized { detail: "the stored token has characters that no token has".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token must fit into a header.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Scopes come with commas, with blanks and with both.
pub(crate) fn split_scopes(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|scope| !scope.is_empty()).take(100).map(|scope| text::line(scope, 100)).collect()
}
