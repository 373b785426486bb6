//! Tokens of links, renewed before they end.
//!
//! Invariants: a rotating refresh token is used once over all replicas: whoever holds the lease of the row asks the provider, everybody else
//! waits and reads the row again; new tokens are committed before anybody uses them; a caller that goes away does not end the exchange in
//! its middle. Deliberately elsewhere: which link is asked (`access`).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use slipway_forge::{Forge, ForgeError, Grant};
use slipway_model::{Clock, LinkId};
use slipway_store::links::{self, Link, Tokens};
use slipway_store::{Db, StoreError};

use super::{ACCESS_TOKEN, REFRESH_TOKEN};
use crate::{App, Error, Keys};

/// So long before its end a token is renewed.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// Longer than any request to a provider takes: a replica that died in its middle is waited for this long.
const LEASE: Duration = Duration::from_secs(60);
/// Together shorter than the lease, with what a try waits for the database.
const KEEP_TRIES: u32 = 8;
const KEEP_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Together somewhat longer than the lease.
const LOOKS: u32 = 1300;

/// A token of a person, and which one of the link's it is.
#[derive(Clone, Debug)]
pub(crate) struct PersonToken {
    pub(crate) secret: SecretString,
    pub(crate) version: u64,
}

/// Why a link has no token that can be used.
#[derive(Debug)]
pub(crate) enum TokenTrouble {
    /// The provider's answer; [`ForgeError::Unauthorized`] when the grant is dead.
    Forge(ForgeError),
    /// The database, or a token that does not open.
    Ours(Error),
}

impl From<StoreError> for TokenTrouble {
    fn from(error: StoreError) -> Self {
        Self::Ours(error.into())
    }
}

impl From<Error> for TokenTrouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn dead(detail: String) -> TokenTrouble {
    TokenTrouble::Forge(ForgeError::Unauthorized { detail })
}

/// Whether the provider says that the grant is dead, and not only this request wrong.
fn says_dead(error: &ForgeError) -> bool {
    match error {
        ForgeError::Unauthorized { .. } => true,
        ForgeError::Refused { code, .. } => matches!(code.as_str(), "invalid_grant" | "bad_refresh_token"),
        _ => false,
    }
}

fn open(keys: &Keys, link: &Link) -> Result<PersonToken, Error> {
    let secret = keys.open_text(&[ACCESS_TOKEN, &link.id.to_string()], &link.access_token_sealed)?;
    Ok(PersonToken { secret, version: link.token_version })
}

impl App {
    /// A token for calls in the person's name, renewed when it ends soon. A token that cannot be renewed now but still lives is given.
    pub(crate) async fn person_token(&self, link: &Link) -> Result<PersonToken, TokenTrouble> {
        let now = self.clock.now();
        let Some(ends) = link.token_expires_at.filter(|ends| *ends <= now.plus(AHEAD)) else { return Ok(open(&self.keys, link)?) };
        if link.refresh_token_sealed.is_none() {
            return if ends > now {
                Ok(open(&self.keys, link)?)
            } else {
                Err(dead(format!("the token ended at {ends} and the provider gave none to renew it with")))
            };
        }
        match self.renew(link.id, link.token_version).await {
            Ok(link) => Ok(open(&self.keys, &link)?),
            Err(TokenTrouble::Forge(error)) if ends > now && !says_dead(&error) => {
                tracing::warn!(link = %link.id, %error, "a token could not be renewed yet; the one before still lives");
                Ok(open(&self.keys, link)?)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The provider did not accept the token of `version`: the newer one that stands by now, or a new one. `None` when there is none to be had.
    pub(crate) async fn renewed_token(&self, id: LinkId, version: u64) -> Result<Option<PersonToken>, TokenTrouble> {
        let mut tx = self.read().await?;
        let link = links::get_by_id(&mut tx, id).await?;
        drop(tx);
        let Some(link) = link else { return Ok(None) };
        if link.token_version != version {
            return Ok(Some(open(&self.keys, &link)?));
        }
        if link.refresh_token_sealed.is_none() {
            return Ok(None);
        }
        let renewed = self.renew(id, version).await?;
        Ok(Some(open(&self.keys, &renewed)?))
    }

    /// The link with other tokens than those of `version`.
    async fn renew(&self, id: LinkId, version: u64) -> Result<Link, TokenTrouble> {
        let mut tx = self.read().await?;
        let link = links::get_by_id(&mut tx, id).await?.ok_or(TokenTrouble::Ours(Error::NotFound))?;
        drop(tx);
        let forge = self.forge(&link.provider)?;
        let renewal = Renewal {
            db: self.db.clone(),
            clock: self.clock.clone(),
            keys: Arc::clone(&self.keys),
            forge: Arc::clone(forge),
            by: format!("{:032x}", rand::rng().random::<u128>()),
            id,
            version,
        };
        // In a task of its own: when the caller goes away between the provider's answer and our commit, the grant would be lost.
        // A shutdown waits for it.
        let task = self.renewals.spawn(renewal.run());
        task.await.map_err(|_| TokenTrouble::Ours(Error::Internal("the renewal of a token did not end")))?
    }
}

/// All that the exchange of one token needs.
struct Renewal {
    db: Db,
    clock: Clock,
    keys: Arc<Keys>,
    forge: Arc<dyn Forge>,
    /// Who holds the lease: one name for each try.
    by: String,
    id: LinkId,
    version: u64,
}

impl Renewal {
    async fn run(self) -> Result<Link, TokenTrouble> {
        for _ in 0..LOOKS {
            let link = self.row().await?;
            if link.token_version != self.version {
                return Ok(link);
            }
            if self.claim().await? {
                return self.exchange(&link).await;
            }
            // Another task or replica asks: its commit is waited for. Jittered, so that 200 waiters do not read at once.
            let wait = LOOK_AGAIN.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(wait).await;
        }
        Err(TokenTrouble::Forge(ForgeError::Unreachable { detail: "another renewal of this token did not end in time".to_owned() }))
    }

    async fn row(&self) -> Result<Link, TokenTrouble> {
        let mut tx = self.db.read().await?;
        links::get_by_id(&mut tx, self.id).await?.ok_or(TokenTrouble::Ours(Error::NotFound))
    }

    async fn claim(&self) -> Result<bool, TokenTrouble> {
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        let claimed = links::claim_refresh(&mut tx, self.id, self.version, &self.by, now, now.plus(LEASE)).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn exchange(&self, link: &Link) -> Result<Link, TokenTrouble> {
        let row = self.id.to_string();
        let Some(sealed) = &link.refresh_token_sealed else {
            self.release().await?;
            return Err(dead("the provider gave no token to renew with".to_owned()));
        };
        let refresh_token = match self.keys.open_text(&[REFRESH_TOKEN, &row], sealed) {
            Ok(token) => token,
            Err(error) => {
                self.release().await?;
                return Err(error.into());
            }
        };
        match self.forge.refresh(&refresh_token).await {
            Ok(grant) => {
                self.keep_at_last(&grant).await?;
                metrics::counter!("slipway_token_refreshes_total", "outcome" => "renewed").increment(1);
                self.row().await
            }
            Err(error) => {
                self.release().await?;
                metrics::counter!("slipway_token_refreshes_total", "outcome" => "failed").increment(1);
                // Somebody may have rotated it just before us: then the newer tokens are in the row.
                let now = self.row().await?;
                if now.token_version != self.version {
                    return Ok(now);
                }
                Err(if says_dead(&error) { dead(error.to_string()) } else { TokenTrouble::Forge(error) })
            }
        }
    }

    /// The provider has forgotten the tokens before: while the lease lasts, a database that is away for a moment is asked again.
    async fn keep_at_last(&self, grant: &Grant) -> Result<(), TokenTrouble> {
        for _ in 0..KEEP_TRIES {
            match self.keep(grant).await {
                Err(TokenTrouble::Ours(Error::Store(error @ StoreError::Unavailable(_)))) => {
                    tracing::warn!(link = %self.id, %error, "new tokens could not be stored yet");
                    tokio::time::sleep(KEEP_AGAIN).await;
                }
                other => return other,
            }
        }
        self.keep(grant).await
    }

    /// Commits the new tokens; nobody has used them before.
    async fn keep(&self, grant: &Grant) -> Result<(), TokenTrouble> {
        let row = self.id.to_string();
        let seal = |column: &str, secret: &SecretString| self.keys.seal(&[column, &row], secret.expose_secret().as_bytes());
        let access = seal(ACCESS_TOKEN, &grant.access_token);
        let refresh = grant.refresh_token.as_ref().map(|token| seal(REFRESH_TOKEN, token));
        let tokens = Tokens {
            access_token_sealed: &access,
            refresh_token_sealed: refresh.as_deref(),
            expires_at: grant.expires_in.map(|life| self.clock.now().plus(life)),
            scopes: Some(grant.scopes.as_slice()).filter(|scopes| !scopes.is_empty()),
        };
        let mut tx = self.db.write().await?;
        if !links::set_tokens(&mut tx, self.id, self.version, &tokens).await? {
            tracing::warn!(link = %self.id, "new tokens came too late: the link was made anew meanwhile");
        }
        Ok(tx.commit().await?)
    }

    async fn release(&self) -> Result<(), TokenTrouble> {
        let mut tx = self.db.write().await?;
        links::release_refresh(&mut tx, self.id, &self.by).await?;
        Ok(tx.commit().await?)
    }
}
