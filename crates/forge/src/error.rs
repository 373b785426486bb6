//! What can go wrong at a provider. Each variant is another decision for the caller.
//!
//! Invariant: no token and no secret of ours is ever part of an error; remote words are cut and cleaned (`text::remote`).

use std::time::Duration;

use url::Url;

/// A request to a provider that did not bring what was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForgeError {
    /// The token (or our application's secret) is not valid: link anew.
    #[error("the provider does not accept the credentials: {detail}")]
    Unauthorized {
        /// The provider's words.
        detail: String,
    },
    /// The token is valid but does not allow this.
    #[error("the provider does not allow it: {detail}")]
    Forbidden {
        /// The provider's words.
        detail: String,
    },
    /// It does not exist, or the token may not see it: providers do not tell which.
    #[error("the provider does not know it, or does not show it to this account")]
    NotFound,
    /// Too many requests.
    #[error("the provider wants us to wait {} seconds", retry_after.as_secs())]
    RateLimited {
        /// How long to stay quiet.
        retry_after: Duration,
    },
    /// An organization does not let our application (or this session) in; a person has to grant it there.
    #[error("the organization `{}` restricts access", organization.as_deref().unwrap_or("(unnamed)"))]
    Restricted {
        /// Its name, when the provider tells it.
        organization: Option<String>,
        /// Where a person grants it, when the provider tells (SAML: an address that works for an hour).
        grant_url: Option<Url>,
    },
    /// The person, the installation or our application is suspended at the provider.
    #[error("the provider suspended it: {detail}")]
    Suspended {
        /// The provider's words.
        detail: String,
    },
    /// The token is valid but lacks a scope that this call needs.
    #[error("the grant lacks {}: {detail}", scopes_in_words(scopes))]
    MissingScope {
        /// Any one of these would do.
        scopes: Vec<String>,
        /// The provider's words.
        detail: String,
    },
    /// This kind of provider has no such call; a person can do it by hand.
    #[error("{detail}")]
    Unsupported {
        /// What is missing, in words.
        detail: String,
        /// Where a person can do it.
        url: Option<Url>,
    },
    /// No answer.
    #[error("the provider cannot be reached: {detail}")]
    Unreachable {
        /// What the network said.
        detail: String,
    },
    /// An answer that we do not understand.
    #[error("the provider answered {status}: {detail}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The provider's words or what was wrong with them.
        detail: String,
    },
    /// The token endpoint refused, in the words of OAuth.
    #[error("the provider refused the authorization with `{code}`: {detail}")]
    Refused {
        /// For programs: `bad_verification_code`, `bad_refresh_token`, ...
        code: String,
        /// For people.
        detail: String,
    },
    /// The provider's configuration cannot be used.
    #[error("the provider's configuration cannot be used: {detail}")]
    Misconfigured {
        /// What is wrong.
        detail: String,
    },
}

fn scopes_in_words(scopes: &[String]) -> String {
    match scopes {
        [] => "a scope".to_owned(),
        [one] => format!("the scope `{one}`"),
        several => format!("one of the scopes `{}`", several.join("`, `")),
    }
}

impl ForgeError {
    /// Whether the same request may succeed later without anybody's help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable { .. } => true,
            Self::Unexpected { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
