//! Errors as pages: the same public words as the API's, with the request's id and a way on.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use slipway_app::{Error, Refusal};

use super::frame::show_refused;
use super::view::errors::ErrorPage;
use super::view::shell::Shell;
use super::view::ui::Tone;
use crate::edge::request_id;
use crate::error::{ApiError, Code};

/// Why a page is not shown. As a response it is plain; `frame::dress` puts the navigation around it.
#[derive(Debug)]
pub(super) struct PageError(pub(super) ApiError);

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<slipway_app::store::StoreError> for PageError {
    fn from(error: slipway_app::store::StoreError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        plain(self.0)
    }
}

/// First letter large, full stop at the end: how people read it.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.trim().chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut out: String = first.to_uppercase().chain(characters).collect();
    if !out.ends_with(['.', '!', '?', '`']) || out.ends_with('`') {
        out.push('.');
    }
    out
}

/// A refusal as people read it: what happened, and the next step.
pub(super) fn said(refusal: &Refusal) -> String {
    let detail = sentence(&refusal.detail);
    refusal.hint.as_deref().map_or_else(|| detail.clone(), |hint| format!("{detail} {}", sentence(hint)))
}

/// A form that came back because of a refusal: 422, or 429 with the time when trying again may help.
pub(super) fn show_refusal(page: &impl Template, refusal: Refusal) -> Response {
    let mut response = show_refused(page);
    let error = ApiError::from(Error::from(refusal));
    if error.code == Code::RateLimited {
        *response.status_mut() = error.code.status();
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The page with this frame around it.
pub(super) fn framed(error: &ApiError, shell: Shell) -> Response {
    let status = error.code.status();
    let page = ErrorPage {
        shell: Shell { request_id: request_id::current(), notice: None, ..shell },
        status: status.as_u16(),
        title: error.code.title().to_owned(),
        text: sentence(&error.detail),
        hint: error.hint.as_deref().map(sentence),
    };
    let mut response =
        (status, Html(page.render().unwrap_or_else(|_| "<!doctype html><title>Slipway</title><p>Something went wrong.".to_owned())))
            .into_response();
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The page alone. The error rides along for whoever knows the frame.
pub(super) fn plain(error: ApiError) -> Response {
    let mut response = framed(&error, Shell::outside());
    response.extensions_mut().insert(error);
    response
}

/// The tone of a notice in the address (`?done=`), with its words; anything else shows nothing.
pub(super) fn notice(word: &str) -> Option<(Tone, &'static str)> {
    Some(match word {
        "created" => (Tone::Good, "The repository is made."),
        "saved" => (Tone::Good, "Saved."),
        "deleted" => (Tone::Good, "The repository is deleted, with its images, builds and settings."),
        "autobuild" => (Tone::Good, "Saved. The next push that matches a rule is built."),
        "autobuild-off" => (Tone::Good, "Autobuild is off. Images, tags and builds stay."),
        "linked" => (Tone::Good, "Linked. Now choose a source for a repository."),
        "enabled" => (Tone::Good, "Enabled. What was pushed meanwhile is looked for now and built."),
        "link-checked" => (Tone::Good, "The provider was asked: the link works."),
        "link-broken" => (Tone::Attention, "The provider was asked: the link needs attention. What it said stands below."),
        "refreshing" => (Tone::Running, "Being read anew. Reload this page in a moment."),
        "linked-partly" => (Tone::Attention, "Linked, but less was granted than was asked for. What will not work stands below."),
        "disabled" => (Tone::Stopped, "Disabled, not revoked. Nothing is built through this link until it is enabled."),
        "revoked" => (Tone::Good, "The token is revoked from this moment on."),
        "replayed" => (Tone::Good, "Decided again; the new decisions are at the end."),
        "webhook-right" => (Tone::Good, "Looked: the webhook is right."),
        "webhook-wrong" => (Tone::Attention, "Looked: the webhook is not right. What is wrong stands below."),
        "webhook-repaired" => (Tone::Good, "The webhook is right again."),
        "webhook-secret" => (Tone::Good, "The webhook has another secret. The one before is accepted for another day."),
        "webhook-secret-later" => {
            (Tone::Attention, "The secret is changed here, and the provider is told as soon as it answers. Both are accepted for a day.")
        }
        "key-changed" => (Tone::Good, "The deploy key is changed. The one before is removed."),
        "key-later" => (Tone::Attention, "The new deploy key does not stand at the provider yet. What it said stands below."),
        "external-saved" => (Tone::Good, "A push was tried and went well. What builds push from now on goes there too."),
        "external-removed" => (Tone::Good, "Nothing is pushed there any more. What is there stays."),
        "external-again" => (Tone::Good, "It is pushed again now."),
        "trigger-deleted" => (Tone::Good, "The trigger is deleted. Its address starts nothing any more."),
        "redelivery" => (Tone::Good, "Asked. The delivery comes like any other, within seconds."),
        "signin-over" => (Tone::Attention, "That took too long or too many codes. Begin again."),
        "organization-created" => (Tone::Good, "The organization is made, and you own it. Its repositories come next, or its teams."),
        "organization-renamed" => (Tone::Good, "Renamed. The former name leads here from now on."),
        "organization-deleted" => (Tone::Good, "The organization is deleted, with everything that was in it."),
        "team-created" => (Tone::Good, "The team is made. Add its members and repositories."),
        "team-deleted" => (Tone::Good, "The team is deleted. Its members lost what it gave."),
        "member-added" => (Tone::Good, "Added. The permissions of the team hold from now on."),
        "member-removed" => (Tone::Good, "Removed. The permissions end with this moment."),
        "left" => (Tone::Good, "You have left the team."),
        "permission-set" => (Tone::Good, "The permission is given from this moment on."),
        "permission-removed" => (Tone::Good, "The permission is taken back from this moment on."),
        "tag-moved" => (Tone::Good, "The tag is moved. The next push moves it again."),
        "tag-deleted" => (Tone::Good, "The tag is deleted."),
        "build-deleted" => (Tone::Good, "The build is deleted, with its steps and log."),
        "email-sent" => (Tone::Good, "A link is on its way to the new address. It counts once the link was opened."),
        "password" => (Tone::Good, "The password is changed. Every other session has ended."),
        "factor-off" => (Tone::Good, "The second factor is off. Every other session has ended."),
        "session-ended" => (Tone::Good, "The session has ended."),
        "sessions-ended" => (Tone::Good, "Every other session has ended."),
        "identity-added" => (Tone::Good, "Added. You can sign in that way from now on."),
        "identity-removed" => (Tone::Good, "Removed. Nobody signs in that way any more."),
        "account-deleted" => (Tone::Good, "The account is deleted, with everything that belonged to it."),
        "converted" => (Tone::Good, "The account is an organization now. Its first owner manages it."),
        "joined" => (Tone::Good, "You have joined."),
        "service-made" => (Tone::Good, "The service account is made. Give it a token below."),
        "role" => (Tone::Good, "The role is changed."),
        "other-deleted" => (Tone::Good, "The account is deleted, with everything that belonged to it."),
        "invitation-revoked" => (Tone::Good, "The invitation is taken back. Its link no longer works."),
        "join-token-revoked" => (Tone::Good, "The join token is taken back. No machine joins with it any more."),
        "node-draining" => (Tone::Good, "The node gets no new builds. Running ones end."),
        "node-resumed" => (Tone::Good, "The node takes builds again."),
        "node-removed" => (Tone::Good, "The node is removed. Its credential is worth nothing any more, and others build what it had."),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences_once() {
        assert_eq!(sentence("the name is taken"), "The name is taken.");
        assert_eq!(sentence("expected `a`"), "Expected `a`.");
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), "");
    }
}
