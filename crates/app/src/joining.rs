//! How a machine becomes a builder node: join tokens, and the exchange of one for the machine's own credential.
//!
//! Invariants: a join token makes one node, and the machine that used it may repeat the exchange with the same credential, because the answer
//! may have been lost; what is refused leaves the token as it was. The credential is the machine's: it makes it and keeps it before it asks, and
//! only its hash comes here. Deliberately elsewhere: what becomes of nodes (`nodes`).

use std::time::Duration;

use serde_json::json;
use slipway_model::{BuilderId, JoinTokenId, NodeLabels, SecretHash, SecretToken, Timestamp, TokenKind};
use slipway_store::builders::{self, NewNode, Said};
use slipway_store::join_tokens::{self, JoinToken};
use slipway_store::{StoreError, WriteTx, accounts};

use crate::audit::{self, Change, Place};
use crate::nodes::{TooOld, too_old};
use crate::queue::cut;
use crate::{Actor, Administrator, App, Error, Refusal, RefusalKind};

/// How long a join token makes a node.
const JOIN_WITHIN: Duration = Duration::from_secs(3600);
/// So many join tokens stand at once.
const STANDING: u64 = 100;
const LONGEST_NAME: usize = 60;

/// A machine that asks to become a node.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of its own credential in hexadecimal.
    pub credential: &'a str,
    /// Version of its program.
    pub version: &'a str,
    /// Version of the protocol.
    pub protocol: u32,
    /// What `git version` prints.
    pub git: &'a str,
    /// From which address, for the audit log.
    pub address: &'a str,
}

/// How a machine's wish to become a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It is one, or was already.
    Node(BuilderId),
    /// The token makes no node: why, and what to do.
    Refused(TokenRefused),
    /// Something of it is too old; the token is as good as before.
    TooOld(TooOld),
}

/// Why a join token makes no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefused {
    /// What is wrong with it.
    pub detail: String,
    /// What to do.
    pub hint: &'static str,
}

const NEW_TOKEN: &str = "an administrator makes a new one under Builder nodes; it works once, within an hour";

fn refused(detail: String) -> Result<Joined, Error> {
    Ok(Joined::Refused(TokenRefused { detail, hint: NEW_TOKEN }))
}

/// A join token that was just made.
#[derive(Debug)]
pub struct NewJoinToken {
    /// Identity.
    pub id: JoinTokenId,
    /// Shown once.
    pub token: SecretToken,
    /// Until when it makes a node.
    pub expires_at: Timestamp,
}

impl App {
    /// Makes a token with which one machine becomes a node with these labels.
    ///
    /// # Errors
    /// A refusal for labels that cannot be, or when too many tokens stand.
    pub async fn make_join_token(&self, administrator: &Administrator, labels: &str) -> Result<NewJoinToken, Error> {
        let labels: NodeLabels = labels.parse().map_err(|why| Error::invalid("labels", "labels", format!("{why}")))?;
        let by = administrator.actor().account.ok_or(Error::NotFound)?;
        let now = self.clock.now();
        let (id, token, expires_at) = (JoinTokenId::new(), SecretToken::generate(TokenKind::Join), now.plus(JOIN_WITHIN));
        let mut tx = self.write().await?;
        join_tokens::delete_expired(&mut tx, now).await?;
        if join_tokens::count_standing(&mut tx, now).await? >= STANDING {
            let detail = format!("{STANDING} join tokens stand already, more are not made");
            return Err(Refusal::new(RefusalKind::Conflict, "join_tokens", detail).hint("take some back, or wait an hour").into());
        }
        let new = JoinToken {
            id,
            labels,
            created_by: by,
            created_by_name: administrator.actor().name.clone(),
            created_at: now,
            expires_at,
            used_by: None,
        };
        join_tokens::insert(&mut tx, &token.hash(), &new).await?;
        let change =
            Change::new("join_token.create", id.to_string()).now(json!({ "labels": new.labels.to_string(), "expires_at": expires_at }));
        audit::write(&mut tx, now, administrator.actor(), Place::Installation, change).await?;
        tx.commit().await?;
        Ok(NewJoinToken { id, token, expires_at })
    }

    /// Join tokens that may still make a node.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_join_tokens(&self, _: &Administrator) -> Result<Vec<JoinToken>, Error> {
        let mut tx = self.read().await?;
        Ok(join_tokens::list_standing(&mut tx, self.clock.now()).await?)
    }

    /// Takes a join token back that made no node yet.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_join_token(&self, administrator: &Administrator, id: JoinTokenId) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let token = join_tokens::delete_standing(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("join_token.revoke", id.to_string()).old(json!({ "labels": token.labels.to_string() }));
        audit::write(&mut tx, self.clock.now(), administrator.actor(), Place::Installation, change).await?;
        Ok(tx.commit().await?)
    }

    /// A machine becomes a node. It may ask again with the same credential: the answer to the first time may have been lost, and whoever
    /// knows both the token and that hash gets to know no more than the node's id.
    ///
    /// # Errors
    /// A refusal for a name or a credential that cannot be.
    pub async fn join(&self, token: &str, joining: &Joining<'_>) -> Result<Joined, Error> {
        if let Some(too_old) = too_old(joining.protocol, joining.git, None) {
            return Ok(Joined::TooOld(too_old));
        }
        let Some(token) = SecretToken::presented(TokenKind::Join, token) else {
            let what = TokenKind::of(token).map_or("no token of ours", TokenKind::words);
            return refused(format!("this is {what}, a builder's join token was expected"));
        };
        let credential: SecretHash = joining.credential.parse().map_err(|_| {
            Error::invalid("credential", "credential_sha256", "the credential's SHA-256 has to be 64 hexadecimal digits".to_owned())
        })?;
        let unknown = "this join token is not valid: it expired, was taken back, or its node was removed";
        let mut tx = self.read().await?;
        // Anybody may ask: nobody who has no token waits for the one writer, or lets others wait.
        if join_tokens::get_by_token(&mut tx, &token.hash()).await?.is_none() {
            return refused(unknown.to_owned());
        }
        drop(tx);
        let mut tx = self.write().await?;
        let Some(found) = join_tokens::get_by_token(&mut tx, &token.hash()).await? else { return refused(unknown.to_owned()) };
        if let Some(used_by) = found.used_by {
            let same = builders::get_by_token(&mut tx, &credential).await?.is_some_and(|builder| builder.id == used_by);
            let node = builders::get(&mut tx, used_by).await?.map_or_else(String::new, |node| format!(" by the node `{}`", node.name));
            return if same {
                Ok(Joined::Node(used_by))
            } else {
                refused(format!("this join token was used already{node}: it works once"))
            };
        }
        if !accounts::get(&mut tx, found.created_by).await?.is_some_and(|account| account.is_admin) {
            return refused(format!(
                "this join token is not valid: `{}`, who made it, is no administrator any more",
                found.created_by_name
            ));
        }
        self.add_node(tx, &found, joining, &credential).await
    }

    async fn add_node(&self, mut tx: WriteTx, found: &JoinToken, joining: &Joining<'_>, credential: &SecretHash) -> Result<Joined, Error> {
        let (name, now) = (node_name(joining.name), self.clock.now());
        let new = NewNode { name: &name, credential, labels: &found.labels, joined_by: &found.created_by_name };
        let id = match builders::insert(&mut tx, &new, now).await {
            Ok(id) => id,
            Err(StoreError::Conflict(_)) => return refused("another node has this credential already".to_owned()),
            Err(error) => return Err(error.into()),
        };
        if !join_tokens::take(&mut tx, found.id, id, now).await? {
            return refused("this join token is not valid: it has expired".to_owned());
        }
        let said = Said {
            version: &cut(joining.version, 100),
            protocol: joining.protocol,
            git: &cut(joining.git, 100),
            parallel: 0,
            engine: "",
            obstacle: None,
        };
        builders::set_seen(&mut tx, id, &said, now).await?;
        let actor = Actor {
            account: Some(found.created_by),
            name: found.created_by_name.clone(),
            via: "join token".to_owned(),
            address: joining.address.to_owned(),
        };
        let change = Change::new("builder.join", name).now(json!({ "builder": id, "labels": found.labels.to_string() }));
        audit::write(&mut tx, now, &actor, Place::Installation, change).await?;
        tx.commit().await?;
        Ok(Joined::Node(id))
    }
}

/// The machine's name without anything that a page or a log could take for something else.
fn node_name(text: &str) -> String {
    let name: String = text.trim().chars().filter(char::is_ascii_graphic).take(LONGEST_NAME).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}
