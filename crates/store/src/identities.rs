//! Who people are at OpenID Connect providers, and sign-ins there that wait for their callback.
//!
//! Invariant: an identity is issuer and subject, and belongs to one account. An e-mail address is none of it.

use slipway_model::{AccountId, IdentityId, InvitationId, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, time};

/// Who an account is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Identity of the row.
    pub id: IdentityId,
    /// Whose.
    pub account: AccountId,
    /// The provider, by its issuer.
    pub issuer: String,
    /// Who, at that provider.
    pub subject: String,
    /// What the provider called the person last; for people only.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When somebody last signed in with it.
    pub last_used_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: String,
    issuer: String,
    subject: String,
    label: String,
    created_at: i64,
    last_used_at: Option<i64>,
}

impl Row {
    fn into_identity(self) -> Result<Identity, StoreError> {
        Ok(Identity {
            id: read("identities", &self.id)?,
            account: read("identities", &self.account_id)?,
            issuer: self.issuer,
            subject: self.subject,
            label: self.label,
            created_at: time(self.created_at),
            last_used_at: self.last_used_at.map(time),
        })
    }
}

/// Adds an identity to its account.
///
/// # Errors
/// [`StoreError::Conflict`] when it belongs to an account already.
pub async fn insert(tx: &mut WriteTx, new: &Identity) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO identities (id, account_id, issuer, subject, label, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.id.to_string(),
        new.account.to_string(),
        new.issuer.as_str(),
        new.subject.as_str(),
        new.label.as_str(),
        new.created_at.as_millis(),
        new.last_used_at.map(Timestamp::as_millis),
    )?;
    Ok(())
}

/// Who this is.
pub async fn get(tx: &mut ReadTx, issuer: &str, subject: &str) -> Result<Option<Identity>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, account_id, issuer, subject, label, created_at, last_used_at FROM identities WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )?
    .map(Row::into_identity)
    .transpose()
}

/// Notes that somebody signed in, and what the provider calls them now.
pub async fn set_used(tx: &mut WriteTx, id: IdentityId, label: &str, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE identities SET label = $1, last_used_at = $2 WHERE id = $3", label, now.as_millis(), id.to_string())?;
    Ok(())
}

/// The identities of an account, the oldest first; at most 100.
pub async fn list(tx: &mut ReadTx, account: AccountId) -> Result<Vec<Identity>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, account_id, issuer, subject, label, created_at, last_used_at FROM identities WHERE account_id = $1 ORDER BY id LIMIT 100",
        account.to_string(),
    )?
    .into_iter()
    .map(Row::into_identity)
    .collect()
}

/// How many identities an account has.
pub async fn count_of(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM identities WHERE account_id = $1", account.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// Removes an account's identity and gives it back as it was.
pub async fn delete(tx: &mut WriteTx, account: AccountId, id: IdentityId) -> Result<Option<Identity>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "DELETE FROM identities WHERE id = $1 AND account_id = $2
         RETURNING id, account_id, issuer, subject, label, created_at, last_used_at",
        id.to_string(),
        account.to_string(),
    )?
    .map(Row::into_identity)
    .transpose()
}

/// Removes every identity of an account, which nobody shall sign in as with them any more; gives how many rows went.
pub async fn delete_all(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM identities WHERE account_id = $1", account.to_string())?)
}

/// A sign-in at a provider that waits for its callback, or for the name of the account that it makes.
#[derive(Debug, Clone)]
pub struct OidcFlow {
    /// The configured provider.
    pub provider: String,
    /// The browser that began it.
    pub browser: SecretHash,
    /// What is kept for the next step, sealed.
    pub secrets_sealed: Vec<u8>,
    /// Who adds an identity to their account.
    pub account: Option<AccountId>,
    /// The invitation that is answered.
    pub invitation: Option<InvitationId>,
    /// Where the person goes then.
    pub next: String,
}

/// Adds a flow.
pub async fn insert_flow(tx: &mut WriteTx, state: &SecretHash, flow: &OidcFlow, expires_at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO oidc_flows (state_hash, provider, browser_hash, secrets_sealed, account_id, invitation_id, next, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        state.to_hex(),
        flow.provider.as_str(),
        flow.browser.to_hex(),
        flow.secrets_sealed.as_slice(),
        flow.account.map(|id| id.to_string()),
        flow.invitation.map(|id| id.to_string()),
        flow.next.as_str(),
        expires_at.as_millis(),
    )?;
    Ok(())
}

/// Takes a flow out: a state works once, whoever presents it. `None` when unknown, used or expired.
pub async fn take_flow(tx: &mut WriteTx, state: &SecretHash, now: Timestamp) -> Result<Option<OidcFlow>, StoreError> {
    type FlowRow = (String, String, Vec<u8>, Option<String>, Option<String>, String);
    let row = fetch_optional!(
        FlowRow,
        tx,
        "DELETE FROM oidc_flows WHERE state_hash = $1 AND expires_at > $2
         RETURNING provider, browser_hash, secrets_sealed, account_id, invitation_id, next",
        state.to_hex(),
        now.as_millis(),
    )?;
    row.map(|(provider, browser, secrets_sealed, account, invitation, next)| {
        Ok(OidcFlow {
            provider,
            browser: read("oidc_flows", &browser)?,
            secrets_sealed,
            account: read_opt("oidc_flows", account.as_deref())?,
            invitation: read_opt("oidc_flows", invitation.as_deref())?,
            next,
        })
    })
    .transpose()
}

/// Removes the flows that would add an identity to an account; gives how many rows went.
pub async fn delete_flows_of(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM oidc_flows WHERE account_id = $1", account.to_string())?)
}

/// Removes flows that have expired; gives how many rows went.
pub async fn delete_expired_flows(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM oidc_flows WHERE expires_at <= $1", now.as_millis())?)
}
