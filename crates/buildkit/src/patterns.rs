//! The patterns of `.dockerignore` and of COPY: the rules of moby/patternmatcher.
//!
//! The invariant: a match costs at most (pattern length x path length) steps, whatever the pattern, because patterns
//! come from an untrusted source. Deliberately elsewhere: reading a `.dockerignore` (the engine's frontend does it and
//! sends the cleaned patterns), walking folders (`filter`).

use thiserror::Error;

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{pattern}` is no file pattern: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: &'static str,
}

/// An ordered list of patterns; a leading `!` makes an exception, the last word counts.
#[derive(Debug, Clone)]
pub struct Patterns {
    list: Vec<Pattern>,
}

/// Which patterns matched a folder: what is below it inherits them.
#[derive(Debug, Clone)]
pub(crate) struct FolderMatch(Vec<bool>);

#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    exception: bool,
    cleaned: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Exact,
    /// `dir/**`: everything that begins with this text.
    Prefix(String),
    /// `**/name` and `**name`: everything that ends with this text.
    Suffix(String),
    Glob(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**` in the middle: nothing, or anything up to and with a slash.
    Folders,
    /// `**` at the end: anything.
    Anything,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Patterns {
    /// Reads the patterns; empty ones are skipped.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let mut list = Vec::new();
        for text in patterns {
            let text = text.as_ref().trim();
            if !text.is_empty() {
                list.push(Pattern::new(&clean(text))?);
            }
        }
        Ok(Self { list })
    }

    /// Whether the path, or a folder above it, is matched and not excepted again. Paths use `/` and are relative.
    pub fn matches(&self, path: &str) -> bool {
        self.judge(path, None).0
    }

    /// Like [`Patterns::matches`], reusing what is known about the folder above. `None`: nothing is known.
    pub(crate) fn judge(&self, path: &str, folder: Option<&FolderMatch>) -> (bool, FolderMatch) {
        let mut matched = false;
        let mut hits = vec![false; self.list.len()];
        for (index, pattern) in self.list.iter().enumerate() {
            let mut hit = folder.is_some_and(|folder| folder.0.get(index).copied().unwrap_or(false));
            if !hit {
                if pattern.exception != matched {
                    continue;
                }
                hit = pattern.matches(path) || (folder.is_none() && parents(path).any(|above| pattern.matches(above)));
            }
            hits[index] = hit;
            if hit {
                matched = !pattern.exception;
            }
        }
        (matched, FolderMatch(hits))
    }

    /// True if a pattern (not an exception) could match something below this folder.
    pub(crate) fn may_match_below(&self, folder: &str) -> bool {
        self.list.iter().any(|pattern| !pattern.exception && pattern.reaches_below(folder))
    }

    /// True if an exception could match something below this folder.
    pub(crate) fn may_except_below(&self, folder: &str) -> bool {
        self.list.iter().any(|pattern| pattern.exception && pattern.reaches_below(folder))
    }
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter(|(at, _)| *at > 0).map(|(at, _)| &path[..at])
}

/// Go's `path.Clean`: one slash, no `.`, `..` folded where it can be.
pub(crate) fn clean(text: &str) -> String {
    let absolute = text.starts_with('/');
    let mut out: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => match out.last() {
                Some(&last) if last != ".." => {
                    out.pop();
                }
                _ if absolute => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    match (absolute, out.is_empty()) {
        (true, _) => format!("/{}", out.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => out.join("/"),
    }
}

impl Pattern {
    fn new(cleaned: &str) -> Result<Self, PatternError> {
        let refused = |problem| PatternError { pattern: cleaned.chars().take(200).collect(), problem };
        let (exception, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(refused("nothing follows `!`")),
            Some(rest) => (true, rest),
            None => (false, cleaned),
        };
        let kind = compile(text).map_err(refused)?;
        Ok(Self { exception, cleaned: text.to_owned(), kind })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.cleaned,
            Kind::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Kind::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| path == name),
            Kind::Glob(tokens) => glob(tokens, path),
        }
    }

    fn reaches_below(&self, folder: &str) -> bool {
        let literal = |part: &&str| !part.contains(['*', '?', '[', '\\']);
        self.cleaned.split('/').take_while(literal).zip(folder.split('/')).all(|(mine, given)| mine == given)
    }
}

/// The simplest kind that moby/patternmatcher would choose: the kinds differ in meaning (`**name` is a plain suffix).
fn compile(text: &str) -> Result<Kind, &'static str> {
    let mut kind = Kind::Exact;
    let mut tokens = Vec::new();
    let mut globbed = false;
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                let last = chars.peek().is_none();
                tokens.push(if last { Token::Anything } else { Token::Folders });
                if first {
                    kind = Kind::Suffix(text[2..].to_owned());
                } else if last && kind == Kind::Exact && !globbed {
                    kind = Kind::Prefix(text[..text.len() - 2].to_owned());
                } else {
                    globbed = true;
                }
            }
            '*' => {
                tokens.push(Token::Star);
                globbed = true;
            }
            '?' => {
                tokens.push(Token::One);
                globbed = true;
            }
            '[' => {
                tokens.push(class(&mut chars)?);
                globbed = true;
            }
            '\\' => {
                tokens.push(Token::Char(chars.next().ok_or("a `\\` ends it")?));
                globbed = true;
            }
            c => tokens.push(Token::Char(c)),
        }
        first = false;
    }
    Ok(if globbed { Kind::Glob(tokens) } else { kind })
}

/// What stands between `[` and `]`, by the rules of Go's `path.Match`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const UNCLOSED: &str = "a `[` has no `]`";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let member = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        None => Err(UNCLOSED),
        Some('-' | ']') => Err("a `[` holds a `-` or `]` that is not escaped"),
        Some('\\') => chars.next().ok_or(UNCLOSED),
        Some(c) => Ok(c),
    };
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
}

/// Runs all ways at once: `at[i]` = the text so far may stand before token `i`; `inside[i]` = within a `**`.
fn glob(tokens: &[Token], path: &str) -> bool {
    let end = tokens.len();
    let mut at = vec![false; end + 1];
    let mut inside = vec![false; end + 1];
    at[0] = true;
    skip_empty(tokens, &mut at);
    for c in path.chars() {
        let mut next = vec![false; end + 1];
        let mut next_inside = vec![false; end + 1];
        for (i, token) in tokens.iter().enumerate() {
            if !at[i] && !inside[i] {
                continue;
            }
            match token {
                Token::Char(expected) => next[i + 1] |= *expected == c,
                Token::One => next[i + 1] |= c != '/',
                Token::Star => next[i] |= c != '/',
                Token::Anything => next[i] = true,
                Token::Folders => {
                    next_inside[i] = true;
                    next[i + 1] |= c == '/';
                }
                Token::Class { negated, ranges } => {
                    let held = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[i + 1] |= held != *negated;
                }
            }
        }
        skip_empty(tokens, &mut next);
        (at, inside) = (next, next_inside);
        if !at.contains(&true) && !inside.contains(&true) {
            return false;
        }
    }
    at[end]
}

fn skip_empty(tokens: &[Token], at: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if at[i] && matches!(token, Token::Star | Token::Anything | Token::Folders) {
            at[i + 1] = true;
        }
    }
}

#[cfg(test)]
#[path = "patterns_tests.rs"]
mod tests;
