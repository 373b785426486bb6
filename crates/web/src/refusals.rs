//! Which answer an error of the application is. The only place that maps one to the other.

use slipway_app::{Error, RefusalKind, store::StoreError};
use slipway_forge::ForgeError;

use crate::error::{ApiError, Code};

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::not_found(),
            Error::Refused(refusal) => {
                let code = match refusal.kind {
                    RefusalKind::Invalid => Code::Invalid,
                    RefusalKind::Conflict => Code::Conflict,
                    RefusalKind::Forbidden => Code::Forbidden,
                    RefusalKind::Unauthenticated => Code::Unauthorized,
                    RefusalKind::Unavailable => Code::Unavailable,
                    RefusalKind::Bad => Code::BadRequest,
                    RefusalKind::TooMany => Code::RateLimited,
                };
                let retry_after = refusal.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
                Self { word: Some(refusal.code), hint: refusal.hint, field: refusal.field, retry_after, ..Self::new(code, refusal.detail) }
            }
            Error::Store(error) => error.into(),
            Error::Forge { provider, error } => forge(provider.as_str(), &error),
            error @ (Error::Sealed | Error::Internal(_)) => Self::internal(&error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            // Two requests at once: the second may try again and will see what the first did.
            StoreError::Conflict(_) => {
                tracing::warn!(%error, "a request lost a race");
                Self::new(Code::Conflict, "somebody else changed the same thing at the same moment")
                    .hint("read it again and repeat the request")
            }
            StoreError::Unavailable(_) => Self::unavailable(&error),
            _ => Self::internal(&error),
        }
    }
}

/// A provider's words may be shown: `forge` has cut and cleaned them, and no secret is in them.
fn forge(provider: &str, error: &ForgeError) -> ApiError {
    tracing::warn!(provider, %error, "a provider did not help");
    let answer = |code, word| ApiError { word: Some(word), ..ApiError::new(code, format!("provider `{provider}`: {error}")) };
    match error {
        ForgeError::Unauthorized { .. } => answer(Code::Conflict, "link_revoked").hint("link the provider again under Source providers"),
        ForgeError::Forbidden { .. } => answer(Code::Conflict, "provider_forbids"),
        ForgeError::NotFound => answer(Code::Invalid, "source_not_found").hint("check the name, and that the linked account may see it"),
        ForgeError::RateLimited { retry_after } => answer(Code::Unavailable, "provider_rate_limit").retry_after(retry_after.as_secs()),
        ForgeError::Restricted { .. } => {
            answer(Code::Conflict, "organization_restricted").hint("an owner of the organization has to grant access at the provider")
        }
        ForgeError::MissingScope { .. } => {
            answer(Code::Conflict, "scope_missing").hint("link the provider again under Source providers and grant what it asks for")
        }
        ForgeError::Suspended { .. } => answer(Code::Conflict, "provider_suspended").hint("the account at the provider has to be restored"),
        ForgeError::Unsupported { .. } => answer(Code::Conflict, "provider_cannot"),
        ForgeError::Unreachable { .. } => answer(Code::Unavailable, "provider_unreachable").retry_after(30),
        ForgeError::Unexpected { .. } => answer(Code::Provider, "provider_answer"),
        ForgeError::Refused { .. } => answer(Code::BadRequest, "authorization_refused").hint("begin the link again"),
        ForgeError::Misconfigured { .. } => {
            answer(Code::Internal, "provider_misconfigured").hint("the administrator finds the cause with `slipway check-config`")
        }
    }
}
