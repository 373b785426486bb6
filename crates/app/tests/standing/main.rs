//! What stands at a provider for us: webhooks and deploy keys, through their whole life, with a clock that stands still.
//! Invariant: the loops are driven round by round, so each test says what happens between two rounds.

mod clones;
mod hooks;
mod keys;
mod place;
mod removal;
mod repository_events;
mod statuses;
