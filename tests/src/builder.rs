//! A builder that does what a test says, over the same protocol as the real one.
//! Invariant: it is known to the server by a token like any other; only that token is made beside the server, on the same database.

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use slipway_app::{App, Config, Keys};
use slipway_model::Clock;
use slipway_store::Db;
use slipway_wire::{
    Assignment, Claim, EngineStatus, Event, Finish, FinishAnswer, Heartbeat, HeartbeatAnswer, Outcome, PROTOCOL, Report, ReportAnswer,
};

use crate::registry::Registry;
use crate::{Answer, Client, TestApp};

/// What the server says to a builder: the answer, or that the lease is lost.
pub type Fenceable<T> = Result<T, String>;

/// A builder.
#[derive(Debug, Clone)]
pub struct ScriptedBuilder {
    client: Client,
    name: String,
    /// Why it cannot have engines of its own, if it says so.
    pub obstacle: Option<String>,
}

impl TestApp {
    /// Registers a builder; a second one of the same name takes the first one's place and builds, as after a restart.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn builder(&self, name: &str) -> Result<ScriptedBuilder> {
        let db = Db::open(self.database_url()).await?;
        // The keys seal nothing here: a builder's token is stored as a hash.
        let app = App::new(db.clone(), Clock::System, Keys::derive(&[0; 32]), [], Config::new(self.site().parse()?));
        let token = app.register_builtin_builder(name).await?;
        db.close().await;
        Ok(ScriptedBuilder { client: self.client(token.expose()), name: name.to_owned(), obstacle: None })
    }
}

fn ready() -> EngineStatus {
    EngineStatus::Ready { description: "scripted".to_owned(), kind: None }
}

impl ScriptedBuilder {
    /// Its token.
    #[must_use]
    pub fn token(&self) -> &str {
        self.client.token()
    }

    /// Sends anything to an address of the protocol.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, path: &str, body: &impl Serialize) -> Result<Answer> {
        self.client.send(Method::POST, &format!("/builder/v1{path}"), Some(&serde_json::to_value(body)?)).await
    }

    /// `send` on a connection of its own, for bodies that are refused before they are read.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send_apart(&self, path: &str, body: &impl Serialize) -> Result<Answer> {
        Self { client: self.client.apart()?, ..self.clone() }.send(path, body).await
    }

    async fn call<T: DeserializeOwned>(&self, work: &Assignment, verb: &str, body: &impl Serialize) -> Result<Fenceable<T>> {
        let answer = self.send(&format!("/builds/{}/{verb}", work.build), body).await?;
        match answer.status {
            200 => Ok(Ok(serde_json::from_str(&answer.text)?)),
            409 => {
                let fenced: Value = serde_json::from_str(&answer.text)?;
                Ok(Err(fenced["detail"].as_str().context("a fenced answer says why")?.to_owned()))
            }
            other => bail!("`{verb}` answered {other}: {}", answer.text),
        }
    }

    /// Asks for work with an engine that is ready, or is not.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn claim_with(&self, engine: EngineStatus, wait_seconds: u32) -> Result<Option<Assignment>> {
        let (name, version, git) = (self.name.clone(), "scripted".to_owned(), "git version 2.39.5".to_owned());
        let claim = Claim { protocol: PROTOCOL, git, name, version, parallel: 100, engine, wait_seconds, obstacle: self.obstacle.clone() };
        let answer = self.send("/claim", &claim).await?;
        match answer.status {
            200 => Ok(Some(serde_json::from_str(&answer.text)?)),
            204 => Ok(None),
            other => bail!("the claim answered {other}: {}", answer.text),
        }
    }

    /// Takes a build that must be there within some seconds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn claim(&self) -> Result<Assignment> {
        self.claim_with(ready(), 10).await?.context("there is work for the builder")
    }

    /// Takes a build if there is one now.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn try_claim(&self) -> Result<Option<Assignment>> {
        self.claim_with(ready(), 0).await
    }

    /// Extends the lease.
    ///
    /// # Errors
    /// When the answer is neither yes nor fenced.
    pub async fn heartbeat(&self, work: &Assignment) -> Result<Fenceable<HeartbeatAnswer>> {
        self.call(work, "heartbeat", &Heartbeat { attempt: work.attempt }).await
    }

    /// Sends a numbered batch.
    ///
    /// # Errors
    /// When the answer is neither yes nor fenced.
    pub async fn report(&self, work: &Assignment, sequence: u64, events: Vec<Event>) -> Result<Fenceable<ReportAnswer>> {
        self.call(work, "report", &Report { attempt: work.attempt, sequence, events }).await
    }

    /// Ends a build.
    ///
    /// # Errors
    /// When the answer is neither yes nor fenced.
    pub async fn finish(&self, work: &Assignment, outcome: Outcome) -> Result<Fenceable<FinishAnswer>> {
        self.call(work, "finish", &Finish { attempt: work.attempt, outcome }).await
    }

    /// Gives a build back.
    ///
    /// # Errors
    /// When the answer is neither yes nor fenced.
    pub async fn release(&self, work: &Assignment) -> Result<Fenceable<Value>> {
        let body = slipway_wire::Release { attempt: work.attempt, note: "the builder shuts down".to_owned() };
        self.call(work, "release", &body).await
    }

    /// Pushes a small image by digest with the build's own credential, as a builder does; gives the digest.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push(&self, app: &TestApp, work: &Assignment, content: &str) -> Result<String> {
        let credential = &work.registry.credential;
        let registry = Registry::new(app, &credential.username, &credential.password);
        registry.push(&work.registry.repository.to_string(), None, &[content.as_bytes().to_vec()]).await
    }

    /// The whole work of a build that goes well.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn succeed(&self, app: &TestApp, work: &Assignment, content: &str) -> Result<String> {
        let digest = self.push(app, work, content).await?;
        let answer = self.finish(work, Outcome::Pushed { digest: digest.clone() }).await?;
        let answer = answer.map_err(|why| anyhow::anyhow!("the builder lost its lease: {why}"))?;
        anyhow::ensure!(answer.state == slipway_model::BuildState::Success, "the build ended as {}", answer.state);
        Ok(digest)
    }
}
