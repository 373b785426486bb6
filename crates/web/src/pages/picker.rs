//! Choosing a source: `/{ns}/{name}/autobuild/source`, for owners, whose links it is looked through.
//!
//! Invariant: the page is made from our copy alone; no provider is asked while it is made. Refreshing the copy is a form of its own.

use axum::response::Response;
use slipway_app::{LinkView, NamespaceOwner, SourcePage, SourceSearch};
use slipway_model::{LinkState, ProviderId, Scope, Visibility};

use super::error::{PageError, sentence};
use super::fields::{At, Fields, Form, Query};
use super::frame::{RepositoryAt, Visit, go, show};
use super::providers::{organization, provider_name};
use super::repository::{Opened, open};
use super::view::picker::{CopyState, Found, PickProvider, PickRepository, PickTrouble, Pushes, SourcePickerPage};
use super::view::repositories::Tab;
use super::view::ui::address_part;

/// What is typed is part of a name.
const LONGEST: usize = 200;

async fn opened(visit: &Visit, at: &RepositoryAt) -> Result<(Opened, NamespaceOwner), PageError> {
    let opened = open(visit, at, Tab::Autobuild).await?;
    opened.rights.admin()?;
    let owner = visit.app().namespace(&visit.caller, &at.ns, Scope::RepoAdmin).await?;
    Ok((opened, owner))
}

/// `GET …/autobuild/source`: provider, then account or organization, then repository.
pub(super) async fn page(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let (opened, owner) = opened(&visit, &at).await?;
    let links = visit.app().list_links(&owner).await?;
    let providers = choices(&links);
    let linked: Vec<&PickProvider> = providers.iter().filter(|choice| choice.is_linked()).collect();
    // With one choice there is nothing to choose.
    let chosen = match linked.as_slice() {
        [only] if query.filled("provider").is_none() => only.id.clone(),
        _ => query.text("provider").to_owned(),
    };
    let chosen: Option<&PickProvider> = linked.into_iter().find(|choice| choice.id == chosen);
    let mut page = SourcePickerPage {
        provider: chosen.map(|choice| choice.id.clone()).unwrap_or_default(),
        trouble: chosen.and_then(|choice| trouble(&links, choice)),
        shell: opened.shell,
        head: opened.head,
        providers,
        namespaces: Vec::new(),
        namespace: String::new(),
        found: None,
        query: query.text("q").trim().chars().take(LONGEST).collect(),
    };
    if let Ok(provider) = page.provider.parse::<ProviderId>() {
        search(&visit, &owner, &provider, &query, &mut page).await?;
    }
    Ok(show(&page))
}

/// The best first.
fn rank(state: LinkState) -> u8 {
    match state {
        LinkState::Ok => 0,
        LinkState::Expiring => 1,
        LinkState::ScopeMissing => 2,
        LinkState::Error => 3,
        LinkState::Restricted => 4,
        LinkState::Suspended | LinkState::Revoked => 5,
        LinkState::Disabled => 6,
        LinkState::NotLinked => 7,
    }
}

/// One choice for each provider, however many links it has.
fn choices(links: &[LinkView]) -> Vec<PickProvider> {
    let mut choices: Vec<PickProvider> = Vec::new();
    for link in links {
        let id = link.provider.as_str();
        match choices.iter_mut().find(|choice| choice.id == id) {
            Some(choice) if rank(link.state) < rank(choice.link) => choice.link = link.state,
            Some(_) => {}
            None => choices.push(PickProvider {
                id: id.to_owned(),
                kind: link.kind,
                name: provider_name(link.kind, &link.web_url),
                link: link.state,
            }),
        }
    }
    choices
}

/// Why nothing can be read through the best link of a provider; `None` when it can.
fn trouble(links: &[LinkView], choice: &PickProvider) -> Option<PickTrouble> {
    if matches!(choice.link, LinkState::Ok | LinkState::Expiring | LinkState::ScopeMissing | LinkState::NotLinked) {
        return None;
    }
    let link = links.iter().find(|link| link.provider.as_str() == choice.id && link.state == choice.link)?;
    Some(PickTrouble {
        login: link.login.clone().unwrap_or_default(),
        state: link.state,
        evidence: link.evidence.as_ref().map(|evidence| sentence(&evidence.words)),
        next_step: link.next_step.as_deref().map(sentence),
    })
}

async fn search(
    visit: &Visit,
    owner: &NamespaceOwner,
    provider: &ProviderId,
    query: &Fields,
    page: &mut SourcePickerPage,
) -> Result<(), PageError> {
    let known = visit.app().source_namespaces(owner, provider, None).await?;
    page.namespaces = known.namespaces.into_iter().map(organization).collect();
    // A namespace that is not there any more, or never was, is no choice: everything is searched.
    let wanted = query.text("namespace");
    page.namespace = page.namespaces.iter().map(|one| &one.name).find(|name| *name == wanted).cloned().unwrap_or_default();
    let namespace = Some(page.namespace.as_str()).filter(|name| !name.is_empty());
    let search = SourceSearch { namespace, text: &page.query, after: query.filled("cursor"), ..SourceSearch::default() };
    let part = visit.app().source_repositories(owner, provider, search).await?;
    page.found = Some(found(part, page));
    Ok(())
}

fn found(part: SourcePage, page: &SourcePickerPage) -> Found {
    // A reading is under way only where something is there to be read, and a link that works.
    let mut searched = page.namespaces.iter().filter(|one| page.namespace.is_empty() || one.name == page.namespace);
    let readable = page.namespaces.is_empty() || searched.any(|one| one.may_be_read());
    let copy = match part.read_at {
        Some(at) => CopyState::Read(at),
        None if part.error.is_none() && page.trouble.is_none() && readable => CopyState::Reading,
        None => CopyState::Partial,
    };
    let typed = is_full_name(&page.query) && !part.items.iter().any(|one| one.full_name.eq_ignore_ascii_case(&page.query));
    Found {
        repositories: part
            .items
            .into_iter()
            .map(|found| PickRepository {
                id: found.id,
                full_name: found.full_name,
                visibility: if found.private { Visibility::Private } else { Visibility::Public },
                pushes: if found.archived { Pushes::Archived } else { Pushes::Taken },
                default_branch: found.default_branch,
            })
            .collect(),
        next: part.next,
        copy,
        problem: part.error.as_deref().map(sentence),
        typed: typed.then(|| page.query.clone()),
    }
}

/// Whether this may be the whole name of a repository: `owner/name`, with groups between where a provider has them.
fn is_full_name(text: &str) -> bool {
    text.split('/').count() > 1 && text.split('/').all(|part| !part.is_empty() && !part.contains(char::is_whitespace))
}

/// `POST …/autobuild/source`: has the copy read anew, and leads back to the same search.
pub(super) async fn refresh(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let (opened, owner) = opened(&visit, &at).await?;
    let provider: ProviderId = form.text("provider").parse().map_err(|_| crate::error::ApiError::not_found())?;
    visit.app().refresh_sources(&owner, &provider, None).await?;
    let mut address = format!("{}/autobuild/source?done=refreshing&provider={provider}", opened.base());
    for name in ["namespace", "q"] {
        if let Some(value) = form.filled(name) {
            address.push_str(&format!("&{name}={}", address_part(value)));
        }
    }
    Ok(go(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_has_an_owner_and_no_gaps() {
        for whole in ["octo/app", "group/sub/app", "octo/app.js"] {
            assert!(is_full_name(whole), "{whole}");
        }
        for part in ["", "octo", "octo/", "/app", "octo//app", "octo/my app"] {
            assert!(!is_full_name(part), "{part}");
        }
    }
}
