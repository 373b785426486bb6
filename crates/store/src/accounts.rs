//! Accounts, their sessions and access tokens, OAuth flows under way, and the few settings of the installation.

use slipway_model::{AccountId, AccountName, ProviderId, ScopeSet, SecretHash, SessionId, Timestamp, TokenId};

use crate::{ReadTx, StoreError, WriteTx, count, read, time};

/// A user. (Organizations and service accounts come with their own columns.)
#[derive(Debug, Clone)]
pub struct Account {
    /// Identity.
    pub id: AccountId,
    /// Name of its namespace.
    pub name: AccountName,
    /// What people call it.
    pub display_name: String,
    /// Where mail goes, if anywhere.
    pub email: Option<String>,
    /// Whether it administers the installation.
    pub is_admin: bool,
    /// Since when it exists.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    id: String,
    name: String,
    display_name: String,
    email: Option<String>,
    is_admin: bool,
    created_at: i64,
}

impl AccountRow {
    fn into_account(self) -> Result<Account, StoreError> {
        Ok(Account {
            id: read("accounts", &self.id)?,
            name: read("accounts", &self.name)?,
            display_name: self.display_name,
            email: self.email,
            is_admin: self.is_admin,
            created_at: time(self.created_at),
        })
    }
}

/// A new account as it is written.
#[derive(Debug)]
pub struct NewAccount<'a> {
    /// Name of its namespace.
    pub name: &'a AccountName,
    /// Where mail goes.
    pub email: Option<&'a str>,
    /// Whether it administers the installation.
    pub is_admin: bool,
    /// PHC string of the password.
    pub password_hash: Option<&'a str>,
}

/// Adds a user.
///
/// # Errors
/// [`StoreError::Conflict`] when the name is taken.
pub async fn insert(tx: &mut WriteTx, new: &NewAccount<'_>, now: Timestamp) -> Result<AccountId, StoreError> {
    let id = AccountId::new();
    change!(
        tx,
        "INSERT INTO accounts (id, name, kind, display_name, email, is_admin, password_hash, created_at) VALUES ($1, $2, 'user', $3, $4, $5, $6, $7)",
        id.to_string(),
        new.name.as_str(),
        new.name.as_str(),
        new.email,
        new.is_admin,
        new.password_hash,
        now.as_millis(),
    )?;
    Ok(id)
}

/// How many accounts there are.
pub async fn count_accounts(tx: &mut ReadTx) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM accounts")?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: AccountId) -> Result<Option<Account>, StoreError> {
    fetch_optional!(
        AccountRow,
        tx,
        "SELECT id, name, display_name, email, is_admin, created_at FROM accounts WHERE id = $1",
        id.to_string()
    )?
    .map(AccountRow::into_account)
    .transpose()
}

/// By name.
pub async fn get_by_name(tx: &mut ReadTx, name: &AccountName) -> Result<Option<Account>, StoreError> {
    fetch_optional!(
        AccountRow,
        tx,
        "SELECT id, name, display_name, email, is_admin, created_at FROM accounts WHERE name = $1",
        name.as_str()
    )?
    .map(AccountRow::into_account)
    .transpose()
}

/// The PHC string of an account's password.
pub async fn get_password_hash(tx: &mut ReadTx, id: AccountId) -> Result<Option<String>, StoreError> {
    Ok(fetch_optional!((Option<String>,), tx, "SELECT password_hash FROM accounts WHERE id = $1", id.to_string())?.and_then(|(hash,)| hash))
}

/// Replaces the password.
pub async fn set_password_hash(tx: &mut WriteTx, id: AccountId, hash: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE accounts SET password_hash = $1 WHERE id = $2", hash, id.to_string())?;
    Ok(())
}

/// A signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Who.
    pub account: AccountId,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was last used, to within some minutes.
    pub last_seen_at: Timestamp,
}

/// Adds a session.
pub async fn insert_session(
    tx: &mut WriteTx,
    account: AccountId,
    token: &SecretHash,
    address: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<SessionId, StoreError> {
    let id = SessionId::new();
    change!(
        tx,
        "INSERT INTO sessions (id, account_id, token_hash, created_at, last_seen_at, expires_at, address) VALUES ($1, $2, $3, $4, $4, $5, $6)",
        id.to_string(),
        account.to_string(),
        token.to_hex(),
        now.as_millis(),
        expires_at.as_millis(),
        address,
    )?;
    Ok(id)
}

/// The session of this token, unless it has ended.
pub async fn get_session(tx: &mut ReadTx, token: &SecretHash, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let row = fetch_optional!(
        (String, String, i64, i64),
        tx,
        "SELECT id, account_id, expires_at, last_seen_at FROM sessions WHERE token_hash = $1 AND expires_at > $2",
        token.to_hex(),
        now.as_millis(),
    )?;
    row.map(|(id, account, expires_at, last_seen_at)| {
        Ok(Session {
            id: read("sessions", &id)?,
            account: read("sessions", &account)?,
            expires_at: time(expires_at),
            last_seen_at: time(last_seen_at),
        })
    })
    .transpose()
}

/// Notes that a session was used.
pub async fn set_session_seen(tx: &mut WriteTx, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE sessions SET last_seen_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// Ends a session.
pub async fn delete_session(tx: &mut WriteTx, id: SessionId) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM sessions WHERE id = $1", id.to_string())?;
    Ok(())
}

/// Removes sessions and OAuth flows that have ended; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    let sessions = change!(tx, "DELETE FROM sessions WHERE expires_at <= $1", now.as_millis())?;
    let flows = change!(tx, "DELETE FROM oauth_flows WHERE expires_at <= $1", now.as_millis())?;
    Ok(sessions + flows)
}

/// A personal access token, without its secret.
#[derive(Debug, Clone)]
pub struct Token {
    /// Identity.
    pub id: TokenId,
    /// Whose.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Timestamp>,
    /// From which address.
    pub last_used_from: Option<String>,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: String,
    account_id: String,
    name: String,
    scopes: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    last_used_from: Option<String>,
}

impl TokenRow {
    fn into_token(self) -> Result<Token, StoreError> {
        Ok(Token {
            id: read("tokens", &self.id)?,
            account: read("tokens", &self.account_id)?,
            name: self.name,
            scopes: read("tokens", &self.scopes)?,
            created_at: time(self.created_at),
            expires_at: self.expires_at.map(time),
            last_used_at: self.last_used_at.map(time),
            last_used_from: self.last_used_from,
        })
    }
}

/// Adds a token.
pub async fn insert_token(
    tx: &mut WriteTx,
    account: AccountId,
    name: &str,
    hash: &SecretHash,
    scopes: &ScopeSet,
    now: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<TokenId, StoreError> {
    let id = TokenId::new();
    change!(
        tx,
        "INSERT INTO tokens (id, account_id, name, token_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        id.to_string(),
        account.to_string(),
        name,
        hash.to_hex(),
        scopes.to_string(),
        now.as_millis(),
        expires_at.map(Timestamp::as_millis),
    )?;
    Ok(id)
}

/// The token of this secret, unless it has ended.
pub async fn get_token(tx: &mut ReadTx, hash: &SecretHash, now: Timestamp) -> Result<Option<Token>, StoreError> {
    fetch_optional!(
        TokenRow,
        tx,
        "SELECT id, account_id, name, scopes, created_at, expires_at, last_used_at, last_used_from FROM tokens
         WHERE token_hash = $1 AND (expires_at IS NULL OR expires_at > $2)",
        hash.to_hex(),
        now.as_millis(),
    )?
    .map(TokenRow::into_token)
    .transpose()
}

/// Whether a token still stands.
pub async fn token_stands(tx: &mut ReadTx, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM tokens WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)",
        id.to_string(),
        now.as_millis(),
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// An account's tokens, newest first, at most 500.
pub async fn list_tokens(tx: &mut ReadTx, account: AccountId) -> Result<Vec<Token>, StoreError> {
    fetch_all!(
        TokenRow,
        tx,
        "SELECT id, account_id, name, scopes, created_at, expires_at, last_used_at, last_used_from FROM tokens
         WHERE account_id = $1 ORDER BY id DESC LIMIT 500",
        account.to_string(),
    )?
    .into_iter()
    .map(TokenRow::into_token)
    .collect()
}

/// Notes that a token was used.
pub async fn set_token_used(tx: &mut WriteTx, id: TokenId, now: Timestamp, from: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE tokens SET last_used_at = $1, last_used_from = $2 WHERE id = $3", now.as_millis(), from, id.to_string())?;
    Ok(())
}

/// Revokes an account's token; false when there was none.
pub async fn delete_token(tx: &mut WriteTx, account: AccountId, id: TokenId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM tokens WHERE id = $1 AND account_id = $2", id.to_string(), account.to_string())? > 0)
}

/// An OAuth flow that waits for its callback.
#[derive(Debug)]
pub struct OauthFlow {
    /// For which account the link will be.
    pub account: AccountId,
    /// At which provider.
    pub provider: ProviderId,
    /// Who began it (`session:<id>` or `token:<id>`); only the same may finish it.
    pub initiator: String,
    /// The PKCE verifier, sealed.
    pub verifier_sealed: Vec<u8>,
}

/// Adds a flow.
pub async fn insert_flow(
    tx: &mut WriteTx,
    state: &SecretHash,
    flow: &OauthFlow,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO oauth_flows (state_hash, account_id, provider, initiator, verifier_sealed, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        state.to_hex(),
        flow.account.to_string(),
        flow.provider.as_str(),
        flow.initiator.as_str(),
        flow.verifier_sealed.as_slice(),
        now.as_millis(),
        expires_at.as_millis(),
    )?;
    Ok(())
}

/// Takes a flow out: a state works once, whoever presents it. `None` when unknown, used or expired.
pub async fn take_flow(tx: &mut WriteTx, state: &SecretHash, now: Timestamp) -> Result<Option<OauthFlow>, StoreError> {
    let row = fetch_optional!(
        (String, String, String, Vec<u8>),
        tx,
        "DELETE FROM oauth_flows WHERE state_hash = $1 AND expires_at > $2 RETURNING account_id, provider, initiator, verifier_sealed",
        state.to_hex(),
        now.as_millis(),
    )?;
    row.map(|(account, provider, initiator, verifier_sealed)| {
        Ok(OauthFlow { account: read("oauth_flows", &account)?, provider: read("oauth_flows", &provider)?, initiator, verifier_sealed })
    })
    .transpose()
}

/// A setting of the installation.
pub async fn get_setting(tx: &mut ReadTx, key: &str) -> Result<Option<String>, StoreError> {
    Ok(fetch_optional!((String,), tx, "SELECT value FROM settings WHERE key = $1", key)?.map(|(value,)| value))
}

/// Sets a setting of the installation.
pub async fn set_setting(tx: &mut WriteTx, key: &str, value: &str) -> Result<(), StoreError> {
    change!(tx, "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)?;
    Ok(())
}

/// Removes a setting; false when there was none.
pub async fn delete_setting(tx: &mut WriteTx, key: &str) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM settings WHERE key = $1", key)? > 0)
}

/// Whether a session still stands.
pub async fn session_stands(tx: &mut ReadTx, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM sessions WHERE id = $1 AND expires_at > $2", id.to_string(), now.as_millis())?;
    Ok(row.is_some_and(|(n,)| n > 0))
}
