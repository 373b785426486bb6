//! Image tags and the templates that make them from a ref.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{CommitId, Timestamp};

const MAX_TAG_LENGTH: usize = 128;

/// A tag by the OCI grammar: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageTag(String);

/// The tag under which the builds of a repository keep their cache beside its images. Nobody else writes it, and no list of tags has it.
pub const CACHE_TAG: &str = "_slipway-cache";

/// The text is no valid tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid tag, expected 1 to 128 of `A-Z a-z 0-9 _ . -`, first a letter, digit or `_`")]
pub struct InvalidTag(String);

impl ImageTag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes any text a tag. A valid tag stays as it is. Otherwise each run of characters that a tag cannot hold becomes one `-`,
    /// the ends are trimmed, and `-` plus the first eight digits of the SHA-256 of the text follow: two different refs never share a tag.
    /// [`CACHE_TAG`] is nobody's to name, so it becomes another one in the same way. Of no text there is no tag.
    #[must_use]
    pub fn from_any(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if let Ok(tag) = text.parse()
            && text != CACHE_TAG
        {
            return Some(tag);
        }
        let mut slug = String::new();
        for c in text.chars() {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
                slug.push(c);
            } else if !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let kept: String = slug.trim_matches(|c| matches!(c, '-' | '.')).chars().take(MAX_TAG_LENGTH - 9).collect();
        let hash = hex::encode(Sha256::digest(text.as_bytes()));
        let tag = if kept.is_empty() { hash[..8].to_owned() } else { format!("{kept}-{}", &hash[..8]) };
        Some(Self(tag))
    }
}

impl FromStr for ImageTag {
    type Err = InvalidTag;
    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let valid =
            (1..=MAX_TAG_LENGTH).contains(&bytes.len()) && word(bytes[0]) && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidTag(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for ImageTag {
    type Error = InvalidTag;
    fn try_from(text: String) -> Result<Self, InvalidTag> {
        text.parse()
    }
}

impl From<ImageTag> for String {
    fn from(tag: ImageTag) -> Self {
        tag.0
    }
}

impl fmt::Display for ImageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    SourceRef,
    Group(usize),
    Commit,
    ShortCommit,
    Date,
}

/// What the placeholders of a template stand for.
#[derive(Clone, Copy, Debug)]
pub struct TagFacts<'a> {
    /// `{sourceref}`: the short name of the ref.
    pub source_ref: &'a str,
    /// `{\1}` to `{\9}`.
    pub groups: &'a [String],
    /// `{sha}`, and `{shortsha}`: its first seven digits.
    pub commit: &'a CommitId,
    /// `{date}`: the day in UTC on which the build came into the queue, as `20261127`.
    pub queued_at: Timestamp,
}

/// One tag template: text with `{sourceref}`, `{\1}` to `{\9}`, `{sha}`, `{shortsha}` and `{date}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagTemplate {
    pieces: Vec<Piece>,
}

impl TagTemplate {
    fn parse(text: &str) -> Result<Self, InvalidTag> {
        let refused = || InvalidTag(text.chars().take(80).collect());
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let end = rest[start..].find('}').ok_or_else(refused)? + start;
            pieces.push(match &rest[start + 1..end] {
                "sourceref" => Piece::SourceRef,
                "sha" => Piece::Commit,
                "shortsha" => Piece::ShortCommit,
                "date" => Piece::Date,
                group => match group.strip_prefix('\\').map(str::as_bytes) {
                    Some([digit @ b'1'..=b'9']) => Piece::Group(usize::from(digit - b'0')),
                    _ => return Err(refused()),
                },
            });
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self { pieces };
        // With every placeholder filled by a letter the template must give a valid tag, or no ref can.
        let probe: String = template
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                _ => "a",
            })
            .collect();
        probe.parse::<ImageTag>().map_err(|_| refused())?;
        Ok(template)
    }

    fn render(&self, facts: &TagFacts<'_>) -> Option<ImageTag> {
        let date = facts.queued_at.date_digits();
        let text: String = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::SourceRef => facts.source_ref,
                Piece::Group(number) => facts.groups.get(number - 1).map_or("", String::as_str),
                Piece::Commit => facts.commit.as_str(),
                Piece::ShortCommit => facts.commit.short(),
                Piece::Date => &date,
            })
            .collect();
        ImageTag::from_any(&text)
    }

    fn highest_group(&self) -> usize {
        self.pieces.iter().map(|piece| if let Piece::Group(number) = piece { *number } else { 0 }).max().unwrap_or(0)
    }
}

/// The comma-separated templates of a rule, kept with their text as the person wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagTemplates {
    text: String,
    templates: Vec<TagTemplate>,
}

impl TagTemplates {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tags that come out, without repetition, in order. A template whose placeholders all stand for nothing gives none, so there may be
    /// none at all.
    #[must_use]
    pub fn render(&self, facts: &TagFacts<'_>) -> Vec<ImageTag> {
        let mut seen = BTreeSet::new();
        self.templates.iter().filter_map(|template| template.render(facts)).filter(|tag| seen.insert(tag.clone())).collect()
    }

    /// The highest `{\n}` that is used; 0 when none is.
    #[must_use]
    pub fn highest_group(&self) -> usize {
        self.templates.iter().map(TagTemplate::highest_group).max().unwrap_or(0)
    }
}

impl FromStr for TagTemplates {
    type Err = InvalidTag;
    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        if text.len() > 1024 {
            return Err(InvalidTag(text.chars().take(80).collect()));
        }
        let templates =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(TagTemplate::parse).collect::<Result<Vec<_>, _>>()?;
        if templates.is_empty() {
            return Err(InvalidTag(String::new()));
        }
        Ok(Self { text: text.to_owned(), templates })
    }
}

impl TryFrom<String> for TagTemplates {
    type Error = InvalidTag;
    fn try_from(text: String) -> Result<Self, InvalidTag> {
        text.parse()
    }
}

impl From<TagTemplates> for String {
    fn from(templates: TagTemplates) -> Self {
        templates.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(template: &str, sourceref: &str, groups: &[&str]) -> Vec<String> {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        let commit = "a1".repeat(20).parse().unwrap();
        let facts = TagFacts { source_ref: sourceref, groups: &groups, commit: &commit, queued_at: Timestamp::from_millis(0) };
        template.parse::<TagTemplates>().unwrap().render(&facts).into_iter().map(String::from).collect()
    }

    #[test]
    fn templates_render() {
        assert_eq!(tags("latest", "main", &[]), ["latest"]);
        assert_eq!(tags("{sourceref}, latest", "v1.2", &[]), ["v1.2", "latest"]);
        assert_eq!(tags("version-{\\1}", "v1.2", &["1.2"]), ["version-1.2"]);
        assert_eq!(tags("a,a", "x", &[]), ["a"]);
        assert_eq!(tags("{\\2}-{\\1}", "x", &["a", "b"]), ["b-a"]);
        assert_eq!(tags("{date}-{shortsha}, {sha}", "x", &[]), ["19700101-a1a1a1a".to_owned(), "a1".repeat(20)]);
    }

    #[test]
    fn what_renders_empty_is_no_tag() {
        assert_eq!(tags("{\\1}", "v", &[""]), Vec::<String>::new());
        assert_eq!(tags("{\\1}{\\2}, {\\1}-x, latest", "v", &["", ""]), ["x-a4209624", "latest"]);
        assert_eq!(ImageTag::from_any(""), None);
    }

    fn tags_of_the_cache() -> Vec<String> {
        [tags(CACHE_TAG, "main", &[]), tags("{sourceref}", CACHE_TAG, &[])].concat()
    }

    #[test]
    fn templates_refused() {
        for bad in ["", ",", "a b", "{nothing}", "{\\0}", "{\\10}", "{sourceref", "-{sourceref}", "a:b"] {
            assert!(bad.parse::<TagTemplates>().is_err(), "{bad}");
        }
    }

    #[test]
    fn any_ref_gives_a_valid_tag_and_different_refs_different_tags() {
        let odd = ["-h", "--upload-pack=x", "ü/ö", "feature/a#b", "feature-a#b", "/", "…", &"x/".repeat(200)];
        let tags: BTreeSet<_> = odd.iter().filter_map(|text| ImageTag::from_any(text)).collect();
        assert_eq!(tags.len(), odd.len());
        for tag in &tags {
            assert!(tag.as_str().parse::<ImageTag>().is_ok(), "{tag}");
        }
        assert!(ImageTag::from_any("feature/a").unwrap().as_str().starts_with("feature-a-"));
        assert!(tags_of_the_cache().iter().all(|tag| tag.starts_with("_slipway-cache-")), "no rule writes the builds' cache");
    }
}
