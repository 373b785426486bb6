//! Where the images of a repository go besides the built-in registry: saved by an administrator after it was tried out.
//!
//! Invariants: what is saved could push a moment before; the password is sealed for the repository and the address, so it is never sent to
//! another one, and it is in no log, answer or entry.
//! Deliberately elsewhere: what is due and what failed (`sending`), the copying itself (`registry`), the protocol (`distribution`).

mod sending;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use slipway_distribution::{Credentials, Trouble};
use slipway_model::{ExternalRepository, RepositoryId, Timestamp};
use slipway_store::ReadTx;
use slipway_store::external::{self, External};

use crate::audit::{self, Change, Place};
use crate::{App, Error, Refusal, RefusalKind, RepositoryAdmin, RepositoryWrite, Sealed};

pub use sending::{ExternalTagView, Sending, Sent};

const PASSWORD: &str = "external_repositories.password";
const MAX_USERNAME: usize = 255;
/// Some registries give out keys of several thousand characters as passwords.
const MAX_PASSWORD: usize = 16 * 1024;

/// A wish for an external repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalWish {
    /// `registry.example.com[:port]/team/app`.
    pub address: String,
    /// Empty where the registry asks for none.
    #[serde(default)]
    pub username: String,
    /// A password or access token; without it the stored one stays, as long as the address does.
    #[serde(default)]
    pub password: Option<SecretString>,
}

/// What is saved, without the password.
#[derive(Clone, Debug)]
pub struct ExternalView {
    /// Where images go.
    pub address: ExternalRepository,
    /// Who signs in.
    pub username: String,
    /// When it was saved.
    pub saved_at: Timestamp,
}

impl From<External> for ExternalView {
    fn from(external: External) -> Self {
        Self { address: external.address, username: external.username, saved_at: external.saved_at }
    }
}

/// Where builds may pull private base images from.
#[derive(Clone, Debug)]
pub struct BaseRegistry {
    /// `host[:port]` as it stands in the images' names.
    pub host: String,
    /// Who pulls.
    pub username: String,
    /// The password, or an access token.
    pub password: SecretString,
}

/// What is wrong with a wish before anybody is asked.
fn invalid(field: &str, detail: impl Into<String>) -> Error {
    Error::invalid("external_invalid", field, detail)
}

impl ExternalWish {
    fn check(&self) -> Result<ExternalRepository, Error> {
        let address: ExternalRepository =
            self.address.trim().parse().map_err(|error: slipway_model::InvalidExternalRepository| invalid("address", error.to_string()))?;
        if self.username.len() > MAX_USERNAME || self.username.chars().any(|c| c.is_control() || c == ':') {
            return Err(invalid("username", format!("a user name has at most {MAX_USERNAME} bytes, no colon and no control characters")));
        }
        let Some(password) = &self.password else { return Ok(address) };
        let password = password.expose_secret();
        if password.len() > MAX_PASSWORD || password.chars().any(char::is_control) {
            return Err(invalid("password", format!("a password has at most {MAX_PASSWORD} bytes and no control characters")));
        }
        if self.username.is_empty() != password.is_empty() {
            return Err(invalid("username", "a user name and a password go together, or both are empty"));
        }
        Ok(address)
    }
}

/// What a trouble means for who saves, and what to do about it.
pub(crate) fn refusal(at: &ExternalRepository, trouble: &Trouble) -> Refusal {
    let host = at.host();
    let (code, field, detail, hint) = match trouble {
        Trouble::Refused(refused) => (
            "external_address_refused",
            "address",
            refused.to_string(),
            "name a registry on the public internet; who runs this installation can permit another one (`egress.allow`)",
        ),
        Trouble::Unreachable(why) => (
            "external_unreachable",
            "address",
            format!("`{host}` cannot be reached: {why}"),
            "look whether the address is right and the registry runs, then try again",
        ),
        Trouble::Busy { .. } => ("external_busy", "address", format!("`{host}` cannot take anything now: {trouble}"), "try again later"),
        Trouble::NotARegistry(why) => (
            "external_no_registry",
            "address",
            format!("no registry answers at `{host}`: {why}"),
            "name the host of the registry itself, with its port when it has one of its own",
        ),
        Trouble::WrongPassword => (
            "external_wrong_password",
            "password",
            format!("`{host}` does not accept the user name and password"),
            "give the password of this user there, or an access token that may push",
        ),
        Trouble::NeedsPassword => (
            "external_needs_password",
            "username",
            format!("`{host}` asks for a user name and a password"),
            "give those of somebody who may push there",
        ),
        Trouble::PullOnly => (
            "external_pull_only",
            "password",
            format!("these credentials can pull from `{at}`, but not push: builds would not reach it"),
            "give credentials that may push",
        ),
        Trouble::Denied(why) => (
            "external_denied",
            "password",
            format!("`{host}` does not let these credentials push to `{}`: {why}", at.path()),
            "let this user push there, or give other credentials",
        ),
        Trouble::NoRepository(why) => (
            "external_no_repository",
            "address",
            format!("`{host}` has no repository `{}`: {why}", at.path()),
            "make the repository there first, or look whether its name is right",
        ),
        Trouble::Unexpected { .. } => (
            "external_unexpected",
            "address",
            format!("`{host}` does not do as a registry does: {trouble}"),
            "look whether the address is right; the registry's log may say more",
        ),
        Trouble::Hindered(_) => ("external_hindered", "address", trouble.to_string(), "try again later"),
        Trouble::Ours(why) => ("external_image_gone", "address", why.clone(), "retry the build, which makes the image again"),
    };
    Refusal::new(RefusalKind::Invalid, code, detail).field(field).hint(hint)
}

impl App {
    fn seal_password(&self, repository: RepositoryId, at: &ExternalRepository, password: &SecretString) -> Sealed {
        self.keys.seal(&[PASSWORD, &repository.to_string(), &at.to_string()], password.expose_secret().as_bytes())
    }

    /// With what its sender signs in; `None` where nobody has to.
    fn external_credentials(&self, external: &External) -> Result<Option<Credentials>, Error> {
        let place = [PASSWORD, &external.repository.to_string(), &external.address.to_string()];
        let password = self.keys.open_text(&place, &external.password_sealed)?;
        Ok((!external.username.is_empty()).then(|| Credentials { username: external.username.clone(), password }))
    }

    /// Whoever can push to a registry pulls from it too, so builds that are trusted may name its private images.
    pub(crate) async fn base_registry(&self, tx: &mut ReadTx, repository: RepositoryId) -> Result<Option<BaseRegistry>, Error> {
        let Some(saved) = external::get(tx, repository).await? else { return Ok(None) };
        let credentials = self.external_credentials(&saved)?;
        Ok(credentials.map(|Credentials { username, password }| BaseRegistry { host: saved.address.host().to_owned(), username, password }))
    }

    /// Where the images of a repository go besides here.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn get_external(&self, right: &RepositoryAdmin) -> Result<Option<ExternalView>, Error> {
        Ok(external::get(&mut self.read().await?, right.repository().id).await?.map(ExternalView::from))
    }

    /// Tries an external repository out, and saves it when a push would go well. What waits goes out with it at once.
    ///
    /// # Errors
    /// A refusal that says what would not work: nothing was saved.
    pub async fn save_external(&self, right: &RepositoryAdmin, wish: &ExternalWish) -> Result<ExternalView, Error> {
        let (address, repository) = (wish.check()?, right.repository());
        let before = external::get(&mut self.read().await?, repository.id).await?;
        let password = match (&wish.password, &before) {
            (Some(password), _) => password.clone(),
            (None, Some(before)) if before.address == address && before.username == wish.username => {
                self.external_credentials(before)?.map_or_else(SecretString::default, |credentials| credentials.password)
            }
            (None, _) if wish.username.is_empty() => SecretString::default(),
            (None, Some(_)) => {
                return Err(invalid("password", "another address or user name needs its password: the stored one is not sent elsewhere"));
            }
            (None, None) => return Err(invalid("password", "a user name needs a password")),
        };
        let password_sealed = self.seal_password(repository.id, &address, &password);
        let username = wish.username.clone();
        let external = External { repository: repository.id, address, username, password_sealed, saved_at: self.clock.now() };
        let credentials = self.external_credentials(&external)?;
        let tried = self.distribution.try_out(&external.address, credentials).await;
        tried.map_err(|trouble| refusal(&external.address, &trouble))?;
        let mut tx = self.write().await?;
        external::put(&mut tx, &external).await?;
        let shown = |external: &External| json!({"address": external.address, "username": external.username});
        let mut change = Change::new("external.save", repository.name.as_str()).now(shown(&external));
        if let Some(before) = &before {
            change = change.old(shown(before));
        }
        audit::write(&mut tx, external.saved_at, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.wake.external.notify_one();
        Ok(external.into())
    }

    /// Tries out what is saved.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is; a refusal that says what does not work.
    pub async fn test_external(&self, right: &RepositoryAdmin) -> Result<ExternalView, Error> {
        let saved = external::get(&mut self.read().await?, right.repository().id).await?.ok_or(Error::NotFound)?;
        let tried = self.distribution.try_out(&saved.address, self.external_credentials(&saved)?).await;
        tried.map_err(|trouble| refusal(&saved.address, &trouble))?;
        Ok(saved.into())
    }

    /// Nothing goes out any more; what is out stays there.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is saved.
    pub async fn delete_external(&self, right: &RepositoryAdmin) -> Result<(), Error> {
        let repository = right.repository();
        let mut tx = self.write().await?;
        let before = external::get(&mut tx, repository.id).await?.ok_or(Error::NotFound)?;
        external::delete(&mut tx, repository.id).await?;
        let change =
            Change::new("external.delete", repository.name.as_str()).old(json!({"address": before.address, "username": before.username}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        Ok(tx.commit().await?)
    }

    /// Sends a tag now that waits or was refused.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no such tag waits or was refused.
    pub async fn try_external_again(&self, right: &RepositoryWrite, tag: &str) -> Result<(), Error> {
        let (repository, now) = (right.repository(), self.clock.now());
        let mut tx = self.write().await?;
        if !external::try_again(&mut tx, repository.id, tag, now).await? {
            return Err(Error::NotFound);
        }
        let change = Change::new("external.try_again", format!("{}:{tag}", repository.name));
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.wake.external.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(address: &str, username: &str, password: Option<&str>) -> ExternalWish {
        ExternalWish { address: address.to_owned(), username: username.to_owned(), password: password.map(SecretString::from) }
    }

    #[test]
    fn a_wish_is_checked_before_anybody_is_asked() {
        for good in [
            wish(" registry.example.com/app ", "ada", Some("secret")),
            wish("registry.example.com/app", "", None),
            wish("registry.example.com/app", "", Some("")),
        ] {
            good.check().unwrap_or_else(|error| panic!("{good:?}: {error}"));
        }
        for (field, bad) in [
            ("address", wish("app", "ada", Some("secret"))),
            ("address", wish("", "", None)),
            ("username", wish("registry.example.com/app", "a:b", Some("secret"))),
            ("username", wish("registry.example.com/app", "a\n", Some("secret"))),
            ("username", wish("registry.example.com/app", "", Some("secret"))),
            ("username", wish("registry.example.com/app", "ada", Some(""))),
            ("password", wish("registry.example.com/app", "ada", Some("a\r\nb"))),
            ("password", wish("registry.example.com/app", "ada", Some(&"x".repeat(MAX_PASSWORD + 1)))),
        ] {
            match bad.check() {
                Err(Error::Refused(refusal)) => assert_eq!(refusal.field.as_deref(), Some(field), "{bad:?}"),
                other => panic!("{bad:?}: {other:?}"),
            }
        }
        assert!(!format!("{:?}", wish("registry.example.com/app", "ada", Some("hunter2"))).contains("hunter2"));
    }

    #[test]
    fn each_trouble_says_what_does_not_work_and_what_to_do() {
        let at: ExternalRepository = "registry.example.com/team/app".parse().unwrap();
        let pull_only = refusal(&at, &Trouble::PullOnly);
        assert_eq!(
            pull_only.detail,
            "these credentials can pull from `registry.example.com/team/app`, but not push: builds would not reach it"
        );
        let troubles = [
            Trouble::Refused(slipway_model::AddressRefused("x".into())),
            Trouble::Unreachable("x".into()),
            Trouble::Busy { status: 503, detail: "x".into(), wait: None },
            Trouble::NotARegistry("x".into()),
            Trouble::WrongPassword,
            Trouble::NeedsPassword,
            Trouble::PullOnly,
            Trouble::Denied("x".into()),
            Trouble::NoRepository("x".into()),
            Trouble::Unexpected { status: 418, detail: "x".into() },
            Trouble::Hindered("x".into()),
            Trouble::Ours("x".into()),
        ];
        let codes: std::collections::BTreeSet<_> = troubles.iter().map(|trouble| refusal(&at, trouble).code).collect();
        assert_eq!(codes.len(), troubles.len(), "each can be told from the others: {codes:?}");
        assert!(troubles.iter().all(|trouble| refusal(&at, trouble).hint.is_some()));
    }
}
