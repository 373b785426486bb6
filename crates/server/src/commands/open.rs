//! Opening the parts that several commands need, and what is said when one does not open.

use std::sync::Arc;

use secrecy::ExposeSecret;
use slipway_app::{App, Keys, RefusalKind};
use slipway_blobs::{Blobs, Limits};
use slipway_model::Clock;
use slipway_store::{Db, StoreError};
use url::Url;

use crate::config::Config;
use crate::failure::Failure;
use crate::secret_key::{self, private_folder};

/// Opens the database and brings its schema up to this version.
pub(crate) async fn database(config: &Config) -> Result<Db, Failure> {
    data_folder(config)?;
    if let Some(parent) = config.database_address().strip_prefix("sqlite://").and_then(|path| std::path::Path::new(path).parent()) {
        private_folder(parent).map_err(|error| {
            Failure::failed(format!("the folder `{}` cannot be made: {error}", parent.display()), "`database_url` names another place")
        })?;
    }
    let db = Db::open(config.database_address()).await.map_err(store)?;
    db.migrate().await.map_err(store)?;
    Ok(db)
}

fn data_folder(config: &Config) -> Result<(), Failure> {
    private_folder(&config.data_dir).map_err(|error| {
        Failure::failed(
            format!("the data folder `{}` cannot be made: {error}", config.data_dir.display()),
            "`data_dir` names another place",
        )
    })
}

/// Opens the folder of the blobs.
pub(crate) async fn blobs(config: &Config) -> Result<Blobs, Failure> {
    data_folder(config)?;
    Blobs::open(&config.blobs_dir, Limits::default()).await.map_err(|error| {
        Failure::failed(
            format!("the folder of the blobs `{}` cannot be opened: {error}", config.blobs_dir.display()),
            "`storage_url` names another place",
        )
    })
}

/// The application over an open database.
pub(crate) fn app(config: &Config, db: Db, public_url: Url) -> Result<App, Failure> {
    let key = secret_key::load_or_create(&config.secret_key_file)?;
    if let Some(warning) = &key.warning {
        tracing::warn!("{warning}");
    }
    let egress = slipway_forge::Egress::new(config.egress.clone());
    let mut forges = Vec::new();
    for provider in &config.providers {
        let provider_of_forge = slipway_forge::Provider {
            id: provider.id.clone(),
            kind: provider.kind,
            web_url: provider.web_url.clone(),
            api_url: provider.api_url.clone(),
            client_id: provider.client_id.clone(),
            client_secret: provider.client_secret.clone(),
            app: provider.app.clone(),
            ssh: provider.ssh.clone(),
        };
        forges.push(slipway_forge::open_with(provider_of_forge, egress.clone()).map_err(|error| {
            Failure::usage(format!("the provider `{}` cannot be used: {error}", provider.id), "`slipway check-config` shows its addresses")
        })?);
    }
    let behaviour = slipway_app::Config {
        mail: config.mail.clone(),
        oidc: config.oidc.clone(),
        sign_up: config.sign_up,
        queue: config.queue.clone(),
        lease: config.lease,
        time_limit: config.time_limit,
        reconcile_interval: config.reconcile_interval,
        link_check_interval: config.link_check_interval,
        source_sweep_interval: config.source_sweep_interval,
        delivery_retention: config.delivery_retention,
        hooks: config.builder.hooks.clone(),
        egress: config.egress.clone(),
        ..slipway_app::Config::new(public_url)
    };
    Ok(App::new(db, Clock::System, Keys::derive(key.bytes.expose_secret()), forges, behaviour))
}

/// The application for a command beside the server.
pub(crate) async fn app_for_admin(config: &Config) -> Result<Arc<App>, Failure> {
    let db = database(config).await?;
    app(config, db, config.public_url(config.listen)).map(Arc::new)
}

/// What a database's error means on the terminal.
pub(crate) fn store(error: StoreError) -> Failure {
    let text = chain(&error);
    match error {
        StoreError::TooNew(_) => {
            Failure::failed(text, "start the version of slipway that wrote it, or restore the copy that was made before the migration")
        }
        StoreError::Address(_) => Failure::usage(text, "`database_url` is `sqlite://PATH` or `postgres://...`"),
        StoreError::Unsafe(_) => Failure::usage(text, "change that setting of the database"),
        StoreError::Corrupt { .. } => {
            Failure::failed(text, "`slipway admin fsck` says more; keep a copy of the database before you change anything")
        }
        StoreError::Conflict(_) => Failure::failed(text, "run it again"),
        StoreError::Unavailable(_) => {
            Failure::failed(text, "`slipway check-config` shows which database it is; it must be up, writable and have space")
        }
    }
}

/// What an error of the application means on the terminal.
pub(crate) fn application(error: slipway_app::Error) -> Failure {
    match error {
        slipway_app::Error::Refused(refusal) => {
            let fallback =
                if refusal.kind == RefusalKind::Conflict { "choose another one" } else { "`slipway --help` lists the commands and flags" };
            let hint = refusal.hint.clone().unwrap_or_else(|| fallback.to_owned());
            match refusal.kind {
                RefusalKind::Invalid | RefusalKind::Bad => Failure::usage(refusal.detail, hint),
                _ => Failure::failed(refusal.detail, hint),
            }
        }
        slipway_app::Error::Store(error) => store(error),
        other => Failure::failed(chain(&other), "the log says more"),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
