//! Bitbucket's OAuth: the way to a grant.
//!
//! Invariant: an answer of the token endpoint is a grant only when it has an access token and no error, whatever its status.
//! Bitbucket offers no PKCE, so only the state ties an answer to who asked; and it withdraws grants only by hand.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::Bitbucket;
use crate::credentials::{basic, is_token, split_scopes};
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply};
use crate::text;
use crate::types::{AuthorizeRequest, Grant, Offer};

impl Bitbucket {
    /// Neither scopes (they are fixed at the consumer) nor a challenge (there is no PKCE) are sent.
    pub(super) fn authorization_address(&self, request: &AuthorizeRequest<'_>) -> Url {
        let mut url = self.web_address(["site", "oauth2", "authorize"]);
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", request.redirect_uri.as_str())
            .append_pair("state", request.state);
        url
    }

    pub(super) async fn grant_for_code(&self, code: &str, redirect_uri: &Url) -> Result<Grant, ForgeError> {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri.as_str())];
        self.ask_for_grant(&form, code).await
    }

    pub(super) async fn grant_for_refresh_token(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError> {
        let refresh_token = refresh_token.expose_secret();
        self.ask_for_grant(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)], refresh_token).await
    }

    async fn ask_for_grant(&self, form: &[(&str, &str)], sent: &str) -> Result<Grant, ForgeError> {
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, basic(&self.provider.client_id, &self.provider.client_secret)?),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Outgoing::new(Method::POST, self.web_address(["site", "oauth2", "access_token"]), headers)
            .with_body("application/x-www-form-urlencoded", form);
        let reply = self.http.send(request).await?;
        read_grant(reply, &[sent, self.provider.client_secret.expose_secret()])
    }
}

fn read_grant(reply: Reply, secrets: &[&str]) -> Result<Grant, ForgeError> {
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if let Some(code) = answer["error"].as_str().filter(|_| reply.may_refuse()) {
        let detail = text::remote(answer["error_description"].as_str().unwrap_or("no words came with it"), secrets);
        return Err(ForgeError::Refused { code: text::remote(code, secrets), detail });
    }
    let reply = super::wire::check(reply, secrets)?;
    if !answer["error"].is_null() {
        return Err(reply.unexpected("the token endpoint answered with an error that is none of OAuth".to_owned()));
    }
    let token = |name: &str| answer[name].as_str().filter(|text| is_token(text)).map(SecretString::from);
    let Some(access_token) = token("access_token") else {
        return Err(reply.unexpected("the token endpoint answered without a usable `access_token`".to_owned()));
    };
    let scopes = answer["scopes"].as_str().or_else(|| answer["scope"].as_str()).unwrap_or_default();
    Ok(Grant {
        access_token,
        refresh_token: token("refresh_token"),
        expires_in: answer["expires_in"].as_u64().filter(|seconds| *seconds > 0).map(Duration::from_secs),
        scopes: split_scopes(scopes),
    })
}

pub(super) fn scope_words(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "account" => "see who you are and list your workspaces",
        "repository" => "read sources, also private ones; set commit statuses",
        "pullrequest" => "have the webhook tell of pull requests",
        "repository:admin" => "make and remove the read-only deploy key",
        "webhook" => "make, check and remove the webhook that tells of pushes",
        _ => return None,
    })
}

/// Which scopes are covered by another one (Bitbucket, "OAuth 2.0 scopes"). `repository:admin` covers none, not even reading.
fn covers(granted: &str, asked: &str) -> bool {
    granted == asked
        || match asked {
            "repository" => matches!(granted, "repository:write" | "pullrequest" | "pullrequest:write" | "project"),
            "repository:write" | "pullrequest" => granted == "pullrequest:write",
            _ => false,
        }
}

pub(super) fn missing_scopes(offer: &Offer, granted: &[String]) -> Vec<String> {
    offer.scopes.iter().filter(|asked| !granted.iter().any(|granted| covers(granted, asked))).map(|asked| (*asked).to_owned()).collect()
}
