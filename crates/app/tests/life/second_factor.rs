//! The second factor: set up, asked for, guessed, lost, turned off.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use slipway_app::{Caller, Error, PendingSignIn, SecondFactorState, SignedIn};
use slipway_model::{SecretToken, Timestamp, TokenKind};
use slipway_store::second_factors;

use crate::sign_in::{PASSWORD, caller, code, enter, refusal, secret};
use crate::world::{World, client};

/// What an authenticator shows, written from RFC 6238 apart from the product's own.
pub fn authenticator(secret_base32: &str, now: Timestamp) -> String {
    let key = data_encoding::BASE32_NOPAD.decode(secret_base32.as_bytes()).expect("base 32");
    let counter = u64::try_from(now.as_seconds() / 30).expect("after 1970");
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&key).expect("any length");
    mac.update(&counter.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] % 16);
    let word = u32::from_be_bytes([digest[offset], digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
    format!("{:06}", (word % (1 << 31)) % 1_000_000)
}

struct Enrolled {
    caller: Caller,
    secret: String,
    recovery: Vec<String>,
}

impl Enrolled {
    fn now(&self, world: &World) -> String {
        authenticator(&self.secret, world.clock.now())
    }

    /// Any code but those that are right around now.
    fn wrong(&self, world: &World) -> String {
        let right: Vec<String> = [-30_i64, 0, 30]
            .iter()
            .map(|s| authenticator(&self.secret, Timestamp::from_millis(world.clock.now().as_millis() + s * 1000)))
            .collect();
        (0..10).map(|n| format!("{n:06}")).find(|code| !right.contains(code)).expect("three of ten at most are right")
    }
}

/// `ada` with the second factor on; its first code is used up, and the next step has begun.
async fn enrolled(world: &World) -> Result<Enrolled> {
    let ada = world.person("ada").await?;
    let made = world.app.begin_second_factor(&ada, &secret(PASSWORD)).await?;
    let code = authenticator(&made.secret_base32, world.clock.now());
    let (recovery, session) = world.app.confirm_second_factor(&ada, &code, &client()).await?;
    world.wait(30);
    let caller = caller(&world.app, &session.context("a browser gets a session")?.token).await?;
    Ok(Enrolled { caller, secret: made.secret_base32, recovery })
}

async fn pending(world: &World, password: &str) -> Result<PendingSignIn> {
    match world.app.sign_in("ada", &secret(password), &client()).await? {
        SignedIn::SecondFactor(pending) => Ok(pending),
        SignedIn::Session(_) => bail!("no second factor was asked for"),
    }
}

async fn finish(world: &World, code: &str) -> Result<Result<slipway_app::SignIn, Error>> {
    let pending = pending(world, PASSWORD).await?;
    Ok(world.app.finish_sign_in(&pending.token, code, &client()).await)
}

#[tokio::test]
async fn it_is_set_up_confirmed_and_asked_for() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let elsewhere = enter(&world.app, "ada", PASSWORD, &client()).await?;
    assert_eq!(world.app.second_factor(&ada).await?.state, SecondFactorState::Off);
    assert_eq!(code(world.app.confirm_second_factor(&ada, "123456", &client()).await)?, "second_factor_off");
    assert_eq!(code(world.app.begin_second_factor(&ada, &secret("wrong password")).await)?, "password_wrong");
    let first = world.app.begin_second_factor(&ada, &secret(PASSWORD)).await?;
    let made = world.app.begin_second_factor(&ada, &secret(PASSWORD)).await?;
    assert_ne!(first.secret_base32, made.secret_base32);
    assert!(made.uri.starts_with("otpauth://totp/Slipway%20slipway.test:ada?secret="), "{}", made.uri);
    assert!(made.uri.contains(&made.secret_base32) && made.qr_svg.starts_with("<svg"));
    assert!(!format!("{made:?}").contains(&made.secret_base32));
    assert_eq!(world.app.second_factor(&ada).await?.state, SecondFactorState::Waiting);
    // Nothing is asked for yet, so nobody locks themselves out.
    enter(&world.app, "ada", PASSWORD, &client()).await?;

    let now = world.clock.now();
    let (void, right) = (authenticator(&first.secret_base32, now), authenticator(&made.secret_base32, now));
    if void != right {
        let refused = refusal(world.app.confirm_second_factor(&ada, &void, &client()).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("second_factor", Some("code")));
    }
    let spaced = format!(" {} {}", &right[..3], &right[3..]);
    let (codes, session) = world.app.confirm_second_factor(&ada, &spaced, &client()).await?;
    assert_eq!(codes.len(), 10);
    assert_eq!(codes.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
    assert!(!world.app.still_stands(&ada).await?, "this browser got a new id");
    assert!(world.app.caller_by_session(&elsewhere.token, "::1").await?.is_none(), "all others end");
    let ada = caller(&world.app, &session.context("a session")?.token).await?;
    let factor = world.app.second_factor(&ada).await?;
    assert_eq!((factor.state, factor.codes_left), (SecondFactorState::On, 10));
    assert_eq!(code(world.app.begin_second_factor(&ada, &secret(PASSWORD)).await)?, "second_factor_on");

    // The code that confirmed it was used by that.
    assert_eq!(code(finish(&world, &right).await?)?, "second_factor");
    world.wait(30);
    let next = authenticator(&made.secret_base32, world.clock.now());
    finish(&world, &next).await??;
    assert_eq!(code(finish(&world, &next).await?)?, "second_factor", "a code works once");
    Ok(())
}

#[tokio::test]
async fn clocks_may_differ_by_one_step() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    world.wait(300);
    let start = world.clock.now();
    let at = |steps: i64| Timestamp::from_millis(start.as_millis() + steps * 30_000);
    for steps in [-2, 2] {
        assert_eq!(code(finish(&world, &authenticator(&ada.secret, at(steps))).await?)?, "second_factor", "{steps}");
    }
    finish(&world, &authenticator(&ada.secret, at(-1))).await??;
    finish(&world, &authenticator(&ada.secret, at(1))).await??;
    // Between the two that were used: `last_step` only rises.
    assert_eq!(code(finish(&world, &authenticator(&ada.secret, at(0))).await?)?, "second_factor");
    Ok(())
}

#[tokio::test]
async fn a_password_alone_is_no_session_and_waits_only_so_long() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    let waiting = pending(&world, PASSWORD).await?;
    assert!(waiting.life <= Duration::from_secs(600));
    assert!(world.app.caller_by_session(&waiting.token, "::1").await?.is_none(), "it is no session");
    assert!(world.app.sign_in_waits(&waiting.token).await?);
    let unknown = SecretToken::generate(TokenKind::SignIn);
    assert!(!world.app.sign_in_waits(&unknown).await?);
    assert_eq!(code(world.app.finish_sign_in(&unknown, &ada.now(&world), &client()).await)?, "sign_in_expired");
    world.wait(600);
    assert_eq!(code(world.app.finish_sign_in(&waiting.token, &ada.now(&world), &client()).await)?, "sign_in_expired");

    let once = pending(&world, PASSWORD).await?;
    world.app.finish_sign_in(&once.token, &ada.now(&world), &client()).await?;
    world.wait(30);
    assert_eq!(code(world.app.finish_sign_in(&once.token, &ada.now(&world), &client()).await)?, "sign_in_expired");

    let before = pending(&world, PASSWORD).await?;
    world.app.change_password(&ada.caller, &secret(PASSWORD), &secret("battery staple"), &client()).await?;
    let late = world.app.finish_sign_in(&before.token, &ada.now(&world), &client()).await;
    assert_eq!(code(late)?, "sign_in_expired", "the password it began with is void");
    Ok(())
}

#[tokio::test]
async fn five_tries_for_one_password() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    let waiting = pending(&world, PASSWORD).await?;
    for _ in 0..4 {
        let refused = refusal(world.app.finish_sign_in(&waiting.token, &ada.wrong(&world), &client()).await)?;
        assert_eq!(refused.code, "second_factor");
    }
    assert_eq!(code(world.app.finish_sign_in(&waiting.token, &ada.wrong(&world), &client()).await)?, "sign_in_expired");
    assert!(!world.app.sign_in_waits(&waiting.token).await?);
    assert_eq!(code(world.app.finish_sign_in(&waiting.token, &ada.now(&world), &client()).await)?, "sign_in_expired");
    finish(&world, &ada.now(&world)).await??;
    Ok(())
}

#[tokio::test]
async fn whoever_knows_the_password_still_guesses_codes_slowly() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    // Six are free of delay, over as many sign-ins as one likes: a right password does not forget wrong codes.
    for _ in 0..6 {
        let refused = finish(&world, &ada.wrong(&world)).await?;
        assert_eq!(code(refused)?, "second_factor");
    }
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let refused = refusal(finish(&world, &ada.wrong(&world)).await?)?;
        assert_eq!((refused.code, refused.retry_after), ("too_many_attempts", Some(Duration::from_secs(wait))));
        assert_eq!(code(finish(&world, &ada.now(&world)).await?)?, "too_many_attempts", "not even the right one");
        world.wait(wait);
        assert_eq!(code(finish(&world, &ada.wrong(&world)).await?)?, "second_factor", "{wait}");
    }
    world.wait(900);
    finish(&world, &ada.now(&world)).await??;
    world.wait(30);
    assert_eq!(code(finish(&world, &ada.wrong(&world)).await?)?, "second_factor");
    finish(&world, &ada.now(&world)).await??;
    Ok(())
}

#[tokio::test]
async fn recovery_codes_stand_in_each_once() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    let typed = ada.recovery[0].to_uppercase().replace('-', " ");
    finish(&world, &typed).await??;
    assert_eq!(code(finish(&world, &ada.recovery[0]).await?)?, "second_factor", "used");
    finish(&world, &ada.recovery[1]).await??;
    assert_eq!(world.app.second_factor(&ada.caller).await?.codes_left, 8);

    let made = world.app.new_recovery_codes(&ada.caller, &secret(PASSWORD), &ada.now(&world)).await?;
    assert_eq!((made.len(), world.app.second_factor(&ada.caller).await?.codes_left), (10, 10));
    assert_eq!(code(finish(&world, &ada.recovery[2]).await?)?, "second_factor", "void");
    finish(&world, &made[9]).await??;
    world.wait(30);
    let refused = world.app.new_recovery_codes(&ada.caller, &secret("wrong password"), &ada.now(&world)).await;
    assert_eq!(code(refused)?, "password_wrong");
    let refused = world.app.new_recovery_codes(&ada.caller, &secret(PASSWORD), &ada.wrong(&world)).await;
    assert_eq!(code(refused)?, "second_factor");
    assert_eq!(world.app.second_factor(&ada.caller).await?.codes_left, 9);
    Ok(())
}

#[tokio::test]
async fn turning_it_off_takes_password_and_code() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    let end = |password: &'static str, code: String| {
        let (app, caller) = (&world.app, &ada.caller);
        async move { app.end_second_factor(caller, &secret(password), &code, &client()).await }
    };
    assert_eq!(code(end("wrong password", ada.now(&world)).await)?, "password_wrong");
    assert_eq!(code(end(PASSWORD, ada.wrong(&world)).await)?, "second_factor");
    pending(&world, PASSWORD).await?;
    let elsewhere = finish(&world, &ada.recovery[0]).await??;
    let session = end(PASSWORD, ada.now(&world)).await?.context("a browser gets a session")?;
    assert!(world.app.caller_by_session(&elsewhere.token, "::1").await?.is_none());
    assert!(!world.app.still_stands(&ada.caller).await?);
    let caller = caller(&world.app, &session.token).await?;
    let factor = world.app.second_factor(&caller).await?;
    assert_eq!((factor.state, factor.codes_left), (SecondFactorState::Off, 0));
    assert_eq!(code(world.app.new_recovery_codes(&caller, &secret(PASSWORD), "123456").await)?, "second_factor_off");
    enter(&world.app, "ada", PASSWORD, &client()).await?;
    Ok(())
}

#[tokio::test]
async fn the_secret_is_sealed_for_its_account() -> Result<()> {
    let world = World::new().await?;
    let ada = enrolled(&world).await?;
    let key = data_encoding::BASE32_NOPAD.decode(ada.secret.as_bytes())?;
    let mut tx = world.app.db().write().await?;
    let stored = second_factors::get(&mut tx, ada.caller.account().id).await?.context("stands")?;
    assert!(!stored.secret_sealed.windows(key.len()).any(|window| window == key));
    // A row that is moved to another account opens nothing there.
    drop(tx);
    let bob = world.person("bob").await?;
    let mut tx = world.app.db().write().await?;
    second_factors::begin(&mut tx, bob.account().id, &stored.secret_sealed, world.clock.now()).await?;
    second_factors::confirm(&mut tx, bob.account().id, &stored.secret_sealed, 0, world.clock.now()).await?;
    tx.commit().await?;
    let SignedIn::SecondFactor(waiting) = world.app.sign_in("bob", &secret(PASSWORD), &client()).await? else { bail!("asked") };
    let moved = world.app.finish_sign_in(&waiting.token, &ada.now(&world), &client()).await;
    assert!(matches!(moved, Err(Error::Sealed)), "{moved:?}");
    Ok(())
}

#[tokio::test]
async fn what_changes_stands_in_the_audit_log_without_codes() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let ada = enrolled(&world).await?;
    world.app.new_recovery_codes(&ada.caller, &secret(PASSWORD), &ada.now(&world)).await?;
    world.wait(30);
    world.app.end_second_factor(&ada.caller, &secret(PASSWORD), &ada.now(&world), &client()).await?;
    let entries = world.app.list_audit(&world.app.installation_audit(&root)?, &slipway_app::AuditFilter::default(), None, 100).await?;
    let actions: Vec<&str> =
        entries.iter().rev().map(|entry| entry.action.as_str()).filter(|action| !action.starts_with("session")).collect();
    assert!(actions.ends_with(&["second_factor.on", "recovery_codes.new", "second_factor.off"]), "{actions:?}");
    let text = format!("{entries:?}");
    assert!(!text.contains(&ada.secret) && ada.recovery.iter().all(|code| !text.contains(code)));
    Ok(())
}

#[tokio::test]
async fn what_is_longer_than_any_code_is_no_try() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let long = "1".repeat(33);
    world.app.begin_second_factor(&ada, &secret(PASSWORD)).await?;
    let is_named = |refused: slipway_app::Refusal| {
        assert_eq!((refused.code, refused.field.as_deref()), ("code_length", Some("code")));
        assert!(refused.detail.contains("33") && refused.detail.contains("32"), "{}", refused.detail);
    };
    is_named(refusal(world.app.confirm_second_factor(&ada, &long, &client()).await)?);
    let enrolled = enrolled(&world).await?;
    let pending = pending(&world, PASSWORD).await?;
    // More often than wrong codes are allowed.
    for _ in 0..10 {
        is_named(refusal(world.app.finish_sign_in(&pending.token, &long, &client()).await)?);
    }
    is_named(refusal(world.app.new_recovery_codes(&enrolled.caller, &secret(PASSWORD), &long).await)?);
    is_named(refusal(world.app.end_second_factor(&enrolled.caller, &secret(PASSWORD), &long, &client()).await)?);
    // A recovery code with a blank for every dash and around it still fits.
    let spaced = format!("  {}  ", enrolled.recovery[0].replace('-', " - "));
    assert_eq!(spaced.len(), 29);
    world.app.finish_sign_in(&pending.token, &spaced, &client()).await?;
    Ok(())
}
