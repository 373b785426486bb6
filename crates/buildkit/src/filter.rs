//! The walk over a context: which entries the engine gets, in the order it demands.
//!
//! The invariant: entries come depth first, sorted by the bytes of their names, a folder before what it holds, and never
//! through a symbolic link. Deliberately elsewhere: opening (`tree`), the wire (`filesync`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bollard_buildkit_proto::fsutil::types::Stat as WireStat;
use rustix::fs::{FileType, Stat};

use crate::follow::follow;
use crate::patterns::{FolderMatch, PatternError, Patterns};
use crate::tree::{Links, Tree, lstat_in, names};

/// Deeper than any honest source; each level holds a descriptor open.
const MAX_DEPTH: usize = 200;
/// More entries than a build context may have.
const MAX_ENTRIES: usize = 2_000_000;

// Go's `os.FileMode` bits, which the protocol uses.
const MODE_FOLDER: u32 = 1 << 31;
const MODE_LINK: u32 = 1 << 27;
const MODE_SETUID: u32 = 1 << 23;
const MODE_SETGID: u32 = 1 << 22;
const MODE_STICKY: u32 = 1 << 20;

/// What the engine asks to be left out and let in.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The context cannot be sent; the text says why.
    Refused(String),
    /// Nobody listens any more.
    Gone,
}

impl Filter {
    pub(crate) fn new(include: &[String], exclude: &[String], followed: &[String], tree: &Tree) -> Result<Self, String> {
        let text = |error: PatternError| error.to_string();
        let mut wanted = include.to_vec();
        let mut all = false;
        if !followed.is_empty() {
            match follow(tree, followed).map_err(|error| error.to_string())? {
                Some(found) => wanted.extend(found),
                None => all = true,
            }
        }
        Ok(Self {
            include: if all || wanted.is_empty() { None } else { Some(Patterns::new(&wanted).map_err(text)?) },
            exclude: if exclude.is_empty() { None } else { Some(Patterns::new(exclude).map_err(text)?) },
        })
    }
}

/// A folder on the way down.
struct Frame {
    fd: OwnedFd,
    path: String,
    names: std::vec::IntoIter<Vec<u8>>,
    /// The folder itself, until something below it is sent.
    unsent: Option<WireStat>,
    include: Option<FolderMatch>,
    exclude: Option<FolderMatch>,
}

/// What the filter says about one entry.
struct Verdict {
    sent: bool,
    /// Whether something below could still be wanted.
    descend: bool,
    include: Option<FolderMatch>,
    exclude: Option<FolderMatch>,
}

/// Walks the tree and hands each entry to `emit`, which answers false when nobody listens any more.
pub(crate) fn walk(tree: &Tree, filter: &Filter, emit: &mut dyn FnMut(WireStat) -> bool) -> Result<(), WalkError> {
    let refused = |path: &str, error: io::Error| WalkError::Refused(format!("cannot read `{path}`: {error}"));
    let root = tree.open_folder("", Links::Refused).map_err(|error| refused(".", error))?;
    let listed = names(&root).map_err(|error| refused(".", error))?;
    let mut frames = vec![Frame { fd: root, path: String::new(), names: listed.into_iter(), unsent: None, include: None, exclude: None }];
    let mut seen = 0_usize;
    while let Some(frame) = frames.last_mut() {
        let Some(name) = frame.names.next() else {
            frames.pop();
            continue;
        };
        seen += 1;
        if seen > MAX_ENTRIES {
            return Err(WalkError::Refused(format!("it holds more than {MAX_ENTRIES} entries")));
        }
        let shown = String::from_utf8_lossy(&name);
        let path = if frame.path.is_empty() { shown.into_owned() } else { format!("{}/{shown}", frame.path) };
        let verdict = judge(filter, &path, frame);
        if !verdict.sent && !verdict.descend {
            continue;
        }
        let stat = match lstat_in(frame.fd.as_fd(), &name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refused(&path, error)),
        };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !verdict.sent && !is_folder {
            continue;
        }
        let Some(wire) = wire_stat(frame, &name, &path, &stat)? else { continue };
        let below = match is_folder && verdict.descend {
            true => Some(open_below(&frames, tree, &path, &verdict)?),
            false => None,
        };
        let unsent = send(&mut frames, wire, verdict.sent, emit)?;
        if let Some(below) = below {
            frames.push(Frame { unsent, ..below });
        }
    }
    Ok(())
}

/// Sends the entry with the folders above it that are still unsent; an unwanted folder is kept for later.
fn send(frames: &mut [Frame], wire: WireStat, wanted: bool, emit: &mut dyn FnMut(WireStat) -> bool) -> Result<Option<WireStat>, WalkError> {
    if !wanted {
        return Ok(Some(wire));
    }
    for above in frames.iter_mut().filter_map(|frame| frame.unsent.take()).chain([wire]) {
        if !emit(above) {
            return Err(WalkError::Gone);
        }
    }
    Ok(None)
}

fn open_below(frames: &[Frame], tree: &Tree, path: &str, verdict: &Verdict) -> Result<Frame, WalkError> {
    if frames.len() >= MAX_DEPTH {
        return Err(WalkError::Refused(format!("it is more than {MAX_DEPTH} folders deep")));
    }
    let refused = |error: io::Error| WalkError::Refused(format!("cannot read `{path}`: {error}"));
    let fd = tree.open_folder(path, Links::Refused).map_err(refused)?;
    let names = names(&fd).map_err(refused)?.into_iter();
    Ok(Frame { fd, path: path.to_owned(), names, unsent: None, include: verdict.include.clone(), exclude: verdict.exclude.clone() })
}

fn judge(filter: &Filter, path: &str, folder: &Frame) -> Verdict {
    let mut verdict = Verdict { sent: true, descend: true, include: None, exclude: None };
    if let Some(patterns) = &filter.include {
        let (matched, state) = patterns.judge(path, folder.include.as_ref());
        verdict.include = Some(state);
        if !matched {
            verdict.sent = false;
            verdict.descend = patterns.may_match_below(path);
        }
    }
    if let Some(patterns) = &filter.exclude {
        let (matched, state) = patterns.judge(path, folder.exclude.as_ref());
        verdict.exclude = Some(state);
        if matched {
            verdict.sent = false;
            verdict.descend &= patterns.may_except_below(path);
        }
    }
    verdict
}

/// The entry as the protocol wants it; `None` for sockets, pipes and devices, which no image can hold.
fn wire_stat(folder: &Frame, name: &[u8], path: &str, stat: &Stat) -> Result<Option<WireStat>, WalkError> {
    if std::str::from_utf8(name).is_err() {
        return Err(WalkError::Refused(format!("the name of `{path}` is not UTF-8")));
    }
    let mut wire = WireStat {
        path: path.to_owned(),
        mode: stat.st_mode & 0o777,
        mod_time: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        ..WireStat::default()
    };
    for (bit, go) in [(0o4000, MODE_SETUID), (0o2000, MODE_SETGID), (0o1000, MODE_STICKY)] {
        if stat.st_mode & bit != 0 {
            wire.mode |= go;
        }
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => wire.mode |= MODE_FOLDER,
        FileType::RegularFile => wire.size = stat.st_size,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&folder.fd, name, Vec::new())
                .map_err(|error| WalkError::Refused(format!("cannot read the link `{path}`: {error}")))?;
            wire.linkname =
                target.into_string().map_err(|_| WalkError::Refused(format!("the target of the link `{path}` is not UTF-8")))?;
            wire.mode |= MODE_LINK;
            wire.size = stat.st_size;
        }
        _ => return Ok(None),
    }
    Ok(Some(wire))
}

/// True if the engine may ask for the bytes of this entry.
pub(crate) fn has_content(stat: &WireStat) -> bool {
    const KIND: u32 = MODE_FOLDER | MODE_LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;
    stat.mode & KIND == 0
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
