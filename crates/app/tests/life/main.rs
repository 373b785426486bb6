//! The life of links, deliveries, builds and registry tokens, driven through `App` with a clock that stands still:
//! what depends on time or on the order of two builders is shown here. The same over HTTP is in the package `tests`.

mod conversion;
mod deletion;
mod handing_on;
mod invitations;
mod links;
mod mail;
mod nodes;
mod oidc;
mod organizations;
mod promotion;
mod pushes;
mod queue;
mod registry;
mod second_factor;
mod sign_in;
mod teams;
mod tokens_and_audit;
mod triggers;
mod waiting;
mod world;
