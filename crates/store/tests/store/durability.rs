//! Transactions and the settings under which a commit survives a power cut.

use std::os::unix::fs::FileExt as _;

use slipway_store::{Backend, Db, StoreError, accounts};
use sqlx::{Connection as _, PgConnection};

use crate::fixture::{account, begin, done, look, postgres, repository, sqlite};

on_both! {
    a_view_does_not_change_under_the_reader;
    what_is_not_committed_never_was;
    read_then_write_never_loses;
    it_takes_a_change;
    a_refused_commit_changes_nothing;
}

async fn setting(db: &Db) -> Option<String> {
    accounts::get_setting(&mut look(db).await, "k").await.expect("query")
}

async fn a_view_does_not_change_under_the_reader(db: &Db) {
    account(db, "ada").await;
    let mut view = look(db).await;
    assert_eq!(accounts::count_accounts(&mut view).await.expect("query"), 1);
    account(db, "bob").await;
    let mut tx = begin(db).await;
    accounts::set_setting(&mut tx, "k", "v").await.expect("writes");
    done(tx).await;
    assert_eq!(accounts::count_accounts(&mut view).await.expect("query"), 1, "the same as before");
    assert_eq!(accounts::get_setting(&mut view, "k").await.expect("query"), None, "and the same in every table");
    assert_eq!(accounts::count_accounts(&mut look(db).await).await.expect("query"), 2);
    assert_eq!(setting(db).await.as_deref(), Some("v"));
}

async fn what_is_not_committed_never_was(db: &Db) {
    let mut tx = begin(db).await;
    accounts::set_setting(&mut tx, "k", "v").await.expect("writes");
    assert_eq!(accounts::get_setting(&mut tx, "k").await.expect("query").as_deref(), Some("v"), "its own change is seen inside");
    assert_eq!(setting(db).await, None, "and not outside");
    drop(tx);
    assert_eq!(setting(db).await, None);
    let mut tx = begin(db).await;
    assert_eq!(accounts::get_setting(&mut tx, "k").await.expect("query"), None, "the next writer does not inherit it");
    done(tx).await;
}

async fn read_then_write_never_loses(db: &Db) {
    let repository = repository(db, "ada", "web").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        writers.spawn(async move {
            for _ in 0..25 {
                let mut tx = begin(&db).await;
                accounts::count_accounts(&mut tx).await.expect("query");
                slipway_store::repositories::next_build_number(&mut tx, repository).await.expect("counts");
                done(tx).await;
            }
        });
    }
    writers.join_all().await;
    let mut tx = begin(db).await;
    assert_eq!(slipway_store::repositories::next_build_number(&mut tx, repository).await.expect("counts"), 201);
}

async fn it_takes_a_change(db: &Db) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        db.check_writable().await.expect("writes");
        seen.push(accounts::get_setting(&mut look(db).await, "probe").await.expect("query"));
    }
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "a row that stays as it is would not be written: {seen:?}");
    db.close().await;
    let closed = db.check_writable().await;
    assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
}

/// PostgreSQL gives up a change when one of its statements fails, and answers its commit with a rollback, as if all were well.
/// A caller who commits all the same is told, and gets nothing of it on either database.
async fn a_refused_commit_changes_nothing(db: &Db) {
    account(db, "ada").await;
    let mut tx = begin(db).await;
    accounts::set_setting(&mut tx, "k", "v").await.expect("writes");
    let name = "ada".parse().expect("name");
    let new = accounts::NewAccount::user(&name);
    let taken = accounts::insert(&mut tx, &new, crate::fixture::NOW).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    let committed = tx.commit().await;
    assert!(matches!(committed, Err(StoreError::Conflict(_))), "{committed:?}");
    assert_eq!(setting(db).await, None);
}

/// The byte of SQLite's header that says who may write: with 3 the file is read-only, for root too.
const WRITE_VERSION_AT: u64 = 18;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_is_unavailable() {
    let fixture = sqlite().await;
    account(&fixture.db, "ada").await;
    fixture.db.close().await;
    let file = std::fs::OpenOptions::new().write(true).open(fixture.file()).expect("opens");
    file.write_all_at(&[3], WRITE_VERSION_AT).expect("writes");
    drop(file);
    let db = Db::open(&fixture.address).await.expect("reading works");
    assert_eq!(accounts::count_accounts(&mut look(&db).await).await.expect("query"), 1);
    // SQLite begins a change even so; the first statement tells.
    let mut tx = begin(&db).await;
    let written = accounts::set_setting(&mut tx, "k", "v").await;
    drop(tx);
    for result in [written, db.check_writable().await] {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_unavailable() {
    let fixture = sqlite().await;
    let beside = fixture.file().with_extension("txt");
    std::fs::write(&beside, b"this is a text of more than a page, and no database\n".repeat(200)).expect("writes");
    for address in [format!("sqlite://{}", beside.display()), format!("sqlite://{}", beside.join("x").display())] {
        let opened = Db::open(&address).await.map(drop);
        assert!(matches!(opened, Err(StoreError::Unavailable(_))), "{address}: {opened:?}");
    }
    assert!(std::fs::read(&beside).expect("reads").starts_with(b"this is a text"), "and it is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_addresses_are_refused_without_their_secrets() {
    for address in ["mysql://root:hunter2@localhost/x", "hunter2", "", "postgres://user:hunter2@[::bad/x"] {
        let Err(error) = Db::open(address).await else { panic!("`{address}` was opened") };
        assert!(matches!(error, StoreError::Address(_)), "{error:?}");
        assert!(!error.to_string().contains("hunter2") || address == "hunter2", "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let opened = Db::open(&format!("postgres://nobody@127.0.0.1:{port}/x")).await.map(drop);
    assert!(matches!(opened, Err(StoreError::Unavailable(_))), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_forgets_is_refused() {
    let fixture = postgres().await;
    assert_eq!(fixture.db.backend(), Backend::Postgres);
    let mut connection = PgConnection::connect(&fixture.address).await.expect("connects");
    let (name,): (String,) = sqlx::query_as("SELECT current_database()::text").fetch_one(&mut connection).await.expect("query");
    for (level, fits) in [("off", false), ("local", true), ("on", true)] {
        let alter = format!("ALTER DATABASE {name} SET synchronous_commit = {level}");
        sqlx::query(sqlx::AssertSqlSafe(alter)).execute(&mut connection).await.expect("sets");
        let opened = Db::open(&fixture.address).await.map(drop);
        match opened {
            Ok(()) => assert!(fits, "{level}"),
            Err(error) => assert!(!fits && matches!(error, StoreError::Unsafe(_)), "{level}: {error:?}"),
        }
    }
}

/// A server whose administrator prefers another isolation: our transactions choose their own.
#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_of_the_server_does_not_matter() {
    let fixture = postgres().await;
    let mut connection = PgConnection::connect(&fixture.address).await.expect("connects");
    let (name,): (String,) = sqlx::query_as("SELECT current_database()::text").fetch_one(&mut connection).await.expect("query");
    let alter = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    sqlx::query(sqlx::AssertSqlSafe(alter)).execute(&mut connection).await.expect("sets");
    let db = Db::open(&fixture.address).await.expect("opens");
    read_then_write_never_loses(&db).await;
}

/// The settings themselves are read back beside the pools (`db.rs`); this is what they are for.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_in_the_log_of_the_file_at_once() {
    let fixture = sqlite().await;
    let log = fixture.file().with_extension("db-wal");
    let before = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut tx = begin(&fixture.db).await;
    accounts::set_setting(&mut tx, "k", "needle-in-the-log").await.expect("writes");
    done(tx).await;
    let after = std::fs::read(&log).expect("a write-ahead log");
    assert!(after.len() as u64 >= before, "it only grows");
    assert!(after.windows(17).any(|window| window == b"needle-in-the-log"));
    fixture.db.close().await;
    assert!(!log.exists(), "closing folds it into the file");
}
