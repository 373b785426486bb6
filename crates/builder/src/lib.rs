//! The worker: claims builds from a server, checks the source out, builds, tests, pushes and reports.
//!
//! What lives here: the loop ([`run`]) and everything that touches untrusted sources. The invariant: a build's processes,
//! containers and files end with the build, however it ends, and nothing is reported for an attempt whose lease is lost.
//! Deliberately elsewhere: the store and the queue (this room knows only the protocol of `slipway-wire`), moving tags
//! (the server does it after a success), and BuildKit itself (`slipway-buildkit`).

mod access;
mod api;
mod args;
mod changes;
mod checkout;
mod cleanup;
mod compose;
mod compose_rules;
mod config;
mod disk;
mod failure;
mod fetch;
mod git;
mod gitmodules;
mod history;
mod home;
mod hooks;
mod image;
mod joining;
mod leaks;
mod lease;
mod lfs;
mod mask;
#[doc(hidden)]
pub mod parsers;
mod phases;
mod plan;
mod process;
mod publish;
mod reach;
mod report;
mod sandbox;
mod steps;
mod submodules;
mod sut;
#[cfg(test)]
mod test_place;
mod variables;
mod worker;

pub use config::{BuilderConfig, BuilderError, Credential, EngineBounds};
pub use worker::run;
