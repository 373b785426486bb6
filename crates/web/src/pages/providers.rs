//! Source providers of a person (`/settings/source-providers`) and of an organization (`/o/{org}/settings/source-providers`): the cards,
//! connecting, disabling, unlinking with a receipt. Handlers take the namespace from the address; without one it is the person's own.

use axum::response::Response;
use serde::Deserialize;
use slipway_app::{ConnectWish, Error, LinkSwitch, LinkView, NamespaceOwner};
use slipway_model::{AccountName, ProviderId, ProviderKind, Scope};

use super::error::{PageError, sentence};
use super::fields::At;
use super::frame::{Visit, go, show, show_refused};
use super::view::providers::{ConnectPage, ProviderCard, ProvidersPage, ReceiptLine, ReceiptPage, ScopeView, UnlinkPage};
use super::view::shell::Area;
use crate::error::ApiError;

/// Whose providers: an organization's, or the person's own.
#[derive(Debug, Deserialize)]
pub(super) struct Whose {
    #[serde(default)]
    org: Option<AccountName>,
}

/// One provider of those.
#[derive(Debug, Deserialize)]
pub(super) struct ProviderAt {
    #[serde(default)]
    org: Option<AccountName>,
    provider: ProviderId,
}

impl ProviderAt {
    /// Back to the list.
    fn home(&self, done: &str) -> Response {
        match &self.org {
            Some(org) => go(&format!("/o/{org}/settings/source-providers?done={done}")),
            None => go(&format!("/settings/source-providers?done={done}")),
        }
    }
}

/// The right over the namespace. The page of a person is nobody's under an organization's address, and the other way round.
async fn owner(visit: &Visit, org: Option<&AccountName>, scope: Scope) -> Result<NamespaceOwner, PageError> {
    match org {
        Some(org) if *org == visit.caller.account().name => Err(ApiError::not_found().into()),
        Some(org) => Ok(visit.app().namespace(&visit.caller, org, scope).await?),
        None => visit.own(scope).await,
    }
}

/// `GitHub` for github.com, else the host of the instance.
pub(super) fn provider_name(kind: ProviderKind, web_url: &str) -> String {
    let host = url::Url::parse(web_url).ok().and_then(|url| {
        Some(match (url.host_str()?, url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        })
    });
    match (kind, host) {
        (ProviderKind::GitHub, Some(host)) if host == "github.com" => "GitHub".to_owned(),
        (ProviderKind::GitHub, Some(host)) => format!("GitHub at {host}"),
        (ProviderKind::GitHub, None) => "GitHub".to_owned(),
        (ProviderKind::Bitbucket, _) => "Bitbucket".to_owned(),
        (ProviderKind::Gitea, Some(host)) => host,
        (ProviderKind::Gitea, None) => "Gitea".to_owned(),
    }
}

/// `namespace/name` of repositories that the application names within a namespace.
fn paths(owner: &NamespaceOwner, names: Vec<String>) -> Vec<String> {
    let namespace = &owner.account().name;
    names.into_iter().map(|name| if name.contains('/') { name } else { format!("{namespace}/{name}") }).collect()
}

fn card(owner: &NamespaceOwner, link: LinkView) -> ProviderCard {
    ProviderCard {
        name: provider_name(link.kind, &link.web_url),
        id: link.provider.to_string(),
        kind: link.kind,
        web_url: link.web_url,
        state: link.state,
        login: link.login,
        since: link.since,
        scopes: link.scopes,
        used_by: paths(owner, link.affects),
        checked_at: link.checked_at,
        evidence: link.evidence.map(|evidence| evidence.words),
        // Which organizations let us in is asked with the health of links.
        organizations: Vec::new(),
        grant_url: link.grant_url,
    }
}

/// `GET /settings/source-providers`.
pub(super) async fn list(visit: Visit, At(whose): At<Whose>) -> Result<Response, PageError> {
    let owner = owner(&visit, whose.org.as_ref(), Scope::RepoRead).await?;
    let links = visit.app().list_links(&owner).await?;
    Ok(show(&ProvidersPage { shell: visit.shell(Area::Providers), cards: links.into_iter().map(|link| card(&owner, link)).collect() }))
}

/// What a scope is asked for.
fn scope(name: String) -> ScopeView {
    let reason = match name.as_str() {
        "repo" => {
            "Read the code of private repositories, add the webhook that tells of pushes, and report results. The provider has no smaller scope for private code."
        }
        "public_repo" => "Read public code and report results.",
        "read:org" => "List the organizations that you belong to.",
        "read:user" => "Know which account is linked.",
        "user:email" => "Know the account's mail address.",
        "admin:repo_hook" => "Add the webhook that tells of pushes, and remove it when you unlink.",
        "write:repo_hook" => "Add the webhook that tells of pushes.",
        "repo:status" => "Report results at commits.",
        _ => "As the administrator configured it.",
    };
    ScopeView { reason: reason.to_owned(), name }
}

async fn connect_page(visit: &Visit, owner: &NamespaceOwner, provider: &ProviderId) -> Result<ConnectPage, PageError> {
    let link = visit.app().get_link(owner, provider, None).await?;
    let scopes = link.scopes_asked.iter().cloned().map(scope).collect();
    Ok(ConnectPage { shell: visit.shell(Area::Providers), card: card(owner, link), scopes, problem: None })
}

/// `GET …/{provider}/connect`: what will be asked for.
pub(super) async fn explain(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    Ok(show(&connect_page(&visit, &owner, &at.provider).await?))
}

/// `POST …/{provider}/connect`: to the provider. Its answer comes to `/oauth/{provider}/callback`, which knows the namespace.
pub(super) async fn connect(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    match visit.app().begin_connect(&owner, &visit.caller, &at.provider, ConnectWish::default()).await {
        Ok(address) => Ok(go(address.as_str())),
        Err(error @ (Error::Refused(_) | Error::Forge { .. })) => {
            let page = connect_page(&visit, &owner, &at.provider).await?;
            Ok(show_refused(&ConnectPage { problem: Some(sentence(&ApiError::from(error).detail)), ..page }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/{provider}/enable`.
pub(super) async fn enable(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    visit.app().switch_link(&owner, &at.provider, None, LinkSwitch::Enable).await?;
    Ok(at.home("enabled"))
}

/// `POST …/{provider}/disable`.
pub(super) async fn disable(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    visit.app().switch_link(&owner, &at.provider, None, LinkSwitch::Disable).await?;
    Ok(at.home("disabled"))
}

/// `GET …/{provider}/unlink`: what will be removed and what stops.
pub(super) async fn preview_unlink(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    let preview = visit.app().preview_unlink(&owner, &at.provider, None).await?;
    let card = card(&owner, preview.link);
    let mut removes: Vec<String> = preview.hooks.iter().map(|source| format!("The webhook of {source}")).collect();
    removes.push(format!("The authorization of Slipway at {}", card.name));
    removes.push("The tokens that are stored here".to_owned());
    Ok(show(&UnlinkPage { shell: visit.shell(Area::Providers), card, removes, stops: paths(&owner, preview.stops) }))
}

/// `POST …/{provider}/unlink`: the receipt. It is shown this once: nothing of the link is kept.
pub(super) async fn unlink(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    let link = visit.app().get_link(&owner, &at.provider, None).await?;
    let name = provider_name(link.kind, &link.web_url);
    let receipt = visit.app().unlink(&owner, &at.provider, None).await?;
    let line = |item: slipway_app::ReceiptItem| ReceiptLine { what: sentence(&item.what), left: None, url: item.url };
    Ok(show(&ReceiptPage {
        shell: visit.shell(Area::Providers),
        name,
        at: receipt.at,
        removed: receipt.done.into_iter().map(line).collect(),
        left: receipt.left.into_iter().map(line).collect(),
        stopped: paths(&owner, receipt.stopped),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_called_by_their_host() {
        assert_eq!(provider_name(ProviderKind::GitHub, "https://github.com/"), "GitHub");
        assert_eq!(provider_name(ProviderKind::GitHub, "http://127.0.0.1:4010"), "GitHub at 127.0.0.1:4010");
    }
}
