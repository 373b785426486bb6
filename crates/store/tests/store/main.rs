//! Every function of the store on SQLite and on PostgreSQL: one body, two databases (`x::sqlite`, `x::postgres`).
//! Invariant: a body knows its database only through `Db`; what one of the two does otherwise is a defect of the store.

#[macro_use]
mod fixture;

mod accounts;
mod builders;
mod builds;
mod deliveries;
mod durability;
mod hooks;
mod images;
mod leases;
mod links;
mod pages;
mod progress;
mod repositories;
mod schema;
mod tidy;
