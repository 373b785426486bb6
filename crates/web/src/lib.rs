//! Pages, JSON API, webhook intake, builder protocol, sessions: everything that speaks HTTP but the registry.
//!
//! Invariant: a handler extracts, authorises, calls the application and renders; what a caller may do is decided by `slipway-app`,
//! whose rights are values that its functions demand. Deliberately elsewhere: `/v2/` (`slipway-registry`), the listener (`slipway-server`).
//!
//! Entry points: [`router()`] over a [`WebState`]; `pages` for people, `api` for programs, `hooks`, `oauth` and `builder_api` for machines.

mod api;
mod builder_api;
mod edge;
pub mod error;
mod hooks;
mod oauth;
mod openapi;
mod operations;
mod pages;
mod refusals;
mod router;
pub mod session;
mod state;
mod triggers;

pub use edge::peer::ClientAddress;
pub use openapi::document;
pub use router::{router, routes};
pub use state::{Options, WebState};
