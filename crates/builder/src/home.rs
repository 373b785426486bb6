//! The builder's folders on disk: one for itself, one for each attempt of a build.
//!
//! The invariant: one builder owns the working folder (it is locked), and whatever lies in it at the start belongs to
//! builds that are dead. Deliberately elsewhere: what the engine still holds of them (`cleanup`).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use slipway_model::BuildId;

use crate::config::BuilderError;

/// The working folder, locked while this lives.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    pub(crate) fn open(path: &Path) -> Result<Self, BuilderError> {
        let refused = |problem: String| BuilderError::WorkDir { path: path.to_owned(), problem };
        let text = |error: std::io::Error| refused(error.to_string());
        let builds = path.join("builds");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&builds).map_err(text)?;
        let path = path.canonicalize().map_err(text)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(text)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| refused("another builder uses it".to_owned()))?;
        Ok(Self { path, _lock: lock })
    }

    /// A new folder for one attempt.
    pub(crate) fn build(&self, build: BuildId, attempt: u32) -> std::io::Result<BuildDir> {
        let path = self.path.join("builds").join(format!("{build}-{attempt}"));
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        for folder in ["source", "home"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path.join(folder))?;
        }
        Ok(BuildDir { path })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the builder itself.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of engines of their own.
    pub(crate) fn engines(&self) -> PathBuf {
        self.path.join("engines")
    }

    /// Folders of builds that nobody runs any more.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path.join("builds"));
        entries.map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    }
}

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct BuildDir {
    pub(crate) path: PathBuf,
}

impl BuildDir {
    pub(crate) fn source(&self) -> PathBuf {
        self.path.join("source")
    }

    /// An empty home for programs.
    pub(crate) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// All of the source's branches and tags, where a hook asks for them.
    pub(crate) fn history(&self) -> PathBuf {
        self.path.join("history.git")
    }

    /// What the source is fetched with, while it is.
    pub(crate) fn access(&self) -> PathBuf {
        self.path.join("access")
    }

    /// Files for programs beside an engine of its own.
    pub(crate) fn inside(&self) -> PathBuf {
        self.path.join("inside")
    }

    /// Where the local name of the image is noted, so that it is found after a crash.
    pub(crate) fn image_note(&self) -> PathBuf {
        self.path.join("image")
    }

    /// Writes a file that only this user may read.
    pub(crate) fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(content.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_builder_per_folder_and_the_next_finds_what_is_left() {
        let folder = tempfile::tempdir().expect("folder");
        let home = Home::open(folder.path()).expect("home");
        assert!(Home::open(folder.path()).expect_err("locked").to_string().contains("another builder"));
        home.build(BuildId::new(), 1).expect("build");
        drop(home);
        let again = Home::open(folder.path()).expect("home");
        assert_eq!(again.leftovers().len(), 1);
    }
}
