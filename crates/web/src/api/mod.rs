//! The JSON API under `/api/v1`: one file per resource.
//!
//! Invariant: a handler does four things: extract, authorise, call the application, give a view. A route that is not described for
//! OpenAPI does not exist: both come from the same registration in `openapi`.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod at;
pub(crate) mod audit;
pub(crate) mod autobuild;
pub(crate) mod builders;
pub(crate) mod builds;
pub(crate) mod deliveries;
pub(crate) mod external;
pub(crate) mod invitations;
pub(crate) mod links;
pub(crate) mod log;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod namespaces;
pub(crate) mod organizations;
pub(crate) mod repositories;
pub(crate) mod teams;
pub(crate) mod tokens;
pub(crate) mod triggers;
pub(crate) mod unlinking;
pub(crate) mod webhook;
