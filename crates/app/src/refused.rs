//! Requests at a hook's address that were refused: that they came is kept, and nothing of what they carried.
//!
//! Invariant: a flood writes no more than a trickle does. Requests are noted in memory, at most `KEPT` of each hook and of at most
//! `HOOKS` hooks, and a loop writes them once a second; what a crash loses is a note.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use slipway_model::HookId;
use slipway_store::refused::{self, KEPT, RefusedRequest};

use crate::{App, Error, RepositoryRead};

/// Only hooks that exist are noted; this bounds what a flood at very many of them holds in memory.
const HOOKS: usize = 1000;

/// What was not written yet.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<HashMap<HookId, VecDeque<RefusedRequest>>>);

impl Refused {
    pub(crate) fn note(&self, hook: HookId, request: RefusedRequest) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= HOOKS && !noted.contains_key(&hook) {
            return;
        }
        let of_hook = noted.entry(hook).or_default();
        if of_hook.len() == KEPT {
            of_hook.pop_front();
        }
        of_hook.push_back(request);
    }

    fn take(&self) -> HashMap<HookId, VecDeque<RefusedRequest>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl App {
    /// Writes what was noted.
    pub(crate) async fn keep_refused_once(&self) -> Result<(), Error> {
        let noted = self.refused.take();
        if noted.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        for (hook, requests) in noted {
            refused::keep(&mut tx, hook, &Vec::from(requests)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The last requests at the repository's hook that were not the provider's, newest first; at most 20.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_refused_requests(&self, right: &RepositoryRead) -> Result<Vec<RefusedRequest>, Error> {
        self.keep_refused_once().await?;
        let mut tx = self.read().await?;
        Ok(refused::list(&mut tx, right.repository().id).await?)
    }
}
