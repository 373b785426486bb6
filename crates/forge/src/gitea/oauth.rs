//! Gitea's OAuth2: the way to a grant, and what was granted.
//!
//! Invariant: an answer of the token endpoint is a grant only when it has an access token and no error. It says nothing of scopes, and
//! who granted before is sent back with the old grant whatever is asked for, so what was granted is always asked for separately.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{Gitea, wire};
use crate::credentials::{basic, is_token, split_scopes};
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply};
use crate::text;
use crate::types::{AuthorizeRequest, Grant, Offer};

/// The scope of a grant without limits, in the words of Gitea's access tokens.
const ALL: &str = "all";
/// The scope that takes the private part away from all others.
pub(super) const PUBLIC_ONLY: &str = "public-only";
const FORM: &str = "application/x-www-form-urlencoded";

/// What the token endpoint answers.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenAnswer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
    error_description: Option<String>,
}

/// What Gitea tells an application of a token of its own.
#[derive(Deserialize)]
struct Introspection {
    active: bool,
    #[serde(default)]
    scope: String,
}

impl Gitea {
    pub(super) fn authorization_address(&self, request: &AuthorizeRequest<'_>) -> Url {
        let mut url = self.web_address(["login", "oauth", "authorize"]);
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("redirect_uri", request.redirect_uri.as_str())
            .append_pair("response_type", "code")
            .append_pair("scope", &request.scopes.join(" "))
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        url
    }

    pub(super) async fn grant_for_code(&self, code: &str, redirect_uri: &Url, verifier: &SecretString) -> Result<Grant, ForgeError> {
        let parameters = [("code", code), ("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose_secret())];
        self.ask_for_grant("authorization_code", &parameters).await
    }

    pub(super) async fn grant_for_refresh_token(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError> {
        let answer = self.ask_for_grant("refresh_token", &[("refresh_token", refresh_token.expose_secret())]).await;
        answer.map_err(|error| match error {
            // Gitea says this of a refresh token that was used, is too old or is none, for which OAuth has another word.
            ForgeError::Refused { code, detail } if code == "unauthorized_client" => {
                ForgeError::Refused { code: "invalid_grant".to_owned(), detail }
            }
            error => error,
        })
    }

    async fn ask_for_grant(&self, grant_type: &str, parameters: &[(&str, &str)]) -> Result<Grant, ForgeError> {
        let client_secret = self.provider.client_secret.expose_secret();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", grant_type)
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("client_secret", client_secret)
            .extend_pairs(parameters)
            .finish();
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let request = Outgoing::new(Method::POST, self.web_address(["login", "oauth", "access_token"]), headers).with_body(FORM, form);
        let reply = self.http.send(request).await?;
        let mut secrets: Vec<&str> = parameters.iter().map(|(_, value)| *value).collect();
        secrets.push(client_secret);
        let mut grant = read_grant(reply, &secrets)?;
        // A new refresh token may be the only one that is good now: it must not be lost because this second question fails.
        match self.granted_scopes(&grant.access_token).await {
            Ok(scopes) => grant.scopes = scopes,
            Err(error) => tracing::warn!(provider = %self.provider.id, %error, "the scopes of a new grant are unknown"),
        }
        Ok(grant)
    }

    /// What a token of ours may do; empty when Gitea does not know it as ours.
    pub(super) async fn granted_scopes(&self, token: &SecretString) -> Result<Vec<String>, ForgeError> {
        let credentials = basic(&self.provider.client_id, &self.provider.client_secret)?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, credentials), (ACCEPT, HeaderValue::from_static("application/json"))]);
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("token", token.expose_secret()).finish();
        let request = Outgoing::new(Method::POST, self.web_address(["login", "oauth", "introspect"]), headers).with_body(FORM, form);
        let reply = wire::check(self.http.send(request).await?, &[token.expose_secret(), self.provider.client_secret.expose_secret()])?;
        let told: Introspection = reply.json()?;
        Ok(match split_scopes(&told.scope) {
            _ if !told.active => Vec::new(),
            // A grant that was asked for without scopes has no limits.
            scopes if scopes.is_empty() => vec![ALL.to_owned()],
            scopes => scopes,
        })
    }
}

fn read_grant(reply: Reply, secrets: &[&str]) -> Result<Grant, ForgeError> {
    let answer: Option<TokenAnswer> = reply.begins_as_object().then(|| serde_json::from_slice(&reply.body).ok()).flatten();
    if let Some(answer) = &answer
        && let Some(code) = answer.error.as_ref().filter(|_| reply.may_refuse())
    {
        let detail = text::remote(answer.error_description.as_deref().unwrap_or("no words came with it"), secrets);
        return Err(ForgeError::Refused { code: text::remote(code, secrets), detail });
    }
    let reply = wire::check(reply, secrets)?;
    let Some(answer) = answer else {
        return Err(reply.unexpected("the token endpoint did not answer with a JSON object of OAuth".to_owned()));
    };
    let token = |text: Option<String>| text.filter(|text| is_token(text)).map(SecretString::from);
    let Some(access_token) = token(answer.access_token) else {
        return Err(reply.unexpected("the token endpoint answered without a usable `access_token`".to_owned()));
    };
    Ok(Grant {
        access_token,
        refresh_token: token(answer.refresh_token),
        expires_in: answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        scopes: Vec::new(),
    })
}

pub(super) fn scope_words(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "read:user" => "see who you are",
        "read:organization" => "list your organizations",
        "read:repository" => "read sources, also private ones",
        "write:repository" => {
            "read sources, also private ones; make the webhook and the read-only deploy key (Gitea has no smaller scope for these)"
        }
        PUBLIC_ONLY => "limits all of it to what everybody sees",
        _ => return None,
    })
}

/// Whether a granted scope gives what was asked for (Gitea: `write` holds `read`).
fn covers(granted: &str, asked: &str) -> bool {
    granted == asked || granted == ALL || asked.strip_prefix("read:").is_some_and(|area| granted.strip_prefix("write:") == Some(area))
}

pub(super) fn missing_scopes(offer: &Offer, granted: &[String]) -> Vec<String> {
    let limited = granted.iter().any(|scope| scope == PUBLIC_ONLY) && !offer.scopes.contains(&PUBLIC_ONLY);
    let has = |asked: &str| {
        // A grant without the limit is the larger one; one with it gives nothing private.
        let lost = limited && (asked.ends_with(":repository") || asked.ends_with(":organization"));
        asked == PUBLIC_ONLY || (!lost && granted.iter().any(|granted| covers(granted, asked)))
    };
    offer.scopes.iter().filter(|asked| !has(asked)).map(|asked| (*asked).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitea::OFFERS;

    #[test]
    fn a_larger_grant_covers_a_smaller_offer_and_not_the_other_way_round() {
        let [full, public, read_only] = OFFERS else { panic!("three offers") };
        let granted = |offer: &Offer| offer.scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
        for offer in OFFERS {
            assert!(missing_scopes(offer, &granted(offer)).is_empty());
            assert!(missing_scopes(offer, &granted(full)).is_empty());
            assert!(missing_scopes(offer, &["all".to_owned()]).is_empty());
            assert!(offer.scopes.iter().all(|scope| scope_words(scope).is_some()));
            let nothing: Vec<&str> = offer.scopes.iter().copied().filter(|scope| *scope != PUBLIC_ONLY).collect();
            assert_eq!(missing_scopes(offer, &[]), nothing);
        }
        assert_eq!(missing_scopes(full, &granted(read_only)), ["write:repository"]);
        assert_eq!(missing_scopes(full, &granted(public)), ["read:organization", "write:repository"]);
        assert_eq!(missing_scopes(read_only, &granted(public)), ["read:organization", "read:repository"]);
        assert_eq!(missing_scopes(public, &granted(read_only)), ["write:repository"]);
    }
}
