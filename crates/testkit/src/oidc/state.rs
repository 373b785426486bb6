//! The provider's data: people, clients, codes under way, and the switches.

use anyhow::Result;
use serde_json::Value;

use super::keys::{Algorithm, SigningKey};
use super::{ClientAuthentication, Lie, OidcClient, Person};

pub(super) struct App {
    pub(super) client: OidcClient,
    pub(super) redirect_uri: String,
}

/// A code that was given out and not yet exchanged.
pub(super) struct Code {
    pub(super) value: String,
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) subject: String,
    pub(super) nonce: Option<String>,
    /// PKCE, S256 only.
    pub(super) challenge: String,
    pub(super) given_at: i64,
}

pub(super) struct State {
    pub(super) apps: Vec<App>,
    pub(super) people: Vec<Person>,
    pub(super) codes: Vec<Code>,
    pub(super) signing: SigningKey,
    pub(super) authentication: ClientAuthentication,
    pub(super) lie: Option<Lie>,
    pub(super) outage: Option<u16>,
    /// What is said of the addresses, if anything.
    pub(super) email_verified: Option<bool>,
    /// Where the clock stands, when it does.
    pub(super) stands_at: Option<i64>,
    pub(super) requests: Vec<String>,
    pub(super) given_out: Vec<Value>,
}

impl State {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            apps: Vec::new(),
            people: Vec::new(),
            codes: Vec::new(),
            signing: SigningKey::generate(Algorithm::Es256)?,
            authentication: ClientAuthentication::Basic,
            lie: None,
            outage: None,
            email_verified: Some(true),
            stands_at: None,
            requests: Vec::new(),
            given_out: Vec::new(),
        })
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.stands_at.unwrap_or_else(machine_time)
    }
}

#[expect(clippy::disallowed_methods, reason = "the sample provider is no part of the product and has the machine's clock")]
fn machine_time() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |passed| i64::try_from(passed.as_secs()).unwrap_or(i64::MAX))
}
