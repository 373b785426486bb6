//! A link as people and programs see it: who, what was granted in plain words, how it is and why, what it is used for.
//!
//! Invariant: everything here comes from the database; looking at a page asks no provider.

use std::collections::BTreeSet;

use serde::Serialize;
use slipway_forge::Forge;
use slipway_model::{AccessLevel, AccountKind, LinkId, LinkState, LinkedAs, NamespaceAccess, ProviderId, ProviderKind, Timestamp};
use slipway_store::links::{self, Link};
use slipway_store::source_namespaces::Namespace;
use slipway_store::sources::Source;
use slipway_store::{ReadTx, source_namespaces, sources};

use super::health::learned_at;
use super::is_in;
use super::words::what_to_do;
use crate::{App, Error, NamespaceOwner};

/// A link, or a provider that is not linked.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// Identity of the link; `None` when the provider is not linked.
    pub id: Option<LinkId>,
    /// The provider's id.
    pub provider: ProviderId,
    /// `github`, ...
    pub kind: ProviderKind,
    /// The provider's own address.
    pub web_url: String,
    /// Who is linked, by the provider's name of them.
    pub login: Option<String>,
    /// The name that the person shows there.
    pub display_name: Option<String>,
    /// Whether there is a picture: [`App::link_picture`].
    pub picture: bool,
    /// How much was asked for.
    pub access: Option<AccessLevel>,
    /// Whether a person or a service user is linked.
    pub linked_as: Option<LinkedAs>,
    /// How it is.
    pub state: LinkState,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// What the state was concluded from.
    pub evidence: Option<Evidence>,
    /// What a person does next, when the state needs one.
    pub next_step: Option<String>,
    /// Other things to know, like an organization that depends on a person.
    pub warnings: Vec<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// The same in plain words.
    pub scopes_granted: Vec<ScopeView>,
    /// What was asked for and not granted.
    pub scopes_missing: Vec<ScopeView>,
    /// What a link asks for at the level that was chosen.
    pub scopes_asked: Vec<String>,
    /// The person and the organizations at the provider, and whether they let us in.
    pub organizations: Vec<OrganizationView>,
    /// Where the grant is seen and changed at the provider.
    pub grant_url: Option<String>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it is checked next; `None` while it is disabled.
    pub next_check_at: Option<Timestamp>,
    /// When it was made.
    pub linked_at: Option<Timestamp>,
    /// Names of the repositories that its state is about: of those that are built through it, when it is restricted those of the
    /// organizations that do not let us in.
    pub affects: Vec<String>,
    /// Every repository that is built through it, with its source.
    pub used_by: Vec<UsedBy>,
}

/// What a state was concluded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// In words, mostly the provider's.
    pub words: String,
    /// The HTTP status, when an answer was the reason.
    pub status: Option<u16>,
    /// When.
    pub at: Option<Timestamp>,
}

/// A scope and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeView {
    /// The provider's word.
    pub scope: String,
    /// What it allows and what we use it for; `None` for one that we do not ask for.
    pub words: Option<String>,
}

/// An organization, workspace or group at the provider, or the person itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrganizationView {
    /// The provider's id of it, which never changes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `user` or `organization`.
    pub kind: String,
    /// Whether it lets us in.
    pub access: NamespaceAccess,
    /// Where that is granted, requested or revoked.
    pub grant_url: Option<String>,
    /// What the access means or was concluded from.
    pub note: String,
}

/// A repository that is built through a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedBy {
    /// Its name here.
    pub repository: String,
    /// The source's name at the provider.
    pub source: String,
    /// How the link came to serve it, when it took over from another one.
    pub note: Option<String>,
    /// What is wrong with the source.
    pub problem: Option<String>,
}

fn access_words(access: NamespaceAccess) -> &'static str {
    match access {
        NamespaceAccess::Granted => "lets Slipway in",
        NamespaceAccess::Restricted => "its owners have to approve Slipway first",
        NamespaceAccess::Denied => "its owners said no",
        NamespaceAccess::Unknown => "the provider did not tell",
    }
}

pub(super) fn scope_views(forge: &dyn Forge, scopes: &[String]) -> Vec<ScopeView> {
    scopes.iter().map(|scope| ScopeView { scope: scope.clone(), words: forge.scope_words(scope).map(str::to_owned) }).collect()
}

/// What of the chosen level was not granted.
pub(super) fn missing(forge: &dyn Forge, access: AccessLevel, granted: &[String]) -> Vec<String> {
    forge.offers().iter().find(|offer| offer.level == access).map(|offer| forge.missing_scopes(offer, granted)).unwrap_or_default()
}

/// All that views of one account and provider are made of.
struct Known {
    pictured: BTreeSet<LinkId>,
    sources: Vec<Source>,
    kind: AccountKind,
}

impl App {
    /// Every link to every configured provider; a provider without one has one entry that says so.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_links(&self, owner: &NamespaceOwner) -> Result<Vec<LinkView>, Error> {
        let mut tx = self.read().await?;
        let account = owner.account().id;
        let stored = links::list(&mut tx, account).await?;
        let mut views = Vec::new();
        for (provider, forge) in &self.forges {
            let known = known(&mut tx, owner, provider).await?;
            let mine: Vec<&Link> = stored.iter().filter(|link| link.provider == *provider).collect();
            if mine.is_empty() {
                views.push(not_linked(forge.as_ref(), &known));
            }
            for link in mine {
                let namespaces = source_namespaces::list(&mut tx, link.id).await?;
                views.push(view(forge.as_ref(), link, namespaces, &known));
            }
        }
        Ok(views)
    }

    /// One link: the named one, or the one that works best. A provider without a link has a view that says so.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the provider is not configured, or has no link of that id.
    pub async fn get_link(&self, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<LinkView, Error> {
        let forge = self.forge(provider)?;
        let mut tx = self.read().await?;
        let known = known(&mut tx, owner, provider).await?;
        match super::find(&mut tx, owner.account().id, provider, id).await {
            Err(Error::NotFound) if id.is_none() => Ok(not_linked(forge.as_ref(), &known)),
            Err(error) => Err(error),
            Ok(link) => {
                let namespaces = source_namespaces::list(&mut tx, link.id).await?;
                Ok(view(forge.as_ref(), &link, namespaces, &known))
            }
        }
    }
}

async fn known(tx: &mut ReadTx, owner: &NamespaceOwner, provider: &ProviderId) -> Result<Known, Error> {
    let account = owner.account();
    Ok(Known {
        pictured: links::list_pictured(tx, account.id).await?.into_iter().collect(),
        sources: sources::list(tx, account.id, provider, None).await?,
        kind: account.kind,
    })
}

fn used_by(source: &Source, note: Option<String>) -> UsedBy {
    UsedBy {
        repository: source.repository_name.to_string(),
        source: source.source_name.clone(),
        note,
        problem: source.problem_text.clone(),
    }
}

fn not_linked(forge: &dyn Forge, known: &Known) -> LinkView {
    let used: Vec<UsedBy> = known.sources.iter().map(|source| used_by(source, None)).collect();
    LinkView {
        id: None,
        provider: forge.provider().id.clone(),
        kind: forge.provider().kind,
        web_url: forge.provider().web_url.to_string(),
        login: None,
        display_name: None,
        picture: false,
        access: None,
        linked_as: None,
        state: LinkState::NotLinked,
        since: None,
        evidence: None,
        next_step: (!used.is_empty()).then(|| what_to_do(LinkState::NotLinked).to_owned()),
        warnings: Vec::new(),
        scopes: Vec::new(),
        scopes_granted: Vec::new(),
        scopes_missing: Vec::new(),
        scopes_asked: forge.offers()[0].scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        organizations: Vec::new(),
        grant_url: None,
        checked_at: None,
        next_check_at: None,
        linked_at: None,
        affects: used.iter().map(|used| used.repository.clone()).collect(),
        used_by: used,
    }
}

fn view(forge: &dyn Forge, link: &Link, namespaces: Vec<Namespace>, known: &Known) -> LinkView {
    let served: Vec<&Source> = known.sources.iter().filter(|source| source.link == Some(link.id)).collect();
    let used: Vec<UsedBy> = served.iter().map(|source| used_by(source, source.link_note.clone())).collect();
    let affects = affected(link, served, &namespaces).into_iter().map(|source| source.repository_name.to_string()).collect();
    let offer = forge.offers().iter().find(|offer| offer.level == link.access);
    let missing = missing(forge, link.access, &link.scopes);
    let needs_a_person = !matches!(link.state, LinkState::Ok | LinkState::NotLinked);
    LinkView {
        id: Some(link.id),
        provider: link.provider.clone(),
        kind: forge.provider().kind,
        web_url: forge.provider().web_url.to_string(),
        login: Some(link.login.clone()),
        display_name: link.display_name.clone(),
        picture: known.pictured.contains(&link.id),
        access: Some(link.access),
        linked_as: Some(link.linked_as),
        state: link.state,
        since: Some(link.since),
        evidence: link.evidence.clone().map(|words| Evidence { words, status: link.evidence_status, at: learned_at(link) }),
        next_step: needs_a_person.then(|| what_to_do(link.state).to_owned()),
        warnings: warnings(link, known.kind),
        scopes: link.scopes.clone(),
        scopes_granted: scope_views(forge, &link.scopes),
        scopes_missing: scope_views(forge, &missing),
        scopes_asked: offer.map(|offer| offer.scopes.iter().map(|scope| (*scope).to_owned()).collect()).unwrap_or_default(),
        organizations: namespaces.into_iter().map(organization).collect(),
        grant_url: Some(forge.app_settings_url().to_string()),
        checked_at: link.checked_at,
        next_check_at: (link.state != LinkState::Disabled).then_some(link.next_check_at),
        linked_at: Some(link.linked_at),
        affects,
        used_by: used,
    }
}

/// What of the sources that a link serves its state is about.
pub(super) fn affected<'a>(link: &Link, served: Vec<&'a Source>, namespaces: &[Namespace]) -> Vec<&'a Source> {
    let shut = |one: &&Namespace| matches!(one.access, NamespaceAccess::Restricted | NamespaceAccess::Denied);
    let is_shut = |source: &Source| namespaces.iter().filter(shut).any(|one| is_in(&source.source_name, &one.name));
    // Which organization it is is not always known.
    if link.state != LinkState::Restricted || !served.iter().any(|source| is_shut(source)) {
        return served;
    }
    served.into_iter().filter(|source| is_shut(source)).collect()
}

pub(super) fn organization(namespace: Namespace) -> OrganizationView {
    OrganizationView {
        id: namespace.remote_id,
        name: namespace.name,
        kind: namespace.kind,
        access: namespace.access,
        grant_url: namespace.grant_url,
        note: namespace.note.unwrap_or_else(|| access_words(namespace.access).to_owned()),
    }
}

fn warnings(link: &Link, kind: AccountKind) -> Vec<String> {
    let mut warnings = Vec::new();
    if kind == AccountKind::Organization && link.linked_as == LinkedAs::Person {
        warnings.push(super::connect::person_warning(&link.login));
    }
    warnings
}
