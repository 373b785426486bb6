//! The GitHub client over real HTTP: against a server that each test scripts, and against the fake GitHub with its own mind.

#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod apps;
mod fake;
mod hostile;
mod keys;
mod moves;
mod oauth;
mod refusals;
mod statuses;
mod whole;
mod world;
