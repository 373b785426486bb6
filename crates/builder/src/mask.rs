//! Takes secrets out of output, also when one is split over chunks.
//!
//! The invariant: no run of bytes that equals a secret leaves this file; bytes that may be the beginning of one are held
//! back until it is decided. Deliberately elsewhere: which values are secret (`phases`).

/// Shorter values would black out ordinary words.
pub(crate) const SHORTEST: usize = 6;
const STARS: &[u8] = b"***";

/// The secrets of one build, longest first.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    list: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.list.len())
    }
}

impl Secrets {
    /// Takes each value, and each line of a value with several, that is long enough.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list: Vec<Vec<u8>> = Vec::new();
        for value in values {
            for part in std::iter::once(value).chain(value.lines()) {
                let part = part.trim();
                if part.len() >= SHORTEST && !list.iter().any(|known| known == part.as_bytes()) {
                    list.push(part.as_bytes().to_vec());
                }
            }
        }
        list.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { list }
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
        let firsts: Vec<u8> = self.secrets.list.iter().filter_map(|secret| secret.first().copied()).collect();
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let here = &self.held[at..];
            if !firsts.contains(&here[0]) {
                out.push(here[0]);
                at += 1;
                continue;
            }
            // A longer secret that has begun may still be going on: a shorter one inside it must wait for it.
            let begun = self.secrets.list.iter().any(|secret| secret.len() > here.len() && secret.starts_with(here));
            if begun && rest == Rest::MoreMayCome {
                break;
            }
            match self.secrets.list.iter().find(|secret| here.starts_with(secret)) {
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
    fn ordinary_output_is_not_held_back() {
        let mut masker = Masker::new(Secrets::new(["s3cret-token"]));
        assert_eq!(masker.feed(b"hello"), b"hello");
        assert_eq!(masker.feed(b" s3c"), b" ");
        assert_eq!(masker.feed(b"x"), b"s3cx");
        assert!(!format!("{masker:?}").contains("token"));
    }
}
