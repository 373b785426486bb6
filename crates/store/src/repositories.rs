//! Repositories, their autobuild settings and build rules.

use slipway_model::{
    AccountId, AccountName, AutobuildId, Autotest, BuildRule, PathFilter, ProviderId, RepositoryId, RepositoryName, RuleId, Timestamp,
    TokenId, Visibility,
};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_json, signed, time, to_json};

/// An image repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Identity; a repository made again under the same name has another.
    pub id: RepositoryId,
    /// The owning account.
    pub account: AccountId,
    /// The owning account's name.
    pub namespace: AccountName,
    /// Its name in the namespace.
    pub name: RepositoryName,
    /// One line or some, by its owner.
    pub description: String,
    /// Who may pull.
    pub visibility: Visibility,
    /// Since when it exists.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
pub(crate) struct RepositoryRow {
    id: String,
    account_id: String,
    namespace: String,
    name: String,
    description: String,
    visibility: String,
    created_at: i64,
}

impl RepositoryRow {
    pub(crate) fn into_repository(self) -> Result<Repository, StoreError> {
        Ok(Repository {
            id: read("repositories", &self.id)?,
            account: read("repositories", &self.account_id)?,
            namespace: read("repositories", &self.namespace)?,
            name: read("repositories", &self.name)?,
            description: self.description,
            visibility: read("repositories", &self.visibility)?,
            created_at: time(self.created_at),
        })
    }
}

/// Adds a repository.
///
/// # Errors
/// [`StoreError::Conflict`] when the namespace has one of that name.
pub async fn insert(
    tx: &mut WriteTx,
    account: AccountId,
    name: &RepositoryName,
    description: &str,
    visibility: Visibility,
    now: Timestamp,
) -> Result<RepositoryId, StoreError> {
    let id = RepositoryId::new();
    change!(
        tx,
        "INSERT INTO repositories (id, account_id, name, description, visibility, last_build_number, created_at) VALUES ($1, $2, $3, $4, $5, 0, $6)",
        id.to_string(),
        account.to_string(),
        name.as_str(),
        description,
        visibility.as_str(),
        now.as_millis(),
    )?;
    Ok(id)
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: RepositoryId) -> Result<Option<Repository>, StoreError> {
    fetch_optional!(
        RepositoryRow,
        tx,
        "SELECT r.id, r.account_id, a.name AS namespace, r.name, r.description, r.visibility, r.created_at
         FROM repositories r JOIN accounts a ON a.id = r.account_id WHERE r.id = $1",
        id.to_string(),
    )?
    .map(RepositoryRow::into_repository)
    .transpose()
}

/// By `namespace/name`; the namespace may be a former name of its account.
pub async fn get_by_name(tx: &mut ReadTx, namespace: &AccountName, name: &RepositoryName) -> Result<Option<Repository>, StoreError> {
    fetch_optional!(
        RepositoryRow,
        tx,
        "SELECT r.id, r.account_id, a.name AS namespace, r.name, r.description, r.visibility, r.created_at
         FROM names n JOIN accounts a ON a.id = n.account_id JOIN repositories r ON r.account_id = a.id
         WHERE n.name = $1 AND r.name = $2",
        namespace.as_str(),
        name.as_str(),
    )?
    .map(RepositoryRow::into_repository)
    .transpose()
}

/// With whose eyes the repositories of a namespace are looked at. What is public everybody sees.
#[derive(Debug, Clone, Copy)]
pub struct Eyes {
    viewer: Viewer,
    token: Option<TokenId>,
}

#[derive(Debug, Clone, Copy)]
enum Viewer {
    Owner,
    Account(AccountId),
    Stranger,
}

impl Eyes {
    /// The namespace's owner.
    #[must_use]
    pub fn owner() -> Self {
        Self { viewer: Viewer::Owner, token: None }
    }

    /// An account with what its teams give.
    #[must_use]
    pub fn account(account: AccountId) -> Self {
        Self { viewer: Viewer::Account(account), token: None }
    }

    /// Nobody in particular.
    #[must_use]
    pub fn stranger() -> Self {
        Self { viewer: Viewer::Stranger, token: None }
    }

    /// Only what that limited token works for.
    #[must_use]
    pub fn limited(self, token: TokenId) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Whether all of the namespace is seen, the account and the token, as the statements take them.
    pub(crate) fn values(self) -> (bool, String, String) {
        let (all, account) = match self.viewer {
            Viewer::Owner => (true, String::new()),
            Viewer::Account(account) => (false, account.to_string()),
            Viewer::Stranger => (false, String::new()),
        };
        (all, account, self.token.map_or_else(String::new, |token| token.to_string()))
    }
}

/// A page of an account's repositories that those eyes see, by name, after `after`.
pub async fn list(tx: &mut ReadTx, account: AccountId, eyes: Eyes, after: Option<&str>, limit: u32) -> Result<Vec<Repository>, StoreError> {
    let (all, viewer, token) = eyes.values();
    fetch_all!(
        RepositoryRow,
        tx,
        "SELECT r.id, r.account_id, a.name AS namespace, r.name, r.description, r.visibility, r.created_at
         FROM repositories r JOIN accounts a ON a.id = r.account_id
         WHERE r.account_id = $1 AND r.name > $2
           AND (r.visibility = 'public'
                OR (($3 OR EXISTS (SELECT 1 FROM team_repositories p JOIN team_members m ON m.team_id = p.team_id
                                   WHERE p.repository_id = r.id AND m.account_id = $4))
                    AND ($5 = '' OR EXISTS (SELECT 1 FROM token_repositories t WHERE t.repository_id = r.id AND t.token_id = $5))))
         ORDER BY r.name LIMIT $6",
        account.to_string(),
        after.unwrap_or(""),
        all,
        viewer,
        token,
        i64::from(limit),
    )?
    .into_iter()
    .map(RepositoryRow::into_repository)
    .collect()
}

/// Repositories of every namespace whose path contains the text: those that the account has a right over, and public ones. By path.
pub async fn search(tx: &mut ReadTx, account: AccountId, text: &str, limit: u32) -> Result<Vec<Repository>, StoreError> {
    let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    fetch_all!(
        RepositoryRow,
        tx,
        "SELECT r.id, r.account_id, a.name AS namespace, r.name, r.description, r.visibility, r.created_at
         FROM repositories r JOIN accounts a ON a.id = r.account_id
         WHERE a.name || '/' || r.name LIKE $1 ESCAPE '\\'
           AND (r.account_id = $2 OR r.visibility = 'public'
                OR EXISTS (SELECT 1 FROM team_repositories p JOIN team_members m ON m.team_id = p.team_id
                           WHERE p.repository_id = r.id AND m.account_id = $2)
                OR EXISTS (SELECT 1 FROM teams t JOIN team_members m ON m.team_id = t.id
                           WHERE t.account_id = r.account_id AND t.is_owners AND m.account_id = $2))
         ORDER BY a.name, r.name LIMIT $3",
        pattern,
        account.to_string(),
        i64::from(limit),
    )?
    .into_iter()
    .map(RepositoryRow::into_repository)
    .collect()
}

/// How many repositories an account has.
pub async fn count_repositories(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM repositories WHERE account_id = $1", account.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// Whether an account has something public: only then do strangers know of it.
pub async fn has_public(tx: &mut ReadTx, account: AccountId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM (SELECT id FROM repositories WHERE account_id = $1 AND visibility = 'public' LIMIT 1) AS seen",
        account.to_string()
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// Changes what people see of a repository; `None` leaves what stands at this moment.
pub async fn update(
    tx: &mut WriteTx,
    id: RepositoryId,
    description: Option<&str>,
    visibility: Option<Visibility>,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE repositories SET description = COALESCE($1, description), visibility = COALESCE($2, visibility) WHERE id = $3",
        description,
        visibility.map(Visibility::as_str),
        id.to_string()
    )?;
    Ok(())
}

/// Removes a repository with its rules, builds, deliveries, tags and links to blobs.
pub async fn delete(tx: &mut WriteTx, id: RepositoryId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM repositories WHERE id = $1", id.to_string())? > 0)
}

/// The next build number of a repository.
pub async fn next_build_number(tx: &mut WriteTx, id: RepositoryId) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "UPDATE repositories SET last_build_number = last_build_number + 1 WHERE id = $1 RETURNING last_build_number",
        id.to_string(),
    )?;
    row.map(|(number,)| count(number)).ok_or(StoreError::Conflict("the repository is gone".into()))
}

/// Gives back a number that was taken in this transaction and not used.
pub(crate) async fn return_build_number(tx: &mut WriteTx, id: RepositoryId) -> Result<(), StoreError> {
    change!(tx, "UPDATE repositories SET last_build_number = last_build_number - 1 WHERE id = $1", id.to_string())?;
    Ok(())
}

/// How a repository is built from its source.
#[derive(Debug, Clone)]
pub struct Autobuild {
    /// Identity; the associated data of the sealed environment.
    pub id: AutobuildId,
    /// Of which repository.
    pub repository: RepositoryId,
    /// Which provider holds the source.
    pub provider: ProviderId,
    /// The source repository's identity at the provider.
    pub source_id: String,
    /// The source repository's name: for display and addresses.
    pub source_name: String,
    /// The source's default branch when it was last read.
    pub default_branch: String,
    /// Whether pull requests are tested.
    pub autotest: Autotest,
    /// Whether those from outside of the source repository wait for a writer's word.
    pub approve_external: bool,
    /// Whether a newer push cancels builds of older ones that wait still.
    pub cancel_superseded: bool,
    /// Variables as sealed JSON.
    pub environment_sealed: Vec<u8>,
    /// When the settings were last changed.
    pub updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct AutobuildRow {
    id: String,
    repository_id: String,
    provider: String,
    source_id: String,
    source_name: String,
    default_branch: String,
    autotest: String,
    approve_external: bool,
    cancel_superseded: bool,
    environment_sealed: Vec<u8>,
    updated_at: i64,
}

impl AutobuildRow {
    fn into_autobuild(self) -> Result<Autobuild, StoreError> {
        Ok(Autobuild {
            id: read("autobuilds", &self.id)?,
            repository: read("autobuilds", &self.repository_id)?,
            provider: read("autobuilds", &self.provider)?,
            source_id: self.source_id,
            source_name: self.source_name,
            default_branch: self.default_branch,
            autotest: read("autobuilds", &self.autotest)?,
            approve_external: self.approve_external,
            cancel_superseded: self.cancel_superseded,
            environment_sealed: self.environment_sealed,
            updated_at: time(self.updated_at),
        })
    }
}

const AUTOBUILD: &str = "SELECT id, repository_id, provider, source_id, source_name, default_branch, autotest, approve_external, cancel_superseded, environment_sealed, updated_at FROM autobuilds WHERE repository_id = $1";
const AUTOBUILD_BY_ID: &str = "SELECT id, repository_id, provider, source_id, source_name, default_branch, autotest, approve_external, cancel_superseded, environment_sealed, updated_at FROM autobuilds WHERE id = $1";

/// The settings of a repository.
pub async fn get_autobuild(tx: &mut ReadTx, repository: RepositoryId) -> Result<Option<Autobuild>, StoreError> {
    fetch_optional!(AutobuildRow, tx, AUTOBUILD, repository.to_string())?.map(AutobuildRow::into_autobuild).transpose()
}

/// The settings by their identity.
pub async fn get_autobuild_by_id(tx: &mut ReadTx, id: AutobuildId) -> Result<Option<Autobuild>, StoreError> {
    fetch_optional!(AutobuildRow, tx, AUTOBUILD_BY_ID, id.to_string())?.map(AutobuildRow::into_autobuild).transpose()
}

/// All settings of an account's repositories that are built from a provider, at most 5,000.
pub async fn list_autobuilds_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<Autobuild>, StoreError> {
    fetch_all!(
        AutobuildRow,
        tx,
        "SELECT b.id, b.repository_id, b.provider, b.source_id, b.source_name, b.default_branch, b.autotest, b.approve_external, b.cancel_superseded, b.environment_sealed, b.updated_at
         FROM autobuilds b JOIN repositories r ON r.id = b.repository_id WHERE r.account_id = $1 AND b.provider = $2 ORDER BY b.id LIMIT 5000",
        account.to_string(),
        provider.as_str(),
    )?
    .into_iter()
    .map(AutobuildRow::into_autobuild)
    .collect()
}

/// Writes the settings (by their id; one per repository).
pub async fn upsert_autobuild(tx: &mut WriteTx, autobuild: &Autobuild) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO autobuilds (id, repository_id, provider, source_id, source_name, default_branch, autotest, approve_external, cancel_superseded,
                                 environment_sealed, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
         ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, source_id = excluded.source_id, source_name = excluded.source_name,
             default_branch = excluded.default_branch, autotest = excluded.autotest, approve_external = excluded.approve_external,
             cancel_superseded = excluded.cancel_superseded,
             environment_sealed = excluded.environment_sealed, updated_at = excluded.updated_at",
        autobuild.id.to_string(),
        autobuild.repository.to_string(),
        autobuild.provider.as_str(),
        autobuild.source_id.as_str(),
        autobuild.source_name.as_str(),
        autobuild.default_branch.as_str(),
        autobuild.autotest.as_str(),
        autobuild.approve_external,
        autobuild.cancel_superseded,
        autobuild.environment_sealed.as_slice(),
        autobuild.updated_at.as_millis(),
    )?;
    Ok(())
}

/// Removes the settings and rules of a repository; its hook stays until it is gone at the provider.
pub async fn delete_autobuild(tx: &mut WriteTx, id: AutobuildId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM autobuilds WHERE id = $1", id.to_string())? > 0)
}

/// How many repositories of an account are built from a provider.
pub async fn count_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM autobuilds b JOIN repositories r ON r.id = b.repository_id WHERE r.account_id = $1 AND b.provider = $2",
        account.to_string(),
        provider.as_str(),
    )?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// The names of an account's repositories that are built from a provider, at most 1,000.
pub async fn list_names_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<String>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "SELECT r.name FROM autobuilds b JOIN repositories r ON r.id = b.repository_id WHERE r.account_id = $1 AND b.provider = $2 ORDER BY r.name LIMIT 1000",
        account.to_string(),
        provider.as_str(),
    )?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

#[derive(sqlx::FromRow)]
struct RuleRow {
    id: String,
    source_type: String,
    source: String,
    tags: String,
    dockerfile: String,
    context: String,
    autobuild: bool,
    cache: bool,
    target: String,
    args: String,
    include_paths: String,
    exclude_paths: String,
}

impl RuleRow {
    fn into_rule(self) -> Result<BuildRule, StoreError> {
        Ok(BuildRule {
            id: read("rules", &self.id)?,
            source_type: read("rules", &self.source_type)?,
            source: read("rules", &self.source)?,
            tags: read("rules", &self.tags)?,
            dockerfile: read("rules", &self.dockerfile)?,
            context: read("rules", &self.context)?,
            autobuild: self.autobuild,
            cache: self.cache,
            target: read("rules", &self.target)?,
            args: read_json("rules", &self.args)?,
            paths: PathFilter { include: read("rules", &self.include_paths)?, exclude: read("rules", &self.exclude_paths)? },
        })
    }
}

/// The rules in order.
pub async fn list_rules(tx: &mut ReadTx, autobuild: AutobuildId) -> Result<Vec<BuildRule>, StoreError> {
    fetch_all!(
        RuleRow,
        tx,
        "SELECT id, source_type, source, tags, dockerfile, context, autobuild, cache, target, args, include_paths, exclude_paths
         FROM rules WHERE autobuild_id = $1 ORDER BY position LIMIT 1000",
        autobuild.to_string(),
    )?
    .into_iter()
    .map(RuleRow::into_rule)
    .collect()
}

/// Replaces all rules; a rule keeps its id when it stands in both lists.
pub async fn replace_rules(tx: &mut WriteTx, autobuild: AutobuildId, rules: &[BuildRule]) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM rules WHERE autobuild_id = $1", autobuild.to_string())?;
    for (position, rule) in (0_u64..).zip(rules) {
        insert_rule(tx, autobuild, signed(position), rule).await?;
    }
    Ok(())
}

async fn insert_rule(tx: &mut WriteTx, autobuild: AutobuildId, position: i64, rule: &BuildRule) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO rules (id, autobuild_id, position, source_type, source, tags, dockerfile, context, autobuild, cache, target, args,
                            include_paths, exclude_paths)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        rule.id.to_string(),
        autobuild.to_string(),
        position,
        rule.source_type.as_str(),
        rule.source.as_str(),
        rule.tags.as_str(),
        rule.dockerfile.as_str(),
        rule.context.as_str(),
        rule.autobuild,
        rule.cache,
        rule.target.as_str(),
        to_json(&rule.args),
        rule.paths.include.to_string(),
        rule.paths.exclude.to_string(),
    )?;
    Ok(())
}

/// Whether a rule id already belongs to other settings; such an id from a client is refused.
pub async fn rule_belongs_elsewhere(tx: &mut ReadTx, rule: RuleId, autobuild: AutobuildId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM rules WHERE id = $1 AND autobuild_id <> $2",
        rule.to_string(),
        autobuild.to_string()
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}
