//! The two schemas are one, whatever the dialect; migrations bring an older database to it and refuse a newer one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use slipway_model::{AccountId, RepositoryId, SessionId, TokenId, TokenKind};
use slipway_store::accounts::NewAccount;
use slipway_store::{Backend, Db, StoreError, accounts, repositories, sessions, tokens};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::fixture::{Fixture, NOW, account, after, begin, done, empty_postgres, empty_sqlite, look, postgres, repository, secret, sqlite};

/// What both databases must agree on, one line each.
type Lines = BTreeSet<String>;

async fn open_sqlite(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("opens")
}

async fn sqlite_lines(connection: &mut SqliteConnection) -> Lines {
    let mut lines = Lines::new();
    let tables: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("tables");
    for (table,) in tables {
        // A primary key is never NULL: PostgreSQL says so itself, in SQLite every writer passes a text.
        let columns: Vec<(String, String, bool, Option<String>)> =
            sqlx::query_as("SELECT name, type, \"notnull\" OR pk > 0, dflt_value FROM pragma_table_info($1)")
                .bind(&table)
                .fetch_all(&mut *connection)
                .await
                .expect("columns");
        for (name, kind, required, default) in columns {
            let default = default.map(|default| default.to_lowercase());
            lines.insert(format!("column {table}.{name} {} required={required} default={default:?}", kind.to_lowercase()));
        }
        let indexes: Vec<(String, bool, bool)> = sqlx::query_as("SELECT name, \"unique\", partial FROM pragma_index_list($1)")
            .bind(&table)
            .fetch_all(&mut *connection)
            .await
            .expect("indexes");
        for (index, unique, partial) in indexes {
            let columns: Vec<(String,)> = sqlx::query_as("SELECT name FROM pragma_index_info($1) ORDER BY seqno")
                .bind(&index)
                .fetch_all(&mut *connection)
                .await
                .expect("index");
            let columns = columns.into_iter().map(|(name,)| name).collect::<Vec<_>>().join(",");
            lines.insert(format!("index {table}({columns}) unique={unique} partial={partial}"));
        }
        let keys: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT group_concat(\"from\", ','), \"table\", on_delete FROM (SELECT * FROM pragma_foreign_key_list($1) ORDER BY id, seq) GROUP BY id",
        )
        .bind(&table)
        .fetch_all(&mut *connection)
        .await
        .expect("keys");
        for (columns, target, action) in keys {
            lines.insert(format!("key {table}({columns}) to {target} {}", action.to_lowercase()));
        }
    }
    lines
}

async fn postgres_lines(connection: &mut PgConnection) -> Lines {
    let mut lines = Lines::new();
    let columns: Vec<(String, String, String, bool, Option<String>)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO', column_default::text FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("columns");
    for (table, name, kind, required, default) in columns {
        let kind = if kind == "bytea" { "blob".to_owned() } else { kind };
        let default = default.map(|default| default.trim_end_matches("::text").to_lowercase());
        lines.insert(format!("column {table}.{name} {kind} required={required} default={default:?}"));
    }
    let indexes: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "SELECT t.relname::text, (SELECT string_agg(a.attname::text, ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
                                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum), i.indisunique, i.indpred IS NOT NULL
         FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace s ON s.oid = t.relnamespace
         WHERE s.nspname = 'public' AND t.relname NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("indexes");
    for (table, columns, unique, partial) in indexes {
        lines.insert(format!("index {table}({columns}) unique={unique} partial={partial}"));
    }
    let keys: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT t.relname::text, (SELECT string_agg(a.attname::text, ',' ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
                                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum), f.relname::text,
                CASE c.confdeltype WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null' WHEN 'a' THEN 'no action' ELSE c.confdeltype::text END
         FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid WHERE c.contype = 'f'",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("keys");
    for (table, columns, target, action) in keys {
        lines.insert(format!("key {table}({columns}) to {target} {action}"));
    }
    lines
}

async fn lines(fixture: &Fixture) -> Lines {
    match fixture.db.backend() {
        Backend::Sqlite => sqlite_lines(&mut open_sqlite(&fixture.file()).await).await,
        Backend::Postgres => postgres_lines(&mut PgConnection::connect(&fixture.address).await.expect("connects")).await,
    }
}

#[tokio::test]
async fn both_databases_have_one_schema() {
    let (sqlite, postgres) = (lines(&sqlite().await).await, lines(&postgres().await).await);
    for expected in [
        "column builds.lease_until bigint required=false default=None",
        "column deliveries.body blob required=true default=None",
        "column tags.name text required=true default=None",
        "column tokens.is_limited boolean required=true default=Some(\"false\")",
        "column sessions.user_agent text required=true default=Some(\"''\")",
        "index teams(account_id) unique=true partial=true",
        "key team_members(account_id) to accounts cascade",
        "index builds(rule_id,ref_event_id) unique=true partial=false",
        "index deliveries(body_sha256,hook_id) unique=true partial=true",
        "key tags(repository_id,digest) to manifests cascade",
        "key hooks(autobuild_id) to autobuilds set null",
    ] {
        assert!(sqlite.contains(expected), "the comparison does not see `{expected}`");
    }
    let (only_sqlite, only_postgres): (Vec<_>, Vec<_>) = (sqlite.difference(&postgres).collect(), postgres.difference(&sqlite).collect());
    assert!(only_sqlite.is_empty() && only_postgres.is_empty(), "only SQLite: {only_sqlite:#?}\nonly PostgreSQL: {only_postgres:#?}");
}

fn folder(backend: Backend) -> PathBuf {
    let name = if backend == Backend::Sqlite { "sqlite" } else { "postgres" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name)
}

#[test]
fn both_folders_have_the_same_migrations() {
    let names = |backend| {
        let entries = std::fs::read_dir(folder(backend)).expect("migrations");
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(Backend::Sqlite), names(Backend::Postgres));
    assert!(names(Backend::Sqlite).contains("0001_core.sql"));
}

/// Brings a database to an older version.
async fn migrate_to(fixture: &Fixture, version: i64) {
    let mut migrations = Migrator::new(folder(fixture.db.backend())).await.expect("migrations").migrations.into_owned();
    migrations.retain(|migration| migration.version <= version);
    let migrator = Migrator::with_migrations(migrations);
    match fixture.db.backend() {
        Backend::Sqlite => migrator.run(&mut open_sqlite(&fixture.file()).await).await.expect("migrates"),
        Backend::Postgres => migrator.run(&mut PgConnection::connect(&fixture.address).await.expect("connects")).await.expect("migrates"),
    }
}

/// Runs a statement that an older version would have run.
async fn execute(fixture: &Fixture, sql: String) {
    let sql = sqlx::AssertSqlSafe(sql);
    let changed = match fixture.db.backend() {
        Backend::Sqlite => sqlx::query(sql).execute(&mut open_sqlite(&fixture.file()).await).await.map(|done| done.rows_affected()),
        Backend::Postgres => {
            let mut connection = PgConnection::connect(&fixture.address).await.expect("connects");
            sqlx::query(sql).execute(&mut connection).await.map(|done| done.rows_affected())
        }
    };
    assert_eq!(changed.expect("a statement of its version"), 1);
}

/// An account as version 1 and 2 wrote it.
async fn old_account(fixture: &Fixture, name: &str) -> AccountId {
    let (id, now) = (AccountId::new(), NOW.as_millis());
    execute(
        fixture,
        format!(
            "INSERT INTO accounts (id, name, kind, display_name, email, is_admin, password_hash, created_at)
             VALUES ('{id}', '{name}', 'user', '{name}', NULL, FALSE, '$argon2id$x', {now})"
        ),
    )
    .await;
    id
}

async fn an_older_database_keeps_its_rows(fixture: Fixture, newest: &Lines) {
    migrate_to(&fixture, 1).await;
    assert!(!lines(&fixture).await.iter().any(|line| line.contains(" manifests")), "version 1 knows no images");
    let id = old_account(&fixture, "ada").await;
    fixture.db.migrate().await.expect("migrates");
    fixture.db.migrate().await.expect("again is fine");
    assert_eq!(&lines(&fixture).await, newest);
    assert_eq!(accounts::get(&mut look(&fixture.db).await, id).await.expect("query").expect("kept").name.as_str(), "ada");
}

mod an_older_database_becomes_the_newest {
    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite() {
        let newest = super::lines(&super::sqlite().await).await;
        super::an_older_database_keeps_its_rows(super::empty_sqlite().await, &newest).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn postgres() {
        let newest = super::lines(&super::postgres().await).await;
        super::an_older_database_keeps_its_rows(super::empty_postgres().await, &newest).await;
    }
}

/// Version 3 gives every account its name to hold. Names that look alike were no offence before.
async fn people_are_brought_along(fixture: Fixture) {
    migrate_to(&fixture, 2).await;
    let mut ids = Vec::new();
    let old = ["acme-1", "acme_l", "acme_1", "ada", "modern", "modem", "under__score"];
    for name in old {
        ids.push(old_account(&fixture, name).await);
    }
    let (ada, now, then) = (ids[3], NOW.as_millis(), after(60).as_millis());
    let (session, token) = (secret(TokenKind::Session), secret(TokenKind::Personal));
    let (session_id, token_id, web) = (SessionId::new(), TokenId::new(), RepositoryId::new());
    for sql in [
        format!(
            "INSERT INTO sessions (id, account_id, token_hash, created_at, last_seen_at, expires_at, address)
             VALUES ('{session_id}', '{ada}', '{}', {now}, {now}, {then}, '::1')",
            session.to_hex()
        ),
        format!(
            "INSERT INTO tokens (id, account_id, name, token_hash, scopes, created_at) VALUES ('{token_id}', '{ada}', 'ci', '{}', 'repo:read', {now})",
            token.to_hex()
        ),
        format!(
            "INSERT INTO repositories (id, account_id, name, description, visibility, last_build_number, created_at)
             VALUES ('{web}', '{ada}', 'web', '', 'private', 0, {now})"
        ),
    ] {
        execute(&fixture, sql).await;
    }
    fixture.db.migrate().await.expect("migrates");
    let db = &fixture.db;
    for (name, id) in old.iter().zip(&ids) {
        let found = accounts::find(&mut look(db).await, &name.parse().expect("name")).await.expect("query").expect("keeps its name");
        assert_eq!((found.id, found.name.as_str(), found.created_at), (*id, *name, NOW));
    }
    let mut tx = look(db).await;
    assert_eq!(sessions::get_by_token(&mut tx, &session, NOW).await.expect("query").expect("still signed in").account, ada);
    let kept = tokens::get_by_hash(&mut tx, &token, NOW).await.expect("query").expect("still stands");
    assert_eq!((kept.account, kept.is_limited, kept.created_by), (ada, false, None));
    let path = ("ada".parse().expect("name"), "web".parse().expect("name"));
    assert_eq!(repositories::get_by_name(&mut tx, &path.0, &path.1).await.expect("query").expect("stands").id, web);
    drop(tx);
    // What looks like one of them is given to nobody any more, in whatever order they came.
    for alike in ["acme--l", "acme-l", "acme__1", "modem", "under__score", "under-score"] {
        let name = alike.parse().expect("name");
        let taken = accounts::insert(&mut begin(db).await, &NewAccount::user(&name), NOW).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))), "{alike}: {taken:?}");
    }
    // And all of them can be renamed and go.
    for (n, id) in ids.iter().enumerate() {
        let mut tx = begin(db).await;
        accounts::rename(
            &mut tx,
            *id,
            &format!("other-{}", ["aa", "bb", "cc", "dd", "ee", "ff", "gg"][n]).parse().expect("name"),
            after(1),
        )
        .await
        .expect("renames");
        assert_eq!(accounts::find(&mut tx, &old[n].parse().expect("name")).await.expect("query").expect("leads on").id, *id);
        done(tx).await;
    }
    let mut tx = begin(db).await;
    accounts::rename(&mut tx, ids[6], &"under__score".parse().expect("name"), after(2)).await.expect("goes back to a name from before");
    for id in ids {
        assert!(accounts::delete(&mut tx, id).await.expect("deletes"));
    }
    let name = "acme_l".parse().expect("name");
    accounts::insert(&mut tx, &NewAccount::user(&name), NOW).await.expect("free again");
}

mod an_older_database_with_people {
    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite() {
        super::people_are_brought_along(super::empty_sqlite().await).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn postgres() {
        super::people_are_brought_along(super::empty_postgres().await).await;
    }
}

fn backups(fixture: &Fixture) -> Vec<PathBuf> {
    let folder = fixture.file().parent().expect("a folder").to_owned();
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).expect("lists").map(|entry| entry.expect("entry").path()).collect();
    found.retain(|path| path.to_string_lossy().contains(".before-"));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_copied_before_it_is_migrated() {
    let fixture = empty_sqlite().await;
    fixture.db.migrate().await.expect("migrates");
    fixture.db.migrate().await.expect("again is fine");
    assert_eq!(backups(&fixture), Vec::<PathBuf>::new(), "nothing to save in a new database or without a migration");
    let fixture = empty_sqlite().await;
    migrate_to(&fixture, 1).await;
    let old = lines(&fixture).await;
    let ada = old_account(&fixture, "ada").await;
    // What an interrupted run left behind is no reason to fail, and is not mistaken for a copy.
    let newest = Migrator::new(folder(Backend::Sqlite)).await.expect("migrations").iter().map(|one| one.version).max().expect("some");
    std::fs::write(format!("{}.before-{newest}", fixture.file().display()), b"half a copy").expect("writes");
    fixture.db.migrate().await.expect("migrates");
    let copies = backups(&fixture);
    assert_eq!(copies.len(), 1, "{copies:?}");
    let mut copy = open_sqlite(&copies[0]).await;
    assert_eq!(sqlite_lines(&mut copy).await, old, "the schema before");
    let (rows,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM accounts WHERE id = $1").bind(ada.to_string()).fetch_one(&mut copy).await.expect("query");
    assert_eq!(rows, 1, "and its rows");
    let (check,): (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut copy).await.expect("query");
    assert_eq!(check, "ok");
}

async fn claim_newer(fixture: &Fixture) {
    const SQL: &str =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9000, 'future', $1, $2, 0)";
    let checksum = b"x".as_slice();
    let changed = match fixture.db.backend() {
        Backend::Sqlite => {
            let mut connection = open_sqlite(&fixture.file()).await;
            sqlx::query(SQL).bind(true).bind(checksum).execute(&mut connection).await.map(|done| done.rows_affected())
        }
        Backend::Postgres => {
            let mut connection = PgConnection::connect(&fixture.address).await.expect("connects");
            sqlx::query(SQL).bind(true).bind(checksum).execute(&mut connection).await.map(|done| done.rows_affected())
        }
    };
    assert_eq!(changed.expect("writes"), 1);
}

async fn a_newer_schema_is_refused_by(fixture: Fixture) {
    claim_newer(&fixture).await;
    let refused = fixture.db.migrate().await;
    assert!(matches!(refused, Err(StoreError::TooNew(9000))), "{refused:?}");
}

mod a_newer_schema_is_refused {
    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite() {
        let fixture = super::sqlite().await;
        let file = fixture.file();
        super::a_newer_schema_is_refused_by(fixture).await;
        assert!(!file.exists(), "the fixture cleans up after itself");
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn postgres() {
        super::a_newer_schema_is_refused_by(super::postgres().await).await;
    }
}

/// Many machines order text as people of a language do; pages and the catalog are in byte order everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_with_the_collation_of_a_language() {
    let server = slipway_testkit::postgres::fresh_database().await.expect("postgresql");
    let mut connection = PgConnection::connect(&server.url()).await.expect("connects");
    let (own,): (String,) = sqlx::query_as("SELECT current_database()::text").fetch_one(&mut connection).await.expect("query");
    let create = format!("CREATE DATABASE {own}_en TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.expect("creates");
    let db = Db::open(&server.url().replacen(&format!("/{own}"), &format!("/{own}_en"), 1)).await.expect("opens");
    db.migrate().await.expect("migrates");
    for name in ["a-z", "ab", "a0", "a_b", "ac-d", "acd"] {
        repository(&db, "zoe", name).await;
        repository(&db, &format!("x{name}"), "web").await;
    }
    let zoe = account(&db, "zoe").await;
    let mut tx = begin(&db).await;
    let listed = repositories::list(&mut tx, zoe, repositories::Eyes::owner(), None, 50).await.expect("lists");
    let listed: Vec<String> = listed.into_iter().map(|found| found.name.as_str().to_owned()).collect();
    let catalog = slipway_store::images::list_catalog(&mut tx, None, 50).await.expect("lists");
    assert_eq!((listed.len(), catalog.len()), (6, 12));
    assert!(listed.is_sorted(), "{listed:?}");
    // By namespace, then by name: `/` sorts before everything that a name may hold, except `-`.
    assert!(catalog.is_sorted_by_key(|path| path.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))), "{catalog:?}");
    let future = after(1);
    assert_eq!(slipway_store::images::delete_expired_uploads(&mut tx, future, 1).await.expect("query"), []);
    done(tx).await;
    db.close().await;
    let drop = format!("DROP DATABASE {own}_en");
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut connection).await.expect("drops");
}
