//! The whole application as its users meet it: the real binary, a provider that behaves like GitHub, real git, PostgreSQL, a Docker
//! Engine. One file per feature.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod build;
mod buildkitd;
mod by_hand;
mod canary;
mod command_line;
mod crash;
mod deliveries;
mod docker_examples;
mod external;
mod forged;
mod hostile;
mod left;
mod link;
mod link_health;
mod link_providers;
mod loss;
mod main_job;
mod matrix;
mod matrix_registry;
mod matrix_rule;
mod matrix_world;
mod nodes;
mod people;
mod promotion;
mod pull_requests;
mod queue;
mod recorded;
mod replicas;
mod rules;
mod secrets;
mod settings;
mod sources;
mod statuses;
mod submodules;
mod tenants;
mod traps;
mod triggers;
mod unlink;
mod web;
