//! One file per command of the command line.

pub(crate) mod admin;
pub(crate) mod builder;
pub(crate) mod check_config;
mod fsck;
mod open;
pub(crate) mod serve;

use crate::config::Config;
use crate::failure::Failure;

/// `slipway migrate`: the schema of the database.
pub(crate) async fn migrate(config: &Config) -> Result<String, Failure> {
    let db = open::database(config).await?;
    db.close().await;
    Ok("the database has the schema of this version\n".to_owned())
}
