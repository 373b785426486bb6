//! Who asks, and what they may do. A right is a value with a private constructor: an operation that demands `RepositoryAdmin`
//! cannot be called without the check that makes one. Every right carries the [`Actor`], for the audit log.
//!
//! Invariants: rights are read from the database at the moment of asking, in [`App::permission`] and [`App::standing`] alone; what a
//! caller may not see is [`Error::NotFound`], the same as what does not exist; what they may see but not do is a refusal.
//! Deliberately absent: a right of the installation's administrators over other people's repositories.

use slipway_model::{
    AccountId, AccountKind, AccountName, Permission, RepositoryId, RepositoryName, Scope, ScopeSet, SecretToken, SessionId, TokenId,
    Visibility,
};
use slipway_store::accounts::Account;
use slipway_store::repositories::{Eyes, Repository};
use slipway_store::teams::Membership;
use slipway_store::tokens::Token;
use slipway_store::{ReadTx, accounts, repositories, sessions, teams, tokens};

use crate::{App, Error, Refusal, RefusalKind};

/// Through what a caller came.
#[derive(Clone, Debug)]
enum Via {
    Session { id: SessionId, renewal: Renewal },
    Token { id: TokenId, scopes: ScopeSet, reach: Reach },
}

/// Whether a session shall get a new id with its next page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Renewal {
    Due,
    NotDue,
}

/// For which repositories a token works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// For all that its account has a right over.
    All,
    /// For those that it names.
    Limited,
}

/// Who does something, as the audit log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account, when it is one.
    pub account: Option<AccountId>,
    /// Its name.
    pub name: String,
    /// Through what: `session`, ``token `ci` ``, `command line`.
    pub via: String,
    /// From which address; empty when there is none.
    pub address: String,
}

impl Actor {
    /// Whoever uses the program's commands on the machine itself.
    #[must_use]
    pub fn command_line() -> Self {
        Self { account: None, name: "administrator of the machine".into(), via: "command line".into(), address: String::new() }
    }

    /// Somebody who is about to sign in, or just did.
    #[must_use]
    pub fn signing_in(account: &Account, address: &str) -> Self {
        Self { account: Some(account.id), name: account.name.to_string(), via: "sign-in".into(), address: address.to_owned() }
    }

    fn stranger() -> Self {
        Self { account: None, name: "nobody".into(), via: "anonymous".into(), address: String::new() }
    }
}

/// A signed-in person or a token's bearer.
#[derive(Clone, Debug)]
pub struct Caller {
    account: Account,
    via: Via,
    actor: Actor,
}

/// What began an OAuth flow; only the same may finish it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Initiator(pub(crate) String);

impl Caller {
    /// The account: a user, a service account, or for an organization's token the organization.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The one who asks, for the audit log.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The session, when it is a browser.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.via {
            Via::Session { id, .. } => Some(id),
            Via::Token { .. } => None,
        }
    }

    /// The token, when it is a program.
    #[must_use]
    pub fn token(&self) -> Option<TokenId> {
        match self.via {
            Via::Session { .. } => None,
            Via::Token { id, .. } => Some(id),
        }
    }

    /// Whether the session shall get a new id with the next page, because the person's rights changed.
    #[must_use]
    pub fn session_renewal_due(&self) -> bool {
        matches!(self.via, Via::Session { renewal: Renewal::Due, .. })
    }

    /// What an OAuth flow is bound to.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        Initiator(match &self.via {
            Via::Session { id, .. } => format!("session:{id}"),
            Via::Token { id, .. } => format!("token:{id}"),
        })
    }

    /// Refuses a token that was not given the scope; a session has every scope.
    ///
    /// # Errors
    /// A refusal that names the scope.
    pub fn demand(&self, scope: Scope) -> Result<(), Error> {
        match &self.via {
            Via::Token { scopes, .. } if !scopes.allows(scope) => {
                let detail = format!("this token was not given the scope `{scope}`, it has `{scopes}`");
                Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail)
                    .hint("make a token with that scope under Settings, Access tokens")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses whoever is not a person: tokens of organizations, service accounts.
    ///
    /// # Errors
    /// A refusal.
    pub fn person(&self) -> Result<(), Error> {
        if self.account.kind == AccountKind::User {
            return Ok(());
        }
        let detail = format!("`{}` is no person, and this is left to people", self.account.name);
        Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", detail).hint("sign in, or use a personal access token").into())
    }

    /// The right of a person over their own account: its settings, tokens, sessions.
    ///
    /// # Errors
    /// A refusal for a missing scope, a limited token, and whoever is no person.
    pub(crate) fn own_account(&self) -> Result<(), Error> {
        self.demand(Scope::Account)?;
        self.demand_unlimited()?;
        self.person()
    }

    /// Refuses a token that works for some repositories only: what is asked for concerns all of a namespace.
    pub(crate) fn demand_unlimited(&self) -> Result<(), Error> {
        match self.limited_token() {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::new(RefusalKind::Forbidden, "token_limited", "this token works for the repositories that it names only")
                    .hint("make a token without a list of repositories")
                    .into())
            }
        }
    }

    /// What the credential may be used for: a session for everything.
    fn scopes(&self) -> ScopeSet {
        match &self.via {
            Via::Session { .. } => ScopeSet::all(),
            Via::Token { scopes, .. } => scopes.clone(),
        }
    }

    fn limited_token(&self) -> Option<TokenId> {
        match self.via {
            Via::Token { id, reach: Reach::Limited, .. } => Some(id),
            _ => None,
        }
    }

    fn of_token(account: Account, token: Token, address: &str) -> Self {
        let actor = Actor {
            account: Some(account.id),
            name: account.name.to_string(),
            via: format!("token `{}`", token.name),
            address: address.to_owned(),
        };
        let reach = if token.is_limited { Reach::Limited } else { Reach::All };
        Self { account, actor, via: Via::Token { id: token.id, scopes: token.scopes, reach } }
    }
}

/// What somebody is in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The user whose namespace it is, a member of `owners`, or the organization's own token.
    Owner,
    /// A member of a team.
    Member,
    /// Everybody else.
    Outsider,
}

/// The right to look at a namespace: what of it, its eyes say.
#[derive(Clone, Debug)]
pub struct NamespaceView {
    account: Account,
    standing: Standing,
    eyes: Eyes,
}

impl NamespaceView {
    /// The namespace's account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What the caller is in it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    pub(crate) fn eyes(&self) -> Eyes {
        self.eyes
    }
}

impl From<NamespaceOwner> for NamespaceView {
    fn from(owner: NamespaceOwner) -> Self {
        Self { account: owner.account, standing: Standing::Owner, eyes: Eyes::owner() }
    }
}

/// The right over a namespace: create repositories, link providers.
#[derive(Clone, Debug)]
pub struct NamespaceOwner {
    account: Account,
    actor: Actor,
}

impl NamespaceOwner {
    /// The namespace's account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who holds the right.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// The right over an organization: its teams, members and tokens.
#[derive(Clone, Debug)]
pub struct OrganizationOwner {
    account: Account,
    actor: Actor,
    scopes: ScopeSet,
}

impl OrganizationOwner {
    /// The organization.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who holds the right.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Refuses the organization's own token where a person is needed.
    pub(crate) fn person(&self) -> Result<(), Error> {
        if self.actor.account != Some(self.account.id) {
            return Ok(());
        }
        let detail = "this is left to an owner in person, an organization's token cannot do it";
        Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", detail)
            .hint("sign in, or use a personal access token of an owner")
            .into())
    }

    /// Refuses scopes for a new token that the holder's own credential does not have.
    pub(crate) fn demand_all(&self, scopes: &ScopeSet) -> Result<(), Error> {
        demand_all(&self.scopes, scopes)
    }

    pub(crate) fn namespace(&self) -> NamespaceOwner {
        NamespaceOwner { account: self.account.clone(), actor: self.actor.clone() }
    }
}

fn demand_all(held: &ScopeSet, wanted: &ScopeSet) -> Result<(), Error> {
    match wanted.iter().find(|scope| !held.allows(**scope)) {
        None => Ok(()),
        Some(scope) => {
            let detail = format!("a token cannot make one with the scope `{scope}`, which it does not have itself; it has `{held}`");
            Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail).hint("sign in and make the token there").into())
        }
    }
}

impl From<OrganizationOwner> for OrganizationMember {
    fn from(owner: OrganizationOwner) -> Self {
        let viewer = owner.actor.account;
        Self { account: owner.account, actor: owner.actor, viewer, standing: Standing::Owner, scopes: owner.scopes }
    }
}

/// The right to see an organization from within: an owner all of it, a member their own teams.
#[derive(Clone, Debug)]
pub struct OrganizationMember {
    account: Account,
    actor: Actor,
    viewer: Option<AccountId>,
    standing: Standing,
    scopes: ScopeSet,
}

impl OrganizationMember {
    /// The organization.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who holds the right.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Owner or member.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whose teams are seen; nobody's in particular for an owner, who sees all.
    pub(crate) fn only_of(&self) -> Option<AccountId> {
        match self.standing {
            Standing::Owner => None,
            Standing::Member | Standing::Outsider => self.viewer,
        }
    }
}

/// The right over the installation.
#[derive(Clone, Debug)]
pub struct Administrator {
    actor: Actor,
    scopes: ScopeSet,
}

impl Administrator {
    /// Who holds the right.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Refuses scopes for a new token that the holder's own credential does not have.
    pub(crate) fn demand_all(&self, scopes: &ScopeSet) -> Result<(), Error> {
        demand_all(&self.scopes, scopes)
    }

    /// The right over somebody's namespace, for deleting the account: its links have to be undone first.
    pub(crate) fn over(&self, account: Account) -> NamespaceOwner {
        NamespaceOwner { account, actor: self.actor.clone() }
    }
}

/// The right to read an audit log.
#[derive(Clone, Copy, Debug)]
pub struct AuditReader(pub(crate) slipway_store::audit::Log);

macro_rules! repository_rights {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name { repository: Repository, actor: Actor }

        impl $name {
            /// The repository.
            #[must_use]
            pub fn repository(&self) -> &Repository { &self.repository }

            /// Who holds the right.
            #[must_use]
            pub fn actor(&self) -> &Actor { &self.actor }
        }
    )*};
}

repository_rights! {
    /// See the general page and tags, pull: everybody for a public repository.
    RepositoryView;
    /// Also see builds, deliveries and settings (values of variables left out).
    RepositoryRead;
    /// Also start, cancel and retry builds, push, delete tags.
    RepositoryWrite;
    /// Also change the build settings and see the values of variables.
    RepositoryAdmin;
    /// Also delete builds and the repository.
    RepositoryOwner;
}

macro_rules! includes {
    ($($larger:ident > $smaller:ident;)*) => {$(
        impl From<$larger> for $smaller {
            fn from(right: $larger) -> Self { Self { repository: right.repository, actor: right.actor } }
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
        Ok(OrganizationMember { account, actor, viewer, standing, scopes: caller.scopes() })
    }

    /// The right over an organization.
    ///
    /// # Errors
    /// As [`App::organization_member`], and a refusal for members who are no owners.
    pub async fn organization_owner(&self, caller: &Caller, name: &AccountName) -> Result<OrganizationOwner, Error> {
        let member = self.organization_member(caller, name).await?;
        match member.standing {
            Standing::Owner => Ok(OrganizationOwner { account: member.account, actor: member.actor, scopes: member.scopes }),
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
        Ok(Administrator { actor: caller.actor.clone(), scopes: caller.scopes() })
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
