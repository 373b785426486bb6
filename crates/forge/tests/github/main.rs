//! The GitHub client over real HTTP, against a server that each test scripts.

#![allow(clippy::unwrap_used)]

mod api;
mod fake;
mod oauth;
mod refusals;
mod whole;
