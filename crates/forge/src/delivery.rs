//! How the deliveries of every provider are checked and opened: signature, header words, JSON objects.
//!
//! Invariant: nothing here panics, whatever the bytes are; secrets are compared in constant time, and all of them are tried.
//! Deliberately elsewhere: which headers a provider sends and what its bodies say (each provider).

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use slipway_model::constant_time_eq;

use crate::text;
use crate::webhook::{Refusal, Unreadable};

/// The one value of a signature's header; `missing` when there is none. One that was sent twice proves nothing.
pub(crate) fn signature<'a>(headers: &'a HeaderMap, name: &str, missing: Refusal) -> Result<&'a [u8], Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (Some(_), Some(_)) => Err(Refusal::BadSignature),
        (None, _) => Err(missing),
    }
}

/// Whether one of the secrets made this HMAC-SHA256 (64 hexadecimal digits) over exactly these bytes.
pub(crate) fn check_sha256(digits: &[u8], body: &[u8], secrets: &[SecretString]) -> Result<(), Refusal> {
    let mut presented = [0_u8; 32];
    hex::decode_to_slice(digits, &mut presented).map_err(|_| Refusal::BadSignature)?;
    // Every secret is tried, so that time does not tell which one it was. An empty secret proves nothing.
    let mut verified = false;
    for secret in secrets.iter().filter(|secret| !secret.expose_secret().is_empty()) {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key for HMAC may have any length");
        mac.update(body);
        verified |= constant_time_eq(&mac.finalize().into_bytes(), &presented);
    }
    if verified { Ok(()) } else { Err(Refusal::BadSignature) }
}

/// The one value of a header that must be a short word.
pub(crate) fn word(headers: &HeaderMap, name: &'static str) -> Result<String, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(word), None) if (1..=128).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic()) => Ok(word.to_owned()),
        _ => Err(Refusal::MissingHeader(name)),
    }
}

/// Reads a body that must be a JSON object; `provider` is the name that people know.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8], provider: &str) -> Result<T, Unreadable> {
    // The parser would take the fields from an array, too.
    if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Unreadable::new("the body is no JSON object"));
    }
    // These words may quote the body, but the body holds no secret, and who repairs a hook needs the field's name.
    serde_json::from_slice(json)
        .map_err(|error| Unreadable::new(text::line(&format!("the body is not what {provider} sends: {error}"), 300)))
}
