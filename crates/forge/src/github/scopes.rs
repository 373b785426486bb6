//! GitHub's scopes: what we ask for, in whose words, and which of them a larger one covers.
//!
//! Invariant: a scope that is not known to cover another one does not.

use slipway_model::AccessLevel;

use crate::types::Offer;

/// `repo` covers private sources, their webhooks and deploy keys: GitHub has no narrower scope that does. `read:org` lists the organizations.
pub(super) const OFFERS: &[Offer] = &[
    Offer {
        level: AccessLevel::Full,
        scopes: &["repo", "read:org"],
        words: "private and public sources; webhooks, deploy keys and commit statuses are made for you",
    },
    Offer {
        level: AccessLevel::Public,
        scopes: &["public_repo", "admin:repo_hook", "read:org"],
        words: "public sources only; webhooks are made for you",
    },
    Offer {
        level: AccessLevel::ReadOnly,
        scopes: &["read:org"],
        words: "reads public sources and writes nothing: you add the webhook yourself (GitHub has no scope that only reads private sources)",
    },
];

/// GitHub Apps take no scopes: their permissions are set at GitHub, and the person picks the repositories there.
pub(super) const APP_OFFERS: &[Offer] = &[Offer {
    level: AccessLevel::Full,
    scopes: &[],
    words: "the sources that you pick at GitHub; webhooks, deploy keys and commit statuses as far as the App may make them",
}];

/// Each scope with those that it directly contains (GitHub docs, "Scopes for OAuth apps").
const CONTAINS: &[(&str, &[&str])] = &[
    ("repo", &["repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events", "admin:repo_hook"]),
    ("public_repo", &["repo:status"]),
    ("admin:repo_hook", &["write:repo_hook"]),
    ("write:repo_hook", &["read:repo_hook"]),
    ("admin:org", &["write:org"]),
    ("write:org", &["read:org"]),
    ("user", &["read:user", "user:email", "user:follow"]),
];

pub(super) fn words(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "repo" => "read sources, also private ones; make the webhook and the read-only deploy key; set commit statuses",
        "public_repo" => "read public sources and set their commit statuses",
        "admin:repo_hook" => "make, check and remove the webhook that tells of pushes",
        "read:org" => "list your organizations and whether they let Slipway in",
        _ => return None,
    })
}

fn covers(granted: &str, asked: &str) -> bool {
    granted == asked
        || CONTAINS.iter().filter(|(parent, _)| *parent == granted).flat_map(|(_, children)| *children).any(|child| covers(child, asked))
}

/// Whether what was granted includes the scope.
pub(super) fn covered<S: AsRef<str>>(granted: &[S], asked: &str) -> bool {
    granted.iter().any(|granted| covers(granted.as_ref(), asked))
}

pub(super) fn missing(offer: &Offer, granted: &[String]) -> Vec<String> {
    offer.scopes.iter().filter(|asked| !covered(granted, asked)).map(|asked| (*asked).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str) -> Vec<String> {
        crate::credentials::split_scopes(text)
    }

    #[test]
    fn a_larger_scope_covers_a_smaller_one_and_never_the_other_way() {
        for (granted, asked) in [
            ("repo", "public_repo"),
            ("repo", "repo:status"),
            ("repo", "admin:repo_hook"),
            ("repo", "read:repo_hook"),
            ("public_repo", "repo:status"),
            ("admin:repo_hook", "read:repo_hook"),
            ("admin:org", "read:org"),
            ("user", "user:email"),
            ("read:org", "read:org"),
        ] {
            assert!(covers(granted, asked), "{granted} {asked}");
        }
        for (granted, asked) in [
            ("public_repo", "repo"),
            ("repo:status", "public_repo"),
            ("write:repo_hook", "admin:repo_hook"),
            ("admin:repo_hook", "repo"),
            ("user", "read:org"),
            ("repo", "read:org"),
            ("read:org", "write:org"),
            ("", "read:org"),
            ("REPO", "repo"),
        ] {
            assert!(!covers(granted, asked), "{granted} {asked}");
        }
    }

    #[test]
    fn what_an_offer_lacks_is_named() {
        assert!(missing(&OFFERS[0], &granted("admin:org, repo")).is_empty());
        assert_eq!(missing(&OFFERS[0], &granted("public_repo,read:org")), ["repo"]);
        assert!(missing(&OFFERS[1], &granted("repo read:org")).is_empty());
        assert_eq!(missing(&OFFERS[1], &[]), ["public_repo", "admin:repo_hook", "read:org"]);
        assert!(missing(&APP_OFFERS[0], &[]).is_empty());
        assert!(OFFERS.iter().flat_map(|offer| offer.scopes).all(|scope| words(scope).is_some()) && words("gist").is_none());
    }
}
