//! Teams of an organization: owners manage all of them, members look at their own and leave.
//!
//! Invariant: a team that the person is not in does not exist for them, unless they own the organization. Deliberately elsewhere: what a
//! permission means (`slipway-app::authorise`).

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::teams::Team;
use slipway_app::{Error, NamespaceView, OrganizationMember, OrganizationOwner, TeamChange};
use slipway_model::{AccountName, Permission, RepositoryName, TeamName};

use super::error::{PageError, said};
use super::fields::{At, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::organizations::{conflict, display_name, owner};
use super::view::form::Field;
use super::view::shell::Area;
use super::view::teams::{
    NewTeamPage, TeamHead, TeamMemberRow, TeamPage, TeamRepositoriesPage, TeamRepositoryRow, TeamRow, TeamSettingsPage, TeamTab, TeamsPage,
};
use crate::edge::routes::{Routes, get, post};

const PAGE: u32 = 50;
/// Names that the field of a repository offers while typing.
const OFFERED: u32 = 500;

/// The addresses of teams.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/o/{org}/teams", get(list))
        .route("/o/{org}/teams/new", get(new).post(create))
        .route("/o/{org}/teams/{team}", get(members))
        .route("/o/{org}/teams/{team}/members", post(add))
        .route("/o/{org}/teams/{team}/members/{user}/remove", post(remove))
        .route("/o/{org}/teams/{team}/leave", post(leave))
        .route("/o/{org}/teams/{team}/repositories", get(repositories).post(grant))
        .route("/o/{org}/teams/{team}/repositories/{name}/remove", post(take_back))
        .route("/o/{org}/teams/{team}/settings", get(settings).post(change))
        .route("/o/{org}/teams/{team}/delete", post(delete))
}

/// A team's address.
#[derive(Clone, Debug, Deserialize)]
struct TeamAt {
    org: AccountName,
    team: TeamName,
}

impl TeamAt {
    fn base(&self) -> String {
        format!("/o/{}/teams/{}", self.org, self.team)
    }
}

fn row(team: Team) -> TeamRow {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    TeamRow {
        name: team.name.to_string(),
        description: team.description,
        members: count(team.members),
        repositories: count(team.repositories),
    }
}

/// Cuts a list that was asked for one more than a page, and says whether there are more.
fn cut<T>(found: &mut Vec<T>) -> bool {
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    more
}

/// `/o/{org}/teams`.
async fn list(visit: Visit, At(org): At<AccountName>, Query(query): Query) -> Result<Response, PageError> {
    let member = visit.app().organization_member(&visit.caller, &org).await?;
    let mut found = visit.app().list_teams(&member, query.filled("cursor"), PAGE + 1).await?;
    let more = cut(&mut found);
    let next = found.last().filter(|_| more).map(|last| last.name.to_string());
    Ok(show(&TeamsPage { shell: visit.shell(Area::Teams), rows: found.into_iter().map(row).collect(), next }))
}

fn new_page(visit: &Visit) -> NewTeamPage {
    NewTeamPage { shell: visit.shell(Area::Teams), name: Field::default(), description: Field::default() }
}

/// `GET /o/{org}/teams/new`.
async fn new(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    owner(&visit, &org).await?;
    Ok(show(&new_page(&visit)))
}

/// `POST /o/{org}/teams/new`.
async fn create(visit: Visit, At(org): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &org).await?;
    let (name, description) = (form.text("name").trim(), form.text("description").trim());
    match visit.app().create_team(&owner, name, description).await {
        Ok(team) => Ok(go(&format!("/o/{org}/teams/{}?done=team-created", team.name))),
        Err(Error::Refused(refusal)) => {
            let mut page = NewTeamPage { name: Field::new(name), description: Field::new(description), ..new_page(&visit) };
            let field = if refusal.field.as_deref() == Some("description") { &mut page.description } else { &mut page.name };
            field.error = Some(said(&refusal));
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

fn head(member: &OrganizationMember, team: Team, tab: TeamTab) -> TeamHead {
    TeamHead { organization: member.account().name.to_string(), team: row(team), tab }
}

async fn members_page(visit: &Visit, at: &TeamAt, after: Option<&str>) -> Result<TeamPage, PageError> {
    let app = visit.app();
    let member = app.organization_member(&visit.caller, &at.org).await?;
    let team = app.team(&member, &at.team).await?;
    let mut found = app.list_team_members(&member, &at.team, after, PAGE + 1).await?;
    let more = cut(&mut found);
    let next = found.last().filter(|_| more).map(|last| last.account.name.to_string());
    let rows = found.into_iter().map(|one| TeamMemberRow {
        display_name: display_name(one.account.name.as_str(), one.account.display_name),
        name: one.account.name.to_string(),
        added_at: one.added_at,
    });
    Ok(TeamPage {
        shell: visit.shell(Area::Teams),
        head: head(&member, team, TeamTab::Members),
        rows: rows.collect(),
        next,
        user: Field::default(),
        problem: None,
    })
}

/// `/o/{org}/teams/{team}`.
async fn members(visit: Visit, At(at): At<TeamAt>, Query(query): Query) -> Result<Response, PageError> {
    Ok(show(&members_page(&visit, &at, query.filled("cursor")).await?))
}

/// `POST /o/{org}/teams/{team}/members`: by name.
async fn add(visit: Visit, At(at): At<TeamAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &at.org).await?;
    // A team that is gone is another 404 than a name that nobody has.
    visit.app().team(&OrganizationMember::from(owner.clone()), &at.team).await?;
    let typed = form.text("user").trim();
    let text = match typed.parse::<AccountName>() {
        Ok(user) => match visit.app().add_team_member(&owner, &at.team, &user).await {
            Ok(()) => return Ok(go(&format!("{}?done=member-added", at.base()))),
            Err(Error::Refused(refusal)) => said(&refusal),
            Err(error) => return Err(error.into()),
        },
        Err(error) => super::error::sentence(&error.to_string()),
    };
    let user = Field::refused(typed.chars().take(200).collect::<String>(), text);
    Ok(show_refused(&TeamPage { user, ..members_page(&visit, &at, None).await? }))
}

/// Somebody in a team.
#[derive(Debug, Deserialize)]
struct TeamMemberAt {
    org: AccountName,
    team: TeamName,
    user: AccountName,
}

/// `POST /o/{org}/teams/{team}/members/{user}/remove`.
async fn remove(visit: Visit, At(which): At<TeamMemberAt>) -> Result<Response, PageError> {
    let at = TeamAt { org: which.org, team: which.team };
    match visit.app().remove_team_member(&owner(&visit, &at.org).await?, &at.team, &which.user).await {
        Ok(()) => Ok(go(&format!("{}?done=member-removed", at.base()))),
        Err(Error::Refused(refusal)) => Ok(conflict(&TeamPage { problem: Some(said(&refusal)), ..members_page(&visit, &at, None).await? })),
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{org}/teams/{team}/leave`. Afterwards the team, or the whole organization, may not be there for them any more.
async fn leave(visit: Visit, At(at): At<TeamAt>) -> Result<Response, PageError> {
    match visit.app().leave_team(&visit.caller, &at.org, &at.team).await {
        Ok(()) => match visit.app().organization_member(&visit.caller, &at.org).await {
            Ok(_) => Ok(go(&format!("/o/{}/teams?done=left", at.org))),
            Err(_) => Ok(go("/?done=left")),
        },
        Err(Error::Refused(refusal)) => Ok(conflict(&TeamPage { problem: Some(said(&refusal)), ..members_page(&visit, &at, None).await? })),
        Err(error) => Err(error.into()),
    }
}

async fn repositories_page(visit: &Visit, at: &TeamAt, after: Option<&str>) -> Result<TeamRepositoriesPage, PageError> {
    let app = visit.app();
    let member = app.organization_member(&visit.caller, &at.org).await?;
    let team = app.team(&member, &at.team).await?;
    let mut found = app.list_team_repositories(&member, &at.team, after, PAGE + 1).await?;
    let more = cut(&mut found);
    let next = found.last().filter(|_| more).map(|(last, _)| last.name.to_string());
    let offered = match member.standing() {
        slipway_app::Standing::Owner => offered(visit, &at.org).await?,
        _ => Vec::new(),
    };
    let row = |(repository, permission): (slipway_app::store::repositories::Repository, Permission)| TeamRepositoryRow {
        name: repository.name.to_string(),
        permission,
    };
    Ok(TeamRepositoriesPage {
        shell: visit.shell(Area::Teams),
        head: head(&member, team, TeamTab::Repositories),
        rows: found.into_iter().map(row).collect(),
        next,
        offered,
        repository: Field::default(),
        permission: Permission::Read,
    })
}

/// The first names of the organization's repositories.
async fn offered(visit: &Visit, org: &AccountName) -> Result<Vec<String>, PageError> {
    let view: NamespaceView = visit.app().namespace_view(Some(&visit.caller), org).await?;
    let found = visit.app().list_repositories(&view, None, OFFERED).await?;
    Ok(found.into_iter().map(|repository| repository.name.to_string()).collect())
}

/// `/o/{org}/teams/{team}/repositories`.
async fn repositories(visit: Visit, At(at): At<TeamAt>, Query(query): Query) -> Result<Response, PageError> {
    Ok(show(&repositories_page(&visit, &at, query.filled("cursor")).await?))
}

/// `POST /o/{org}/teams/{team}/repositories`: gives a permission, or another one than before.
async fn grant(visit: Visit, At(at): At<TeamAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &at.org).await?;
    visit.app().team(&OrganizationMember::from(owner.clone()), &at.team).await?;
    let typed = form.text("repository").trim();
    let permission: Permission = form.text("permission").parse().unwrap_or(Permission::Read);
    // People write the whole path as often as the name.
    let name = typed.strip_prefix(&format!("{}/", at.org)).unwrap_or(typed);
    let text = match set(&visit, &owner, &at.team, name, permission).await {
        Ok(()) => return Ok(go(&format!("{}/repositories?done=permission-set", at.base()))),
        Err(Error::Refused(refusal)) => said(&refusal),
        Err(Error::NotFound) => format!("There is no repository of that name in {}.", owner.account().name),
        Err(error) => return Err(error.into()),
    };
    let repository = Field::refused(typed.chars().take(200).collect::<String>(), text);
    Ok(show_refused(&TeamRepositoriesPage { repository, permission, ..repositories_page(&visit, &at, None).await? }))
}

async fn set(visit: &Visit, owner: &OrganizationOwner, team: &TeamName, name: &str, permission: Permission) -> Result<(), Error> {
    let name: RepositoryName = name.parse().map_err(|_| Error::NotFound)?;
    visit.app().set_team_permission(owner, team, &name, permission).await
}

/// A repository of a team.
#[derive(Debug, Deserialize)]
struct TeamRepositoryAt {
    org: AccountName,
    team: TeamName,
    name: RepositoryName,
}

/// `POST /o/{org}/teams/{team}/repositories/{name}/remove`.
async fn take_back(visit: Visit, At(which): At<TeamRepositoryAt>) -> Result<Response, PageError> {
    visit.app().remove_team_permission(&owner(&visit, &which.org).await?, &which.team, &which.name).await?;
    Ok(go(&format!("/o/{}/teams/{}/repositories?done=permission-removed", which.org, which.team)))
}

async fn settings_page(visit: &Visit, owner: &OrganizationOwner, at: &TeamAt) -> Result<TeamSettingsPage, PageError> {
    let member = OrganizationMember::from(owner.clone());
    let team = visit.app().team(&member, &at.team).await?;
    Ok(TeamSettingsPage {
        shell: visit.shell(Area::Teams),
        name: Field::new(team.name.as_str()),
        description: Field::new(&team.description),
        confirm: Field::default(),
        head: head(&member, team, TeamTab::Settings),
    })
}

/// `GET /o/{org}/teams/{team}/settings`.
async fn settings(visit: Visit, At(at): At<TeamAt>) -> Result<Response, PageError> {
    let owner = owner(&visit, &at.org).await?;
    Ok(show(&settings_page(&visit, &owner, &at).await?))
}

/// `POST /o/{org}/teams/{team}/settings`: name and description.
async fn change(visit: Visit, At(at): At<TeamAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &at.org).await?;
    let (name, description) = (form.given("name").map(str::trim), form.text("description").trim());
    let wish = TeamChange { name: name.map(str::to_owned), description: Some(description.to_owned()) };
    match visit.app().update_team(&owner, &at.team, &wish).await {
        Ok(team) => Ok(go(&format!("/o/{}/teams/{}/settings?done=saved", at.org, team.name))),
        Err(Error::Refused(refusal)) => {
            let mut page = settings_page(&visit, &owner, &at).await?;
            page.name.value = name.unwrap_or_default().chars().take(200).collect();
            page.description.value = description.to_owned();
            let field = if refusal.field.as_deref() == Some("description") { &mut page.description } else { &mut page.name };
            field.error = Some(said(&refusal));
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{org}/teams/{team}/delete`: only with the name typed.
async fn delete(visit: Visit, At(at): At<TeamAt>, Form(form): Form) -> Result<Response, PageError> {
    let owner = owner(&visit, &at.org).await?;
    let typed = form.text("confirm").trim();
    let text = if typed == at.team.as_str() {
        match visit.app().delete_team(&owner, &at.team).await {
            Ok(()) => return Ok(go(&format!("/o/{}/teams?done=team-deleted", at.org))),
            Err(Error::Refused(refusal)) => said(&refusal),
            Err(error) => return Err(error.into()),
        }
    } else {
        format!("That is not the name of this team, expected {}.", at.team)
    };
    let confirm = Field::refused(typed.chars().take(200).collect::<String>(), text);
    Ok(show_refused(&TeamSettingsPage { confirm, ..settings_page(&visit, &owner, &at).await? }))
}
