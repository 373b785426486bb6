//! With what a builder fetches the source of a build: the deploy key where one stands, and a token of a link.
//!
//! Invariants: while every link is disabled nothing is fetched, with a key neither; which way was taken and why is said in the log. The
//! repository's own key in `SSH_PRIVATE` takes the place of the deploy key, for sources that need one. What anybody may have written gets no
//! more than it takes to read the source: nothing of a public one, the key of a private one, a token only without that.
//! Deliberately elsewhere: which link and which token (`links`, `queue`), how git is run (`builder`).

use secrecy::SecretString;
use slipway_forge::CloneAccess;
use slipway_model::{AccountId, EnvironmentVariable, Lane, SSH_PRIVATE};
use slipway_store::builds::Build;
use slipway_store::deploy_keys::{self, DeployKey, DeployKeyState};
use url::Url;

use crate::links::access::{Acted, SourceTrouble};
use crate::{App, Error};

/// How a source is fetched.
#[derive(Debug)]
pub struct SourceAccess {
    /// With a key; to be tried first.
    pub ssh: Option<SshKeyAccess>,
    /// Over HTTP; without a credential it is no second way for a source that has a key.
    pub http: CloneAccess,
    /// What the log says of a clone over HTTP: "a token of the link".
    pub http_words: String,
    /// Why it is not fetched with a deploy key; with one, why there is no second way.
    pub because: Option<String>,
}

/// A key in the clear, for one build.
#[derive(Debug)]
pub struct SshKeyAccess {
    /// Whose it is.
    pub key: KeyOf,
    /// Without any secret in it.
    pub url: Url,
    /// In OpenSSH's form.
    pub private_key: SecretString,
    /// The only servers that it is shown to.
    pub host_keys: Vec<String>,
}

/// Whose key opens a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOf {
    /// We made it a deploy key.
    Source,
    /// It is in the repository's variable `SSH_PRIVATE`.
    Repository,
}

impl App {
    /// Puts together what was got of a link and what stands as a key. A key alone is not used: without a link nobody tells whether the
    /// repository at this name is still the one that was linked, and a revoked grant is a person's word.
    pub(crate) async fn source_access(
        &self,
        account: AccountId,
        build: &Build,
        http: Result<Acted<CloneAccess>, SourceTrouble>,
        environment: &[EnvironmentVariable],
    ) -> Result<SourceAccess, SourceTrouble> {
        let acted = http?;
        let untrusted = build.terms.lane == Lane::Untrusted;
        if untrusted && acted.value.password.is_none() {
            return Ok(SourceAccess { ssh: None, http: acted.value, http_words: "no credential".into(), because: None });
        }
        let keys = self.deploy_keys_for(account, build).await.map_err(|error| SourceTrouble::ours(&build.provider, error))?;
        let by_app = self.forges.get(&build.provider).is_some_and(|forge| forge.provider().app.is_some());
        let http_words = token_words(by_app, acted.link.token_expires_at.is_some());
        let ssh = self.own_access(build, &keys, environment).or_else(|| self.open_access(build, &keys));
        if untrusted && ssh.is_some() {
            // The key reads this source and does nothing else; a token may do more.
            let http = CloneAccess { url: acted.value.url, username: None, password: None };
            let because = Some("what comes from outside of the source is fetched with nothing that does more".to_owned());
            return Ok(SourceAccess { ssh, http, http_words: "no credential".into(), because });
        }
        Ok(SourceAccess {
            because: if ssh.is_some() { None } else { why_no_key(&keys) },
            ssh,
            http: acted.value,
            http_words: http_words.to_owned(),
        })
    }

    /// The keys of the build's source that are not on their way out, newest first. None opens a fork.
    async fn deploy_keys_for(&self, account: AccountId, build: &Build) -> Result<Vec<DeployKey>, Error> {
        if build.terms.pull_request.as_ref().is_some_and(|pull_request| pull_request.fork.is_some()) {
            return Ok(Vec::new());
        }
        let mut tx = self.read().await?;
        let mut keys = deploy_keys::list_by_source(&mut tx, account, &build.provider, &build.source_id).await?;
        keys.retain(|key| key.state != DeployKeyState::Unwanted);
        Ok(keys)
    }

    /// With the repository's own key; a source that has nothing to do with keys needs none.
    fn own_access(&self, build: &Build, keys: &[DeployKey], environment: &[EnvironmentVariable]) -> Option<SshKeyAccess> {
        let own = environment.iter().find(|variable| variable.name == SSH_PRIVATE && !variable.value.trim().is_empty())?;
        let forge = self.forges.get(&build.provider)?;
        let (ssh, source) = (forge.provider().ssh.as_ref()?, keys.first()?);
        let url = forge.ssh_url(&source.source_name)?;
        Some(SshKeyAccess { key: KeyOf::Repository, url, private_key: own.value.clone().into(), host_keys: ssh.host_keys.clone() })
    }

    fn open_access(&self, build: &Build, keys: &[DeployKey]) -> Option<SshKeyAccess> {
        let forge = self.forges.get(&build.provider)?;
        let key = keys.iter().find(|key| key.state == DeployKeyState::Standing)?;
        let private_key = match self.open_deploy_key(key) {
            Ok(private_key) => private_key,
            Err(error) => {
                tracing::error!(key = %key.id, %error, "a deploy key cannot be used; change it for another one");
                return None;
            }
        };
        let ssh = forge.provider().ssh.as_ref()?;
        let url = forge.ssh_url(&key.source_name)?;
        Some(SshKeyAccess { key: KeyOf::Source, url, private_key, host_keys: ssh.host_keys.clone() })
    }
}

/// What reads the source: an installation's token, made for it alone, or the person's own, which reads what they read. Not every provider's
/// ends by itself.
fn token_words(by_app: bool, ends: bool) -> &'static str {
    match (by_app, ends) {
        (true, _) => "a short-lived token of the App, for this source alone",
        (false, true) => "a short-lived token of the link",
        (false, false) => "a token of the link, which does not end by itself",
    }
}

/// Nothing for a source that needs no key.
fn why_no_key(keys: &[DeployKey]) -> Option<String> {
    let key = keys.first()?;
    Some(match (key.state, &key.error) {
        (DeployKeyState::Forbidden, Some(error)) => format!("there may be no deploy key: {error}"),
        (DeployKeyState::Wanted, Some(error)) => format!("the deploy key does not stand yet: {error}"),
        (DeployKeyState::Standing, _) => "the deploy key cannot be used".to_owned(),
        _ => "the deploy key does not stand yet".to_owned(),
    })
}
