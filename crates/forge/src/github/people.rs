//! Whose token it is, and whether it still works.
//!
//! Invariant: the identity is the numeric id. "Unchanged" is only said when both the person and the scopes are as the marker has them.

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::GitHub;
use super::wire::Call;
use crate::credentials::split_scopes;
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;
use crate::types::{Fresh, Person};

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

/// What was known at the last probe: `scopes etag`. Neither has a blank in it.
struct Marker<'a> {
    scopes: &'a str,
    etag: &'a str,
}

impl<'a> Marker<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scopes, etag) = text.split_once(' ')?;
        (!etag.is_empty()).then_some(Self { scopes, etag })
    }
}

fn scopes_of(reply: &Reply) -> Vec<String> {
    let mut scopes = split_scopes(reply.header("x-oauth-scopes").unwrap_or_default());
    scopes.sort();
    scopes
}

impl GitHub {
    pub(super) async fn read_person(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        let known = known.and_then(Marker::parse);
        let mut reply = self.call(token, Call::get(self.api_address(["user"])).unless(known.as_ref().map(|known| known.etag))).await?;
        if let Some(known) = known.filter(|_| reply.status == http::StatusCode::NOT_MODIFIED) {
            if scopes_of(&reply).join(",") == known.scopes {
                return Ok(Fresh::Unchanged);
            }
            reply = self.get(token, self.api_address(["user"])).await?;
        }
        let user: User = reply.json()?;
        let scopes = scopes_of(&reply);
        let marker = reply.etag().map(|etag| format!("{} {etag}", scopes.join(",")));
        let person = Person {
            id: user.id.to_string(),
            login: text::line(&user.login, 100),
            name: user.name.map(|name| text::line(&name, 200)).filter(|name| !name.is_empty()),
            avatar_url: user.avatar_url.and_then(|text| Url::parse(&text).ok()).filter(|url| matches!(url.scheme(), "https" | "http")),
            scopes,
        };
        Ok(Fresh::Changed { value: person, marker })
    }
}
