//! Every function of the store on SQLite and on PostgreSQL: one body, two databases (`x::sqlite`, `x::postgres`).
//! Invariant: a body knows its database only through `Db`; what one of the two does otherwise is a defect of the store.

#[macro_use]
mod fixture;

mod accounts;
mod audit;
mod build_tags;
mod builders;
mod builds;
mod commit_statuses;
mod deliveries;
mod deploy_keys;
mod durability;
mod emails;
mod external;
mod hooks;
mod identities;
mod images;
mod inbox;
mod invitations;
mod leases;
mod links;
mod logs;
mod mails;
mod pages;
mod progress;
mod pull_requests;
mod queue;
mod receipts;
mod reconciling;
mod refs;
mod repositories;
mod rights;
mod schema;
mod second_factors;
mod sessions;
mod sign_in;
mod sources;
mod superseded;
mod teams;
mod tidy;
mod tokens;
mod triggers;
