//! One answer of a registry, whole and capped, and what its status means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use slipway_model::Clock;
use slipway_oci::{Challenge, parse_challenges};

use crate::trouble::{Trouble, line};

/// Which digest a manifest has.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Whoever asks for a longer wait is asked again after a day.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What the specification says that an error looks like.
#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<RemoteError>,
}

#[derive(Deserialize)]
struct RemoteError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What its words may not repeat.
    pub(crate) secrets: Arc<[SecretString]>,
}

impl Reply {
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Of what was asked for by HEAD.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        self.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse_challenges).take(8).collect()
    }

    fn errors(&self) -> Vec<RemoteError> {
        serde_json::from_slice::<Errors>(&self.body).unwrap_or_default().errors
    }

    /// Its own words, else those of the status.
    pub(crate) fn words(&self) -> String {
        let said = self.errors().into_iter().next().map(|error| match (error.code.is_empty(), error.message.is_empty()) {
            (_, true) => error.code,
            (true, false) => error.message,
            (false, false) => format!("{}: {}", error.code, error.message),
        });
        // Whoever reads the words of a registry that repeats what it was told need not know the password.
        let blotted = said.map(|text| self.secrets.iter().fold(text, |text, secret| text.replace(secret.expose_secret(), "[redacted]")));
        let said = blotted.map(|text| line(&text)).filter(|text| !text.is_empty());
        said.unwrap_or_else(|| self.status.canonical_reason().unwrap_or("no reason given").to_ascii_lowercase())
    }

    /// Whether one of its errors has this code.
    fn says(&self, codes: &[&str]) -> bool {
        self.errors().iter().any(|error| codes.contains(&error.code.as_str()))
    }

    /// The answer, unless it is one that passes or a refusal.
    pub(crate) fn checked(self) -> Result<Self, Trouble> {
        match self.status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(self.busy()),
            401 | 403 => Err(Trouble::Denied(self.words())),
            _ => Ok(self),
        }
    }

    pub(crate) fn busy(&self) -> Trouble {
        Trouble::Busy { status: self.status.as_u16(), detail: self.words(), wait: self.wait() }
    }

    /// A number of seconds, or a date (RFC 9110 §10.2.3).
    fn wait(&self) -> Option<Duration> {
        let text = self.header(RETRY_AFTER)?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
                Duration::from_millis(u64::try_from(at.saturating_sub(Clock::System.now().as_millis())).unwrap_or(0))
            }
        };
        Some(wait.min(LONGEST_WAIT))
    }

    pub(crate) fn unexpected(&self, when: &str) -> Trouble {
        Trouble::Unexpected { status: self.status.as_u16(), detail: format!("{} ({when})", self.words()) }
    }

    /// What it says to something that was sent. Whoever lost a part of it meanwhile is sent it again.
    pub(crate) fn refused(&self, when: &str) -> Trouble {
        match self.status.as_u16() {
            400 | 404 | 416 if self.says(&["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"]) => {
                self.busy()
            }
            404 => Trouble::NoRepository(self.words()),
            _ => self.unexpected(when),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn reply(status: u16, body: &'static str, retry_after: Option<&str>) -> Reply {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        }
        let secrets = Arc::new([SecretString::from("hunter2")]);
        Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()), secrets }
    }

    #[test]
    fn words_are_its_own_or_those_of_the_status() {
        assert_eq!(reply(400, r#"{"errors":[{"code":"DENIED","message":"no\u0000 way"}]}"#, None).words(), "DENIED: no  way");
        assert_eq!(reply(400, r#"{"errors":[{"code":"DENIED"}]}"#, None).words(), "DENIED");
        let repeats = r#"{"errors":[{"message":"ada:hunter2 may not"}]}"#;
        assert_eq!(reply(403, repeats, None).words(), "ada:[redacted] may not");
        for odd in ["", "<html>", r#"{"errors":{}}"#, r#"{"errors":[]}"#, r#"{"errors":[{}]}"#, "null"] {
            assert_eq!(reply(404, odd, None).words(), "not found", "{odd}");
        }
    }

    #[test]
    fn the_wait_is_what_was_asked_for_and_no_more_than_a_day() {
        let wait = |text| match reply(429, "", Some(text)).busy() {
            Trouble::Busy { wait, .. } => wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 21 Oct 2099 07:28:00 GMT"), Some(LONGEST_WAIT));
        for odd in ["", "soon", "-1", "1.5"] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_part_that_was_lost_meanwhile_is_no_refusal() {
        assert!(reply(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#, None).refused("x").passes());
        assert!(reply(400, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#, None).refused("x").passes());
        assert!(matches!(reply(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, None).refused("x"), Trouble::NoRepository(_)));
        assert!(matches!(reply(400, r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#, None).refused("x"), Trouble::Unexpected { .. }));
    }
}
