//! Takes secrets out of output, also when one is split over chunks.
//!
//! The invariant: no run of bytes that equals a secret leaves this file; bytes that may be the beginning of one are held
//! back until it is decided. Deliberately elsewhere: which values are secret (`phases`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use slipway_model::SHORTEST_MASKED as SHORTEST;
use url::form_urlencoded;

const STARS: &[u8] = b"***";

/// The secrets of one build, in the forms in which they are masked.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// By first byte, the longest first.
    by_first: Arc<BTreeMap<u8, Vec<Vec<u8>>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.by_first.values().map(Vec::len).sum::<usize>())
    }
}

impl Secrets {
    /// Takes each value, and each line of a value with several, that is long enough; and what the usual encodings make of them.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all: BTreeSet<Vec<u8>> = BTreeSet::new();
        for value in values {
            for part in std::iter::once(value).chain(value.lines()) {
                let part = part.trim();
                if part.len() >= SHORTEST {
                    all.extend(forms(part).into_iter().filter(|form| form.len() >= SHORTEST));
                }
            }
        }
        let mut by_first: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        for secret in all {
            by_first.entry(secret[0]).or_default().push(secret);
        }
        for secrets in by_first.values_mut() {
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
        Self { by_first: Arc::new(by_first) }
    }

    fn beginning_with(&self, first: u8) -> &[Vec<u8>] {
        self.by_first.get(&first).map_or(&[], Vec::as_slice)
    }

    /// Masks a text that is whole.
    pub(crate) fn mask(&self, text: &str) -> String {
        let mut masker = Masker::new(self.clone());
        let mut out = masker.feed(text.as_bytes());
        out.extend(masker.finish());
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Masks one stream.
#[derive(Debug)]
pub(crate) struct Masker {
    secrets: Secrets,
    held: Vec<u8>,
}

impl Masker {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, held: Vec::new() }
    }

    /// What may be shown now.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let (out, taken) = self.scan(Rest::MoreMayCome);
        self.held.drain(..taken);
        out
    }

    /// What was held back, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let (out, _) = self.scan(Rest::End);
        self.held.clear();
        out
    }

    fn scan(&self, rest: Rest) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let here = &self.held[at..];
            let secrets = self.secrets.beginning_with(here[0]);
            if secrets.is_empty() {
                out.push(here[0]);
                at += 1;
                continue;
            }
            // A longer secret that has begun may still be going on: a shorter one inside it must wait for it.
            let begun = secrets.iter().any(|secret| secret.len() > here.len() && secret.starts_with(here));
            if begun && rest == Rest::MoreMayCome {
                break;
            }
            match secrets.iter().find(|secret| here.starts_with(secret)) {
                Some(secret) => {
                    out.extend_from_slice(STARS);
                    at += secret.len();
                }
                None => {
                    out.push(here[0]);
                    at += 1;
                }
            }
        }
        (out, at)
    }
}

/// A text, and what base64 (wherever it stands in what was encoded), hexadecimal digits, addresses, JSON and a mirror make of it.
pub(crate) fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let json = serde_json::Value::from(text).to_string().trim_matches('"').to_owned();
    let mut forms = vec![
        text.to_owned(),
        // As Go writes it, for whoever shows JSON on a page.
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        json,
        hex(bytes, "0123456789abcdef"),
        hex(bytes, "0123456789ABCDEF"),
        form_urlencoded::byte_serialize(bytes).collect::<String>(),
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string(),
        text.chars().rev().collect(),
    ];
    for before in 0..3 {
        // Digits that the neighbours have a part in are left out.
        let padded = [vec![0; before], bytes.to_vec()].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for digits in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            forms.push(digits[from..to].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn hex(bytes: &[u8], digits: &str) -> String {
    let digit = |half: u8| char::from(digits.as_bytes()[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    MoreMayCome,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_the_stream_is_cut() {
        let secrets = Secrets::new(["s3cret-token", "s3cret-token-longer", "multi-1\nmulti-2", "short"]);
        let text = "a s3cret-token b s3cret-token-longer c multi-2 s3cret-toke short s3cret-token";
        let expected = "a *** b *** c *** s3cret-toke short ***";
        assert_eq!(secrets.mask(text), expected);
        for size in 1..text.len() {
            let mut masker = Masker::new(secrets.clone());
            let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|chunk| masker.feed(chunk)).collect();
            out.extend(masker.finish());
            assert_eq!(String::from_utf8_lossy(&out), expected, "chunks of {size}");
        }
    }

    #[test]
    fn what_a_secret_is_encoded_into_is_masked_too() {
        use base64::Engine as _;
        let secret = "s3cr\"t/töken+1234";
        let secrets = Secrets::new([secret]);
        let around = |before: &str| base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret} and more"));
        let forms = [
            around(""),
            around("a"),
            around("ab"),
            around("user:"),
            hex(secret.as_bytes(), "0123456789abcdef"),
            hex(secret.as_bytes(), "0123456789ABCDEF"),
            "s3cr%22t%2Ft%C3%B6ken%2B1234".to_owned(),
            "s3cr\\\"t/töken+1234".to_owned(),
            secret.chars().rev().collect(),
        ];
        for form in forms {
            let masked = secrets.mask(&format!("<{form}>"));
            assert!(masked.contains("***") && masked.len() < 3 + form.len() * 2 / 3, "{form} became {masked}");
        }
    }

    #[test]
    fn ordinary_output_is_not_held_back() {
        let mut masker = Masker::new(Secrets::new(["s3cret-token"]));
        assert_eq!(masker.feed(b"hello"), b"hello");
        assert_eq!(masker.feed(b" s3c"), b" ");
        assert_eq!(masker.feed(b"x"), b"s3cx");
        assert!(!format!("{masker:?}").contains("token"));
    }
}
