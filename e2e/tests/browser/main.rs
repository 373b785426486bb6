//! Slipway in a real browser. Each test has a server, a provider and a browser of its own; the longest begins first, by its name.

mod accounts;
mod approval;
mod every_page;
mod hostile;
mod inspections;
mod journey;
mod keyboard;
mod log;
mod people;
mod picker;
mod without_script;
