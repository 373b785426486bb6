//! Deliveries, webhooks, deploy keys, and trouble of a source, with hostile text wherever a provider or a stranger writes.

use super::{COMMIT, HOSTILE, ago, autobuild, head, page, shell};
use crate::pages::view::autobuild::AutobuildPage;
use crate::pages::view::deliveries::{
    Brought, DeliveryFields, DeliveryListPage, DeliveryPage, DeliveryRow, EventRow, RefusedRow, Shown, VerdictView, WayStep,
};
use crate::pages::view::form::Field;
use crate::pages::view::repositories::{HeadNotice, May, RepositoryHead, Tab};
use crate::pages::view::shell::Area;
use crate::pages::view::ui::Tone;
use crate::pages::view::webhook::{
    AtProvider, HookNotice, HookPanel, HookSecretPage, KeyPanel, LoggedRow, PutUpBy, RemoteLogPage, SeenThere,
};
use slipway_model::{DeliveryStatus, ProviderKind, VerdictOutcome};

const FIRST: &str = "/acme/shop/deliveries/0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4";

fn verdict(rule: &str, outcome: VerdictOutcome, text: &str, build: Option<&str>) -> VerdictView {
    VerdictView {
        at: ago(39),
        rule: rule.into(),
        source_ref: Some("refs/heads/main".into()),
        outcome,
        text: text.into(),
        build: build.map(|b| (b.to_owned(), "/acme/shop/builds/48".to_owned())),
    }
}

fn row(
    age: i64,
    event: &str,
    source_ref: Option<&str>,
    status: DeliveryStatus,
    note: Option<&str>,
    verdicts: Vec<VerdictView>,
) -> DeliveryRow {
    DeliveryRow {
        href: FIRST.into(),
        brought: if event == "reconcile" { Brought::Reconciler } else { Brought::Delivery },
        delivery_id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
        received_at: ago(age),
        processed_at: Some(ago(age - 1)),
        event: event.into(),
        source_ref: source_ref.map(str::to_owned),
        more_refs: 0,
        status,
        note: note.map(str::to_owned),
        duplicate_of: (status == DeliveryStatus::Duplicate).then(|| FIRST.to_owned()),
        verdicts,
    }
}

fn rows() -> Vec<DeliveryRow> {
    use DeliveryStatus::{Accepted, Duplicate, Ignored, Rejected};
    use VerdictOutcome::{Built, Disabled, NoMatch, Refused, Skipped};
    let main = Some("refs/heads/main");
    let mut waiting = row(2, "push", None, Accepted, Some("stored; it is being decided."), vec![]);
    waiting.processed_at = None;
    let found = row(
        300,
        "reconcile",
        main,
        Accepted,
        Some("2 changes of `acme/shop` that no delivery told"),
        vec![verdict(
            "branch main",
            Built,
            "found by the reconciler: branch `main` at 9f8e7d6 is built as #47 for latest",
            Some("See the build"),
        )],
    );
    let covered = "the reconciler had found this push at 2026-11-22T22:02:20Z: built as #47";
    vec![
        waiting,
        row(
            40,
            "push",
            main,
            Accepted,
            None,
            vec![
                verdict("branch main", Built, "branch `main` at 9f8e7d6 is built as #48 for latest", Some("See the build")),
                verdict("tag /^v(.*)$/", NoMatch, "the rule builds tag `/^v(.*)$/`, this is branch main", None),
            ],
        ),
        DeliveryRow { more_refs: 1, ..found },
        row(280, "push", main, Accepted, None, vec![verdict("branch main", Built, covered, Some("See the build"))]),
        row(
            4000,
            "push",
            Some("refs/heads/feature/basket"),
            Accepted,
            None,
            vec![verdict("branch main", NoMatch, "the rule builds branch main", None)],
        ),
        row(4100, "push", None, Duplicate, Some("the same delivery came before; it was decided then."), vec![]),
        row(9000, "push", main, Accepted, None, vec![verdict("", Disabled, "link disabled: enable it under Source providers", None)]),
        row(90_000, "ping", None, Ignored, Some("tells of no push"), vec![]),
        row(
            190_000,
            "push",
            Some(HOSTILE),
            Rejected,
            Some(HOSTILE),
            vec![verdict("branch main", Refused, HOSTILE, None), verdict("branch main", Skipped, "the branch was deleted", None)],
        ),
    ]
}

fn refused() -> Vec<RefusedRow> {
    let one = |age, address: &str, reason: &str, size| RefusedRow { at: ago(age), address: address.into(), reason: reason.into(), size };
    vec![
        one(70, "203.0.113.7", "The signature does not fit any secret of this webhook.", 9321),
        one(4000, "2001:db8:85a3:8d3:1319:8a2e:370:7348", "It carries no signature.", 12),
        one(9000, "203.0.113.9", HOSTILE, 25_000_000),
    ]
}

fn notice() -> HookNotice {
    HookNotice {
        tone: Tone::Attention,
        text: "The webhook is switched off at the provider; repairing it failed: `octo` may not change webhooks there.".into(),
        since: Some(ago(8000)),
        meanwhile: "Until it is right, the reconciler finds pushes: it looks at the refs at GitHub every 5 minutes, next at 22:05 UTC. Nothing is lost; builds begin a little later.".into(),
        next_look_at: Some(ago(-3000)),
        by: PutUpBy::Slipway,
    }
}

fn list() -> DeliveryListPage {
    DeliveryListPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Deliveries),
        provider: "GitHub".into(),
        filter: DeliveryFields::default(),
        rows: rows(),
        hook: Some(notice()),
        refused: refused(),
        next: Some("c".into()),
    }
}

fn delivery() -> DeliveryPage {
    let step = |tone, text: &str| WayStep { tone, text: text.into(), link: None };
    let change = |source_ref: &str, before: Option<&str>, after: Option<&str>, author: Option<&str>| EventRow {
        source_ref: source_ref.into(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        author: author.map(str::to_owned),
    };
    let mut row = rows().remove(1);
    row.verdicts.push(verdict("branch main", VerdictOutcome::Refused, HOSTILE, None));
    row.verdicts.push(VerdictView {
        at: ago(10),
        ..verdict("branch main", VerdictOutcome::Skipped, "this push was built by the rule already", None)
    });
    DeliveryPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Deliveries),
        row,
        way: vec![
            step(Tone::Good, "Came with a valid signature, and was stored before it was acknowledged."),
            step(Tone::Good, "Read: 3 changes of refs"),
        ],
        events: vec![
            change("refs/heads/main", Some("1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"), Some(COMMIT), Some("Ada Lovelace")),
            change("refs/tags/v1.4.2", None, Some(COMMIT), None),
            change("refs/heads/old", Some(COMMIT), None, Some(HOSTILE)),
            change(HOSTILE, Some(HOSTILE), Some(HOSTILE), None),
        ],
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("user-agent".into(), "GitHub-Hookshot/5af3d9e".into()),
            ("x-github-delivery".into(), "72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
            ("x-github-event".into(), "push".into()),
            ("x-hub-signature-256".into(), HOSTILE.into()),
        ],
        body: format!("{{\n  \"ref\": \"refs/heads/main\",\n  \"message\": \"{HOSTILE}\"\n}}"),
        body_bytes: 9321,
        shown: Shown::Beginning,
        download: format!("/api/v1/repositories{FIRST}/body"),
    }
}

fn hook() -> HookPanel {
    HookPanel {
        tone: Tone::Good,
        word: "stands".into(),
        problem: None,
        wrong_since: None,
        by: PutUpBy::Slipway,
        address: "https://slipway.acme.example/hooks/github/0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        events: vec!["push".into(), "repository".into()],
        last_here: Some(ago(40)),
        last_there: Some(SeenThere { at: Some(ago(41)), status: Some(202), words: "OK".into() }),
        checked_at: Some(ago(1300)),
        next_look_at: ago(-2300),
        repaired: None,
        previous_secret_until: None,
        settings_url: "https://github.com/acme/shop/settings/hooks".into(),
    }
}

fn key() -> KeyPanel {
    KeyPanel {
        tone: Tone::Good,
        word: "stands".into(),
        problem: None,
        fingerprint: "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDBbbBAqUcmNvhO4Lc".into(),
        public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".into(),
        created_at: ago(900_000),
        checked_at: Some(ago(1300)),
        settings_url: "https://github.com/acme/shop/settings/keys".into(),
    }
}

pub(super) fn at_provider() -> AtProvider {
    let takeover = Some("`ci-bot` serves the source since 21 Nov 14:02, because `octo` was revoked.".to_owned());
    AtProvider { provider: "GitHub".into(), hook: Some(hook()), key: Some(key()), takeover }
}

fn broken() -> AtProvider {
    let hook = HookPanel {
        tone: Tone::Attention,
        word: "needs attention".into(),
        problem: Some(format!("The webhook is switched off at the provider; repairing it failed: {HOSTILE}.")),
        wrong_since: Some(ago(8000)),
        last_there: Some(SeenThere { at: None, status: None, words: HOSTILE.into() }),
        repaired: Some((ago(90_000), HOSTILE.into())),
        previous_secret_until: Some(ago(-50_000)),
        ..hook()
    };
    let key = KeyPanel {
        tone: Tone::Attention,
        word: "not allowed".into(),
        problem: Some(
            "Clones use a token of the link, because there may be no deploy key: the organization `acme` forbids them.".into(),
        ),
        checked_at: None,
        ..key()
    };
    AtProvider { hook: Some(hook), key: Some(key), takeover: Some(HOSTILE.into()), ..at_provider() }
}

fn manual() -> AtProvider {
    let hook = HookPanel {
        tone: Tone::Attention,
        word: "to be added by a person".into(),
        problem: Some("The link only reads: add the webhook at the provider yourself.".into()),
        wrong_since: Some(ago(900)),
        by: PutUpBy::Person,
        last_here: None,
        last_there: None,
        checked_at: None,
        ..hook()
    };
    AtProvider { hook: Some(hook), key: None, takeover: None, ..at_provider() }
}

fn troubles() -> Vec<HeadNotice> {
    let own = |tone, text: &str, next: &str| HeadNotice {
        tone,
        text: text.into(),
        since: None,
        next: next.into(),
        providers: Some("/o/acme/settings/source-providers".into()),
    };
    vec![
        own(
            Tone::Attention,
            "The link of `octo` to `github` is revoked since 2026-11-21 14:02 UTC (the provider answered 401 to `GET /user`).",
            "Nothing is built from the source until this is mended; what was pushed meanwhile is found then. Next step: link it again under Source providers and retry.",
        ),
        HeadNotice {
            since: Some(ago(9000)),
            providers: None,
            ..own(Tone::Attention, HOSTILE, "An owner of `acme` can help: who owns the namespace manages its links.")
        },
    ]
}

fn log() -> RemoteLogPage {
    let row = |age, event: &str, status: Option<u16>, words: &str, here| LoggedRow {
        id: "12345678".into(),
        delivery_id: "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
        event: event.into(),
        there: SeenThere { at: Some(ago(age)), status, words: words.into() },
        here,
    };
    RemoteLogPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Deliveries),
        provider: "GitHub".into(),
        rows: vec![
            row(40, "push", Some(202), "OK", Some((DeliveryStatus::Accepted, FIRST.into()))),
            row(4000, "push", Some(503), "Service Unavailable", Some((DeliveryStatus::Duplicate, FIRST.into()))),
            row(9000, "repository.renamed", None, "timed out", None),
            row(9100, HOSTILE, Some(401), HOSTILE, None),
        ],
        cursor: Some(HOSTILE.into()),
        next: Some("v1_2".into()),
        problem: None,
        settings_url: Some("https://github.com/acme/shop/settings/hooks".into()),
    }
}

fn secret(kind: ProviderKind) -> HookSecretPage {
    HookSecretPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Autobuild),
        kind,
        provider: "GitHub".into(),
        address: "https://slipway.acme.example/hooks/github/0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        secret: "slh_1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809".into(),
        events: vec!["push".into(), "repository".into()],
        settings_url: "https://github.com/acme/shop/settings/hooks".into(),
        previous_secret_until: None,
    }
}

pub(super) fn all() -> Vec<(&'static str, String)> {
    let filter = DeliveryFields {
        status: Field::refused("lost", "`lost` is not one of: accepted, ignored, duplicate, rejected."),
        source_ref: Field::new(HOSTILE),
        after: Field::refused("yesterday", "Expected a day like `2026-11-21`."),
        ..DeliveryFields::default()
    };
    let bare = RepositoryHead { source: None, ..head(Tab::Deliveries) };
    let reader = RepositoryHead { may: May::Read, providers: None, notices: troubles(), ..head(Tab::Autobuild) };
    let found = DeliveryPage {
        row: rows().remove(2),
        way: delivery().way[..1].to_vec(),
        headers: vec![],
        body: String::new(),
        body_bytes: 0,
        ..delivery()
    };
    let duplicate =
        DeliveryPage { row: rows().remove(5), events: vec![], body: String::new(), body_bytes: 0, shown: Shown::Whole, ..delivery() };
    let unsupported = RemoteLogPage {
        rows: vec![],
        next: None,
        problem: Some(
            "Bitbucket shows what became of deliveries only on its own page: Repository settings, Webhooks, View requests.".into(),
        ),
        ..log()
    };
    vec![
        ("deliveries", page(&list())),
        ("deliveries-fine", page(&DeliveryListPage { hook: None, refused: vec![], next: None, ..list() })),
        ("deliveries-none", page(&DeliveryListPage { filter, rows: vec![], hook: None, next: None, ..list() })),
        (
            "deliveries-empty",
            page(&DeliveryListPage {
                head: bare,
                provider: String::new(),
                rows: vec![],
                hook: None,
                refused: vec![],
                next: None,
                ..list()
            }),
        ),
        ("delivery", page(&delivery())),
        ("delivery-found", page(&found)),
        ("delivery-duplicate", page(&duplicate)),
        ("deliveries-there", page(&log())),
        ("deliveries-there-none", page(&unsupported)),
        (
            "autobuild-broken",
            page(&AutobuildPage {
                at_provider: Some(broken()),
                head: RepositoryHead { notices: troubles(), ..head(Tab::Autobuild) },
                ..autobuild(false)
            }),
        ),
        ("autobuild-manual", page(&AutobuildPage { at_provider: Some(manual()), ..autobuild(false) })),
        ("autobuild-broken-reader", page(&AutobuildPage { at_provider: Some(broken()), head: reader, ..autobuild(false) })),
        ("webhook-secret", page(&secret(ProviderKind::GitHub))),
        ("webhook-secret-changed", page(&HookSecretPage { previous_secret_until: Some(ago(-86_000)), ..secret(ProviderKind::Gitea) })),
        ("webhook-secret-bitbucket", page(&secret(ProviderKind::Bitbucket))),
    ]
}
