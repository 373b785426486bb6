//! Links of accounts to providers. Tokens are opaque sealed bytes here; only `app` can open them.

use slipway_model::{AccountId, LinkId, LinkState, ProviderId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// An account's connection to a provider.
#[derive(Debug, Clone)]
pub struct Link {
    /// Identity; the associated data of the sealed tokens.
    pub id: LinkId,
    /// Whose.
    pub account: AccountId,
    /// To which provider.
    pub provider: ProviderId,
    /// The person at the provider: the identity.
    pub remote_user_id: String,
    /// The person's name at the provider: for display.
    pub login: String,
    /// Scopes that were granted.
    pub scopes: Vec<String>,
    /// Sealed.
    pub access_token_sealed: Vec<u8>,
    /// Sealed.
    pub refresh_token_sealed: Option<Vec<u8>>,
    /// When the access token ends, if it does.
    pub token_expires_at: Option<Timestamp>,
    /// How it is.
    pub state: LinkState,
    /// Since when it is so.
    pub since: Timestamp,
    /// What the state was concluded from.
    pub evidence: Option<String>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: String,
    provider: String,
    remote_user_id: String,
    login: String,
    scopes: String,
    access_token_sealed: Vec<u8>,
    refresh_token_sealed: Option<Vec<u8>>,
    token_expires_at: Option<i64>,
    state: String,
    since: i64,
    evidence: Option<String>,
    checked_at: Option<i64>,
    created_at: i64,
}

impl Row {
    fn into_link(self) -> Result<Link, StoreError> {
        Ok(Link {
            id: read("links", &self.id)?,
            account: read("links", &self.account_id)?,
            provider: read("links", &self.provider)?,
            remote_user_id: self.remote_user_id,
            login: self.login,
            scopes: self.scopes.split_whitespace().map(str::to_owned).collect(),
            access_token_sealed: self.access_token_sealed,
            refresh_token_sealed: self.refresh_token_sealed,
            token_expires_at: self.token_expires_at.map(time),
            state: read("links", &self.state)?,
            since: time(self.since),
            evidence: self.evidence,
            checked_at: self.checked_at.map(time),
            created_at: time(self.created_at),
        })
    }
}

/// Writes the link of an account to a provider; linking again replaces person and tokens under the same (account, provider).
pub async fn upsert(tx: &mut WriteTx, link: &Link) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM links WHERE account_id = $1 AND provider = $2", link.account.to_string(), link.provider.as_str())?;
    change!(
        tx,
        "INSERT INTO links (id, account_id, provider, remote_user_id, login, scopes, access_token_sealed, refresh_token_sealed,
                            token_expires_at, state, since, evidence, checked_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        link.id.to_string(),
        link.account.to_string(),
        link.provider.as_str(),
        link.remote_user_id.as_str(),
        link.login.as_str(),
        link.scopes.join(" "),
        link.access_token_sealed.as_slice(),
        link.refresh_token_sealed.as_deref(),
        link.token_expires_at.map(Timestamp::as_millis),
        link.state.as_str(),
        link.since.as_millis(),
        link.evidence.as_deref(),
        link.checked_at.map(Timestamp::as_millis),
        link.created_at.as_millis(),
    )?;
    Ok(())
}

/// The link of an account to a provider.
pub async fn get(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Option<Link>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM links WHERE account_id = $1 AND provider = $2", account.to_string(), provider.as_str())?
        .map(Row::into_link)
        .transpose()
}

/// All links of an account, at most 100.
pub async fn list(tx: &mut ReadTx, account: AccountId) -> Result<Vec<Link>, StoreError> {
    fetch_all!(Row, tx, "SELECT * FROM links WHERE account_id = $1 ORDER BY provider LIMIT 100", account.to_string())?
        .into_iter()
        .map(Row::into_link)
        .collect()
}

/// Changes the state of a link; `since` moves only when the state is another one.
pub async fn set_state(tx: &mut WriteTx, id: LinkId, state: LinkState, evidence: Option<&str>, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE links SET since = CASE WHEN state = $2 THEN since ELSE $4 END, state = $2, evidence = $3, checked_at = $4 WHERE id = $1",
        id.to_string(),
        state.as_str(),
        evidence,
        now.as_millis(),
    )?;
    Ok(changed > 0)
}

/// Removes a link and with it the sealed tokens.
pub async fn delete(tx: &mut WriteTx, id: LinkId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM links WHERE id = $1", id.to_string())? > 0)
}
