//! Signing in with OpenID Connect: what a provider may say, what it may not, and who somebody is.

use anyhow::{Context as _, Result, bail};
use secrecy::SecretString;
use slipway_app::{
    App, Caller, ClientInfo, Config, CreateAccounts, Error, InvitationWish, OidcOutcome, OidcProvider, OidcPurpose, SignedIn,
};
use slipway_model::{SecretToken, TokenKind};
use slipway_store::accounts::{self, Account};
use slipway_store::identities;
use slipway_testkit::oidc::{Algorithm, ClientAuthentication, FakeOidc, Lie, Person};
use url::Url;

use crate::mail::refusal;
use crate::second_factor::authenticator;
use crate::world::{World, client};

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn password() -> SecretString {
    "correct horse".to_owned().into()
}

fn corp(fake: &FakeOidc, create_accounts: CreateAccounts) -> impl Fn(&mut Config) + use<> {
    let registered = fake.client("http://slipway.test:8080/oidc/corp/callback");
    let issuer = fake.issuer().to_owned();
    move |config| {
        config.oidc.push(OidcProvider {
            id: "corp".parse().expect("an id"),
            name: "Acme login".into(),
            issuer: issuer.clone(),
            client_id: registered.client_id.clone(),
            client_secret: registered.client_secret.clone().into(),
            scopes: vec!["openid".into(), "profile".into(), "email".into()],
            create_accounts,
        });
    }
}

struct Scene {
    world: World,
    fake: FakeOidc,
}

/// What the browser brings back.
struct Back {
    state: String,
    code: Result<String, String>,
    browser: SecretToken,
}

impl Scene {
    async fn new(create_accounts: CreateAccounts) -> Result<Self> {
        let fake = FakeOidc::start().await?;
        let world = World::with(corp(&fake, create_accounts)).await?;
        let scene = Self { world, fake };
        scene.wait(0);
        Ok(scene)
    }

    fn app(&self) -> &App {
        &self.world.app
    }

    fn wait(&self, seconds: u64) {
        self.world.wait(seconds);
        self.fake.set_time(self.world.clock.now().as_seconds());
    }

    /// A browser that begins here, agrees there as this person and comes back.
    async fn back(&self, purpose: OidcPurpose<'_>, person: &Person) -> Result<Back> {
        let (url, browser) = self.app().begin_oidc("corp", purpose, "/somewhere?x=1").await?;
        let callback = self.fake.approve(url.as_str(), &person.subject).await?;
        back(&callback, browser)
    }

    async fn finish(&self, back: &Back, caller: Option<&Caller>) -> Result<OidcOutcome, Error> {
        let answer = back.code.as_deref().map_err(String::as_str);
        self.app().finish_oidc("corp", &back.state, answer, &back.browser, caller, &client()).await
    }

    async fn through(&self, purpose: OidcPurpose<'_>, person: &Person, caller: Option<&Caller>) -> Result<OidcOutcome> {
        let back = self.back(purpose, person).await?;
        Ok(self.finish(&back, caller).await?)
    }

    /// Adds the person's identity to the account of this caller.
    async fn add(&self, caller: &Caller, person: &Person) -> Result<()> {
        match self.through(OidcPurpose::Add(caller, Some(&password())), person, Some(caller)).await? {
            OidcOutcome::Added(next) if next == "/somewhere?x=1" => Ok(()),
            other => bail!("{other:?}"),
        }
    }

    /// How much there is: accounts, and whether the person is known.
    async fn traces(&self, person: &Person) -> Result<(u64, bool)> {
        let mut tx = self.app().db().read().await?;
        let known = identities::get(&mut tx, self.fake.issuer(), &person.subject).await?.is_some();
        Ok((accounts::count_accounts(&mut tx).await?, known))
    }

    async fn account(&self, name: &str) -> Result<Option<Account>> {
        Ok(accounts::get_by_name(&mut self.app().db().read().await?, &name.parse()?).await?)
    }
}

fn back(callback: &str, browser: SecretToken) -> Result<Back> {
    let callback: Url = callback.parse()?;
    assert_eq!((callback.host_str(), callback.path()), (Some("slipway.test"), "/oidc/corp/callback"));
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let code = part("code").ok_or_else(|| part("error").unwrap_or_default());
    Ok(Back { state: part("state").context("state")?, code, browser })
}

fn session(outcome: OidcOutcome) -> Result<slipway_app::SignIn> {
    match outcome {
        OidcOutcome::SignedIn(sign_in, next) if next == "/somewhere?x=1" => Ok(sign_in),
        other => bail!("no session: {other:?}"),
    }
}

fn choice(outcome: OidcOutcome) -> Result<(SecretToken, Option<String>)> {
    match outcome {
        OidcOutcome::ChooseName { token, proposed, .. } => Ok((token, proposed.map(|name| name.to_string()))),
        other => bail!("no name is asked for: {other:?}"),
    }
}

#[tokio::test]
async fn a_new_person_chooses_a_name_and_is_known_from_then_on() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    assert_eq!(
        scene.app().oidc_providers().iter().map(|one| (one.id.as_str(), one.name.as_str())).collect::<Vec<_>>(),
        [("corp", "Acme login")]
    );
    scene.world.person("rob").await?;
    let bob = scene.fake.person("Bob.Builder");
    let back = scene.back(OidcPurpose::SignIn, &bob).await?;
    let (token, proposed) = choice(scene.finish(&back, None).await?)?;
    assert_eq!(proposed.as_deref(), Some("bob-builder"));
    assert_eq!(scene.traces(&bob).await?, (1, false), "nobody is made before there is a name");

    let finish = |name: &'static str, browser: &SecretToken| {
        let (app, token, browser) = (scene.app(), token.expose().to_owned(), browser.clone());
        async move { app.finish_oidc_account("corp", &token, name, &browser, &client()).await }
    };
    for (name, code) in [("rob", "name_taken"), ("r0b", "name_taken"), ("api", "name"), ("Bob", "name"), ("", "name")] {
        let refused = refusal(finish(name, &back.browser).await);
        assert_eq!((refused.code, refused.field.as_deref()), (code, Some("name")), "{name}");
    }
    assert_eq!(refusal(finish("bob", &SecretToken::generate(TokenKind::Browser)).await).code, "oidc_state", "another browser");
    assert_eq!(scene.traces(&bob).await?, (1, false));
    let sign_in = session(finish("bob", &back.browser).await?)?;
    assert_eq!(sign_in.account.name.as_str(), "bob");
    assert_eq!((sign_in.account.email, sign_in.account.is_admin), (None, false), "what the provider says about mail is not taken over");
    assert_eq!(refusal(finish("bob-2", &back.browser).await).code, "oidc_state", "used");
    assert_eq!(scene.traces(&bob).await?, (2, true));

    let again = session(scene.through(OidcPurpose::SignIn, &bob, None).await?)?;
    assert_eq!(again.account.id, sign_in.account.id);
    let caller = scene.app().caller_by_session(&again.token, "127.0.0.1").await?.context("signed in")?;
    let known = scene.app().list_identities(&caller).await?;
    assert_eq!((known.len(), known[0].label.as_str(), known[0].last_used_at), (1, "Bob.Builder", Some(scene.world.clock.now())));
    assert_eq!(scene.fake.asked(DISCOVERY), 1, "what the provider says about itself is kept");
    // A name that is taken is not proposed.
    let double = Person { subject: "another".into(), preferred_username: "bob".into(), ..scene.fake.person("double") };
    scene.fake.add(double.clone());
    assert_eq!(choice(scene.through(OidcPurpose::SignIn, &double, None).await?)?.1, None);
    Ok(())
}

#[tokio::test]
async fn every_algorithm_and_way_of_the_client_works() -> Result<()> {
    let scene = Scene::new(CreateAccounts::No).await?;
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    scene.add(&ann, &person).await?;
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        for way in [ClientAuthentication::Post, ClientAuthentication::Basic] {
            scene.fake.sign_with(algorithm)?;
            scene.fake.set_client_authentication(way);
            // An hour later nothing of the answer before is used any more.
            scene.wait(3600);
            session(scene.through(OidcPurpose::SignIn, &person, None).await?).with_context(|| format!("{algorithm:?} {way:?}"))?;
        }
    }
    assert_eq!(scene.fake.asked(DISCOVERY), 5);
    // A new key is looked for, once.
    scene.fake.rotate_key()?;
    session(scene.through(OidcPurpose::SignIn, &person, None).await?)?;
    assert_eq!(scene.fake.asked(DISCOVERY), 6);
    Ok(())
}

#[tokio::test]
async fn a_stranger_is_told_what_to_do_and_leaves_nothing() -> Result<()> {
    let scene = Scene::new(CreateAccounts::No).await?;
    let eve = scene.fake.person("eve");
    match scene.through(OidcPurpose::SignIn, &eve, None).await? {
        OidcOutcome::Unknown { provider, label } => assert_eq!((provider.as_str(), label.as_str()), ("Acme login", "eve")),
        other => bail!("{other:?}"),
    }
    assert_eq!(scene.traces(&eve).await?, (0, false));
    Ok(())
}

#[tokio::test]
async fn an_asserted_address_finds_nobody() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    let root = scene.world.administrator("root").await?;
    let mut tx = scene.app().db().write().await?;
    accounts::set_email(&mut tx, root.account().id, Some("root@example.com")).await?;
    tx.commit().await?;
    let eve = Person { subject: "eve".into(), name: "root".into(), preferred_username: "root".into(), email: "root@example.com".into() };
    scene.fake.add(eve.clone());
    for verified in [Some(true), Some(false), None] {
        scene.fake.set_email_verified(verified);
        let (token, proposed) = choice(scene.through(OidcPurpose::SignIn, &eve, None).await?)?;
        assert_eq!(proposed, None, "`root` is taken");
        drop(token);
        assert_eq!(scene.app().list_identities(&root).await?.len(), 0, "{verified:?}");
        let said = scene.fake.given_out().pop().context("an ID token")?;
        assert_eq!((said["email"].as_str(), said["email_verified"].as_bool()), (Some("root@example.com"), verified), "{said}");
    }
    // The same subject of another issuer, and another one of the same issuer, are other people.
    let mine = scene.fake.person("root-at-corp");
    scene.add(&root, &mine).await?;
    let alike = Person { subject: format!("{}-2", mine.subject), ..mine.clone() };
    scene.fake.add(alike.clone());
    choice(scene.through(OidcPurpose::SignIn, &alike, None).await?)?;
    assert_eq!(session(scene.through(OidcPurpose::SignIn, &mine, None).await?)?.account.id, root.account().id);
    Ok(())
}

#[tokio::test]
async fn no_lie_is_believed() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    let (ann, person, eve) = (scene.world.person("ann").await?, scene.fake.person("ann"), scene.fake.person("eve"));
    scene.add(&ann, &person).await?;
    let lies = [
        (Lie::WrongNonce, "oidc_answer", "nonce"),
        (Lie::NoNonce, "oidc_answer", "nonce"),
        (Lie::WrongAudience, "oidc_answer", "audience"),
        (Lie::SecondAudience, "oidc_answer", "audience"),
        (Lie::OtherParty, "oidc_answer", "another-client"),
        (Lie::Expired, "oidc_answer", "expired"),
        (Lie::FromTheFuture, "oidc_answer", "future"),
        (Lie::WrongKey, "oidc_answer", "ignature"),
        (Lie::NoSignature, "oidc_answer", "ignature"),
        (Lie::SharedSecret, "oidc_answer", "ignature"),
        (Lie::OtherIssuer, "oidc_answer", "issuer"),
        (Lie::NoIdToken, "oidc_answer", "missing"),
        (Lie::Rubbish, "oidc_answer", "cannot be read"),
        (Lie::Endless, "oidc_unavailable", "longer than"),
        (Lie::Redirect, "oidc_unavailable", "redirect"),
        (Lie::NoSubject, "oidc_answer", "subject"),
        (Lie::LongSubject, "oidc_answer", "subject"),
    ];
    for (lie, code, word) in lies {
        for who in [&person, &eve] {
            let back = scene.back(OidcPurpose::SignIn, who).await?;
            scene.fake.lie(Some(lie));
            let refused = refusal(scene.finish(&back, None).await);
            scene.fake.lie(None);
            assert_eq!(refused.code, code, "{lie:?}: {refused:?}");
            assert!(refused.detail.contains("Acme login") && refused.detail.contains(word), "{lie:?}: {}", refused.detail);
            assert!(!refused.detail.contains("a-client's secret"), "{lie:?}: {}", refused.detail);
            assert!(refused.hint.is_some(), "{lie:?}");
            // The state went with the try.
            assert_eq!(refusal(scene.finish(&back, None).await).code, "oidc_state", "{lie:?}");
        }
        assert_eq!(scene.traces(&eve).await?, (1, false), "{lie:?}");
        assert_eq!(scene.app().list_sessions(&ann).await?.len(), 1, "{lie:?}: a session was made");
    }
    // Nothing of all that stays: the truth is believed.
    session(scene.through(OidcPurpose::SignIn, &person, None).await?)?;

    scene.wait(3600);
    scene.fake.lie(Some(Lie::OtherIssuerInDiscovery));
    let refused = refusal(scene.app().begin_oidc("corp", OidcPurpose::SignIn, "/").await);
    assert_eq!(refused.code, "oidc_answer");
    scene.fake.lie(None);
    // Half a minute long nobody makes us ask again, however often they begin.
    let asked = scene.fake.asked(DISCOVERY);
    for _ in 0..5 {
        assert_eq!(refusal(scene.app().begin_oidc("corp", OidcPurpose::SignIn, "/").await).code, "oidc_answer");
    }
    scene.wait(29);
    refusal(scene.app().begin_oidc("corp", OidcPurpose::SignIn, "/").await);
    assert_eq!(scene.fake.asked(DISCOVERY), asked);
    scene.fake.set_outage(Some(503));
    scene.wait(1);
    let refused = refusal(scene.app().begin_oidc("corp", OidcPurpose::SignIn, "/").await);
    assert_eq!((refused.code, scene.fake.asked(DISCOVERY)), ("oidc_unavailable", asked + 1));
    scene.fake.set_outage(None);
    assert!(matches!(scene.app().begin_oidc("nowhere", OidcPurpose::SignIn, "/").await, Err(Error::NotFound)));
    Ok(())
}

#[tokio::test]
async fn a_state_works_once_in_time_in_its_browser() -> Result<()> {
    let other = FakeOidc::start().await?;
    let fake = FakeOidc::start().await?;
    let second = corp(&other, CreateAccounts::No);
    let first = corp(&fake, CreateAccounts::No);
    let world = World::with(|config| {
        first(config);
        second(config);
        config.oidc[1].id = "other".parse().expect("an id");
    })
    .await?;
    let scene = Scene { world, fake };
    scene.wait(0);
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    scene.add(&ann, &person).await?;
    let is_refused = |result: Result<OidcOutcome, Error>| assert_eq!(refusal(result).code, "oidc_state");

    let back = scene.back(OidcPurpose::SignIn, &person).await?;
    session(scene.finish(&back, None).await?)?;
    is_refused(scene.finish(&back, None).await);

    // In another browser; and the try used the state up.
    let mut stolen = scene.back(OidcPurpose::SignIn, &person).await?;
    let own = std::mem::replace(&mut stolen.browser, SecretToken::generate(TokenKind::Browser));
    is_refused(scene.finish(&stolen, None).await);
    stolen.browser = own;
    is_refused(scene.finish(&stolen, None).await);

    let late = scene.back(OidcPurpose::SignIn, &person).await?;
    scene.world.wait(600);
    is_refused(scene.finish(&late, None).await);
    scene.wait(0);

    // At another provider.
    let back = scene.back(OidcPurpose::SignIn, &person).await?;
    let code = back.code.clone().map_err(anyhow::Error::msg)?;
    is_refused(scene.app().finish_oidc("other", &back.state, Ok(&code), &back.browser, None, &client()).await);

    // Who adds an identity is who began: nobody else, and not somebody who signed out.
    let bob = scene.world.person("bob").await?;
    let bobs = scene.fake.person("bob");
    for caller in [None, Some(&bob)] {
        let back = scene.back(OidcPurpose::Add(&ann, Some(&password())), &bobs).await?;
        is_refused(scene.finish(&back, caller).await);
    }
    assert_eq!(scene.app().list_identities(&ann).await?.len(), 1);
    is_refused(scene.app().finish_oidc("corp", "nonsense", Ok("x"), &SecretToken::generate(TokenKind::Browser), None, &client()).await);

    // A person who says no.
    let (url, browser) = scene.app().begin_oidc("corp", OidcPurpose::SignIn, "/").await?;
    let back = self::back(&scene.fake.deny(url.as_str()).await?, browser)?;
    let refused = refusal(scene.finish(&back, None).await);
    assert_eq!(refused.code, "oidc_denied");
    assert!(refused.detail.contains("access_denied"), "{}", refused.detail);
    Ok(())
}

#[tokio::test]
async fn an_identity_belongs_to_one_account_and_the_last_way_in_stays() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    let (ann, bob) = (scene.world.person("ann").await?, scene.world.person("bob").await?);
    let person = scene.fake.person("ann");
    scene.add(&ann, &person).await?;
    scene.add(&ann, &person).await?;
    let back = scene.back(OidcPurpose::Add(&bob, Some(&password())), &person).await?;
    assert_eq!(refusal(scene.finish(&back, Some(&bob)).await).code, "identity_taken");
    let [identity] = scene.app().list_identities(&ann).await?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    assert!(matches!(scene.app().remove_identity(&bob, identity.id, Some(&password())).await, Err(Error::NotFound)), "it is Ann's");
    // Ann has a password too.
    scene.app().remove_identity(&ann, identity.id, Some(&password())).await?;
    assert!(scene.app().list_identities(&ann).await?.is_empty());
    choice(scene.through(OidcPurpose::SignIn, &person, None).await?)?;

    // Eve has nothing else.
    let eves = scene.fake.person("eve");
    let back = scene.back(OidcPurpose::SignIn, &eves).await?;
    let (token, _) = choice(scene.finish(&back, None).await?)?;
    let sign_in = session(scene.app().finish_oidc_account("corp", token.expose(), "eve", &back.browser, &client()).await?)?;
    let eve = scene.app().caller_by_session(&sign_in.token, "127.0.0.1").await?.context("signed in")?;
    let only = scene.app().list_identities(&eve).await?.remove(0);
    let refused = refusal(scene.app().remove_identity(&eve, only.id, None).await);
    assert_eq!(refused.code, "last_way_in");
    assert_eq!(scene.app().list_identities(&eve).await?.len(), 1);
    let second = scene.fake.person("eve-2");
    scene.add(&eve, &second).await?;
    scene.app().remove_identity(&eve, only.id, None).await?;
    assert_eq!(scene.app().list_identities(&eve).await?[0].subject, second.subject);
    Ok(())
}

#[tokio::test]
async fn a_second_factor_is_asked_for_here_too() -> Result<()> {
    let scene = Scene::new(CreateAccounts::No).await?;
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    scene.add(&ann, &person).await?;
    let password: SecretString = "correct horse".to_owned().into();
    let made = scene.app().begin_second_factor(&ann, &password).await?;
    scene.app().confirm_second_factor(&ann, &authenticator(&made.secret_base32, scene.world.clock.now()), &client()).await?;
    scene.wait(30);
    let pending = match scene.through(OidcPurpose::SignIn, &person, None).await? {
        OidcOutcome::SecondFactor(pending, next) => {
            assert_eq!(next, "/somewhere?x=1");
            pending
        }
        other => bail!("no code was asked for: {other:?}"),
    };
    refusal(scene.app().finish_sign_in(&pending.token, "000000", &client()).await);
    let code = authenticator(&made.secret_base32, scene.world.clock.now());
    let sign_in = scene.app().finish_sign_in(&pending.token, &code, &client()).await?;
    assert_eq!(sign_in.account.id, ann.account().id);
    Ok(())
}

#[tokio::test]
async fn an_invitation_is_answered_through_a_provider() -> Result<()> {
    let scene = Scene::new(CreateAccounts::No).await?;
    let root = scene.app().administrator(&scene.world.administrator("root").await?)?;
    let wish = InvitationWish { email: None, expires_in: InvitationWish::DEFAULT_LIFE };
    let made = scene.app().invite(&root, &wish).await?;
    let token = made.url.path().rsplit('/').next().context("a token")?.to_owned();
    let person = scene.fake.person("new");
    let back = scene.back(OidcPurpose::Invitation(&token), &person).await?;
    let (choose, _) = choice(scene.finish(&back, None).await?)?;
    // Revoked in the meantime: no account.
    let second = scene.app().invite(&root, &wish).await?;
    let other = second.url.path().rsplit('/').next().context("a token")?.to_owned();
    let late = scene.back(OidcPurpose::Invitation(&other), &scene.fake.person("late")).await?;
    let (late_token, _) = choice(scene.finish(&late, None).await?)?;
    scene.app().revoke_invitation(&root, second.id).await?;
    let refused = scene.app().finish_oidc_account("corp", late_token.expose(), "late", &late.browser, &client()).await;
    assert!(matches!(refused, Err(Error::NotFound)), "{refused:?}");
    assert!(scene.account("late").await?.is_none());

    let from: ClientInfo = client();
    session(scene.app().finish_oidc_account("corp", choose.expose(), "newcomer", &back.browser, &from).await?)?;
    assert!(scene.account("newcomer").await?.is_some());
    assert!(matches!(scene.app().invitation(&token).await, Err(Error::NotFound)), "used up");
    assert!(matches!(scene.app().begin_oidc("corp", OidcPurpose::Invitation(&token), "/").await, Err(Error::NotFound)));
    // With a password nothing has changed for whoever has one.
    let ann = scene.world.person("ann").await?;
    let signed_in = scene.app().sign_in("ann", &"correct horse".to_owned().into(), &client()).await?;
    assert!(matches!(signed_in, SignedIn::Session(session) if session.account.id == ann.account().id));
    Ok(())
}

#[tokio::test]
async fn another_way_in_needs_the_password() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    let bearer = scene.world.token(&ann, "account").await?;
    let wrong: SecretString = "wrong horse".to_owned().into();
    for caller in [&ann, &bearer] {
        for typed in [None, Some(&wrong)] {
            let refused = refusal(scene.app().begin_oidc("corp", OidcPurpose::Add(caller, typed), "/").await);
            assert_eq!((refused.code, refused.field.as_deref()), ("password_wrong", Some("password")));
        }
    }
    scene.add(&ann, &person).await?;
    let [identity] = scene.app().list_identities(&ann).await?.try_into().map_err(|all| anyhow::anyhow!("{all:?}"))?;
    for caller in [&ann, &bearer] {
        for typed in [None, Some(&wrong)] {
            let refused = refusal(scene.app().remove_identity(caller, identity.id, typed).await);
            assert_eq!((refused.code, refused.field.as_deref()), ("password_wrong", Some("password")));
        }
    }
    assert_eq!(scene.app().list_identities(&ann).await?.len(), 1);

    // What was begun before the password became another one ends with it, also in the browser that changed it.
    let second = scene.fake.person("ann-2");
    let back = scene.back(OidcPurpose::Add(&ann, Some(&password())), &second).await?;
    let new: SecretString = "battery staple".to_owned().into();
    let sign_in = scene.app().change_password(&ann, &password(), &new, &client()).await?.context("a new session")?;
    let ann = scene.app().caller_by_session(&sign_in.token, "127.0.0.1").await?.context("signed in")?;
    assert_eq!(refusal(scene.finish(&back, Some(&ann)).await).code, "oidc_state");
    assert_eq!(scene.app().list_identities(&ann).await?.len(), 1);

    // Whoever is let in again shares the account with nobody.
    scene.app().recover_user("ann", &password()).await?;
    assert_eq!(scene.traces(&person).await?, (1, false));
    Ok(())
}

#[tokio::test]
async fn who_has_no_password_signs_in_again_for_another_way_in() -> Result<()> {
    let scene = Scene::new(CreateAccounts::Yes).await?;
    let eves = scene.fake.person("eve");
    let back = scene.back(OidcPurpose::SignIn, &eves).await?;
    let (token, _) = choice(scene.finish(&back, None).await?)?;
    let sign_in = session(scene.app().finish_oidc_account("corp", token.expose(), "eve", &back.browser, &client()).await?)?;
    let eve = scene.app().caller_by_session(&sign_in.token, "127.0.0.1").await?.context("signed in")?;
    scene.add(&eve, &scene.fake.person("eve-2")).await?;
    let bearer = scene.world.token(&eve, "account").await?;
    let first = scene.app().list_identities(&eve).await?.remove(0);
    let refused = refusal(scene.app().begin_oidc("corp", OidcPurpose::Add(&bearer, None), "/").await);
    assert_eq!(refused.code, "sign_in_again", "a token is no sign-in");
    assert_eq!(refusal(scene.app().remove_identity(&bearer, first.id, None).await).code, "sign_in_again");
    scene.wait(15 * 60 + 1);
    assert_eq!(refusal(scene.app().begin_oidc("corp", OidcPurpose::Add(&eve, None), "/").await).code, "sign_in_again");
    assert_eq!(refusal(scene.app().remove_identity(&eve, first.id, None).await).code, "sign_in_again");
    assert_eq!(scene.app().list_identities(&eve).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_long_way_on_is_not_kept() -> Result<()> {
    let scene = Scene::new(CreateAccounts::No).await?;
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    scene.add(&ann, &person).await?;
    for (length, kept) in [(500, true), (501, false)] {
        let next = format!("/{}", "x".repeat(length - 1));
        let (url, browser) = scene.app().begin_oidc("corp", OidcPurpose::SignIn, &next).await?;
        let back = back(&scene.fake.approve(url.as_str(), &person.subject).await?, browser)?;
        match scene.finish(&back, None).await? {
            OidcOutcome::SignedIn(_, to) => assert_eq!(to, if kept { next.as_str() } else { "/" }),
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

/// Of an identity that is removed while somebody comes back with it no session comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_waits_for_a_change_of_identities() -> Result<()> {
    let fake = FakeOidc::start().await?;
    let world = World::on_postgres(corp(&fake, CreateAccounts::No)).await?;
    let scene = Scene { world, fake };
    scene.wait(0);
    let (ann, person) = (scene.world.person("ann").await?, scene.fake.person("ann"));
    scene.add(&ann, &person).await?;
    let back = scene.back(OidcPurpose::SignIn, &person).await?;
    let mut change = scene.app().db().write().await?;
    accounts::lock(&mut change, ann.account().id).await?;
    identities::delete_all(&mut change, ann.account().id).await?;
    let mut sign_in = std::pin::pin!(scene.finish(&back, None));
    crate::sign_in::still_waits(sign_in.as_mut()).await?;
    change.commit().await?;
    assert_eq!(refusal(sign_in.await).code, "oidc_state");
    assert_eq!(scene.app().list_sessions(&ann).await?.len(), 1);
    Ok(())
}
