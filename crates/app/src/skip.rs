//! What a commit's message can ask for: that its push is not built.
//!
//! Only a delivery of a branch is asked. A tag is a decision of its own, and release tools tag the very commit that they mark: GitHub skips
//! such tags and loses people their releases, Woodpecker builds them, and so do we. Whoever starts or replays something wants it built.
//! What the reconciler finds is built too: it sees where a ref stands, not what the commit says. Providers' messages are read to the 4,096th
//! character.

use slipway_forge::RefChange;
use slipway_model::RefKind;

use crate::matching::Origin;

const MARKERS: [&str; 4] = ["[skip ci]", "[ci skip]", "[skip build]", "[build skip]"];

/// The words by which a push asks not to be built.
pub(crate) fn marker(change: &RefChange, origin: &Origin) -> Option<&'static str> {
    match (origin, change.name.kind()) {
        (Origin::Delivery, RefKind::Branch) => marker_in(change.commit_message.as_deref()?),
        _ => None,
    }
}

fn marker_in(message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    MARKERS.into_iter().find(|marker| message.contains(marker))
}

#[cfg(test)]
mod tests {
    use slipway_model::AccountId;

    use super::*;

    #[test]
    fn markers_stand_anywhere_in_the_message_and_in_any_case() {
        for (message, found) in [
            ("docs [skip ci]", Some("[skip ci]")),
            ("[CI Skip] docs", Some("[ci skip]")),
            ("docs\n\nlong\n[Skip Build]\n", Some("[skip build]")),
            ("docs[build skip]", Some("[build skip]")),
            ("skip ci", None),
            ("[skipci] [skip  ci] [skip cicd] (skip ci)", None),
            ("fix the build of [skip] ci", None),
            ("ſkip: [ſkip ci] 🦀", None),
            ("", None),
        ] {
            assert_eq!(marker_in(message), found, "{message}");
        }
    }

    #[test]
    fn only_a_told_push_of_a_branch_is_asked() {
        let change = |name: &str, message: Option<&str>| RefChange {
            name: name.parse().unwrap(),
            before: None,
            after: None,
            commit_message: message.map(str::to_owned),
            author: None,
            pusher: None,
        };
        let (branch, said) = ("refs/heads/main", Some("x [skip ci]"));
        assert_eq!(marker(&change(branch, said), &Origin::Delivery), Some("[skip ci]"));
        assert_eq!(marker(&change(branch, None), &Origin::Delivery), None, "nobody told what the commit says");
        assert_eq!(marker(&change("refs/tags/v1", said), &Origin::Delivery), None);
        for origin in [Origin::Reconcile, Origin::Replay(AccountId::new())] {
            assert_eq!(marker(&change(branch, said), &origin), None, "{origin:?}");
        }
    }
}
