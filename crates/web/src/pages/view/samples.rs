//! Every page with data that a real installation could hold, hostile text included: for the tests of the views only. It is longer
//! because each page state stands here once, whole, and a reader looks them up by page.

mod accounts;
mod deliveries;
mod external;
mod nodes;
mod organizations;
mod picker;
mod providers;
mod triggers;

use std::time::Duration;

use askama::Template;
use slipway_model::{
    AccountKind, Autotest, BuildState, FailureCode, FailureReason, LinkState, Phase, ProviderKind, SourceType, Step, StepState, Timestamp,
    Visibility,
};

use crate::pages::view::autobuild::{AutobuildPage, Preview, PreviewMatch, PreviewRule, PreviewTag, RuleRow, Stored, VariableRow};
use crate::pages::view::build::{Approvable, BuildPage};
use crate::pages::view::builds::{BuildListPage, BuildRow, BuildsFilter, QueuePage, StartForm};
use crate::pages::view::chart::{Bar, bars};
use crate::pages::view::errors::ErrorPage;
use crate::pages::view::form::Field;
use crate::pages::view::repositories::{
    GeneralPage, Looks, May, NewRepositoryPage, RepositoryHead, RepositoryListPage, RepositoryRow, RepositorySettingsPage, SourceView, Tab,
    TagRow, TagsPage,
};
use crate::pages::view::search::SearchPage;
use crate::pages::view::shell::{Area, Layout, Namespace, Notice, Person, Place, Role, Shell, Theme};
use crate::pages::view::timeline::days;
use crate::pages::view::ui::{Markup, Tone};
use crate::pages::view::waterfall::{Course, PhaseSpan, waterfall};

/// Text that must arrive as text.
pub const HOSTILE: &str = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onmouseover=\"alert(2) \u{202e}gnp.exe";
const NOW: i64 = 1_795_385_000_000;
const DIGEST: &str = "sha256:1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809";
const COMMIT: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c";

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW - seconds * 1000)
}

fn shell(area: Area) -> Shell {
    // Settings and administration are the person's own; the rest belongs to an organization.
    let own = matches!(area, Area::Settings | Area::Administration | Area::Nodes | Area::Elsewhere);
    let namespace = |name: &str, place| Namespace { name: name.into(), place };
    Shell {
        now: Timestamp::from_millis(NOW),
        theme: Theme::Auto,
        layout: Layout::Framed,
        person: Some(Person { name: "ada".into(), role: Role::Administrator }),
        namespaces: vec![namespace("ada", Place::Own), namespace("acme", Place::Owner), namespace("club", Place::Member)],
        namespace: if own { "ada" } else { "acme" }.into(),
        area,
        builders: Notice { tone: Tone::Good, text: "2 builders idle".into() },
        version: "0.1.0",
        path: "/acme".into(),
        request_id: "0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        notice: None,
    }
}

fn outside() -> Shell {
    Shell { layout: Layout::Alone, person: None, ..shell(Area::Elsewhere) }
}

fn source() -> SourceView {
    SourceView {
        provider: "github".into(),
        kind: ProviderKind::GitHub,
        full_name: "acme/shop".into(),
        id: "1296269".into(),
        url: Some("https://github.com/acme/shop".into()),
        link: LinkState::Ok,
    }
}

fn head(tab: Tab) -> RepositoryHead {
    RepositoryHead {
        namespace: "acme".into(),
        name: "shop".into(),
        visibility: Visibility::Private,
        source: Some(source()),
        tab,
        may: May::Owner,
        providers: Some("/o/acme/settings/source-providers".into()),
        notices: vec![],
    }
}

fn build(number: u32, state: BuildState, message: &str) -> BuildRow {
    let begun = !matches!(state, BuildState::Queued);
    let age = i64::from(60 - number) * 1900 - 20_000;
    BuildRow {
        href: format!("/acme/shop/builds/{number}"),
        label: format!("#{number}"),
        repository: "acme/shop".into(),
        state,
        detail: match state {
            BuildState::Running => Some("test".into()),
            BuildState::Queued => Some("second in the queue, waits for a builder".into()),
            BuildState::Failed => Some("test `sut` exited with 3".into()),
            _ => None,
        },
        source_ref: if number.is_multiple_of(5) { "refs/tags/v1.4.2".into() } else { "refs/heads/main".into() },
        commit: COMMIT.into(),
        message: Some(message.into()),
        tags: if number.is_multiple_of(5) { vec!["1.4.2".into(), "1.4".into()] } else { vec!["latest".into()] },
        cause: match number % 4 {
            0 => "retry by ada".into(),
            1 => "found by the reconciler".into(),
            _ => "push".into(),
        },
        queued_at: ago(age.max(40)),
        started_at: begun.then(|| ago(age.max(40) - 3)),
        finished_at: state.is_final().then(|| ago(age.max(120) - 90)),
    }
}

fn builds() -> Vec<BuildRow> {
    vec![
        build(50, BuildState::Queued, "Cut the release"),
        build(49, BuildState::Running, "Show prices with tax in the basket"),
        build(48, BuildState::Success, "Use the new payment API"),
        build(47, BuildState::Failed, HOSTILE),
        build(
            46,
            BuildState::Cancelled,
            "A commit message that is so long that it cannot possibly stand in one line of this table and therefore has to be cut somewhere near its end, with care",
        ),
        build(45, BuildState::Success, "Update dependencies"),
    ]
}

fn chart_bars() -> Vec<Bar> {
    (10..50_u32)
        .map(|n| Bar {
            label: format!("#{n}"),
            href: format!("/acme/shop/builds/{n}"),
            state: match n % 9 {
                0 => BuildState::Failed,
                4 if n > 30 => BuildState::Cancelled,
                _ => BuildState::Success,
            },
            queued: Duration::from_secs(u64::from(n * 7 % 13)),
            ran: Duration::from_secs(u64::from(40 + n * 37 % 90)),
        })
        .collect()
}

fn tags() -> Vec<TagRow> {
    ["latest", "1.4.2", "1.4", "feature-basket-1c2d3e"]
        .into_iter()
        .enumerate()
        .map(|(n, name)| TagRow {
            name: name.into(),
            digest: DIGEST.into(),
            size: Some(48_300_000 / (n as u64 + 1)),
            updated_at: ago(60 * (n as i64 + 1) * (n as i64 + 1) * 30),
            moved_by: (n == 1).then(|| "ada".to_owned()),
            build: (n != 2).then(|| (format!("#{}", 48 - n), "/acme/shop/builds/48".to_owned())),
            pull: format!("docker pull slipway.acme.example/acme/shop:{name}"),
            external: external::rows().into_iter().nth(n),
        })
        .collect()
}

fn step(id: &str, phase: Phase, name: &str, state: StepState, from: i64, to: i64) -> Step {
    Step {
        id: id.into(),
        phase,
        name: name.into(),
        state,
        cached: false,
        started_at: (state != StepState::Pending).then(|| ago(from)),
        finished_at: (!matches!(state, StepState::Pending | StepState::Running)).then(|| ago(to)),
        error: None,
    }
}

/// Steps of a build that failed in its test.
pub fn steps() -> Vec<Step> {
    use StepState::{Failed, Success};
    let mut steps = vec![
        step("fetch", Phase::Checkout, "fetch acme/shop", Success, 100, 96),
        step("b1", Phase::Build, "[internal] load build definition from Dockerfile", Success, 96, 95),
        step("b2", Phase::Build, "[1/5] FROM slipway.acme.example/acme/base:1", Success, 95, 95),
        step("b3", Phase::Build, "[2/5] RUN apk add --no-cache nodejs npm", Success, 95, 95),
        step("b4", Phase::Build, "[3/5] COPY package.json package-lock.json ./", Success, 95, 94),
        step(
            "b5",
            Phase::Build,
            "[4/5] RUN npm ci --ignore-scripts && npm run build -- --mode production --base /shop/ --logLevel info",
            Success,
            94,
            52,
        ),
        step("b6", Phase::Build, HOSTILE, Success, 52, 50),
        step("t1", Phase::Test, "docker-compose.test.yml", Failed, 50, 8),
    ];
    for step in &mut steps[2..4] {
        step.cached = true;
    }
    steps
}

fn spans() -> Vec<PhaseSpan> {
    [(Phase::Checkout, 100, 96), (Phase::Build, 96, 50), (Phase::Test, 50, 8)]
        .into_iter()
        .map(|(phase, from, to)| PhaseSpan { phase, from: Some(ago(from)), to: Some(ago(to)) })
        .collect()
}

fn course(phases: &[PhaseSpan], steps: &[Step]) -> Markup {
    waterfall(&Course { waited: Some((ago(130), ago(101))), phases, steps, now: Timestamp::from_millis(NOW) })
}

fn failed_build() -> BuildPage {
    BuildPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Builds),
        build: build(47, BuildState::Failed, "Show prices with tax in the basket"),
        id: "0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        rule: "branch main → latest".into(),
        hook_tags: vec!["4f3c2b1".into()],
        builder: Some("forge-1".into()),
        author: Some("Ada Lovelace".into()),
        commit_url: Some(format!("https://github.com/acme/shop/commit/{COMMIT}")),
        attempt: 2,
        attempts: 3,
        digest: None,
        reason: Some(FailureReason::new(
            FailureCode::TestFailed,
            "test `sut` exited with 3 in `docker-compose.test.yml`; the tag `latest` still points to 1a2b3c4",
        )),
        tail: [
            "sut_1  | ok 1 - the basket is empty at first",
            "sut_1  | ok 2 - a book costs 12.00",
            "sut_1  | not ok 3 - tax is shown",
            "sut_1  |   expected 14.28, found 12.00",
            HOSTILE,
            "shop_sut_1 exited with code 3",
        ]
        .map(str::to_owned)
        .to_vec(),
        failed_step: Some("docker-compose.test.yml".into()),
        waterfall: course(&spans(), &steps()),
        source: "acme/shop at github".into(),
        cache: "2 of 4 steps (50 %)".into(),
        steps: steps(),
        cancelling: None,
        cloned: Some("a short-lived token of the link, because there may be no deploy key: the organization `acme` forbids them".into()),
        commit_status: Some("not told: the link only reads".into()),
        external: vec![],
        note: None,
        earlier: vec![format!("Attempt 1 ended: {HOSTILE}.")],
        pull_request: None,
        lane: None,
        approval: None,
        approvable: Approvable::No,
    }
}

fn unapproved_build() -> BuildPage {
    let row = BuildRow {
        source_ref: "refs/pull/7/head".into(),
        tags: Vec::new(),
        cause: "pull request".into(),
        ..build(50, BuildState::Queued, HOSTILE)
    };
    BuildPage {
        build: row,
        rule: "branch main → tested, not pushed".into(),
        reason: None,
        tail: vec![],
        failed_step: None,
        waterfall: Markup::default(),
        steps: vec![],
        pull_request: Some(format!("#7 into main: {HOSTILE}")),
        lane: Some("untrusted: no variables, no hooks, no private images, no cache of other builds, no push"),
        approvable: Approvable::Yes,
        ..failed_build()
    }
}

fn running_build() -> BuildPage {
    let mut running = steps();
    running.truncate(6);
    running[5].state = StepState::Running;
    running[5].finished_at = None;
    let spans = [
        PhaseSpan { phase: Phase::Checkout, from: Some(ago(100)), to: Some(ago(96)) },
        PhaseSpan { phase: Phase::Build, from: Some(ago(96)), to: None },
    ];
    BuildPage {
        build: build(49, BuildState::Running, "Show prices with tax in the basket"),
        reason: None,
        tail: vec![],
        failed_step: None,
        waterfall: course(&spans, &running),
        steps: running,
        attempt: 1,
        attempts: 3,
        ..failed_build()
    }
}

fn rule(index: usize, source_type: SourceType, source: &str, tags: &str) -> RuleRow {
    RuleRow { source_type, source: Field::new(source), tags: Field::new(tags), ..RuleRow::empty(index) }
}

fn autobuild(refused: bool) -> AutobuildPage {
    let mut rules = vec![
        rule(0, SourceType::Branch, "main", "latest"),
        rule(1, SourceType::Tag, "/^v([0-9.]+)$/", "{\\1}, {sourceref}"),
        RuleRow::empty(2),
    ];
    let mut variables = vec![
        VariableRow { index: 0, name: Field::new("NPM_TOKEN"), value: Field::default(), stored: Stored::Yes, secret: true },
        VariableRow { index: 1, name: Field::default(), value: Field::refused("typed", "The secret `typed` is shorter than 8 characters."), stored: Stored::No, secret: false },
    ];
    if refused {
        rules[1].source =
            Field::refused("/^v([0-9.+$/", "the regular expression `^v([0-9.+$` does not compile at character 4: unclosed character class");
        variables[1].name = Field::refused("DOCKER_TAG", "`DOCKER_TAG` is set by Slipway itself for every build");
    }
    let tag = |name: &str, collides: Option<&str>| PreviewTag { name: name.into(), collides: collides.map(str::to_owned) };
    AutobuildPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Autobuild),
        source: Some(source()),
        source_error: None,
        autotest: Autotest::Internal,
        approve_external: true,
        cancel_superseded: true,
        rules,
        variables,
        preview: Preview {
            rules: vec![
                PreviewRule {
                    label: "Rule 1".into(),
                    source: "main".into(),
                    source_type: SourceType::Branch,
                    matches: vec![PreviewMatch { source_ref: "refs/heads/main".into(), tags: vec![tag("latest", None)] }],
                    more: 0,
                    by_hand: true,
                    error: None,
                },
                PreviewRule {
                    label: "Rule 2".into(),
                    source: "/^v([0-9.]+)$/".into(),
                    source_type: SourceType::Tag,
                    matches: vec![
                        PreviewMatch { source_ref: "refs/tags/v1.4.2".into(), tags: vec![tag("1.4.2", None), tag("v1.4.2", None)] },
                        PreviewMatch {
                            source_ref: "refs/tags/v1.4.1".into(),
                            tags: vec![tag("1.4.1", Some("branch release gives 1.4.1 too")), tag("v1.4.1", None)],
                        },
                    ],
                    more: 14,
                    by_hand: false,
                    error: None,
                },
            ],
            collisions: vec!["1.4.1 comes from tag v1.4.1 and from branch release; the later build wins".into()],
            part: Some(20_000),
            problem: None,
        },
        stored: Stored::Yes,
        at_provider: Some(deliveries::at_provider()),
    }
}

fn rows() -> Vec<RepositoryRow> {
    let row = |path: &str, description: &str, visibility, source: Option<SourceView>, last: Option<BuildRow>| RepositoryRow {
        path: path.into(),
        description: description.into(),
        visibility,
        source,
        last_build: last,
        may: May::Owner,
    };
    vec![
        row("acme/shop", "The web shop, with its workers", Visibility::Private, Some(source()), Some(build(49, BuildState::Running, "x"))),
        row(
            "acme/base",
            "Base image of all services",
            Visibility::Public,
            Some(SourceView { link: LinkState::Disabled, full_name: "acme/base-image".into(), ..source() }),
            Some(build(44, BuildState::Success, "x")),
        ),
        row(
            "acme/mailer",
            HOSTILE,
            Visibility::Private,
            Some(SourceView { link: LinkState::Revoked, full_name: "acme/mailer".into(), ..source() }),
            Some(build(47, BuildState::Failed, "x")),
        ),
        row("acme/mirror", "", Visibility::Private, None, None),
    ]
}

fn page(template: &impl Template) -> String {
    template.render().expect("a view of plain data always renders")
}

/// The name and the HTML of every page in its interesting conditions.
pub fn all() -> Vec<(&'static str, String)> {
    let mut pages = entry_pages();
    pages.extend(repository_pages());
    pages.extend(picker::all());
    pages.extend(deliveries::all());
    pages.extend(triggers::all());
    pages.extend(external::all());
    pages.extend(build_pages());
    pages.extend(search_pages());
    pages.extend(nodes::all());
    pages.extend(providers::all());
    pages.extend(accounts::all());
    pages.extend(organizations::all());
    pages
}

fn entry_pages() -> Vec<(&'static str, String)> {
    let error = |shell| ErrorPage {
        shell,
        status: 404,
        title: "Not found".into(),
        text: "There is nothing here, or you may not see it.".into(),
        hint: Some("Check the address, or ask somebody with access.".into()),
    };
    vec![("error", page(&error(shell(Area::Elsewhere)))), ("error-outside", page(&error(outside())))]
}

fn repository_pages() -> Vec<(&'static str, String)> {
    let list = RepositoryListPage {
        shell: shell(Area::Repositories),
        namespace: "acme".into(),
        display_name: String::new(),
        kind: AccountKind::Organization,
        looks: Looks::Owner,
        query: String::new(),
        rows: rows(),
        link: LinkState::Ok,
        next: Some("c".into()),
    };
    let empty = RepositoryListPage {
        shell: shell(Area::Repositories),
        display_name: String::new(),
        namespace: "acme".into(),
        query: String::new(),
        rows: vec![],
        link: LinkState::NotLinked,
        next: None,
        ..list
    };
    let general = GeneralPage {
        shell: Shell { notice: Some(Notice { tone: Tone::Good, text: "The repository is made.".into() }), ..shell(Area::Repositories) },
        head: head(Tab::General),
        description: "The web shop, with its workers".into(),
        pull: "docker pull slipway.acme.example/acme/shop".into(),
        login: "docker login slipway.acme.example".into(),
        tags: tags(),
        builds: builds(),
        watched: Some("main".into()),
        takeover: Some("`ci-bot` serves the source since 21 Nov 14:02, because `octo` was revoked.".into()),
    };
    let bare = RepositoryHead { source: None, ..head(Tab::General) };
    vec![
        ("repositories", page(&list)),
        ("repositories-empty", page(&empty)),
        ("repositories-none", page(&RepositoryListPage { rows: vec![], query: HOSTILE.into(), ..list })),
        (
            "repository-new",
            page(&NewRepositoryPage {
                shell: shell(Area::Repositories),
                namespaces: vec!["ada".into(), "acme".into()],
                namespace: "acme".into(),
                name: Field::refused(HOSTILE, "`shop` stands already"),
                description: Field::default(),
                visibility: Visibility::Private,
            }),
        ),
        ("repository", page(&general)),
        (
            "repository-empty",
            page(&GeneralPage { head: bare.clone(), tags: vec![], builds: vec![], watched: None, takeover: None, ..general }),
        ),
        ("tags", page(&TagsPage { shell: shell(Area::Repositories), head: head(Tab::Tags), tags: tags(), next: None })),
        (
            "repository-settings",
            page(&RepositorySettingsPage {
                shell: shell(Area::Repositories),
                head: head(Tab::Settings),
                description: Field::new("The web shop"),
                visibility: Visibility::Private,
                confirm: Field::refused("acme/shp", "`acme/shp` is not the name of this repository"),
                tags: 4,
            }),
        ),
        ("autobuild", page(&autobuild(false))),
        ("autobuild-refused", page(&autobuild(true))),
        (
            "autobuild-none",
            page(&AutobuildPage { head: RepositoryHead { tab: Tab::Autobuild, ..bare.clone() }, source: None, ..autobuild(false) }),
        ),
    ]
}

fn build_pages() -> Vec<(&'static str, String)> {
    let queued = BuildPage {
        build: build(50, BuildState::Queued, "Cut the release"),
        reason: None,
        tail: vec![],
        failed_step: None,
        waterfall: course(&[], &[]),
        steps: vec![],
        builder: None,
        attempt: 0,
        ..failed_build()
    };
    let success = BuildPage {
        build: build(48, BuildState::Success, "Use the new payment API"),
        reason: None,
        tail: vec![],
        failed_step: None,
        digest: Some(DIGEST.into()),
        external: external::rows(),
        ..failed_build()
    };
    let list = BuildListPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Builds),
        chart: bars(&chart_bars()),
        cache: Some("31 of 120 steps (26 %)".into()),
        days: days(builds(), Timestamp::from_millis(NOW)),
        filter: BuildsFilter { source_ref: HOSTILE.into(), ..BuildsFilter::default() },
        rules: vec![("0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(), format!("branch {HOSTILE}"))],
        starters: vec![("push".into(), "a push".into()), ("by:ada".into(), "ada".into())],
        watched: Some("main".into()),
        next: Some("c".into()),
        start: StartForm { name: Field::new("main"), commit: Field::refused(HOSTILE, HOSTILE), ..StartForm::default() },
    };
    vec![
        ("build-failed", page(&failed_build())),
        ("build-running", page(&running_build())),
        ("build-unapproved", page(&unapproved_build())),
        ("build-queued", page(&queued)),
        ("build-success", page(&success)),
        ("builds", page(&list)),
        ("builds-empty", page(&BuildListPage { days: vec![], filter: BuildsFilter::default(), ..list })),
        (
            "queue",
            page(&QueuePage {
                shell: shell(Area::Builds),
                running: builds()[1..2].to_vec(),
                queued: builds()[..1].to_vec(),
                waiting: "100 of 312".into(),
                stands: Some("3 builds are in front of it. Waits for: the limit of the namespace `acme`: 2 at once, and so many run. May start in about 2m 10s".into()),
                ended: builds()[2..].to_vec(),
            }),
        ),
        ("queue-empty", page(&QueuePage { shell: shell(Area::Builds), running: vec![], queued: vec![], waiting: "0".into(), stands: None, ended: vec![] })),
    ]
}

fn search_pages() -> Vec<(&'static str, String)> {
    vec![("search", page(&SearchPage { shell: shell(Area::Elsewhere), query: "shop".into(), rows: rows() }))]
}
