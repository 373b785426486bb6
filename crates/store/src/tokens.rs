//! Access tokens, of people and of organizations, without their secrets.
//!
//! Invariant: a limited token stays limited to its repositories, also when none of them is left.

use slipway_model::{AccountId, RepositoryId, ScopeSet, SecretHash, Timestamp, TokenId};

use crate::{ReadTx, StoreError, WriteTx, read, read_opt, time};

/// An access token, without its secret.
#[derive(Debug, Clone)]
pub struct Token {
    /// Identity.
    pub id: TokenId,
    /// As whom it acts: a user, a service account or an organization.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// Whether it works for some repositories only ([`list_repositories`]).
    pub is_limited: bool,
    /// Who made it.
    pub created_by: Option<AccountId>,
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
    is_limited: bool,
    created_by: Option<String>,
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
            is_limited: self.is_limited,
            created_by: read_opt("tokens", self.created_by.as_deref())?,
            created_at: time(self.created_at),
            expires_at: self.expires_at.map(time),
            last_used_at: self.last_used_at.map(time),
            last_used_from: self.last_used_from,
        })
    }
}

/// A new token as it is written.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// As whom it acts.
    pub account: AccountId,
    /// Who makes it; nobody for one from the command line.
    pub created_by: Option<AccountId>,
    /// What its owner calls it.
    pub name: &'a str,
    /// Hash of the secret.
    pub hash: &'a SecretHash,
    /// What it may be used for.
    pub scopes: &'a ScopeSet,
    /// The only repositories it works for; `None` is all.
    pub repositories: Option<&'a [RepositoryId]>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Adds a token.
pub async fn insert(tx: &mut WriteTx, new: &NewToken<'_>, now: Timestamp) -> Result<TokenId, StoreError> {
    let id = TokenId::new();
    change!(
        tx,
        "INSERT INTO tokens (id, account_id, name, token_hash, scopes, is_limited, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id.to_string(),
        new.account.to_string(),
        new.name,
        new.hash.to_hex(),
        new.scopes.to_string(),
        new.repositories.is_some(),
        new.created_by.map(|id| id.to_string()),
        now.as_millis(),
        new.expires_at.map(Timestamp::as_millis),
    )?;
    for repository in new.repositories.unwrap_or_default() {
        change!(
            tx,
            "INSERT INTO token_repositories (token_id, repository_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            id.to_string(),
            repository.to_string(),
        )?;
    }
    Ok(id)
}

/// The token of this secret, unless it has ended.
pub async fn get_by_hash(tx: &mut ReadTx, hash: &SecretHash, now: Timestamp) -> Result<Option<Token>, StoreError> {
    fetch_optional!(
        TokenRow,
        tx,
        "SELECT id, account_id, name, scopes, is_limited, created_by, created_at, expires_at, last_used_at, last_used_from FROM tokens
         WHERE token_hash = $1 AND (expires_at IS NULL OR expires_at > $2)",
        hash.to_hex(),
        now.as_millis(),
    )?
    .map(TokenRow::into_token)
    .transpose()
}

/// By identity, unless it has ended.
pub async fn get(tx: &mut ReadTx, id: TokenId, now: Timestamp) -> Result<Option<Token>, StoreError> {
    fetch_optional!(
        TokenRow,
        tx,
        "SELECT id, account_id, name, scopes, is_limited, created_by, created_at, expires_at, last_used_at, last_used_from FROM tokens
         WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)",
        id.to_string(),
        now.as_millis(),
    )?
    .map(TokenRow::into_token)
    .transpose()
}

/// Whether a token still stands.
pub async fn stands(tx: &mut ReadTx, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(get(tx, id, now).await?.is_some())
}

/// An account's tokens, newest first, at most 500.
pub async fn list(tx: &mut ReadTx, account: AccountId) -> Result<Vec<Token>, StoreError> {
    fetch_all!(
        TokenRow,
        tx,
        "SELECT id, account_id, name, scopes, is_limited, created_by, created_at, expires_at, last_used_at, last_used_from FROM tokens
         WHERE account_id = $1 ORDER BY id DESC LIMIT 500",
        account.to_string(),
    )?
    .into_iter()
    .map(TokenRow::into_token)
    .collect()
}

/// The repositories of a limited token as `namespace/name`, at most 100: more are not given to one token.
pub async fn list_repositories(tx: &mut ReadTx, id: TokenId) -> Result<Vec<String>, StoreError> {
    let rows = fetch_all!(
        (String, String),
        tx,
        "SELECT a.name, r.name FROM token_repositories t JOIN repositories r ON r.id = t.repository_id JOIN accounts a ON a.id = r.account_id
         WHERE t.token_id = $1 ORDER BY a.name, r.name LIMIT 100",
        id.to_string(),
    )?;
    Ok(rows.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect())
}

/// Whether a limited token works for a repository.
pub async fn covers(tx: &mut ReadTx, id: TokenId, repository: RepositoryId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM token_repositories WHERE token_id = $1 AND repository_id = $2",
        id.to_string(),
        repository.to_string(),
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// Notes that a token was used.
pub async fn set_used(tx: &mut WriteTx, id: TokenId, now: Timestamp, from: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE tokens SET last_used_at = $1, last_used_from = $2 WHERE id = $3", now.as_millis(), from, id.to_string())?;
    Ok(())
}

/// Revokes an account's token; the name of it, or `None` when there was none.
pub async fn delete(tx: &mut WriteTx, account: AccountId, id: TokenId) -> Result<Option<String>, StoreError> {
    let row = fetch_optional!(
        (String,),
        tx,
        "DELETE FROM tokens WHERE id = $1 AND account_id = $2 RETURNING name",
        id.to_string(),
        account.to_string()
    )?;
    Ok(row.map(|(name,)| name))
}

/// Revokes every token of an account; gives how many there were.
pub async fn delete_all(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM tokens WHERE account_id = $1", account.to_string())?)
}

/// How many tokens an account has.
pub async fn count_tokens(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM tokens WHERE account_id = $1", account.to_string())?;
    Ok(row.map_or(0, |(n,)| crate::count(n)))
}
