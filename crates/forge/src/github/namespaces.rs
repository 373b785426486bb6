//! The person and the organizations of the person, and whether each lets us in.
//!
//! Invariant: no organization that GitHub names is left out, and none counts as granted that GitHub does not list as such. GitHub never
//! tells "not approved yet" and "denied" apart, so nothing here is ever `denied`. The page that a person is led to is one that this person
//! can use: an organization's own settings are shown to its owners only.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::NamespaceAccess;
use url::Url;

use super::wire::{Call, FEW_PAGES};
use super::{GitHub, is_name};
use crate::error::ForgeError;
use crate::text;
use crate::types::{NamespaceKind, SourceNamespace};

/// Organizations that are asked about one by one.
const MAX_PROBES: usize = 100;
const PROBES_AT_ONCE: usize = 4;
pub(super) const MAX_NAMESPACES: usize = 1000;

const NOT_APPROVED: &str = "its owners have not approved Slipway, or have denied it (GitHub does not tell which)";
const LEFT_OUT: &str = "GitHub leaves it out of the organizations that Slipway may act for, without saying why";
const NO_SESSION: &str = "it wants a single sign-on session: authorize it there (the address works for an hour), or link anew";
const NOT_OUR_ADDRESS: &str = "its list of allowed IP addresses does not have this server's";

#[derive(Clone, Deserialize)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
}

#[derive(Deserialize)]
struct Membership {
    organization: Option<Account>,
    #[serde(default)]
    role: String,
}

/// An organization that the person is a member of.
pub(super) struct Member {
    pub(super) account: Account,
    /// Whether the person is one of its owners, who alone see and change what it lets in.
    is_owner: bool,
}

/// An organization that GitHub named without listing it as one that lets us in.
struct Doubtful {
    account: Account,
    /// Whether a list was said to be partial because of it.
    sso: bool,
}

impl Account {
    pub(super) fn namespace(
        &self,
        kind: NamespaceKind,
        access: NamespaceAccess,
        grant_url: Option<Url>,
        note: Option<String>,
    ) -> SourceNamespace {
        let name = if self.login.is_empty() { format!("organization {}", self.id) } else { text::line(&self.login, 100) };
        SourceNamespace { id: self.id.to_string(), name, kind, access, grant_url, note }
    }
}

impl GitHub {
    pub(super) async fn list_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        let user: Account = self.call(token, Call::get(self.api_address(["user"])).remembered()).await?.json()?;
        let mut namespaces = match &self.app {
            Some(app) => self.list_installed(app, token, &user).await?,
            None => self.list_organizations(token, &user).await?,
        };
        if namespaces.len() > MAX_NAMESPACES {
            tracing::warn!(provider = %self.provider.id, "a person has more organizations than are listed");
            namespaces.truncate(MAX_NAMESPACES);
        }
        Ok(namespaces)
    }

    async fn list_organizations(&self, token: &SecretString, user: &Account) -> Result<Vec<SourceNamespace>, ForgeError> {
        let open = self.list::<Account>(token, Call::get(self.api_address(["user", "orgs"])).remembered(), FEW_PAGES).await?;
        let members = self.list_memberships(token).await?;
        let owned: HashSet<u64> = members.iter().filter(|member| member.is_owner).map(|member| member.account.id).collect();
        let page = self.connection_page();
        let mut namespaces = vec![user.namespace(NamespaceKind::User, NamespaceAccess::Granted, Some(page.clone()), None)];
        let mut known = HashSet::new();
        let first = open.list.items.iter().filter(|account| known.insert(account.id));
        namespaces.extend(first.map(|account| {
            let policy = is_name(&account.login).then(|| self.policy_page(&account.login));
            let (page, note) = match policy {
                Some(policy) if owned.contains(&account.id) => (policy, None),
                policy => (page.clone(), policy.map(|policy| format!("lets Slipway in; only its owners can revoke that, at `{policy}`"))),
            };
            account.namespace(NamespaceKind::Organization, NamespaceAccess::Granted, Some(page), note)
        }));
        let without_session: Vec<u64> = open.sso.iter().flat_map(|header| partial_results(header)).collect();
        let mut doubtful = Vec::new();
        for Member { account, .. } in members {
            if known.insert(account.id) {
                doubtful.push(Doubtful { sso: without_session.contains(&account.id), account });
            }
        }
        // Of these GitHub told nothing but the number.
        let unnamed = without_session.into_iter().filter(|id| known.insert(*id));
        doubtful.extend(unnamed.map(|id| Doubtful { account: Account { id, login: String::new() }, sso: true }));
        let unasked = doubtful.split_off(doubtful.len().min(MAX_PROBES));
        let probes = doubtful.into_iter().map(|doubtful| self.probe_organization(token, doubtful));
        let probed: Vec<_> = futures_util::stream::iter(probes).buffered(PROBES_AT_ONCE).collect().await;
        for namespace in probed {
            namespaces.push(namespace?);
        }
        namespaces.extend(unasked.iter().map(|doubtful| {
            let note = "there are too many organizations to ask about each".to_owned();
            doubtful.account.namespace(NamespaceKind::Organization, NamespaceAccess::Unknown, Some(page.clone()), Some(note))
        }));
        Ok(namespaces)
    }

    /// The organizations that the person is a member of, whether or not they let us in.
    pub(super) async fn list_memberships(&self, token: &SecretString) -> Result<Vec<Member>, ForgeError> {
        let mut url = self.api_address(["user", "memberships", "orgs"]);
        url.query_pairs_mut().append_pair("state", "active");
        let memberships = self.list::<Membership>(token, Call::get(url).remembered(), FEW_PAGES).await?;
        let member = |one: Membership| Some(Member { account: one.organization?, is_owner: one.role == "admin" });
        Ok(memberships.list.items.into_iter().filter_map(member).collect())
    }

    /// The name of an organization of which only the number is known; nothing new, when GitHub does not tell it either.
    async fn named(&self, token: &SecretString, account: Account) -> Result<Account, ForgeError> {
        if !account.login.is_empty() {
            return Ok(account);
        }
        let id = account.id;
        match self.get(token, self.api_address(["user", &id.to_string()])).await.and_then(|reply| reply.json::<Account>()) {
            Ok(found) if found.id == id => Ok(found),
            Err(error @ ForgeError::Unauthorized { .. }) => Err(error),
            _ => Ok(account),
        }
    }

    /// Asks for something that only an organization which lets us in gives.
    async fn probe_organization(&self, token: &SecretString, doubtful: Doubtful) -> Result<SourceNamespace, ForgeError> {
        let account = self.named(token, doubtful.account).await?;
        let namespace = |access, grant_url, note: String| Ok(account.namespace(NamespaceKind::Organization, access, grant_url, Some(note)));
        let page = Some(self.connection_page());
        if !is_name(&account.login) {
            return namespace(NamespaceAccess::Restricted, page, format!("{NO_SESSION}; GitHub tells its number only"));
        }
        let session_page = self.web_address(["orgs", &account.login, "sso"]);
        match self.call(token, Call::get(self.api_address(["user", "memberships", "orgs", &account.login])).remembered()).await {
            Ok(_) if doubtful.sso => namespace(NamespaceAccess::Restricted, Some(session_page), NO_SESSION.to_owned()),
            Ok(_) => namespace(NamespaceAccess::Restricted, page, LEFT_OUT.to_owned()),
            Err(ForgeError::Restricted { grant_url, .. }) => {
                let note = match &grant_url {
                    _ if doubtful.sso => NO_SESSION.to_owned(),
                    Some(url) if Some(url) == page.as_ref() => {
                        let policy = self.policy_page(&account.login);
                        format!("{NOT_APPROVED}: request it on the page of the connection, they grant it there or at `{policy}`")
                    }
                    Some(url) if url.path().ends_with("/settings/security") => NOT_OUR_ADDRESS.to_owned(),
                    _ => NO_SESSION.to_owned(),
                };
                namespace(NamespaceAccess::Restricted, grant_url.or(Some(session_page)), note)
            }
            Err(error @ ForgeError::Unauthorized { .. }) => Err(error),
            Err(error) => namespace(NamespaceAccess::Unknown, page, text::line(&error.to_string(), 300)),
        }
    }
}

/// The organizations in `partial-results; organizations=21955855,20582480`.
fn partial_results(header: &str) -> impl Iterator<Item = u64> {
    let list = header.trim_start().strip_prefix("partial-results").and_then(|rest| rest.split_once("organizations=")).map(|(_, list)| list);
    list.unwrap_or_default().split(',').filter_map(|id| id.trim().parse().ok()).take(MAX_NAMESPACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_results_name_their_organizations() {
        let read = |header| partial_results(header).collect::<Vec<_>>();
        assert_eq!(read("partial-results; organizations=21955855,20582480"), [21_955_855, 20_582_480]);
        for odd in
            ["", "required; url=https://github.com/orgs/a/sso", "partial-results", "partial-results; organizations=", "organizations=1"]
        {
            assert!(read(odd).is_empty(), "{odd}");
        }
    }
}
