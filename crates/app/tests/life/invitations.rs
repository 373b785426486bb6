//! Invitations: once, in time, from who may, and the same answer for all that are worth nothing.

use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use slipway_app::{
    Administrator, Caller, ClientInfo, Error, InvitationWish, Mailed, NewInvitation, OrganizationOwner, Role, SignUp, TokenWish,
};
use slipway_model::{AccountName, ScopeSet, TeamName};
use slipway_store::teams::{self, Membership};
use slipway_store::{accounts, mails};
use slipway_testkit::smtp::SmtpSink;

use crate::mail::{over, refusal};
use crate::world::{World, client};

fn password() -> SecretString {
    "correct horse".to_owned().into()
}

fn wish() -> InvitationWish {
    InvitationWish { email: None, expires_in: InvitationWish::DEFAULT_LIFE }
}

fn token(made: &NewInvitation) -> String {
    made.url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned()
}

async fn root(world: &World) -> Result<Administrator> {
    Ok(world.app.administrator(&world.administrator("root").await?)?)
}

async fn acme(world: &World) -> Result<(Caller, OrganizationOwner, TeamName)> {
    let ann = world.person("ann").await?;
    world.app.create_organization(&ann, "acme", "Acme").await?;
    let owner = world.app.organization_owner(&ann, &"acme".parse()?).await?;
    world.app.create_team(&owner, "devs", "").await?;
    Ok((ann, owner, "devs".parse()?))
}

async fn account(world: &World, name: &str) -> Result<Option<accounts::Account>> {
    let name: AccountName = name.parse()?;
    Ok(accounts::get_by_name(&mut world.app.db().read().await?, &name).await?)
}

async fn membership(world: &World, name: &str) -> Result<Option<Membership>> {
    let organization = account(world, "acme").await?.context("acme stands")?;
    let person = account(world, name).await?.context("the person stands")?;
    Ok(teams::membership(&mut world.app.db().read().await?, organization.id, person.id).await?)
}

fn is_not_found<T: std::fmt::Debug>(result: std::result::Result<T, Error>) {
    assert!(matches!(result, Err(Error::NotFound)), "{result:?}");
}

#[tokio::test]
async fn an_invited_person_makes_an_account_once() -> Result<()> {
    let world = World::new().await?;
    let made = world.app.invite(&root(&world).await?, &wish()).await?;
    assert_eq!(made.mailed, Mailed::No);
    assert!(made.url.as_str().starts_with("http://slipway.test:8080/invitations/sli_"), "{}", made.url);
    let token = token(&made);
    let view = world.app.invitation(&token).await?;
    assert_eq!((view.organization, view.team, view.makes_account, view.expires_at), (None, None, true, made.expires_at));

    // What cannot be leaves the invitation standing.
    let accept = |name: &'static str, password: SecretString| {
        let (app, token) = (&world.app, token.clone());
        async move { app.accept_invitation_with_account(&token, name, &password, &client()).await }
    };
    world.person("rob").await?;
    assert_eq!(refusal(accept("rob", password()).await).code, "name_taken");
    assert_eq!(refusal(accept("r0b", password()).await).code, "name_taken", "it looks like `rob`");
    assert_eq!(refusal(accept("A B", password()).await).code, "name");
    assert_eq!(refusal(accept("bob", "short".to_owned().into()).await).code, "password_length");
    assert!(account(&world, "bob").await?.is_none());

    let signed_in = accept("bob", password()).await?;
    assert_eq!(signed_in.account.name.as_str(), "bob");
    assert!(!signed_in.account.is_admin);
    assert!(world.app.caller_by_session(&signed_in.token, "127.0.0.1").await?.is_some());
    is_not_found(accept("eve", password()).await);
    is_not_found(world.app.invitation(&token).await);
    assert!(account(&world, "eve").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn what_is_worth_nothing_answers_the_same() -> Result<()> {
    let world = World::new().await?;
    let right = root(&world).await?;
    let (expired, revoked) = (world.app.invite(&right, &wish()).await?, world.app.invite(&right, &wish()).await?);
    world.app.revoke_invitation(&right, revoked.id).await?;
    is_not_found(world.app.revoke_invitation(&right, revoked.id).await);
    world.wait(7 * 24 * 3600);
    let ann = world.person("ann").await?;
    for worthless in [token(&expired), token(&revoked), format!("sli_{}", "0".repeat(64)), "nonsense".to_owned(), String::new()] {
        is_not_found(world.app.invitation(&worthless).await);
        is_not_found(world.app.accept_invitation(&worthless, &ann).await);
        is_not_found(world.app.accept_invitation_with_account(&worthless, "bob", &password(), &client()).await);
    }
    assert!(world.app.list_invitations(&right, None, 10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn lives_of_an_hour_to_thirty_days() -> Result<()> {
    let world = World::new().await?;
    let right = root(&world).await?;
    for (seconds, fits) in [(3599, false), (3600, true), (30 * 86_400, true), (30 * 86_400 + 1, false)] {
        let made = world.app.invite(&right, &InvitationWish { email: None, expires_in: Duration::from_secs(seconds) }).await;
        match made {
            Ok(_) => assert!(fits, "{seconds}"),
            refused => assert_eq!((refusal(refused).code, fits), ("invitation_expiry", false), "{seconds}"),
        }
    }
    assert_eq!(world.app.list_invitations(&right, None, 10).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_member_joins_by_invitation_and_only_one_of_two_at_once() -> Result<()> {
    let world = World::new().await?;
    let (_, owner, devs) = acme(&world).await?;
    let made = world.app.invite_to_team(&owner, &devs, &wish()).await?;
    let token = token(&made);
    let view = world.app.invitation(&token).await?;
    assert_eq!(view.organization.map(|name| name.to_string()).as_deref(), Some("acme"));
    assert_eq!((view.team, view.makes_account), (Some(devs.clone()), false));
    let refused = refusal(world.app.accept_invitation_with_account(&token, "eve", &password(), &client()).await);
    assert_eq!(refused.code, "invitation_needs_account");
    assert!(account(&world, "eve").await?.is_none());

    let (bob, eve) = (world.person("bob").await?, world.person("eve").await?);
    let (one, two) = tokio::join!(world.app.accept_invitation(&token, &bob), world.app.accept_invitation(&token, &eve));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let members = [membership(&world, "bob").await?, membership(&world, "eve").await?];
    assert_eq!(members.iter().flatten().collect::<Vec<_>>(), [&Membership::Member]);

    is_not_found(world.app.invite_to_team(&owner, &"nowhere".parse()?, &wish()).await);
    let makes_account = world.app.invite(&root(&world).await?, &wish()).await?;
    let refused = refusal(world.app.accept_invitation(&super::invitations::token(&makes_account), &bob).await);
    assert_eq!(refused.code, "invitation_makes_account");
    Ok(())
}

#[tokio::test]
async fn where_everybody_may_make_an_account_a_team_invites_strangers_too() -> Result<()> {
    let world = World::with(|config| config.sign_up = SignUp::Open).await?;
    let (_, owner, devs) = acme(&world).await?;
    let made = world.app.invite_to_team(&owner, &devs, &wish()).await?;
    world.app.accept_invitation_with_account(&token(&made), "bob", &password(), &client()).await?;
    assert_eq!(membership(&world, "bob").await?, Some(Membership::Member));
    // The name that is taken takes nothing with it: no account, no membership, no use.
    let made = world.app.invite_to_team(&owner, &devs, &wish()).await?;
    refusal(world.app.accept_invitation_with_account(&token(&made), "b0b", &password(), &client()).await);
    world.app.invitation(&token(&made)).await?;
    Ok(())
}

#[tokio::test]
async fn an_invitation_is_worth_as_much_as_who_made_it() -> Result<()> {
    let world = World::new().await?;
    let (ann, owner, devs) = acme(&world).await?;
    let bob = world.person("bob").await?;
    world.app.add_team_member(&owner, &TeamName::owners(), &bob.account().name).await?;
    let by_bob = world.app.organization_owner(&bob, &"acme".parse()?).await?;
    let made = world.app.invite_to_team(&by_bob, &devs, &wish()).await?;
    world.app.remove_team_member(&owner, &TeamName::owners(), &bob.account().name).await?;
    is_not_found(world.app.invitation(&token(&made)).await);
    let eve = world.person("eve").await?;
    is_not_found(world.app.accept_invitation(&token(&made), &eve).await);
    assert_eq!(membership(&world, "eve").await?, None);

    // A team that is gone takes its invitations with it.
    let made = world.app.invite_to_team(&owner, &devs, &wish()).await?;
    world.app.delete_team(&owner, &devs).await?;
    is_not_found(world.app.accept_invitation(&token(&made), &ann).await);
    Ok(())
}

#[tokio::test]
async fn lists_and_revocations_stay_with_their_owner() -> Result<()> {
    let world = World::new().await?;
    let (_, owner, devs) = acme(&world).await?;
    let right = root(&world).await?;
    let of_acme = world.app.invite_to_team(&owner, &devs, &wish()).await?;
    let of_all = world.app.invite(&right, &wish()).await?;
    is_not_found(world.app.revoke_organization_invitation(&owner, of_all.id).await);
    is_not_found(world.app.revoke_invitation(&right, of_acme.id).await);
    let listed = world.app.list_organization_invitations(&owner, None, 10).await?;
    let [entry] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((entry.id, entry.team.as_ref(), entry.created_by.as_str()), (of_acme.id, Some(&devs), "ann"));
    assert_eq!(world.app.list_invitations(&right, None, 10).await?.iter().map(|entry| entry.id).collect::<Vec<_>>(), [of_all.id]);
    world.app.revoke_organization_invitation(&owner, of_acme.id).await?;
    is_not_found(world.app.invitation(&token(&of_acme)).await);
    Ok(())
}

#[tokio::test]
async fn an_invitation_by_mail_says_nothing_about_who_has_an_account() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let right = root(&world).await?;
    let ann = world.person("ann").await?;
    world.app.change_email(&ann, "ann@example.com", Some(&password())).await?;
    world.app.send_mails_once().await?;
    let confirm = sink.message(1).await?.body();
    let confirm = confirm.split("token=").nth(1).and_then(|rest| rest.split_whitespace().next()).context("a token")?.to_owned();
    world.app.confirm_email(&confirm).await?;

    let invite = |email: &str| InvitationWish { email: Some(email.to_owned()), ..wish() };
    let (known, unknown) =
        (world.app.invite(&right, &invite("ann@example.com")).await?, world.app.invite(&right, &invite("new@example.com")).await?);
    assert_eq!((known.mailed, known.expires_at), (unknown.mailed, unknown.expires_at));
    assert_eq!(known.mailed, Mailed::Yes);
    world.app.send_mails_once().await?;
    let mail = sink.message(2).await?;
    assert_eq!(mail.to, ["ann@example.com"]);
    assert_eq!(mail.header("subject"), "root invites you to Slipway");
    assert!(mail.body().contains(known.url.as_str()), "{}", mail.body());
    assert_eq!(refusal(world.app.invite(&right, &invite("x@y\r\nBcc: all@example.com")).await).code, "email");
    Ok(())
}

#[tokio::test]
async fn sign_up_is_there_only_where_it_is_open() -> Result<()> {
    let world = World::new().await?;
    assert!(!world.app.sign_up_is_open());
    is_not_found(world.app.sign_up("bob", &password(), &client()).await);
    assert!(account(&world, "bob").await?.is_none());

    let world = World::with(|config| config.sign_up = SignUp::Open).await?;
    let signed_in = world.app.sign_up("bob", &password(), &client()).await?;
    assert!(world.app.caller_by_session(&signed_in.token, "127.0.0.1").await?.is_some());
    assert_eq!(refusal(world.app.sign_up("b0b", &password(), &client()).await).code, "name_taken");
    assert_eq!(refusal(world.app.sign_up("api", &password(), &client()).await).code, "name");
    assert_eq!(refusal(world.app.sign_up("eve", &"1234567".to_owned().into(), &client()).await).code, "password_length");
    Ok(())
}

#[tokio::test]
async fn an_invitation_makes_accounts_as_long_as_its_maker_may() -> Result<()> {
    let world = World::new().await?;
    let (_, owner, devs) = acme(&world).await?;
    let right = root(&world).await?;
    // Somebody who owns an organization and administers the installation.
    let boss = world.administrator("boss").await?;
    world.app.add_team_member(&owner, &TeamName::owners(), &boss.account().name).await?;
    let by_boss = world.app.organization_owner(&boss, &"acme".parse()?).await?;
    let made = world.app.invite_to_team(&by_boss, &devs, &wish()).await?;
    assert!(world.app.invitation(&token(&made)).await?.makes_account);
    world.app.set_administrator(&right, &boss.account().name, Role::User).await?;
    assert!(!world.app.invitation(&token(&made)).await?.makes_account);
    let refused = refusal(world.app.accept_invitation_with_account(&token(&made), "eve", &password(), &client()).await);
    assert_eq!(refused.code, "invitation_needs_account");
    assert!(account(&world, "eve").await?.is_none());
    // Who has an account still joins: boss is an owner as before.
    let eve = world.person("eve").await?;
    world.app.accept_invitation(&token(&made), &eve).await?;
    assert_eq!(membership(&world, "eve").await?, Some(Membership::Member));
    Ok(())
}

#[tokio::test]
async fn an_organizations_token_invites_nobody() -> Result<()> {
    let world = World::new().await?;
    let (_, owner, devs) = acme(&world).await?;
    let wish_token = TokenWish { name: "ci".into(), scopes: ScopeSet::all(), repositories: None, expires_at: None };
    let made = world.app.create_organization_token(&owner, &wish_token).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    let by_token = world.app.organization_owner(&bearer, &"acme".parse()?).await?;
    assert_eq!(refusal(world.app.invite_to_team(&by_token, &devs, &wish()).await).code, "needs_a_person");
    assert!(world.app.list_organization_invitations(&owner, None, 10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_account_mails_so_many_an_hour_and_none_that_was_revoked() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let right = root(&world).await?;
    let mail = |n: u32| InvitationWish { email: Some(format!("somebody-{n}@example.com")), ..wish() };
    for n in 0..20 {
        let made = world.app.invite(&right, &mail(n)).await?;
        if n > 0 {
            world.app.revoke_invitation(&right, made.id).await?;
        }
    }
    world.wait(600);
    let refused = refusal(world.app.invite(&right, &mail(20)).await);
    assert_eq!((refused.code, refused.retry_after), ("invitation_mails", Some(Duration::from_secs(3000))));
    assert_eq!(world.app.list_invitations(&right, None, 100).await?.len(), 1, "a refused one leaves nothing");
    // Without mail it goes on, and somebody else mails as before.
    world.app.invite(&right, &wish()).await?;
    let other = world.app.administrator(&world.administrator("boss").await?)?;
    world.app.invite(&other, &mail(21)).await?;

    assert_eq!(world.app.send_mails_once().await?, 2);
    assert_eq!(mails::count_waiting(&mut world.app.db().read().await?).await?, 0);
    let mut receivers = [sink.message(1).await?.to.clone(), sink.message(2).await?.to.clone()].concat();
    receivers.sort();
    assert_eq!((receivers, sink.attempts()), (vec!["somebody-0@example.com".to_owned(), "somebody-21@example.com".to_owned()], 2));
    world.wait(3000);
    world.app.invite(&right, &mail(22)).await?;
    Ok(())
}

#[tokio::test]
async fn accounts_from_one_address_are_slowed_down() -> Result<()> {
    let world = World::with(|config| config.sign_up = SignUp::Open).await?;
    for n in 0..20 {
        world.app.sign_up(&format!("one-{n}"), &password(), &client()).await?;
    }
    world.app.sign_up("one-more", &password(), &client()).await?;
    let refused = refusal(world.app.sign_up("two-more", &password(), &client()).await);
    assert_eq!(refused.code, "too_many_attempts");
    assert!(refused.retry_after.is_some() && account(&world, "two-more").await?.is_none());
    let elsewhere = ClientInfo { address: "192.0.2.9".into(), user_agent: String::new() };
    world.app.sign_up("elsewhere", &password(), &elsewhere).await?;
    // It bars nobody from signing in.
    world.person("one-0").await?;
    Ok(())
}
