//! Source providers in every state of their links; connecting, unlinking and its receipts.

use slipway_model::{AccessLevel, LinkState, LinkedAs, NamespaceAccess, ProviderKind};

use super::{HOSTILE, ago, page, shell};
use crate::pages::view::form::Field;
use crate::pages::view::providers::{
    ConnectPage, EvidenceView, LinkCard, OfferView, OrganizationView, ProviderCard, ProvidersPage, ReceiptLine, ReceiptPage, ReceiptRow,
    ReceiptsPage, ScopeView, UnlinkPage, UnlinkSourceView, UsedBy,
};
use crate::pages::view::shell::Area;

fn link(login: &str, state: LinkState) -> LinkCard {
    let scope = |name: &str, reason: &str| ScopeView { name: name.into(), reason: reason.into() };
    let used = |path: &str| UsedBy {
        path: path.into(),
        source: format!("octo/{}", path.rsplit('/').next().unwrap_or_default()),
        note: None,
        problem: None,
    };
    LinkCard {
        id: format!("0198-{login}-{state}"),
        state,
        login: login.into(),
        display_name: Some("The Octocat".into()),
        picture: None,
        linked_at: Some(ago(9_000_000)),
        since: Some(ago(900_000)),
        access: AccessLevel::Full,
        linked_as: LinkedAs::Person,
        scopes: vec![
            scope("repo", "Read sources, also private ones; make the webhook and the deploy key."),
            scope("read:org", "List the organizations."),
        ],
        missing: vec![],
        affected: 3,
        used_by: vec![used("acme/shop"), used("acme/base"), used("acme/tools")],
        checked_at: Some(ago(130)),
        next_check_at: Some(ago(-170)),
        evidence: None,
        next_step: None,
        warnings: vec![],
        organizations: vec![],
        grant_url: Some("https://github.com/settings/connections/applications/1".into()),
    }
}

fn card(id: &str, name: &str, links: Vec<LinkCard>) -> ProviderCard {
    ProviderCard { id: id.into(), kind: ProviderKind::GitHub, name: name.into(), web_url: format!("https://{id}.example"), links }
}

fn cards() -> Vec<ProviderCard> {
    let organization = |name: &str, access, note: &str, grant_url: Option<&str>| OrganizationView {
        name: name.into(),
        access,
        note: note.into(),
        grant_url: grant_url.map(str::to_owned),
    };
    let walled = "https://github.com/orgs/walled/policies/applications/1";
    let mut linked = link("octo", LinkState::Ok);
    linked.organizations = vec![
        organization("octo", NamespaceAccess::Granted, "lets Slipway in", None),
        organization("acme", NamespaceAccess::Granted, "lets Slipway in", Some(walled)),
        organization("walled", NamespaceAccess::Restricted, "its owners have to approve Slipway first", Some(walled)),
        organization("shut", NamespaceAccess::Denied, "its owners said no", Some("javascript:alert(1)")),
        organization(HOSTILE, NamespaceAccess::Unknown, "the provider did not tell", None),
    ];
    linked.warnings = vec!["`octo` is linked as a person: builds of this organization stop when that person leaves".into()];
    let mut second = link("ci-bot", LinkState::ScopeMissing);
    second.linked_as = LinkedAs::ServiceUser;
    second.missing = vec![ScopeView { name: "admin:repo_hook".into(), reason: "Make, check and remove the webhook.".into() }];
    second.evidence =
        Some(EvidenceView { words: "the grant lacks the scope `admin:repo_hook`".into(), status: Some(404), at: Some(ago(60)) });
    second.used_by[0].note = Some("`ci-bot` took over from `octo` on 21 Nov 14:02, because `octo` was revoked".into());
    second.used_by[1].problem = Some("gone at the provider".into());
    let mut revoked = link("octo-home", LinkState::Revoked);
    revoked.evidence = Some(EvidenceView {
        words: "revoked at git.home: the provider answered 401 to GET /user".into(),
        status: Some(401),
        at: Some(ago(4000)),
    });
    revoked.next_step = Some("link it again".into());
    let mut home = card("git-home", "git.home", vec![revoked]);
    home.kind = ProviderKind::Gitea;
    let mut none = card("bitbucket", "Bitbucket", vec![]);
    none.kind = ProviderKind::Bitbucket;
    vec![
        card("github", "GitHub", vec![linked, second]),
        none,
        card("ghe-acme", "GHE acme", vec![link("octo-ghe", LinkState::Disabled)]),
        home,
    ]
}

/// The name and the HTML of each page.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("providers", page(&ProvidersPage { shell: shell(Area::Providers), cards: cards(), receipts: true })),
        ("providers-empty", page(&ProvidersPage { shell: shell(Area::Providers), cards: vec![], receipts: false })),
        (
            "provider-connect",
            page(&ConnectPage {
                shell: shell(Area::Providers),
                id: "github".into(),
                kind: ProviderKind::GitHub,
                name: "GitHub".into(),
                offers: [AccessLevel::Full, AccessLevel::Public, AccessLevel::ReadOnly]
                    .map(|level| OfferView {
                        level,
                        words: "What can be done with it and what not.".into(),
                        scopes: vec![ScopeView {
                            name: "repo".into(),
                            reason: "Read private repositories, add webhooks. GitHub has no smaller scope for this.".into(),
                        }],
                    })
                    .into(),
                advice: Some("Link a service user that the organization owns".into()),
                linked: vec!["octo".into(), HOSTILE.into()],
                problem: None,
            }),
        ),
        (
            "provider-unlink",
            page(&UnlinkPage {
                shell: shell(Area::Providers),
                id: "github".into(),
                name: "GitHub".into(),
                link: link("octo", LinkState::Ok),
                sources: vec![
                    UnlinkSourceView {
                        path: "acme/shop".into(),
                        source: "octo/shop".into(),
                        has: vec!["webhook".into(), "deploy key".into(), "2 build rules".into()],
                        served_by: None,
                        kept_for: None,
                    },
                    UnlinkSourceView {
                        path: "acme/base".into(),
                        source: HOSTILE.into(),
                        has: vec!["1 build rule".into()],
                        served_by: Some("ci-bot".into()),
                        kept_for: None,
                    },
                    UnlinkSourceView {
                        path: "acme/tools".into(),
                        source: "octo/tools".into(),
                        has: vec!["webhook".into()],
                        served_by: None,
                        kept_for: Some(HOSTILE.into()),
                    },
                ],
                confirm: Field::refused(HOSTILE, "This is not the account that is linked: type `octo`."),
                grant: "The grant of octo is revoked at GitHub".into(),
                warnings: vec!["Another namespace here is linked to the same person".into()],
            }),
        ),
        (
            "provider-receipts",
            page(&ReceiptsPage {
                shell: shell(Area::Providers),
                rows: [(0, true), (3, true), (0, false)]
                    .map(|(left, finished)| ReceiptRow {
                        href: "/settings/source-providers/receipts/1".into(),
                        name: "GitHub".into(),
                        login: HOSTILE.into(),
                        at: ago(500),
                        left,
                        finished,
                    })
                    .into(),
                next: Some("0198".into()),
            }),
        ),
        (
            "provider-receipt",
            page(&ReceiptPage {
                shell: shell(Area::Providers),
                name: "GitHub".into(),
                login: "octo".into(),
                at: ago(2),
                finished_at: None,
                kept: vec![ReceiptLine {
                    what: "The webhook of acme/base stays: `ci-bot` serves it".into(),
                    left: None,
                    url: Some("https://github.com/acme/base/settings/hooks".into()),
                }],
                removed: vec![ReceiptLine { what: "Webhook of acme/shop".into(), left: None, url: None }],
                left: vec![
                    ReceiptLine {
                        what: "Webhook of acme/mailer".into(),
                        left: Some("GitHub answered 403".into()),
                        url: Some("https://github.com/acme/mailer/settings/hooks".into()),
                    },
                    ReceiptLine { what: HOSTILE.into(), left: None, url: Some("javascript:alert(1)".into()) },
                ],
                stopped: vec!["acme/shop".into()],
            }),
        ),
    ]
}
