//! What an engine of its own may take of the machine: a control group for each, of version 1 or 2.
//!
//! The invariant: everything of an engine is in its group, hooks and compose too, and the group goes with it. Where control groups cannot be
//! made, engines run without, and that is said once. Deliberately elsewhere: the number of processes of one engine's users (`gate.sh`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::MACHINE_GROUPS;
use crate::config::EngineBounds;

/// Processes of one engine, whoever they belong to.
const PROCESSES: &str = "16384";
/// Where the machine is busy, an engine gets half as much as anything else of equal standing.
const SHARES: &str = "512";
const WEIGHT: &str = "50";

/// The group of one engine. It goes when this goes; by then nothing may be in it.
#[derive(Debug, Default)]
pub(super) struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes it under the machine's groups. Without bounds there is nothing to make.
    pub(super) fn make(name: &str, bounds: EngineBounds) -> Self {
        Self::make_in(Path::new(MACHINE_GROUPS), name, bounds).unwrap_or_else(|error| {
            static SAID: Once = Once::new();
            SAID.call_once(|| tracing::warn!(%error, "engines of their own run without bounds: no control groups can be made here"));
            Self::default()
        })
    }

    fn make_in(root: &Path, name: &str, bounds: EngineBounds) -> io::Result<Self> {
        let mut group = Self::default();
        let memory = bounds.memory.map(|bytes| bytes.to_string());
        if root.join("cgroup.controllers").exists() {
            let ours = root.join("slipway");
            write(&root.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
            create(&ours)?;
            write(&ours.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
            let folder = group.add(ours.join(name))?;
            write(&folder.join("pids.max"), PROCESSES)?;
            write(&folder.join("cpu.weight"), WEIGHT)?;
            if let Some(memory) = &memory {
                write(&folder.join("memory.max"), memory)?;
                optional(&folder.join("memory.swap.max"), "0")?;
            }
            return Ok(group);
        }
        let mut of = |controller: &str| {
            let ours = root.join(controller).join("slipway");
            create(&ours)?;
            group.add(ours.join(name))
        };
        write(&of("pids")?.join("pids.max"), PROCESSES)?;
        write(&of("cpu")?.join("cpu.shares"), SHARES)?;
        if let Some(memory) = &memory {
            let folder = of("memory")?;
            write(&folder.join("memory.limit_in_bytes"), memory)?;
            optional(&folder.join("memory.memsw.limit_in_bytes"), memory)?;
        }
        Ok(group)
    }

    fn add(&mut self, folder: PathBuf) -> io::Result<PathBuf> {
        create(&folder)?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// When nothing is in it any more. One that is still in use stays, bounds nobody else, and is taken again by the next engine of its name.
    pub(super) fn remove(&self) {
        for folder in &self.folders {
            std::fs::remove_dir(folder).ok();
        }
    }

    /// For the shells that put an engine together: each moves itself into all of them.
    pub(super) fn folders(&self) -> String {
        self.folders.iter().map(|folder| format!("{} ", folder.display())).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Also one that an earlier builder left.
fn create(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(folder, error)),
        _ => Ok(()),
    }
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    std::fs::write(file, value).map_err(|error| named(file, error))
}

/// Swap is not counted on every machine.
fn optional(file: &Path, value: &str) -> io::Result<()> {
    if file.exists() { write(file, value) } else { Ok(()) }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: EngineBounds = EngineBounds { memory: Some(1 << 30) };

    #[test]
    fn both_versions_are_written_as_the_kernel_wants_them() {
        let (one, two) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        for controller in ["pids", "cpu", "memory"] {
            std::fs::create_dir(one.path().join(controller)).expect("controller");
        }
        let group = Group::make_in(one.path(), "a", BOUNDS).expect("made");
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("written");
        assert_eq!(read(one.path().join("memory/slipway/a/memory.limit_in_bytes")), "1073741824");
        assert_eq!(read(one.path().join("pids/slipway/a/pids.max")), PROCESSES);
        assert_eq!(group.folders().split_whitespace().count(), 3);

        std::fs::write(two.path().join("cgroup.controllers"), "cpu memory pids").expect("root");
        let group = Group::make_in(two.path(), "a", BOUNDS).expect("made");
        assert_eq!(read(two.path().join("slipway/a/memory.max")), "1073741824");
        assert_eq!(read(two.path().join("slipway/cgroup.subtree_control")), "+memory +pids +cpu");
        assert_eq!(group.folders(), format!("{} ", two.path().join("slipway/a").display()));
    }

    #[test]
    fn where_there_are_none_the_reason_names_the_place() {
        let folder = tempfile::tempdir().expect("folder");
        let error = Group::make_in(&folder.path().join("absent"), "a", BOUNDS).expect_err("nothing there");
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
