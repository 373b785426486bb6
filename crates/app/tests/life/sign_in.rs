//! Signing in: one answer for every cause, growing delays, sessions that end and get new ids, changed passwords.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use secrecy::SecretString;
use slipway_app::{App, Caller, ClientInfo, Config, Error, Keys, Refusal, Role, SignIn, SignedIn};
use slipway_model::{AccountName, SecretToken, TokenKind};
use slipway_store::sessions::NewSession;
use slipway_store::{accounts, second_factors, sessions};

use crate::world::{World, client};

pub const PASSWORD: &str = "correct horse";

pub fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

/// The refusal of something that must have been refused.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<Refusal> {
    match result {
        Err(Error::Refused(refusal)) => Ok(refusal),
        other => bail!("not refused: {other:?}"),
    }
}

/// Its code.
pub fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<&'static str> {
    Ok(refusal(result)?.code)
}

pub fn name(text: &str) -> Result<AccountName> {
    Ok(text.parse()?)
}

pub fn from(address: &str) -> ClientInfo {
    ClientInfo { address: address.into(), user_agent: "test".into() }
}

/// Signs in somebody who has no second factor.
pub async fn enter(app: &App, name: &str, password: &str, from: &ClientInfo) -> Result<SignIn> {
    match app.sign_in(name, &secret(password), from).await? {
        SignedIn::Session(session) => Ok(session),
        SignedIn::SecondFactor(_) => bail!("a second factor was asked for"),
    }
}

pub async fn caller(app: &App, token: &SecretToken) -> Result<Caller> {
    app.caller_by_session(token, "192.0.2.1").await?.context("the session stands")
}

async fn is_signed_in(app: &App, token: &SecretToken) -> Result<bool> {
    Ok(app.caller_by_session(token, "192.0.2.1").await?.is_some())
}

async fn try_wrong(app: &App, name: &str, address: &str) -> Result<Refusal> {
    refusal(app.sign_in(name, &secret("wrong password"), &from(address)).await)
}

#[tokio::test]
async fn every_cause_has_one_answer() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    let admin = world.administrator("root").await?;
    world.app.create_service_account(&world.app.administrator(&admin)?, "robot").await?;
    world.app.create_organization(&admin, "acme", "").await?;
    let mut answers = Vec::new();
    for (at, (who, password)) in [
        ("ada", "wrong password".to_owned()),
        ("nobody", PASSWORD.to_owned()),
        ("No Name at all!", PASSWORD.to_owned()),
        ("", String::new()),
        ("robot", PASSWORD.to_owned()),
        ("robot", String::new()),
        ("acme", PASSWORD.to_owned()),
        ("ada", "x".repeat(100_000)),
        ("ada\0", PASSWORD.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        answers.push(refusal(world.app.sign_in(who, &secret(&password), &from(&format!("198.51.100.{at}"))).await)?);
    }
    assert_eq!(answers[0].code, "sign_in");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    Ok(())
}

#[tokio::test]
async fn failures_of_a_name_slow_it_down_whether_somebody_has_it_or_not() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    for who in ["ada", "nobody"] {
        for attempt in 0..6 {
            assert_eq!(try_wrong(&world.app, who, "192.0.2.1").await?.code, "sign_in", "{who} {attempt}");
        }
        for wait in [1, 2, 4] {
            let refused = try_wrong(&world.app, who, "198.51.100.7").await?;
            assert_eq!((refused.code, refused.retry_after), ("too_many_attempts", Some(Duration::from_secs(wait))), "{who}");
            world.wait(wait - 1);
            world.clock.advance(Duration::from_millis(999));
            assert_eq!(try_wrong(&world.app, who, "198.51.100.7").await?.code, "too_many_attempts");
            world.clock.advance(Duration::from_millis(1));
            assert_eq!(try_wrong(&world.app, who, "198.51.100.7").await?.code, "sign_in", "{who} after {wait}");
        }
        // The right password has to wait too, or waiting would tell that it is right.
        assert_eq!(code(world.app.sign_in(who, &secret(PASSWORD), &client()).await)?, "too_many_attempts");
        world.wait(8);
    }
    enter(&world.app, "ada", PASSWORD, &client()).await?;
    // Whoever has the password begins anew.
    for _ in 0..6 {
        assert_eq!(try_wrong(&world.app, "ada", "203.0.113.1").await?.code, "sign_in");
    }
    assert_eq!(try_wrong(&world.app, "ada", "203.0.113.1").await?.code, "too_many_attempts");
    Ok(())
}

#[tokio::test]
async fn failures_of_an_address_slow_it_down_over_all_names() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    for attempt in 0..21 {
        let who = format!("guess-{attempt}");
        assert_eq!(try_wrong(&world.app, &who, "2001:db8::1").await?.code, "sign_in", "{attempt}");
        if attempt % 5 == 1 {
            // An attacker's own account in between changes nothing.
            enter(&world.app, "ada", PASSWORD, &from("2001:db8::1")).await?;
        }
    }
    let refused = try_wrong(&world.app, "another", "2001:db8::ffff").await?;
    assert_eq!((refused.code, refused.retry_after), ("too_many_attempts", Some(Duration::from_secs(1))));
    assert_eq!(code(world.app.sign_in("ada", &secret(PASSWORD), &from("2001:db8::1")).await)?, "too_many_attempts");
    enter(&world.app, "ada", PASSWORD, &from("2001:db8:0:1::1")).await?;
    world.wait(1);
    enter(&world.app, "ada", PASSWORD, &from("2001:db8::1")).await?;
    // After an hour without a failure the address begins anew.
    world.wait(3600);
    for attempt in 0..21 {
        assert_eq!(try_wrong(&world.app, &format!("later-{attempt}"), "2001:db8::1").await?.code, "sign_in", "{attempt}");
    }
    assert_eq!(try_wrong(&world.app, "another", "2001:db8::1").await?.code, "too_many_attempts");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_at_once_gain_nothing() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    let app = world.app;
    let mut tries = tokio::task::JoinSet::new();
    for attempt in 0..24 {
        let app = Arc::clone(&app);
        tries.spawn(async move { try_wrong(&app, "ada", &format!("198.51.100.{attempt}")).await.map(|refused| refused.code) });
    }
    let codes = tries.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(codes.iter().filter(|code| **code == "sign_in").count(), 6, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "too_many_attempts").count(), 18, "{codes:?}");
    Ok(())
}

#[tokio::test]
async fn another_process_on_the_same_database_knows_the_failures() -> Result<()> {
    let world = World::new().await?;
    let other = App::new(
        world.app.db().clone(),
        world.clock.clone(),
        Keys::derive(&[1; 32]),
        [],
        Config::new(world.app.config().public_url.clone()),
    );
    for attempt in 0..6 {
        let app = if attempt % 2 == 0 { &world.app } else { &other };
        assert_eq!(try_wrong(app, "ada", "192.0.2.1").await?.code, "sign_in");
    }
    assert_eq!(try_wrong(&world.app, "ada", "192.0.2.1").await?.code, "too_many_attempts");
    assert_eq!(try_wrong(&other, "ada", "192.0.2.1").await?.code, "too_many_attempts");
    Ok(())
}

#[tokio::test]
async fn each_sign_in_is_a_session_of_its_own_that_is_listed_and_ended() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let agent = ClientInfo { address: "203.0.113.9".into(), user_agent: format!("Browser\r\n\u{1b}[1m{}", "x".repeat(1000)) };
    let second = enter(&world.app, "ada", PASSWORD, &agent).await?;
    let third = enter(&world.app, "ada", PASSWORD, &client()).await?;
    assert_ne!(second.token.expose(), third.token.expose());
    let listed = world.app.list_sessions(&ada).await?;
    assert_eq!(listed.len(), 3);
    assert_eq!((listed[1].address.as_str(), listed[1].user_agent.len()), ("203.0.113.9", 200));
    assert!(!listed[1].user_agent.chars().any(char::is_control));

    let bob = world.person("bob").await?;
    assert!(matches!(world.app.end_session(&bob, listed[1].id).await, Err(Error::NotFound)));
    assert!(is_signed_in(&world.app, &second.token).await?);
    world.app.end_session(&ada, listed[1].id).await?;
    assert!(!is_signed_in(&world.app, &second.token).await?);
    assert!(matches!(world.app.end_session(&ada, listed[1].id).await, Err(Error::NotFound)));

    assert_eq!(world.app.end_other_sessions(&ada).await?, 1);
    assert!(!is_signed_in(&world.app, &third.token).await?);
    assert_eq!(world.app.list_sessions(&ada).await?.len(), 1);
    world.app.sign_out(&ada).await?;
    assert!(!world.app.still_stands(&ada).await?);
    assert!(world.app.still_stands(&bob).await?);
    Ok(())
}

#[tokio::test]
async fn a_change_of_rights_by_others_gives_a_session_a_new_id() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    world.person("ada").await?;
    let first = enter(&world.app, "ada", PASSWORD, &client()).await?;
    let ada = caller(&world.app, &first.token).await?;
    assert!(!ada.session_renewal_due());
    let session = ada.session().context("a browser")?;
    assert!(world.app.renew_session(session).await?.is_none(), "not due");

    world.app.set_administrator(&world.app.administrator(&root)?, &name("ada")?, Role::Administrator).await?;
    assert!(caller(&world.app, &first.token).await?.session_renewal_due());
    world.wait(100);
    let renewed = world.app.renew_session(session).await?.context("due")?;
    assert_eq!(renewed.life, Duration::from_secs(30 * 24 * 3600 - 100), "the session itself is no longer than before");
    assert!(world.app.renew_session(session).await?.is_none(), "once");
    assert!(!caller(&world.app, &renewed.token).await?.session_renewal_due());
    // Requests under way still come with the former id.
    assert!(!caller(&world.app, &first.token).await?.session_renewal_due());
    world.wait(60);
    assert!(!is_signed_in(&world.app, &first.token).await?);
    assert!(is_signed_in(&world.app, &renewed.token).await?);
    Ok(())
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_gives_this_one_a_new_id() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    let (here, there) = (enter(&world.app, "ada", PASSWORD, &client()).await?, enter(&world.app, "ada", PASSWORD, &client()).await?);
    let ada = caller(&world.app, &here.token).await?;
    let new = secret("battery staple");
    let refused = refusal(world.app.change_password(&ada, &secret("wrong password"), &new, &client()).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("password_wrong", Some("current")));
    let refused = refusal(world.app.change_password(&ada, &secret(PASSWORD), &secret("short"), &client()).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("password_length", Some("new")));
    assert!(is_signed_in(&world.app, &there.token).await?);

    let fresh = world.app.change_password(&ada, &secret(PASSWORD), &new, &client()).await?.context("a browser gets a session")?;
    assert_ne!(fresh.token.expose(), here.token.expose());
    assert!(!is_signed_in(&world.app, &here.token).await?, "the former id is worth nothing");
    assert!(!is_signed_in(&world.app, &there.token).await?);
    assert_eq!(world.app.list_sessions(&caller(&world.app, &fresh.token).await?).await?.len(), 1);
    assert_eq!(try_wrong(&world.app, "ada", "192.0.2.1").await?.code, "sign_in");
    assert_eq!(code(world.app.sign_in("ada", &secret(PASSWORD), &client()).await)?, "sign_in", "the former password");
    enter(&world.app, "ada", "battery staple", &client()).await?;
    Ok(())
}

#[tokio::test]
async fn a_program_with_the_account_scope_changes_the_password_too() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let (all, reads) = (world.token(&ada, "account").await?, world.token(&ada, "repo:read").await?);
    assert_eq!(code(world.app.change_password(&reads, &secret(PASSWORD), &secret("battery staple"), &client()).await)?, "scope_missing");
    assert!(world.app.change_password(&all, &secret(PASSWORD), &secret("battery staple"), &client()).await?.is_none(), "no browser");
    assert!(!world.app.still_stands(&ada).await?, "every session ended");
    assert!(world.app.still_stands(&all).await?, "tokens stay");
    Ok(())
}

#[tokio::test]
async fn guessing_a_password_inside_of_a_session_is_slowed_down_apart_from_sign_ins() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    // Strangers who guess at the door do not bar the person inside.
    for _ in 0..6 {
        assert_eq!(try_wrong(&world.app, "ada", "198.51.100.1").await?.code, "sign_in");
    }
    assert_eq!(try_wrong(&world.app, "ada", "198.51.100.1").await?.code, "too_many_attempts");
    let guess = || async { code(world.app.change_password(&ada, &secret("wrong password"), &secret("battery staple"), &client()).await) };
    for _ in 0..6 {
        assert_eq!(guess().await?, "password_wrong");
    }
    assert_eq!(guess().await?, "too_many_attempts");
    let right = world.app.change_password(&ada, &secret(PASSWORD), &secret("battery staple"), &client()).await;
    assert_eq!(code(right)?, "too_many_attempts");
    world.wait(1);
    assert!(world.app.change_password(&ada, &secret(PASSWORD), &secret("battery staple"), &client()).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn what_changes_stands_in_the_audit_log_without_secrets() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    world.person("ada").await?;
    let session = enter(&world.app, "ada", PASSWORD, &from("203.0.113.9")).await?;
    let ada = caller(&world.app, &session.token).await?;
    let fresh = world.app.change_password(&ada, &secret(PASSWORD), &secret("battery staple"), &client()).await?.context("a session")?;
    let ada = caller(&world.app, &fresh.token).await?;
    world.app.update_account(&ada, "  Ada Lovelace ").await?;
    assert_eq!(caller(&world.app, &fresh.token).await?.account().display_name, "Ada Lovelace");
    world.app.sign_out(&ada).await?;
    let reader = world.app.installation_audit(&root)?;
    let entries = world.app.list_audit(&reader, &slipway_app::AuditFilter::default(), None, 100).await?;
    let of_ada: Vec<&str> = entries.iter().rev().filter(|entry| entry.actor == "ada").map(|entry| entry.action.as_str()).collect();
    assert_eq!(of_ada, ["session.begin", "session.begin", "account.password", "account.change", "session.end"]);
    let begun = entries.iter().find(|entry| entry.address == "203.0.113.9").context("where from")?;
    assert_eq!((begun.via.as_str(), begun.namespace.as_str()), ("sign-in", "ada"));
    assert!(entries.iter().any(|entry| entry.action == "account.create" && entry.object == "ada" && entry.via == "command line"));
    let text = format!("{entries:?}");
    for hidden in [PASSWORD, "battery staple", "argon2", session.token.expose(), fresh.token.expose()] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    Ok(())
}

#[tokio::test]
async fn display_names_are_bounded() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    for bad in ["x".repeat(101), "a\nb".into(), "a\0b".into()] {
        assert_eq!(code(world.app.update_account(&ada, &bad).await)?, "display_name");
    }
    assert_eq!(world.app.update_account(&ada, &"é".repeat(100)).await?.display_name.chars().count(), 100);
    assert_eq!(world.app.update_account(&ada, " ").await?.display_name, "ada", "nothing is the name");
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_never_given_out_is_nobodys() -> Result<()> {
    let world = World::new().await?;
    world.person("ada").await?;
    assert!(!is_signed_in(&world.app, &SecretToken::generate(TokenKind::Session)).await?);
    Ok(())
}

/// Gives something the time in which it would surely have ended, were it not waiting for a change under way.
pub async fn still_waits<T: std::fmt::Debug>(what: impl Future<Output = T>) -> Result<()> {
    match tokio::time::timeout(Duration::from_secs(2), what).await {
        Ok(ended) => bail!("it waited for nothing: {ended:?}"),
        Err(_) => Ok(()),
    }
}

/// A password that was checked a moment before it changed opens no session that outlives the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_waits_for_a_change_of_the_password() -> Result<()> {
    let world = World::on_postgres(|_| {}).await?;
    let ada = world.person("ada").await?;
    let bob = world.app.add_user("bob", Role::User, &secret("battery staple")).await?;
    let other = accounts::get_password_hash(&mut world.app.db().read().await?, bob).await?.context("a password")?;
    let mut change = world.app.db().write().await?;
    accounts::lock(&mut change, ada.account().id).await?;
    accounts::set_password_hash(&mut change, ada.account().id, &other).await?;
    sessions::delete_all(&mut change, ada.account().id).await?;
    let (old, from) = (secret(PASSWORD), client());
    let mut sign_in = std::pin::pin!(world.app.sign_in("ada", &old, &from));
    still_waits(sign_in.as_mut()).await?;
    change.commit().await?;
    assert_eq!(code(sign_in.await)?, "sign_in");
    assert!(world.app.list_sessions(&ada).await?.is_empty());
    Ok(())
}

/// And one without a code outlives no second factor.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_waits_for_a_second_factor() -> Result<()> {
    let world = World::on_postgres(|_| {}).await?;
    let ada = world.person("ada").await?;
    let (id, now) = (ada.account().id, world.clock.now());
    let mut change = world.app.db().write().await?;
    accounts::lock(&mut change, id).await?;
    second_factors::begin(&mut change, id, b"sealed", now).await?;
    second_factors::confirm(&mut change, id, b"sealed", 1, now).await?;
    let (password, from) = (secret(PASSWORD), client());
    let mut sign_in = std::pin::pin!(world.app.sign_in("ada", &password, &from));
    still_waits(sign_in.as_mut()).await?;
    change.commit().await?;
    assert!(matches!(sign_in.await?, SignedIn::SecondFactor(_)));
    assert_eq!(world.app.list_sessions(&ada).await?.len(), 1, "the one before alone");
    Ok(())
}

/// Who ends every session waits for a sign-in that is about to become one, and ends it too.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_sessions_waits_for_sign_ins_under_way() -> Result<()> {
    let world = World::on_postgres(|_| {}).await?;
    let ada = world.person("ada").await?;
    let new = secret("battery staple");
    let mut finishing = world.app.db().write().await?;
    accounts::lock(&mut finishing, ada.account().id).await?;
    let mut recovery = std::pin::pin!(world.app.recover_user("ada", &new));
    still_waits(recovery.as_mut()).await?;
    let mut others = std::pin::pin!(world.app.end_other_sessions(&ada));
    still_waits(others.as_mut()).await?;
    let late = SecretToken::generate(TokenKind::Session);
    let session = NewSession {
        account: ada.account().id,
        token: &late.hash(),
        address: "",
        user_agent: "",
        expires_at: world.clock.now().plus(Duration::from_secs(60)),
    };
    sessions::insert(&mut finishing, &session, world.clock.now()).await?;
    finishing.commit().await?;
    let (recovered, ended) = tokio::join!(recovery, others);
    recovered?;
    ended?;
    assert!(!is_signed_in(&world.app, &late).await?);
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_too_long_is_named() -> Result<()> {
    let world = World::new().await?;
    let token = world.app.begin_setup().await?.context("nobody is here yet")?;
    let long = format!("{}@example.com", "x".repeat(243));
    let refused = refusal(world.app.finish_setup(token.expose(), "root", Some(&long), &secret(PASSWORD)).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("email", Some("email")));
    assert!(refused.detail.contains("255 bytes") && refused.detail.contains("254"), "{}", refused.detail);
    world.app.finish_setup(token.expose(), "root", Some(&long[1..]), &secret(PASSWORD)).await?;
    Ok(())
}
