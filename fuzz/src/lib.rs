//! What the targets share: recorded inputs and the ways in which they are bent.
//!
//! Invariant: a bent input depends on nothing but the seeds and the numbers that the engine gave, so every finding can be repeated.
//! Deliberately elsewhere: the targets themselves (`tests/`), the search for inputs (bolero).

use std::path::{Path, PathBuf};

/// One change of an input: what is done, where, how long it is, and with which byte or word.
pub type Change = (u8, u32, u16, u8);

/// Which seed, what is changed about it, and bytes of the engine's own.
pub type Recipe = (u16, Vec<Change>, Vec<u8>);

/// Pieces that parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"",
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b":",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"0000000000000000000000000000000000000000",
    b"refs/heads/",
    b"refs/tags/",
    b"..",
    b"/",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\r",
    b"\0",
    b"\xff\xfe",
    b"%2F",
    b"%00",
    b"--upload-pack=x",
    b"sha256:",
    b"payload=",
    b"\xef\xbb\xbf",
    "ü".as_bytes(),
];

/// Inputs that were recorded or written by hand.
pub struct Seeds(Vec<Vec<u8>>);

impl Seeds {
    /// These.
    #[must_use]
    pub fn of(inputs: &[&[u8]]) -> Self {
        Self::with_files(inputs, &[])
    }

    /// Every file of these folders of the recorded payloads; of a delivery that was kept with its headers, the body.
    ///
    /// # Panics
    /// When a folder cannot be read or is empty: a target without its seeds would prove nothing.
    #[must_use]
    pub fn recorded(folders: &[&str]) -> Self {
        let mut inputs = Vec::new();
        for folder in folders {
            let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures().join(folder))
                .unwrap_or_else(|error| panic!("`{folder}`: {error}"))
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.is_file())
                .collect();
            files.sort();
            inputs.extend(files.into_iter().filter_map(|path| std::fs::read(path).ok()).map(body_of));
        }
        assert!(!inputs.is_empty(), "no seed in {folders:?}");
        Self(inputs)
    }

    /// These inputs, and after them these files of the recorded payloads.
    ///
    /// # Panics
    /// When a file cannot be read.
    #[must_use]
    pub fn with_files(inputs: &[&[u8]], files: &[&str]) -> Self {
        let read = |file: &&str| std::fs::read(fixtures().join(file)).unwrap_or_else(|error| panic!("`{file}`: {error}"));
        let all: Vec<Vec<u8>> = inputs.iter().map(|input| input.to_vec()).chain(files.iter().map(read)).collect();
        assert!(!all.is_empty(), "a target needs a seed");
        Self(all)
    }

    /// The first seed as it is.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        &self.0[0]
    }

    /// The input that a recipe makes. Without changes it is a seed, or the engine's own bytes when the number is past the seeds.
    #[must_use]
    pub fn bend(&self, (which, changes, own): &Recipe) -> Vec<u8> {
        let mut input = self.0.get(usize::from(*which) % (self.0.len() + self.0.len().div_ceil(8))).unwrap_or(own).clone();
        for change in changes {
            apply(&mut input, *change, own);
        }
        input
    }

    /// As [`Self::bend`], as text.
    #[must_use]
    pub fn text(&self, recipe: &Recipe) -> String {
        String::from_utf8_lossy(&self.bend(recipe)).into_owned()
    }
}

fn apply(input: &mut Vec<u8>, (kind, at, length, byte): Change, own: &[u8]) {
    /// Longer inputs only cost time.
    const MAX_INPUT: usize = 256 * 1024;
    let at = usize::try_from(at).unwrap_or(0) % (input.len() + 1);
    let end = (at + usize::from(length) % 64).min(input.len());
    let word = WORDS[usize::from(byte) % WORDS.len()];
    let (range, new): (std::ops::Range<usize>, Vec<u8>) = match kind % 7 {
        0 => (at..(at + 1).min(input.len()), vec![byte]),
        1 => (at..end, Vec::new()),
        2 => (at..at, word.to_vec()),
        3 => (at..end, word.to_vec()),
        4 => (at..at, own.to_vec()),
        5 => (at..at, word.repeat(usize::from(length) % 3000)),
        _ => (end..input.len(), Vec::new()),
    };
    if input.len() + new.len() <= MAX_INPUT {
        input.splice(range, new);
    }
}

/// The body of `{headers, body}`, and anything else as it is.
fn body_of(input: Vec<u8>) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(&input) {
        Ok(value) if value["headers"].is_object() && value["body"].is_object() => value["body"].to_string().into_bytes(),
        _ => input,
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures")
}
