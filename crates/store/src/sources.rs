//! What is known of the source of an autobuild at its provider, and which link serves it.
//!
//! Invariant: a source is known by (provider, id); its name is written here and read nowhere for a decision.

use slipway_model::{AccountId, AutobuildId, LinkId, ProviderId, RepositoryId, RepositoryName, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, read_opt, time};

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

/// The source of some settings, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The settings.
    pub autobuild: AutobuildId,
    /// Of which repository.
    pub repository: RepositoryId,
    /// The repository's name.
    pub repository_name: RepositoryName,
    /// Its identity at the provider.
    pub source_id: String,
    /// Its name at the provider.
    pub source_name: String,
    /// Its default branch.
    pub default_branch: String,
    /// Whether a stranger cannot see it.
    pub private: bool,
    /// Whether it takes no pushes any more.
    pub archived: bool,
    /// Changes whenever something is pushed.
    pub pushed: Option<String>,
    /// The link that served last.
    pub link: Option<LinkId>,
    /// How it came to serve, when it took over from another one.
    pub link_note: Option<String>,
    /// What is wrong with it: `gone`, `no_access`.
    pub problem: Option<String>,
    /// The same in words.
    pub problem_text: Option<String>,
    /// Since when.
    pub problem_since: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    repository_id: String,
    name: String,
    source_id: String,
    source_name: String,
    default_branch: String,
    source_private: bool,
    source_archived: bool,
    pushed: Option<String>,
    link_id: Option<String>,
    link_note: Option<String>,
    problem: Option<String>,
    problem_text: Option<String>,
    problem_since: Option<i64>,
}

impl Row {
    fn into_source(self) -> Result<Source, StoreError> {
        Ok(Source {
            autobuild: read("autobuilds", &self.id)?,
            repository: read("autobuilds", &self.repository_id)?,
            repository_name: read("repositories", &self.name)?,
            source_id: self.source_id,
            source_name: self.source_name,
            default_branch: self.default_branch,
            private: self.source_private,
            archived: self.source_archived,
            pushed: self.pushed,
            link: read_opt("autobuilds", self.link_id.as_deref())?,
            link_note: self.link_note,
            problem: self.problem,
            problem_text: self.problem_text,
            problem_since: self.problem_since.map(time),
        })
    }
}

/// The sources of an account's settings at a provider, by the repository's name, at most 5,000. `source_id` leaves only those of one source.
pub async fn list(tx: &mut ReadTx, account: AccountId, provider: &ProviderId, source_id: Option<&str>) -> Result<Vec<Source>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT b.id, b.repository_id, r.name, b.source_id, b.source_name, b.default_branch, b.source_private, b.source_archived, b.pushed,
                b.link_id, b.link_note, b.problem, b.problem_text, b.problem_since
         FROM autobuilds b JOIN repositories r ON r.id = b.repository_id
         WHERE r.account_id = $1 AND b.provider = $2 AND ($3 = '' OR b.source_id = $3) ORDER BY r.name LIMIT 5000",
        account.to_string(),
        provider.as_str(),
        source_id.unwrap_or(""),
    )?
    .into_iter()
    .map(Row::into_source)
    .collect()
}

/// Writes how a source was seen; the settings' hooks and deploy keys follow its name.
pub async fn set_seen(tx: &mut WriteTx, account: AccountId, provider: &ProviderId, seen: &Source) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE autobuilds SET source_name = $1, default_branch = $2, source_private = $3, source_archived = $4, pushed = $5,
                problem = $6, problem_text = $7, problem_since = $8
         WHERE id = $9",
        seen.source_name.as_str(),
        seen.default_branch.as_str(),
        seen.private,
        seen.archived,
        seen.pushed.as_deref(),
        seen.problem.as_deref(),
        seen.problem_text.as_deref(),
        seen.problem_since.map(Timestamp::as_millis),
        seen.autobuild.to_string(),
    )?;
    change!(
        tx,
        "UPDATE hooks SET source_name = $1 WHERE account_id = $2 AND provider = $3 AND source_id = $4 AND source_name <> $1",
        seen.source_name.as_str(),
        account.to_string(),
        provider.as_str(),
        seen.source_id.as_str(),
    )?;
    change!(
        tx,
        "UPDATE deploy_keys SET source_name = $1 WHERE account_id = $2 AND provider = $3 AND source_id = $4 AND source_name <> $1",
        seen.source_name.as_str(),
        account.to_string(),
        provider.as_str(),
        seen.source_id.as_str(),
    )?;
    Ok(())
}

/// Settings of the account that no working link serves are served by this one from now on; gives how many.
pub async fn adopt_unserved(tx: &mut WriteTx, account: AccountId, provider: &ProviderId, link: LinkId) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "UPDATE autobuilds SET link_id = $1, link_note = NULL
         WHERE provider = $2 AND repository_id IN (SELECT id FROM repositories WHERE account_id = $3)
           AND COALESCE(link_id, '') NOT IN (SELECT id FROM links WHERE account_id = $3 AND provider = $2 AND NOT unlinking
                                                 AND state NOT IN ('disabled', 'revoked', 'suspended'))",
        link.to_string(),
        provider.as_str(),
        account.to_string(),
    )?)
}
