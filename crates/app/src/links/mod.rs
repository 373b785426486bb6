//! Links to providers: connect, see, disable, enable, unlink with a receipt.

pub(crate) mod access;
mod refresh;
pub(crate) mod words;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway_forge::{AuthorizeRequest, Forge, ForgeError, Page, Removal, SourceNamespace, SourceRepository};
use slipway_model::{AccessLevel, AccountName, LinkId, LinkState, LinkedAs, ProviderId, Scope, SecretToken, Timestamp, TokenKind};
use slipway_store::accounts::{self, OauthFlow};
use slipway_store::hooks::{self, Hook};
use slipway_store::links::{self, Link};
use slipway_store::repositories;
use url::Url;

use crate::audit::{self, Change, Place};
use crate::{App, Caller, Error, NamespaceOwner, Refusal, RefusalKind};

const FLOW_LIFE: Duration = Duration::from_secs(600);
const ACCESS_TOKEN: &str = "links.access_token";
const REFRESH_TOKEN: &str = "links.refresh_token";
const VERIFIER: &str = "oauth_flows.verifier";

/// Whether a link shall be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkSwitch {
    /// Use it.
    Enable,
    /// Keep it, but send nothing to the provider and take nothing from it.
    Disable,
}

/// A provider as an account sees it: linked or not.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// The provider's id.
    pub provider: ProviderId,
    /// `github`, ...
    pub kind: slipway_model::ProviderKind,
    /// The provider's own address.
    pub web_url: String,
    /// Who is linked.
    pub login: Option<String>,
    /// How it is.
    pub state: LinkState,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// What the state was concluded from.
    pub evidence: Option<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// What a link asks for.
    pub scopes_asked: Vec<String>,
    /// Where the grant is seen and changed at the provider.
    pub grant_url: Option<String>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// Names of the repositories that are built through it.
    pub affects: Vec<String>,
}

/// A link that was just made, and for whom.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The namespace that it was begun for.
    pub namespace: AccountName,
    /// The link.
    pub link: LinkView,
}

/// One thing that an unlink did or could not do.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptItem {
    /// In words.
    pub what: String,
    /// Where a person can finish it.
    pub url: Option<String>,
}

/// What became of everything that a link had made.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// Which provider.
    pub provider: ProviderId,
    /// Who was linked.
    pub login: String,
    /// When.
    pub at: Timestamp,
    /// Done.
    pub done: Vec<ReceiptItem>,
    /// Not done, with the address where a person can do it.
    pub left: Vec<ReceiptItem>,
    /// Repositories that are not built any more.
    pub stopped: Vec<String>,
}

/// What an unlink would do.
#[derive(Clone, Debug, Serialize)]
pub struct UnlinkPreview {
    /// The link.
    pub link: LinkView,
    /// Source repositories that have a hook of ours.
    pub hooks: Vec<String>,
    /// Repositories that would not be built any more.
    pub stops: Vec<String>,
}

fn random_verifier() -> SecretString {
    // 64 hexadecimal digits: RFC 7636 asks for 43 to 128 characters of unreserved ones.
    SecretToken::generate(TokenKind::State).expose()[TokenKind::State.prefix().len()..].to_owned().into()
}

/// PKCE S256 (RFC 7636, 4.2).
fn challenge(verifier: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret().as_bytes()))
}

impl App {
    pub(crate) fn forge(&self, provider: &ProviderId) -> Result<&std::sync::Arc<dyn Forge>, Error> {
        self.forges.get(provider).ok_or(Error::NotFound)
    }

    fn callback(&self, provider: &ProviderId) -> Url {
        self.address(&format!("/oauth/{provider}/callback"))
    }

    /// Begins to link a provider: the address at the provider to send the person to. The flow is bound to this caller.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured.
    pub async fn begin_connect(&self, owner: &NamespaceOwner, caller: &Caller, provider: &ProviderId) -> Result<Url, Error> {
        let forge = self.forge(provider)?;
        let now = self.clock.now();
        let state = SecretToken::generate(TokenKind::State);
        let verifier = random_verifier();
        let challenge = challenge(&verifier);
        let flow = OauthFlow {
            account: owner.account().id,
            provider: provider.clone(),
            initiator: caller.initiator().0,
            verifier_sealed: self.keys.seal(&[VERIFIER, &state.hash().to_hex()], verifier.expose_secret().as_bytes()),
            access: AccessLevel::Full,
            linked_as: LinkedAs::Person,
        };
        let mut tx = self.write().await?;
        accounts::insert_flow(&mut tx, &state.hash(), &flow, now, now.plus(FLOW_LIFE)).await?;
        tx.commit().await?;
        let redirect_uri = self.callback(provider);
        Ok(forge.authorize_url(&AuthorizeRequest {
            redirect_uri: &redirect_uri,
            state: state.expose(),
            challenge: &challenge,
            scopes: forge.offers()[0].scopes,
        }))
    }

    /// Finishes what [`App::begin_connect`] began. `answer` is the code, or the provider's error word when the person said no.
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
        let refused =
            |detail: &str| Error::from(Refusal::new(RefusalKind::Bad, "oauth_state", detail).hint("begin again under Source providers"));
        let unknown = "this answer of the provider belongs to no connection that waits for it: it was used before, has expired, or was begun elsewhere";
        let forge = self.forge(provider)?;
        let state = SecretToken::presented(TokenKind::State, state).ok_or_else(|| refused(unknown))?;
        let mut tx = self.write().await?;
        let flow = accounts::take_flow(&mut tx, &state.hash(), self.clock.now()).await?;
        tx.commit().await?;
        let flow = flow.filter(|flow| flow.provider == *provider && flow.initiator == caller.initiator().0);
        let flow = flow.ok_or_else(|| refused(unknown))?;
        // The right over the namespace may be gone since the flow began.
        let mut tx = self.read().await?;
        let namespace = accounts::get(&mut tx, flow.account).await?.ok_or_else(|| refused(unknown))?;
        drop(tx);
        let owner = match self.namespace(caller, &namespace.name, Scope::RepoAdmin).await {
            Err(Error::NotFound) => return Err(refused(unknown)),
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
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let id = links::identity(&mut tx, flow.account, provider, &person.id).await?.unwrap_or_else(LinkId::new);
        drop(tx);
        let row = id.to_string();
        let seal = |column: &str, secret: &SecretString| self.keys.seal(&[column, &row], secret.expose_secret().as_bytes());
        let link = Link {
            id,
            account: flow.account,
            provider: provider.clone(),
            remote_user_id: person.id,
            login: person.login,
            display_name: person.name,
            access: AccessLevel::Full,
            linked_as: LinkedAs::Person,
            scopes: if grant.scopes.is_empty() { person.scopes } else { grant.scopes },
            access_token_sealed: seal(ACCESS_TOKEN, &grant.access_token),
            refresh_token_sealed: grant.refresh_token.as_ref().map(|token| seal(REFRESH_TOKEN, token)),
            token_expires_at: grant.expires_in.map(|life| now.plus(life)),
            state: LinkState::Ok,
            since: now,
            token_version: 1,
            evidence: None,
            evidence_status: None,
            failures: 0,
            probe_marker: None,
            told_since: None,
            unlinking: false,
            avatar_url: person.avatar_url.map(String::from),
            checked_at: Some(now),
            next_check_at: now,
            linked_at: now,
            created_at: now,
        };
        let mut tx = self.write().await?;
        links::upsert(&mut tx, &link).await?;
        self.want_missing_hooks(&mut tx, flow.account, provider).await?;
        let view = self.view(&mut tx, provider, flow.account, Some(&link)).await?;
        let change = Change::new("link.connect", provider.as_str()).now(json!({"login": link.login, "scopes": link.scopes}));
        audit::write(&mut tx, now, owner.actor(), Place::Account(owner.account()), change).await?;
        tx.commit().await?;
        self.wake.hooks.notify_one();
        Ok(Linked { namespace: owner.account().name.clone(), link: view })
    }

    async fn view(
        &self,
        tx: &mut slipway_store::ReadTx,
        provider: &ProviderId,
        account: slipway_model::AccountId,
        link: Option<&Link>,
    ) -> Result<LinkView, Error> {
        let forge = self.forge(provider)?;
        Ok(LinkView {
            provider: provider.clone(),
            kind: forge.provider().kind,
            web_url: forge.provider().web_url.to_string(),
            login: link.map(|link| link.login.clone()),
            state: link.map_or(LinkState::NotLinked, |link| link.state),
            since: link.map(|link| link.since),
            evidence: link.and_then(|link| link.evidence.clone()),
            scopes: link.map(|link| link.scopes.clone()).unwrap_or_default(),
            scopes_asked: forge.offers()[0].scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            grant_url: link.map(|_| forge.app_settings_url().to_string()),
            checked_at: link.and_then(|link| link.checked_at),
            affects: repositories::list_names_by_provider(tx, account, provider).await?,
        })
    }

    /// Every configured provider, linked or not.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_links(&self, owner: &NamespaceOwner) -> Result<Vec<LinkView>, Error> {
        let mut tx = self.read().await?;
        let account = owner.account().id;
        let stored = links::list(&mut tx, account).await?;
        let mut views = Vec::new();
        for provider in self.forges.keys() {
            let link = stored.iter().find(|link| link.provider == *provider);
            views.push(self.view(&mut tx, provider, account, link).await?);
        }
        Ok(views)
    }

    /// One provider, linked or not.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not configured.
    pub async fn get_link(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<LinkView, Error> {
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, owner.account().id, provider).await?;
        self.view(&mut tx, provider, owner.account().id, link.as_ref()).await
    }

    /// Disables a link without revoking it, or enables it again.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no link.
    pub async fn switch_link(&self, owner: &NamespaceOwner, provider: &ProviderId, switch: LinkSwitch) -> Result<LinkView, Error> {
        let account = owner.account().id;
        let mut tx = self.write().await?;
        let link = links::get(&mut tx, account, provider).await?.ok_or(Error::NotFound)?;
        let (state, evidence) = match switch {
            LinkSwitch::Enable if link.state == LinkState::Disabled => (LinkState::Ok, None),
            LinkSwitch::Enable => (link.state, link.evidence.clone()),
            LinkSwitch::Disable => (LinkState::Disabled, Some(format!("disabled by {}", owner.actor().name))),
        };
        let action = match switch {
            LinkSwitch::Enable => "link.enable",
            LinkSwitch::Disable => "link.disable",
        };
        let change = Change::new(action, provider.as_str()).old(json!({"state": link.state})).now(json!({"state": state}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(owner.account()), change).await?;
        links::set_state(&mut tx, link.id, state, evidence.as_deref(), self.clock.now()).await?;
        let link = links::get(&mut tx, account, provider).await?;
        let view = self.view(&mut tx, provider, account, link.as_ref()).await?;
        tx.commit().await?;
        self.wake.hooks.notify_one();
        Ok(view)
    }

    /// Asks the provider whether the link still works, and keeps the answer.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no link. A provider that refuses is a state, not an error.
    pub async fn check_link(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<LinkView, Error> {
        let account = owner.account().id;
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, account, provider).await?.ok_or(Error::NotFound)?;
        drop(tx);
        if link.state == LinkState::Disabled {
            return self.get_link(owner, provider).await;
        }
        let token = self.link_token(&link)?;
        let (state, evidence) = match self.forge(provider)?.person(&token).await {
            Ok(person) if person.id == link.remote_user_id => (LinkState::Ok, None),
            Ok(person) => (LinkState::Error, Some(format!("the token belongs to `{}` now, expected `{}`", person.login, link.login))),
            Err(error @ ForgeError::Unauthorized { .. }) => (LinkState::Revoked, Some(error.to_string())),
            Err(error) => (LinkState::Error, Some(error.to_string())),
        };
        let mut tx = self.write().await?;
        links::set_state(&mut tx, link.id, state, evidence.as_deref(), self.clock.now()).await?;
        tx.commit().await?;
        self.get_link(owner, provider).await
    }

    pub(crate) fn link_token(&self, link: &Link) -> Result<SecretString, Error> {
        self.keys.open_text(&[ACCESS_TOKEN, &link.id.to_string()], &link.access_token_sealed)
    }

    /// The token of a link that may be used now.
    pub(crate) async fn usable_link(
        &self,
        account: slipway_model::AccountId,
        provider: &ProviderId,
    ) -> Result<(Link, SecretString), Error> {
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, account, provider).await?;
        drop(tx);
        let unavailable =
            |code, detail: String| Error::from(Refusal::new(RefusalKind::Conflict, code, detail).hint("see Source providers"));
        let link = link.ok_or_else(|| unavailable("not_linked", format!("the provider `{provider}` is not linked")))?;
        if link.state == LinkState::Disabled {
            return Err(unavailable("link_disabled", format!("the link to `{provider}` is disabled")));
        }
        let token = self.link_token(&link)?;
        Ok((link, token))
    }

    /// The namespaces at the provider that the linked person sees.
    ///
    /// # Errors
    /// A refusal when the link cannot be used; the provider's trouble.
    pub async fn source_namespaces(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<Vec<SourceNamespace>, Error> {
        let forge = self.forge(provider)?;
        let (_, token) = self.usable_link(owner.account().id, provider).await?;
        forge.source_namespaces(&token).await.map_err(Error::forge(provider))
    }

    /// A page of a namespace's source repositories.
    ///
    /// # Errors
    /// As [`App::source_namespaces`].
    pub async fn source_repositories(
        &self,
        owner: &NamespaceOwner,
        provider: &ProviderId,
        namespace: &str,
        query: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, Error> {
        let query = query.trim().to_lowercase();
        let forge = self.forge(provider)?;
        let (_, token) = self.usable_link(owner.account().id, provider).await?;
        let mut page = forge.source_repositories(&token, namespace, cursor).await.map_err(Error::forge(provider))?;
        page.items.retain(|repository| repository.full_name.to_lowercase().contains(&query));
        Ok(page)
    }

    /// What an unlink would remove and stop.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no link.
    pub async fn preview_unlink(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<UnlinkPreview, Error> {
        let account = owner.account().id;
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, account, provider).await?.ok_or(Error::NotFound)?;
        let hooks = hooks::list_by_provider(&mut tx, account, provider)
            .await?
            .into_iter()
            .filter(|hook| hook.remote_id.is_some())
            .map(|hook| hook.source_name)
            .collect();
        let link = self.view(&mut tx, provider, account, Some(&link)).await?;
        Ok(UnlinkPreview { hooks, stops: link.affects.clone(), link })
    }

    /// Unlinks: hooks first, then the grant, then our tokens. (Hooks survive the grant at GitHub, and without the grant nobody could remove them.)
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no link. What a provider refuses is in the receipt, not an error.
    pub async fn unlink(&self, owner: &NamespaceOwner, provider: &ProviderId) -> Result<Receipt, Error> {
        let account = owner.account().id;
        let forge = self.forge(provider)?.clone();
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let link = links::get(&mut tx, account, provider).await?.ok_or(Error::NotFound)?;
        let hooks = hooks::list_by_provider(&mut tx, account, provider).await?;
        for hook in &hooks {
            hooks::set_unwanted(&mut tx, hook.id, now).await?;
        }
        let stopped = repositories::list_names_by_provider(&mut tx, account, provider).await?;
        tx.commit().await?;
        let mut receipt =
            Receipt { provider: provider.clone(), login: link.login.clone(), at: now, done: Vec::new(), left: Vec::new(), stopped };
        // A disabled link promises that nothing is sent; unlinking it is the person's word that now something shall be.
        match self.link_token(&link) {
            Ok(token) => self.remove_at_provider(forge.as_ref(), &token, &hooks, &mut receipt).await,
            Err(_) => receipt.left.push(ReceiptItem {
                what: "hooks and grant: the stored token cannot be opened".into(),
                url: Some(forge.app_settings_url().to_string()),
            }),
        }
        let mut tx = self.write().await?;
        for hook in &hooks {
            hooks::delete(&mut tx, hook.id).await?;
        }
        links::delete(&mut tx, link.id).await?;
        let change = Change::new("link.unlink", provider.as_str())
            .old(json!({"login": link.login}))
            .now(json!({"left_at_provider": receipt.left.iter().map(|item| item.what.as_str()).collect::<Vec<_>>()}));
        audit::write(&mut tx, now, owner.actor(), Place::Account(owner.account()), change).await?;
        tx.commit().await?;
        receipt.done.push(ReceiptItem { what: "our copy of the tokens was deleted".into(), url: None });
        Ok(receipt)
    }

    async fn remove_at_provider(&self, forge: &dyn Forge, token: &SecretString, hooks: &[Hook], receipt: &mut Receipt) {
        for hook in hooks {
            let Some(remote_id) = &hook.remote_id else { continue };
            let what = format!("webhook {remote_id} of {}", hook.source_name);
            match forge.delete_hook(token, &hook.source_name, remote_id).await {
                Ok(Removal::Removed) => receipt.done.push(ReceiptItem { what: format!("{what} was removed"), url: None }),
                Ok(Removal::AlreadyGone) => receipt.done.push(ReceiptItem { what: format!("{what} was gone already"), url: None }),
                Err(error) => {
                    let url = format!("{}/{}/settings/hooks", forge.provider().web_url.as_str().trim_end_matches('/'), hook.source_name);
                    receipt.left.push(ReceiptItem { what: format!("{what}: {error}"), url: Some(url) });
                }
            }
        }
        match forge.revoke_grant(token).await {
            Ok(Removal::Removed) => receipt.done.push(ReceiptItem { what: "the grant was revoked at the provider".into(), url: None }),
            Ok(Removal::AlreadyGone) => receipt.done.push(ReceiptItem { what: "the grant was gone already".into(), url: None }),
            Err(error) => receipt
                .left
                .push(ReceiptItem { what: format!("the grant at the provider: {error}"), url: Some(forge.app_settings_url().to_string()) }),
        }
    }
}

#[cfg(test)]
pub(crate) fn sample(state: LinkState) -> Link {
    let at = Timestamp::from_millis(1_700_000_000_000);
    Link {
        id: LinkId::new(),
        account: slipway_model::AccountId::new(),
        provider: "github".parse().unwrap(),
        remote_user_id: "1".into(),
        login: "octo".into(),
        display_name: None,
        access: AccessLevel::Full,
        linked_as: LinkedAs::Person,
        scopes: Vec::new(),
        access_token_sealed: Vec::new(),
        refresh_token_sealed: None,
        token_expires_at: None,
        token_version: 1,
        state,
        since: at,
        evidence: None,
        evidence_status: None,
        failures: 0,
        probe_marker: None,
        told_since: None,
        checked_at: None,
        next_check_at: at,
        unlinking: false,
        avatar_url: None,
        linked_at: at,
        created_at: at,
    }
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
