//! A folder that is read without ever leaving it.
//!
//! The invariant: every open goes through `openat2(RESOLVE_BENEATH)` from the folder's descriptor, so neither `..`, an
//! absolute path, nor a symbolic link (even one swapped in between) reaches anything outside.
//! Deliberately elsewhere: which entries are wanted (`filter`), and sending them (`filesync`).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A folder, held open.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Arc<OwnedFd>,
}

/// What a path inside a [`Tree`] is, after following links that stay inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A socket, pipe or device.
    Special,
}

/// Whether a symbolic link on the way may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Yes, as long as it stays inside.
    Inside,
    /// No link at all: the walk has already seen what is one.
    Refused,
}

impl Links {
    fn flags(self) -> ResolveFlags {
        let base = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match self {
            Self::Inside => base,
            Self::Refused => base | ResolveFlags::NO_SYMLINKS,
        }
    }
}

impl Tree {
    /// Opens the folder itself. The path is trusted; what is below it is not.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { root: Arc::new(root) })
    }

    /// A folder inside this one (`""` and `.` are this one); a link may lead to it if it stays inside.
    pub fn subtree(&self, path: &str) -> io::Result<Self> {
        Ok(Self { root: Arc::new(self.open_folder(path, Links::Inside)?) })
    }

    /// What stands at the path; `None` if nothing does. A link that leads outside is an error (`EXDEV` or `ELOOP`).
    pub fn kind(&self, path: &str) -> io::Result<Option<EntryKind>> {
        let fd = match self.open_any(path, OFlags::PATH, Links::Inside) {
            Ok(fd) => fd,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Folder,
            _ => EntryKind::Special,
        }))
    }

    /// Reads a regular file of at most `limit` bytes; `None` if nothing stands there.
    pub fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(path, Links::Inside) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut content)?;
        if content.len() > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
        }
        Ok(Some(content))
    }

    /// Names in a folder, sorted by bytes as the engine expects them.
    pub fn names(&self, folder: &str) -> io::Result<Vec<Vec<u8>>> {
        names(&self.open_folder(folder, Links::Inside)?)
    }

    /// Opens a regular file; anything else is refused without blocking on a pipe.
    pub(crate) fn open_file(&self, path: &str, links: Links) -> io::Result<File> {
        let fd = self.open_any(path, OFlags::RDONLY | OFlags::NONBLOCK, links)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
        }
        Ok(File::from(fd))
    }

    pub(crate) fn open_folder(&self, path: &str, links: Links) -> io::Result<OwnedFd> {
        self.open_any(path, OFlags::RDONLY | OFlags::DIRECTORY, links)
    }

    /// `lstat` of an entry whose folder is reached without any link.
    pub(crate) fn lstat(&self, path: &str) -> io::Result<Stat> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.open_folder(folder, Links::Refused)?;
        lstat_in(folder.as_fd(), name.as_bytes())
    }

    /// Where a symbolic link points; `None` if the entry is not a link or not there.
    pub(crate) fn link_target(&self, path: &str) -> io::Result<Option<String>> {
        match self.lstat(path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {}
            Ok(_) => return Ok(None),
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.open_folder(folder, Links::Refused)?;
        let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        Ok(target.into_string().ok())
    }

    fn open_any(&self, path: &str, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        loop {
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), links.flags()) {
                // The kernel asks to try again when something was renamed while it resolved the path.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// Names in an open folder, sorted by bytes, without `.` and `..`.
pub(crate) fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn lstat_in(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().expect("folder");
        let inside = folder.path().join("in");
        std::fs::create_dir_all(inside.join("sub")).expect("sub");
        std::fs::write(inside.join("sub/file"), "content").expect("file");
        std::fs::write(folder.path().join("outside"), "secret").expect("outside");
        symlink("sub/file", inside.join("good")).expect("good");
        symlink("../outside", inside.join("up")).expect("up");
        symlink("/etc/passwd", inside.join("absolute")).expect("absolute");
        symlink("..", inside.join("parent")).expect("parent");
        symlink("/proc/self/root/etc/passwd", inside.join("magic")).expect("magic");
        let tree = Tree::open(&inside).expect("tree");
        (folder, tree)
    }

    #[test]
    fn links_inside_are_followed_and_links_outside_are_not() {
        let (_folder, tree) = sample();
        assert_eq!(tree.read("good", 100).expect("good"), Some(b"content".to_vec()));
        for path in ["up", "absolute", "magic", "parent/outside", "../outside", "/etc/passwd", "sub/../../outside"] {
            assert!(tree.read(path, 100).is_err(), "{path} must be refused");
            assert!(tree.kind(path).is_err(), "{path} must be refused");
        }
        assert!(tree.subtree("parent").is_err());
        assert!(tree.open_file("good", Links::Refused).is_err());
    }

    #[test]
    fn what_is_absent_is_none_and_what_is_large_is_refused() {
        let (_folder, tree) = sample();
        assert_eq!(tree.read("nothing", 100).expect("absent"), None);
        assert_eq!(tree.kind("sub/file/below").expect("absent"), None);
        assert_eq!(tree.kind("sub").expect("folder"), Some(EntryKind::Folder));
        assert_eq!(tree.read("sub/file", 3).expect_err("large").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(tree.subtree("sub").expect("sub").names("").expect("names"), vec![b"file".to_vec()]);
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let (folder, tree) = sample();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("in/pipe")).status().expect("mkfifo");
        assert!(made.success());
        assert!(tree.read("pipe", 100).is_err());
        assert_eq!(tree.kind("pipe").expect("pipe"), Some(EntryKind::Special));
    }
}
