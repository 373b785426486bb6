//! Pages for what went wrong. Each has the request's id and a way on.

use askama::Template;

use super::shell::Shell;
use super::ui;

/// Any error as a page.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// Frame.
    pub shell: Shell,
    /// HTTP status.
    pub status: u16,
    /// Short, like `Not found`.
    pub title: String,
    /// What happened, one sentence.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}
