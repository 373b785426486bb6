//! What GitHub's refusals mean. Much of it only the English words tell.
//!
//! Invariant: each refusal becomes the decision that it asks for, with GitHub's own words; an address that a person is sent to is at the
//! configured web origin.

use http::header::RETRY_AFTER;
use serde::Deserialize;
use url::Url;

use super::{GitHub, is_name, scopes};
use crate::credentials::split_scopes;
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;

/// What it may mean that something is not found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// That it is not there, or not shown.
    Plain,
    /// Also that the token lacks the scope for it, when the headers say so: GitHub hides what a token may not manage.
    MaybeScope,
}

/// The body of an error, as far as it is there.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    message: String,
    errors: Vec<serde_json::Value>,
    block: Option<Block>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Block {
    reason: String,
}

impl Problem {
    fn of(reply: &Reply) -> Self {
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    fn words(&self) -> String {
        let mut words = self.message.clone();
        for error in self.errors.iter().take(5) {
            let word = error.as_str().or_else(|| error.get("message").and_then(serde_json::Value::as_str));
            if let Some(word) = word {
                words.push_str("; ");
                words.push_str(word);
            }
        }
        if let Some(block) = &self.block {
            words.push_str(&format!(" (reason `{}`)", block.reason));
        }
        words
    }
}

impl GitHub {
    /// Makes an error of every status but 2xx.
    pub(super) fn judge(&self, reply: Reply, absence: Absence, secrets: &[&str]) -> Result<Reply, ForgeError> {
        if reply.status.is_success() {
            return Ok(reply);
        }
        let problem = Problem::of(&reply);
        let detail = match problem.words() {
            words if words.is_empty() => "no words came with it".to_owned(),
            words => text::remote(&words, secrets),
        };
        Err(match reply.status.as_u16() {
            401 => ForgeError::Unauthorized { detail },
            403 => self.forbidden(&reply, &problem, detail),
            404 => match (reply.not_found(), absence) {
                (ForgeError::NotFound, Absence::MaybeScope) => {
                    self.missing_scope(&reply).map_or(ForgeError::NotFound, |scopes| ForgeError::MissingScope { scopes, detail })
                }
                (error, _) => error,
            },
            429 => ForgeError::RateLimited { retry_after: reply.pause() },
            451 => ForgeError::Forbidden { detail },
            _ => reply.unexpected(detail),
        })
    }

    /// Which 403 it is. An organization's refusal may come with the last request of the hour, so the words come first: waiting would not help.
    fn forbidden(&self, reply: &Reply, problem: &Problem, detail: String) -> ForgeError {
        let words = problem.message.to_ascii_lowercase();
        if let Some(restricted) = self.restriction(reply, &problem.message) {
            return restricted;
        }
        if problem.block.is_some() {
            return ForgeError::Forbidden { detail };
        }
        if words.contains("suspended") {
            return ForgeError::Suspended { detail };
        }
        // Too many wrong tokens lock the right ones out, too, for a while.
        if reply.headers.contains_key(RETRY_AFTER) || words.contains("rate limit") || words.contains("maximum number of login attempts") {
            return ForgeError::RateLimited { retry_after: reply.pause() };
        }
        if let Some(scopes) = self.missing_scope(reply) {
            return ForgeError::MissingScope { scopes, detail };
        }
        if reply.header("x-ratelimit-remaining") == Some("0") {
            return ForgeError::RateLimited { retry_after: reply.pause() };
        }
        ForgeError::Forbidden { detail }
    }

    /// The scopes of which one is needed, when the token is told to have none of them.
    fn missing_scope(&self, reply: &Reply) -> Option<Vec<String>> {
        if self.app.is_some() {
            // Tokens of an App have permissions, not scopes: `contents=read; metadata=read`, alternatives apart by commas.
            let integration = Problem::of(reply).message.contains("not accessible by integration");
            let accepted = reply.header("x-accepted-github-permissions").filter(|_| integration)?;
            return Some(accepted.split([',', ';']).take(20).map(|word| text::line(word, 100)).filter(|word| !word.is_empty()).collect());
        }
        // For the list of organizations the headers name scopes that do not suffice, and only the words name those that would.
        let named = scopes_in_words(&Problem::of(reply).message);
        if !named.is_empty() {
            return Some(named);
        }
        let granted = split_scopes(reply.header("x-oauth-scopes")?);
        let accepted = split_scopes(reply.header("x-accepted-oauth-scopes")?);
        let covered = accepted.is_empty() || accepted.iter().any(|scope| scopes::covered(&granted, scope));
        (!covered).then(|| accepted.into_iter().take(20).collect())
    }

    /// Whether an organization keeps us out, which, and where a person changes that. Of an OAuth app restriction nothing but the words tells.
    fn restriction(&self, reply: &Reply, message: &str) -> Option<ForgeError> {
        let named = message.split_once("` organization").and_then(|(before, _)| before.rsplit('`').next());
        let named = named.filter(|name| is_name(name)).map(str::to_owned);
        if message.contains("OAuth App access restrictions") {
            return Some(ForgeError::Restricted { grant_url: Some(self.connection_page()), organization: named });
        }
        if message.contains("has an IP allow list enabled") {
            let grant_url = named.as_deref().map(|name| self.web_address(["organizations", name, "settings", "security"]));
            return Some(ForgeError::Restricted { organization: named, grant_url });
        }
        let header = reply.header("x-github-sso").filter(|header| header.trim_start().starts_with("required"));
        if header.is_none() && !message.contains("organization SAML enforcement") {
            return None;
        }
        let grant_url = header.and_then(|header| self.sso_address(header));
        let organization = grant_url.as_ref().and_then(|url| url.path_segments()).and_then(|parts| {
            let parts: Vec<&str> = parts.collect();
            let at = parts.iter().position(|part| *part == "orgs")?;
            parts.get(at + 1).filter(|name| is_name(name)).map(|name| (*name).to_owned())
        });
        Some(ForgeError::Restricted { organization: organization.or(named), grant_url })
    }

    /// The address in `required; url=...`, which only counts at the origin that the administrator configured.
    fn sso_address(&self, header: &str) -> Option<Url> {
        let (_, address) = header.split_once("url=")?;
        let url = Url::parse(address.trim()).ok()?;
        (url.origin() == self.provider.web_url.origin() && url.username().is_empty() && url.password().is_none()).then_some(url)
    }

    /// Where the owners of an organization grant and revoke what applications may reach; nobody else is shown it.
    pub(super) fn policy_page(&self, organization: &str) -> Url {
        self.web_address(["organizations", organization, "settings", "oauth_application_policy"])
    }

    /// Where a person requests, and an owner grants, the access of our application to each organization.
    pub(super) fn connection_page(&self) -> Url {
        self.web_address(["settings", "connections", "applications", &self.provider.client_id])
    }
}

/// The scopes in `You need at least read:org scope or user scope to list your organizations.`
fn scopes_in_words(message: &str) -> Vec<String> {
    let Some(rest) = message.strip_prefix("You need at least ") else { return Vec::new() };
    let words: Vec<&str> = rest.split([' ', ',']).collect();
    words.windows(2).filter(|pair| pair[1] == "scope").take(10).map(|pair| text::line(pair[0], 100)).collect()
}
