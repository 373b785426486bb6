//! Teams of organizations: members, what a team may do with a repository, and the rights that follow.
//!
//! Invariants: a right is read from the rows at the moment of asking, never copied; whoever takes a member away holds the team's row
//! ([`lock`]), so two removals at once see each other. Deliberately elsewhere: that `owners` keeps a member (`slipway-app`).

use slipway_model::{AccountId, AccountName, Permission, RepositoryId, TeamId, TeamName, Timestamp};

use crate::accounts::{Account, AccountRow};
use crate::repositories::{Repository, RepositoryRow};
use crate::{ReadTx, StoreError, WriteTx, count, read, time};

/// A team.
#[derive(Debug, Clone)]
pub struct Team {
    /// Identity.
    pub id: TeamId,
    /// Its organization.
    pub organization: AccountId,
    /// Its name in the organization.
    pub name: TeamName,
    /// What it is for.
    pub description: String,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// How many members it has.
    pub members: u64,
    /// For how many repositories it has a permission.
    pub repositories: u64,
}

impl Team {
    /// Whether its members own the organization.
    #[must_use]
    pub fn is_owners(&self) -> bool {
        self.name == TeamName::owners()
    }
}

#[derive(sqlx::FromRow)]
struct TeamRow {
    id: String,
    account_id: String,
    name: String,
    description: String,
    created_at: i64,
    members: i64,
    repositories: i64,
}

impl TeamRow {
    fn into_team(self) -> Result<Team, StoreError> {
        Ok(Team {
            id: read("teams", &self.id)?,
            organization: read("teams", &self.account_id)?,
            name: read("teams", &self.name)?,
            description: self.description,
            created_at: time(self.created_at),
            members: count(self.members),
            repositories: count(self.repositories),
        })
    }
}

/// Adds a team. The one called `owners` owns.
///
/// # Errors
/// [`StoreError::Conflict`] when the organization has one of that name.
pub async fn insert(
    tx: &mut WriteTx,
    organization: AccountId,
    name: &TeamName,
    description: &str,
    now: Timestamp,
) -> Result<TeamId, StoreError> {
    let id = TeamId::new();
    change!(
        tx,
        "INSERT INTO teams (id, account_id, name, description, is_owners, revision, created_at) VALUES ($1, $2, $3, $4, $5, 0, $6)",
        id.to_string(),
        organization.to_string(),
        name.as_str(),
        description,
        *name == TeamName::owners(),
        now.as_millis(),
    )?;
    Ok(id)
}

/// By its name in the organization.
pub async fn get_by_name(tx: &mut ReadTx, organization: AccountId, name: &TeamName) -> Result<Option<Team>, StoreError> {
    fetch_optional!(
        TeamRow,
        tx,
        "SELECT t.id, t.account_id, t.name, t.description, t.created_at,
                (SELECT COUNT(*) FROM team_members m WHERE m.team_id = t.id) AS members,
                (SELECT COUNT(*) FROM team_repositories r WHERE r.team_id = t.id) AS repositories
         FROM teams t WHERE t.account_id = $1 AND t.name = $2",
        organization.to_string(),
        name.as_str(),
    )?
    .map(TeamRow::into_team)
    .transpose()
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: TeamId) -> Result<Option<Team>, StoreError> {
    fetch_optional!(
        TeamRow,
        tx,
        "SELECT t.id, t.account_id, t.name, t.description, t.created_at,
                (SELECT COUNT(*) FROM team_members m WHERE m.team_id = t.id) AS members,
                (SELECT COUNT(*) FROM team_repositories r WHERE r.team_id = t.id) AS repositories
         FROM teams t WHERE t.id = $1",
        id.to_string(),
    )?
    .map(TeamRow::into_team)
    .transpose()
}

/// A page of an organization's teams by name, after `after`; those of one member only, when `member` is given.
pub async fn list(
    tx: &mut ReadTx,
    organization: AccountId,
    member: Option<AccountId>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Team>, StoreError> {
    fetch_all!(
        TeamRow,
        tx,
        "SELECT t.id, t.account_id, t.name, t.description, t.created_at,
                (SELECT COUNT(*) FROM team_members m WHERE m.team_id = t.id) AS members,
                (SELECT COUNT(*) FROM team_repositories r WHERE r.team_id = t.id) AS repositories
         FROM teams t
         WHERE t.account_id = $1 AND t.name > $2
           AND ($3 = '' OR EXISTS (SELECT 1 FROM team_members m WHERE m.team_id = t.id AND m.account_id = $3))
         ORDER BY t.name LIMIT $4",
        organization.to_string(),
        after.unwrap_or(""),
        member.map_or_else(String::new, |member| member.to_string()),
        i64::from(limit),
    )?
    .into_iter()
    .map(TeamRow::into_team)
    .collect()
}

/// How many teams an organization has.
pub async fn count_teams(tx: &mut ReadTx, organization: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM teams WHERE account_id = $1", organization.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// Replaces name and description.
///
/// # Errors
/// [`StoreError::Conflict`] when the organization has another team of that name.
pub async fn update(tx: &mut WriteTx, id: TeamId, name: &TeamName, description: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE teams SET name = $1, description = $2 WHERE id = $3", name.as_str(), description, id.to_string())?;
    Ok(())
}

/// Removes a team; its members lose what it gave.
pub async fn delete(tx: &mut WriteTx, id: TeamId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM teams WHERE id = $1", id.to_string())? > 0)
}

/// Holds the team's row until the commit; false when the team is gone. What is counted after it stays true.
pub async fn lock(tx: &mut WriteTx, id: TeamId) -> Result<bool, StoreError> {
    Ok(change!(tx, "UPDATE teams SET revision = revision + 1 WHERE id = $1", id.to_string())? > 0)
}

/// The confirmed e-mail addresses of whoever owns a namespace: the user, or the owners of the organization; at most 500.
pub async fn owner_emails(tx: &mut ReadTx, namespace: AccountId) -> Result<Vec<String>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "SELECT a.email FROM accounts a
         WHERE a.email IS NOT NULL
           AND (a.id = $1 OR a.id IN (SELECT m.account_id FROM team_members m JOIN teams t ON t.id = m.team_id
                                      WHERE t.account_id = $1 AND t.is_owners))
         ORDER BY a.email LIMIT 500",
        namespace.to_string(),
    )?;
    Ok(rows.into_iter().map(|(email,)| email).collect())
}

/// Holds the row of every `owners` team that the account is in.
pub async fn lock_owned(tx: &mut WriteTx, account: AccountId) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE teams SET revision = revision + 1 WHERE is_owners AND id IN (SELECT team_id FROM team_members WHERE account_id = $1)",
        account.to_string(),
    )?;
    Ok(())
}

/// Adds a member; false when it was one already.
pub async fn add_member(tx: &mut WriteTx, id: TeamId, account: AccountId, now: Timestamp) -> Result<bool, StoreError> {
    let added = change!(
        tx,
        "INSERT INTO team_members (team_id, account_id, added_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        id.to_string(),
        account.to_string(),
        now.as_millis(),
    )?;
    Ok(added > 0)
}

/// Takes a member away; false when it was none.
pub async fn remove_member(tx: &mut WriteTx, id: TeamId, account: AccountId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM team_members WHERE team_id = $1 AND account_id = $2", id.to_string(), account.to_string())? > 0)
}

/// Takes an account out of every team of every organization.
pub async fn remove_everywhere(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM team_members WHERE account_id = $1", account.to_string())?)
}

/// Whether an account is a member of a team.
pub async fn is_member(tx: &mut ReadTx, id: TeamId, account: AccountId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM team_members WHERE team_id = $1 AND account_id = $2",
        id.to_string(),
        account.to_string()
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// How many members a team has.
pub async fn count_members(tx: &mut ReadTx, id: TeamId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM team_members WHERE team_id = $1", id.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// A page of a team's members by name, after `after`, each with when it was added.
pub async fn list_members(tx: &mut ReadTx, id: TeamId, after: Option<&str>, limit: u32) -> Result<Vec<(Account, Timestamp)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        account: AccountRow,
        added_at: i64,
    }
    fetch_all!(
        Row,
        tx,
        "SELECT a.id, a.kind, a.name, a.display_name, a.email, a.is_admin, a.created_at, m.added_at
         FROM team_members m JOIN accounts a ON a.id = m.account_id
         WHERE m.team_id = $1 AND a.name > $2 ORDER BY a.name LIMIT $3",
        id.to_string(),
        after.unwrap_or(""),
        i64::from(limit),
    )?
    .into_iter()
    .map(|row| Ok((row.account.into_account()?, time(row.added_at))))
    .collect()
}

/// A page of everybody who is in a team of the organization, by name, after `after`.
pub async fn list_people(tx: &mut ReadTx, organization: AccountId, after: Option<&str>, limit: u32) -> Result<Vec<Account>, StoreError> {
    fetch_all!(
        AccountRow,
        tx,
        "SELECT a.id, a.kind, a.name, a.display_name, a.email, a.is_admin, a.created_at FROM accounts a
         WHERE a.name > $2
           AND EXISTS (SELECT 1 FROM team_members m JOIN teams t ON t.id = m.team_id WHERE t.account_id = $1 AND m.account_id = a.id)
         ORDER BY a.name LIMIT $3",
        organization.to_string(),
        after.unwrap_or(""),
        i64::from(limit),
    )?
    .into_iter()
    .map(AccountRow::into_account)
    .collect()
}

/// How many people are in a team of the organization.
pub async fn count_people(tx: &mut ReadTx, organization: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(DISTINCT m.account_id) FROM team_members m JOIN teams t ON t.id = m.team_id WHERE t.account_id = $1",
        organization.to_string(),
    )?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// The teams of the organization that an account is in, by name, at most 1,000.
pub async fn teams_of(tx: &mut ReadTx, organization: AccountId, account: AccountId) -> Result<Vec<(TeamId, TeamName)>, StoreError> {
    let rows = fetch_all!(
        (String, String),
        tx,
        "SELECT t.id, t.name FROM team_members m JOIN teams t ON t.id = m.team_id
         WHERE m.account_id = $1 AND t.account_id = $2 ORDER BY t.name LIMIT 1000",
        account.to_string(),
        organization.to_string(),
    )?;
    rows.into_iter().map(|(id, name)| Ok((read("teams", &id)?, read("teams", &name)?))).collect()
}

/// Gives a team a permission for a repository, or another one than before; gives the one before.
pub async fn set_permission(
    tx: &mut WriteTx,
    id: TeamId,
    repository: RepositoryId,
    permission: Permission,
) -> Result<Option<Permission>, StoreError> {
    let before = team_permission(tx, id, repository).await?;
    change!(
        tx,
        "INSERT INTO team_repositories (repository_id, team_id, permission) VALUES ($1, $2, $3)
         ON CONFLICT (repository_id, team_id) DO UPDATE SET permission = excluded.permission",
        repository.to_string(),
        id.to_string(),
        i64::from(permission.rank()),
    )?;
    Ok(before)
}

/// What one team may do with a repository.
pub async fn team_permission(tx: &mut ReadTx, id: TeamId, repository: RepositoryId) -> Result<Option<Permission>, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT permission FROM team_repositories WHERE repository_id = $1 AND team_id = $2",
        repository.to_string(),
        id.to_string(),
    )?;
    Ok(row.and_then(|(rank,)| Permission::from_rank(rank)))
}

/// Takes a team's permission for a repository away; false when it had none.
pub async fn remove_permission(tx: &mut WriteTx, id: TeamId, repository: RepositoryId) -> Result<bool, StoreError> {
    let gone =
        change!(tx, "DELETE FROM team_repositories WHERE repository_id = $1 AND team_id = $2", repository.to_string(), id.to_string())?;
    Ok(gone > 0)
}

/// A page of the repositories that a team has a permission for, by name, after `after`.
pub async fn list_repositories(
    tx: &mut ReadTx,
    id: TeamId,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<(Repository, Permission)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        repository: RepositoryRow,
        permission: i64,
    }
    let rows = fetch_all!(
        Row,
        tx,
        "SELECT r.id, r.account_id, a.name AS namespace, r.name, r.description, r.visibility, r.created_at, p.permission
         FROM team_repositories p JOIN repositories r ON r.id = p.repository_id JOIN accounts a ON a.id = r.account_id
         WHERE p.team_id = $1 AND r.name > $2 ORDER BY r.name LIMIT $3",
        id.to_string(),
        after.unwrap_or(""),
        i64::from(limit),
    )?;
    rows.into_iter()
        .map(|row| {
            let permission = Permission::from_rank(row.permission)
                .ok_or_else(|| StoreError::Corrupt { table: "team_repositories", value: row.permission.to_string() })?;
            Ok((row.repository.into_repository()?, permission))
        })
        .collect()
}

/// What an account may do with a repository of an organization: all when it is in `owners`, else the most that any of its teams gives.
pub async fn permission(
    tx: &mut ReadTx,
    account: AccountId,
    organization: AccountId,
    repository: RepositoryId,
) -> Result<Option<Permission>, StoreError> {
    let row = fetch_optional!(
        (Option<i64>,),
        tx,
        "SELECT CASE
             WHEN EXISTS (SELECT 1 FROM teams t JOIN team_members m ON m.team_id = t.id AND m.account_id = $2
                          WHERE t.account_id = $3 AND t.is_owners) THEN CAST(4 AS BIGINT)
             ELSE (SELECT MAX(p.permission) FROM team_repositories p JOIN team_members m ON m.team_id = p.team_id AND m.account_id = $2
                   WHERE p.repository_id = $1)
         END",
        repository.to_string(),
        account.to_string(),
        organization.to_string(),
    )?;
    Ok(row.and_then(|(rank,)| rank).and_then(Permission::from_rank))
}

/// Whether everybody who may change the build settings of `of` by a team may also read `other`: only then may builds of the one read the
/// other, because whoever writes the settings reads what the builds read. Members of `owners` read everything anyway.
pub async fn admins_read(tx: &mut ReadTx, of: RepositoryId, other: RepositoryId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM team_repositories p
         WHERE p.repository_id = $1 AND p.permission >= 3
           AND NOT EXISTS (SELECT 1 FROM team_repositories q WHERE q.repository_id = $2 AND q.team_id = p.team_id)",
        of.to_string(),
        other.to_string(),
    )?;
    Ok(row.is_some_and(|(without,)| without == 0))
}

/// What somebody is in an organization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// A member of `owners`.
    Owner,
    /// A member of another team.
    Member,
}

/// What an account is in an organization; `None` for nothing.
pub async fn membership(tx: &mut ReadTx, organization: AccountId, account: AccountId) -> Result<Option<Membership>, StoreError> {
    let row = fetch_optional!(
        (bool,),
        tx,
        "SELECT t.is_owners FROM team_members m JOIN teams t ON t.id = m.team_id
         WHERE m.account_id = $1 AND t.account_id = $2 ORDER BY t.is_owners DESC LIMIT 1",
        account.to_string(),
        organization.to_string(),
    )?;
    Ok(row.map(|(owner,)| if owner { Membership::Owner } else { Membership::Member }))
}

/// The organizations that an account is in, by name, at most 500.
pub async fn organizations_of(tx: &mut ReadTx, account: AccountId) -> Result<Vec<(Account, Membership)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        account: AccountRow,
        owner: i64,
    }
    fetch_all!(
        Row,
        tx,
        "SELECT a.id, a.kind, a.name, a.display_name, a.email, a.is_admin, a.created_at, s.owner
         FROM (SELECT t.account_id, MAX(CASE WHEN t.is_owners THEN CAST(1 AS BIGINT) ELSE 0 END) AS owner
               FROM team_members m JOIN teams t ON t.id = m.team_id WHERE m.account_id = $1 GROUP BY t.account_id) AS s
         JOIN accounts a ON a.id = s.account_id ORDER BY a.name LIMIT 500",
        account.to_string(),
    )?
    .into_iter()
    .map(|row| Ok((row.account.into_account()?, if row.owner > 0 { Membership::Owner } else { Membership::Member })))
    .collect()
}

/// The organizations that would be without an owner if the account went, by name, at most 100. [`lock_owned`] before it keeps it true.
pub async fn solely_owned(tx: &mut ReadTx, account: AccountId) -> Result<Vec<AccountName>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "SELECT a.name FROM team_members m JOIN teams t ON t.id = m.team_id JOIN accounts a ON a.id = t.account_id
         WHERE m.account_id = $1 AND t.is_owners AND (SELECT COUNT(*) FROM team_members o WHERE o.team_id = t.id) = 1
         ORDER BY a.name LIMIT 100",
        account.to_string(),
    )?;
    rows.into_iter().map(|(name,)| read("accounts", &name)).collect()
}
