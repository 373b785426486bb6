//! The rights: values that operations demand. Their fields can be filled in `authorise` alone.

use slipway_model::{AccountId, AccountKind};
use slipway_store::accounts::Account;
use slipway_store::repositories::{Eyes, Repository};

use super::caller::{Actor, Limits};
use crate::{Error, Refusal, RefusalKind};

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
    pub(super) account: Account,
    pub(super) standing: Standing,
    pub(super) eyes: Eyes,
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

/// What every right over an account says of itself.
macro_rules! over_an_account {
    ($($name:ident),*) => {$(
        impl $name {
            /// The account that the right is over.
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
    )*};
}

over_an_account!(NamespaceOwner, OrganizationOwner, OrganizationMember);

/// The right over a namespace: create repositories, link providers.
#[derive(Clone, Debug)]
pub struct NamespaceOwner {
    pub(super) account: Account,
    pub(super) actor: Actor,
}

/// The right over an organization: its teams, members and tokens.
#[derive(Clone, Debug)]
pub struct OrganizationOwner {
    pub(super) account: Account,
    pub(super) actor: Actor,
    pub(super) limits: Limits,
    pub(super) holder: AccountKind,
}

impl OrganizationOwner {
    /// Refuses whoever is no person where one is needed: the organization's own token, a service account.
    pub(crate) fn person(&self) -> Result<(), Error> {
        if self.holder == AccountKind::User {
            return Ok(());
        }
        let detail = "this is left to an owner in person, tokens of organizations and service accounts cannot do it";
        Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", detail)
            .hint("sign in, or use a personal access token of an owner")
            .into())
    }

    /// What the holder's credential could hand on.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn namespace(&self) -> NamespaceOwner {
        NamespaceOwner { account: self.account.clone(), actor: self.actor.clone() }
    }
}

impl From<OrganizationOwner> for OrganizationMember {
    fn from(owner: OrganizationOwner) -> Self {
        let viewer = owner.actor.account;
        Self { account: owner.account, actor: owner.actor, viewer, standing: Standing::Owner, limits: owner.limits, holder: owner.holder }
    }
}

/// The right to see an organization from within: an owner all of it, a member their own teams.
#[derive(Clone, Debug)]
pub struct OrganizationMember {
    pub(super) account: Account,
    pub(super) actor: Actor,
    pub(super) viewer: Option<AccountId>,
    pub(super) standing: Standing,
    pub(super) limits: Limits,
    pub(super) holder: AccountKind,
}

impl OrganizationMember {
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
    pub(super) actor: Actor,
    pub(super) limits: Limits,
}

impl Administrator {
    /// Who holds the right.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What the holder's credential could hand on.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
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
        pub struct $name { pub(super) repository: Repository, pub(super) actor: Actor }

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
