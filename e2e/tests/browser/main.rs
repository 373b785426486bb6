//! Slipway in a real browser. Each test has a server, a provider and a browser of its own.

mod hostile;
mod inspections;
mod journey;
mod keyboard;
mod pages;
mod without_script;
