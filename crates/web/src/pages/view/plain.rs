//! Lines of a log as harmless text: without escape sequences and control characters, with characters that reorder text shown by name.

use std::fmt::Write;

/// Longest line that a page shows outside of the log.
const MAX_CHARACTERS: usize = 1000;

/// Characters that are invisible or change the order of what stands around them.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// The line as a terminal without colours would show it; of a long one the beginning.
#[must_use]
pub fn line(raw: &str) -> String {
    shown(raw, MAX_CHARACTERS)
}

/// The same, however long it is.
#[must_use]
pub fn text(raw: &str) -> String {
    shown(raw, usize::MAX)
}

fn shown(raw: &str, most: usize) -> String {
    let raw = raw.trim_end_matches(['\r', '\n']);
    // A progress bar overwrites its line; what it wrote last is what people saw.
    let raw = raw.rsplit('\r').next().unwrap_or(raw);
    let mut out = String::new();
    let mut length = 0;
    let mut characters = raw.chars().peekable();
    while let Some(c) = characters.next() {
        if length == most {
            out.push_str(" …");
            break;
        }
        match c {
            '\u{1b}' => skip_escape(&mut characters),
            '\u{9b}' => skip_control_sequence(&mut characters),
            '\t' => out.push_str("    "),
            c if c.is_control() => continue,
            c if is_odd(c) => write!(out, "<U+{:04X}>", u32::from(c)).unwrap_or_default(),
            c => out.push(c),
        }
        length += 1;
    }
    out
}

/// The last `count` lines of a text that are not empty.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().rev().map(line).filter(|line| !line.trim().is_empty()).take(count).collect();
    lines.reverse();
    lines
}

/// ECMA-48: `ESC [` begins a control sequence, `ESC ]`, `ESC P`, `ESC X`, `ESC ^`, `ESC _` a string, anything else is one character more.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => skip_control_sequence(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = characters.next() {
                if c == '\u{7}' || (c == '\u{1b}' && characters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

fn skip_control_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    for c in characters.by_ref() {
        if matches!(c, '@'..='~') {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_links_and_the_clipboard_are_dropped() {
        assert_eq!(line("\u{1b}[1;31mnot ok\u{1b}[0m 3"), "not ok 3");
        assert_eq!(line("\u{1b}]8;;javascript:alert(1)\u{7}click\u{1b}]8;;\u{1b}\\ here"), "click here");
        assert_eq!(line("\u{1b}]52;c;aGk=\u{7}x\0y\u{8}"), "xy");
        assert_eq!(line("10%\r50%\r100%\r\n"), "100%");
        assert_eq!(line("\u{202e}gnp.exe"), "<U+202E>gnp.exe");
        assert_eq!(line("\u{1b}]never ends"), "");
    }

    #[test]
    fn long_lines_are_cut_and_the_last_ones_kept() {
        assert_eq!(line(&"x".repeat(5000)).chars().count(), MAX_CHARACTERS + 2);
        assert_eq!(last_lines("a\nb\n\nc\n", 2), ["b", "c"]);
    }
}
