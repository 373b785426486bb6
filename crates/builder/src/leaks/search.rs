//! Looks for secrets in the stream of an image's tar: its layers and its configuration, in the forms in which a log masks them.
//!
//! The invariant: each byte is looked at once, with what came shortly before it, so a secret is found wherever the stream is cut, and memory does
//! not grow with the image. Data that are compressed or encrypted inside of a layer are looked at as they stand. Deliberately elsewhere: where
//! the stream comes from (`mod`), which values are secret (`phases`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use slipway_model::SHORTEST_SECRET as SHORTEST;

use super::tar::{Part, Walk};
use crate::mask::forms;

/// So much of a long value tells it from any other.
const LONGEST: usize = 512;
/// A line of a key; shorter ones, and those with other characters, are no secret for themselves.
const KEY_LINE: usize = 32;
/// `openssh-key-v1`, with which every key of OpenSSH begins.
const KEY_BEGINNING: &str = "b3BlbnNzaC1rZXktdjE";
/// Configurations are small; what is larger is a layer.
const TEXT_LIMIT: u64 = 4 * 1024 * 1024;
const TEXTS_LIMIT: usize = 16 * 1024 * 1024;
/// More finds tell a person nothing new.
const FINDS: usize = 50;
const MATCHES: usize = 10_000;

/// What is looked for.
pub(crate) struct Wanted {
    names: Vec<String>,
    /// For each form the place of its name.
    owners: Vec<usize>,
    finder: AhoCorasick,
    longest: usize,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wanted({:?})", self.names)
    }
}

impl Wanted {
    /// Values by what they are called; `None` when none of them is long enough to be told from chance.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut owned: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut names = Vec::new();
        for (name, value) in values.into_iter().filter(|(_, value)| value.trim().len() >= SHORTEST) {
            let found = texts(value).into_iter().flat_map(|text| forms(&text)).filter(|form| form.len() >= SHORTEST);
            for mut form in found {
                form.truncate(LONGEST);
                owned.entry(form).or_insert(names.len());
            }
            names.push(name.to_owned());
        }
        let longest = owned.keys().map(Vec::len).max()?;
        let finder = AhoCorasick::new(owned.keys()).expect("variables are few and each form is short");
        Some(Self { names, owners: owned.into_values().collect(), finder, longest })
    }

    /// Of an image that is nothing but a configuration.
    pub(crate) fn in_configuration(&self, text: &[u8]) -> Found {
        let owners: BTreeSet<usize> =
            self.finder.find_overlapping_iter(text).take(MATCHES).map(|found| self.owners[found.pattern().as_usize()]).collect();
        let place = Place::Configuration { instruction: None };
        let leaks = owners.into_iter().map(|owner| Leak { name: self.names[owner].clone(), place: place.clone() }).collect();
        Found { leaks, compressed: 0 }
    }

    /// What is looked for, by name.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// The value, and each line of it that is a piece of a key.
fn texts(value: &str) -> Vec<String> {
    let whole = value.trim();
    let mut texts = vec![whole.to_owned()];
    if whole.contains('\n') {
        let lines: Vec<&str> = whole.lines().map(str::trim_end).collect();
        texts.extend([lines.join("\n"), lines.join("\r\n")]);
        let of_key = |line: &&str| {
            line.len() >= KEY_LINE
                && line.chars().all(|c| c.is_ascii_alphanumeric() || "+/=_-".contains(c))
                && !line.starts_with(KEY_BEGINNING)
        };
        texts.extend(lines.into_iter().filter(of_key).map(str::to_owned));
    }
    texts
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a layer, counted from the first of the base image, made by an instruction.
    Layer { number: usize, instruction: Option<String>, file: Option<String> },
    /// In its environment, labels, command or history.
    Configuration { instruction: Option<String> },
}

/// A secret that the image holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leak {
    /// What it is called.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) leaks: Vec<Leak>,
    /// Layers that the engine keeps compressed.
    pub(crate) compressed: usize,
}

/// Looks through one image.
pub(crate) struct Search<'w> {
    wanted: &'w Wanted,
    tar: Walk,
    entry: Entry,
    /// Place of the name, entry of the tar, file within it.
    finds: BTreeSet<(usize, String, Option<String>)>,
    matches: usize,
    texts: BTreeMap<String, Vec<u8>>,
    kept: usize,
    compressed: BTreeSet<String>,
}

/// The entry of the image's tar that is looked at.
#[derive(Debug, Default)]
struct Entry {
    name: String,
    files: Walk,
    /// Files of a layer near the place that is looked at, by where they begin.
    near: VecDeque<(u64, String)>,
    /// What came last, and where it begins.
    tail: Vec<u8>,
    at: u64,
    text: Option<Vec<u8>>,
}

impl<'w> Search<'w> {
    pub(crate) fn new(wanted: &'w Wanted) -> Self {
        let (finds, texts, compressed) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { wanted, tar: Walk::default(), entry: Entry::default(), finds, matches: 0, texts, kept: 0, compressed }
    }

    /// Takes the next bytes of the tar.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(part) = self.tar.next(&mut bytes) {
            match part {
                Part::Entry { name, size, .. } => {
                    self.end_entry();
                    let text = (size <= TEXT_LIMIT && self.kept < TEXTS_LIMIT).then(Vec::new);
                    self.entry = Entry { name, text, ..Entry::default() };
                }
                Part::Content(content) => self.look(content),
            }
        }
    }

    fn look(&mut self, content: &[u8]) {
        let entry = &mut self.entry;
        let begins = entry.at == 0 && entry.tail.is_empty();
        if begins && !content.starts_with(b"{") && !content.starts_with(b"[") {
            entry.text = None;
        }
        if let Some(text) = &mut entry.text {
            text.extend_from_slice(content);
        }
        let mut rest = content;
        while let Some(part) = entry.files.next(&mut rest) {
            if let Part::Entry { name, at, .. } = part {
                entry.near.push_back((at, name));
            }
        }
        entry.tail.extend_from_slice(content);
        if entry.at == 0 && (entry.tail.starts_with(&[0x1f, 0x8b]) || entry.tail.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])) {
            self.compressed.insert(entry.name.clone());
        }
        if self.matches < MATCHES {
            for found in self.wanted.finder.find_overlapping_iter(&entry.tail) {
                self.matches += 1;
                if self.matches >= MATCHES || self.finds.len() >= FINDS {
                    break;
                }
                let at = entry.at + found.start() as u64;
                let file = entry.near.iter().rev().find(|(begins, _)| *begins <= at).map(|(_, name)| name.clone());
                self.finds.insert((self.wanted.owners[found.pattern().as_usize()], entry.name.clone(), file));
            }
        }
        let past = entry.tail.len().saturating_sub(self.wanted.longest - 1);
        entry.tail.drain(..past);
        entry.at += past as u64;
        while entry.near.get(1).is_some_and(|(begins, _)| *begins <= entry.at) {
            entry.near.pop_front();
        }
    }

    fn end_entry(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        if let Some(text) = entry.text {
            self.kept += text.len();
            self.texts.insert(entry.name, text);
        }
    }

    /// What was found.
    ///
    /// # Errors
    /// When this was no whole image.
    pub(crate) fn finish(mut self) -> Result<Found, String> {
        self.end_entry();
        let unread = "the engine's tar of the image cannot be read";
        let read = |name: &str| self.texts.get(name).ok_or_else(|| format!("{unread}: it has no `{name}`"));
        let images: Vec<SavedImage> = serde_json::from_slice(read("manifest.json")?).map_err(|error| format!("{unread}: {error}"))?;
        let image = images.into_iter().next().ok_or_else(|| format!("{unread}: it has no image"))?;
        let config: Config = serde_json::from_slice(read(&image.config)?).map_err(|error| format!("{unread}: {error}"))?;
        let history = config.history.unwrap_or_default();
        let of_layers: Vec<&str> = history.iter().filter(|step| !step.empty_layer).map(|step| step.created_by.as_str()).collect();
        let mut leaks = BTreeSet::new();
        for (owner, entry, file) in self.finds {
            let place = match image.layers.iter().position(|layer| *layer == entry) {
                Some(at) => Place::Layer { number: at + 1, instruction: of_layers.get(at).map(|text| (*text).to_owned()), file },
                None => {
                    let shows = |step: &&Step| {
                        let mut found = self.wanted.finder.find_overlapping_iter(&step.created_by);
                        found.any(|found| self.wanted.owners[found.pattern().as_usize()] == owner)
                    };
                    Place::Configuration { instruction: history.iter().find(shows).map(|step| step.created_by.clone()) }
                }
            };
            leaks.insert(Leak { name: self.wanted.names[owner].clone(), place });
        }
        let compressed = image.layers.iter().filter(|layer| self.compressed.contains(*layer)).count();
        Ok(Found { leaks: leaks.into_iter().collect(), compressed })
    }
}

/// An image in `manifest.json` ("docker image save").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

/// OCI image specification, "Image Configuration".
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    history: Option<Vec<Step>>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::super::tar::tests::archive;
    use super::*;

    const SECRET: &str = "canary<&>\"0123456789";

    fn image(layers: &[&[u8]], config: &str) -> Vec<u8> {
        let names: Vec<String> = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect();
        let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["x:y"], "Layers": names }]).to_string();
        let mut files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(layers.iter().copied()).collect();
        files.extend([("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())]);
        archive(&files)
    }

    const CONFIG: &str =
        r#"{"history":[{"created_by":"FROM base"},{"created_by":"ENV A=b","empty_layer":true},{"created_by":"COPY . /app"}]}"#;

    fn found(wanted: &Wanted, tar: &[u8], size: usize) -> Result<Found, String> {
        let mut search = Search::new(wanted);
        tar.chunks(size).for_each(|piece| search.feed(piece));
        search.finish()
    }

    #[test]
    fn a_secret_is_found_wherever_the_stream_is_cut_and_its_place_is_told() {
        let wanted = Wanted::new([("OTHER", "never-to-be-seen"), ("TOKEN", SECRET)]).expect("wanted");
        let padding = vec![b'x'; 700];
        let base = archive(&[("bin/sh", &padding)]);
        let app = archive(&[("app/readme", &padding), ("app/token", &[padding.as_slice(), SECRET.as_bytes()].concat()), ("app/z", b"z")]);
        let tar = image(&[&base, &app], CONFIG);
        let place = Place::Layer { number: 2, instruction: Some("COPY . /app".into()), file: Some("app/token".into()) };
        for size in [1, 3, 512, 700, 4096, tar.len()] {
            let expected = Found { leaks: vec![Leak { name: "TOKEN".into(), place: place.clone() }], compressed: 0 };
            assert_eq!(found(&wanted, &tar, size), Ok(expected), "pieces of {size}");
        }
        assert_eq!(found(&wanted, &image(&[&base], CONFIG), 4096), Ok(Found::default()));
    }

    #[test]
    fn each_form_that_a_log_masks_is_found_also_in_the_configuration() {
        let wanted = Wanted::new([("TOKEN", SECRET)]).expect("wanted");
        let mut all = forms(SECRET);
        all.push(format!("user:{SECRET}").into_bytes());
        for form in all {
            let tar = image(&[&archive(&[("f", &form)])], CONFIG);
            assert_eq!(found(&wanted, &tar, 1000).expect("whole").leaks.len(), 1, "{}", String::from_utf8_lossy(&form));
        }
        // As a Go program writes it.
        let go = SECRET.replace('<', "\\u003c").replace('&', "\\u0026").replace('>', "\\u003e").replace('"', "\\\"");
        let config = format!(r#"{{"config":{{"Env":["A={go}"]}},"history":[{{"created_by":"ENV A={go}","empty_layer":true}}]}}"#);
        let leaks = found(&wanted, &image(&[], &config), 77).expect("whole").leaks;
        let place = Place::Configuration { instruction: Some(format!("ENV A={SECRET}")) };
        assert_eq!(leaks, [Leak { name: "TOKEN".into(), place }]);
    }

    #[test]
    fn of_a_key_each_line_counts_that_is_its_own() {
        let line = "QyNTUxOQAAACDIzJZ8vwbQRI5mvGFnSao7soKNNkUMp0R5YDKg8KFs3wAAAJh0bQAdEA";
        let key = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n{line}\n-----END OPENSSH PRIVATE KEY-----\n"
        );
        let wanted = Wanted::new([("KEY", key.as_str())]).expect("wanted");
        let look =
            |content: &str| found(&wanted, &image(&[&archive(&[("f", content.as_bytes())])], CONFIG), 512).expect("whole").leaks.len();
        assert_eq!((look(line), look(&key), look(&key.replace('\n', "\r\n"))), (1, 1, 1));
        // What all keys share is in every program that reads them.
        assert_eq!(look("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"), 0);
    }

    #[test]
    fn what_is_too_short_is_not_looked_for_and_half_an_image_is_none() {
        assert!(Wanted::new([("A", "1234567"), ("B", "")]).is_none());
        let wanted = Wanted::new([("TOKEN", SECRET)]).expect("wanted");
        let tar = image(&[&archive(&[("f", b"x")])], CONFIG);
        assert!(found(&wanted, &tar[..tar.len() / 2], 512).is_err() && found(&wanted, b"", 512).is_err());
        for size in [1, 512] {
            assert_eq!(found(&wanted, &image(&[&[0x1f, 0x8b, 8, 0]], CONFIG), size).expect("whole").compressed, 1);
        }
    }
}
