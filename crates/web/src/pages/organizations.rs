//! Organizations: a new one, its members, its settings, tokens and invitations, its end.
//!
//! Invariant: what a page shows of an organization was authorised by `slipway-app` for this request; the frame's list of organizations is
//! never taken for a right. Deliberately elsewhere: its repositories (`repositories`), its teams (`teams`), its links (`providers`).

use std::time::Duration;

use axum::response::Response;
use serde::Deserialize;
use slipway_app::{
    Doomed, Error, InvitationWish, Mailed, OrganizationChange, OrganizationMember, OrganizationOwner, Receipt, ReceiptItem, Refusal,
};
use slipway_model::{AccountName, InvitationId, TeamName, TokenId};

use super::error::{PageError, said, sentence};
use super::fields::{At, Fields, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::providers::provider_name;
use super::settings::mail;
use super::token_form::{self, Sent};
use super::view::admin::{Life, NewInvitation};
use super::view::form::Field;
use super::view::organizations::{
    DoomedView, MemberRow, MembersPage, NewOrganizationPage, OrganizationDeletePage, OrganizationDeletedPage, OrganizationInvitationsPage,
    OrganizationSettingsPage, OrganizationTokensPage, TeamInvitationRow,
};
use super::view::providers::ReceiptLine;
use super::view::shell::Area;
use super::view::tokens::{NewToken, TokenArea, TokenForm, TokenOwner};
use crate::edge::routes::{Routes, get, post};

const PAGE: u32 = 50;
/// Teams that the choice of an invitation offers.
const TEAMS: u32 = 500;
const INVITATIONS: u32 = 100;

/// The addresses of organizations.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/organizations/new", get(new).post(create))
        .route("/o/{org}", get(home))
        .route("/o/{org}/members", get(members))
        .route("/o/{org}/members/{user}/remove", post(remove_member))
        .route("/o/{org}/settings", get(settings).post(change))
        .route("/o/{org}/settings/rename", post(rename))
        .route("/o/{org}/settings/delete", get(preview_delete).post(delete))
        .route("/o/{org}/settings/tokens", get(tokens).post(make_token))
        .route("/o/{org}/settings/tokens/{id}/revoke", post(revoke_token))
        .route("/o/{org}/settings/invitations", get(invitations).post(invite))
        .route("/o/{org}/settings/invitations/{id}/revoke", post(revoke_invitation))
}

fn image_prefix(visit: &Visit) -> String {
    format!("{}/", visit.app().registry_host())
}

pub(super) async fn owner(visit: &Visit, org: &AccountName) -> Result<OrganizationOwner, PageError> {
    Ok(visit.app().organization_owner(&visit.caller, org).await?)
}

fn new_page(visit: &Visit) -> NewOrganizationPage {
    NewOrganizationPage {
        shell: visit.shell(Area::Elsewhere),
        name: Field::default(),
        display_name: Field::default(),
        image_prefix: image_prefix(visit),
    }
}

/// `GET /organizations/new`.
async fn new(visit: Visit) -> Response {
    show(&new_page(&visit))
}

/// `POST /organizations/new`.
async fn create(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let (name, display_name) = (form.text("name").trim(), form.text("display_name").trim());
    match visit.app().create_organization(&visit.caller, name, display_name).await {
        Ok(made) => Ok(go(&format!("/{}?done=organization-created", made.name))),
        Err(Error::Refused(refusal)) => {
            let mut page = NewOrganizationPage { name: Field::new(name), display_name: Field::new(display_name), ..new_page(&visit) };
            let field = if refusal.field.as_deref() == Some("display_name") { &mut page.display_name } else { &mut page.name };
            field.error = Some(said(&refusal));
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `/o/{org}`: its first page is that of its repositories.
async fn home(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    let member = visit.app().organization_member(&visit.caller, &org).await?;
    Ok(go(&format!("/{}", member.account().name)))
}

async fn members_page(visit: &Visit, org: &AccountName, after: Option<&str>, problem: Option<String>) -> Result<MembersPage, PageError> {
    let owner = owner(visit, org).await?;
    let mut found = visit.app().list_members(&owner, after, PAGE + 1).await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.account.name.to_string());
    let rows = found.into_iter().map(|member| MemberRow {
        display_name: display_name(member.account.name.as_str(), member.account.display_name),
        name: member.account.name.to_string(),
        teams: member.teams.iter().map(ToString::to_string).collect(),
    });
    Ok(MembersPage { shell: visit.shell(Area::Members), rows: rows.collect(), next, problem })
}

/// What people call somebody, when it says more than the name.
pub(super) fn display_name(name: &str, display_name: String) -> String {
    if display_name == name { String::new() } else { display_name }
}

/// `/o/{org}/members`.
async fn members(visit: Visit, At(org): At<AccountName>, Query(query): Query) -> Result<Response, PageError> {
    Ok(show(&members_page(&visit, &org, query.filled("cursor"), None).await?))
}

/// Somebody in an organization.
#[derive(Debug, Deserialize)]
struct MemberAt {
    org: AccountName,
    user: AccountName,
}

/// `POST /o/{org}/members/{user}/remove`.
async fn remove_member(visit: Visit, At(at): At<MemberAt>) -> Result<Response, PageError> {
    match visit.app().remove_member(&owner(&visit, &at.org).await?, &at.user).await {
        // Who removed themselves may not see the page of members any more.
        Ok(()) if at.user == visit.caller.account().name => Ok(go("/?done=left")),
        Ok(()) => Ok(go(&format!("/o/{}/members?done=member-removed", at.org))),
        Err(Error::Refused(refusal)) => Ok(conflict(&members_page(&visit, &at.org, None, Some(said(&refusal))).await?)),
        Err(error) => Err(error.into()),
    }
}

/// A page that came back because something stands in the way.
pub(super) fn conflict(page: &impl askama::Template) -> Response {
    let mut response = show(page);
    *response.status_mut() = http::StatusCode::CONFLICT;
    response
}

fn settings_page(visit: &Visit, owner: &OrganizationOwner) -> OrganizationSettingsPage {
    let account = owner.account();
    OrganizationSettingsPage {
        shell: visit.shell(Area::Settings),
        name: account.name.to_string(),
        display_name: Field::new(&account.display_name),
        new_name: Field::default(),
        image_prefix: image_prefix(visit),
        created_at: account.created_at,
    }
}

/// `GET /o/{org}/settings`.
async fn settings(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    Ok(show(&settings_page(&visit, &owner)))
}

/// `POST /o/{org}/settings`: the name that people see.
async fn change(visit: Visit, At(org): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let typed = form.text("display_name").trim();
    let wish = OrganizationChange { name: None, display_name: Some(typed.to_owned()) };
    match visit.app().update_organization(&owner, &wish).await {
        Ok(now) => Ok(go(&format!("/o/{}/settings?done=saved", now.name))),
        Err(Error::Refused(refusal)) => {
            let display_name = Field::refused(typed, said(&refusal));
            Ok(show_refused(&OrganizationSettingsPage { display_name, ..settings_page(&visit, &owner) }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{org}/settings/rename`.
async fn rename(visit: Visit, At(org): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let typed = form.text("name").trim();
    let wish = OrganizationChange { name: Some(typed.to_owned()), display_name: None };
    match visit.app().update_organization(&owner, &wish).await {
        Ok(now) => Ok(go(&format!("/o/{}/settings?done=organization-renamed", now.name))),
        Err(Error::Refused(refusal)) => {
            let new_name = Field::refused(typed, said(&refusal));
            Ok(show_refused(&OrganizationSettingsPage { new_name, ..settings_page(&visit, &owner) }))
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete_page(visit: &Visit, owner: &OrganizationOwner) -> Result<OrganizationDeletePage, PageError> {
    let doomed = visit.app().preview_delete_organization(owner).await?;
    Ok(OrganizationDeletePage {
        shell: visit.shell(Area::Settings),
        name: owner.account().name.to_string(),
        doomed: doomed_view(visit, &owner.account().name, doomed),
        confirm: Field::default(),
    })
}

fn doomed_view(visit: &Visit, name: &AccountName, doomed: Doomed) -> DoomedView {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let link = |id: &slipway_model::ProviderId| match visit.app().provider(id) {
        Some(forge) => provider_name(forge.provider().kind, forge.provider().web_url.as_str()),
        None => id.to_string(),
    };
    DoomedView {
        repositories: doomed.repositories.iter().map(|repository| format!("{name}/{repository}")).collect(),
        repository_count: count(doomed.repository_count),
        open_builds: count(doomed.build_count),
        team_count: count(doomed.team_count),
        member_count: count(doomed.member_count),
        token_count: count(doomed.token_count),
        links: doomed.links.iter().map(link).collect(),
    }
}

/// `GET /o/{org}/settings/delete`.
async fn preview_delete(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    Ok(show(&delete_page(&visit, &owner).await?))
}

/// `POST /o/{org}/settings/delete`: only with the name typed.
async fn delete(visit: Visit, At(org): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let typed = form.text("confirm").trim();
    match visit.app().delete_organization(&owner, typed).await {
        Ok(receipts) if receipts.is_empty() => Ok(go("/?done=organization-deleted")),
        Ok(receipts) => Ok(show(&deleted_page(&visit, &owner.account().name, receipts))),
        Err(Error::Refused(refusal)) => {
            let confirm = Field::refused(typed, said(&refusal));
            Ok(show_refused(&OrganizationDeletePage { confirm, ..delete_page(&visit, &owner).await? }))
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of the links: nothing of them is kept, so there is no redirect.
fn deleted_page(visit: &Visit, name: &AccountName, receipts: Vec<Receipt>) -> OrganizationDeletedPage {
    let line = |item: ReceiptItem| ReceiptLine { what: sentence(&item.what), left: None, url: item.url };
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    for receipt in receipts {
        removed.extend(receipt.done.into_iter().map(line));
        left.extend(receipt.left.into_iter().map(line));
    }
    // The frame was made when the organization still stood.
    let mut shell = visit.shell(Area::Elsewhere);
    shell.namespaces.retain(|one| one.name != name.as_str());
    shell.namespace = visit.caller.account().name.to_string();
    OrganizationDeletedPage { shell, name: name.to_string(), removed, left }
}

async fn tokens_page(
    visit: &Visit,
    owner: &OrganizationOwner,
    form: TokenForm,
    created: Option<NewToken>,
) -> Result<OrganizationTokensPage, PageError> {
    let name = &owner.account().name;
    let rows = token_form::rows(visit.app().list_organization_tokens(owner).await?, visit.now());
    let action = format!("/o/{name}/settings/tokens");
    let tokens = TokenArea { owner: TokenOwner::Organization(name.to_string()), action, rows, created, form };
    Ok(OrganizationTokensPage { shell: visit.shell(Area::Settings), tokens })
}

/// `GET /o/{org}/settings/tokens`.
async fn tokens(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    Ok(show(&tokens_page(&visit, &owner, token_form::empty(), None).await?))
}

/// `POST /o/{org}/settings/tokens`: the answer is the only page that ever shows the token.
async fn make_token(visit: Visit, At(org): At<AccountName>, Form(fields): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let Sent { form, wish } = token_form::read(&fields, visit.now());
    let Some(wish) = wish else { return Ok(show_refused(&tokens_page(&visit, &owner, form, None).await?)) };
    match visit.app().create_organization_token(&owner, &wish).await {
        Ok(made) => {
            let created = token_form::created(&wish.name, &made, &visit.app().registry_host(), owner.account().name.as_str());
            Ok(show(&tokens_page(&visit, &owner, token_form::empty(), Some(created)).await?))
        }
        Err(Error::Refused(refusal)) => Ok(show_refused(&tokens_page(&visit, &owner, token_form::refused(form, &refusal), None).await?)),
        Err(error) => Err(error.into()),
    }
}

/// Something of an organization that has an id.
#[derive(Debug, Deserialize)]
struct Numbered<Id> {
    org: AccountName,
    id: Id,
}

/// `POST /o/{org}/settings/tokens/{id}/revoke`.
async fn revoke_token(visit: Visit, At(at): At<Numbered<TokenId>>) -> Result<Response, PageError> {
    visit.app().revoke_organization_token(&owner(&visit, &at.org).await?, at.id).await?;
    Ok(go(&format!("/o/{}/settings/tokens?done=revoked", at.org)))
}

async fn invitations_page(visit: &Visit, owner: &OrganizationOwner, team: &str) -> Result<OrganizationInvitationsPage, PageError> {
    let teams = visit.app().list_teams(&OrganizationMember::from(owner.clone()), None, TEAMS).await?;
    let open = visit.app().list_organization_invitations(owner, None, INVITATIONS).await?;
    let rows = open.into_iter().map(|invitation| TeamInvitationRow {
        id: invitation.id.to_string(),
        team: invitation.team.map(|team| team.to_string()).unwrap_or_default(),
        email: invitation.email,
        by: invitation.created_by,
        created_at: invitation.created_at,
        expires_at: invitation.expires_at,
    });
    Ok(OrganizationInvitationsPage {
        shell: visit.shell(Area::Settings),
        rows: rows.collect(),
        created: None,
        // `owners` comes last: nobody shall give the largest right because it stood first.
        teams: teams
            .iter()
            .filter(|team| !team.is_owners())
            .chain(teams.iter().filter(|team| team.is_owners()))
            .map(|team| team.name.to_string())
            .collect(),
        team: Field::new(team),
        email: Field::default(),
        life: Life::default(),
        mail: mail(visit.app()),
        problem: None,
    })
}

/// `GET /o/{org}/settings/invitations?team=`.
async fn invitations(visit: Visit, At(org): At<AccountName>, Query(query): Query) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    Ok(show(&invitations_page(&visit, &owner, query.text("team")).await?))
}

/// `POST /o/{org}/settings/invitations`: the answer is the only page that ever shows the link.
async fn invite(visit: Visit, At(org): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let life = Life::from_word(form.text("life")).unwrap_or_default();
    let typed = form.text("team").trim();
    let refusal = match invited(&visit, &owner, &form, life).await {
        Ok(created) => {
            let page = invitations_page(&visit, &owner, typed).await?;
            return Ok(show(&OrganizationInvitationsPage { created: Some(created), ..page }));
        }
        Err(Error::Refused(refusal)) => refusal,
        // The team was deleted since the page was shown.
        Err(Error::NotFound) => {
            let detail = format!("there is no team of that name in {}", owner.account().name);
            Refusal::new(slipway_app::RefusalKind::Invalid, "team", detail).field("team")
        }
        Err(error) => return Err(error.into()),
    };
    let mut page = invitations_page(&visit, &owner, typed).await?;
    page.life = life;
    page.email.value = form.text("email").chars().take(300).collect();
    let text = Some(said(&refusal));
    match refusal.field.as_deref() {
        Some("team") => page.team.error = text,
        Some("email") if page.mails() => page.email.error = text,
        _ => page.problem = text,
    }
    Ok(show_refused(&page))
}

async fn invited(visit: &Visit, owner: &OrganizationOwner, form: &Fields, life: Life) -> Result<NewInvitation, Error> {
    let team: TeamName = form.text("team").trim().parse().map_err(|_| Error::NotFound)?;
    let email = Some(form.text("email").trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let wish = InvitationWish { email: email.clone(), expires_in: Duration::from_secs(life.hours() * 3600) };
    let made = visit.app().invite_to_team(owner, &team, &wish).await?;
    Ok(NewInvitation { url: made.url.to_string(), expires_at: made.expires_at, mailed_to: email.filter(|_| made.mailed == Mailed::Yes) })
}

/// `POST /o/{org}/settings/invitations/{id}/revoke`.
async fn revoke_invitation(visit: Visit, At(at): At<Numbered<InvitationId>>) -> Result<Response, PageError> {
    visit.app().revoke_organization_invitation(&owner(&visit, &at.org).await?, at.id).await?;
    Ok(go(&format!("/o/{}/settings/invitations?done=invitation-revoked", at.org)))
}
