//! Who asks, and what they may do. A right is a value with a private constructor: an operation that demands `RepositoryAdmin`
//! cannot be called without the check that makes one.
//!
//! What a caller may not see is [`Error::NotFound`], the same as what does not exist. What they may see but not do is a refusal.

use slipway_model::{AccountName, Permission, RepositoryName, Scope, ScopeSet, SecretToken, SessionId, TokenId, Visibility};
use slipway_store::accounts::Account;
use slipway_store::repositories::Repository;
use slipway_store::{accounts, repositories};

use crate::{App, Error, Refusal, RefusalKind};

/// Through what a caller came.
#[derive(Clone, Debug)]
enum Via {
    Session(SessionId),
    Token(TokenId, ScopeSet),
}

/// A signed-in person or a token's bearer.
#[derive(Clone, Debug)]
pub struct Caller {
    account: Account,
    via: Via,
}

/// What began an OAuth flow; only the same may finish it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Initiator(pub(crate) String);

impl Caller {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The session, when it is a browser.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.via {
            Via::Session(id) => Some(id),
            Via::Token(..) => None,
        }
    }

    /// What an OAuth flow is bound to.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        Initiator(match &self.via {
            Via::Session(id) => format!("session:{id}"),
            Via::Token(id, _) => format!("token:{id}"),
        })
    }

    /// Refuses a token that was not given the scope; a session has every scope.
    ///
    /// # Errors
    /// A refusal that names the scope.
    pub fn demand(&self, scope: Scope) -> Result<(), Error> {
        match &self.via {
            Via::Token(_, scopes) if !scopes.allows(scope) => {
                let detail = format!("this token was not given the scope `{scope}`, it has `{scopes}`");
                Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail)
                    .hint("make a token with that scope under Settings, Access tokens")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// The right over a namespace: create repositories, link providers.
#[derive(Clone, Debug)]
pub struct NamespaceOwner {
    account: Account,
}

impl NamespaceOwner {
    /// The namespace's account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// The right over the installation.
#[derive(Clone, Debug)]
pub struct Administrator(());

macro_rules! repository_rights {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name { repository: Repository }

        impl $name {
            /// The repository.
            #[must_use]
            pub fn repository(&self) -> &Repository { &self.repository }
        }
    )*};
}

repository_rights! {
    /// See the general page and tags, pull: everybody for a public repository.
    RepositoryView;
    /// Also see builds, deliveries and settings (values of variables left out).
    RepositoryRead;
    /// Also start, cancel and retry builds.
    RepositoryWrite;
    /// Also change the build settings.
    RepositoryAdmin;
    /// Also delete the repository.
    RepositoryOwner;
}

macro_rules! includes {
    ($($larger:ident > $smaller:ident;)*) => {$(
        impl From<$larger> for $smaller {
            fn from(right: $larger) -> Self { Self { repository: right.repository } }
        }
    )*};
}

includes! {
    RepositoryOwner > RepositoryAdmin;
    RepositoryAdmin > RepositoryWrite;
    RepositoryWrite > RepositoryRead;
    RepositoryRead > RepositoryView;
}

impl App {
    /// The person behind a session cookie.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn caller_by_session(&self, token: &SecretToken) -> Result<Option<Caller>, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let Some(session) = accounts::get_session(&mut tx, &token.hash(), now).await? else { return Ok(None) };
        let account = accounts::get(&mut tx, session.account).await?;
        drop(tx);
        // Written at most every five minutes: a page must not cost a write.
        if now.since(session.last_seen_at).as_secs() > 300 {
            let mut tx = self.write().await?;
            accounts::set_session_seen(&mut tx, session.id, now).await?;
            tx.commit().await?;
        }
        Ok(account.map(|account| Caller { account, via: Via::Session(session.id) }))
    }

    /// The account behind an access token.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn caller_by_token(&self, token: &SecretToken, from: &str) -> Result<Option<Caller>, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let Some(found) = accounts::get_token(&mut tx, &token.hash(), now).await? else { return Ok(None) };
        let account = accounts::get(&mut tx, found.account).await?;
        drop(tx);
        if found.last_used_at.is_none_or(|used| now.since(used).as_secs() > 60) {
            let mut tx = self.write().await?;
            accounts::set_token_used(&mut tx, found.id, now, from).await?;
            tx.commit().await?;
        }
        Ok(account.map(|account| Caller { account, via: Via::Token(found.id, found.scopes) }))
    }

    /// Whether the session or token of a caller still stands; long streams ask now and then.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn still_stands(&self, caller: &Caller) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        Ok(match &caller.via {
            Via::Token(id, _) => accounts::token_stands(&mut tx, *id, self.clock.now()).await?,
            Via::Session(id) => accounts::session_stands(&mut tx, *id, self.clock.now()).await?,
        })
    }

    /// The right over a namespace.
    ///
    /// # Errors
    /// [`Error::NotFound`] for everybody else's namespace.
    pub fn namespace(&self, caller: &Caller, name: &AccountName, scope: Scope) -> Result<NamespaceOwner, Error> {
        if caller.account.name != *name {
            return Err(Error::NotFound);
        }
        caller.demand(scope)?;
        Ok(NamespaceOwner { account: caller.account.clone() })
    }

    /// The right over the installation.
    ///
    /// # Errors
    /// [`Error::NotFound`] for everybody else.
    pub fn administrator(&self, caller: &Caller) -> Result<Administrator, Error> {
        if !caller.account.is_admin {
            return Err(Error::NotFound);
        }
        caller.demand(Scope::Account)?;
        Ok(Administrator(()))
    }

    async fn find(&self, namespace: &AccountName, name: &RepositoryName) -> Result<Repository, Error> {
        let mut tx = self.read().await?;
        repositories::get_by_name(&mut tx, namespace, name).await?.ok_or(Error::NotFound)
    }

    /// Every right over a repository that an account has. Teams will add to it here and nowhere else.
    fn permission(account: &Account, repository: &Repository) -> Option<Permission> {
        (account.id == repository.account).then_some(Permission::Owner)
    }

    async fn permitted(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
        needed: Permission,
        scope: Scope,
    ) -> Result<Repository, Error> {
        let repository = self.find(namespace, name).await?;
        let Some(permission) = Self::permission(&caller.account, &repository) else { return Err(Error::NotFound) };
        caller.demand(scope)?;
        if permission < needed {
            return Err(Refusal::new(
                RefusalKind::Forbidden,
                "permission_missing",
                format!("this needs the permission `{needed:?}` on `{namespace}/{name}`").to_lowercase(),
            )
            .into());
        }
        Ok(repository)
    }

    /// May see the general page.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn repository_view(
        &self,
        caller: Option<&Caller>,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryView, Error> {
        let repository = self.find(namespace, name).await?;
        let permitted = caller.is_some_and(|caller| Self::permission(&caller.account, &repository).is_some());
        if repository.visibility == Visibility::Public || permitted { Ok(RepositoryView { repository }) } else { Err(Error::NotFound) }
    }

    /// May see builds and settings.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a missing scope.
    pub async fn repository_read(&self, caller: &Caller, namespace: &AccountName, name: &RepositoryName) -> Result<RepositoryRead, Error> {
        let repository = self.permitted(caller, namespace, name, Permission::Read, Scope::RepoRead).await?;
        Ok(RepositoryRead { repository })
    }

    /// May start, cancel and retry builds.
    ///
    /// # Errors
    /// As [`App::repository_read`], or a missing permission.
    pub async fn repository_write(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryWrite, Error> {
        let repository = self.permitted(caller, namespace, name, Permission::Write, Scope::BuildWrite).await?;
        Ok(RepositoryWrite { repository })
    }

    /// May change the build settings.
    ///
    /// # Errors
    /// As [`App::repository_write`].
    pub async fn repository_admin(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryAdmin, Error> {
        let repository = self.permitted(caller, namespace, name, Permission::Admin, Scope::RepoAdmin).await?;
        Ok(RepositoryAdmin { repository })
    }

    /// May delete the repository.
    ///
    /// # Errors
    /// As [`App::repository_write`].
    pub async fn repository_owner(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryOwner, Error> {
        let repository = self.permitted(caller, namespace, name, Permission::Owner, Scope::RepoAdmin).await?;
        Ok(RepositoryOwner { repository })
    }

    pub(crate) fn registry_permission(account: &Account, repository: &Repository) -> Option<Permission> {
        Self::permission(account, repository)
    }
}
