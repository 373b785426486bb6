//! Teams: members and what a team may do with a repository.
//!
//! Invariant: `owners` keeps a member, also when two removals come at once: whoever removes holds the team's row while it counts.

use serde_json::json;
use slipway_model::{AccountKind, AccountName, Permission, RepositoryName, TeamName, Timestamp};
use slipway_store::accounts::{self, Account};
use slipway_store::repositories::{self, Repository};
use slipway_store::teams::{self, Team};
use slipway_store::{ReadTx, StoreError, WriteTx, sessions};

use crate::audit::{self, Change, Place};
use crate::organizations::last_owner;
use crate::{App, Caller, Error, OrganizationMember, OrganizationOwner, Refusal, RefusalKind};

const DESCRIPTION_CHARACTERS: usize = 500;
const TEAMS: u64 = 5000;

/// What shall be different; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct TeamChange {
    /// Another name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// A member of a team.
#[derive(Clone, Debug)]
pub struct TeamMember {
    /// Who.
    pub account: Account,
    /// Since when.
    pub added_at: Timestamp,
}

/// Somebody in an organization.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub account: Account,
    /// In which teams.
    pub teams: Vec<TeamName>,
}

fn parse_team(name: &str) -> Result<TeamName, Error> {
    name.parse().map_err(|error: slipway_model::InvalidName| Error::invalid("name", "name", error.to_string()))
}

fn check_description(text: &str) -> Result<&str, Error> {
    let text = text.trim();
    let length = text.chars().count();
    if length <= DESCRIPTION_CHARACTERS && !text.contains('\0') {
        return Ok(text);
    }
    let detail = format!("the description has {length} characters, at most {DESCRIPTION_CHARACTERS} without NUL are accepted");
    Err(Error::invalid("description", "description", detail))
}

fn team_taken(error: StoreError, name: &TeamName) -> Error {
    match error {
        StoreError::Conflict(_) => {
            Refusal::new(RefusalKind::Conflict, "name_taken", format!("there is a team `{name}` already")).field("name").into()
        }
        other => other.into(),
    }
}

fn owners_stays(what: &str) -> Error {
    Refusal::new(RefusalKind::Conflict, "owners_stays", format!("the team `owners` cannot be {what}"))
        .hint("its members own the organization; add and remove members instead")
        .into()
}

async fn find(tx: &mut ReadTx, organization: &Account, name: &TeamName) -> Result<Team, Error> {
    teams::get_by_name(tx, organization.id, name).await?.ok_or(Error::NotFound)
}

/// A member without `owners` sees their own teams; another team is the same as none.
async fn find_seen(tx: &mut ReadTx, member: &OrganizationMember, name: &TeamName) -> Result<Team, Error> {
    let team = find(tx, member.account(), name).await?;
    match member.only_of() {
        Some(viewer) if !teams::is_member(tx, team.id, viewer).await? => Err(Error::NotFound),
        _ => Ok(team),
    }
}

/// The user or service account of that name.
async fn find_person(tx: &mut ReadTx, name: &AccountName) -> Result<Account, Error> {
    match accounts::find(tx, name).await?.filter(|account| account.kind != AccountKind::Organization) {
        Some(account) => Ok(account),
        None => Err(Refusal::new(RefusalKind::Invalid, "no_such_user", format!("there is no user or service account `{name}`"))
            .field("user")
            .hint("check the name, or send an invitation")
            .into()),
    }
}

/// Takes an account out of a team whose row is held. False when it was not in it.
async fn take_out(tx: &mut WriteTx, organization: &Account, team: &Team, account: &Account) -> Result<bool, Error> {
    if !teams::lock(tx, team.id).await? || !teams::is_member(tx, team.id, account.id).await? {
        return Ok(false);
    }
    if team.is_owners() && teams::count_members(tx, team.id).await? <= 1 {
        return Err(last_owner(&account.name, std::slice::from_ref(&organization.name)));
    }
    teams::remove_member(tx, team.id, account.id).await?;
    sessions::mark_renew(tx, account.id).await?;
    Ok(true)
}

impl App {
    /// A page of the teams that the caller sees, by name: an owner all, a member their own.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_teams(&self, member: &OrganizationMember, after: Option<&str>, limit: u32) -> Result<Vec<Team>, Error> {
        let mut tx = self.read().await?;
        Ok(teams::list(&mut tx, member.account().id, member.only_of(), after, limit).await?)
    }

    /// One team.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for a member's foreign team.
    pub async fn team(&self, member: &OrganizationMember, name: &TeamName) -> Result<Team, Error> {
        let mut tx = self.read().await?;
        find_seen(&mut tx, member, name).await
    }

    /// Makes a team.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn create_team(&self, owner: &OrganizationOwner, name: &str, description: &str) -> Result<Team, Error> {
        let (name, description, now) = (parse_team(name)?, check_description(description)?, self.clock.now());
        let organization = owner.account();
        let mut tx = self.write().await?;
        if teams::count_teams(&mut tx, organization.id).await? >= TEAMS {
            return Err(Error::conflict("too_many_teams", format!("`{}` has {TEAMS} teams already", organization.name)));
        }
        let id = teams::insert(&mut tx, organization.id, &name, description, now).await.map_err(|error| team_taken(error, &name))?;
        let team = teams::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("team.create", name.as_str()).now(json!({"description": description}));
        audit::write(&mut tx, now, owner.actor(), Place::Account(organization), change).await?;
        tx.commit().await?;
        Ok(team)
    }

    /// Changes name and description.
    ///
    /// # Errors
    /// A refusal; `owners` keeps its name.
    pub async fn update_team(&self, owner: &OrganizationOwner, name: &TeamName, change: &TeamChange) -> Result<Team, Error> {
        let mut tx = self.write().await?;
        let before = find(&mut tx, owner.account(), name).await?;
        let new_name = change.name.as_deref().map(parse_team).transpose()?.unwrap_or_else(|| before.name.clone());
        if before.is_owners() && new_name != before.name {
            return Err(owners_stays("renamed"));
        }
        let description = check_description(change.description.as_deref().unwrap_or(&before.description))?;
        teams::update(&mut tx, before.id, &new_name, description).await.map_err(|error| team_taken(error, &new_name))?;
        let team = teams::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
        let entry = Change::new("team.change", name.as_str())
            .old(json!({"name": before.name, "description": before.description}))
            .now(json!({"name": team.name, "description": team.description}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(owner.account()), entry).await?;
        tx.commit().await?;
        Ok(team)
    }

    /// Deletes a team; its members lose what it gave.
    ///
    /// # Errors
    /// A refusal for `owners`.
    pub async fn delete_team(&self, owner: &OrganizationOwner, name: &TeamName) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let team = find(&mut tx, owner.account(), name).await?;
        if team.is_owners() {
            return Err(owners_stays("deleted"));
        }
        sessions::mark_renew_of_team(&mut tx, team.id).await?;
        teams::delete(&mut tx, team.id).await?;
        let change = Change::new("team.delete", name.as_str()).old(json!({"members": team.members, "repositories": team.repositories}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(owner.account()), change).await?;
        Ok(tx.commit().await?)
    }

    /// A page of a team's members by name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn list_team_members(
        &self,
        member: &OrganizationMember,
        team: &TeamName,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<TeamMember>, Error> {
        let mut tx = self.read().await?;
        let team = find_seen(&mut tx, member, team).await?;
        let found = teams::list_members(&mut tx, team.id, after, limit).await?;
        Ok(found.into_iter().map(|(account, added_at)| TeamMember { account, added_at }).collect())
    }

    /// Adds a user or service account to a team. One who is in it already stays.
    ///
    /// # Errors
    /// A refusal when there is nobody of that name.
    pub async fn add_team_member(&self, owner: &OrganizationOwner, team: &TeamName, user: &AccountName) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let team = find(&mut tx, owner.account(), team).await?;
        if team.is_owners() {
            owner.person()?;
            owner.limits().demand_everything()?;
        }
        let account = find_person(&mut tx, user).await?;
        self.join_team(&mut tx, owner.account(), &team, &account, owner.actor()).await?;
        Ok(tx.commit().await?)
    }

    /// Puts an account into a team, in a transaction of the caller's; the audit log says by whom.
    pub(crate) async fn join_team(
        &self,
        tx: &mut WriteTx,
        organization: &Account,
        team: &Team,
        account: &Account,
        actor: &crate::Actor,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        // The account first, as everywhere: whoever deletes or converts it holds it too.
        accounts::lock(tx, account.id).await?;
        let kind = accounts::get(tx, account.id).await?.ok_or(Error::NotFound)?.kind;
        if kind == AccountKind::Organization || (team.is_owners() && kind != AccountKind::User) {
            let detail = format!("`{}` is no person, and only people own an organization", account.name);
            return Err(Refusal::new(RefusalKind::Invalid, "owners_are_people", detail)
                .field("user")
                .hint("put it into another team")
                .into());
        }
        if !teams::lock(tx, team.id).await? {
            return Err(Error::NotFound);
        }
        if teams::add_member(tx, team.id, account.id, now).await? {
            sessions::mark_renew(tx, account.id).await?;
            let change = Change::new("member.add", account.name.as_str()).now(json!({"team": team.name}));
            audit::write(tx, now, actor, Place::Account(organization), change).await?;
        }
        Ok(())
    }

    /// Takes somebody out of a team.
    ///
    /// # Errors
    /// [`Error::NotFound`] when they are not in it; a refusal for the last owner.
    pub async fn remove_team_member(&self, owner: &OrganizationOwner, team: &TeamName, user: &AccountName) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let team = find(&mut tx, owner.account(), team).await?;
        if team.is_owners() {
            owner.person()?;
        }
        let account = accounts::find(&mut tx, user).await?.ok_or(Error::NotFound)?;
        if !take_out(&mut tx, owner.account(), &team, &account).await? {
            return Err(Error::NotFound);
        }
        let change = Change::new("member.remove", account.name.as_str()).old(json!({"team": team.name}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(owner.account()), change).await?;
        Ok(tx.commit().await?)
    }

    /// The caller leaves a team.
    ///
    /// # Errors
    /// [`Error::NotFound`] when they are not in it; a refusal for the last owner.
    pub async fn leave_team(&self, caller: &Caller, organization: &AccountName, team: &TeamName) -> Result<(), Error> {
        let member = self.organization_member(caller, organization).await?;
        let mut tx = self.write().await?;
        let team = find_seen(&mut tx, &member, team).await?;
        if !take_out(&mut tx, member.account(), &team, caller.account()).await? {
            return Err(Error::NotFound);
        }
        let change = Change::new("member.leave", caller.account().name.as_str()).old(json!({"team": team.name}));
        audit::write(&mut tx, self.clock.now(), caller.actor(), Place::Account(member.account()), change).await?;
        Ok(tx.commit().await?)
    }

    /// A page of everybody in the organization, by name, with their teams.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_members(&self, owner: &OrganizationOwner, after: Option<&str>, limit: u32) -> Result<Vec<Member>, Error> {
        let organization = owner.account().id;
        let mut tx = self.read().await?;
        let mut members = Vec::new();
        for account in teams::list_people(&mut tx, organization, after, limit).await? {
            let teams = teams::teams_of(&mut tx, organization, account.id).await?.into_iter().map(|(_, name)| name).collect();
            members.push(Member { account, teams });
        }
        Ok(members)
    }

    /// Takes somebody out of every team of the organization.
    ///
    /// # Errors
    /// [`Error::NotFound`] when they are in none; a refusal for the last owner.
    pub async fn remove_member(&self, owner: &OrganizationOwner, user: &AccountName) -> Result<(), Error> {
        let organization = owner.account();
        let mut tx = self.write().await?;
        let account = accounts::find(&mut tx, user).await?.ok_or(Error::NotFound)?;
        let mut names: Vec<TeamName> = Vec::new();
        // The list is bounded, so it is asked for until nothing is left.
        loop {
            let found = teams::teams_of(&mut tx, organization.id, account.id).await?;
            if found.is_empty() {
                break;
            }
            for (id, name) in found {
                if name == TeamName::owners() {
                    owner.person()?;
                }
                if let Some(team) = teams::get(&mut tx, id).await? {
                    take_out(&mut tx, organization, &team, &account).await?;
                }
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(Error::NotFound);
        }
        let change = Change::new("member.remove", account.name.as_str()).old(json!({"teams": names}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(organization), change).await?;
        Ok(tx.commit().await?)
    }

    /// A page of the repositories that a team has a permission for, by name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn list_team_repositories(
        &self,
        member: &OrganizationMember,
        team: &TeamName,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(Repository, Permission)>, Error> {
        let mut tx = self.read().await?;
        let team = find_seen(&mut tx, member, team).await?;
        Ok(teams::list_repositories(&mut tx, team.id, after, limit).await?)
    }

    /// Gives a team a permission for a repository of the organization.
    ///
    /// # Errors
    /// A refusal; `owner` is given by membership in `owners` only.
    pub async fn set_team_permission(
        &self,
        owner: &OrganizationOwner,
        team: &TeamName,
        repository: &RepositoryName,
        permission: Permission,
    ) -> Result<(), Error> {
        if permission == Permission::Owner {
            let detail = "`owner` is given by the team `owners` alone, expected `read`, `write` or `admin`";
            return Err(Error::invalid("permission", "permission", detail));
        }
        let organization = owner.account();
        let mut tx = self.write().await?;
        let team = find(&mut tx, organization, team).await?;
        if team.is_owners() {
            return Err(Error::conflict("owners_have_all", "the team `owners` has every right over every repository already"));
        }
        let repository = repositories::get_by_name(&mut tx, &organization.name, repository).await?.ok_or(Error::NotFound)?;
        let before = teams::set_permission(&mut tx, team.id, repository.id, permission).await?;
        sessions::mark_renew_of_team(&mut tx, team.id).await?;
        let change = Change::new("team_repository.set", repository.name.as_str())
            .old(json!({"team": team.name, "permission": before}))
            .now(json!({"team": team.name, "permission": permission}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(organization), change).await?;
        Ok(tx.commit().await?)
    }

    /// Takes a team's permission for a repository away.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it had none.
    pub async fn remove_team_permission(
        &self,
        owner: &OrganizationOwner,
        team: &TeamName,
        repository: &RepositoryName,
    ) -> Result<(), Error> {
        let organization = owner.account();
        let mut tx = self.write().await?;
        let team = find(&mut tx, organization, team).await?;
        let repository = repositories::get_by_name(&mut tx, &organization.name, repository).await?.ok_or(Error::NotFound)?;
        let before = teams::team_permission(&mut tx, team.id, repository.id).await?;
        if !teams::remove_permission(&mut tx, team.id, repository.id).await? {
            return Err(Error::NotFound);
        }
        sessions::mark_renew_of_team(&mut tx, team.id).await?;
        let change = Change::new("team_repository.remove", repository.name.as_str()).old(json!({"team": team.name, "permission": before}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(organization), change).await?;
        Ok(tx.commit().await?)
    }
}
