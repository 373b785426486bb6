//! Links of accounts to providers. Tokens are opaque sealed bytes here; only `app` can open them.

use std::time::Duration;

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
    /// The `since` of the state that the owners were told of.
    pub told_since: Option<Timestamp>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it is to be checked next.
    pub next_check_at: Timestamp,
    /// Whether it is being unlinked: it serves nothing any more.
    pub unlinking: bool,
    /// Where the person's picture lies.
    pub avatar_url: Option<String>,
    /// When the person was linked, or linked anew: what was found out before is about another grant.
    pub linked_at: Timestamp,
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
    told_since: Option<i64>,
    checked_at: Option<i64>,
    next_check_at: i64,
    unlinking: bool,
    avatar_url: Option<String>,
    linked_at: i64,
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
            told_since: self.told_since.map(time),
            checked_at: self.checked_at.map(time),
            next_check_at: time(self.next_check_at),
            avatar_url: self.avatar_url,
            linked_at: time(self.linked_at),
            created_at: time(self.created_at),
        })
    }
}

/// Writes the link of an account to a person at a provider. Linking the same person again replaces tokens, access and state in the row
/// that stands, which keeps its identity, so the tokens have to be sealed for that one: see [`identity`]. False when the row has another
/// identity or is being unlinked: then nothing was written.
pub async fn upsert(tx: &mut WriteTx, link: &Link) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "INSERT INTO links (id, account_id, provider, remote_user_id, login, display_name, access, linked_as, scopes, access_token_sealed,
                            refresh_token_sealed, token_expires_at, token_version, state, since, evidence, evidence_status, failures,
                            probe_marker, checked_at, next_check_at, unlinking, linked_at, avatar_url, picture_due_at, told_since, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, 0, $25, $26)
         ON CONFLICT (account_id, provider, remote_user_id) DO UPDATE SET
             login = excluded.login, display_name = excluded.display_name, access = excluded.access, linked_as = excluded.linked_as,
             scopes = excluded.scopes, access_token_sealed = excluded.access_token_sealed, refresh_token_sealed = excluded.refresh_token_sealed,
             token_expires_at = excluded.token_expires_at, token_version = links.token_version + 1, refresh_by = NULL, refresh_until = NULL,
             state = excluded.state, since = excluded.since, evidence = excluded.evidence, evidence_status = excluded.evidence_status,
             failures = 0, probe_marker = NULL, checked_at = excluded.checked_at, next_check_at = excluded.next_check_at,
             linked_at = excluded.linked_at, avatar_url = excluded.avatar_url, picture_due_at = 0, told_since = excluded.told_since
         WHERE links.id = excluded.id AND NOT links.unlinking",
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
        link.next_check_at.as_millis(),
        link.unlinking,
        link.linked_at.as_millis(),
        link.avatar_url.as_deref(),
        link.told_since.map(Timestamp::as_millis),
        link.created_at.as_millis(),
    )?;
    Ok(changed > 0)
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
         ORDER BY CASE WHEN state IN ('ok', 'expiring') THEN 0 WHEN state = 'disabled' THEN 2 ELSE 1 END, id LIMIT 1",
        account.to_string(),
        provider.as_str()
    )?
    .map(Row::into_link)
    .transpose()
}

/// All links of an account that are not being unlinked, by provider and age, at most 500.
pub async fn list(tx: &mut ReadTx, account: AccountId) -> Result<Vec<Link>, StoreError> {
    fetch_all!(Row, tx, "SELECT * FROM links WHERE account_id = $1 AND NOT unlinking ORDER BY provider, id LIMIT 500", account.to_string())?
        .into_iter()
        .map(Row::into_link)
        .collect()
}

/// The links of an account to a provider that are not being unlinked, oldest first, at most 100.
pub async fn list_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<Link>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM links WHERE account_id = $1 AND provider = $2 AND NOT unlinking ORDER BY id LIMIT 100",
        account.to_string(),
        provider.as_str()
    )?
    .into_iter()
    .map(Row::into_link)
    .collect()
}

/// The links of everybody here to one person at a provider, also those being unlinked; at most 100.
pub async fn list_by_person(tx: &mut ReadTx, provider: &ProviderId, remote_user_id: &str) -> Result<Vec<Link>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM links WHERE provider = $1 AND remote_user_id = $2 ORDER BY id LIMIT 100",
        provider.as_str(),
        remote_user_id
    )?
    .into_iter()
    .map(Row::into_link)
    .collect()
}

/// Takes the link that is due to be looked at the longest, and makes it due again only at `again_at`; `None` when none is due.
pub async fn claim_check(tx: &mut WriteTx, now: Timestamp, again_at: Timestamp) -> Result<Option<Link>, StoreError> {
    // The outer condition is looked at again when another replica's claim was waited for: then the row is theirs.
    fetch_optional!(
        Row,
        tx,
        "UPDATE links SET next_check_at = $1
         WHERE id = (SELECT id FROM links WHERE next_check_at <= $2 AND state <> 'disabled' AND NOT unlinking ORDER BY next_check_at LIMIT 1)
           AND next_check_at <= $2
         RETURNING *",
        again_at.as_millis(),
        now.as_millis(),
    )?
    .map(Row::into_link)
    .transpose()
}

/// Something made the link doubtful: it is looked at next at `at`, if it was not to be earlier.
pub async fn check_by(tx: &mut WriteTx, id: LinkId, at: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE links SET next_check_at = $1 WHERE id = $2 AND next_check_at > $1", at.as_millis(), id.to_string())?;
    Ok(())
}

/// A call through the link failed: it is looked at next at `at`, if it was not to be earlier, but no sooner than `apart` after its last look.
pub async fn doubt_by(tx: &mut WriteTx, id: LinkId, at: Timestamp, apart: Duration) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE links SET next_check_at = CASE WHEN COALESCE(checked_at, 0) + $2 > $1 THEN COALESCE(checked_at, 0) + $2 ELSE $1 END
         WHERE id = $3 AND next_check_at > $1 AND next_check_at > COALESCE(checked_at, 0) + $2",
        at.as_millis(),
        i64::try_from(apart.as_millis()).unwrap_or(i64::MAX),
        id.to_string()
    )?;
    Ok(())
}

/// What a look at a link found.
#[derive(Debug, Clone)]
pub struct Finding<'a> {
    /// How it is.
    pub state: LinkState,
    /// What that was concluded from.
    pub evidence: Option<&'a str>,
    /// The HTTP status behind the evidence.
    pub evidence_status: Option<u16>,
    /// Vain calls in a row.
    pub failures: u64,
    /// The person's name today; `None` leaves what stands.
    pub login: Option<&'a str>,
    /// The name that the person shows; `None` leaves what stands.
    pub display_name: Option<&'a str>,
    /// Where the person's picture lies; `None` leaves what stands.
    pub avatar_url: Option<&'a str>,
    /// What the token may do; `None` leaves what stands.
    pub scopes: Option<&'a [String]>,
    /// What makes the next probe cheap; `None` leaves what stands.
    pub probe_marker: Option<&'a str>,
    /// When to look again.
    pub next_check_at: Timestamp,
}

/// Keeps what a look at a link found, unless it was linked anew, disabled or unlinked meanwhile: then gives `None`. `since` moves only when
/// the state is another one.
pub async fn set_finding(
    tx: &mut WriteTx,
    id: LinkId,
    since_linked: Timestamp,
    finding: &Finding<'_>,
    now: Timestamp,
) -> Result<Option<Link>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "UPDATE links SET since = CASE WHEN state = $3 THEN since ELSE $4 END, state = $3, evidence = $5, evidence_status = $6, failures = $7,
                login = COALESCE($8, login), display_name = COALESCE($9, display_name), scopes = COALESCE($10, scopes),
                probe_marker = COALESCE($11, probe_marker), avatar_url = COALESCE($12, avatar_url),
                picture_due_at = CASE WHEN COALESCE($12, avatar_url, '') = COALESCE(avatar_url, '') THEN picture_due_at ELSE 0 END,
                checked_at = $4, next_check_at = $13
         WHERE id = $1 AND linked_at = $2 AND state <> 'disabled' AND NOT unlinking RETURNING *",
        id.to_string(),
        since_linked.as_millis(),
        finding.state.as_str(),
        now.as_millis(),
        finding.evidence,
        finding.evidence_status.map(i64::from),
        signed(finding.failures),
        finding.login,
        finding.display_name,
        finding.scopes.map(|scopes| scopes.join(" ")),
        finding.probe_marker,
        finding.avatar_url,
        finding.next_check_at.as_millis(),
    )?
    .map(Row::into_link)
    .transpose()
}

/// Notes which state the owners were told of; false when they were told of it already.
pub async fn set_told(tx: &mut WriteTx, id: LinkId, since: Option<Timestamp>) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE links SET told_since = $1 WHERE id = $2 AND COALESCE(told_since, -1) <> COALESCE($1, -1)",
        since.map(Timestamp::as_millis),
        id.to_string()
    )?;
    Ok(changed > 0)
}

/// Takes the right to ask the provider for new tokens in place of those of `version`; false when somebody else has it or they are replaced
/// already.
pub async fn claim_refresh(
    tx: &mut WriteTx,
    id: LinkId,
    version: u64,
    by: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE links SET refresh_by = $1, refresh_until = $2
         WHERE id = $3 AND token_version = $4 AND (refresh_until IS NULL OR refresh_until <= $5)",
        by,
        until.as_millis(),
        id.to_string(),
        signed(version),
        now.as_millis(),
    )?;
    Ok(changed > 0)
}

/// Gives the right of [`claim_refresh`] back.
pub async fn release_refresh(tx: &mut WriteTx, id: LinkId, by: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE links SET refresh_by = NULL, refresh_until = NULL WHERE id = $1 AND refresh_by = $2", id.to_string(), by)?;
    Ok(())
}

/// Tokens as a provider gave them, sealed.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    /// Sealed.
    pub access_token_sealed: &'a [u8],
    /// Sealed; `None` keeps the one that stands.
    pub refresh_token_sealed: Option<&'a [u8]>,
    /// When the access token ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// What was granted; `None` keeps what stands.
    pub scopes: Option<&'a [String]>,
}

/// Puts new tokens in place of those of `version`; false when they were replaced meanwhile: then nothing is written.
pub async fn set_tokens(tx: &mut WriteTx, id: LinkId, version: u64, tokens: &Tokens<'_>) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE links SET access_token_sealed = $1, refresh_token_sealed = COALESCE($2, refresh_token_sealed), token_expires_at = $3,
                scopes = COALESCE($4, scopes), token_version = token_version + 1, refresh_by = NULL, refresh_until = NULL
         WHERE id = $5 AND token_version = $6",
        tokens.access_token_sealed,
        tokens.refresh_token_sealed,
        tokens.expires_at.map(Timestamp::as_millis),
        tokens.scopes.map(|scopes| scopes.join(" ")),
        id.to_string(),
        signed(version),
    )?;
    Ok(changed > 0)
}

/// From now on the link serves nothing: a loop removes it. False when it was being unlinked already.
pub async fn set_unlinking(tx: &mut WriteTx, id: LinkId) -> Result<bool, StoreError> {
    Ok(change!(tx, "UPDATE links SET unlinking = TRUE WHERE id = $1 AND NOT unlinking", id.to_string())? > 0)
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

/// A small picture of a linked person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// `image/png`, ...
    pub media_type: String,
    /// At most 256 KiB.
    pub content: Vec<u8>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
}

/// The picture of the person behind a link.
pub async fn get_picture(tx: &mut ReadTx, id: LinkId) -> Result<Option<Picture>, StoreError> {
    let row = fetch_optional!(
        (String, Vec<u8>, i64),
        tx,
        "SELECT media_type, content, fetched_at FROM link_pictures WHERE link_id = $1",
        id.to_string()
    )?;
    Ok(row.map(|(media_type, content, fetched_at)| Picture { media_type, content, fetched_at: time(fetched_at) }))
}

/// Which of an account's links have a picture.
pub async fn list_pictured(tx: &mut ReadTx, account: AccountId) -> Result<Vec<LinkId>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "SELECT p.link_id FROM link_pictures p JOIN links l ON l.id = p.link_id WHERE l.account_id = $1 LIMIT 500",
        account.to_string()
    )?;
    rows.iter().map(|(id,)| read("link_pictures", id)).collect()
}

/// Keeps a picture.
pub async fn set_picture(tx: &mut WriteTx, id: LinkId, picture: &Picture) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO link_pictures (link_id, media_type, content, fetched_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (link_id) DO UPDATE SET media_type = excluded.media_type, content = excluded.content, fetched_at = excluded.fetched_at",
        id.to_string(),
        picture.media_type.as_str(),
        picture.content.as_slice(),
        picture.fetched_at.as_millis(),
    )?;
    Ok(())
}

/// Takes the right to fetch the picture of a link now; false when it is not due.
pub async fn claim_picture(tx: &mut WriteTx, id: LinkId, now: Timestamp, again_at: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE links SET picture_due_at = $1 WHERE id = $2 AND picture_due_at <= $3 AND avatar_url IS NOT NULL",
        again_at.as_millis(),
        id.to_string(),
        now.as_millis()
    )?;
    Ok(changed > 0)
}
