//! Requests at a hook's address that were not the provider's: only that they came.
//!
//! Invariant: at most [`KEPT`] rows of a hook, however many come. The callers write seldom (`app::refused` counts in memory).

use std::net::IpAddr;

use slipway_model::{HookId, RepositoryId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

/// So many are kept of each hook, the newest.
pub const KEPT: usize = 20;

/// A request that was refused. Nothing of what it carried is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// When.
    pub at: Timestamp,
    /// Where it came from.
    pub address: IpAddr,
    /// Why it was refused.
    pub reason: String,
    /// Bytes of its body.
    pub size: u64,
}

/// Keeps the newest of these and of those that stand. A hook that is gone keeps nothing.
pub async fn keep(tx: &mut WriteTx, hook: HookId, requests: &[RefusedRequest]) -> Result<(), StoreError> {
    for request in requests.iter().rev().take(KEPT).rev() {
        change!(
            tx,
            "INSERT INTO refused_requests (id, hook_id, at, address, reason, size)
             SELECT $1, id, $3, $4, $5, $6 FROM hooks WHERE id = $2",
            slipway_model::DeliveryId::new().to_string(),
            hook.to_string(),
            request.at.as_millis(),
            request.address.to_string(),
            request.reason.as_str(),
            signed(request.size),
        )?;
    }
    change!(
        tx,
        "DELETE FROM refused_requests WHERE hook_id = $1
           AND id NOT IN (SELECT id FROM refused_requests WHERE hook_id = $1 ORDER BY id DESC LIMIT $2)",
        hook.to_string(),
        signed(KEPT as u64),
    )?;
    Ok(())
}

/// The refused requests at the hooks of a repository, newest first.
pub async fn list(tx: &mut ReadTx, repository: RepositoryId) -> Result<Vec<RefusedRequest>, StoreError> {
    let rows = fetch_all!(
        (i64, String, String, i64),
        tx,
        "SELECT q.at, q.address, q.reason, q.size
         FROM refused_requests q JOIN hooks h ON h.id = q.hook_id JOIN autobuilds b ON b.id = h.autobuild_id
         WHERE b.repository_id = $1 ORDER BY q.id DESC LIMIT $2",
        repository.to_string(),
        signed(KEPT as u64),
    )?;
    rows.into_iter()
        .map(|(at, address, reason, size)| {
            Ok(RefusedRequest { at: time(at), address: read("refused_requests", &address)?, reason, size: count(size) })
        })
        .collect()
}
