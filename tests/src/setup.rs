//! How a [`crate::TestApp`] is started, and the configuration that follows from it.
//! Invariant: the product sees nothing of a setup but its configuration file.

use std::time::Duration;

use slipway_testkit::smtp::SmtpSink;

use crate::engine::{self, OwnBuildkitd};

/// What builds are run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// No builder: builds wait.
    #[default]
    Off,
    /// The machine's Docker Engine.
    Docker,
    /// A buildkitd of this test's own, over TLS.
    Buildkitd,
    /// A builder whose engine does not stand.
    Missing,
}

/// Where the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Database {
    /// A file in the throw-away folder.
    #[default]
    Sqlite,
    /// A throw-away database, behind a proxy that a test can cut.
    Postgres,
    /// A cluster of the test's own, which it can kill.
    Cluster,
}

/// What else runs beside a [`crate::TestApp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Company {
    /// Other tests.
    #[default]
    Shared,
    /// Nothing of this suite: for a test that measures time.
    Alone,
}

/// Which providers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Providers {
    /// The fake GitHub, as `github` and as `other`.
    #[default]
    GitHub,
    /// The fake Bitbucket Cloud and the real Gitea too.
    All,
}

/// How often providers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// As by default, so that within a test nothing comes by itself.
    #[default]
    Usual,
    /// Every [`QUICK`].
    Quick,
}

/// Where mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mail {
    /// Nowhere.
    #[default]
    Off,
    /// Into a server that keeps it.
    Kept,
}

/// Whether private sources get deploy keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeployKeys {
    /// The providers are not known to serve git over SSH.
    #[default]
    Off,
    /// Keys are made; no SSH server is behind them.
    Made,
}

/// What of the network that is not public users may have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Nothing.
    #[default]
    Public,
    /// This machine, where the tests' registries are.
    Loopback,
}

/// Where the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// On the loopback only.
    #[default]
    Loopback,
    /// On every address of the machine: builders in another network reach it.
    Everywhere,
}

/// The intervals of [`Pace::Quick`].
pub const QUICK: Duration = Duration::from_secs(2);

/// How a [`crate::TestApp`] is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// What else runs meanwhile.
    pub company: Company,
    /// What builds are run by.
    pub engine: Engine,
    /// Where the rows are.
    pub database: Database,
    /// Which providers stand.
    pub providers: Providers,
    /// How often providers are asked.
    pub pace: Pace,
    /// Where mail goes.
    pub mail: Mail,
    /// Whether sources get deploy keys.
    pub deploy_keys: DeployKeys,
    /// What may be reached.
    pub reach: Reach,
    /// Where the server listens.
    pub listen: Listen,
    /// After how much silence a builder loses its builds; `None` is the default.
    pub lease: Option<Duration>,
}

impl Setup {
    /// Real builds.
    #[must_use]
    pub fn docker() -> Self {
        Self { engine: Engine::Docker, ..Self::default() }
    }

    /// With nothing beside it.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { company: Company::Alone, ..self }
    }

    /// On that database.
    #[must_use]
    pub fn on(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// With GitHub, Bitbucket Cloud and Gitea.
    #[must_use]
    pub fn all_providers(self) -> Self {
        Self { providers: Providers::All, ..self }
    }

    /// With intervals of seconds.
    #[must_use]
    pub fn quick(self) -> Self {
        Self { pace: Pace::Quick, ..self }
    }

    /// With mail.
    #[must_use]
    pub fn mailing(self) -> Self {
        Self { mail: Mail::Kept, ..self }
    }

    /// Where users may have that reached.
    #[must_use]
    pub fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// With listeners on every address.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self { listen: Listen::Everywhere, ..self }
    }

    /// With leases that end soon.
    #[must_use]
    pub fn leased_for(self, lease: Duration) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// With deploy keys.
    #[must_use]
    pub fn keyed(self) -> Self {
        Self { deploy_keys: DeployKeys::Made, ..self }
    }
}

/// The configuration without its providers.
pub(crate) fn configuration(
    setup: Setup,
    port: u16,
    database_url: &str,
    mail: Option<&SmtpSink>,
    buildkitd: Option<&OwnBuildkitd>,
) -> String {
    let builder = match setup.engine {
        Engine::Off => "enabled = false".to_owned(),
        Engine::Buildkitd => buildkitd.map(OwnBuildkitd::configuration).unwrap_or_default(),
        Engine::Docker => format!("engine = \"{}\"", engine::address()),
        Engine::Missing => "engine = \"unix:///nonexistent/docker.sock\"".to_owned(),
    };
    let pace = match setup.pace {
        Pace::Usual => String::new(),
        Pace::Quick => {
            ["reconcile", "link_check", "source_sweep"].map(|what| format!("{what}_interval = \"{}s\"\n", QUICK.as_secs())).concat()
        }
    };
    let mail = mail.map(|mail| format!("\n[mail]\nurl = \"smtp://{}\"\nfrom = \"Slipway <slipway@slipway.example>\"\n", mail.address()));
    let host = match setup.listen {
        Listen::Loopback => "127.0.0.1",
        Listen::Everywhere => "0.0.0.0",
    };
    let lease = setup.lease.map(|lease| format!("[queue]\nlease = \"{}s\"\n\n", lease.as_secs())).unwrap_or_default();
    let egress = match setup.reach {
        Reach::Public => "",
        Reach::Loopback => "\n[egress]\nallow = [\"127.0.0.1\"]\n",
    };
    format!(
        "data_dir = \"data\"\nlisten = \"{host}:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
         database_url = \"{database_url}\"\ndrain_timeout = \"5s\"\n{pace}\n[builder]\n{builder}\n\n{lease}[limits]\napi_per_minute = 1000000\n{egress}{}",
        mail.unwrap_or_default()
    )
}

/// One `[[provider]]`.
pub(crate) fn provider(id: &str, kind: &str, web_url: &str, api_url: &str, client_id: &str, client_secret: &str) -> String {
    format!(
        "\n[[provider]]\nid = \"{id}\"\nkind = \"{kind}\"\nweb_url = \"{web_url}\"\napi_url = \"{api_url}\"\n\
         client_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\n"
    )
}

/// What is added to a provider for deploy keys.
pub(crate) fn ssh(wished: DeployKeys) -> &'static str {
    match wished {
        DeployKeys::Off => "",
        // GitHub's own, which is a right key; nothing is dialled.
        DeployKeys::Made => {
            "ssh_url = \"ssh://git@127.0.0.1:9\"\n\
             ssh_host_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\"]\n"
        }
    }
}
