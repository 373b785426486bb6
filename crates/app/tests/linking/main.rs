//! Links through their whole life, with a clock that stands still: connecting, tokens, health, what is seen, unlinking.
//! Invariant: the loops are driven round by round, so each test says what happens between two rounds.

mod blocked;
mod chosen;
mod connect;
mod health;
mod picker;
mod place;
mod refresh;
mod serving;
mod unlink;
