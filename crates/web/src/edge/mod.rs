//! The edge of the web room: what every request passes before its handler and every answer before it leaves.
//!
//! Invariant: nothing in here knows what the product does.

pub(crate) mod cookie;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod origin;
pub(crate) mod panic;
pub(crate) mod peer;
pub(crate) mod rate;
pub(crate) mod request_id;
pub(crate) mod routes;
