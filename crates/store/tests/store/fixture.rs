//! A migrated database of either kind, and rows that many tests begin with.
//! Invariant: each test has a database of its own; it goes when the fixture goes.

use std::time::Duration;

use slipway_model::{
    AccountId, AccountKind, AutobuildId, Autotest, BuildId, BuildRule, BuilderId, CommitId, ImageTag, ProviderId, QueueLimits, RefName,
    RepositoryId, ScopeSet, SecretHash, SecretToken, TeamId, TeamName, Timestamp, TokenId, TokenKind, Visibility,
};
use slipway_store::accounts::NewAccount;
use slipway_store::builds::{self, Build, NewBuild, Terms};
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::tokens::NewToken;
use slipway_store::{Db, ReadTx, WriteTx, accounts, teams, tokens};

pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Text that has broken databases, drivers and pages.
pub const ODD: &str = "it's \"quoted\" `x`; DROP TABLE builds; -- \\ %_ 🦀 e\u{301} \u{202e}abc\u{200b} $1 ?1 :a\r\n\tend";

/// No limit of anything.
pub static FREE: QueueLimits = QueueLimits { installation: None, namespace: None, namespaces: std::collections::BTreeMap::new() };

pub fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A database with what it stands on.
pub struct Fixture {
    pub db: Db,
    pub address: String,
    folder: Option<tempfile::TempDir>,
    server: Option<slipway_testkit::postgres::Database>,
}

impl Fixture {
    /// The file of a SQLite database.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.as_ref().expect("a SQLite fixture").path().join("test.db")
    }
}

pub async fn empty_sqlite() -> Fixture {
    let folder = tempfile::tempdir().expect("folder");
    let address = format!("sqlite://{}", folder.path().join("test.db").display());
    let db = Db::open(&address).await.expect("opens");
    Fixture { db, address, folder: Some(folder), server: None }
}

pub async fn empty_postgres() -> Fixture {
    let server = slipway_testkit::postgres::fresh_database().await.expect("postgresql");
    let address = server.url();
    let db = Db::open(&address).await.expect("opens");
    Fixture { db, address, folder: None, server: Some(server) }
}

pub async fn sqlite() -> Fixture {
    let fixture = empty_sqlite().await;
    fixture.db.migrate().await.expect("migrates");
    fixture
}

pub async fn postgres() -> Fixture {
    let fixture = empty_postgres().await;
    fixture.db.migrate().await.expect("migrates");
    assert!(fixture.server.is_some());
    fixture
}

/// Makes of each `async fn name(db: &Db)` the tests `name::sqlite` and `name::postgres`.
macro_rules! on_both {
    ($($name:ident;)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$name(&crate::fixture::sqlite().await.db).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$name(&crate::fixture::postgres().await.db).await;
            }
        }
    )*};
}

pub async fn begin(db: &Db) -> WriteTx {
    db.write().await.expect("a change begins")
}

pub async fn look(db: &Db) -> ReadTx {
    db.read().await.expect("a view begins")
}

pub async fn done(tx: WriteTx) {
    tx.commit().await.expect("commits");
}

pub fn provider() -> ProviderId {
    "github".parse().expect("provider")
}

pub fn secret(kind: TokenKind) -> SecretHash {
    SecretToken::generate(kind).hash()
}

pub fn ref_name(text: &str) -> RefName {
    text.parse().expect("ref")
}

pub fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().expect("commit")
}

pub fn tag(name: &str) -> ImageTag {
    name.parse().expect("tag")
}

pub fn rule() -> BuildRule {
    BuildRule::default_for("main".parse().expect("pattern"))
}

/// The account of this name, made when it is new.
pub async fn account(db: &Db, name: &str) -> AccountId {
    let name = name.parse().expect("name");
    let mut tx = begin(db).await;
    if let Some(account) = accounts::get_by_name(&mut tx, &name).await.expect("query") {
        return account.id;
    }
    let id = accounts::insert(&mut tx, &NewAccount::user(&name), NOW).await.expect("inserts");
    done(tx).await;
    id
}

/// A new organization with its team `owners`, which is empty.
pub async fn organization(db: &Db, name: &str) -> (AccountId, TeamId) {
    let name = name.parse().expect("name");
    let mut tx = begin(db).await;
    let new = NewAccount { kind: AccountKind::Organization, ..NewAccount::user(&name) };
    let id = accounts::insert(&mut tx, &new, NOW).await.expect("inserts");
    let owners = teams::insert(&mut tx, id, &TeamName::owners(), "", NOW).await.expect("inserts");
    done(tx).await;
    (id, owners)
}

/// A new team with these members.
pub async fn team(db: &Db, organization: AccountId, name: &str, members: &[AccountId]) -> TeamId {
    let mut tx = begin(db).await;
    let id = teams::insert(&mut tx, organization, &name.parse().expect("name"), "", NOW).await.expect("inserts");
    for member in members {
        assert!(teams::add_member(&mut tx, id, *member, NOW).await.expect("adds"));
    }
    done(tx).await;
    id
}

/// A new token of the account; a limited one when there are repositories.
pub async fn token(db: &Db, account: AccountId, repositories: Option<&[RepositoryId]>) -> (TokenId, SecretHash) {
    let (hash, scopes) = (secret(TokenKind::Personal), ScopeSet::all());
    let new = NewToken { account, created_by: None, name: "ci", hash: &hash, scopes: &scopes, repositories, expires_at: None };
    let mut tx = begin(db).await;
    let id = tokens::insert(&mut tx, &new, NOW).await.expect("inserts");
    done(tx).await;
    (id, hash)
}

pub async fn repository(db: &Db, namespace: &str, name: &str) -> RepositoryId {
    let account = account(db, namespace).await;
    let mut tx = begin(db).await;
    let id = repositories::insert(&mut tx, account, &name.parse().expect("name"), "", Visibility::Private, NOW).await.expect("inserts");
    done(tx).await;
    id
}

pub fn autobuild(repository: RepositoryId) -> Autobuild {
    Autobuild {
        id: AutobuildId::new(),
        repository,
        provider: provider(),
        source_id: "42".into(),
        source_name: "acme/source".into(),
        default_branch: "main".into(),
        autotest: Autotest::Off,
        approve_external: true,
        cancel_superseded: true,
        environment_sealed: b"sealed".to_vec(),
        updated_at: NOW,
    }
}

/// A repository with settings and one rule.
#[derive(Clone)]
pub struct World {
    pub account: AccountId,
    pub repository: RepositoryId,
    pub autobuild: AutobuildId,
    pub rule: BuildRule,
}

pub async fn world(db: &Db, name: &str) -> World {
    world_of(db, "acme", name).await
}

/// In the namespace of this account.
pub async fn world_of(db: &Db, namespace: &str, name: &str) -> World {
    let account = account(db, namespace).await;
    let repository = repository(db, namespace, name).await;
    let (settings, rule) = (autobuild(repository), rule());
    let mut tx = begin(db).await;
    repositories::upsert_autobuild(&mut tx, &settings).await.expect("writes");
    repositories::replace_rules(&mut tx, settings.id, std::slice::from_ref(&rule)).await.expect("writes");
    done(tx).await;
    World { account, repository, autobuild: settings.id, rule }
}

impl World {
    /// A push in the log and the build that answers it.
    pub async fn queue(&self, tx: &mut WriteTx, now: Timestamp) -> BuildId {
        let name = ref_name("refs/heads/main");
        let (after, tags) = (commit('a'), [tag("latest")]);
        let event = NewRefEvent {
            autobuild: self.autobuild,
            name: &name,
            before: None,
            after: Some(&after),
            origin: Origin::Delivery,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        let (event, seq) = refs::insert(tx, &event, now).await.expect("appends");
        let provider = provider();
        let new = NewBuild {
            repository: self.repository,
            autobuild: self.autobuild,
            rule: &self.rule,
            ref_event: event,
            provider: &provider,
            source_id: "42",
            source_name: "acme/source",
            source_ref: &name,
            ref_seq: seq,
            commit: &after,
            commit_message: None,
            commit_author: None,
            tags: &tags,
            no_cache: false,
            terms: &Terms::of_push(),
            cause: "push",
            started_by: None,
            retry_of: None,
        };
        builds::insert(tx, &new, now).await.expect("inserts").expect("a new event").0
    }

    pub async fn queued(&self, db: &Db) -> BuildId {
        let mut tx = begin(db).await;
        let id = self.queue(&mut tx, NOW).await;
        done(tx).await;
        id
    }

    /// A build that `builder` holds until 30 s after `NOW`.
    pub async fn running(&self, db: &Db, builder: BuilderId) -> Build {
        let id = self.queued(db).await;
        let mut tx = begin(db).await;
        let build = builds::claim(&mut tx, builder, &secret(TokenKind::Build), &crate::fixture::FREE, NOW, after(30))
            .await
            .expect("claims")
            .expect("one waits");
        assert_eq!(build.id, id, "the queue held another build");
        done(tx).await;
        build
    }
}

pub async fn build(db: &Db, id: BuildId) -> Build {
    builds::get_any(&mut look(db).await, id).await.expect("query").expect("stands")
}
