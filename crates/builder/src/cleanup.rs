//! Removes what a build leaves in the engine that all share and on disk, also after a crash, and what a test leaves for the next one.
//!
//! The invariant: only what carries a build's name or was noted by this builder is removed; a failure here fails no build.
//! Deliberately elsewhere: engines of their own (`sandbox::scopes`); the engine's garbage collection of layers, which are the build cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use slipway_buildkit::Engine;

use crate::home::BuildDir;
use crate::process::PATH;

/// Containers, networks, volumes and built images of a compose project.
pub(crate) async fn project(engine: &Engine, project: &str) {
    if let Err(error) = engine.remove_project(project).await {
        tracing::warn!(%project, %error, "a test's containers were not removed");
    }
    for separator in ['_', '-'] {
        if let Err(error) = engine.remove_images_named(&format!("{project}{separator}")).await {
            tracing::warn!(%project, %error, "a test's images were not removed");
        }
    }
}

/// What one attempt left in an engine that others use too. The note's first line is the build's own name of the image, then come its digest and
/// the name that people know.
pub(crate) async fn image(engine: &Engine, dir: &BuildDir) {
    let Ok(note) = tokio::fs::read_to_string(dir.image_note()).await else { return };
    let own = note.lines().next().unwrap_or_default();
    let own_id = engine.image_id(own).await.ok().flatten();
    for name in note.lines().rev() {
        // The public name may stand for somebody else's image.
        let ours = name == own || name.contains('@') || (own_id.is_some() && engine.image_id(name).await.ok().flatten() == own_id);
        if ours && let Err(error) = engine.remove_image(name).await {
            tracing::warn!(image = %name, %error, "an image's local name was not removed");
        }
    }
}

/// Removes a folder and all beneath it, however deep whoever filled it made it: in a process of its own, which has its own limits.
pub(crate) fn remover(path: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("rm");
    command.args(["--recursive", "--force", "--one-file-system", "--"]).arg(path).env_clear().env("PATH", PATH).stdin(Stdio::null());
    command
}

/// The same, waited for. A failure delays it until the next start.
pub(crate) async fn remove(path: &Path) {
    let done = tokio::process::Command::from(remover(path)).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if !done.is_ok_and(|status| status.success()) {
        tracing::warn!(path = %path.display(), "what a build left was not removed");
    }
}

/// Everything of builds that died with an earlier run of this builder. Those that had an engine of their own left nothing in this one.
/// A buildkitd keeps no images.
pub(crate) async fn leftovers(engine: Option<&Engine>, dead: &[PathBuf]) {
    for path in dead {
        if let Some(engine) = engine {
            image(engine, &BuildDir { path: path.clone() }).await;
        }
        remove(path).await;
    }
}
