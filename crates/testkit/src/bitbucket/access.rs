//! Who asks, and whether they may: tokens, scopes, roles.
//! Invariant: a dead token reads as 401, a missing scope as 403 that names it, lost access as 404.

use axum::http::StatusCode;

use super::api::reply::ApiError;
use super::state::{Repo, State};
use super::types::Permission;
use crate::provider::credentials::Credentials;

/// The side that sent a request.
#[derive(Clone)]
pub(crate) enum Caller {
    Anonymous,
    Person { uuid: String, scopes: Vec<String>, consumer: Option<String> },
}

impl Caller {
    pub(crate) fn person(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Person { uuid, .. } => Some(uuid),
        }
    }

    pub(crate) fn scopes(&self) -> &[String] {
        match self {
            Self::Anonymous => &[],
            Self::Person { scopes, .. } => scopes,
        }
    }

    pub(crate) fn consumer(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Person { consumer, .. } => consumer.as_deref(),
        }
    }

    pub(crate) fn has(&self, wanted: &str) -> bool {
        self.scopes().iter().any(|scope| scope == wanted || implied(scope).contains(&wanted))
    }

    /// Checks that the token has all of these scopes.
    pub(crate) fn require(&self, wanted: &[&str]) -> Result<(), ApiError> {
        match self {
            Self::Person { .. } if !wanted.iter().all(|scope| self.has(scope)) => Err(ApiError::scopes(wanted, self.scopes())),
            _ => Ok(()),
        }
    }

    pub(crate) fn signed_in(&self) -> Result<&str, ApiError> {
        self.person().ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Authentication is required to access this resource."))
    }
}

/// Scopes that come with another one (Bitbucket's description, "Bitbucket OAuth 2.0 scopes").
fn implied(scope: &str) -> &'static [&'static str] {
    match scope {
        "project" | "repository:write" | "pullrequest" => &["repository"],
        "pullrequest:write" => &["pullrequest", "repository:write", "repository"],
        "issue:write" => &["issue"],
        "account:write" => &["account"],
        _ => &[],
    }
}

impl State {
    /// The caller behind a header: Bearer for an OAuth token, Basic for a person's API token.
    pub(crate) fn caller(&self, credentials: &Credentials) -> Result<Caller, ApiError> {
        match credentials {
            Credentials::None => Ok(Caller::Anonymous),
            Credentials::Token(value) => self.by_token(value, None),
            Credentials::Basic(user, password) => self.by_token(password, Some(user)),
        }
    }

    /// The caller of git: `x-token-auth` and an OAuth token, or a person's own API token.
    pub(crate) fn git_caller(&self, credentials: &Credentials) -> Result<Caller, ApiError> {
        match credentials {
            Credentials::Basic(user, password) if user == "x-token-auth" => self.by_token(password, None),
            Credentials::Token(_) => Err(ApiError::bad_token()),
            other => self.caller(other),
        }
    }

    /// A token of an app without `owner`, a person's own token with its owner's e-mail address or nickname.
    fn by_token(&self, value: &str, owner: Option<&str>) -> Result<Caller, ApiError> {
        let token = self.access.get(value).ok_or_else(ApiError::bad_token)?;
        let person = self.people.get(&token.person).ok_or_else(ApiError::bad_token)?;
        let fits = match owner {
            Some(owner) => token.consumer.is_none() && (person.email == owner || person.nickname == owner),
            None => token.consumer.is_some(),
        };
        if !fits {
            return Err(ApiError::bad_token());
        }
        if token.expires_ms <= self.now_ms() {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "Access token expired. Use your refresh token to obtain a new access token.",
            ));
        }
        if person.suspended {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "Forbidden"));
        }
        Ok(Caller::Person { uuid: person.uuid.clone(), scopes: token.scopes.clone(), consumer: token.consumer.clone() })
    }

    /// Checks that the caller may do so much with a repository; what one may not see is not there.
    pub(crate) fn check(&self, repo: &Repo, caller: &Caller, need: Permission) -> Result<(), ApiError> {
        let public = if repo.private { Permission::None } else { Permission::Read };
        let person = caller.person().map_or(Permission::None, |person| self.explicit_permission(repo, person)).max(public);
        match person {
            Permission::None => Err(ApiError::no_repository(&self.full_name(repo))),
            has if has >= need => Ok(()),
            _ if need == Permission::Admin => Err(ApiError::new(StatusCode::FORBIDDEN, "Access denied. You must have admin access.")),
            _ => Err(ApiError::new(StatusCode::FORBIDDEN, "Access denied. You must have write or admin access.")),
        }
    }
}
