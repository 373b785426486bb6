//! The secret key file: 32 random bytes that encrypt what the database must not tell.
//!
//! Invariant: the file under its final name is always whole; it is written beside, synced, then linked, and never overwritten.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rand::Rng;
use secrecy::SecretBox;

use crate::config::wide_mode;
use crate::failure::Failure;

/// Length of the key and of the file.
pub const KEY_BYTES: usize = 32;

/// The key, and what should be said about its file.
#[derive(Debug)]
pub struct SecretKey {
    /// The bytes; `Debug` does not show them.
    pub bytes: SecretBox<[u8; KEY_BYTES]>,
    /// Others than the owner may read the file.
    pub warning: Option<String>,
}

/// Reads the key file, or creates it with mode 0600.
///
/// # Errors
/// [`Failure::Usage`] for a file that is no key, [`Failure::Failed`] when it cannot be read or written.
pub fn load_or_create(path: &Path) -> Result<SecretKey, Failure> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    create(path).map_err(|error| {
        Failure::failed(
            format!("the secret key file `{}` cannot be created: {error}", path.display()),
            "`secret_key_file` names another place; its folder must be writable",
        )
    })?;
    // Another process may have been faster; what stands under the name is what counts.
    load(path)?.ok_or_else(|| Failure::failed(format!("the secret key file `{}` vanished", path.display()), "start again"))
}

fn load(path: &Path) -> Result<Option<SecretKey>, Failure> {
    // Asked for its size first, so that a device or a huge file under this name is not read.
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    if !found.is_file() || found.len() != KEY_BYTES as u64 {
        return Err(Failure::usage(
            format!("the secret key file `{}` has {} bytes, expected {KEY_BYTES}", path.display(), found.len()),
            "restore it from a backup; without the right key the stored tokens of links cannot be read",
        ));
    }
    let content = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let bytes: [u8; KEY_BYTES] = content
        .as_slice()
        .try_into()
        .map_err(|_| Failure::failed(format!("the secret key file `{}` changed while it was read", path.display()), "start again"))?;
    Ok(Some(SecretKey { bytes: SecretBox::new(Box::new(bytes)), warning: wide_mode(path) }))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(
        format!("the secret key file `{}` cannot be read: {error}", path.display()),
        "it must belong to the user that runs slipway",
    )
}

fn create(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_folder(folder)?;
    let mut bytes = [0_u8; KEY_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    // A temporary file of this crate has mode 0600 from its first moment.
    let mut file = tempfile::Builder::new().prefix(".secret-key-").tempfile_in(folder)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => std::fs::File::open(folder)?.sync_all(),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

/// Creates a folder that only its owner may enter; one that stands is left as it is.
pub(crate) fn private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn created_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secret.key");
        let first = load_or_create(&path).unwrap();
        assert!(first.warning.is_none());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_ne!(first.bytes.expose_secret(), &[0; 32]);
        let again = load_or_create(&path).unwrap();
        assert_eq!(first.bytes.expose_secret(), again.bytes.expose_secret());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file may stay behind");
    }

    #[test]
    fn many_processes_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| *load_or_create(&path).unwrap().bytes.expose_secret())).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
    }

    #[test]
    fn another_length_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        std::fs::write(&path, [7_u8; 31]).unwrap();
        let Err(Failure::Usage(notice)) = load_or_create(&path) else { panic!("a short key was accepted") };
        assert!(notice.message.contains("31 bytes"), "{notice}");
        assert_eq!(std::fs::read(&path).unwrap(), [7_u8; 31]);
    }

    #[test]
    fn a_wide_mode_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        std::fs::write(&path, [7_u8; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_create(&path).unwrap().warning.unwrap().contains("0644"));
    }
}
