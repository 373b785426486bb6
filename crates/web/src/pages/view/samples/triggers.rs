//! Build triggers, with a hostile name.

use super::{HOSTILE, ago, head, page, shell};
use crate::pages::view::form::Field;
use crate::pages::view::repositories::Tab;
use crate::pages::view::shell::Area;
use crate::pages::view::triggers::{ShownTrigger, TriggerRow, TriggersPage};

fn triggers() -> TriggersPage {
    let row = |name: &str, source_ref: Option<&str>, called_at| TriggerRow {
        id: "0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        name: name.into(),
        source_ref: source_ref.map(str::to_owned),
        created_at: ago(90_000),
        called_at,
    };
    TriggersPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Autobuild),
        rows: vec![row("nightly", Some("refs/heads/main"), Some(ago(3600))), row(HOSTILE, None, None)],
        shown: None,
        name: Field::default(),
        source_ref: Field::default(),
    }
}

pub(super) fn all() -> Vec<(&'static str, String)> {
    let url = "https://slipway.acme.example/triggers/0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4?token=slt_0123456789abcdef".to_owned();
    let refused = Field::refused("main", "`main` is no ref, expected one that begins with `refs/heads/` or `refs/tags/`.");
    vec![
        ("triggers", page(&triggers())),
        ("triggers-none", page(&TriggersPage { rows: vec![], ..triggers() })),
        ("triggers-made", page(&TriggersPage { shown: Some(ShownTrigger { name: "nightly".into(), url }), ..triggers() })),
        ("triggers-refused", page(&TriggersPage { source_ref: refused, ..triggers() })),
    ]
}
