//! What is known of the source of an autobuild at its provider, and which link serves it.
//!
//! Invariant: a source is known by (provider, id); its name is written here and read nowhere for a decision.

use slipway_model::{AutobuildId, LinkId};

use crate::{ReadTx, StoreError, WriteTx, read_opt};

/// Which link serves the source of some settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The link that served last; it may be gone.
    pub link: Option<LinkId>,
    /// How it came to serve, when it took over from another one.
    pub note: Option<String>,
}

/// Which link serves these settings; `None` when they are gone.
pub async fn served(tx: &mut ReadTx, autobuild: AutobuildId) -> Result<Option<Served>, StoreError> {
    let row = fetch_optional!(
        (Option<String>, Option<String>),
        tx,
        "SELECT link_id, link_note FROM autobuilds WHERE id = $1",
        autobuild.to_string()
    )?;
    row.map(|(link, note)| Ok(Served { link: read_opt("autobuilds", link.as_deref())?, note })).transpose()
}

/// From now on this link serves these settings, in place of `before`; false when another one does meanwhile.
pub async fn set_served(
    tx: &mut WriteTx,
    autobuild: AutobuildId,
    before: Option<LinkId>,
    link: LinkId,
    note: Option<&str>,
) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE autobuilds SET link_id = $1, link_note = $2 WHERE id = $3 AND COALESCE(link_id, '') = $4",
        link.to_string(),
        note,
        autobuild.to_string(),
        before.map_or_else(String::new, |id| id.to_string()),
    )?;
    Ok(changed > 0)
}

/// The settings have another source than before, which this link sees: nothing that was known of the one before is true of it.
pub async fn set_source(tx: &mut WriteTx, autobuild: AutobuildId, link: LinkId) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE autobuilds SET link_id = $1, link_note = NULL, pushed = NULL, heads_marker = NULL, heads_checked_at = NULL, next_reconcile_at = 0,
                problem = NULL, problem_text = NULL, problem_since = NULL
         WHERE id = $2",
        link.to_string(),
        autobuild.to_string(),
    )?;
    crate::refs::forget(tx, autobuild).await
}

/// How the source shows itself: to everybody or not, taking pushes or not.
pub async fn set_look(tx: &mut WriteTx, autobuild: AutobuildId, private: bool, archived: bool) -> Result<(), StoreError> {
    change!(tx, "UPDATE autobuilds SET source_private = $1, source_archived = $2 WHERE id = $3", private, archived, autobuild.to_string())?;
    Ok(())
}
