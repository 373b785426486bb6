//! One server per data folder.
//!
//! Invariant: the lock is the kernel's, so it ends with the process however that ends; the file's content is only for people.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::secret_key::private_folder;

/// A child that a killed server had just begun holds the lock too, until it has become a program of its own.
const LAST_CHILDREN: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(50);

/// Held as long as the server runs.
#[derive(Debug)]
pub(crate) struct Instance {
    _file: File,
}

impl Instance {
    /// Takes the folder, or says who has it.
    pub(crate) fn lock(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join("serve.lock");
        let refused = |error: std::io::Error| {
            Failure::failed(
                format!("`{}` cannot be written: {error}", path.display()),
                "`data_dir` must be a folder that slipway may write to",
            )
        };
        private_folder(data_dir).map_err(refused)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(refused)?;
        if !taken(&file) {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(Failure::failed(
                format!("another slipway runs with the data folder `{}` (process {})", data_dir.display(), holder.trim()),
                "stop it first, or give this one a `data_dir` of its own",
            ));
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(refused)?;
        Ok(Self { _file: file })
    }
}

/// Nothing of this process runs yet, so it may wait here.
fn taken(file: &File) -> bool {
    let started = Instant::now();
    while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if started.elapsed() > LAST_CHILDREN {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::lock(folder.path()).unwrap();
        let Err(Failure::Failed(notice)) = Instance::lock(folder.path()) else { panic!("two servers on one folder") };
        assert!(notice.message.contains(&std::process::id().to_string()), "{notice}");
        drop(first);
        Instance::lock(folder.path()).unwrap();
    }
}
