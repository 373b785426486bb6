//! Real builders: `slipway builder` as processes of their own, each with its folder, joined by a token as on another machine; and networks
//! between them and the server that a test can cut.
//!
//! Invariant: they drive the machine's Docker Engine like the built-in one, and reach the server over HTTP only.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::process::{Ended, Log};
use crate::{Process, TestApp, engine, process};

/// A `slipway builder`; it ends with the test.
pub struct RemoteBuilder {
    /// The node as the server knows it.
    pub id: String,
    /// What it prints.
    pub log: Log,
    process: Option<Process>,
    folder: PathBuf,
    server: String,
    network: Option<String>,
}

impl TestApp {
    /// A join token of the administrator's.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn join_token(&self) -> Result<String> {
        let made = self.api.post("/admin/builder-join-tokens", &json!({})).await?;
        Ok(made["token"].as_str().context("a token")?.to_owned())
    }

    /// The folder of a builder, with its configuration and this token.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn builder_folder(&self, name: &str, token: &str) -> Result<PathBuf> {
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let engine = engine::address();
        std::fs::write(
            folder.join("slipway.toml"),
            format!("data_dir = \"data\"\ndrain_timeout = \"1s\"\n\n[builder]\nengine = \"{engine}\"\nparallel = 1\n"),
        )?;
        std::fs::write(folder.join("token"), token)?;
        Ok(folder)
    }

    /// Runs `slipway builder` in such a folder until it ends by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub fn try_builder(&self, folder: &std::path::Path) -> Result<Ended> {
        process::command(&folder.join("slipway.toml"), &["builder", "--server", self.site(), "--token-file", "token"], "")
    }

    /// Starts a builder and waits until it is a node that waits for work.
    ///
    /// # Errors
    /// When it does not join.
    pub async fn remote_builder(&self, name: &str) -> Result<RemoteBuilder> {
        self.remote_builder_at(name, self.site(), None).await
    }

    /// The same, in a network namespace, by the server's address there.
    ///
    /// # Errors
    /// When it does not join.
    pub async fn remote_builder_at(&self, name: &str, server: &str, network: Option<&Network>) -> Result<RemoteBuilder> {
        let known = self.node_ids().await?;
        let folder = self.builder_folder(name, &self.join_token().await?)?;
        let network = network.map(|network| network.name.clone());
        let mut builder =
            RemoteBuilder { id: String::new(), log: Log::default(), process: None, folder, server: server.to_owned(), network };
        builder.start()?;
        let joined =
            self.wait_for("the builder to join", || async { Ok(self.node_ids().await?.into_iter().find(|id| !known.contains(id))) });
        builder.id = joined.await.with_context(|| builder.log.tail())?;
        self.node_until(&builder.id, "idle").await?;
        Ok(builder)
    }

    /// All nodes.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn nodes(&self) -> Result<Vec<Value>> {
        self.api.items("/admin/builders").await
    }

    async fn node_ids(&self) -> Result<Vec<String>> {
        Ok(self.nodes().await?.iter().filter_map(|node| node["id"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until a node is in this state.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn node_until(&self, id: &str, state: &str) -> Result<Value> {
        let path = format!("/admin/builders/{id}");
        self.wait_for(&format!("the node to be {state}"), || async {
            let node = self.api.get(&path).await?;
            Ok((node["state"] == state).then_some(node))
        })
        .await
    }

    /// Lets a node take no new builds, or take them again.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn drain(&self, id: &str, draining: &Value) -> Result<Value> {
        self.api.patch(&format!("/admin/builders/{id}"), &json!({ "draining": draining })).await
    }
}

impl RemoteBuilder {
    /// Starts it, for the first time or again, on the same folder.
    ///
    /// # Errors
    /// When it runs already or does not start.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the builder runs already");
        let arguments = ["builder", "--server", &self.server, "--token-file", "token"];
        self.process = Some(Process::start(&self.folder.join("slipway.toml"), &arguments, self.network.as_deref(), self.log.clone())?);
        Ok(())
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The running process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the builder runs")
    }

    /// SIGKILL to it and all that it started.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the builder runs")?.kill()
    }

    /// SIGTERM, and waits for its good end.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.take().context("the builder runs")?.terminate().await
    }

    /// Waits for its end by itself; gives the exit code.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn ended(&mut self) -> Result<i32> {
        self.process.take().context("the builder runs")?.ended().await
    }

    /// Whether it printed this.
    #[must_use]
    pub fn said(&self, text: &str) -> bool {
        self.log.lines().iter().any(|line| line.contains(text))
    }
}

/// A network namespace with one cable to the machine's own network. It goes with this value.
pub struct Network {
    name: String,
    outer: String,
    address: String,
    forwards: tokio::task::JoinSet<()>,
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("`ip` did not start; hint: install iproute2")?;
    ensure!(output.status.success(), "`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Network {
    /// Makes one. The machine has another address of its own on the cable.
    ///
    /// # Errors
    /// When the kernel refuses; it needs root.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (high, name) = (std::process::id() % 200, format!("slipway-{}-{number}", std::process::id()));
        // Names of devices have 15 characters at most.
        let (outer, inner) =
            (format!("sl{}o{number}", std::process::id() % 100_000), format!("sl{}i{number}", std::process::id() % 100_000));
        let address = format!("10.{}.{number}.1", 50 + high);
        let network = Self { name: name.clone(), outer: outer.clone(), address: address.clone(), forwards: tokio::task::JoinSet::new() };
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name])?;
        ip(&["address", "add", &format!("{address}/30"), "dev", &outer])?;
        ip(&["-n", &name, "address", "add", &format!("10.{}.{number}.2/30", 50 + high), "dev", &inner])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&["-n", &name, "link", "set", &inner, "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// The machine's address on the cable.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Pulls the cable, or plugs it in again: nothing that is sent arrives, and nobody is told.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug(&self, state: &str) -> Result<()> {
        ip(&["link", "set", &self.outer, state])
    }

    /// Lets a port of the inner loopback lead to the same of the machine's, beside the cable: for a provider that listens nowhere else.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn forward(&mut self, port: u16) -> Result<()> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name))?;
        // A thread of its own: it stays in the other network until it ends, and the socket stays there for ever.
        let bound = std::thread::spawn(move || -> std::io::Result<TcpListener> {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))?;
            TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))
        });
        let listener = bound.join().map_err(|_| anyhow!("the thread of the listener died"))??;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.forwards.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await {
                        // Either end may go at any time, which the other one sees.
                        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                    }
                });
            }
        });
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The device may never have been made; then there is nothing to remove.
        ip(&["link", "delete", &self.outer]).ok();
        ip(&["netns", "delete", &self.name]).ok();
    }
}
