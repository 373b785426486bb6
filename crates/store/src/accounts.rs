//! Accounts and the names they hold, OAuth flows under way, and the few settings of the installation.
//!
//! Invariant: a name belongs to one account, also after the account was renamed; names that look alike are one name.

use slipway_model::{AccessLevel, AccountId, AccountKind, AccountName, LinkedAs, ProviderId, SecretHash, Timestamp, skeleton};

use crate::{ReadTx, StoreError, WriteTx, count, read, time};

/// A user, an organization or a service account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Identity.
    pub id: AccountId,
    /// What kind.
    pub kind: AccountKind,
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
pub(crate) struct AccountRow {
    id: String,
    kind: String,
    name: String,
    display_name: String,
    email: Option<String>,
    is_admin: bool,
    created_at: i64,
}

impl AccountRow {
    pub(crate) fn into_account(self) -> Result<Account, StoreError> {
        Ok(Account {
            id: read("accounts", &self.id)?,
            kind: read("accounts", &self.kind)?,
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
    /// What kind.
    pub kind: AccountKind,
    /// Name of its namespace.
    pub name: &'a AccountName,
    /// What people call it.
    pub display_name: &'a str,
    /// Where mail goes.
    pub email: Option<&'a str>,
    /// Whether it administers the installation.
    pub is_admin: bool,
    /// PHC string of the password.
    pub password_hash: Option<&'a str>,
    /// Who makes it, for an organization.
    pub created_by: Option<AccountId>,
}

impl<'a> NewAccount<'a> {
    /// A user without rights over the installation, called by its name.
    #[must_use]
    pub fn user(name: &'a AccountName) -> Self {
        let (email, password_hash, created_by) = (None, None, None);
        Self { kind: AccountKind::User, name, display_name: name.as_str(), email, is_admin: false, password_hash, created_by }
    }
}

/// Adds an account and takes its name.
///
/// # Errors
/// [`StoreError::Conflict`] when the name, or one that looks like it, is held by an account, also as a former name.
pub async fn insert(tx: &mut WriteTx, new: &NewAccount<'_>, now: Timestamp) -> Result<AccountId, StoreError> {
    let id = AccountId::new();
    change!(
        tx,
        "INSERT INTO accounts (id, name, kind, display_name, email, is_admin, password_hash, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id.to_string(),
        new.name.as_str(),
        new.kind.as_str(),
        new.display_name,
        new.email,
        new.is_admin,
        new.password_hash,
        now.as_millis(),
        new.created_by.map(|id| id.to_string()),
    )?;
    take_name(tx, id, new.name, now).await?;
    Ok(id)
}

async fn take_name(tx: &mut WriteTx, id: AccountId, name: &AccountName, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO names (name, skeleton, account_id, since) VALUES ($1, $2, $3, $4)",
        name.as_str(),
        skeleton(name.as_str()),
        id.to_string(),
        now.as_millis(),
    )?;
    Ok(())
}

/// Which held name stands in the way of giving out `name`: itself or one that looks like it.
pub async fn name_in_the_way(tx: &mut ReadTx, name: &AccountName) -> Result<Option<AccountName>, StoreError> {
    let row = fetch_optional!((String,), tx, "SELECT name FROM names WHERE skeleton = $1", skeleton(name.as_str()))?;
    row.map(|(name,)| read("names", &name)).transpose()
}

/// Gives an account another name. The former one stays its own and leads on; going back to it is allowed.
///
/// # Errors
/// [`StoreError::Conflict`] as [`insert`].
pub async fn rename(tx: &mut WriteTx, id: AccountId, name: &AccountName, now: Timestamp) -> Result<(), StoreError> {
    // A change of the account's own names among names that look alike (`acme_1` to `acme-1`) drops the former one. By its text too:
    // names from before may stand with another skeleton (`0003_people.sql`).
    change!(
        tx,
        "DELETE FROM names WHERE (skeleton = $1 OR name = $2) AND account_id = $3",
        skeleton(name.as_str()),
        name.as_str(),
        id.to_string()
    )?;
    take_name(tx, id, name, now).await?;
    change!(tx, "UPDATE accounts SET name = $1 WHERE id = $2", name.as_str(), id.to_string())?;
    Ok(())
}

/// How many accounts there are.
pub async fn count_accounts(tx: &mut ReadTx) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM accounts")?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// How many organizations that stand an account has made.
pub async fn count_created_by(tx: &mut ReadTx, id: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM accounts WHERE created_by = $1", id.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// How many names an account holds, the current one counted.
pub async fn count_names(tx: &mut ReadTx, id: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM names WHERE account_id = $1", id.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// How many accounts administer the installation.
pub async fn count_administrators(tx: &mut ReadTx) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM accounts WHERE is_admin")?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: AccountId) -> Result<Option<Account>, StoreError> {
    fetch_optional!(
        AccountRow,
        tx,
        "SELECT id, kind, name, display_name, email, is_admin, created_at FROM accounts WHERE id = $1",
        id.to_string()
    )?
    .map(AccountRow::into_account)
    .transpose()
}

/// By its current name.
pub async fn get_by_name(tx: &mut ReadTx, name: &AccountName) -> Result<Option<Account>, StoreError> {
    fetch_optional!(
        AccountRow,
        tx,
        "SELECT id, kind, name, display_name, email, is_admin, created_at FROM accounts WHERE name = $1",
        name.as_str()
    )?
    .map(AccountRow::into_account)
    .transpose()
}

/// By its current name or a former one.
pub async fn find(tx: &mut ReadTx, name: &AccountName) -> Result<Option<Account>, StoreError> {
    fetch_optional!(
        AccountRow,
        tx,
        "SELECT a.id, a.kind, a.name, a.display_name, a.email, a.is_admin, a.created_at
         FROM names n JOIN accounts a ON a.id = n.account_id WHERE n.name = $1",
        name.as_str()
    )?
    .map(AccountRow::into_account)
    .transpose()
}

/// A page of all accounts of a kind (or of every kind) by name, after `after`.
pub async fn list(tx: &mut ReadTx, kind: Option<AccountKind>, after: Option<&str>, limit: u32) -> Result<Vec<Account>, StoreError> {
    fetch_all!(
        AccountRow,
        tx,
        "SELECT id, kind, name, display_name, email, is_admin, created_at FROM accounts
         WHERE name > $1 AND ($2 = '' OR kind = $2) ORDER BY name LIMIT $3",
        after.unwrap_or(""),
        kind.map_or("", AccountKind::as_str),
        i64::from(limit),
    )?
    .into_iter()
    .map(AccountRow::into_account)
    .collect()
}

/// Replaces what people call it.
pub async fn set_display_name(tx: &mut WriteTx, id: AccountId, display_name: &str) -> Result<(), StoreError> {
    change!(tx, "UPDATE accounts SET display_name = $1 WHERE id = $2", display_name, id.to_string())?;
    Ok(())
}

/// Replaces where mail goes.
pub async fn set_email(tx: &mut WriteTx, id: AccountId, email: Option<&str>) -> Result<(), StoreError> {
    change!(tx, "UPDATE accounts SET email = $1 WHERE id = $2", email, id.to_string())?;
    Ok(())
}

/// Gives or takes the right over the installation. Every such change waits for every other, so the last administrator is seen as the last.
pub async fn set_admin(tx: &mut WriteTx, id: AccountId, admin: bool) -> Result<(), StoreError> {
    lock_administrators(tx).await?;
    change!(tx, "UPDATE accounts SET is_admin = $1 WHERE id = $2", admin, id.to_string())?;
    Ok(())
}

/// Waits for every other change of who administers; what is counted after it stays true until the commit.
pub async fn lock_administrators(tx: &mut WriteTx) -> Result<(), StoreError> {
    set_setting(tx, "administrators_lock", "").await
}

/// Makes an organization of a user: nobody signs in as it any more, every way in is removed, and so are its places in teams of others.
pub async fn convert(tx: &mut WriteTx, id: AccountId) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE accounts SET kind = 'organization', is_admin = FALSE, password_hash = NULL, email = NULL WHERE id = $1",
        id.to_string()
    )?;
    for statement in [
        "DELETE FROM sessions WHERE account_id = $1",
        "DELETE FROM pending_sign_ins WHERE account_id = $1",
        "DELETE FROM tokens WHERE account_id = $1",
        "DELETE FROM second_factors WHERE account_id = $1",
        "DELETE FROM recovery_codes WHERE account_id = $1",
        "DELETE FROM identities WHERE account_id = $1",
        "DELETE FROM email_confirmations WHERE account_id = $1",
        "DELETE FROM oidc_flows WHERE account_id = $1",
        "DELETE FROM oauth_flows WHERE account_id = $1",
        "DELETE FROM team_members WHERE account_id = $1",
    ] {
        change!(tx, statement, id.to_string())?;
    }
    Ok(())
}

/// Holds the account's row until the commit, against whoever puts it into a team meanwhile; false when it is gone.
pub async fn lock(tx: &mut WriteTx, id: AccountId) -> Result<bool, StoreError> {
    // SQLite has one writer, so there is nothing to hold.
    let sql = if tx.is_postgres() { "SELECT id FROM accounts WHERE id = $1 FOR UPDATE" } else { "SELECT id FROM accounts WHERE id = $1" };
    Ok(fetch_optional!((String,), tx, sql, id.to_string())?.is_some())
}

/// Removes an account with everything that is in its namespace, its names, tokens, sessions and memberships.
pub async fn delete(tx: &mut WriteTx, id: AccountId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM accounts WHERE id = $1", id.to_string())? > 0)
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

/// Removes OAuth flows that have ended; gives how many rows went.
pub async fn delete_expired_flows(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM oauth_flows WHERE expires_at <= $1", now.as_millis())?)
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
    /// How much was asked for.
    pub access: AccessLevel,
    /// Whom the person said that the account at the provider belongs to.
    pub linked_as: LinkedAs,
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
        "INSERT INTO oauth_flows (state_hash, account_id, provider, initiator, verifier_sealed, access, linked_as, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        state.to_hex(),
        flow.account.to_string(),
        flow.provider.as_str(),
        flow.initiator.as_str(),
        flow.verifier_sealed.as_slice(),
        flow.access.as_str(),
        flow.linked_as.as_str(),
        now.as_millis(),
        expires_at.as_millis(),
    )?;
    Ok(())
}

/// Takes a flow out: a state works once, whoever presents it. `None` when unknown, used or expired.
pub async fn take_flow(tx: &mut WriteTx, state: &SecretHash, now: Timestamp) -> Result<Option<OauthFlow>, StoreError> {
    let row = fetch_optional!(
        (String, String, String, Vec<u8>, String, String),
        tx,
        "DELETE FROM oauth_flows WHERE state_hash = $1 AND expires_at > $2
         RETURNING account_id, provider, initiator, verifier_sealed, access, linked_as",
        state.to_hex(),
        now.as_millis(),
    )?;
    row.map(|(account, provider, initiator, verifier_sealed, access, linked_as)| {
        Ok(OauthFlow {
            account: read("oauth_flows", &account)?,
            provider: read("oauth_flows", &provider)?,
            initiator,
            verifier_sealed,
            access: read("oauth_flows", &access)?,
            linked_as: read("oauth_flows", &linked_as)?,
        })
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
