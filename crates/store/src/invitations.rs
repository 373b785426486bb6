//! Invitations: to the installation, or to a team of an organization.
//!
//! Invariant: an invitation is worth something once and in time; the row goes with its use. Deliberately elsewhere: who may invite (`app`).

use slipway_model::{AccountId, InvitationId, SecretHash, TeamId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, time};

/// An invitation, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Identity.
    pub id: InvitationId,
    /// The organization; none for one to the installation.
    pub account: Option<AccountId>,
    /// The team that is joined.
    pub team: Option<TeamId>,
    /// Where it was mailed to, if it was.
    pub email: Option<String>,
    /// Whether it may be answered by making an account.
    pub makes_account: bool,
    /// Who made it.
    pub created_by: AccountId,
    /// The name of who made it, as it was then.
    pub created_by_name: String,
    /// When.
    pub created_at: Timestamp,
    /// From when on it is worth nothing.
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: Option<String>,
    team_id: Option<String>,
    email: Option<String>,
    makes_account: bool,
    created_by: String,
    created_by_name: String,
    created_at: i64,
    expires_at: i64,
}

impl Row {
    fn into_invitation(self) -> Result<Invitation, StoreError> {
        const TABLE: &str = "invitations";
        Ok(Invitation {
            id: read(TABLE, &self.id)?,
            account: read_opt(TABLE, self.account_id.as_deref())?,
            team: read_opt(TABLE, self.team_id.as_deref())?,
            email: self.email,
            makes_account: self.makes_account,
            created_by: read(TABLE, &self.created_by)?,
            created_by_name: self.created_by_name,
            created_at: time(self.created_at),
            expires_at: time(self.expires_at),
        })
    }
}

/// Adds an invitation.
///
/// # Errors
/// [`StoreError::Conflict`] when its organization or team has gone.
pub async fn insert(tx: &mut WriteTx, token: &SecretHash, new: &Invitation) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO invitations (id, token_hash, account_id, team_id, email, makes_account, created_by, created_by_name, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        new.id.to_string(),
        token.to_hex(),
        new.account.map(|id| id.to_string()),
        new.team.map(|id| id.to_string()),
        new.email.as_deref(),
        new.makes_account,
        new.created_by.to_string(),
        new.created_by_name.as_str(),
        new.created_at.as_millis(),
        new.expires_at.as_millis(),
    )?;
    Ok(())
}

/// By its secret; `None` when unknown, used, revoked or expired.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash, now: Timestamp) -> Result<Option<Invitation>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, account_id, team_id, email, makes_account, created_by, created_by_name, created_at, expires_at
         FROM invitations WHERE token_hash = $1 AND expires_at > $2",
        token.to_hex(),
        now.as_millis(),
    )?
    .map(Row::into_invitation)
    .transpose()
}

/// By identity, for a flow that began with it; `None` as in [`get_by_token`].
pub async fn get(tx: &mut ReadTx, id: InvitationId, now: Timestamp) -> Result<Option<Invitation>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, account_id, team_id, email, makes_account, created_by, created_by_name, created_at, expires_at
         FROM invitations WHERE id = $1 AND expires_at > $2",
        id.to_string(),
        now.as_millis(),
    )?
    .map(Row::into_invitation)
    .transpose()
}

/// Uses an invitation up; false when it was used, revoked or expired in the meantime.
pub async fn take(tx: &mut WriteTx, id: InvitationId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM invitations WHERE id = $1 AND expires_at > $2", id.to_string(), now.as_millis())? > 0)
}

/// The invitations of an organization, or of the installation for `None`, that still stand; the newest first.
pub async fn list(
    tx: &mut ReadTx,
    account: Option<AccountId>,
    before: Option<InvitationId>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Invitation>, StoreError> {
    // Ids sort by time, and behind every one of them (hexadecimal digits) stands `g`, so that one text serves the first page too.
    let before = before.map_or_else(|| "g".to_owned(), |id| id.to_string());
    fetch_all!(
        Row,
        tx,
        "SELECT id, account_id, team_id, email, makes_account, created_by, created_by_name, created_at, expires_at
         FROM invitations WHERE COALESCE(account_id, '') = $1 AND id < $2 AND expires_at > $3 ORDER BY id DESC LIMIT $4",
        account.map(|id| id.to_string()).unwrap_or_default(),
        before.as_str(),
        now.as_millis(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_invitation)
    .collect()
}

/// How many invitations of an organization, or of the installation for `None`, stand.
pub async fn count_standing(tx: &mut ReadTx, account: Option<AccountId>, now: Timestamp) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM invitations WHERE COALESCE(account_id, '') = $1 AND expires_at > $2",
        account.map(|id| id.to_string()).unwrap_or_default(),
        now.as_millis(),
    )?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// Revokes an invitation of an organization, or of the installation for `None`; gives it back as it was.
pub async fn delete(tx: &mut WriteTx, account: Option<AccountId>, id: InvitationId) -> Result<Option<Invitation>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "DELETE FROM invitations WHERE id = $1 AND COALESCE(account_id, '') = $2
         RETURNING id, account_id, team_id, email, makes_account, created_by, created_by_name, created_at, expires_at",
        id.to_string(),
        account.map(|id| id.to_string()).unwrap_or_default(),
    )?
    .map(Row::into_invitation)
    .transpose()
}

/// Removes invitations that have expired; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM invitations WHERE expires_at <= $1", now.as_millis())?)
}
