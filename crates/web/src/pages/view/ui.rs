//! Small parts that many pages share: states with colour, shape and word; times, durations, commits and digests.
//!
//! Templates hand over some values owned and some borrowed, hence `impl Borrow` and `impl AsRef` in the signatures.
//! Invariant: a [`Markup`] is made of literals and of text that went through [`escape`].

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use slipway_model::{BuildState, LinkState, RefName, StepState, Timestamp, VerdictOutcome};

pub use super::icons::icon;
use super::shell::Shell;

/// HTML that is ready for a page.
#[derive(Clone, Debug, Default)]
pub struct Markup(String);

impl Markup {
    /// Markup from parts that are literals or escaped; the only way to make one, and private to the views.
    #[must_use]
    pub(super) fn trusted(html: String) -> Self {
        Self(html)
    }

    /// The HTML.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// The text with the five characters of HTML escaped, fit for content and quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A message for people: what stands between backticks is shown as code.
#[must_use]
pub fn words(text: impl AsRef<str>) -> Markup {
    let text = text.as_ref();
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backtick is a character like any other.
    if parts.len().is_multiple_of(2) {
        return Markup::trusted(escape(text));
    }
    let html = parts.iter().enumerate().map(|(n, part)| match n % 2 {
        0 => escape(part),
        _ => format!(r#"<code dir="ltr">{}</code>"#, escape(part)),
    });
    Markup::trusted(html.collect())
}

/// Colour and shape of a message or state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Grey ring.
    Waiting,
    /// Blue half disc.
    Running,
    /// Green disc.
    Good,
    /// Red cross.
    Bad,
    /// Grey ring with a slash.
    Stopped,
    /// Amber triangle.
    Attention,
}

impl Tone {
    /// The name of the shape; also the class that gives the colour.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "queued",
            Self::Running => "running",
            Self::Good => "success",
            Self::Bad => "failed",
            Self::Stopped => "cancelled",
            Self::Attention => "attention",
        }
    }
}

/// A state as people see it: shape, colour and word.
#[must_use]
pub fn state(tone: impl Borrow<Tone>, word: impl AsRef<str>) -> Markup {
    let name = tone.borrow().as_str();
    Markup::trusted(format!(r#"<span class="state state-{name}">{}<span>{}</span></span>"#, icon(name), escape(word.as_ref())))
}

/// The shape alone, for places where the word stands nearby.
#[must_use]
pub fn mark(tone: impl Borrow<Tone>) -> Markup {
    let name = tone.borrow().as_str();
    Markup::trusted(format!(r#"<span class="state state-{name}">{}</span>"#, icon(name)))
}

/// Tone of a build's state.
#[must_use]
pub fn build_tone(state: BuildState) -> Tone {
    match state {
        BuildState::Queued => Tone::Waiting,
        BuildState::Running => Tone::Running,
        BuildState::Success => Tone::Good,
        BuildState::Failed => Tone::Bad,
        BuildState::Cancelled => Tone::Stopped,
    }
}

/// A build's state.
#[must_use]
pub fn build_state(value: impl Borrow<BuildState>) -> Markup {
    let value = *value.borrow();
    state(build_tone(value), value.as_str())
}

/// Tone of a step's state.
#[must_use]
pub fn step_tone(state: StepState) -> Tone {
    match state {
        StepState::Pending => Tone::Waiting,
        StepState::Running => Tone::Running,
        StepState::Success => Tone::Good,
        StepState::Failed => Tone::Bad,
        StepState::Cancelled => Tone::Stopped,
    }
}

/// Tone of a verdict.
#[must_use]
pub fn verdict_tone(outcome: VerdictOutcome) -> Tone {
    match outcome {
        VerdictOutcome::Built => Tone::Good,
        VerdictOutcome::NoMatch | VerdictOutcome::Ignored => Tone::Waiting,
        VerdictOutcome::Skipped => Tone::Stopped,
        VerdictOutcome::Disabled => Tone::Attention,
        VerdictOutcome::Refused => Tone::Bad,
    }
}

/// The plug of a link with its word: green when it works, hollow when there is none, grey with a slash when it is disabled, else amber.
#[must_use]
pub fn plug(value: impl Borrow<LinkState>) -> Markup {
    let value = *value.borrow();
    let (class, name) = match value {
        LinkState::Ok => ("linked", "plug-linked"),
        LinkState::NotLinked => ("none", "plug-hollow"),
        LinkState::Disabled => ("disabled", "plug-slash"),
        _ => ("attention", "plug-hollow"),
    };
    Markup::trusted(format!(r#"<span class="plug plug-{class}">{}<span>{}</span></span>"#, icon(name), link_word(value)))
}

/// A link's state in words.
#[must_use]
pub fn link_word(state: LinkState) -> &'static str {
    match state {
        LinkState::NotLinked => "not linked",
        LinkState::Ok => "linked",
        LinkState::Disabled => "disabled, not revoked",
        LinkState::Expiring => "expires soon",
        LinkState::ScopeMissing => "a scope is missing",
        LinkState::Restricted => "restricted",
        LinkState::Suspended => "suspended",
        LinkState::Revoked => "revoked at the provider",
        LinkState::Error => "the provider answers with errors",
    }
}

/// `1m 04s`, `12s`, `2h 03m`, `0.4s`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=9 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Time between two moments; a dash while the first is missing, up to now while the second is.
#[must_use]
pub fn span(from: impl Borrow<Option<Timestamp>>, to: impl Borrow<Option<Timestamp>>, shell: &Shell) -> Markup {
    let (from, to) = (*from.borrow(), *to.borrow());
    let Some(start) = from else { return Markup::trusted("–".to_owned()) };
    let text = duration_text(to.unwrap_or(shell.now).since(start));
    match to {
        Some(_) => Markup::trusted(format!(r#"<span class="duration">{text}</span>"#)),
        // A running duration counts on in the browser.
        None => Markup::trusted(format!(r#"<span class="duration" data-since="{start}">{text}</span>"#)),
    }
}

/// `21 Nov 14:02`, with the year when it is another one than `now`'s. UTC.
#[must_use]
pub fn date_text(at: Timestamp, now: Timestamp) -> String {
    // The text form is RFC 3339, so its parts stand at fixed places.
    let (text, today) = (at.to_string(), now.to_string());
    let part = |range| text.get(range).unwrap_or_default();
    let month = match part(5..7) {
        "01" => "Jan",
        "02" => "Feb",
        "03" => "Mar",
        "04" => "Apr",
        "05" => "May",
        "06" => "Jun",
        "07" => "Jul",
        "08" => "Aug",
        "09" => "Sep",
        "10" => "Oct",
        "11" => "Nov",
        _ => "Dec",
    };
    let day = part(8..10).trim_start_matches('0');
    if part(0..4) == today.get(0..4).unwrap_or_default() {
        format!("{day} {month} {}", part(11..16))
    } else {
        format!("{day} {month} {}", part(0..4))
    }
}

/// When something comes, within a sentence: `now`, `at 14:02 UTC`, then the date.
#[must_use]
pub fn clock_text(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_string();
    match at.since(now).as_secs() {
        0..=9 => "now".to_owned(),
        10..=86_399 => format!("at {} UTC", text.get(11..16).unwrap_or_default()),
        _ => format!("on {}", date_text(at, now)),
    }
}

/// `just now`, `3 min ago`, `2 h ago`, `5 days ago`, then the date.
#[must_use]
pub fn relative_text(at: Timestamp, now: Timestamp) -> String {
    // Clocks of two machines differ a little; what lies further ahead is a date to come.
    if at.since(now).as_secs() > 60 {
        return date_text(at, now);
    }
    let seconds = now.since(at).as_secs();
    match seconds {
        0..=9 => "just now".to_owned(),
        10..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        86_400..=172_799 => "yesterday".to_owned(),
        172_800..=604_799 => format!("{} days ago", seconds / 86_400),
        _ => date_text(at, now),
    }
}

/// A moment to come: the time, with the date on another day.
#[must_use]
pub fn moment_text(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_string(), now.to_string());
    let part = |text: &str, from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
    let time = format!("{} UTC", part(&at, 11, 16));
    if part(&at, 0, 10) == part(&now, 0, 10) { time } else { format!("{} {time}", part(&at, 0, 10)) }
}

/// A moment, however many references deep a template holds it.
pub trait Moment {
    /// The moment.
    fn moment(&self) -> Timestamp;
}

impl Moment for Timestamp {
    fn moment(&self) -> Timestamp {
        *self
    }
}

impl<T: Moment> Moment for &T {
    fn moment(&self) -> Timestamp {
        (*self).moment()
    }
}

/// A relative time with the exact one as title.
#[must_use]
pub fn when(at: impl Moment, shell: &Shell) -> Markup {
    let at = at.moment();
    Markup::trusted(format!(
        r#"<time datetime="{at}" title="{}">{}</time>"#,
        at.to_string().replacen('T', " ", 1).split('.').next().unwrap_or_default().to_owned() + " UTC",
        relative_text(at, shell.now)
    ))
}

/// A button that copies a text; without JavaScript it is not shown.
#[must_use]
pub fn copy(text: impl AsRef<str>, what: &str) -> Markup {
    Markup::trusted(format!(
        r#"<button type="button" class="copy" data-copy="{}" aria-label="Copy {}" hidden>{}</button>"#,
        escape(text.as_ref()),
        escape(what),
        icon("copy")
    ))
}

/// Seven characters of a commit, with a copy button for all of it.
#[must_use]
pub fn commit(id: impl AsRef<str>) -> Markup {
    let id = id.as_ref();
    let short: String = id.chars().take(7).collect();
    Markup::trusted(format!(
        r#"<span class="nowrap"><code title="{}">{}</code>{}</span>"#,
        escape(id),
        escape(&short),
        copy(id, "the commit id")
    ))
}

/// `sha256:1a2b3c4d…`, with a copy button for all of it.
#[must_use]
pub fn digest(value: impl AsRef<str>) -> Markup {
    let value = value.as_ref();
    let head: String = value.chars().take(15).collect();
    Markup::trusted(format!(
        r#"<span class="nowrap"><code title="{}">{}…</code>{}</span>"#,
        escape(value),
        escape(&head),
        copy(value, "the digest")
    ))
}

/// A branch, tag or pull request with its icon.
#[must_use]
pub fn git_ref(full: impl AsRef<str>) -> Markup {
    let full = full.as_ref();
    let (name, kind, short) = match full.parse::<RefName>() {
        Ok(parsed) if parsed.kind() == slipway_model::RefKind::Tag => ("tag", "tag", parsed.short().to_owned()),
        Ok(parsed) if parsed.kind() == slipway_model::RefKind::PullRequest => ("branch", "pull request", parsed.short().to_owned()),
        Ok(parsed) => ("branch", "branch", parsed.short().to_owned()),
        Err(_) => ("branch", "ref", full.to_owned()),
    };
    Markup::trusted(format!(
        r#"<span class="ref" title="{}">{}<span class="sr">{kind} </span><code dir="ltr">{}</code></span>"#,
        escape(full),
        icon(name),
        escape(&short)
    ))
}

/// `12 MB`, in powers of 1000 as registries show them.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 9.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Size of an image; a dash when it is not known.
#[must_use]
pub fn size(bytes: impl Borrow<Option<u64>>) -> String {
    bytes.borrow().map_or_else(|| "–".to_owned(), size_text)
}

/// `1 repository`, `3 repositories`.
#[must_use]
pub fn count(number: impl Borrow<usize>, one: &str, many: &str) -> String {
    let number = *number.borrow();
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Percent-encodes one part of a path or a value of a query.
#[must_use]
pub fn address_part(text: impl AsRef<str>) -> String {
    percent_encoding::utf8_percent_encode(text.as_ref(), percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// An address that may stand in `href`: an absolute path of ours or `http(s)`; anything else, like `javascript:`, becomes `#`.
#[must_use]
pub fn address(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let ours = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    if ours || text.starts_with("https://") || text.starts_with("http://") { text.to_owned() } else { "#".to_owned() }
}

/// Address of a file that the page loads.
#[must_use]
pub fn asset(name: &str) -> String {
    super::assets::href(name)
}
