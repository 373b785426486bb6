//! Search results.

use askama::Template;

use super::repositories::RepositoryRow;
use super::shell::Shell;
use super::ui;

/// `/search?q=`.
#[derive(Template)]
#[template(path = "search.html")]
pub struct SearchPage {
    /// Frame.
    pub shell: Shell,
    /// What was searched for.
    pub query: String,
    /// Repositories whose name contains it.
    pub rows: Vec<RepositoryRow>,
}
