//! Source providers of a person (`/settings/source-providers`) and of an organization (`/o/{org}/settings/source-providers`): the cards,
//! connecting, checking, disabling, unlinking with a receipt. Handlers take the namespace from the address; without one it is the person's own.

use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use slipway_app::{ConnectWish, Error, LinkSwitch, LinkView, NamespaceOwner, Receipt};
use slipway_model::{AccountName, LinkId, LinkState, LinkedAs, ProviderId, ProviderKind, ReceiptId, Scope};

use super::error::{PageError, sentence};
use super::fields::{At, Fields, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::view::form::Field;
use super::view::providers::{
    ConnectPage, EvidenceView, LinkCard, OfferView, OrganizationView, ProviderCard, ProvidersPage, ReceiptLine, ReceiptPage, ReceiptRow,
    ReceiptsPage, ScopeView, UnlinkPage, UnlinkSourceView, UsedBy,
};
use super::view::shell::Area;
use crate::error::ApiError;

const RECEIPTS: u32 = 30;

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

/// A link of it.
#[derive(Debug, Deserialize)]
pub(super) struct LinkAt {
    #[serde(default)]
    org: Option<AccountName>,
    provider: ProviderId,
    link: LinkId,
}

/// A receipt of those.
#[derive(Debug, Deserialize)]
pub(super) struct ReceiptAt {
    #[serde(default)]
    org: Option<AccountName>,
    receipt: ReceiptId,
}

/// The page's own address.
fn base(org: Option<&AccountName>) -> String {
    org.map_or_else(|| "/settings/source-providers".to_owned(), |org| format!("/o/{org}/settings/source-providers"))
}

impl ProviderAt {
    /// Back to the list.
    fn home(&self, done: &str) -> Response {
        go(&format!("{}?done={done}#provider-{}", base(self.org.as_ref()), self.provider))
    }
}

/// The link that a form or an address names; none names the one that works best.
fn chosen(fields: &Fields) -> Result<Option<LinkId>, PageError> {
    match fields.filled("link") {
        None => Ok(None),
        Some(id) => id.parse().map(Some).map_err(|_| ApiError::not_found().into()),
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

/// `namespace/name` of a repository that the application names within a namespace.
fn path(owner: &NamespaceOwner, name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{}/{name}", owner.account().name) }
}

fn scope(scope: slipway_app::ScopeView) -> ScopeView {
    ScopeView { name: scope.scope, reason: scope.words.map_or_else(|| "Not asked for by Slipway.".to_owned(), |words| sentence(&words)) }
}

fn used_by(owner: &NamespaceOwner, used: slipway_app::UsedBy) -> UsedBy {
    UsedBy { path: path(owner, &used.repository), source: used.source, note: used.note, problem: used.problem }
}

pub(super) fn organization(one: slipway_app::OrganizationView) -> OrganizationView {
    OrganizationView { name: one.name, access: one.access, note: one.note, grant_url: one.grant_url }
}

/// `None` for an entry that only says that the provider is not linked.
fn link_card(owner: &NamespaceOwner, org: Option<&AccountName>, link: LinkView) -> Option<LinkCard> {
    let id = link.id?;
    let picture = link.picture.then(|| format!("{}/{}/links/{id}/picture", base(org), link.provider));
    Some(LinkCard {
        id: id.to_string(),
        state: link.state,
        login: link.login.unwrap_or_default(),
        display_name: link.display_name,
        picture,
        linked_at: link.linked_at,
        since: link.since,
        access: link.access.unwrap_or(slipway_model::AccessLevel::Full),
        linked_as: link.linked_as.unwrap_or(LinkedAs::Person),
        scopes: link.scopes_granted.into_iter().map(scope).collect(),
        missing: link.scopes_missing.into_iter().map(scope).collect(),
        affected: link.affects.len(),
        used_by: link.used_by.into_iter().map(|used| used_by(owner, used)).collect(),
        checked_at: link.checked_at,
        next_check_at: link.next_check_at,
        evidence: link.evidence.map(|evidence| EvidenceView { words: sentence(&evidence.words), status: evidence.status, at: evidence.at }),
        next_step: link.next_step.as_deref().map(sentence),
        warnings: link.warnings.iter().map(|text| sentence(text)).collect(),
        organizations: link.organizations.into_iter().map(organization).collect(),
        grant_url: link.grant_url,
    })
}

/// One card for each provider, in the order in which the application lists them, with all of its links.
fn cards(owner: &NamespaceOwner, org: Option<&AccountName>, links: Vec<LinkView>) -> Vec<ProviderCard> {
    let mut cards: Vec<ProviderCard> = Vec::new();
    for link in links {
        let id = link.provider.to_string();
        if cards.last().is_none_or(|card| card.id != id) {
            let name = provider_name(link.kind, &link.web_url);
            cards.push(ProviderCard { id, kind: link.kind, name, web_url: link.web_url.clone(), links: Vec::new() });
        }
        if let (Some(card), Some(link)) = (cards.last_mut(), link_card(owner, org, link)) {
            card.links.push(link);
        }
    }
    cards
}

/// `GET /settings/source-providers`.
pub(super) async fn list(visit: Visit, At(whose): At<Whose>) -> Result<Response, PageError> {
    let owner = owner(&visit, whose.org.as_ref(), Scope::RepoRead).await?;
    let links = visit.app().list_links(&owner).await?;
    let receipts = !visit.app().receipts(&owner, None, 1).await?.is_empty();
    Ok(show(&ProvidersPage { shell: visit.shell(Area::Providers), cards: cards(&owner, whose.org.as_ref(), links), receipts }))
}

async fn connect_page(visit: &Visit, owner: &NamespaceOwner, provider: &ProviderId) -> Result<ConnectPage, PageError> {
    let offers = visit.app().offers(owner, provider).await?;
    let link = visit.app().provider(provider).map(|forge| forge.provider()).ok_or_else(ApiError::not_found)?;
    let offer = |offer: slipway_app::OfferView| OfferView {
        level: offer.level,
        words: sentence(&offer.words),
        scopes: offer.scopes.into_iter().map(scope).collect(),
    };
    Ok(ConnectPage {
        shell: visit.shell(Area::Providers),
        id: provider.to_string(),
        kind: link.kind,
        name: provider_name(link.kind, link.web_url.as_str()),
        offers: offers.offers.into_iter().map(offer).collect(),
        advice: offers.advice.map(|advice| sentence(&advice).trim_end_matches('.').to_owned()),
        linked: offers.linked,
        problem: None,
    })
}

/// `GET …/{provider}/connect`: what will be asked for.
pub(super) async fn explain(visit: Visit, At(at): At<ProviderAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    Ok(show(&connect_page(&visit, &owner, &at.provider).await?))
}

/// What the form says; what it leaves out is as usual.
fn wish(form: &Fields) -> Result<ConnectWish, PageError> {
    let odd = |field: &str| ApiError::new(crate::error::Code::Invalid, format!("`{field}` has a value that is no choice of this page"));
    let usual = ConnectWish::default();
    Ok(ConnectWish {
        access: form.filled("access").map_or(Ok(usual.access), |word| word.parse().map_err(|_| odd("access")))?,
        linked_as: form.filled("linked_as").map_or(Ok(usual.linked_as), |word| word.parse().map_err(|_| odd("linked_as")))?,
    })
}

/// `POST …/{provider}/connect`: to the provider. Its answer comes to `/oauth/{provider}/callback`, which knows the namespace.
pub(super) async fn connect(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    match visit.app().begin_connect(&owner, &visit.caller, &at.provider, wish(&form)?).await {
        Ok(address) => Ok(go(address.as_str())),
        Err(error @ (Error::Refused(_) | Error::Forge { .. })) => {
            let page = connect_page(&visit, &owner, &at.provider).await?;
            Ok(show_refused(&ConnectPage { problem: Some(sentence(&ApiError::from(error).detail)), ..page }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/{provider}/enable`.
pub(super) async fn enable(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    visit.app().switch_link(&owner, &at.provider, chosen(&form)?, LinkSwitch::Enable).await?;
    Ok(at.home("enabled"))
}

/// `POST …/{provider}/disable`.
pub(super) async fn disable(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    visit.app().switch_link(&owner, &at.provider, chosen(&form)?, LinkSwitch::Disable).await?;
    Ok(at.home("disabled"))
}

/// `POST …/{provider}/check`: asks the provider now.
pub(super) async fn check(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    let link = visit.app().check_link(&owner, &at.provider, chosen(&form)?).await?;
    Ok(at.home(if link.state == LinkState::Ok { "link-checked" } else { "link-broken" }))
}

/// `POST …/{provider}/refresh`: reads anew what the link sees.
pub(super) async fn refresh(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    visit.app().refresh_sources(&owner, &at.provider, chosen(&form)?).await?;
    Ok(at.home("refreshing"))
}

/// `GET …/{provider}/links/{link}/picture`: the picture of the linked person, from our copy.
pub(super) async fn picture(visit: Visit, At(at): At<LinkAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoRead).await?;
    let picture = visit.app().link_picture(&owner, &at.provider, at.link).await?;
    let headers = [
        (header::CONTENT_TYPE, picture.media_type.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    Ok((headers, picture.content).into_response())
}

fn unlink_source(owner: &NamespaceOwner, source: slipway_app::UnlinkSource) -> UnlinkSourceView {
    let mut has = Vec::new();
    if source.hook {
        has.push("webhook".to_owned());
    }
    if source.key {
        has.push("deploy key".to_owned());
    }
    has.push(super::view::ui::count(source.rules, "build rule", "build rules"));
    UnlinkSourceView {
        path: path(owner, &source.repository),
        source: source.source,
        has,
        served_by: source.served_by,
        kept_for: source.kept_for,
    }
}

/// `GET …/{provider}/unlink`: what will be removed and what stops.
pub(super) async fn preview_unlink(visit: Visit, At(at): At<ProviderAt>, Query(query): Query) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    Ok(show(&unlink_page(&visit, &owner, &at, chosen(&query)?, Field::default()).await?))
}

async fn unlink_page(
    visit: &Visit,
    owner: &NamespaceOwner,
    at: &ProviderAt,
    link: Option<LinkId>,
    confirm: Field,
) -> Result<UnlinkPage, PageError> {
    let preview = visit.app().preview_unlink(owner, &at.provider, link).await?;
    let name = provider_name(preview.link.kind, &preview.link.web_url);
    let link = link_card(owner, at.org.as_ref(), preview.link).ok_or_else(ApiError::not_found)?;
    Ok(UnlinkPage {
        shell: visit.shell(Area::Providers),
        id: at.provider.to_string(),
        name,
        link,
        sources: preview.sources.into_iter().map(|source| unlink_source(owner, source)).collect(),
        grant: sentence(&preview.grant),
        warnings: preview.warnings.iter().map(|text| sentence(text)).collect(),
        confirm,
    })
}

/// `POST …/{provider}/unlink`, with the login typed: on to the receipt.
pub(super) async fn unlink(visit: Visit, At(at): At<ProviderAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoAdmin).await?;
    let (link, typed) = (chosen(&form)?, form.text("confirm").trim());
    let page = unlink_page(&visit, &owner, &at, link, Field::default()).await?;
    if typed != page.link.login {
        let confirm = Field::refused(typed, format!("This is not the account that is linked: type `{}`.", page.link.login));
        return Ok(show_refused(&UnlinkPage { confirm, ..page }));
    }
    let receipt = visit.app().unlink(&owner, &at.provider, link).await?;
    Ok(go(&format!("{}/receipts/{}", base(at.org.as_ref()), receipt.id)))
}

/// The provider's name, also when it is configured no more.
fn name_of(visit: &Visit, provider: &ProviderId) -> String {
    let configured = visit.app().provider(provider).map(|forge| forge.provider());
    configured.map_or_else(|| provider.to_string(), |known| provider_name(known.kind, known.web_url.as_str()))
}

/// `GET …/receipts/{receipt}`.
pub(super) async fn receipt(visit: Visit, At(at): At<ReceiptAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, at.org.as_ref(), Scope::RepoRead).await?;
    let Receipt { provider, login, at, finished_at, done, left, kept, stopped, .. } = visit.app().receipt(&owner, at.receipt).await?;
    let line = |item: slipway_app::ReceiptItem| ReceiptLine { what: sentence(&item.what), left: None, url: item.url };
    Ok(show(&ReceiptPage {
        name: name_of(&visit, &provider),
        shell: visit.shell(Area::Providers),
        login,
        at,
        finished_at,
        removed: done.into_iter().map(line).collect(),
        left: left.into_iter().map(line).collect(),
        kept: kept.into_iter().map(line).collect(),
        stopped: stopped.iter().map(|name| path(&owner, name)).collect(),
    }))
}

/// `GET …/receipts`.
pub(super) async fn receipts(visit: Visit, At(whose): At<Whose>, Query(query): Query) -> Result<Response, PageError> {
    let owner = owner(&visit, whose.org.as_ref(), Scope::RepoRead).await?;
    let before: Option<ReceiptId> = query.filled("cursor").and_then(|id| id.parse().ok());
    let mut found = visit.app().receipts(&owner, before, RECEIPTS + 1).await?;
    let more = found.len() > RECEIPTS as usize;
    found.truncate(RECEIPTS as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let row = |receipt: Receipt| ReceiptRow {
        href: format!("{}/receipts/{}", base(whose.org.as_ref()), receipt.id),
        name: name_of(&visit, &receipt.provider),
        login: receipt.login,
        at: receipt.at,
        left: receipt.left.len(),
        finished: receipt.finished_at.is_some(),
    };
    Ok(show(&ReceiptsPage { rows: found.into_iter().map(row).collect(), next, shell: visit.shell(Area::Providers) }))
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
