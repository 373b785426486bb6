//! The receipt of an unlink, and its list: what was done, what was left, what stays, what stopped.
//!
//! Invariant: a line is written only after the provider answered, and never changed afterwards. Deliberately elsewhere: the doing (`unlink`).

use serde::{Deserialize, Serialize};
use slipway_model::{LinkId, ProviderId, ReceiptId, Timestamp};
use slipway_store::receipts;

use crate::{App, Error, NamespaceOwner};

/// One thing that an unlink did or could not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptItem {
    /// In words.
    pub what: String,
    /// Where a person can see or finish it.
    pub url: Option<String>,
}

impl ReceiptItem {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), url: None }
    }

    pub(super) fn at(self, url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..self }
    }
}

/// What became of everything that a link had made. It is kept as long as the account.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// Identity.
    pub id: ReceiptId,
    /// The link that was.
    pub link: LinkId,
    /// Which provider.
    pub provider: ProviderId,
    /// Who was linked.
    pub login: String,
    /// When it was begun.
    pub at: Timestamp,
    /// When it was complete; `None` while it goes on.
    pub finished_at: Option<Timestamp>,
    /// Done.
    pub done: Vec<ReceiptItem>,
    /// Not done, with the address where a person can do it.
    pub left: Vec<ReceiptItem>,
    /// Left on purpose, because another link serves it.
    pub kept: Vec<ReceiptItem>,
    /// Repositories that are not built any more.
    pub stopped: Vec<String>,
}

/// Plan and outcome as the database keeps them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub(super) plan: super::plan::Plan,
    pub(super) done: Vec<ReceiptItem>,
    pub(super) left: Vec<ReceiptItem>,
    pub(super) kept: Vec<ReceiptItem>,
    pub(super) stopped: Vec<String>,
    /// What the provider said for good: what is left is not asked for any more.
    pub(super) refused: Option<String>,
    /// Since when the provider wants us to wait, with nothing done in between.
    pub(super) limited_since: Option<Timestamp>,
}

impl Body {
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|_| Error::Internal("a receipt cannot be read"))
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and ids have a JSON form")
    }
}

pub(super) fn receipt(row: receipts::Receipt) -> Result<Receipt, Error> {
    let body = Body::read(&row.body)?;
    Ok(Receipt {
        id: row.id,
        link: row.link,
        provider: row.provider,
        login: row.login,
        at: row.begun_at,
        finished_at: row.finished_at,
        done: body.done,
        left: body.left,
        kept: body.kept,
        stopped: body.stopped,
    })
}

impl App {
    /// A page of an account's receipts, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn receipts(&self, owner: &NamespaceOwner, before: Option<ReceiptId>, limit: u32) -> Result<Vec<Receipt>, Error> {
        let mut tx = self.read().await?;
        receipts::list(&mut tx, owner.account().id, before, limit.min(100)).await?.into_iter().map(receipt).collect()
    }

    /// One receipt.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn receipt(&self, owner: &NamespaceOwner, id: ReceiptId) -> Result<Receipt, Error> {
        let mut tx = self.read().await?;
        receipt(receipts::get(&mut tx, owner.account().id, id).await?.ok_or(Error::NotFound)?)
    }
}
