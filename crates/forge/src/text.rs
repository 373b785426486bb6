//! Words that come from a provider, made fit for a log, a database and a page.
//!
//! Invariant: what leaves here has no control characters (but line ends in [`message`]) and a bounded length.

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use slipway_model::Timestamp;

const REMOTE_CHARACTERS: usize = 300;

/// One line of at most `characters`; control characters become blanks.
pub(crate) fn line(text: &str, characters: usize) -> String {
    text.chars().take(characters).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The description of a commit status, as short as every provider takes it.
pub(crate) fn description(text: &str) -> String {
    line(text, 140)
}

/// Many lines of at most `characters`; other control characters (a database refuses NUL) become blanks.
pub(crate) fn message(text: &str, characters: usize) -> String {
    text.chars().take(characters).map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

/// A provider's words for an error. Should they repeat a secret that we sent, it is blotted out.
pub(crate) fn remote(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        clean = clean.replace(secret, "[redacted]");
    }
    line(&clean, REMOTE_CHARACTERS)
}

/// A time as RFC 3339 writes it; `None` for what is none.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    Timestamp::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).ok()
}

/// Where the JSON stopped making sense. The parser's own words may quote the document, which may hold a token.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Syntax => "is no JSON",
        serde_json::error::Category::Data => "lacks an expected field or has it in another type",
    };
    format!("the body {kind} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_words_are_cut_cleaned_and_blotted() {
        assert_eq!(remote("bad\r\ntoken gho_x\0!", &["gho_x", ""]), "bad  token [redacted] !");
        assert_eq!(remote(&"ü".repeat(400), &[]).chars().count(), 300);
        assert_eq!(message("a\r\nb\0", 10), "a \nb ");
    }
}
