//! Making a link: what is offered, the way to the provider and back, and what follows from the answer.
//!
//! Invariants: a state works once, in time, for whoever began it; the link is of the person that the provider names after the exchange, and
//! never replaces another person's; tokens are sealed for their row before they are written.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway_forge::{AuthorizeRequest, Forge, Grant, Offer, Person};
use slipway_model::{
    AccessLevel, AccountKind, AccountName, LinkId, LinkState, LinkedAs, ProviderId, Scope, SecretToken, Timestamp, TokenKind,
};
use slipway_store::accounts::{self, OauthFlow};
use slipway_store::links::{self, Link};
use slipway_store::{sessions, sources};
use url::Url;

use super::view::{missing, scope_views};
use super::{ACCESS_TOKEN, LinkView, REFRESH_TOKEN, ScopeView, VERIFIER, health};
use crate::audit::{self, Change, Place};
use crate::{App, Caller, Error, NamespaceOwner, Refusal, RefusalKind};

const FLOW_LIFE: Duration = Duration::from_secs(600);

/// What a person wants of a new link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectWish {
    /// How much shall be asked for.
    pub access: AccessLevel,
    /// Whom the account at the provider belongs to.
    pub linked_as: LinkedAs,
}

impl Default for ConnectWish {
    fn default() -> Self {
        Self { access: AccessLevel::Full, linked_as: LinkedAs::Person }
    }
}

/// What a person can choose from before going to the provider, and what there is to know.
#[derive(Clone, Debug, Serialize)]
pub struct Offers {
    /// The whole first.
    pub offers: Vec<OfferView>,
    /// Whom to link, when the namespace is an organization's.
    pub advice: Option<String>,
    /// Who is linked already: choosing the same account there renews that link, another one adds a link.
    pub linked: Vec<String>,
}

/// One of the levels.
#[derive(Clone, Debug, Serialize)]
pub struct OfferView {
    /// How much it is.
    pub level: AccessLevel,
    /// What can be done with it and what not.
    pub words: String,
    /// What is asked for, and why.
    pub scopes: Vec<ScopeView>,
}

/// A link that was just made, and for whom.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The namespace that it was begun for.
    pub namespace: AccountName,
    /// The link.
    pub link: LinkView,
    /// What there is to know: a second person, a scope that was not granted.
    pub notes: Vec<String>,
}

pub(super) fn person_warning(login: &str) -> String {
    format!(
        "`{login}` is linked as a person: builds of this organization stop when that person leaves; link a service user that only the \
         organization owns"
    )
}

fn random_verifier() -> SecretString {
    // 64 hexadecimal digits: RFC 7636 asks for 43 to 128 characters of unreserved ones.
    SecretToken::generate(TokenKind::State).expose()[TokenKind::State.prefix().len()..].to_owned().into()
}

/// PKCE S256 (RFC 7636, 4.2).
fn challenge(verifier: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret().as_bytes()))
}

fn offer_of(forge: &dyn Forge, access: AccessLevel) -> Result<&'static Offer, Error> {
    forge.offers().iter().find(|offer| offer.level == access).ok_or_else(|| {
        let offered = forge.offers().iter().map(|offer| format!("`{}`", offer.level)).collect::<Vec<_>>().join(", ");
        Error::invalid("access", "access", format!("`{}` does not offer `{access}`, it offers {offered}", forge.provider().id))
    })
}

fn bad_state(detail: &str) -> Error {
    Refusal::new(RefusalKind::Bad, "oauth_state", detail).hint("begin again under Source providers").into()
}

const UNKNOWN_STATE: &str =
    "this answer of the provider belongs to no connection that waits for it: it was used before, has expired, or was begun elsewhere";

/// A link that was chosen, granted, and is about to be written.
struct Made<'a> {
    owner: &'a NamespaceOwner,
    by: &'a Caller,
    provider: &'a ProviderId,
    flow: &'a OauthFlow,
    grant: Grant,
    person: Person,
}

impl App {
    /// What linking the provider asks for and why, before anybody is sent there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured.
    pub async fn offers(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<Offers, Error> {
        let forge = self.forge(provider)?;
        let mut tx = self.read().await?;
        let linked = links::list_by_provider(&mut tx, owner.account().id, provider).await?;
        let words = |scopes: &[&str]| scope_views(forge.as_ref(), &scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
        let view = |offer: &Offer| OfferView { level: offer.level, words: offer.words.to_owned(), scopes: words(offer.scopes) };
        let organization = owner.account().kind == AccountKind::Organization;
        let advice = "link a service user that the organization owns: a link of a person ends when the person leaves";
        Ok(Offers {
            offers: forge.offers().iter().map(view).collect(),
            advice: organization.then(|| advice.to_owned()),
            linked: linked.into_iter().map(|link| link.login).collect(),
        })
    }

    /// Begins to link a provider: the address at the provider to send the person to. The flow is bound to this caller.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured; a refusal for a level that it does not offer.
    pub async fn begin_connect(
        &self,
        owner: &NamespaceOwner,
        caller: &Caller,
        provider: &ProviderId,
        wish: ConnectWish,
    ) -> Result<Url, Error> {
        let forge = self.forge(provider)?;
        let offer = offer_of(forge.as_ref(), wish.access)?;
        let now = self.clock.now();
        let state = SecretToken::generate(TokenKind::State);
        let verifier = random_verifier();
        let challenge = challenge(&verifier);
        let flow = OauthFlow {
            account: owner.account().id,
            provider: provider.clone(),
            initiator: caller.initiator().0,
            verifier_sealed: self.keys.seal(&[VERIFIER, &state.hash().to_hex()], verifier.expose_secret().as_bytes()),
            access: wish.access,
            linked_as: wish.linked_as,
        };
        let mut tx = self.write().await?;
        accounts::insert_flow(&mut tx, &state.hash(), &flow, now, now.plus(FLOW_LIFE)).await?;
        tx.commit().await?;
        let redirect_uri = self.callback(provider);
        Ok(forge.authorize_url(&AuthorizeRequest {
            redirect_uri: &redirect_uri,
            state: state.expose(),
            challenge: &challenge,
            scopes: offer.scopes,
        }))
    }

    fn callback(&self, provider: &ProviderId) -> Url {
        self.address(&format!("/oauth/{provider}/callback"))
    }

    /// Does something to its end that a caller who goes away must not break off. A shutdown waits for it.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn to_the_end<T>(&self, work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
    {
        self.renewals.spawn(work).await.map_err(|_| Error::Internal("work that nobody may break off did not end"))?
    }

    /// Finishes what [`App::begin_connect`] began. `answer` is the code, or the provider's error word when the person said no. To be done
    /// [`App::to_the_end`]: between the exchange of the code and the row there is a grant that nobody knows of.
    ///
    /// # Errors
    /// A refusal for a state that is unknown, used, expired, of another provider or begun by somebody else; no row is written then.
    pub async fn finish_connect(
        &self,
        caller: &Caller,
        provider: &ProviderId,
        state: &str,
        answer: Result<&str, &str>,
    ) -> Result<Linked, Error> {
        let forge = self.forge(provider)?;
        let state = SecretToken::presented(TokenKind::State, state).ok_or_else(|| bad_state(UNKNOWN_STATE))?;
        let flow = self.take_flow(caller, provider, &state).await?;
        // The right over the namespace may be gone since the flow began.
        let mut tx = self.read().await?;
        let namespace = accounts::get(&mut tx, flow.account).await?.ok_or_else(|| bad_state(UNKNOWN_STATE))?;
        drop(tx);
        let owner = match self.namespace(caller, &namespace.name, Scope::RepoAdmin).await {
            Err(Error::NotFound) => return Err(bad_state(UNKNOWN_STATE)),
            other => other?,
        };
        let code = answer.map_err(|word| {
            let word: String = word.chars().filter(|c| c.is_ascii_graphic()).take(60).collect();
            Error::from(
                Refusal::new(RefusalKind::Bad, "oauth_denied", format!("the provider did not grant access: `{word}`"))
                    .hint("begin again and choose Authorize"),
            )
        })?;
        let verifier = self.keys.open_text(&[VERIFIER, &state.hash().to_hex()], &flow.verifier_sealed)?;
        let grant = forge.exchange_code(code, &self.callback(provider), &verifier).await.map_err(Error::forge(provider))?;
        let person = forge.person(&grant.access_token).await.map_err(Error::forge(provider))?;
        let (link, notes) = self.keep_link(Made { owner: &owner, by: caller, provider, flow: &flow, grant, person }).await?;
        // So that the page that follows shows the organizations; when the provider is slow, the loop brings them.
        self.read_namespaces_soon(&link).await;
        self.wake_links();
        let view = self.get_link(&owner, provider, Some(link.id)).await?;
        Ok(Linked { namespace: owner.account().name.clone(), link: view, notes })
    }

    async fn take_flow(&self, caller: &Caller, provider: &ProviderId, state: &SecretToken) -> Result<OauthFlow, Error> {
        let mut tx = self.write().await?;
        let flow = accounts::take_flow(&mut tx, &state.hash(), self.clock.now()).await?;
        tx.commit().await?;
        let flow = flow.filter(|flow| flow.provider == *provider && flow.initiator == caller.initiator().0);
        flow.ok_or_else(|| bad_state(UNKNOWN_STATE))
    }

    /// Writes the link, and what follows: it serves what no other link serves, missing hooks are wanted, heads are compared.
    async fn keep_link(&self, made: Made<'_>) -> Result<(Link, Vec<String>), Error> {
        let forge = self.forge(made.provider)?;
        let (account, now) = (made.flow.account, self.clock.now());
        let mut tx = self.read().await?;
        let id = links::identity(&mut tx, account, made.provider, &made.person.id).await?.unwrap_or_else(LinkId::new);
        let others = links::list_by_provider(&mut tx, account, made.provider).await?;
        drop(tx);
        let link = self.link_row(forge.as_ref(), id, &made, now);
        let mut tx = self.write().await?;
        if !links::upsert(&mut tx, &link).await? {
            let detail = format!("the link of `{}` to `{}` is being unlinked, or was made at the same moment", link.login, link.provider);
            return Err(Refusal::new(RefusalKind::Conflict, "unlinking", detail)
                .hint("wait until the receipt under Source providers is complete, then link again")
                .into());
        }
        // With an App whoever serves uses its installation's tokens, so the next call sees first what the person may; then it takes over.
        if forge.provider().app.is_none() {
            sources::adopt_unserved(&mut tx, account, made.provider, id).await?;
        }
        // What is linked is a right: the browser gets a new session id.
        sessions::mark_renew(&mut tx, made.by.account().id).await?;
        let again = self.mended(&mut tx, account, made.provider).await?;
        self.want_missing_hooks(&mut tx, account, made.provider).await?;
        let facts = json!({"login": link.login, "scopes": link.scopes, "access": link.access, "linked_as": link.linked_as});
        let change = Change::new("link.connect", made.provider.as_str()).now(facts);
        audit::write(&mut tx, now, made.owner.actor(), Place::Account(made.owner.account()), change).await?;
        tx.commit().await?;
        self.builds_queued(again);
        let notes = notes(forge.as_ref(), &link, &others, made.owner.account().kind);
        Ok((link, notes))
    }

    fn link_row(&self, forge: &dyn Forge, id: LinkId, made: &Made<'_>, now: Timestamp) -> Link {
        let row = id.to_string();
        let seal = |column: &str, secret: &SecretString| self.keys.seal(&[column, &row], secret.expose_secret().as_bytes());
        let (grant, person) = (&made.grant, &made.person);
        let scopes = if grant.scopes.is_empty() { person.scopes.clone() } else { grant.scopes.clone() };
        let token_expires_at = grant.expires_in.map(|life| now.plus(life));
        let missing = missing(forge, made.flow.access, &scopes);
        let (state, evidence) = if missing.is_empty() {
            health::by_expiry(grant.refresh_token.is_some(), token_expires_at, now)
        } else {
            (LinkState::ScopeMissing, Some(health::missing_words(forge, &missing)))
        };
        Link {
            id,
            account: made.flow.account,
            provider: made.provider.clone(),
            remote_user_id: person.id.clone(),
            login: person.login.clone(),
            display_name: person.name.clone(),
            access: made.flow.access,
            linked_as: made.flow.linked_as,
            scopes,
            access_token_sealed: seal(ACCESS_TOKEN, &grant.access_token),
            refresh_token_sealed: grant.refresh_token.as_ref().map(|token| seal(REFRESH_TOKEN, token)),
            token_expires_at,
            token_version: 1,
            state,
            since: now,
            evidence,
            evidence_status: None,
            failures: 0,
            probe_marker: None,
            // Whoever linked saw it: nobody has to be told by mail.
            told_since: (state != LinkState::Ok).then_some(now),
            unlinking: false,
            avatar_url: person.avatar_url.clone().map(String::from),
            checked_at: Some(now),
            next_check_at: now,
            linked_at: now,
            created_at: now,
        }
    }
}

fn notes(forge: &dyn Forge, link: &Link, others: &[Link], kind: AccountKind) -> Vec<String> {
    let mut notes = Vec::new();
    let before: Vec<String> = others.iter().filter(|other| other.id != link.id).map(|other| format!("`{}`", other.login)).collect();
    if others.iter().any(|other| other.id == link.id) {
        notes.push(format!("`{}` was linked already: the link was renewed and everything that stood was kept", link.login));
    } else if !before.is_empty() {
        let stays = if before.len() == 1 { "stays linked" } else { "stay linked" };
        notes.push(format!(
            "{} {stays}: `{}` is another account at the provider, so this is a further link",
            before.join(", "),
            link.login
        ));
    }
    let missing = missing(forge, link.access, &link.scopes);
    if !missing.is_empty() {
        notes.push(health::missing_words(forge, &missing));
    }
    if kind == AccountKind::Organization && link.linked_as == LinkedAs::Person {
        notes.push(person_warning(&link.login));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_rfc_7636s() {
        // Appendix B of the RFC.
        assert_eq!(
            challenge(&"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned().into()),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        let length = random_verifier().expose_secret().len();
        assert!((43..=128).contains(&length), "{length}");
    }
}
