//! Errors as pages: the same public words as the API's, with the request's id and a way on.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use slipway_app::Error;

use super::view::errors::ErrorPage;
use super::view::shell::Shell;
use super::view::ui::Tone;
use crate::edge::request_id;
use crate::error::ApiError;

/// Why a page is not shown. As a response it is plain; `frame::dress_errors` puts the navigation around it.
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
        "enabled" => (Tone::Good, "Enabled. Pushes from now on are built; use Replay under Deliveries for those that came before."),
        "disabled" => (Tone::Stopped, "Disabled, not revoked. Nothing is built through this link until it is enabled."),
        "revoked" => (Tone::Good, "The token is revoked from this moment on."),
        "replayed" => (Tone::Good, "Decided again; the new decisions are at the end."),
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
