//! The audit log: who changed what.
//!
//! Invariant: an entry is written in the transaction of the change that it tells of, and is never changed. Entries outlive what they
//! tell of, so they refer to no other table.

use serde_json::Value;
use slipway_model::{AccountId, AuditId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, read_json, read_opt, time, to_json};

/// An entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Identity; later entries have larger ones.
    pub id: AuditId,
    /// In whose log it stands; nobody's is the installation's.
    pub account: Option<AccountId>,
    /// That account's name at the time; empty for the installation.
    pub namespace: String,
    /// Who did it, when it is an account.
    pub actor_id: Option<AccountId>,
    /// Their name at the time.
    pub actor: String,
    /// Through what: `session`, ``token `ci` ``, `command line`.
    pub via: String,
    /// From which address.
    pub address: String,
    /// `area.verb`.
    pub action: String,
    /// On what.
    pub object: String,
    /// When.
    pub at: Timestamp,
    /// What was before, when that says something. Never a secret.
    pub old: Option<Value>,
    /// What is now.
    pub new: Option<Value>,
}

#[derive(sqlx::FromRow)]
struct EntryRow {
    id: String,
    account_id: Option<String>,
    namespace: String,
    actor_id: Option<String>,
    actor: String,
    via: String,
    address: String,
    action: String,
    object: String,
    at: i64,
    old: Option<String>,
    new: Option<String>,
}

impl EntryRow {
    fn into_entry(self) -> Result<Entry, StoreError> {
        Ok(Entry {
            id: read("audit", &self.id)?,
            account: read_opt("audit", self.account_id.as_deref())?,
            namespace: self.namespace,
            actor_id: read_opt("audit", self.actor_id.as_deref())?,
            actor: self.actor,
            via: self.via,
            address: self.address,
            action: self.action,
            object: self.object,
            at: time(self.at),
            old: self.old.map(|text| read_json("audit", &text)).transpose()?,
            new: self.new.map(|text| read_json("audit", &text)).transpose()?,
        })
    }
}

/// Which entries are wanted; the empty filter is all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this actor, by name.
    pub actor: Option<String>,
    /// Of this action, or of this area (`team` is every `team.*`).
    pub action: Option<String>,
    /// On this object.
    pub object: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Adds an entry.
pub async fn insert(tx: &mut WriteTx, entry: &Entry) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO audit (id, account_id, namespace, actor_id, actor, via, address, action, object, at, old, new)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        entry.id.to_string(),
        entry.account.map(|id| id.to_string()),
        entry.namespace.as_str(),
        entry.actor_id.map(|id| id.to_string()),
        entry.actor.as_str(),
        entry.via.as_str(),
        entry.address.as_str(),
        entry.action.as_str(),
        entry.object.as_str(),
        entry.at.as_millis(),
        entry.old.as_ref().map(to_json),
        entry.new.as_ref().map(to_json),
    )?;
    Ok(())
}

/// Whose log is read.
#[derive(Debug, Clone, Copy)]
pub enum Log {
    /// Of one account.
    Of(AccountId),
    /// Of the installation and of every account.
    Everything,
}

/// A page of a log, newest first, before `before`.
pub async fn list(tx: &mut ReadTx, log: Log, filter: &Filter, before: Option<AuditId>, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let account = match log {
        Log::Of(account) => account.to_string(),
        Log::Everything => String::new(),
    };
    fetch_all!(
        EntryRow,
        tx,
        "SELECT id, account_id, namespace, actor_id, actor, via, address, action, object, at, old, new FROM audit
         WHERE ($1 = '' OR account_id = $1) AND ($2 = '' OR id < $2)
           AND ($3 = '' OR actor = $3)
           AND ($4 = '' OR action = $4 OR substr(action, 1, length($4) + 1) = $4 || '.')
           AND ($5 = '' OR object = $5)
           AND at >= $6 AND at < $7
         ORDER BY id DESC LIMIT $8",
        account,
        before.map_or_else(String::new, |id| id.to_string()),
        filter.actor.as_deref().unwrap_or(""),
        filter.action.as_deref().unwrap_or(""),
        filter.object.as_deref().unwrap_or(""),
        filter.since.map_or(i64::MIN, Timestamp::as_millis),
        filter.until.map_or(i64::MAX, Timestamp::as_millis),
        i64::from(limit),
    )?
    .into_iter()
    .map(EntryRow::into_entry)
    .collect()
}

/// Takes what is a person's own business out of the account's log, because others read it from now on: sign-ins, second factor,
/// identities, addresses, tokens. The installation's log keeps it.
pub async fn detach_personal(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "UPDATE audit SET account_id = NULL WHERE account_id = $1
           AND (action LIKE 'account.%' OR action LIKE 'session.%' OR action LIKE 'second_factor.%' OR action LIKE 'recovery_codes.%'
                OR action LIKE 'identity.%' OR action LIKE 'token.%' OR action LIKE 'invitation.%')",
        account.to_string()
    )?)
}

/// Removes entries from before that moment; gives how many went.
pub async fn delete_before(tx: &mut WriteTx, moment: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM audit WHERE at < $1", moment.as_millis())?)
}
