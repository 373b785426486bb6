//! The audit log: written by every change in its own transaction, read by owners and administrators.
//!
//! Invariant: no secret is ever in an entry; whoever writes one passes names, numbers and words only.

use serde_json::Value;
use slipway_model::{AccountId, AuditId, Timestamp};
use slipway_store::accounts::Account;
use slipway_store::audit::{self, Entry, Filter};
use slipway_store::repositories::Repository;
use slipway_store::{StoreError, WriteTx};

use crate::{Actor, App, AuditReader, Error};

/// Longest filter word; longer ones match nothing anyway.
const WORD: usize = 200;

/// In whose log an entry stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Of an account.
    Account(&'a Account),
    /// Of the account that owns the repository.
    Repository(&'a Repository),
    /// Of the installation.
    Installation,
}

impl Place<'_> {
    fn parts(self) -> (Option<AccountId>, String) {
        match self {
            Self::Account(account) => (Some(account.id), account.name.to_string()),
            Self::Repository(repository) => (Some(repository.account), repository.namespace.to_string()),
            Self::Installation => (None, String::new()),
        }
    }
}

/// What was changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    action: &'static str,
    object: String,
    old: Option<Value>,
    new: Option<Value>,
}

impl Change {
    /// `area.verb` on something.
    pub(crate) fn new(action: &'static str, object: impl Into<String>) -> Self {
        Self { action, object: object.into(), old: None, new: None }
    }

    /// With what was before.
    pub(crate) fn old(self, old: Value) -> Self {
        Self { old: Some(old), ..self }
    }

    /// With what is now.
    pub(crate) fn now(self, new: Value) -> Self {
        Self { new: Some(new), ..self }
    }
}

/// Writes an entry in the transaction of its change.
pub(crate) async fn write(tx: &mut WriteTx, at: Timestamp, actor: &Actor, place: Place<'_>, change: Change) -> Result<(), StoreError> {
    let (account, namespace) = place.parts();
    let entry = Entry {
        id: AuditId::new(),
        account,
        namespace,
        actor_id: actor.account,
        actor: actor.name.clone(),
        via: actor.via.clone(),
        address: actor.address.clone(),
        action: change.action.to_owned(),
        object: change.object,
        at,
        old: change.old,
        new: change.new,
    };
    audit::insert(tx, &entry).await
}

impl App {
    /// A page of an audit log, newest first.
    ///
    /// # Errors
    /// A refusal for a filter that cannot match.
    pub async fn list_audit(
        &self,
        reader: &AuditReader,
        filter: &Filter,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>, Error> {
        for (field, word) in [("actor", &filter.actor), ("action", &filter.action), ("object", &filter.object)] {
            if let Some(length) = word.as_ref().map(|word| word.chars().count()).filter(|length| *length > WORD) {
                return Err(Error::invalid("filter", field, format!("the filter has {length} characters, at most {WORD} are accepted")));
            }
        }
        let mut tx = self.read().await?;
        Ok(audit::list(&mut tx, reader.0, filter, before, limit).await?)
    }
}
