//! Mail: the outbox over SMTP and into a folder, and the e-mail address of an account.

use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use slipway_app::{AuditFilter, Config, Error, InvitationWish, MailConfig, MailTransport, Refusal};
use slipway_store::{accounts, emails, mails};
use slipway_testkit::smtp::{Received, SmtpSink};

use crate::world::World;

const DAY: u64 = 24 * 3600;

fn password() -> SecretString {
    "correct horse".to_owned().into()
}

pub fn refusal<T: std::fmt::Debug>(result: std::result::Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Mail over this server, as somebody with a password.
pub fn over(sink: &SmtpSink) -> impl Fn(&mut Config) + use<> {
    let transport = MailTransport::parse(&format!("smtp://slipway:hush@{}", sink.address())).expect("an address");
    let from = "Slipway <slipway@slipway.test>".parse().expect("a sender");
    move |config| config.mail = Some(MailConfig { transport: transport.clone(), from: std::clone::Clone::clone(&from) })
}

async fn waiting(world: &World) -> Result<u64> {
    Ok(mails::count_waiting(&mut world.app.db().read().await?).await?)
}

fn link(mail: &Received) -> Result<String> {
    let body = mail.body();
    let found = body.lines().find(|line| line.starts_with("http://slipway.test:8080/") && line.contains("sl"));
    Ok(found.with_context(|| format!("no address in: {body}"))?.to_owned())
}

fn token(mail: &Received) -> Result<String> {
    let link = link(mail)?;
    Ok(link.rsplit(['=', '/']).next().context("a token")?.to_owned())
}

#[tokio::test]
async fn an_address_is_confirmed_by_who_reads_mail_there() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let ann = world.person("ann").await?;
    let email = || async {
        let account = accounts::get(&mut world.app.db().read().await?, ann.account().id).await?;
        anyhow::Ok(account.context("Ann stands")?.email)
    };

    assert_eq!(refusal(world.app.change_email(&ann, "ann@example.com", None).await).field.as_deref(), Some("password"));
    let wrong: SecretString = "wrong horse".to_owned().into();
    refusal(world.app.change_email(&ann, "ann@example.com", Some(&wrong)).await);
    for bad in ["ann", "ann@", "a@b\r\nBcc: all@example.com", &format!("{}@example.com", "x".repeat(250))] {
        assert_eq!(refusal(world.app.change_email(&ann, bad, Some(&password())).await).code, "email", "{bad}");
    }
    assert_eq!(waiting(&world).await?, 0);

    world.app.change_email(&ann, " ann@example.com ", Some(&password())).await?;
    assert_eq!(waiting(&world).await?, 1);
    assert_eq!(world.app.waiting_email(&ann).await?.map(|waiting| waiting.email).as_deref(), Some("ann@example.com"));
    let soon = refusal(world.app.change_email(&ann, "other@example.com", Some(&password())).await);
    assert_eq!((soon.code, soon.retry_after), ("email_just_sent", Some(Duration::from_secs(60))));
    assert_eq!(world.app.send_mails_once().await?, 1);
    assert_eq!(waiting(&world).await?, 0);
    let mail = sink.message(1).await?;
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("slipway@slipway.test", &["ann@example.com".to_owned()][..]));
    assert_eq!(mail.credentials, Some(("slipway".to_owned(), "hush".to_owned())));
    assert_eq!(mail.header("from"), "Slipway <slipway@slipway.test>");
    assert_eq!(mail.header("to"), "ann@example.com");
    assert_eq!(mail.header("auto-submitted"), "auto-generated");
    assert!(mail.header("date").contains("2027"), "{}", mail.header("date"));
    assert!(mail.header("message-id").ends_with("@slipway.test>"), "{}", mail.header("message-id"));
    assert!(link(&mail)?.starts_with("http://slipway.test:8080/settings/email/confirm?token=sle_"), "{}", mail.body());

    assert_eq!(email().await?, None, "not before it is confirmed");
    assert_eq!(world.app.confirm_email(&token(&mail)?).await?.email.as_deref(), Some("ann@example.com"));
    assert_eq!(email().await?.as_deref(), Some("ann@example.com"));
    for worthless in [token(&mail)?, format!("sle_{}", "0".repeat(64)), "nonsense".to_owned()] {
        assert_eq!(refusal(world.app.confirm_email(&worthless).await).code, "email_token");
    }
    assert_eq!(sink.attempts(), 1, "nobody is told who had no address before");

    // The next change is told to the address before.
    world.app.change_email(&ann, "ann@elsewhere.example", Some(&password())).await?;
    world.app.send_mails_once().await?;
    world.app.confirm_email(&token(&sink.message(2).await?)?).await?;
    world.app.send_mails_once().await?;
    let note = sink.message(3).await?;
    assert_eq!(note.to, ["ann@example.com"]);
    assert!(note.body().contains("has another e-mail address now"), "{}", note.body());

    let reader = world.app.audit_reader(&ann, &ann.account().name).await?;
    let filter = AuditFilter { action: Some("account.email".into()), ..AuditFilter::default() };
    let entries = world.app.list_audit(&reader, &filter, None, 10).await?;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].old, Some(serde_json::json!("ann@example.com")));
    assert_eq!(entries[0].new, Some(serde_json::json!("ann@elsewhere.example")));
    Ok(())
}

#[tokio::test]
async fn a_confirmation_ends_after_a_day_and_the_newest_counts() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let ann = world.person("ann").await?;
    world.app.change_email(&ann, "one@example.com", Some(&password())).await?;
    world.wait(61);
    world.app.change_email(&ann, "two@example.com", Some(&password())).await?;
    world.app.send_mails_once().await?;
    let (one, two) = (token(&sink.message(1).await?)?, token(&sink.message(2).await?)?);
    refusal(world.app.confirm_email(&one).await);
    world.wait(DAY);
    refusal(world.app.confirm_email(&two).await);
    assert_eq!(emails::get(&mut world.app.db().read().await?, ann.account().id, world.clock.now()).await?, None);
    Ok(())
}

#[tokio::test]
async fn without_mail_no_address_is_taken() -> Result<()> {
    let world = World::new().await?;
    let ann = world.person("ann").await?;
    let refused = refusal(world.app.change_email(&ann, "ann@example.com", Some(&password())).await);
    assert_eq!(refused.code, "no_mail");
    assert!(refused.hint.is_some_and(|hint| hint.contains("mail.url")));
    assert_eq!(world.app.waiting_email(&ann).await?, None);
    assert_eq!(waiting(&world).await?, 0);
    assert_eq!(world.app.send_mails_once().await?, 0);
    Ok(())
}

fn invite(email: &str) -> InvitationWish {
    InvitationWish { email: Some(email.to_owned()), expires_in: Duration::from_secs(30 * DAY) }
}

#[tokio::test]
async fn a_mail_that_is_refused_for_now_comes_again_later_and_later() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let right = world.app.administrator(&world.administrator("root").await?)?;
    sink.refuse(Some(451));
    world.app.invite(&right, &invite("ann@example.com")).await?;
    assert_eq!(world.app.send_mails_once().await?, 1);
    assert_eq!((sink.attempts(), waiting(&world).await?), (1, 1));
    for delay in [60, 120, 240] {
        world.wait(delay - 1);
        assert_eq!(world.app.send_mails_once().await?, 0, "not before {delay} s");
        world.wait(1);
        assert_eq!(world.app.send_mails_once().await?, 1, "after {delay} s");
    }
    sink.refuse(None);
    world.wait(480);
    world.app.send_mails_once().await?;
    assert_eq!((sink.attempts(), sink.received().len(), waiting(&world).await?), (5, 1, 0));

    // Nobody takes it for three days.
    sink.refuse(Some(451));
    world.app.invite(&right, &invite("bob@example.com")).await?;
    world.app.send_mails_once().await?;
    world.wait(3 * DAY);
    world.app.send_mails_once().await?;
    assert_eq!((sink.attempts(), waiting(&world).await?), (6, 0), "given up without another try");
    Ok(())
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_given_up_at_once() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let right = world.app.administrator(&world.administrator("root").await?)?;
    for (code, left) in [(554, 0), (535, 1)] {
        sink.refuse(Some(code));
        world.app.invite(&right, &invite("ann@example.com")).await?;
        world.app.send_mails_once().await?;
        assert_eq!(waiting(&world).await?, left, "{code}");
    }
    Ok(())
}

#[tokio::test]
async fn a_mail_that_is_worth_nothing_any_more_is_not_sent() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let ann = world.person("ann").await?;
    world.app.change_email(&ann, "ann@example.com", Some(&password())).await?;
    world.wait(DAY);
    world.app.send_mails_once().await?;
    assert_eq!((sink.attempts(), waiting(&world).await?), (0, 0));
    Ok(())
}

#[tokio::test]
async fn two_senders_send_each_mail_once() -> Result<()> {
    let sink = SmtpSink::start().await?;
    let world = World::with(over(&sink)).await?;
    let right = world.app.administrator(&world.administrator("root").await?)?;
    for number in 0..10 {
        world.app.invite(&right, &invite(&format!("person-{number}@example.com"))).await?;
    }
    let (one, two) = tokio::join!(world.app.send_mails_once(), world.app.send_mails_once());
    assert_eq!(one? + two?, 10);
    let mut receivers: Vec<String> = sink.received().into_iter().flat_map(|mail| mail.to).collect();
    receivers.sort();
    receivers.dedup();
    assert_eq!((receivers.len(), sink.attempts()), (10, 10));
    Ok(())
}

#[tokio::test]
async fn mail_goes_into_a_folder_for_its_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir()?;
    let outbox = folder.path().join("mails");
    let transport = MailTransport::parse(&format!("file://{}", outbox.display())).map_err(anyhow::Error::msg)?;
    let from: slipway_app::Sender = "slipway@slipway.test".parse().map_err(anyhow::Error::msg)?;
    let world = World::with(|config| config.mail = Some(MailConfig { transport: transport.clone(), from: from.clone() })).await?;
    let ann = world.person("ann").await?;
    world.app.change_email(&ann, "ann@example.com", Some(&password())).await?;
    world.app.send_mails_once().await?;
    let files: Vec<_> = std::fs::read_dir(&outbox)?.collect::<std::io::Result<_>>()?;
    let [file] = files.as_slice() else { panic!("one file, found {files:?}") };
    assert_eq!(file.path().extension().and_then(|end| end.to_str()), Some("eml"));
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(file.path())?;
    assert!(text.contains("To: ann@example.com") && text.contains("sle_"), "{text}");
    assert_eq!(waiting(&world).await?, 0);
    Ok(())
}
