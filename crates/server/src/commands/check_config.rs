//! `slipway check-config`: every value and where it came from.

use std::fmt::Write;

use crate::config::Loaded;
use crate::failure::one_line;

/// The table, with secrets as `[set]`, then the warnings.
pub fn render(loaded: &Loaded) -> String {
    let name_width = loaded.shown.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let text_width = loaded.shown.iter().map(|line| line.text.chars().count()).max().unwrap_or(0).min(60);
    let mut out = String::new();
    for line in &loaded.shown {
        let (name, text) = (&line.name, one_line(&line.text));
        writeln!(out, "{name:name_width$}  {text:text_width$}  {}", line.source).expect("writing to a String cannot fail");
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {}", one_line(warning)).expect("writing to a String cannot fail");
    }
    let file = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |path| format!("`{}`", path.display()));
    writeln!(out, "the configuration is fine ({file}, {} providers)", loaded.config.providers.len())
        .expect("writing to a String cannot fail");
    out
}
