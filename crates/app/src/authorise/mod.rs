//! Who asks, and what they may do. A right is a value with a private constructor: an operation that demands `RepositoryAdmin`
//! cannot be called without the check that makes one. Every right carries the [`Actor`], for the audit log.
//!
//! Invariants: rights are read from the database at the moment of asking, in [`App::permission`] and [`App::standing`] alone; what a
//! caller may not see is [`Error::NotFound`], the same as what does not exist; what they may see but not do is a refusal.
//! Deliberately absent: a right of the installation's administrators over other people's repositories.

mod caller;
mod rights;

use slipway_model::{AccountId, AccountKind, AccountName, Permission, RepositoryId, RepositoryName, Scope, SecretToken, Visibility};
use slipway_store::accounts::Account;
use slipway_store::repositories::{Eyes, Repository};
use slipway_store::teams::Membership;
use slipway_store::tokens::Token;
use slipway_store::{ReadTx, accounts, repositories, sessions, teams, tokens};

pub(crate) use caller::Limits;
pub use caller::{Actor, Caller, Initiator};
use caller::{Renewal, Via};
pub use rights::{
    Administrator, AuditReader, NamespaceOwner, NamespaceView, OrganizationMember, OrganizationOwner, RepositoryAdmin, RepositoryOwner,
    RepositoryRead, RepositoryView, RepositoryWrite, Standing,
};

use crate::{App, Error, Refusal, RefusalKind};

impl App {
    /// The person behind a session cookie.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn caller_by_session(&self, token: &SecretToken, address: &str) -> Result<Option<Caller>, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let Some(session) = sessions::get_by_token(&mut tx, &token.hash(), now).await? else { return Ok(None) };
        let account = accounts::get(&mut tx, session.account).await?;
        drop(tx);
        // Written at most every five minutes: a page must not cost a write.
        if now.since(session.last_seen_at).as_secs() > 300 {
            let mut tx = self.write().await?;
            sessions::set_seen(&mut tx, session.id, now).await?;
            tx.commit().await?;
        }
        // An organization that was a user a moment ago has no sessions; one that slipped through is worth nothing.
        Ok(account.filter(|account| account.kind == AccountKind::User).map(|account| Caller {
            actor: Actor { account: Some(account.id), name: account.name.to_string(), via: "session".into(), address: address.to_owned() },
            account,
            via: Via::Session { id: session.id, renewal: if session.renew { Renewal::Due } else { Renewal::NotDue } },
        }))
    }

    /// The account behind an access token.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn caller_by_token(&self, token: &SecretToken, address: &str) -> Result<Option<Caller>, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let Some(found) = tokens::get_by_hash(&mut tx, &token.hash(), now).await? else { return Ok(None) };
        let account = accounts::get(&mut tx, found.account).await?;
        drop(tx);
        if found.last_used_at.is_none_or(|used| now.since(used).as_secs() > 60) {
            let mut tx = self.write().await?;
            tokens::set_used(&mut tx, found.id, now, address).await?;
            tx.commit().await?;
        }
        Ok(account.map(|account| Caller::of_token(account, found, address)))
    }

    /// Whether the session or token of a caller still stands; long streams ask now and then.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn still_stands(&self, caller: &Caller) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        Ok(match &caller.via {
            Via::Token { id, .. } => tokens::stands(&mut tx, *id, self.clock.now()).await?,
            Via::Session { id, .. } => sessions::stands(&mut tx, *id, self.clock.now()).await?,
        })
    }

    /// The caller as they are by now: what their account may has perhaps changed since they came. `None` when the session or token has
    /// ended. Long answers ask before each part, and then for the right anew.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn again(&self, caller: &Caller) -> Result<Option<Caller>, Error> {
        if !self.still_stands(caller).await? {
            return Ok(None);
        }
        let account = accounts::get(&mut self.read().await?, caller.account.id).await?;
        Ok(account.map(|account| Caller { account, ..caller.clone() }))
    }

    /// The account of that name, also of a former name.
    async fn find_account(&self, tx: &mut ReadTx, name: &AccountName) -> Result<Account, Error> {
        accounts::find(tx, name).await?.ok_or(Error::NotFound)
    }

    /// What an account is in the namespace of another one.
    async fn standing(tx: &mut ReadTx, who: &Account, namespace: &Account) -> Result<Standing, Error> {
        if who.id == namespace.id {
            return Ok(Standing::Owner);
        }
        if namespace.kind != AccountKind::Organization {
            return Ok(Standing::Outsider);
        }
        Ok(match teams::membership(tx, namespace.id, who.id).await? {
            Some(Membership::Owner) => Standing::Owner,
            Some(Membership::Member) => Standing::Member,
            None => Standing::Outsider,
        })
    }

    /// The right over a namespace: one's own, or an organization's that one owns.
    ///
    /// # Errors
    /// [`Error::NotFound`] for everybody else's namespace; a refusal for a member who is no owner, for a limited token or a missing scope.
    pub async fn namespace(&self, caller: &Caller, name: &AccountName, scope: Scope) -> Result<NamespaceOwner, Error> {
        let mut tx = self.read().await?;
        let account = self.find_account(&mut tx, name).await?;
        match Self::standing(&mut tx, &caller.account, &account).await? {
            Standing::Owner => {
                caller.demand(scope)?;
                caller.demand_unlimited()?;
                Ok(NamespaceOwner { account, actor: caller.actor.clone() })
            }
            Standing::Member => Err(missing(Permission::Owner, account.name.as_str())),
            Standing::Outsider => Err(Error::NotFound),
        }
    }

    /// The right to look at a namespace. Strangers know of it only when something in it is public.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a missing scope.
    pub async fn namespace_view(&self, caller: Option<&Caller>, name: &AccountName) -> Result<NamespaceView, Error> {
        let mut tx = self.read().await?;
        let account = self.find_account(&mut tx, name).await?;
        let standing = match caller {
            Some(caller) => Self::standing(&mut tx, &caller.account, &account).await?,
            None => Standing::Outsider,
        };
        let eyes = match (standing, caller) {
            (Standing::Owner, _) => Eyes::owner(),
            (Standing::Member, Some(caller)) => Eyes::account(caller.account.id),
            _ => Eyes::stranger(),
        };
        if standing == Standing::Outsider {
            let public = repositories::has_public(&mut tx, account.id).await?;
            return if public { Ok(NamespaceView { account, standing, eyes }) } else { Err(Error::NotFound) };
        }
        let limited = match caller {
            Some(caller) => {
                caller.demand(Scope::RepoRead)?;
                caller.limited_token()
            }
            None => None,
        };
        let eyes = limited.map_or(eyes, |token| eyes.limited(token));
        Ok(NamespaceView { account, standing, eyes })
    }

    /// The right to see an organization from within.
    ///
    /// # Errors
    /// [`Error::NotFound`] for outsiders and for what is no organization; a missing scope.
    pub async fn organization_member(&self, caller: &Caller, name: &AccountName) -> Result<OrganizationMember, Error> {
        let mut tx = self.read().await?;
        let account = self.find_account(&mut tx, name).await?;
        let standing = Self::standing(&mut tx, &caller.account, &account).await?;
        if account.kind != AccountKind::Organization || standing == Standing::Outsider {
            return Err(Error::NotFound);
        }
        caller.demand(Scope::Account)?;
        caller.demand_unlimited()?;
        let (actor, viewer) = (caller.actor.clone(), Some(caller.account.id));
        Ok(OrganizationMember { account, actor, viewer, standing, limits: caller.limits(), holder: caller.account.kind })
    }

    /// The right over an organization.
    ///
    /// # Errors
    /// As [`App::organization_member`], and a refusal for members who are no owners.
    pub async fn organization_owner(&self, caller: &Caller, name: &AccountName) -> Result<OrganizationOwner, Error> {
        let member = self.organization_member(caller, name).await?;
        match member.standing {
            Standing::Owner => {
                Ok(OrganizationOwner { account: member.account, actor: member.actor, limits: member.limits, holder: member.holder })
            }
            Standing::Member | Standing::Outsider => Err(missing(Permission::Owner, member.account.name.as_str())),
        }
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
        caller.demand_unlimited()?;
        Ok(Administrator { actor: caller.actor.clone(), limits: caller.limits() })
    }

    /// The right to read a namespace's audit log: its owners and the installation's administrators.
    ///
    /// # Errors
    /// [`Error::NotFound`] for outsiders; a refusal for members.
    pub async fn audit_reader(&self, caller: &Caller, name: &AccountName) -> Result<AuditReader, Error> {
        let mut tx = self.read().await?;
        let account = self.find_account(&mut tx, name).await?;
        let standing = Self::standing(&mut tx, &caller.account, &account).await?;
        match standing {
            _ if caller.account.is_admin || standing == Standing::Owner => {}
            Standing::Member => return Err(missing(Permission::Owner, account.name.as_str())),
            _ => return Err(Error::NotFound),
        }
        caller.demand(Scope::Account)?;
        caller.demand_unlimited()?;
        Ok(AuditReader(slipway_store::audit::Log::Of(account.id)))
    }

    /// The right to read the audit log of the installation and of every namespace.
    ///
    /// # Errors
    /// As [`App::administrator`].
    pub fn installation_audit(&self, caller: &Caller) -> Result<AuditReader, Error> {
        self.administrator(caller)?;
        Ok(AuditReader(slipway_store::audit::Log::Everything))
    }

    /// Every right over a repository that an account has. The one place that answers it, for pages, API and registry.
    async fn permission(tx: &mut ReadTx, account: AccountId, repository: &Repository) -> Result<Option<Permission>, Error> {
        if account == repository.account {
            return Ok(Some(Permission::Owner));
        }
        Ok(teams::permission(tx, account, repository.account, repository.id).await?)
    }

    /// The same, through a caller's token: one that does not name the repository has no right over it.
    async fn permission_of(tx: &mut ReadTx, caller: &Caller, repository: &Repository) -> Result<Option<Permission>, Error> {
        let permission = Self::permission(tx, caller.account.id, repository).await?;
        match caller.limited_token() {
            Some(token) if permission.is_some() && !tokens::covers(tx, token, repository.id).await? => Ok(None),
            _ => Ok(permission),
        }
    }

    async fn permitted(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
        needed: Permission,
        scope: Scope,
    ) -> Result<(Repository, Actor), Error> {
        let mut tx = self.read().await?;
        let repository = repositories::get_by_name(&mut tx, namespace, name).await?.ok_or(Error::NotFound)?;
        let Some(permission) = Self::permission_of(&mut tx, caller, &repository).await? else { return Err(Error::NotFound) };
        caller.demand(scope)?;
        if permission < needed {
            return Err(missing(needed, &format!("{namespace}/{name}")));
        }
        Ok((repository, caller.actor.clone()))
    }

    /// May see the general page.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a missing scope for what is not public.
    pub async fn repository_view(
        &self,
        caller: Option<&Caller>,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryView, Error> {
        let mut tx = self.read().await?;
        let repository = repositories::get_by_name(&mut tx, namespace, name).await?.ok_or(Error::NotFound)?;
        let actor = caller.map_or_else(Actor::stranger, |caller| caller.actor.clone());
        if repository.visibility == Visibility::Public {
            return Ok(RepositoryView { repository, actor });
        }
        let caller = caller.ok_or(Error::NotFound)?;
        if Self::permission_of(&mut tx, caller, &repository).await?.is_none() {
            return Err(Error::NotFound);
        }
        caller.demand(Scope::RepoRead)?;
        Ok(RepositoryView { repository, actor })
    }

    /// May see builds and settings.
    ///
    /// # Errors
    /// [`Error::NotFound`], or a missing scope.
    pub async fn repository_read(&self, caller: &Caller, namespace: &AccountName, name: &RepositoryName) -> Result<RepositoryRead, Error> {
        let (repository, actor) = self.permitted(caller, namespace, name, Permission::Read, Scope::RepoRead).await?;
        Ok(RepositoryRead { repository, actor })
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
        let (repository, actor) = self.permitted(caller, namespace, name, Permission::Write, Scope::BuildWrite).await?;
        Ok(RepositoryWrite { repository, actor })
    }

    /// May delete tags: the same permission as [`App::repository_write`], and the scope of a push.
    ///
    /// # Errors
    /// As [`App::repository_write`].
    pub async fn repository_push(&self, caller: &Caller, namespace: &AccountName, name: &RepositoryName) -> Result<RepositoryWrite, Error> {
        let (repository, actor) = self.permitted(caller, namespace, name, Permission::Write, Scope::RepoWrite).await?;
        Ok(RepositoryWrite { repository, actor })
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
        let (repository, actor) = self.permitted(caller, namespace, name, Permission::Admin, Scope::RepoAdmin).await?;
        Ok(RepositoryAdmin { repository, actor })
    }

    /// May delete builds and the repository.
    ///
    /// # Errors
    /// As [`App::repository_write`].
    pub async fn repository_owner(
        &self,
        caller: &Caller,
        namespace: &AccountName,
        name: &RepositoryName,
    ) -> Result<RepositoryOwner, Error> {
        let (repository, actor) = self.permitted(caller, namespace, name, Permission::Owner, Scope::RepoAdmin).await?;
        Ok(RepositoryOwner { repository, actor })
    }

    /// Whether the bearer of an access token may do something in the registry now: pull needs read, push and delete need write.
    pub(crate) async fn token_may(
        tx: &mut ReadTx,
        token: &Token,
        repository: &Repository,
        action: crate::RegistryAction,
    ) -> Result<bool, Error> {
        let (needed, scope) = match action {
            crate::RegistryAction::Pull if repository.visibility == Visibility::Public => return Ok(true),
            crate::RegistryAction::Pull => (Permission::Read, Scope::RepoRead),
            crate::RegistryAction::Push | crate::RegistryAction::Delete => (Permission::Write, Scope::RepoWrite),
        };
        if !token.scopes.allows(scope) || (token.is_limited && !tokens::covers(tx, token.id, repository.id).await?) {
            return Ok(false);
        }
        Ok(Self::permission(tx, token.account, repository).await? >= Some(needed))
    }

    /// Repositories by identity, of those of a wish that the caller has a right over.
    pub(crate) async fn repository_ids(&self, caller: &Account, paths: &[String]) -> Result<Vec<RepositoryId>, Error> {
        let mut tx = self.read().await?;
        let mut found = Vec::with_capacity(paths.len());
        for (at, path) in paths.iter().enumerate() {
            let field = format!("repositories[{at}]");
            let shown: String = path.chars().take(140).collect();
            let parsed: slipway_model::RepositoryPath =
                path.parse().map_err(|error: slipway_model::InvalidName| Error::invalid("repository", &field, error.to_string()))?;
            let repository = repositories::get_by_name(&mut tx, &parsed.namespace, &parsed.name).await?;
            let permitted = match &repository {
                Some(repository) => Self::permission(&mut tx, caller.id, repository).await?.is_some(),
                None => false,
            };
            match repository.filter(|_| permitted) {
                Some(repository) => found.push(repository.id),
                None => {
                    return Err(Error::invalid("no_such_repository", &field, format!("there is no repository `{shown}` that you may see")));
                }
            }
        }
        Ok(found)
    }
}

fn missing(needed: Permission, on: &str) -> Error {
    Refusal::new(RefusalKind::Forbidden, "permission_missing", format!("this needs the permission `{needed}` on `{on}`"))
        .hint("ask an owner to give your team that permission")
        .into()
}
