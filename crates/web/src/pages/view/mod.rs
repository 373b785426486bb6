//! What the pages show: plain structs of text, numbers and words of the model, each rendered by one template.
//!
//! Invariant: everything that reaches a template as text is escaped; only [`ui::Markup`], made here from escaped parts, is not.
//! Deliberately elsewhere: requests, sessions and the application (the modules beside this one fill these structs).

pub mod admin;
pub mod assets;
pub mod audit;
pub mod autobuild;
pub mod build;
pub mod builds;
pub mod chart;
pub mod deliveries;
pub mod entry;
pub mod errors;
pub mod external;
pub mod form;
pub mod icons;
pub mod invitations;
pub mod nodes;
pub mod organizations;
pub mod picker;
pub mod plain;
pub mod providers;
pub mod repositories;
pub mod search;
pub mod security;
pub mod settings;
pub mod shell;
pub mod teams;
pub mod timeline;
pub mod tokens;
pub mod triggers;
pub mod ui;
pub mod waterfall;
pub mod webhook;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
