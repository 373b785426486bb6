//! A second `slipway serve` on the same database: another process with a port and a folder of its own, and the first one's key and address.
//! Invariant: the database is PostgreSQL; a file of SQLite belongs to one process.

use anyhow::{Context as _, Result, ensure};

use crate::{Client, Process, TestApp, process};

/// It ends with the test.
pub struct Replica {
    server: Process,
    site: String,
}

impl TestApp {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn replica(&self) -> Result<Replica> {
        ensure!(self.proxy.is_some(), "two processes need PostgreSQL");
        let port = process::free_port();
        let own = format!("listen = \"127.0.0.1:{port}\"");
        let first = format!("listen = \"{}\"", self.host());
        let config = std::fs::read_to_string(self.config())?;
        ensure!(config.contains(&first), "the configuration says where the first one listens");
        let config = config.replacen(&first, &own, 1);
        let config = config.replacen("data_dir = \"data\"", "data_dir = \"replica\"\nsecret_key_file = \"data/secret.key\"", 1);
        let path = self.folder().join("replica.toml");
        std::fs::write(&path, config)?;
        let site = format!("http://127.0.0.1:{port}");
        let mut server = Process::serve(&path, self.log.clone())?;
        server.ready(&self.http, &site).await.context("the second server")?;
        Ok(Replica { server, site })
    }
}

impl Replica {
    /// A client of this one with another's access token.
    #[must_use]
    pub fn client(&self, like: &Client) -> Client {
        like.at(&self.site)
    }

    /// Asks it to end and waits for it.
    ///
    /// # Errors
    /// When it does not end with exit code 0.
    pub async fn stop(self) -> Result<()> {
        self.server.terminate().await
    }
}
