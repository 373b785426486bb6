//! Deploy keys: for each private source of an account an ed25519 key of our own, which may read that source and nothing else. The row is
//! the wish, this loop makes it so; as with hooks the same key that stands there already is adopted.
//!
//! Invariants: a private key is sealed in its row and leaves it only for the builder of one build; a key is changed by making the new one
//! first, and the old one goes when the new one stands. A public source needs no key, and a link that only reads makes none.
//! Deliberately elsewhere: with what a build fetches its source (`source_access`).

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, RemoteKey, SourceKey};
use slipway_model::{AccountId, DeployKeyId, ProviderId, Timestamp};
use slipway_store::deploy_keys::{self, DeployKey, DeployKeyState};
use slipway_store::repositories::{self, Autobuild, Repository};
use slipway_store::{ReadTx, WriteTx};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::at_source::{Away, Left};
use crate::audit::{self, Change, Place};
use crate::hooks::{STEP, back_off, jittered};
use crate::links::access::SourceAt;
use crate::{App, Error, Refusal, RefusalKind, RepositoryAdmin, RepositoryRead, RepositoryWrite};

const PRIVATE_KEY: &str = "deploy_keys.private_key";
/// Between two looks at a key that stands.
const LOOK: Duration = Duration::from_secs(12 * 3600);
/// Until it is asked again whether a key is allowed.
const ASK_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// After a provider gave no answer.
const SOON: Duration = Duration::from_secs(600);
/// A key that was deleted there comes back without a person's word at most so often.
const RENEW: Duration = Duration::from_secs(7 * 24 * 3600);
/// After so many vain tries an unwanted key is given up: its provider does not let us.
const REMOVAL_TRIES: u64 = 20;

/// How the deploy key of a source stands.
#[derive(Clone, Debug, Serialize)]
pub struct DeployKeyStatus {
    /// `wanted`, `standing` or `forbidden`.
    pub state: &'static str,
    /// `ssh-ed25519 AAAA...`.
    pub public_key: String,
    /// `SHA256:...`, as providers show it.
    pub fingerprint: String,
    /// Its id at the provider.
    pub remote_id: Option<String>,
    /// What the provider said when it does not stand.
    pub error: Option<String>,
    /// Whether it is being changed for another one, which does not stand yet.
    pub changing: bool,
    /// When it was last seen at the provider.
    pub checked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where a person sees it at the provider.
    pub settings_url: String,
}

/// A new key pair, both halves in OpenSSH's form; the public one without a comment.
fn new_pair() -> Result<(String, SecretString), Error> {
    let mut seed = [0_u8; 32];
    rand::rng().fill_bytes(&mut seed);
    let pair = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let broken = |_| Error::Internal("a key pair could not be written down");
    let public = pair.public_key().to_openssh().map_err(broken)?;
    let private = pair.to_openssh(LineEnding::LF).map_err(broken)?;
    Ok((public, private.as_str().to_owned().into()))
}

fn fingerprint(public_key: &str) -> String {
    PublicKey::from_openssh(public_key).map(|key| key.fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default()
}

fn source_of(key: &DeployKey) -> SourceAt<'_> {
    SourceAt {
        account: key.account,
        provider: &key.provider,
        key: SourceKey { id: &key.source_id, full_name: &key.source_name },
        autobuild: None,
    }
}

/// Whether a provider's line is this key; what it keeps as a comment does not matter.
pub(crate) fn is_same(theirs: &str, ours: &str) -> bool {
    theirs.split_ascii_whitespace().take(2).eq(ours.split_ascii_whitespace().take(2))
}

impl App {
    pub(crate) fn open_deploy_key(&self, key: &DeployKey) -> Result<SecretString, Error> {
        self.keys.open_text(&[PRIVATE_KEY, &key.id.to_string()], &key.private_key_sealed)
    }

    fn has_ssh(&self, provider: &ProviderId) -> bool {
        self.forges.get(provider).is_some_and(|forge| forge.provider().ssh.is_some())
    }

    /// What the title of our keys says at the provider.
    fn deploy_key_title(&self) -> String {
        format!("Slipway at {}", self.registry_host())
    }

    async fn insert_deploy_key(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        source: SourceKey<'_>,
        due: Timestamp,
    ) -> Result<DeployKey, Error> {
        use secrecy::ExposeSecret as _;
        let (public_key, private_key) = new_pair()?;
        let id = DeployKeyId::new();
        let key = DeployKey {
            id,
            account,
            provider: provider.clone(),
            source_id: source.id.to_owned(),
            source_name: source.full_name.to_owned(),
            public_key,
            private_key_sealed: self.keys.seal(&[PRIVATE_KEY, &id.to_string()], private_key.expose_secret().as_bytes()),
            state: DeployKeyState::Wanted,
            remote_id: None,
            error: None,
            tries: 0,
            next_try_at: due,
            checked_at: None,
            renewed_at: None,
            created_at: self.clock.now(),
        };
        deploy_keys::insert(tx, &key).await?;
        Ok(key)
    }

    /// Writes the wish for a key of a private source, to be fulfilled from `due` on, unless there is one.
    pub(crate) async fn want_deploy_key(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        source: SourceKey<'_>,
        due: Timestamp,
    ) -> Result<(), Error> {
        if !self.has_ssh(provider) || !deploy_keys::is_needed(tx, account, provider, source.id).await? {
            return Ok(());
        }
        let standing = deploy_keys::list_by_source_for_change(tx, account, provider, source.id).await?;
        if standing.iter().all(|key| key.state == DeployKeyState::Unwanted) {
            self.insert_deploy_key(tx, account, provider, source, due).await?;
        }
        Ok(())
    }

    /// After linking or enabling: every private source built through the provider wants a key, and those that stand are looked at.
    pub(crate) async fn want_missing_deploy_keys(&self, tx: &mut WriteTx, account: AccountId, provider: &ProviderId) -> Result<(), Error> {
        let now = self.clock.now();
        for (id, name) in deploy_keys::list_sources_without(tx, account, provider).await? {
            self.want_deploy_key(tx, account, provider, SourceKey { id: &id, full_name: &name }, now).await?;
        }
        Ok(deploy_keys::hurry(tx, account, provider, now).await?)
    }

    /// After an autobuild has gone, or its source is another or public one: without any left that needs it the key goes.
    pub(crate) async fn release_deploy_key(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        source_id: &str,
    ) -> Result<(), Error> {
        if !deploy_keys::is_needed(tx, account, provider, source_id).await? {
            deploy_keys::set_unwanted_by_source(tx, account, provider, source_id, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Makes, looks at and removes keys whose time has come; gives how many.
    ///
    /// # Errors
    /// Only the database's: what a provider says is kept in the rows.
    pub async fn settle_deploy_keys_once(&self) -> Result<usize, Error> {
        let mut tx = self.read().await?;
        let due = deploy_keys::list_due(&mut tx, self.clock.now(), 20).await?;
        drop(tx);
        for key in &due {
            self.settle_deploy_key(key).await?;
        }
        Ok(due.len())
    }

    /// Tries at once what the loop would try later, so that the person sees the outcome.
    pub(crate) async fn settle_deploy_keys_of(&self, account: AccountId, provider: &ProviderId, source_id: &str) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let keys = deploy_keys::list_by_source(&mut tx, account, provider, source_id).await?;
        drop(tx);
        for key in keys.iter().filter(|key| key.state != DeployKeyState::Standing) {
            self.settle_deploy_key(key).await?;
        }
        Ok(())
    }

    /// One step towards a key's wish, unless somebody else takes it.
    async fn settle_deploy_key(&self, key: &DeployKey) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let ours = deploy_keys::claim_step(&mut tx, key, self.clock.now().plus(STEP)).await?;
        let needed = deploy_keys::is_needed(&mut tx, key.account, &key.provider, &key.source_id).await?;
        if ours && !needed && key.state != DeployKeyState::Unwanted {
            deploy_keys::set_unwanted(&mut tx, key.id, self.clock.now()).await?;
        }
        tx.commit().await?;
        match key.state {
            _ if !ours => Ok(()),
            DeployKeyState::Unwanted => self.take_down_deploy_key(key).await,
            _ if !needed => Ok(()),
            DeployKeyState::Standing => self.look_at_deploy_key(key).await,
            DeployKeyState::Wanted | DeployKeyState::Forbidden => self.put_up_deploy_key(key).await,
        }
    }

    async fn put_up_deploy_key(&self, key: &DeployKey) -> Result<(), Error> {
        if !self.has_ssh(&key.provider) {
            return self.deploy_key_forbidden(key, "no SSH access to the provider is configured").await;
        }
        if self.only_reads(key.account, &key.provider).await? {
            return self.deploy_key_forbidden(key, "the link only reads").await;
        }
        match self.ensure_deploy_key(key).await {
            Ok(remote_id) => {
                let now = self.clock.now();
                let mut tx = self.write().await?;
                deploy_keys::set_standing(&mut tx, key, &remote_id, now, now.plus(jittered(LOOK))).await?;
                Ok(tx.commit().await?)
            }
            Err(away) if away.lacks_rights() => self.deploy_key_forbidden(key, &away.to_string()).await,
            Err(away) => self.deploy_key_failed(key, &away).await,
        }
    }

    async fn ensure_deploy_key(&self, key: &DeployKey) -> Result<String, Away> {
        let name = self.source_name_today(source_of(key)).await?;
        let title = self.deploy_key_title();
        let (name, title, public) = (name.as_str(), title.as_str(), key.public_key.as_str());
        let ensure = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.ensure_deploy_key(&token, name, title, public).await };
        Ok(self.with_source(source_of(key), ensure).await?.value.id)
    }

    /// Whether a key is still there: GitHub deletes those that were made with a grant when the grant is revoked, and people delete them too.
    async fn look_at_deploy_key(&self, key: &DeployKey) -> Result<(), Error> {
        let now = self.clock.now();
        let found = match self.deploy_key_there(key).await {
            Ok(found) => found,
            Err(away) => {
                // A link without access does not make the key worse: builds may still use it.
                let wait = away.passes(SOON).unwrap_or(LOOK);
                let mut tx = self.write().await?;
                deploy_keys::set_failed(&mut tx, key.id, &format!("it could not be looked at: {away}"), now.plus(jittered(wait))).await?;
                return Ok(tx.commit().await?);
            }
        };
        let mut tx = self.write().await?;
        match found {
            Some(remote) => deploy_keys::set_standing(&mut tx, key, &remote.id, now, now.plus(jittered(LOOK))).await?,
            None if key.renewed_at.is_none_or(|last| now.since(last) >= RENEW) => {
                deploy_keys::set_renewed(&mut tx, key.id, "the key was gone at the provider", now).await?;
            }
            None => {
                let why = "the key was deleted at the provider again, so it is left to you to put it up";
                deploy_keys::set_forbidden(&mut tx, key.id, why, now.plus(RENEW)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// The key as it stands at the provider. One that is not there may stand under another name by now, so that is asked for first.
    async fn deploy_key_there(&self, key: &DeployKey) -> Result<Option<RemoteKey>, Away> {
        let before = self.deploy_key_at(key, &key.source_name).await;
        match &before {
            Ok(Some(_)) => return before,
            Err(away) if !matches!(away.forge_error(), Some(ForgeError::NotFound)) => return before,
            _ => {}
        }
        let today = self.source_name_today(source_of(key)).await?;
        if today == key.source_name { before } else { self.deploy_key_at(key, &today).await }
    }

    async fn deploy_key_at(&self, key: &DeployKey, name: &str) -> Result<Option<RemoteKey>, Away> {
        let list = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.deploy_keys(&token, name).await };
        let remotes = self.with_source(source_of(key), list).await?.value;
        Ok(remotes.into_iter().find(|remote| is_same(&remote.public_key, &key.public_key)))
    }

    async fn take_down_deploy_key(&self, key: &DeployKey) -> Result<(), Error> {
        match self.remove_deploy_key(key).await {
            Ok(()) => {
                let mut tx = self.write().await?;
                deploy_keys::delete(&mut tx, key.id).await?;
                Ok(tx.commit().await?)
            }
            Err(away) => self.deploy_key_failed(key, &away).await,
        }
    }

    /// Removes the key at the provider. One that was made in the moment before a crash has no id here: it is known by itself.
    async fn remove_deploy_key(&self, key: &DeployKey) -> Result<(), Away> {
        let name = self.source_name_today(source_of(key)).await?;
        let (name, known, public) = (name.as_str(), key.remote_id.as_deref(), key.public_key.as_str());
        let remove = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let remote = match known {
                Some(remote) => Some(remote.to_owned()),
                None => forge.deploy_keys(&token, name).await?.into_iter().find(|key| is_same(&key.public_key, public)).map(|key| key.id),
            };
            match remote {
                Some(remote) => forge.delete_deploy_key(&token, name, &remote).await.map(drop),
                None => Ok(()),
            }
        };
        self.with_source(source_of(key), remove).await?;
        Ok(())
    }

    async fn deploy_key_forbidden(&self, key: &DeployKey, why: &str) -> Result<(), Error> {
        let mut tx = self.write().await?;
        deploy_keys::set_forbidden(&mut tx, key.id, why, self.clock.now().plus(jittered(ASK_AGAIN))).await?;
        Ok(tx.commit().await?)
    }

    async fn deploy_key_failed(&self, key: &DeployKey, away: &Away) -> Result<(), Error> {
        let error = away.to_string();
        let mut tx = self.write().await?;
        if !away.may_pass() && key.state == DeployKeyState::Unwanted && key.tries + 1 >= REMOVAL_TRIES {
            let left = Left {
                action: "deploy_key.left",
                account: key.account,
                source: &key.source_name,
                remote_id: key.remote_id.as_deref(),
                address: self.forges.get(&key.provider).map(|forge| forge.deploy_keys_url(&key.source_name)),
                because: &error,
            };
            self.note_left(&mut tx, &left).await?;
            deploy_keys::delete(&mut tx, key.id).await?;
        } else {
            deploy_keys::set_failed(&mut tx, key.id, &error, self.clock.now().plus(back_off(key.tries))).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(crate) async fn deploy_key_status(
        &self,
        tx: &mut ReadTx,
        account: AccountId,
        autobuild: &Autobuild,
    ) -> Result<Option<DeployKeyStatus>, Error> {
        let keys = deploy_keys::list_by_source(tx, account, &autobuild.provider, &autobuild.source_id).await?;
        let mut kept = keys.iter().filter(|key| key.state != DeployKeyState::Unwanted);
        let Some(newest) = kept.next() else { return Ok(None) };
        let standing = kept.find(|key| key.state == DeployKeyState::Standing).filter(|_| newest.state != DeployKeyState::Standing);
        let shown = standing.unwrap_or(newest);
        let forge = self.forges.get(&shown.provider);
        Ok(Some(DeployKeyStatus {
            state: shown.state.as_str(),
            public_key: shown.public_key.clone(),
            fingerprint: fingerprint(&shown.public_key),
            remote_id: shown.remote_id.clone(),
            error: newest.error.clone(),
            changing: standing.is_some(),
            checked_at: shown.checked_at,
            created_at: shown.created_at,
            settings_url: forge.map(|forge| forge.deploy_keys_url(&shown.source_name).into()).unwrap_or_default(),
        }))
    }

    async fn source_of_repository(&self, repository: &Repository) -> Result<Autobuild, Error> {
        let mut tx = self.read().await?;
        repositories::get_autobuild(&mut tx, repository.id).await?.ok_or(Error::NotFound)
    }

    /// How the deploy key of a repository's source stands; `None` when it has none: the source is public, or its provider has no SSH.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the repository has no source.
    pub async fn get_deploy_key(&self, right: &RepositoryRead) -> Result<Option<DeployKeyStatus>, Error> {
        let autobuild = self.source_of_repository(right.repository()).await?;
        let mut tx = self.read().await?;
        self.deploy_key_status(&mut tx, right.repository().account, &autobuild).await
    }

    /// Changes the deploy key for another one, of every repository of the account with this source: the new one is put up, then the old one
    /// goes. One that does not stand is put up instead.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; a refusal while it is being changed. What the provider says is in the status.
    pub async fn rotate_deploy_key(&self, right: &RepositoryAdmin) -> Result<DeployKeyStatus, Error> {
        let repository = right.repository();
        let autobuild = self.source_of_repository(repository).await?;
        let (account, provider, source_id) = (repository.account, &autobuild.provider, autobuild.source_id.as_str());
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let mut keys = deploy_keys::list_by_source_for_change(&mut tx, account, provider, source_id).await?;
        keys.retain(|key| key.state != DeployKeyState::Unwanted);
        match keys.as_slice() {
            [] => return Err(Error::NotFound),
            [key] if key.state != DeployKeyState::Standing => deploy_keys::set_wanted(&mut tx, key.id, now).await?,
            [key] => {
                let source = SourceKey { id: source_id, full_name: &key.source_name };
                self.insert_deploy_key(&mut tx, account, provider, source, now.plus(STEP)).await?;
            }
            [newest, ..] if newest.state == DeployKeyState::Forbidden => deploy_keys::set_wanted(&mut tx, newest.id, now).await?,
            _ => {
                let refusal = Refusal::new(RefusalKind::Conflict, "deploy_key_changing", "the deploy key is being changed already");
                return Err(refusal.hint("wait until the new one stands").into());
            }
        }
        let old = keys.first().map(|key| fingerprint(&key.public_key));
        let change = Change::new("deploy_key.rotate", repository.name.as_str())
            .old(json!({"fingerprint": old}))
            .now(json!({"source": autobuild.source_name}));
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        // First the new one, then the one that is unwanted since it stands.
        self.settle_deploy_keys_of(account, provider, source_id).await?;
        self.settle_deploy_keys_of(account, provider, source_id).await?;
        let read = RepositoryRead::from(RepositoryWrite::from(right.clone()));
        self.get_deploy_key(&read).await?.ok_or(Error::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_pair_is_what_openssh_reads_and_no_two_are_alike() {
        let (public, private) = new_pair().unwrap();
        assert!(public.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI") && public.split(' ').count() == 2, "{public}");
        let read = PrivateKey::from_openssh(private.expose_secret()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), public);
        assert!(fingerprint(&public).starts_with("SHA256:"));
        assert_ne!(new_pair().unwrap().0, public);
    }

    #[test]
    fn a_comment_does_not_make_another_key() {
        assert!(is_same("ssh-ed25519 AAAA us@here", "ssh-ed25519 AAAA"));
        assert!(!is_same("ssh-ed25519 AAAB", "ssh-ed25519 AAAA"));
        assert!(!is_same("ssh-ed25519", "ssh-ed25519 AAAA"));
    }
}
