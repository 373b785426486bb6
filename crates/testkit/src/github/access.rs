//! Who asks, and whether they may: tokens, scopes, permissions of Apps.
//! Invariant: lost access reads as 404, an organization's rule as 403 with GitHub's text (`gates`), a dead token as 401.

use axum::http::StatusCode;

use super::api::reply::ApiError;
use super::apps::InstallationToken;
use super::state::{Repo, State};
use super::types::{CredentialKind, Permission, Visibility};
pub(crate) use crate::provider::credentials::{Credentials, credentials};

/// The side that sent a request.
#[derive(Clone)]
pub(crate) enum Caller {
    Anonymous,
    /// A person, by a token of an app (`app`, `token`), by one of their own (`token`) or in a browser (neither).
    User {
        id: u64,
        scopes: Vec<String>,
        app: Option<String>,
        token: Option<u64>,
    },
    /// A GitHub App where it is installed.
    Installation(InstallationToken),
    /// A GitHub App as itself, by a JSON web token.
    App(String),
}

/// What a request wants to do with a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Fetch,
    Push,
    SetStatus,
    ReadHooks,
    WriteHooks,
    DeleteHooks,
    ReadKeys,
    WriteKeys,
}

impl Need {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::Fetch | Self::ReadHooks | Self::ReadKeys)
    }

    /// The permission of a GitHub App that this takes, and how much of it.
    fn permission(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => ("metadata", "read"),
            Self::Fetch => ("contents", "read"),
            Self::Push => ("contents", "write"),
            Self::SetStatus => ("statuses", "write"),
            Self::ReadHooks => ("repository_hooks", "read"),
            Self::WriteHooks | Self::DeleteHooks => ("repository_hooks", "write"),
            Self::ReadKeys => ("administration", "read"),
            Self::WriteKeys => ("administration", "write"),
        }
    }
}

impl Caller {
    /// A person in their own browser.
    pub(crate) fn person(id: u64) -> Self {
        Self::User { id, scopes: vec!["repo".to_owned()], app: None, token: None }
    }

    pub(crate) fn user(&self) -> Option<u64> {
        match self {
            Self::User { id, .. } => Some(*id),
            _ => None,
        }
    }

    pub(crate) fn scopes(&self) -> &[String] {
        match self {
            Self::User { scopes, .. } => scopes,
            _ => &[],
        }
    }

    /// The app whose credential this is.
    pub(crate) fn app(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User { app, .. } => app.as_deref(),
            Self::Installation(token) => Some(&token.app),
            Self::App(client_id) => Some(client_id),
        }
    }

    /// The row of a person's token.
    pub(crate) fn token(&self) -> Option<u64> {
        match self {
            Self::User { token, .. } => *token,
            _ => None,
        }
    }

    pub(crate) fn has_any(&self, wanted: &[&str]) -> bool {
        self.scopes().iter().any(|scope| wanted.contains(&scope.as_str()))
    }
}

impl State {
    fn caller_by_secret(&self, value: &str) -> Result<Caller, ApiError> {
        if let Some(found) = self.caller_by_token(value) {
            return Ok(found);
        }
        if let Some(found) = self.caller_by_installation_token(value) {
            return found;
        }
        match self.kind_of(value) {
            CredentialKind::AppJwt => self.caller_by_jwt(value),
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Bad credentials")),
        }
    }

    /// The caller behind a header. A token is taken as Bearer, as Basic password and as Basic user name,
    /// as GitHub does (`https://TOKEN:x-oauth-basic@...`, `x-access-token:TOKEN@...`).
    pub(crate) fn caller(&self, credentials: &Credentials) -> Result<Caller, ApiError> {
        let caller = match credentials {
            Credentials::None => return Ok(Caller::Anonymous),
            Credentials::Token(value) => self.caller_by_secret(value)?,
            Credentials::Basic(user, password) => match self.caller_by_token(user) {
                Some(caller) => caller,
                None => self.caller_by_secret(password)?,
            },
        };
        if caller.user().is_some_and(|id| self.user(id).is_none_or(|user| user.suspended)) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "Sorry. Your account was suspended."));
        }
        Ok(caller)
    }

    /// What kind of credential a request shows, for the record.
    pub(crate) fn credential_kind(&self, credentials: &Credentials) -> CredentialKind {
        match credentials {
            Credentials::None => CredentialKind::None,
            Credentials::Token(value) => self.kind_of(value),
            Credentials::Basic(user, _) if self.apps.contains_key(user) => CredentialKind::Basic,
            Credentials::Basic(user, password) => match self.kind_of(password) {
                CredentialKind::Unknown => self.kind_of(user),
                kind => kind,
            },
        }
    }

    /// The most that an OAuth token's scopes let it do with this repository, whatever the person's rights.
    fn scope_ceiling(repo: &Repo, caller: &Caller, need: Need) -> Permission {
        let narrow: &[&str] = match need {
            Need::ReadHooks => &["admin:repo_hook", "write:repo_hook", "read:repo_hook"],
            Need::WriteHooks => &["admin:repo_hook", "write:repo_hook"],
            Need::DeleteHooks => &["admin:repo_hook"],
            Need::SetStatus => &["repo:status"],
            _ => &[],
        };
        let public = repo.visibility == Visibility::Public;
        if caller.has_any(&["repo"]) || (public && caller.has_any(&["public_repo"])) || caller.has_any(narrow) {
            Permission::Admin
        } else if public {
            Permission::Read
        } else {
            Permission::None
        }
    }

    /// The most that the credential lets its caller do; a GitHub App is limited by repositories and by permissions.
    fn ceiling(&self, repo: &Repo, caller: &Caller, need: Need) -> Result<Permission, ApiError> {
        let Some(granted) = self.app_permissions(repo, caller) else {
            return Ok(Self::scope_ceiling(repo, caller, need));
        };
        let public = repo.visibility == Visibility::Public;
        let (name, level) = need.permission();
        match granted {
            None if public && matches!(need, Need::Read | Need::Fetch) => Ok(Permission::Read),
            None if public => Err(ApiError::new(StatusCode::FORBIDDEN, "Resource not accessible by integration")),
            None => Ok(Permission::None),
            Some(_) if need == Need::Read => Ok(Permission::Admin),
            Some(permissions) => match permissions.get(name).map(String::as_str) {
                Some("write") => Ok(Permission::Admin),
                Some("read") if level == "read" => Ok(Permission::Admin),
                _ if public && need == Need::Fetch => Ok(Permission::Read),
                _ => Err(ApiError::new(StatusCode::FORBIDDEN, "Resource not accessible by integration")),
            },
        }
    }

    /// Checks that the caller may do `need` with `repo`.
    pub(crate) fn check(&self, repo: &Repo, caller: &Caller, need: Need) -> Result<(), ApiError> {
        let person = match caller {
            Caller::User { id, .. } => self.permission(repo, *id),
            Caller::Installation(token) if token.reaches(self, repo) => Permission::Admin,
            _ if repo.visibility == Visibility::Public => Permission::Read,
            _ => Permission::None,
        };
        if person == Permission::None {
            return Err(ApiError::not_found());
        }
        self.gates(repo, caller, need)?;
        let allowed = person.min(self.ceiling(repo, caller, need)?);
        if allowed == Permission::None {
            return Err(ApiError::not_found());
        }
        match need {
            Need::Read | Need::Fetch => Ok(()),
            Need::Push if allowed >= Permission::Write => Ok(()),
            Need::Push => Err(ApiError::new(StatusCode::FORBIDDEN, "Must have push access to repository")),
            Need::SetStatus if allowed >= Permission::Write => Ok(()),
            // GitHub hides what a caller may not manage: no admin right on hooks and keys is a 404.
            _ if allowed == Permission::Admin => Ok(()),
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
