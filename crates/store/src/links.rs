//! Links of accounts to providers. Tokens are opaque sealed bytes here; only `app` can open them.

use slipway_model::{AccessLevel, AccountId, LinkId, LinkState, LinkedAs, ProviderId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

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
    /// The name that the person shows.
    pub display_name: Option<String>,
    /// How much was asked for.
    pub access: AccessLevel,
    /// Whom it belongs to.
    pub linked_as: LinkedAs,
    /// Scopes that were granted.
    pub scopes: Vec<String>,
    /// Sealed.
    pub access_token_sealed: Vec<u8>,
    /// Sealed.
    pub refresh_token_sealed: Option<Vec<u8>>,
    /// When the access token ends, if it does.
    pub token_expires_at: Option<Timestamp>,
    /// Raised by every write of the tokens.
    pub token_version: u64,
    /// How it is.
    pub state: LinkState,
    /// Since when it is so.
    pub since: Timestamp,
    /// What the state was concluded from.
    pub evidence: Option<String>,
    /// The HTTP status behind the evidence.
    pub evidence_status: Option<u16>,
    /// Vain calls in a row.
    pub failures: u64,
    /// What makes the next probe cheap.
    pub probe_marker: Option<String>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// Whether it is being unlinked: it serves nothing any more.
    pub unlinking: bool,
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
    display_name: Option<String>,
    access: String,
    linked_as: String,
    scopes: String,
    access_token_sealed: Vec<u8>,
    refresh_token_sealed: Option<Vec<u8>>,
    token_expires_at: Option<i64>,
    token_version: i64,
    state: String,
    since: i64,
    evidence: Option<String>,
    evidence_status: Option<i64>,
    failures: i64,
    probe_marker: Option<String>,
    checked_at: Option<i64>,
    unlinking: bool,
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
            display_name: self.display_name,
            access: read("links", &self.access)?,
            linked_as: read("links", &self.linked_as)?,
            scopes: self.scopes.split_whitespace().map(str::to_owned).collect(),
            access_token_sealed: self.access_token_sealed,
            refresh_token_sealed: self.refresh_token_sealed,
            token_expires_at: self.token_expires_at.map(time),
            token_version: count(self.token_version),
            state: read("links", &self.state)?,
            since: time(self.since),
            evidence: self.evidence,
            evidence_status: self.evidence_status.and_then(|status| u16::try_from(status).ok()),
            failures: count(self.failures),
            probe_marker: self.probe_marker,
            unlinking: self.unlinking,
            checked_at: self.checked_at.map(time),
            created_at: time(self.created_at),
        })
    }
}

/// Writes the link of an account to a person at a provider. Linking the same person again replaces tokens, access and state in the row
/// that stands, which keeps its identity; gives that identity, so the tokens have to be sealed for it: see [`identity`].
pub async fn upsert(tx: &mut WriteTx, link: &Link) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO links (id, account_id, provider, remote_user_id, login, display_name, access, linked_as, scopes, access_token_sealed,
                            refresh_token_sealed, token_expires_at, token_version, state, since, evidence, evidence_status, failures,
                            probe_marker, checked_at, next_check_at, unlinking, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
         ON CONFLICT (account_id, provider, remote_user_id) DO UPDATE SET
             login = excluded.login, display_name = excluded.display_name, access = excluded.access, linked_as = excluded.linked_as,
             scopes = excluded.scopes, access_token_sealed = excluded.access_token_sealed, refresh_token_sealed = excluded.refresh_token_sealed,
             token_expires_at = excluded.token_expires_at, token_version = links.token_version + 1, refresh_by = NULL, refresh_until = NULL,
             state = excluded.state, since = excluded.since, evidence = excluded.evidence, evidence_status = excluded.evidence_status,
             failures = 0, probe_marker = NULL, checked_at = excluded.checked_at, next_check_at = excluded.next_check_at, unlinking = FALSE",
        link.id.to_string(),
        link.account.to_string(),
        link.provider.as_str(),
        link.remote_user_id.as_str(),
        link.login.as_str(),
        link.display_name.as_deref(),
        link.access.as_str(),
        link.linked_as.as_str(),
        link.scopes.join(" "),
        link.access_token_sealed.as_slice(),
        link.refresh_token_sealed.as_deref(),
        link.token_expires_at.map(Timestamp::as_millis),
        signed(link.token_version),
        link.state.as_str(),
        link.since.as_millis(),
        link.evidence.as_deref(),
        link.evidence_status.map(i64::from),
        signed(link.failures),
        link.probe_marker.as_deref(),
        link.checked_at.map(Timestamp::as_millis),
        link.checked_at.map_or(0, Timestamp::as_millis),
        link.unlinking,
        link.created_at.as_millis(),
    )?;
    Ok(())
}

/// The identity of the link of an account to a person at a provider, when it stands already: what its tokens are sealed for.
pub async fn identity(
    tx: &mut ReadTx,
    account: AccountId,
    provider: &ProviderId,
    remote_user_id: &str,
) -> Result<Option<LinkId>, StoreError> {
    let row = fetch_optional!(
        (String,),
        tx,
        "SELECT id FROM links WHERE account_id = $1 AND provider = $2 AND remote_user_id = $3",
        account.to_string(),
        provider.as_str(),
        remote_user_id,
    )?;
    row.map(|(id,)| read("links", &id)).transpose()
}

/// By identity.
pub async fn get_by_id(tx: &mut ReadTx, id: LinkId) -> Result<Option<Link>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM links WHERE id = $1", id.to_string())?.map(Row::into_link).transpose()
}

/// The link of an account to a provider: of several the one that works, and of those the oldest.
pub async fn get(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Option<Link>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT * FROM links WHERE account_id = $1 AND provider = $2 AND NOT unlinking
         ORDER BY CASE WHEN state IN ('ok', 'expiring') THEN 0 ELSE 1 END, id LIMIT 1",
        account.to_string(),
        provider.as_str()
    )?
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
