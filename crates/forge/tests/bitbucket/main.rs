//! The Bitbucket client over real HTTP: against a server that each test scripts, and against the fake Bitbucket with real git.

#![allow(clippy::unwrap_used)]

mod api;
mod hostile;
mod made;
mod oauth;
mod scripted;
mod statuses;
mod whole;
mod world;
