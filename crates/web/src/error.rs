//! What a request gets when it does not get what it asked for: [`ApiError`]; pages render the same type as HTML.
//!
//! Invariant: outside go the public words, a hint and the request id; the cause goes to the log, once, in [`ApiError::internal`].
//! Deliberately elsewhere: which error means which answer (`refusals`), and how a page looks (`pages`).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::request_id;

/// What went wrong, for programs. The words stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request cannot be read.
    BadRequest,
    /// The `state` of a sign-in flow is unknown, used, expired or of somebody else.
    BadState,
    /// Credentials are missing or not valid.
    Unauthorized,
    /// The signature of a webhook is not valid.
    BadSignature,
    /// The account or token may not do this.
    Forbidden,
    /// A write by cookie that did not come from our own pages.
    CrossOrigin,
    /// It does not exist, or the caller may not know of it.
    NotFound,
    /// The address exists, the method does not.
    MethodNotAllowed,
    /// It contradicts what stands.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body must be JSON.
    UnsupportedMediaType,
    /// A value cannot be used.
    Invalid,
    /// A program at the other end is older than what we work with.
    TooOld,
    /// Too many requests.
    RateLimited,
    /// The provider refused or failed.
    Provider,
    /// Something of ours failed.
    Internal,
    /// Something that we need is away for now.
    Unavailable,
    /// It took too long.
    Timeout,
}

impl Code {
    /// The heading for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be read",
            Self::BadState => "This sign-in was not begun here",
            Self::Unauthorized => "Sign in first",
            Self::BadSignature => "The signature is not valid",
            Self::Forbidden => "Not allowed",
            Self::CrossOrigin => "The request came from another site",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "It contradicts what stands",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "JSON was expected",
            Self::Invalid => "A value cannot be used",
            Self::TooOld => "Too old",
            Self::RateLimited => "Too many requests",
            Self::Provider => "The provider did not help",
            Self::Internal => "Something went wrong on our side",
            Self::Unavailable => "Not available right now",
            Self::Timeout => "It took too long",
        }
    }

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadState => "bad_state",
            Self::Unauthorized => "unauthorized",
            Self::BadSignature => "bad_signature",
            Self::Forbidden => "forbidden",
            Self::CrossOrigin => "cross_origin",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::TooOld => "too_old",
            Self::RateLimited => "rate_limited",
            Self::Provider => "provider",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadState => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossOrigin => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooOld => StatusCode::UPGRADE_REQUIRED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Provider => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// A refusal or failure. As a response it is `application/problem+json`; pages wrap it and render it themselves.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// Which kind of refusal: it decides status and heading.
    pub code: Code,
    /// A more exact word for programs than the kind's own.
    pub word: Option<&'static str>,
    /// What happened and what was expected, for people.
    pub detail: String,
    /// The next step.
    pub hint: Option<String>,
    /// Which value of the request is meant.
    pub field: Option<String>,
    /// After how many seconds it is worth trying again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error with words for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, word: None, detail: detail.into(), hint: None, field: None, retry_after: None }
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the value that is meant.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// With a time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// It does not exist, or the caller may not know of it: the same words for both.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing here, or you may not see it")
    }

    /// A failure of ours. The cause goes to the log, never to the caller.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(cause), "request failed");
        Self::new(Code::Internal, "an error of ours, it is in the log under this request id")
    }

    /// Something that we need is away. The cause goes to the log, never to the caller.
    pub fn unavailable(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(cause), "request failed: not available");
        Self::new(Code::Unavailable, "the database is not available").hint("try again in a moment").retry_after(5)
    }
}

/// An error and its causes in one line for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The body of an error, by RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// For programs: one of the general words (`not_found`, `invalid`, ...) or a more exact one (`scope_missing`).
    pub code: String,
    /// The heading for people.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what was expected.
    pub detail: String,
    /// The next step.
    pub hint: Option<String>,
    /// Which value of the request is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For questions to the administrator.
    pub request_id: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let problem = Problem {
            code: self.word.map_or_else(|| self.code.as_str().to_owned(), str::to_owned),
            title: self.code.title(),
            status: status.as_u16(),
            detail: self.detail,
            hint: self.hint,
            field: self.field,
            request_id: request_id::current(),
        };
        let body = serde_json::to_vec(&problem).expect("a struct of texts and numbers always serializes");
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"slipway\""));
        }
        response
    }
}
