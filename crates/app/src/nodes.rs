//! Builder nodes: how each stands, labels, draining, removal.
//!
//! Invariants: what an administrator decides about a node is looked at by the next claim, so it counts at once; a removed node's builds are
//! anybody's in the same transaction. Deliberately elsewhere: how a machine becomes a node (`joining`), handing out builds (`claims`), what a
//! node does with one (`queue`).

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use slipway_model::{BuildId, BuilderId, NodeLabels, OLDEST_PROTOCOL, SecretToken, Timestamp, TokenKind, Version};
use slipway_store::builders::{self, Builder, Said};
use slipway_store::{ReadTx, WriteTx, builds};

use crate::audit::{self, Change, Place};
use crate::queue::{RegisteredBuilder, cut};
use crate::{Administrator, App, Error, Refusal, RefusalKind, notes};

/// What a builder says of itself when it asks for work.
#[derive(Debug, Clone, Copy)]
pub struct NodeFacts<'a> {
    /// Version of its program.
    pub version: &'a str,
    /// Version of the protocol.
    pub protocol: u32,
    /// What `git version` prints.
    pub git: &'a str,
    /// How many builds it wants to run at once.
    pub parallel: u32,
    /// The protocol's `EngineStatus` as JSON.
    pub engine: &'a str,
    /// Why it cannot have engines of its own, if it cannot.
    pub obstacle: Option<&'a str>,
}

/// A builder that is not worked with: what was found and what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooOld {
    /// What was found and what was wanted.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// A change of a node; `None` leaves what stands.
#[derive(Debug, Clone, Default)]
pub struct NodeEdit {
    /// Other labels, as typed.
    pub labels: Option<String>,
    /// Whether it takes new builds.
    pub drain: Option<Drain>,
}

/// Whether a node takes new builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// None any more; running ones end.
    Begin,
    /// It takes builds again.
    End,
}

/// How a node stands, the first of these that is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Nothing was heard of it for a while.
    Offline,
    /// Its program, its git or its engine is too old.
    TooOld(TooOld),
    /// Its engine does not answer.
    NoEngine {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Its labels let it build nothing.
    NoBuilder,
    /// It takes no new builds, and its last ones are running.
    Draining,
    /// It takes no new builds, and has none.
    Drained,
    /// All its places are taken.
    Full,
    /// It builds, and can take more.
    Building,
    /// It has nothing to do.
    Idle,
}

impl NodeState {
    /// The word for programs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::TooOld(_) => "too_old",
            Self::NoEngine { .. } => "no_engine",
            Self::NoBuilder => "no_builder_label",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Full => "full",
            Self::Building => "building",
            Self::Idle => "idle",
        }
    }

    /// Whether it takes builds as far as it has places.
    #[must_use]
    pub fn builds(&self) -> bool {
        matches!(self, Self::Full | Self::Building | Self::Idle)
    }
}

/// A node as it stands.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// The row.
    pub builder: Builder,
    /// How it stands.
    pub state: NodeState,
    /// `Docker Engine 20.10.24`, when its engine answered last.
    pub engine: Option<String>,
    /// How many builds it holds.
    pub running: u64,
}

/// The builder protocol's `EngineStatus` as it is stored.
#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum StoredEngine {
    Ready {
        description: String,
        #[serde(default)]
        kind: Option<String>,
    },
    Unavailable {
        problem: String,
        hint: String,
    },
}

/// Whether a builder that says this of itself is too old to be worked with. What it does not say is not held against it.
pub(crate) fn too_old(protocol: u32, git: &str, engine: Option<&StoredEngine>) -> Option<TooOld> {
    if protocol < OLDEST_PROTOCOL {
        return Some(TooOld {
            detail: format!("the builder speaks version {protocol} of the builder protocol, at least {OLDEST_PROTOCOL} is wanted"),
            hint: "install the server's version of slipway on the builder's machine".to_owned(),
        });
    }
    let git_found = Version::found_in(git);
    if git_found.is_some_and(|found| found < Version::OLDEST_GIT) {
        return Some(TooOld {
            detail: format!("the builder's git is `{}`, at least {} is wanted", git.trim(), Version::OLDEST_GIT),
            hint: "install a newer git on the builder's machine, and start the builder again".to_owned(),
        });
    }
    match engine {
        Some(StoredEngine::Ready { description, kind: Some(kind) })
            if kind == "docker" && Version::found_in(description).is_some_and(|found| found < Version::OLDEST_DOCKER) =>
        {
            Some(TooOld {
                detail: format!("the builder's engine is `{description}`, at least Docker Engine {} is wanted", Version::OLDEST_DOCKER),
                hint: "install a newer Docker Engine, or set `[builder] engine` to one, and start the builder again".to_owned(),
            })
        }
        _ => None,
    }
}

impl App {
    /// A builder is called offline when it was silent for so long: twice the lease, so its builds are with others by then.
    #[must_use]
    pub fn builder_silence(&self) -> Duration {
        self.config.lease * 2
    }

    /// Registers the builder inside of this process. The one of the process before is dead: its builds are due at once.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn register_builtin_builder(&self, name: &str) -> Result<SecretToken, Error> {
        let now = self.clock.now();
        let token = SecretToken::generate(TokenKind::Builder);
        let mut tx = self.write().await?;
        let id = builders::register_builtin(&mut tx, name, &token.hash(), now).await?;
        builds::expire_leases_of(&mut tx, &id, now).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// The builder of a token.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn builder_by_token(&self, token: &str) -> Result<Option<RegisteredBuilder>, Error> {
        let Some(token) = SecretToken::presented(TokenKind::Builder, token) else { return Ok(None) };
        let mut tx = self.read().await?;
        let builder = builders::get_by_token(&mut tx, &token.hash()).await?;
        Ok(builder.map(|builder| RegisteredBuilder { id: builder.id, name: builder.name }))
    }

    /// Notes what a builder says of itself, and says whether it is worked with.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn builder_seen(&self, builder: &RegisteredBuilder, facts: &NodeFacts<'_>) -> Result<Result<(), TooOld>, Error> {
        let (version, git, engine) = (cut(facts.version, 100), cut(facts.git, 100), cut(facts.engine, 4000));
        let obstacle = facts.obstacle.map(|obstacle| cut(obstacle, 300));
        let parallel = facts.parallel.max(1);
        let said =
            Said { version: &version, protocol: facts.protocol, git: &git, parallel, engine: &engine, obstacle: obstacle.as_deref() };
        let mut tx = self.write().await?;
        builders::set_seen(&mut tx, builder.id, &said, self.clock.now()).await?;
        tx.commit().await?;
        let engine: Option<StoredEngine> = serde_json::from_str(facts.engine).ok();
        Ok(too_old(facts.protocol, facts.git, engine.as_ref()).map_or(Ok(()), Err))
    }

    /// All nodes.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_nodes(&self) -> Result<Vec<NodeView>, Error> {
        let mut tx = self.read().await?;
        self.list_nodes_in(&mut tx).await
    }

    pub(crate) async fn list_nodes_in(&self, tx: &mut ReadTx) -> Result<Vec<NodeView>, Error> {
        let mut views = Vec::new();
        for builder in builders::list(tx).await? {
            views.push(self.view(tx, builder).await?);
        }
        Ok(views)
    }

    /// One node.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_node(&self, _: &Administrator, id: BuilderId) -> Result<NodeView, Error> {
        let mut tx = self.read().await?;
        let builder = builders::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        self.view(&mut tx, builder).await
    }

    async fn view(&self, tx: &mut ReadTx, builder: Builder) -> Result<NodeView, Error> {
        let running = builds::count_held(tx, builder.id).await?;
        let heard = self.clock.now().since(builder.last_seen_at) < self.builder_silence();
        let (state, engine) = stands(&builder, running, heard);
        Ok(NodeView { builder, state, engine, running })
    }

    /// Changes a node's labels, or whether it takes new builds. It counts from the next claim on.
    ///
    /// # Errors
    /// [`Error::NotFound`], and a refusal for labels that cannot be.
    pub async fn change_node(&self, administrator: &Administrator, id: BuilderId, edit: &NodeEdit) -> Result<NodeView, Error> {
        let labels = edit.labels.as_deref().map(str::parse::<NodeLabels>).transpose();
        let labels = labels.map_err(|why| Error::invalid("labels", "labels", format!("{why}")))?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let before = builders::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        if let Some(labels) = labels.filter(|labels| *labels != before.labels) {
            builders::set_labels(&mut tx, id, &labels).await?;
            let change = Change::new("builder.labels", before.name.as_str())
                .old(json!({ "labels": before.labels.to_string() }))
                .now(json!({ "labels": labels.to_string() }));
            audit::write(&mut tx, now, administrator.actor(), Place::Installation, change).await?;
        }
        let action = match (edit.drain, before.draining_since) {
            (Some(Drain::Begin), None) => Some(("builder.drain", Some(now))),
            (Some(Drain::End), Some(_)) => Some(("builder.resume", None)),
            _ => None,
        };
        if let Some((action, since)) = action {
            builders::set_draining(&mut tx, id, since).await?;
            audit::write(&mut tx, now, administrator.actor(), Place::Installation, Change::new(action, before.name)).await?;
        }
        tx.commit().await?;
        self.wake.queue.notify_waiters();
        self.get_node(administrator, id).await
    }

    /// Removes a node: its credential is worth nothing from now on, and what it was building is anybody's. That does not count as a try.
    /// `confirm` has to be its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], and a refusal for another name.
    pub async fn remove_node(&self, administrator: &Administrator, id: BuilderId, confirm: &str) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        // A claim of this node that is under way is decided before or after, and seen here.
        builds::lock_claims(&mut tx).await?;
        let builder = builders::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        if confirm != builder.name {
            let detail = format!("the node is called `{}`, `{}` was typed", builder.name, cut(confirm, 100));
            return Err(Error::invalid("confirm", "confirm", detail));
        }
        if builder.builtin && now.since(builder.last_seen_at) < self.builder_silence() {
            let detail = "the built-in builder is part of the server and would register itself again";
            return Err(Refusal::new(RefusalKind::Conflict, "builtin_builder", detail)
                .hint("`enabled = false` under `[builder]` in the server's configuration ends it; draining lets it take no builds")
                .into());
        }
        let held = self.take_builds_of(&mut tx, id, now).await?;
        builders::delete(&mut tx, id).await?;
        let old = json!({ "labels": builder.labels.to_string(), "builds": held.len() });
        audit::write(&mut tx, now, administrator.actor(), Place::Installation, Change::new("builder.remove", builder.name).old(old))
            .await?;
        tx.commit().await?;
        for build in held {
            self.build_ended(build);
        }
        self.wake.queue.notify_waiters();
        Ok(())
    }

    async fn take_builds_of(&self, tx: &mut WriteTx, id: BuilderId, now: Timestamp) -> Result<Vec<BuildId>, Error> {
        let held = builds::list_held(tx, id).await?;
        for build in &held {
            if build.cancel_requested {
                self.end_cancelled(tx, build.id, "cancelled; its builder was removed", now).await?;
            } else {
                let note = notes::after_attempt(build, "ended: its builder was removed");
                builds::hand_back(tx, build.id, &note, now).await?;
            }
        }
        Ok(held.into_iter().map(|build| build.id).collect())
    }
}

fn stands(builder: &Builder, running: u64, heard: bool) -> (NodeState, Option<String>) {
    let engine: Option<StoredEngine> = serde_json::from_str(&builder.engine).ok();
    let old = too_old(builder.protocol, &builder.git, engine.as_ref());
    let description = match &engine {
        Some(StoredEngine::Ready { description, .. }) => Some(description.clone()),
        _ => None,
    };
    let state = match (old, engine) {
        _ if !heard => NodeState::Offline,
        // Registered a moment ago, and has not said anything yet.
        (_, None) => {
            let problem = "the builder has not said yet whether its engine answers".to_owned();
            NodeState::NoEngine { problem, hint: "it says so within seconds of its start".to_owned() }
        }
        (Some(old), _) => NodeState::TooOld(old),
        (None, Some(StoredEngine::Unavailable { problem, hint })) => NodeState::NoEngine { problem, hint },
        (None, Some(StoredEngine::Ready { .. })) => match (builder.draining_since, running) {
            (Some(_), 0) => NodeState::Drained,
            (Some(_), _) => NodeState::Draining,
            _ if !builder.labels.may_build() => NodeState::NoBuilder,
            (None, 0) => NodeState::Idle,
            (None, running) if running >= u64::from(builder.places()) => NodeState::Full,
            (None, _) => NodeState::Building,
        },
    };
    (state, description)
}
