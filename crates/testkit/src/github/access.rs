//! Who asks, and whether they may: tokens, scopes, organization restrictions.
//! Invariant: lost access reads as 404, an organization's restriction as 403 with GitHub's text, a dead token as 401.

use axum::http::StatusCode;

use super::api::reply::ApiError;
use super::state::{Repo, State};
use super::types::{Permission, Visibility};
pub(crate) use crate::provider::credentials::{Credentials, credentials};

/// The side that sent a request.
#[derive(Clone)]
pub(crate) enum Caller {
    Anonymous,
    User { id: u64, scopes: Vec<String>, app: Option<String> },
}

/// What a request wants to do with a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Push,
    SetStatus,
    ReadHooks,
    WriteHooks,
    DeleteHooks,
}

impl Caller {
    pub(crate) fn user(&self) -> Option<u64> {
        match self {
            Self::Anonymous => None,
            Self::User { id, .. } => Some(*id),
        }
    }

    pub(crate) fn scopes(&self) -> &[String] {
        match self {
            Self::Anonymous => &[],
            Self::User { scopes, .. } => scopes,
        }
    }

    pub(crate) fn app(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User { app, .. } => app.as_deref(),
        }
    }

    pub(crate) fn has_any(&self, wanted: &[&str]) -> bool {
        self.scopes().iter().any(|scope| wanted.contains(&scope.as_str()))
    }
}

impl State {
    fn caller_by_token(&self, value: &str) -> Option<Caller> {
        let token = self.tokens.iter().find(|token| token.value == value)?;
        Some(Caller::User { id: token.user, scopes: token.scopes.clone(), app: token.app.clone() })
    }

    /// The caller behind a header. A token is taken as Bearer, as Basic password and as Basic user name,
    /// as GitHub does (`https://TOKEN:x-oauth-basic@...`, `x-access-token:TOKEN@...`).
    pub(crate) fn caller(&self, credentials: &Credentials) -> Result<Caller, ApiError> {
        let found = match credentials {
            Credentials::None => return Ok(Caller::Anonymous),
            Credentials::Token(value) => self.caller_by_token(value),
            Credentials::Basic(user, password) => self.caller_by_token(password).or_else(|| self.caller_by_token(user)),
        };
        let caller = found.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Bad credentials"))?;
        let suspended = caller.user().and_then(|id| self.user(id)).is_none_or(|user| user.suspended);
        if suspended {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "Sorry. Your account was suspended."));
        }
        Ok(caller)
    }

    /// Whether the organization `owner` keeps the caller's app out.
    pub(crate) fn keeps_out(&self, owner: u64, caller: &Caller) -> bool {
        match (self.organization(owner), caller.app()) {
            (Some(organization), Some(app)) => organization.restricted && !organization.approved_apps.contains(app),
            _ => false,
        }
    }

    /// The most that the caller's scopes let it do with this repository, whatever the person's rights.
    fn scope_ceiling(repo: &Repo, caller: &Caller, need: Need) -> Permission {
        let hooks: &[&str] = match need {
            Need::ReadHooks => &["admin:repo_hook", "write:repo_hook", "read:repo_hook"],
            Need::WriteHooks => &["admin:repo_hook", "write:repo_hook"],
            Need::DeleteHooks => &["admin:repo_hook"],
            Need::SetStatus => &["repo:status"],
            Need::Read | Need::Push => &[],
        };
        let public = repo.visibility == Visibility::Public;
        if caller.has_any(&["repo"]) || (public && caller.has_any(&["public_repo"])) || caller.has_any(hooks) {
            Permission::Admin
        } else if public {
            Permission::Read
        } else {
            Permission::None
        }
    }

    /// Checks that the caller may do `need` with `repo`.
    pub(crate) fn check(&self, repo: &Repo, caller: &Caller, need: Need) -> Result<(), ApiError> {
        let public = repo.visibility == Visibility::Public;
        let person = match caller.user() {
            Some(user) => self.permission(repo, user),
            None if public => Permission::Read,
            None => Permission::None,
        };
        if person == Permission::None {
            return Err(ApiError::not_found());
        }
        if self.keeps_out(repo.owner, caller) && !(public && need == Need::Read) {
            return Err(ApiError::restricted(self.login(repo.owner)));
        }
        let allowed = person.min(Self::scope_ceiling(repo, caller, need));
        if allowed == Permission::None {
            return Err(ApiError::not_found());
        }
        match need {
            Need::Read => Ok(()),
            Need::Push if allowed >= Permission::Write => Ok(()),
            Need::Push => Err(ApiError::new(StatusCode::FORBIDDEN, "Must have push access to repository")),
            Need::SetStatus if allowed >= Permission::Write => Ok(()),
            // GitHub hides what a caller may not manage: no admin right on hooks is a 404.
            Need::ReadHooks | Need::WriteHooks | Need::DeleteHooks if allowed == Permission::Admin => Ok(()),
            _ => Err(ApiError::not_found()),
        }
    }
}

/// The scopes that a granted one already contains (GitHub docs, "Normalized scopes").
pub(crate) fn normalise_scopes<'a>(asked: impl Iterator<Item = &'a str>) -> Vec<String> {
    const CHILDREN: &[(&str, &[&str])] = &[
        ("repo", &["repo:status", "repo_deployment", "public_repo", "repo:invite"]),
        ("user", &["read:user", "user:email", "user:follow"]),
        ("admin:org", &["write:org", "read:org"]),
        ("write:org", &["read:org"]),
        ("admin:repo_hook", &["write:repo_hook", "read:repo_hook"]),
        ("write:repo_hook", &["read:repo_hook"]),
    ];
    const ALONE: &[&str] = &["admin:org_hook", "gist", "workflow", "delete_repo", "notifications"];
    let known =
        |scope: &str| ALONE.contains(&scope) || CHILDREN.iter().any(|(parent, children)| *parent == scope || children.contains(&scope));
    let mut scopes: Vec<&str> = asked.filter(|scope| known(scope)).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let all = scopes.clone();
    scopes.retain(|scope| !CHILDREN.iter().any(|(parent, children)| children.contains(scope) && all.contains(parent)));
    scopes.into_iter().map(str::to_owned).collect()
}
