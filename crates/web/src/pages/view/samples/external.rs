//! External registries: none yet, a saved one, and what each refusal looks like.

use super::{HOSTILE, ago, head, page, shell};
use crate::pages::view::external::{Again, ExternalPage, ExternalRow};
use crate::pages::view::form::Field;
use crate::pages::view::repositories::Tab;
use crate::pages::view::shell::Area;
use crate::pages::view::ui::Tone;

fn none() -> ExternalPage {
    ExternalPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Settings),
        saved: None,
        address: Field::default(),
        username: Field::default(),
        password_error: None,
        tried: None,
    }
}

/// A tag in each state.
pub(super) fn rows() -> Vec<ExternalRow> {
    let row = |tag: &str, tone, text: String, again| ExternalRow { tag: tag.into(), tone, text, delivered_at: None, again };
    vec![
        ExternalRow { delivered_at: Some(ago(120)), ..row("latest", Tone::Good, "In `registry.example.com/acme/shop`".into(), Again::No) },
        row(
            "1.4.2",
            Tone::Attention,
            "Pushed. Waiting for `registry.example.com/acme/shop`: it answered 503: service unavailable, attempt 3, next try at 14:05 UTC"
                .into(),
            Again::Yes,
        ),
        row("1.4", Tone::Bad, format!("Pushed, but not to `registry.example.com/acme/shop`: {HOSTILE}"), Again::Yes),
    ]
}

pub(super) fn all() -> Vec<(&'static str, String)> {
    let saved = ExternalPage {
        saved: Some(("registry.example.com/acme/shop".into(), ago(86_400))),
        address: Field::new("registry.example.com/acme/shop"),
        username: Field::new("acme-robot"),
        ..none()
    };
    let pull_only = "These credentials can pull from `registry.example.com/acme/shop`, but not push: builds would not reach it. Give credentials that may push.";
    let refused = ExternalPage {
        address: Field::refused(HOSTILE, "`10.0.0.1` is not on the public internet, and the administrator has not allowed it."),
        password_error: Some(pull_only.into()),
        ..none()
    };
    vec![
        ("external-none", page(&none())),
        (
            "external",
            page(&ExternalPage {
                tried: Some((Tone::Good, "A push to `registry.example.com/acme/shop` would go well.".into())),
                ..saved.clone()
            }),
        ),
        ("external-refused", page(&refused)),
        ("external-test-failed", page(&ExternalPage { tried: Some((Tone::Bad, pull_only.into())), ..saved })),
    ]
}
