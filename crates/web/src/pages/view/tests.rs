//! What must hold for every page: text arrives as text, nothing is inline, every field has a name that people see.

use super::samples;
use super::ui;
use slipway_model::Timestamp;
use std::time::Duration;

/// Every start tag of a page with its attributes, by a small reader that knows quoted values.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
        let name = rest[..end].to_lowercase();
        rest = &rest[end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
            if rest.is_empty() || rest.starts_with('>') {
                break;
            }
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
            let key = rest[..end].to_lowercase();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix("=\"") {
                let close = after.find('"').unwrap_or_else(|| panic!("a value of <{name} {key}> does not end"));
                value = after[..close].to_owned();
                rest = &after[close + 1..];
            }
            attributes.push((key, value));
        }
        found.push((name, attributes));
    }
    found
}

fn value<'a>(attributes: &'a [(String, String)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

#[test]
fn hostile_text_makes_no_element_and_no_handler() {
    let mut shown = 0;
    for (page, html) in samples::all() {
        shown += html.matches("alert(").count();
        for (name, attributes) in tags(&html) {
            assert!(name != "img", "{page}: an element came out of a text");
            for (key, value) in &attributes {
                assert!(!key.starts_with("on"), "{page}: <{name} {key}> is a handler");
                assert!(key != "style", "{page}: <{name}> has an inline style");
                assert!(!value.trim_start().to_lowercase().starts_with("javascript:"), "{page}: <{name} {key}> runs a script");
            }
        }
    }
    assert!(shown > 10, "the samples must carry hostile text");
}

#[test]
fn scripts_and_styles_come_from_files_only() {
    for (page, html) in samples::all() {
        let tags = tags(&html);
        assert!(!tags.iter().any(|(name, _)| name == "style"), "{page}");
        for (_, attributes) in tags.iter().filter(|(name, _)| name == "script") {
            assert!(value(attributes, "src").is_some_and(|src| src.starts_with("/assets/")), "{page}: {attributes:?}");
        }
        for (name, attributes) in &tags {
            if let Some(src) = value(attributes, "src") {
                assert!(src.starts_with('/'), "{page}: <{name}> loads from {src}");
            }
        }
    }
}

#[test]
fn every_field_has_a_label_and_every_id_is_unique() {
    for (page, html) in samples::all() {
        // A template's content is not in the page.
        let html = match (html.find("<template"), html.find("</template>")) {
            (Some(from), Some(to)) => format!("{}{}", &html[..from], &html[to..]),
            _ => html,
        };
        let tags = tags(&html);
        let mut ids = std::collections::BTreeSet::new();
        for (name, attributes) in &tags {
            if let Some(id) = value(attributes, "id") {
                assert!(ids.insert(id.to_owned()), "{page}: <{name} id={id}> stands twice");
            }
        }
        for (name, attributes) in tags.iter().filter(|(name, _)| matches!(name.as_str(), "input" | "select" | "textarea")) {
            let kind = value(attributes, "type").unwrap_or_default();
            if kind == "hidden" || value(attributes, "aria-label").is_some() {
                continue;
            }
            let labelled = value(attributes, "id").is_some_and(|id| html.contains(&format!("for=\"{id}\"")));
            // Boxes and circles stand inside of their label.
            assert!(labelled || matches!(kind, "checkbox" | "radio"), "{page}: <{name} {attributes:?}> has no label");
        }
        for (name, attributes) in &tags {
            for id in value(attributes, "aria-describedby")
                .into_iter()
                .chain(value(attributes, "aria-labelledby"))
                .flat_map(str::split_whitespace)
            {
                assert!(ids.contains(id), "{page}: <{name}> is described by `{id}`, which is not there");
            }
        }
    }
}

#[test]
fn tags_of_a_page_are_balanced() {
    for (page, html) in samples::all() {
        for name in ["div", "section", "form", "ul", "ol", "li", "table", "details", "aside", "main", "span", "p", "a", "button", "label"] {
            let opened = html.matches(&format!("<{name} ")).count() + html.matches(&format!("<{name}>")).count();
            assert_eq!(opened, html.matches(&format!("</{name}>")).count(), "{page}: <{name}>");
        }
    }
}

#[test]
fn durations_and_times_read_well() {
    let text = |millis| ui::duration_text(Duration::from_millis(millis));
    assert_eq!(
        [text(0), text(1450), text(42_000), text(64_000), text(7_380_000), text(90_000_000)],
        ["0.0s", "1.4s", "42s", "1m 04s", "2h 03m", "1d 01h"]
    );
    let now = Timestamp::from_millis(1_795_385_000_000);
    let ago = |seconds| ui::relative_text(now.minus(Duration::from_secs(seconds)), now);
    assert_eq!(
        [ago(3), ago(40), ago(200), ago(8000), ago(100_000), ago(400_000)],
        ["just now", "40 s ago", "3 min ago", "2 h ago", "yesterday", "4 days ago"]
    );
    assert_eq!(ago(60 * 86_400), "23 Sep 22:03");
    assert_eq!(ago(400 * 86_400), "18 Oct 2025");
    assert_eq!(ui::relative_text(now.plus(Duration::from_secs(86_400)), now), "23 Nov 22:03");
    assert_eq!(
        [ui::size_text(12), ui::size_text(1_500), ui::size_text(48_300_000), ui::size_text(999_700)],
        ["12 B", "1.5 kB", "48 MB", "1.0 MB"]
    );
}

#[test]
fn words_show_code_and_escape_everything() {
    assert_eq!(ui::words("test `sut` <b>").as_str(), "test <code dir=\"ltr\">sut</code> &lt;b&gt;");
    assert_eq!(ui::words("an odd ` one").as_str(), "an odd ` one");
    assert_eq!(ui::words("`<i>`").as_str(), "<code dir=\"ltr\">&lt;i&gt;</code>");
}

#[test]
fn addresses_lead_nowhere_dangerous() {
    for bad in ["javascript:alert(1)", "//evil.example", "/\\evil.example", "data:text/html,x", "", "evil"] {
        assert_eq!(ui::address(bad), "#", "{bad}");
    }
    for good in ["/a/b", "https://github.com/a", "http://127.0.0.1:1/"] {
        assert_eq!(ui::address(good), good);
    }
}
