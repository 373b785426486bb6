//! Rights in the built-in registry: who logs in, what they are granted, and the short-lived tokens that carry it.
//!
//! Invariants: a grant names the repository's id, so a token dies with the repository, also when one of the same name follows.
//! A token names the credential it was made from; when that is revoked, its build's lease ends, or the right behind a grant is taken,
//! the token is worth nothing from the next request on.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use slipway_model::{
    AccountId, AccountName, BuildId, Lane, RepositoryId, RepositoryPath, Scope, SecretToken, Timestamp, TokenId, TokenKind, Visibility,
};
use slipway_store::builds::Build;
use slipway_store::repositories::Repository;
use slipway_store::tokens::Token;
use slipway_store::{ReadTx, StoreError, accounts, builds, repositories, teams, tokens};

use crate::{App, Error};

const TOKEN_LIFE: Duration = Duration::from_secs(300);
const SKEW: Duration = Duration::from_secs(60);
/// The name that a build logs in with.
pub const BUILD_USER: &str = "slipway-build";

/// What one may do with a repository in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryAction {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove tags and manifests.
    Delete,
}

#[derive(Clone, Debug)]
enum Who {
    Anonymous,
    Account(Token),
    Build { build: BuildId, attempt: u32, own: OwnRepository },
}

/// The repository that a build is made for, and on which terms.
#[derive(Clone, Copy, Debug)]
struct OwnRepository {
    id: RepositoryId,
    account: AccountId,
    lane: Lane,
    publish: bool,
}

impl OwnRepository {
    fn of(build: &Build, repository: &Repository) -> Self {
        Self { id: repository.id, account: repository.account, lane: build.terms.lane, publish: build.terms.publish }
    }
}

/// Somebody who logged in to the registry, or nobody in particular.
#[derive(Clone, Debug)]
pub struct RegistryCaller(Who);

impl RegistryCaller {
    /// Somebody without a credential.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Who::Anonymous)
    }
}

/// Actions on one repository: at most those that were asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistryGrant {
    /// The repository; a token is bound to it, not to its name.
    pub repository: RepositoryId,
    /// Allowed.
    pub actions: Vec<RegistryAction>,
}

/// A token as the token service answers it.
#[derive(Debug)]
pub struct RegistryToken {
    /// JWT, HS256.
    pub token: SecretString,
    /// When it was made.
    pub issued_at: Timestamp,
    /// How long it lives.
    pub life: Duration,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Credential {
    Anonymous,
    Token { id: TokenId, account: AccountId },
    Build { id: BuildId, attempt: u32 },
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    credential: Credential,
    access: Vec<RegistryGrant>,
}

/// What the bearer of a verified token may do, checked against the database a moment ago.
#[derive(Clone, Debug)]
pub struct RegistryAccess {
    credential: Credential,
    grants: Vec<RegistryGrant>,
    administrator: bool,
}

impl RegistryAccess {
    /// A key of the credential behind the token: uploads belong to it.
    #[must_use]
    pub fn owner(&self) -> String {
        match &self.credential {
            Credential::Anonymous => "anonymous".into(),
            Credential::Token { id, .. } => format!("token:{id}"),
            Credential::Build { id, attempt } => format!("build:{id}:{attempt}"),
        }
    }

    /// The build and the attempt whose credential it is. A build stores manifests by digest and moves no tag.
    #[must_use]
    pub fn build(&self) -> Option<(BuildId, u32)> {
        match self.credential {
            Credential::Build { id, attempt } => Some((id, attempt)),
            _ => None,
        }
    }

    /// Whether it is an administrator's, for the catalog.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.administrator
    }
}

/// Strangers pull what is public.
fn anonymous_may(repository: &Repository, action: RegistryAction) -> bool {
    repository.visibility == Visibility::Public && action == RegistryAction::Pull
}

/// A build pushes to its own repository, and pulls from there, from what is public, and from those of its namespace that everybody who
/// may change its settings may read: `FROM` must not be a way around the teams. One that is not to be pushed pushes nothing, and one that anybody
/// may have written pulls what strangers pull.
async fn build_may(tx: &mut ReadTx, own: OwnRepository, repository: &Repository, action: RegistryAction) -> Result<bool, StoreError> {
    if own.lane == Lane::Untrusted {
        return Ok(anonymous_may(repository, action));
    }
    Ok(match action {
        RegistryAction::Pull if repository.visibility == Visibility::Public || repository.id == own.id => true,
        RegistryAction::Pull => repository.account == own.account && teams::admins_read(tx, own.id, repository.id).await?,
        RegistryAction::Push => repository.id == own.id && own.publish,
        RegistryAction::Delete => false,
    })
}

impl App {
    /// The one who logs in with name and password: a person with an access token, or a build with its credential.
    /// `None` when they do not fit together.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn registry_caller(&self, username: &str, password: &SecretString, from: &str) -> Result<Option<RegistryCaller>, Error> {
        let password = password.expose_secret();
        if username == BUILD_USER {
            let Some(token) = SecretToken::presented(TokenKind::Build, password) else { return Ok(None) };
            let mut tx = self.read().await?;
            let Some(build) = builds::get_by_registry_token(&mut tx, &token.hash(), self.clock.now()).await? else { return Ok(None) };
            let Some(repository) = repositories::get(&mut tx, build.repository).await? else { return Ok(None) };
            let who = Who::Build { build: build.id, attempt: build.attempt, own: OwnRepository::of(&build, &repository) };
            return Ok(Some(RegistryCaller(who)));
        }
        let Some(token) = SecretToken::presented(TokenKind::Personal, password) else { return Ok(None) };
        let Ok(username) = username.parse::<AccountName>() else { return Ok(None) };
        let Some(caller) = self.caller_by_token(&token, from).await? else { return Ok(None) };
        let mut tx = self.read().await?;
        // A former name logs in too: scripts outlive a rename.
        if accounts::find(&mut tx, &username).await?.is_none_or(|account| account.id != caller.account().id) {
            return Ok(None);
        }
        let found = tokens::get_by_hash(&mut tx, &token.hash(), self.clock.now()).await?;
        Ok(found.map(|found| RegistryCaller(Who::Account(found))))
    }

    /// Which of the asked actions the caller may do. `None` when that is nothing, or there is no such repository: the two look the same.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn registry_grant(
        &self,
        caller: &RegistryCaller,
        name: &str,
        asked: &[RegistryAction],
    ) -> Result<Option<RegistryGrant>, Error> {
        let Ok(path) = name.parse::<RepositoryPath>() else { return Ok(None) };
        let mut tx = self.read().await?;
        let Some(repository) = repositories::get_by_name(&mut tx, &path.namespace, &path.name).await? else { return Ok(None) };
        let mut actions = Vec::new();
        for action in asked.iter().copied() {
            let allowed = match &caller.0 {
                Who::Anonymous => anonymous_may(&repository, action),
                Who::Build { own, .. } => build_may(&mut tx, *own, &repository, action).await?,
                Who::Account(token) => Self::token_may(&mut tx, token, &repository, action).await?,
            };
            if allowed {
                actions.push(action);
            }
        }
        Ok((!actions.is_empty()).then_some(RegistryGrant { repository: repository.id, actions }))
    }

    /// Whether a token allows an action on a repository: it was granted, and the right behind it still stands.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn registry_allows(&self, access: &RegistryAccess, repository: RepositoryId, action: RegistryAction) -> Result<bool, Error> {
        if !access.grants.iter().any(|grant| grant.repository == repository && grant.actions.contains(&action)) {
            return Ok(false);
        }
        let mut tx = self.read().await?;
        let Some(repository) = repositories::get(&mut tx, repository).await? else { return Ok(false) };
        self.right_stands(&mut tx, &access.credential, &repository, action).await
    }

    async fn right_stands(
        &self,
        tx: &mut ReadTx,
        credential: &Credential,
        repository: &Repository,
        action: RegistryAction,
    ) -> Result<bool, Error> {
        Ok(match credential {
            Credential::Anonymous => anonymous_may(repository, action),
            Credential::Token { id, .. } => match tokens::get(tx, *id, self.clock.now()).await? {
                Some(token) => Self::token_may(tx, &token, repository, action).await?,
                None => false,
            },
            Credential::Build { id, .. } => match builds::get_any(tx, *id).await? {
                Some(build) => match repositories::get(tx, build.repository).await? {
                    Some(own) => build_may(tx, OwnRepository::of(&build, &own), repository, action).await?,
                    None => false,
                },
                None => false,
            },
        })
    }

    /// Signs a token that carries grants.
    ///
    /// # Errors
    /// [`Error::Internal`] when signing fails.
    pub fn issue_registry_token(&self, caller: &RegistryCaller, grants: Vec<RegistryGrant>) -> Result<RegistryToken, Error> {
        let now = self.clock.now();
        let credential = match &caller.0 {
            Who::Anonymous => Credential::Anonymous,
            Who::Account(token) => Credential::Token { id: token.id, account: token.account },
            Who::Build { build, attempt, .. } => Credential::Build { id: *build, attempt: *attempt },
        };
        let claims = Claims {
            iss: self.config.public_url.to_string(),
            aud: self.registry_host(),
            iat: now.as_seconds(),
            nbf: now.as_seconds(),
            exp: now.plus(TOKEN_LIFE).as_seconds(),
            credential,
            access: grants,
        };
        let key = EncodingKey::from_secret(self.keys.registry_key());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(|_| Error::Internal("the registry token cannot be signed"))?;
        Ok(RegistryToken { token: token.into(), issued_at: now, life: TOKEN_LIFE })
    }

    /// What a presented token allows; `None` when it is not ours, has ended, or its credential was revoked.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn registry_access(&self, token: &str) -> Result<Option<RegistryAccess>, Error> {
        let Some(claims) = self.verify_registry_token(token) else { return Ok(None) };
        let now = self.clock.now();
        let mut administrator = false;
        match &claims.credential {
            Credential::Anonymous => {}
            Credential::Token { id, account } => {
                let mut tx = self.read().await?;
                let Some(token) = tokens::get(&mut tx, *id, now).await? else { return Ok(None) };
                let Some(account) = accounts::get(&mut tx, *account).await? else { return Ok(None) };
                // As everything of an administrator's: by a token that was given the account's scope, for all of it.
                administrator = account.is_admin && token.scopes.allows(Scope::Account) && !token.is_limited;
            }
            Credential::Build { id, attempt } => {
                let mut tx = self.read().await?;
                let holds = builds::get_any(&mut tx, *id).await?.is_some_and(|build| {
                    build.attempt == *attempt
                        && build.state == slipway_model::BuildState::Running
                        && build.lease_until.is_some_and(|until| until > now)
                });
                if !holds {
                    return Ok(None);
                }
            }
        }
        Ok(Some(RegistryAccess { credential: claims.credential, grants: claims.access, administrator }))
    }

    /// Only HS256 under our key counts; a key or algorithm that the token itself names is never looked at.
    fn verify_registry_token(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[self.registry_host()]);
        validation.set_issuer(&[self.config.public_url.as_str()]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        // Times are held against our own clock below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let key = DecodingKey::from_secret(self.keys.registry_key());
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
        let now = self.clock.now();
        let begun = claims.nbf <= now.plus(SKEW).as_seconds();
        (begun && claims.exp > now.as_seconds()).then_some(claims)
    }
}
