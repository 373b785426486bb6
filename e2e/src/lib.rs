//! The harness of the browser tests: the real `slipway serve` beside a fake GitHub, and Chromium driven by chromedriver.
//!
//! Invariant: what a test does, it does as a person does, in the browser; only what a test needs before its story begins comes over the
//! API. Everything that was started ends with the test. Deliberately elsewhere: the same features without a browser (`tests`).

pub mod base;
pub mod browser;
pub mod inspect;
pub mod process;
pub mod stage;

pub use browser::Browser;
pub use stage::Stage;

/// The administrator at Slipway, whose namespace the repositories are in.
pub const PERSON: &str = "demo";
/// The administrator's password.
pub const PASSWORD: &str = "correct horse battery";
/// The person at the provider.
pub const AUTHOR: &str = "octo";
