//! Source providers: the cards, connecting, disabling, unlinking with a receipt.

use axum::response::Response;
use slipway_app::{Error, LinkSwitch, LinkView};
use slipway_model::{ProviderId, ProviderKind, Scope};

use super::error::{PageError, sentence};
use super::fields::At;
use super::frame::{Visit, go, show, show_refused};
use super::view::providers::{ConnectPage, ProviderCard, ProvidersPage, ReceiptLine, ReceiptPage, ScopeView, UnlinkPage};
use super::view::shell::Area;
use crate::error::ApiError;

const HOME: &str = "/settings/source-providers";

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
    }
}

/// `namespace/name` of repositories that the application names within a namespace.
fn paths(visit: &Visit, names: Vec<String>) -> Vec<String> {
    let namespace = &visit.caller.account().name;
    names.into_iter().map(|name| if name.contains('/') { name } else { format!("{namespace}/{name}") }).collect()
}

fn card(visit: &Visit, link: LinkView) -> ProviderCard {
    ProviderCard {
        name: provider_name(link.kind, &link.web_url),
        id: link.provider.to_string(),
        kind: link.kind,
        web_url: link.web_url,
        state: link.state,
        login: link.login,
        since: link.since,
        scopes: link.scopes,
        used_by: paths(visit, link.affects),
        checked_at: link.checked_at,
        evidence: link.evidence,
        // Which organizations let us in is asked with the health of links.
        organizations: Vec::new(),
        grant_url: link.grant_url,
    }
}

/// `GET /settings/source-providers`.
pub(super) async fn list(visit: Visit) -> Result<Response, PageError> {
    let links = visit.app().list_links(&visit.own(Scope::RepoRead)?).await?;
    Ok(show(&ProvidersPage { shell: visit.shell(Area::Providers), cards: links.into_iter().map(|link| card(&visit, link)).collect() }))
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

async fn connect_page(visit: &Visit, provider: &ProviderId) -> Result<ConnectPage, PageError> {
    let link = visit.app().get_link(&visit.own(Scope::RepoAdmin)?, provider).await?;
    let scopes = link.scopes_asked.iter().cloned().map(scope).collect();
    Ok(ConnectPage { shell: visit.shell(Area::Providers), card: card(visit, link), scopes, problem: None })
}

/// `GET …/{provider}/connect`: what will be asked for.
pub(super) async fn explain(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    Ok(show(&connect_page(&visit, &provider).await?))
}

/// `POST …/{provider}/connect`: to the provider. Its answer comes to `/oauth/{provider}/callback`.
pub(super) async fn connect(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    match visit.app().begin_connect(&visit.own(Scope::RepoAdmin)?, &visit.caller, &provider).await {
        Ok(address) => Ok(go(address.as_str())),
        Err(error @ (Error::Refused(_) | Error::Forge { .. })) => {
            let page = connect_page(&visit, &provider).await?;
            Ok(show_refused(&ConnectPage { problem: Some(sentence(&ApiError::from(error).detail)), ..page }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/{provider}/enable`.
pub(super) async fn enable(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    visit.app().switch_link(&visit.own(Scope::RepoAdmin)?, &provider, LinkSwitch::Enable).await?;
    Ok(go(&format!("{HOME}?done=enabled")))
}

/// `POST …/{provider}/disable`.
pub(super) async fn disable(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    visit.app().switch_link(&visit.own(Scope::RepoAdmin)?, &provider, LinkSwitch::Disable).await?;
    Ok(go(&format!("{HOME}?done=disabled")))
}

/// `GET …/{provider}/unlink`: what will be removed and what stops.
pub(super) async fn preview_unlink(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    let preview = visit.app().preview_unlink(&visit.own(Scope::RepoAdmin)?, &provider).await?;
    let card = card(&visit, preview.link);
    let mut removes: Vec<String> = preview.hooks.iter().map(|source| format!("The webhook of {source}")).collect();
    removes.push(format!("The authorization of Slipway at {}", card.name));
    removes.push("The tokens that are stored here".to_owned());
    Ok(show(&UnlinkPage { shell: visit.shell(Area::Providers), card, removes, stops: paths(&visit, preview.stops) }))
}

/// `POST …/{provider}/unlink`: the receipt. It is shown this once: nothing of the link is kept.
pub(super) async fn unlink(visit: Visit, At(provider): At<ProviderId>) -> Result<Response, PageError> {
    let owner = visit.own(Scope::RepoAdmin)?;
    let link = visit.app().get_link(&owner, &provider).await?;
    let name = provider_name(link.kind, &link.web_url);
    let receipt = visit.app().unlink(&owner, &provider).await?;
    let line = |item: slipway_app::ReceiptItem| ReceiptLine { what: sentence(&item.what), left: None, url: item.url };
    Ok(show(&ReceiptPage {
        shell: visit.shell(Area::Providers),
        name,
        at: receipt.at,
        removed: receipt.done.into_iter().map(line).collect(),
        left: receipt.left.into_iter().map(line).collect(),
        stopped: paths(&visit, receipt.stopped),
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
