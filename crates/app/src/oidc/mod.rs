//! Signing in with OpenID Connect: flows, and the identities that stand with accounts.
//!
//! Invariants: an identity is issuer and subject; an e-mail address that a provider asserts finds nobody and merges nothing. A state works
//! once, within ten minutes, in the browser that it was made for. Whoever has a second factor still gives its code.

mod provider;

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountKind, AccountName, IdentityId, InvitationId, ProviderId, Scope, SecretToken, TokenKind};
use slipway_store::accounts::{self, Account};
use slipway_store::identities::{self, Identity, OidcFlow};
use slipway_store::{StoreError, WriteTx};
use url::Url;

use crate::audit::{self, Change, Place};
use crate::sign_in::SignedIn;
use crate::sign_up::{add_account, claimed_name};
use crate::{Actor, App, Caller, ClientInfo, Error, Refusal, RefusalKind, SignIn};

pub(crate) use provider::Discovered;
pub use provider::{CreateAccounts, OidcProvider};
use provider::{FlowSecrets, Person, line};

const FLOW_LIFE: Duration = Duration::from_secs(600);
const FLOW: &str = "oidc_flows.flow";
const PERSON: &str = "oidc_flows.person";
/// Where to go is kept with the flow; whoever wants a longer address begins at the start page.
const MAX_NEXT: usize = 500;
/// More of them no account needs.
const MAX_IDENTITIES: u64 = 20;

/// A provider as the sign-in page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcProviderView {
    /// As it stands in addresses.
    pub id: String,
    /// As people know it.
    pub name: String,
}

/// What somebody wants at a provider.
#[derive(Clone, Copy, Debug)]
pub enum OidcPurpose<'a> {
    /// Sign in.
    SignIn,
    /// Add the identity to the account that is signed in, proven by its password, or without one by a sign-in of just now.
    Add(&'a Caller, Option<&'a SecretString>),
    /// Answer an invitation, by its token.
    Invitation(&'a str),
}

/// How it ended.
#[derive(Debug)]
pub enum OidcOutcome {
    /// A session, and where to go.
    SignedIn(SignIn, String),
    /// The second factor is still to come, and where to go after it.
    SecondFactor(crate::PendingSignIn, String),
    /// The identity stands with the account, and where to go.
    Added(String),
    /// An account is made as soon as it has a name; see [`App::finish_oidc_account`].
    ChooseName {
        /// To be sent back with the name, from the same browser.
        token: SecretToken,
        /// A name that is free now, made of what the provider says.
        proposed: Option<AccountName>,
        /// What the provider calls the person.
        label: String,
        /// As people know the provider.
        provider: String,
        /// Where to go in the end.
        next: String,
    },
    /// The provider knows the person, but nobody here is them, and accounts are not made for everybody.
    Unknown {
        /// As people know the provider.
        provider: String,
        /// What it calls the person.
        label: String,
    },
}

impl OidcOutcome {
    fn of(signed_in: SignedIn, next: String) -> Self {
        match signed_in {
            SignedIn::Session(sign_in) => Self::SignedIn(sign_in, next),
            SignedIn::SecondFactor(pending) => Self::SecondFactor(pending, next),
        }
    }
}

fn bad_state() -> Error {
    let detail = "this answer belongs to no sign-in that waits for it: it was used before, has expired, or was begun in another browser";
    Refusal::new(RefusalKind::Bad, "oidc_state", detail).hint("begin again on the sign-in page").into()
}

fn taken() -> Error {
    Refusal::new(RefusalKind::Conflict, "identity_taken", "this identity belongs to another account here already")
        .hint("sign in with it, or remove it there first")
        .into()
}

impl App {
    fn oidc(&self, id: &str) -> Result<&OidcProvider, Error> {
        self.config.oidc.iter().find(|provider| provider.id.as_str() == id).ok_or(Error::NotFound)
    }

    fn oidc_callback(&self, provider: &ProviderId) -> Url {
        self.address(&format!("/oidc/{provider}/callback"))
    }

    /// The configured OpenID Connect providers.
    #[must_use]
    pub fn oidc_providers(&self) -> Vec<OidcProviderView> {
        self.config.oidc.iter().map(|provider| OidcProviderView { id: provider.id.to_string(), name: provider.name.clone() }).collect()
    }

    /// Begins a flow: where the browser goes, and what it keeps in a cookie until it comes back. `next` is a path of ours.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured or an invitation that is not valid; a refusal when the provider does not
    /// answer, and for who adds an identity without the proof (`password_wrong`, `sign_in_again`).
    pub async fn begin_oidc(&self, id: &str, purpose: OidcPurpose<'_>, next: &str) -> Result<(Url, SecretToken), Error> {
        let provider = self.oidc(id)?;
        let (account, invitation) = match purpose {
            OidcPurpose::SignIn => (None, None),
            OidcPurpose::Add(caller, password) => {
                caller.own_account()?;
                // Another way in outlives the session and every change of the password.
                self.prove(caller, password, "password").await?;
                (Some(caller.account().id), None)
            }
            OidcPurpose::Invitation(token) => (None, Some(self.account_invitation(token).await?)),
        };
        let now = self.clock.now();
        let (state, browser) = (SecretToken::generate(TokenKind::State), SecretToken::generate(TokenKind::Browser));
        let (url, secrets) = self.discovered.authorize(provider, &self.oidc_callback(&provider.id), state.expose(), now).await?;
        let flow = OidcFlow {
            provider: provider.id.to_string(),
            browser: browser.hash(),
            secrets_sealed: self.seal_flow(FLOW, &state, &secrets),
            account,
            invitation,
            next: if next.len() <= MAX_NEXT { next } else { "/" }.to_owned(),
        };
        let mut tx = self.write().await?;
        identities::insert_flow(&mut tx, &state.hash(), &flow, now.plus(FLOW_LIFE)).await?;
        tx.commit().await?;
        Ok((url, browser))
    }

    fn seal_flow(&self, place: &str, token: &SecretToken, value: &impl serde::Serialize) -> Vec<u8> {
        let text = serde_json::to_vec(value).expect("texts have a JSON form");
        self.keys.seal(&[place, &token.hash().to_hex()], &text)
    }

    fn open_flow<T: serde::de::DeserializeOwned>(&self, place: &str, token: &SecretToken, sealed: &[u8]) -> Result<T, Error> {
        let text = self.keys.open(&[place, &token.hash().to_hex()], sealed)?;
        serde_json::from_slice(&text).map_err(|_| Error::Sealed)
    }

    /// Finishes what [`App::begin_oidc`] began. `answer` is the code, or the provider's error word. `browser` is the cookie's value;
    /// `caller` is who is signed in there.
    ///
    /// # Errors
    /// A refusal for a state that is unknown, used, expired, or of another browser, provider or person, and for every answer of the
    /// provider that cannot be trusted. Nothing is written then.
    pub async fn finish_oidc(
        &self,
        id: &str,
        state: &str,
        answer: Result<&str, &str>,
        browser: &SecretToken,
        caller: Option<&Caller>,
        client: &ClientInfo,
    ) -> Result<OidcOutcome, Error> {
        let provider = self.oidc(id)?;
        let state = SecretToken::presented(TokenKind::State, state).ok_or_else(bad_state)?;
        let mut tx = self.write().await?;
        let flow = identities::take_flow(&mut tx, &state.hash(), self.clock.now()).await?;
        tx.commit().await?;
        let flow = flow.filter(|flow| flow.provider == provider.id.as_str() && flow.browser.matches(browser)).ok_or_else(bad_state)?;
        let adds = match (flow.account, caller) {
            (None, _) => None,
            (Some(account), Some(caller)) if caller.account().id == account => Some(caller),
            (Some(_), _) => return Err(bad_state()),
        };
        let code = answer.map_err(|word| {
            let detail = format!("{} did not sign you in: `{}`", provider.name, line(word, 60));
            Error::from(Refusal::new(RefusalKind::Bad, "oidc_denied", detail).hint("begin again, or sign in another way"))
        })?;
        let secrets: FlowSecrets = self.open_flow(FLOW, &state, &flow.secrets_sealed)?;
        let person = self.discovered.person(provider, &self.oidc_callback(&provider.id), code, secrets, &self.clock).await?;
        if let Some(caller) = adds {
            self.add_identity(caller, &person).await?;
            return Ok(OidcOutcome::Added(flow.next));
        }
        let mut tx = self.write().await?;
        let Some(identity) = identities::get(&mut tx, &person.issuer, &person.subject).await? else {
            drop(tx);
            return self.offer_account(provider, person, flow.invitation, browser, flow.next).await;
        };
        // Held as in `sign_in`; who waited for it looks again whether the identity still leads here.
        accounts::lock(&mut tx, identity.account).await?;
        let stands = identities::get(&mut tx, &person.issuer, &person.subject).await?.is_some_and(|now| now.id == identity.id);
        let account = accounts::get(&mut tx, identity.account).await?.filter(|_| stands).ok_or_else(bad_state)?;
        if account.kind != AccountKind::User {
            return Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", "nobody signs in as this account any more").into());
        }
        identities::set_used(&mut tx, identity.id, &person.label, self.clock.now()).await?;
        let signed_in = self.sign_in_proven(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(OidcOutcome::of(signed_in, flow.next))
    }

    /// Somebody whom nobody here is yet: with an invitation, or where accounts are made for everybody, they choose a name.
    async fn offer_account(
        &self,
        provider: &OidcProvider,
        person: Person,
        invitation: Option<InvitationId>,
        browser: &SecretToken,
        next: String,
    ) -> Result<OidcOutcome, Error> {
        let mut tx = self.write().await?;
        let invited = match invitation {
            Some(id) => self.invitation_makes_account(&mut tx, id).await?,
            None => false,
        };
        if !invited && provider.create_accounts == CreateAccounts::No {
            return Ok(OidcOutcome::Unknown { provider: provider.name.clone(), label: person.label });
        }
        let token = SecretToken::generate(TokenKind::SignIn);
        let flow = OidcFlow {
            provider: provider.id.to_string(),
            browser: browser.hash(),
            secrets_sealed: self.seal_flow(PERSON, &token, &person),
            account: None,
            invitation: invitation.filter(|_| invited),
            next: next.clone(),
        };
        identities::insert_flow(&mut tx, &token.hash(), &flow, self.clock.now().plus(FLOW_LIFE)).await?;
        let proposed = match person.proposed {
            Some(name) if accounts::name_in_the_way(&mut tx, &name).await?.is_none() => Some(name),
            _ => None,
        };
        tx.commit().await?;
        Ok(OidcOutcome::ChooseName { token, proposed, label: person.label, provider: provider.name.clone(), next })
    }

    /// Makes the account of [`OidcOutcome::ChooseName`] under a name that is free. A refused name leaves the choice open.
    ///
    /// # Errors
    /// A refusal for a name that cannot be, and for a token that is unknown, used, expired or of another browser.
    pub async fn finish_oidc_account(
        &self,
        id: &str,
        token: &str,
        name: &str,
        browser: &SecretToken,
        client: &ClientInfo,
    ) -> Result<OidcOutcome, Error> {
        let provider = self.oidc(id)?;
        let token = SecretToken::presented(TokenKind::SignIn, token).ok_or_else(bad_state)?;
        let now = self.clock.now();
        // Everything in one change: what refuses the name gives the token back too.
        let mut tx = self.write().await?;
        let flow = identities::take_flow(&mut tx, &token.hash(), now).await?;
        let flow = flow.filter(|flow| flow.provider == provider.id.as_str() && flow.browser.matches(browser)).ok_or_else(bad_state)?;
        let person: Person = self.open_flow(PERSON, &token, &flow.secrets_sealed)?;
        if identities::get(&mut tx, &person.issuer, &person.subject).await?.is_some() {
            return Err(taken());
        }
        if flow.invitation.is_none() && provider.create_accounts == CreateAccounts::No {
            return Err(bad_state());
        }
        let name = claimed_name(&mut tx, name).await?;
        let account = add_account(&mut tx, &name, None, ("provider", provider.id.to_string()), &client.address, now).await?;
        let actor = Actor::signing_in(&account, &client.address);
        self.keep_identity(&mut tx, &account, &actor, &person).await?;
        if let Some(invitation) = flow.invitation {
            self.use_invitation(&mut tx, invitation, &account, &actor).await?;
        }
        let signed_in = self.sign_in_proven(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(OidcOutcome::of(signed_in, flow.next))
    }

    async fn keep_identity(&self, tx: &mut WriteTx, account: &Account, actor: &Actor, person: &Person) -> Result<(), Error> {
        let now = self.clock.now();
        let identity = Identity {
            id: IdentityId::new(),
            account: account.id,
            issuer: person.issuer.clone(),
            subject: person.subject.clone(),
            label: person.label.clone(),
            created_at: now,
            last_used_at: None,
        };
        match identities::insert(tx, &identity).await {
            Err(StoreError::Conflict(_)) => return Err(taken()),
            other => other?,
        }
        let change =
            Change::new("identity.add", identity.label.as_str()).now(json!({"issuer": identity.issuer, "subject": identity.subject}));
        Ok(audit::write(tx, now, actor, Place::Account(account), change).await?)
    }

    async fn add_identity(&self, caller: &Caller, person: &Person) -> Result<(), Error> {
        let account = caller.account();
        let mut tx = self.write().await?;
        // Whoever ended this session meanwhile meant its flows too.
        accounts::lock(&mut tx, account.id).await?;
        caller.limits().demand_standing(&mut tx, self.clock.now()).await?;
        if let Some(identity) = identities::get(&mut tx, &person.issuer, &person.subject).await? {
            // Adding what stands is no mistake worth a refusal.
            return if identity.account == account.id { Ok(()) } else { Err(taken()) };
        }
        if identities::count_of(&mut tx, account.id).await? >= MAX_IDENTITIES {
            let detail = format!("this account has {MAX_IDENTITIES} identities, more are not accepted");
            return Err(Refusal::new(RefusalKind::Conflict, "identity_limit", detail).hint("remove one that is not used").into());
        }
        self.keep_identity(&mut tx, account, caller.actor(), person).await?;
        Ok(tx.commit().await?)
    }

    /// The identities of the caller's account, the oldest first.
    ///
    /// # Errors
    /// A missing scope.
    pub async fn list_identities(&self, caller: &Caller) -> Result<Vec<Identity>, Error> {
        caller.demand(Scope::Account)?;
        let mut tx = self.read().await?;
        Ok(identities::list(&mut tx, caller.account().id).await?)
    }

    /// Removes an identity, unless it is the last way in. The password is demanded of who has one.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not the caller's; a refusal: `password_wrong`, `sign_in_again`, `last_way_in`.
    pub async fn remove_identity(&self, caller: &Caller, id: IdentityId, password: Option<&SecretString>) -> Result<(), Error> {
        caller.own_account()?;
        let account = caller.account();
        let mut tx = self.read().await?;
        if !identities::list(&mut tx, account.id).await?.iter().any(|identity| identity.id == id) {
            return Err(Error::NotFound);
        }
        drop(tx);
        let proof = self.prove(caller, password, "password").await?;
        let mut tx = self.write().await?;
        // Of two removals at once the second one counts what the first one left.
        accounts::lock(&mut tx, account.id).await?;
        proof.demand_still(&mut tx, account.id).await?;
        let removed = identities::delete(&mut tx, account.id, id).await?.ok_or(Error::NotFound)?;
        let has_password = accounts::get_password_hash(&mut tx, account.id).await?.is_some();
        if !has_password && identities::count_of(&mut tx, account.id).await? == 0 {
            return Err(Refusal::new(RefusalKind::Conflict, "last_way_in", "this is the only way to sign in to this account")
                .hint("set a password or add another identity first")
                .into());
        }
        let change =
            Change::new("identity.remove", removed.label.as_str()).old(json!({"issuer": removed.issuer, "subject": removed.subject}));
        audit::write(&mut tx, self.clock.now(), caller.actor(), Place::Account(account), change).await?;
        Ok(tx.commit().await?)
    }
}
