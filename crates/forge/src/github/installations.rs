//! Where our App is installed, as a person sees it: what the person may pick sources from.
//!
//! Invariant: an account counts as granted only with an installation that is not suspended. Pages to install and to change it are built
//! from the configured address.

use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::NamespaceAccess;
use url::Url;

use super::GitHub;
use super::app::App;
use super::namespaces::Account;
use super::wire::{Call, FEW_PAGES};
use crate::error::ForgeError;
use crate::types::{NamespaceKind, SourceNamespace};

#[derive(Deserialize)]
pub(super) struct Installed {
    pub(super) id: u64,
    /// An account, or an enterprise, which has no login and owns no repositories.
    account: Option<Holder>,
    suspended_at: Option<String>,
}

#[derive(Deserialize)]
struct Holder {
    id: u64,
    login: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct InstallationPage {
    installations: Vec<Installed>,
}

impl Installed {
    fn account(&self) -> Option<(Account, NamespaceKind)> {
        let holder = self.account.as_ref()?;
        let kind = if holder.kind.as_deref() == Some("User") { NamespaceKind::User } else { NamespaceKind::Organization };
        Some((Account { id: holder.id, login: holder.login.clone()? }, kind))
    }
}

impl GitHub {
    /// The installations that the person can reach something through.
    async fn installations(&self, token: &SecretString) -> Result<Vec<Installed>, ForgeError> {
        let call = Call::get(self.api_address(["user", "installations"])).remembered();
        Ok(self.list_of(token, call, FEW_PAGES, |reply| Ok(reply.json::<InstallationPage>()?.installations)).await?.list.items)
    }

    pub(super) async fn list_installed(&self, app: &App, token: &SecretString, user: &Account) -> Result<Vec<SourceNamespace>, ForgeError> {
        let installations = self.installations(token).await?;
        let mut namespaces: Vec<SourceNamespace> =
            installations.iter().filter_map(|installed| self.installed_namespace(installed)).collect();
        // What the App may not ask about memberships, it does not know of; the installations are known in any case.
        let members = match self.list_memberships(token).await {
            Err(ForgeError::Forbidden { .. } | ForgeError::MissingScope { .. } | ForgeError::NotFound) => Vec::new(),
            members => members?,
        };
        let accounts =
            std::iter::once((user, NamespaceKind::User)).chain(members.iter().map(|member| (&member.account, NamespaceKind::Organization)));
        for (account, kind) in accounts {
            if namespaces.iter().all(|namespace| namespace.id != account.id.to_string()) {
                let address = self.install_address(app, Some(account.id)).await?;
                let note = "the App is not installed there, or on no repository that you can use".to_owned();
                namespaces.push(account.namespace(kind, NamespaceAccess::Restricted, Some(address), Some(note)));
            }
        }
        let own = user.id.to_string();
        namespaces.sort_by_key(|namespace| namespace.id != own);
        Ok(namespaces)
    }

    fn installed_namespace(&self, installed: &Installed) -> Option<SourceNamespace> {
        let (account, kind) = installed.account()?;
        let page = self.installation_page(installed, &account, kind);
        let (access, note) = match &installed.suspended_at {
            None => (NamespaceAccess::Granted, None),
            Some(_) => (NamespaceAccess::Restricted, Some("the installation of the App is suspended".to_owned())),
        };
        Some(account.namespace(kind, access, Some(page), note))
    }

    /// Where the installation is changed, suspended and removed.
    fn installation_page(&self, installed: &Installed, account: &Account, kind: NamespaceKind) -> Url {
        let id = installed.id.to_string();
        match kind {
            NamespaceKind::User => self.web_address(["settings", "installations", &id]),
            NamespaceKind::Organization => self.web_address(["organizations", &account.login, "settings", "installations", &id]),
        }
    }

    /// The installation of one account.
    pub(super) async fn installation_of(&self, app: &App, token: &SecretString, namespace: &str) -> Result<u64, ForgeError> {
        let installations = self.installations(token).await?;
        let found = installations.iter().find_map(|installed| {
            let (account, _) = installed.account()?;
            account.login.eq_ignore_ascii_case(namespace).then_some(installed)
        });
        match found {
            Some(installed) if installed.suspended_at.is_none() => Ok(installed.id),
            Some(_) => Err(ForgeError::Suspended { detail: format!("the installation of the App for `{namespace}` is suspended") }),
            None => Err(ForgeError::Restricted {
                organization: Some(namespace.to_owned()),
                grant_url: self.install_address(app, None).await.ok(),
            }),
        }
    }

    /// A page of what the person and the installation both reach.
    pub(super) fn installed_repositories_address(&self, installation: u64) -> Url {
        self.api_address(["user", "installations", &installation.to_string(), "repositories"])
    }
}
