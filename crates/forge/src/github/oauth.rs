//! GitHub's OAuth: the way to a grant and the end of one.
//!
//! Invariant: an answer of the token endpoint is a grant only when it has an access token and no error, whatever its status:
//! GitHub reports errors with status 200.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::GitHub;
use super::refusals::Absence;
use crate::credentials::{is_token, split_scopes};
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply};
use crate::text;
use crate::types::{AuthorizeRequest, Grant, Removal};

/// What the token endpoint answers, as JSON or as a form.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenAnswer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    scope: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl GitHub {
    pub(super) fn authorization_address(&self, request: &AuthorizeRequest<'_>) -> Url {
        let mut url = self.web_address(["login", "oauth", "authorize"]);
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("redirect_uri", request.redirect_uri.as_str())
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        // Left out, GitHub would take the scopes of last time; a GitHub App has none to ask for.
        if self.app.is_none() {
            url.query_pairs_mut().append_pair("scope", &request.scopes.join(" "));
        }
        url
    }

    pub(super) async fn grant_for_code(&self, code: &str, redirect_uri: &Url, verifier: &SecretString) -> Result<Grant, ForgeError> {
        self.ask_for_grant(&[("code", code), ("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose_secret())]).await
    }

    pub(super) async fn grant_for_refresh_token(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError> {
        self.ask_for_grant(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())]).await
    }

    async fn ask_for_grant(&self, parameters: &[(&str, &str)]) -> Result<Grant, ForgeError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("client_secret", self.provider.client_secret.expose_secret())
            .extend_pairs(parameters)
            .finish();
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let request = Outgoing::new(Method::POST, self.web_address(["login", "oauth", "access_token"]), headers)
            .with_body("application/x-www-form-urlencoded", form);
        let reply = self.http.send(request).await?;
        let mut secrets: Vec<&str> = parameters.iter().map(|(_, value)| *value).filter(|value| *value != "refresh_token").collect();
        secrets.push(self.provider.client_secret.expose_secret());
        self.read_grant(reply, &secrets)
    }

    pub(super) async fn withdraw_grant(&self, token: &SecretString) -> Result<Removal, ForgeError> {
        let url = self.api_address(["applications", &self.provider.client_id, "grant"]);
        let body = serde_json::json!({ "access_token": token.expose_secret() });
        match self.call_as_application(Method::DELETE, url, &body, token).await {
            Ok(reply) => reply.removed(),
            // Wrong credentials of our application would be 401; these mean that no grant belongs to the token. It says itself whether
            // that is so: one that still opens something has a grant, whatever was answered.
            Err(error @ (ForgeError::NotFound | ForgeError::Unexpected { status: 422, .. })) => match self.read_person(token, None).await {
                Err(ForgeError::Unauthorized { .. }) => Ok(Removal::AlreadyGone),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn read_grant(&self, reply: Reply, secrets: &[&str]) -> Result<Grant, ForgeError> {
        let answer = read_answer(&reply);
        if let Some(answer) = &answer
            && let Some(code) = answer.error.as_ref().filter(|_| reply.may_refuse())
        {
            let detail = text::remote(answer.error_description.as_deref().unwrap_or("no words came with it"), secrets);
            return Err(ForgeError::Refused { code: text::remote(code, secrets), detail });
        }
        let reply = self.judge(reply, Absence::Plain, secrets)?;
        let Some(answer) = answer else {
            return Err(reply.unexpected("the token endpoint answered neither JSON nor a form".to_owned()));
        };
        let token = |text: Option<String>| text.filter(|text| is_token(text)).map(SecretString::from);
        let Some(access_token) = token(answer.access_token) else {
            return Err(reply.unexpected("the token endpoint answered without a usable `access_token`".to_owned()));
        };
        Ok(Grant {
            access_token,
            refresh_token: token(answer.refresh_token),
            expires_in: answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            scopes: split_scopes(&answer.scope.unwrap_or_default()),
        })
    }
}

/// JSON as we asked for, or the form that GitHub sends to those who did not ask.
fn read_answer(reply: &Reply) -> Option<TokenAnswer> {
    let content_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return reply.begins_as_object().then(|| serde_json::from_slice(&reply.body).ok()).flatten();
    }
    let mut answer = TokenAnswer::default();
    for (name, value) in form_urlencoded::parse(&reply.body) {
        let value = value.into_owned();
        match &*name {
            "access_token" => answer.access_token = Some(value),
            "refresh_token" => answer.refresh_token = Some(value),
            "expires_in" => answer.expires_in = value.parse().ok(),
            "scope" => answer.scope = Some(value),
            "error" => answer.error = Some(value),
            "error_description" => answer.error_description = Some(value),
            _ => {}
        }
    }
    Some(answer)
}
