//! `slipway admin fsck`: does every row of the registry have its bytes, and are they right. Changes nothing.
//!
//! Deliberately elsewhere: how it is checked (`slipway-registry`). Here are the words and the exit code.

use slipway_registry::{Depth, Registry};

use super::open;
use crate::config::Config;
use crate::failure::Failure;

/// Checks; the faults go to standard output, the verdict is the exit code.
pub(crate) async fn run(config: &Config, depth: Depth) -> Result<String, Failure> {
    let app = open::app_for_admin(config).await?;
    let registry = Registry::new(app.clone(), open::blobs(config).await?);
    let report = registry.check(depth).await.map_err(|error| {
        Failure::failed(format!("the check could not be finished: {error}"), "look at the disk, the database and the rights of both")
    })?;
    app.db().close().await;
    if report.faults == 0 {
        let how = if depth == Depth::Deep { "read and compared" } else { "found in their length" };
        return Ok(format!(
            "clean: {} manifests compared, {} blobs {how}, {} copies that no image needs\n",
            report.manifests, report.blobs, report.unreferenced
        ));
    }
    let told: String = report.told.iter().map(|fault| format!("{}\n", crate::failure::one_line(fault))).collect();
    crate::print(&told)?;
    let message = format!("{} faults in {} manifests and {} blobs", report.faults, report.manifests, report.blobs);
    Err(Failure::failed(message, "push the images that need them again: a push puts a sound copy in the place of a broken one"))
}
