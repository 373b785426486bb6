//! The one place where a request's right is checked. A [`Permit`] can only be had here, and every operation demands one.
//!
//! Invariant: a repository that is unknown, private, or not in the token answers the same: 401 with a challenge that names
//! the scope to ask for. Rights are bound to the repository's id, so a token for a deleted repository is worth nothing
//! for one made again under its name.

use axum::http::{HeaderMap, header};
use slipway_app::{RegistryAccess, RegistryAction};
use slipway_model::{BuildId, CACHE_TAG, RepositoryId, RepositoryPath};
use slipway_oci::{Access, Action, ErrorCode, RepositoryName, Tag};
use slipway_store::repositories;

use crate::Registry;
use crate::failure::Failure;

/// The right to do one action in one repository.
#[derive(Debug)]
pub(crate) struct Permit {
    access: RegistryAccess,
    owner: String,
    repository: RepositoryId,
}

impl Permit {
    /// Where.
    pub(crate) fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The credential: uploads belong to it.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether a push by tag moves the tag. A build's does not, its tags move after its tests have passed; the cache's tag is builds' alone.
    pub(crate) fn moves(&self, tag: &Tag) -> bool {
        self.build().is_some() == (tag.as_str() == CACHE_TAG)
    }

    /// The build and its attempt whose credential it is.
    pub(crate) fn build(&self) -> Option<(BuildId, u32)> {
        self.access.build()
    }
}

/// What was permitted.
#[derive(Debug)]
pub(crate) enum Right {
    /// Something about the registry as a whole.
    Registry,
    /// Something in a repository.
    Repository(Permit),
}

impl Registry {
    /// Checks the right that `action` needs.
    pub(crate) async fn authorise(&self, action: &Action, headers: &HeaderMap) -> Result<Right, Failure> {
        let wanted = action.access();
        let scope = match (wanted, action) {
            (Some((name, access)), _) => Some(format!("repository:{name}:{}", scope_actions(access))),
            (None, Action::Catalog(_)) => Some("registry:catalog:*".to_owned()),
            (None, _) => None,
        };
        let Some(token) = bearer(headers) else {
            return Err(self.challenge(scope.as_deref(), None));
        };
        let Some(access) = self.app.registry_access(token).await? else {
            return Err(self.challenge(scope.as_deref(), Some("invalid_token")));
        };
        let Some((name, needed)) = wanted else {
            return match action {
                Action::Catalog(_) if !access.is_administrator() => {
                    Err(Failure::new(ErrorCode::Denied, "the catalog is for administrators of the installation"))
                }
                _ => Ok(Right::Registry),
            };
        };
        match self.find_repository(name).await? {
            Some(repository) if self.app.registry_allows(&access, repository, registry_action(needed)).await? => {
                Ok(Right::Repository(Permit { owner: access.owner(), access, repository }))
            }
            _ => Err(self.challenge(scope.as_deref(), Some("insufficient_scope"))),
        }
    }

    /// The repository `name`, if whoever holds the permit may also pull from it.
    pub(crate) async fn may_pull(&self, permit: &Permit, name: &RepositoryName) -> Result<Option<RepositoryId>, Failure> {
        let Some(repository) = self.find_repository(name).await? else { return Ok(None) };
        let allowed = self.app.registry_allows(&permit.access, repository, RegistryAction::Pull).await?;
        Ok(allowed.then_some(repository))
    }

    async fn find_repository(&self, name: &RepositoryName) -> Result<Option<RepositoryId>, Failure> {
        // A name that no repository of ours can have is unknown like any other.
        let Ok(path) = name.as_str().parse::<RepositoryPath>() else { return Ok(None) };
        let mut tx = self.app.db().read().await?;
        Ok(repositories::get_by_name(&mut tx, &path.namespace, &path.name).await?.map(|repository| repository.id))
    }

    /// 401 that tells the client where to get a token and for what (Docker registry token specification).
    fn challenge(&self, scope: Option<&str>, error: Option<&str>) -> Failure {
        let realm = self.app.address("/auth/token");
        let mut header = format!("Bearer realm=\"{realm}\",service=\"{}\"", self.app.registry_host());
        for (key, value) in [("scope", scope), ("error", error)] {
            if let Some(value) = value {
                header.push_str(&format!(",{key}=\"{value}\""));
            }
        }
        let text = match error {
            Some("insufficient_scope") => "there is no such repository, or these credentials do not suffice",
            _ => "log in with your name and an access token",
        };
        Failure::new(ErrorCode::Unauthorized, text).header(header::WWW_AUTHENTICATE, header)
    }
}

fn registry_action(access: Access) -> RegistryAction {
    match access {
        Access::Pull => RegistryAction::Pull,
        Access::Push => RegistryAction::Push,
        Access::Delete => RegistryAction::Delete,
    }
}

/// What a client should ask for: pushing also reads.
fn scope_actions(access: Access) -> &'static str {
    match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
        Access::Delete => "delete",
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
