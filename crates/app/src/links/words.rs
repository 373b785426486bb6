//! How a link and its state are said to people: on pages, in failure reasons of builds and in mails the same.

use slipway_model::{LinkState, Timestamp};
use slipway_store::links::Link;

/// A moment for people: `2026-11-27 10:00 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    format!("{} UTC", at.to_string().chars().take(16).collect::<String>().replace('T', " "))
}

/// What a state means.
pub(crate) fn meaning(state: LinkState) -> &'static str {
    match state {
        LinkState::NotLinked => "not linked",
        LinkState::Ok => "working",
        LinkState::Disabled => "disabled",
        LinkState::Expiring => "about to expire",
        LinkState::ScopeMissing => "missing a scope",
        LinkState::Restricted => "restricted by an organization",
        LinkState::Suspended => "suspended at the provider",
        LinkState::Revoked => "revoked",
        LinkState::Error => "answered with errors",
    }
}

/// The link, its state, since when, and what that was concluded from.
pub(crate) fn of_link(link: &Link) -> String {
    let state = format!("the link of `{}` to `{}` is {} since {}", link.login, link.provider, meaning(link.state), moment(link.since));
    match &link.evidence {
        Some(evidence) => format!("{state} ({evidence})"),
        None => state,
    }
}

/// The next step for a person.
pub(crate) fn what_to_do(state: LinkState) -> &'static str {
    match state {
        LinkState::NotLinked => "link it under Source providers",
        LinkState::Ok | LinkState::Error => "check the link under Source providers",
        LinkState::Disabled => "enable it under Source providers and retry",
        LinkState::Expiring | LinkState::Revoked => "link it again under Source providers and retry",
        LinkState::ScopeMissing => "link it again under Source providers and grant everything that is asked for",
        LinkState::Restricted => "grant access to the organization: the button is under Source providers",
        LinkState::Suspended => "have the account reinstated at the provider, or link another one under Source providers",
    }
}
