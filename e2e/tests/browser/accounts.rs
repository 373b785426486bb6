//! One's own account as a person meets it: an invitation, an e-mail address, a password, a second factor, another way to sign in, tokens;
//! and what an administrator does with the accounts of others.

use anyhow::{Context as _, Result};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha1::Sha1;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::{Browser, PASSWORD, PERSON, Stage};
use slipway_testkit::oidc::FakeOidc;

const GUEST: &str = "grace";
const NEW_PASSWORD: &str = "a longer horse battery";

#[tokio::test]
async fn an_account_from_its_invitation_to_its_end() -> Result<()> {
    let oidc = FakeOidc::start().await?;
    let known = oidc.person("grace-at-work");
    oidc.person("somebody-else");
    let stage = Stage::open_house(&oidc).await?;
    let administrator = Browser::signed_in(&stage, PERSON).await?;
    let guest = Browser::start(stage.site()).await?;
    let mut over = Inspector::new(&administrator).await?;
    let mut seen = Inspector::new(&guest).await?;
    for inspector in [&mut over, &mut seen] {
        inspector.allow(oidc.issuer());
    }

    let link = invite(&administrator, &mut over).await?;
    join(&guest, &mut seen, &link).await?;
    email(&stage, &guest, &mut seen).await?;
    password(&guest, &mut seen).await?;
    let factor = second_factor(&guest, &mut seen).await?;
    with_a_code(&guest, &mut seen, &factor).await?;
    through_a_provider(&guest, &mut seen, &factor, &known.name).await?;
    tokens(&guest, &mut seen).await?;
    service_account(&administrator, &mut over).await?;
    convert(&administrator, &mut over).await?;
    ends(&guest, &mut seen).await?;

    let mut found = Vec::new();
    for mut one in [over, seen] {
        one.quiet("the whole story").await?;
        one.forgive("the server responded with a status of 4");
        found.extend(one.end().0);
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    administrator.close().await?;
    guest.close().await?;
    stage.finish().await
}

async fn invite(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<String> {
    browser.click(".nav a[href='/admin/accounts']").await?;
    inspector.page("admin-accounts").await?;
    browser.press("Invite somebody").await?;
    browser.press("Make invitation").await?;
    browser.see(".once", "Copy its link now").await?;
    inspector.page("admin-invitations").await?;
    browser.text(".once .command code").await
}

async fn join(browser: &Browser, inspector: &mut Inspector<'_>, link: &str) -> Result<()> {
    browser.open("/invitations/sli_wrong").await?;
    browser.see("h1", "cannot be used").await?;
    inspector.page("invitation-void").await?;
    let void = browser.text("main").await?;
    browser.open(link).await?;
    inspector.page("invitation").await?;
    browser.fill("#name", PERSON).await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Make account").await?;
    browser.see("#name-error", "already").await?;
    assert_eq!(browser.run("return document.querySelector('#password').value", &[]).await?, json!(""), "a password came back");
    browser.fill("#name", GUEST).await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Make account").await?;
    browser.see(".person-name", GUEST).await?;
    // Once and no more: the same words as for one that never was.
    sign_out(browser).await?;
    browser.open(link).await?;
    browser.see("h1", "cannot be used").await?;
    assert_eq!(browser.text("main").await?, void);
    browser.sign_in(GUEST).await
}

async fn email(stage: &Stage, browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/settings/account").await?;
    browser.fill("#display-name", "Grace Hopper").await?;
    browser.press("Save").await?;
    browser.see(".notice-success", "Saved").await?;
    browser.fill("#email", "grace@users.example").await?;
    browser.fill("#email-password", "not the password").await?;
    browser.press("Send the link").await?;
    browser.see("#email-password-error", "wrong").await?;
    inspector.page("account-refused").await?;
    browser.fill("#email-password", PASSWORD).await?;
    browser.press("Send the link").await?;
    browser.see("main", "waits for confirmation").await?;
    inspector.page("account").await?;
    browser.open(&stage.mailed_address("/settings/email/confirm?token=").await?).await?;
    inspector.page("email-confirm").await?;
    browser.press("Confirm the address").await?;
    browser.see(".notice-success", "confirmed").await?;
    browser.press("Go to your account").await?;
    browser.see("main", "grace@users.example").await
}

async fn password(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/settings/security").await?;
    inspector.page("security").await?;
    browser.fill("#current-password", PASSWORD).await?;
    browser.fill("#new-password", NEW_PASSWORD).await?;
    browser.press("Change password").await?;
    browser.see(".notice-success", "The password is changed").await
}

/// What an authenticator has, and the codes for the day on which it is gone.
struct SecondFactor {
    secret: Vec<u8>,
    recovery: Vec<String>,
}

impl SecondFactor {
    /// RFC 6238, of the time step after this one: it is accepted, and no code before was of it.
    async fn next_code(&self, browser: &Browser) -> Result<String> {
        let now = browser.run("return Date.now()", &[]).await?.as_f64().context("a number")?;
        Ok(code(&self.secret, now as u64 / 30_000 + 1))
    }
}

fn code(secret: &[u8], step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("a key may have any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let number = digest[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

async fn second_factor(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<SecondFactor> {
    browser.fill("#factor-password", NEW_PASSWORD).await?;
    browser.press("Switch on").await?;
    browser.see("h1", "Switch on the second factor").await?;
    inspector.page("second-factor").await?;
    assert_eq!(browser.count("svg.qr path").await?, 2);
    let secret = browser.text(".command code").await?.replace(' ', "");
    let mut factor = SecondFactor { secret: BASE32_NOPAD.decode(secret.as_bytes())?, recovery: Vec::new() };
    browser.fill("#code", "not one").await?;
    browser.press("Switch on").await?;
    browser.see("#code-error", "wrong").await?;
    inspector.page("second-factor-refused").await?;
    let now = browser.run("return Date.now()", &[]).await?.as_f64().context("a number")?;
    browser.fill("#code", &code(&factor.secret, now as u64 / 30_000)).await?;
    browser.press("Switch on").await?;
    browser.see("h1", "Your recovery codes").await?;
    inspector.page("recovery-codes").await?;
    let list = browser.run("return [...document.querySelectorAll('.codes code')].map((one) => one.textContent)", &[]).await?;
    factor.recovery = serde_json::from_value(list)?;
    assert_eq!(factor.recovery.len(), 10);
    let file = browser.run("return decodeURIComponent(document.querySelector('a[download]').href)", &[]).await?;
    assert!(factor.recovery.iter().all(|one| file.as_str().is_some_and(|file| file.contains(one))), "the file has the codes");
    browser.press("I have kept them").await?;
    browser.see("#second-factor", "10 recovery codes left").await?;
    inspector.page("security-on").await?;
    Ok(factor)
}

async fn sign_out(browser: &Browser) -> Result<()> {
    browser.open("/settings/account").await?;
    browser.press("Sign out").await?;
    browser.see("h1", "Sign in").await
}

async fn with_a_code(browser: &Browser, inspector: &mut Inspector<'_>, factor: &SecondFactor) -> Result<()> {
    sign_out(browser).await?;
    inspector.page("signin").await?;
    browser.open("/signin?next=/settings/security").await?;
    browser.fill("#name", GUEST).await?;
    browser.fill("#password", NEW_PASSWORD).await?;
    browser.click("main button.primary").await?;
    browser.see("h1", "One more step").await?;
    browser.fill("#code", "000000").await?;
    browser.click("main button.primary").await?;
    browser.see("#code-error", "wrong").await?;
    inspector.page("signin-code").await?;
    browser.fill("#code", &factor.next_code(browser).await?).await?;
    browser.click("main button.primary").await?;
    browser.see(".person-name", GUEST).await?;
    assert_eq!(browser.address().await?.path(), "/settings/security");
    Ok(())
}

async fn through_a_provider(browser: &Browser, inspector: &mut Inspector<'_>, factor: &SecondFactor, known: &str) -> Result<()> {
    browser.fill("#add-password", NEW_PASSWORD).await?;
    browser.press("Add Acme login").await?;
    browser.see("h1", "Sample sign-in").await?;
    browser.press(&format!("Continue as {known}")).await?;
    browser.see(".notice-success", "Added").await?;
    browser.see("#identities", "Acme login").await?;
    inspector.page("security-identity").await?;
    sign_out(browser).await?;
    browser.press("Sign in with Acme login").await?;
    browser.press("Continue as somebody-else").await?;
    browser.see("h1", "No account yet").await?;
    inspector.page("oidc-unknown").await?;
    browser.press("Sign in another way").await?;
    browser.press("Sign in with Acme login").await?;
    browser.press(&format!("Continue as {known}")).await?;
    // The provider stands for the password only.
    browser.see("h1", "One more step").await?;
    browser.fill("#code", &factor.recovery[3]).await?;
    browser.click("main button.primary").await?;
    browser.see(".person-name", GUEST).await?;
    browser.open("/settings/security").await?;
    browser.see("#second-factor", "9 recovery codes left").await
}

async fn tokens(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/repositories/new").await?;
    browser.fill("#name", "app").await?;
    browser.press("Create").await?;
    // Whoever goes elsewhere while a form is on its way may end on its page.
    browser.until("the new repository", "location.pathname.endsWith('/app')", &[]).await?;
    browser.open("/settings/tokens").await?;
    inspector.page("tokens").await?;
    let shown = |css: &str| format!("document.querySelector('{css}').checkVisibility()");
    assert_eq!(browser.run(&format!("return {} || {}", shown("#token-repositories"), shown("#token-until")), &[]).await?, json!(false));
    browser.fill("#token-name", "ci").await?;
    browser.click("input[value=listed]").await?;
    browser.until("the list of repositories", &shown("#token-repositories"), &[]).await?;
    browser.fill("#token-repositories", "grace/none").await?;
    browser.press("Make token").await?;
    browser.see("#token-repositories-error", "grace/none").await?;
    inspector.page("tokens-refused").await?;
    browser.fill("#token-repositories", "grace/app").await?;
    browser.press("Make token").await?;
    browser.see(".once", "ci").await?;
    browser.see("tbody", "grace/app").await?;
    inspector.page("token-limited").await?;
    browser.open("/settings/tokens").await?;
    assert_eq!(browser.count(".once").await?, 0, "a token is shown once");
    browser.press("Revoke").await?;
    browser.see(".notice-success", "revoked").await?;
    browser.see("main", "No token yet").await
}

async fn service_account(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/admin/accounts").await?;
    browser.fill("#service", "CI").await?;
    browser.press("Make service account").await?;
    browser.see("#service-error", "expected only").await?;
    inspector.page("admin-accounts-refused").await?;
    browser.fill("#service", "ci-robot").await?;
    browser.press("Make service account").await?;
    browser.see("h2", "ci-robot").await?;
    browser.fill("#token-name", "deploy").await?;
    browser.press("Make token").await?;
    browser.see(".once", "docker login").await?;
    inspector.page("admin-service").await?;
    browser.open("/admin/accounts?q=gr").await?;
    assert_eq!(browser.count("tbody tr").await?, 1);
    browser.press(GUEST).await?;
    browser.see("main", "grace@users.example").await?;
    inspector.page("admin-person").await?;
    browser.press("an administrator").await?;
    browser.see("main", "Take administration from").await?;
    browser.press("Take administration from").await?;
    browser.see("main", "Make grace an administrator").await?;
    browser.open("/admin/accounts/ci-robot").await?;
    browser.fill("#confirm", "ci").await?;
    browser.press("Delete ci-robot").await?;
    browser.see("#confirm-error", "ci-robot").await?;
    browser.fill("#confirm", "ci-robot").await?;
    browser.press("Delete ci-robot").await?;
    browser.see(".notice-success", "deleted").await?;
    assert_eq!(browser.count("a[href='/admin/accounts/ci-robot']").await?, 0);
    Ok(())
}

/// Somebody makes an account of their own, and of it an organization.
async fn convert(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    sign_out(browser).await?;
    browser.press("Make one").await?;
    inspector.page("signup").await?;
    browser.fill("#name", "acme").await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Make account").await?;
    browser.see(".person-name", "acme").await?;
    browser.open("/settings/account").await?;
    browser.press("Convert…").await?;
    inspector.page("account-convert").await?;
    browser.fill("#first-owner", "nobody-here").await?;
    browser.fill("#confirm", "acme").await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Convert for ever").await?;
    browser.see("#first-owner-error", "nobody-here").await?;
    inspector.page("account-convert-refused").await?;
    browser.fill("#first-owner", GUEST).await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Convert for ever").await?;
    browser.see("h1", "Sign in").await?;
    browser.see(".notice-success", "is an organization now").await?;
    browser.fill("#name", "acme").await?;
    browser.fill("#password", PASSWORD).await?;
    browser.click("main button.primary").await?;
    browser.see(".notice-failed", "wrong").await
}

/// While they are the last owner the account stays; when the organization is gone it goes.
async fn ends(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/settings/account").await?;
    browser.press("Delete…").await?;
    browser.see("main", "You are the last owner").await?;
    inspector.page("account-delete-last-owner").await?;
    browser.press("delete it").await?;
    browser.fill("#confirm", "acme").await?;
    browser.click("button.destroy").await?;
    browser.see(".notice-success", "deleted").await?;
    browser.open("/settings/account/delete").await?;
    browser.see("main", "grace/app").await?;
    inspector.page("account-delete").await?;
    browser.fill("#confirm", GUEST).await?;
    browser.fill("#password", "wrong password").await?;
    browser.press("Delete my account").await?;
    browser.see("#password-error", "wrong").await?;
    browser.fill("#password", NEW_PASSWORD).await?;
    browser.press("Delete my account").await?;
    browser.see("h1", "Sign in").await?;
    browser.see(".notice-success", "The account is deleted").await
}
