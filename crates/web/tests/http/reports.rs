//! The report of builds over HTTP: what a filter leaves, what a page tells, and a log that is too long to be shown whole.

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use slipway_app::store::builds::{self, Build, Ending, NewBuild};
use slipway_app::store::refs::{self, NewRefEvent, Origin};
use slipway_app::store::repositories::{self, Autobuild};
use slipway_app::store::{WriteTx, accounts, logs, progress};
use slipway_model::{
    AccountId, AutobuildId, Autotest, BuildId, BuildRule, BuildState, BuilderId, Clock, Phase, RefName, RepositoryId, ScopeSet,
    SecretToken, Step, StepState, Timestamp, TokenKind,
};
use tower::ServiceExt;

use super::{Answer, JSON, SITE, Site};

const AT: &str = "/api/v1/repositories/octo/hello/builds";
const HOSTILE: &str = "<script>alert('x')</script>\u{202e}";

fn now() -> Timestamp {
    Clock::System.now()
}

/// A repository with one rule whose builds nobody but the test makes.
struct Reports {
    site: Site,
    bearer: String,
    cookie: String,
    account: AccountId,
    repository: RepositoryId,
    autobuild: AutobuildId,
    rule: BuildRule,
}

impl Reports {
    async fn new() -> Self {
        let site = Site::new(SITE).await;
        let bearer = format!("Bearer {}", site.token(&ScopeSet::all()).await);
        let made = site.send(Method::POST, "/api/v1/repositories/octo", &[("authorization", &bearer), JSON], r#"{"name":"hello"}"#).await;
        assert_eq!(made.status, 201);
        let mut tx = site.app.db().write().await.unwrap();
        let account = accounts::get_by_name(&mut tx, &"octo".parse().unwrap()).await.unwrap().unwrap().id;
        let repository = repositories::get_by_name(&mut tx, &"octo".parse().unwrap(), &"hello".parse().unwrap()).await.unwrap().unwrap().id;
        let autobuild = AutobuildId::new();
        let settings = Autobuild {
            id: autobuild,
            repository,
            provider: "github".parse().unwrap(),
            source_id: "1".into(),
            source_name: "octo/hello".into(),
            default_branch: "main".into(),
            autotest: Autotest::Off,
            cancel_superseded: true,
            approve_external: true,
            environment_sealed: super::inbox::no_variables(autobuild),
            updated_at: now(),
        };
        repositories::upsert_autobuild(&mut tx, &settings).await.unwrap();
        let rule = BuildRule::default_for("main".parse().unwrap());
        repositories::replace_rules(&mut tx, autobuild, std::slice::from_ref(&rule)).await.unwrap();
        tx.commit().await.unwrap();
        let cookie = site.cookie().await;
        Self { site, bearer, cookie, account, repository, autobuild, rule }
    }

    async fn build(&self, source_ref: &str, cause: &str, started_by: Option<AccountId>) -> BuildId {
        let name: RefName = source_ref.parse().unwrap();
        let commit = "a".repeat(40).parse().unwrap();
        let mut tx = self.site.app.db().write().await.unwrap();
        let event = NewRefEvent {
            autobuild: self.autobuild,
            name: &name,
            before: None,
            after: Some(&commit),
            origin: Origin::Manual,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        let (event, seq) = refs::insert(&mut tx, &event, now()).await.unwrap();
        let new = NewBuild {
            repository: self.repository,
            autobuild: self.autobuild,
            rule: &self.rule,
            ref_event: event,
            provider: &"github".parse().unwrap(),
            source_id: "1",
            source_name: "octo/hello",
            source_ref: &name,
            ref_seq: seq,
            commit: &commit,
            commit_message: Some(HOSTILE),
            commit_author: Some("Ada"),
            tags: &["latest".parse().unwrap()],
            no_cache: false,
            cause,
            started_by,
            retry_of: None,
            terms: &builds::Terms::of_push(),
        };
        let (id, _) = builds::insert(&mut tx, &new, now()).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A build in its first attempt.
    async fn running(&self) -> Build {
        self.build("refs/heads/main", "push", None).await;
        let mut tx = self.site.app.db().write().await.unwrap();
        let secret = SecretToken::generate(TokenKind::Build).hash();
        let until = now().plus(std::time::Duration::from_secs(600));
        let build =
            builds::claim(&mut tx, BuilderId::new(), &secret, &slipway_model::QueueLimits::default(), now(), until).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        build
    }

    async fn write(&self) -> WriteTx {
        self.site.app.db().write().await.unwrap()
    }

    async fn end(&self, build: BuildId) {
        let mut tx = self.write().await;
        let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: Some("sha256:x") };
        assert!(builds::finish(&mut tx, build, &ending, now()).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn api(&self, path: &str) -> Answer {
        self.site.get(&format!("{AT}{path}"), &[("authorization", &self.bearer)]).await
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.site.get(&format!("/octo/hello/builds{path}"), &[("cookie", &self.cookie)]).await;
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body).unwrap()
    }

    /// The body of a live log, before anything of it was read.
    async fn open(&self, build: BuildId, query: &str) -> Body {
        let request = Request::get(format!("{AT}/{build}/log/stream{query}")).header(header::AUTHORIZATION, &self.bearer);
        let answer = self.site.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        answer.into_body()
    }
}

/// The events of a live log that has ended: name and data.
async fn events(body: Body) -> Vec<(String, Value)> {
    let bytes = tokio::time::timeout(std::time::Duration::from_secs(60), body.collect()).await.expect("it ends").unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let field = |event: &str, name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let events = text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
    events.map(|event| (field(event, "event: ").unwrap(), serde_json::from_str(&field(event, "data: ").unwrap()).unwrap())).collect()
}

fn log_of(events: &[(String, Value)]) -> String {
    events.iter().filter(|(name, _)| name == "log").map(|(_, data)| data["text"].as_str().unwrap()).collect()
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_filter_leaves_the_same_builds_on_page_and_api_and_survives_paging() {
    let reports = Reports::new().await;
    for _ in 0..32 {
        reports.build("refs/heads/main", "push", None).await;
    }
    let tag = reports.build("refs/tags/v1", "manual", Some(reports.account)).await.to_string();
    let rule = reports.rule.id;
    for query in
        ["ref=refs/tags/", "cause=manual", "started_by=octo", &format!("ref=v1&rule={rule}&cause=manual&state=queued&started_by=octo")]
    {
        assert_eq!(ids(&reports.api(&format!("?{query}")).await), [tag.as_str()], "{query}");
    }
    for query in ["ref=V1", "cause=nonsense", "started_by=nobody", "state=failed", "rule=0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4", "ref=%25"] {
        assert!(ids(&reports.api(&format!("?{query}")).await).is_empty(), "{query}");
    }
    for (query, code) in [("rule=x", 400), ("state=x", 400), ("started_by=No%20Name", 400)] {
        assert_eq!(reports.api(&format!("?{query}")).await.status, code, "{query}");
    }

    let first = reports.page("?ref=main&started=push").await;
    assert!(!first.contains(">#33<") && first.contains(">#32<") && first.contains(">#3<") && !first.contains(">#2<"));
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
    assert!(next.contains("&ref=main&started=push"), "{next}");
    let second = reports.page(&next).await;
    assert!(second.contains(">#1<") && second.contains(">#2<") && !second.contains(">#3<") && !second.contains("rel=\"next\""));
    let mine = reports.page("?started=by%3Aocto").await;
    assert!(mine.contains("by hand, octo") && mine.contains(">#33<") && !mine.contains(">#32<"));
    assert!(mine.contains("<option value=\"by:octo\" selected>octo</option>"));
    let none = reports.page("?state=failed").await;
    assert!(none.contains("No build matches the filter.") && !none.contains("<svg class=\"chart\""));
}

#[tokio::test]
async fn a_build_tells_its_course_and_what_the_cache_did() {
    let reports = Reports::new().await;
    let build = reports.running().await;
    let mut tx = reports.write().await;
    progress::start_phase(&mut tx, build.id, 1, Phase::Build, now()).await.unwrap();
    for (id, name, cached) in [("a", "[2/3] RUN apt-get update", true), ("b", HOSTILE, false), ("c", "[3/3] COPY . .", false)] {
        let step = Step {
            id: id.into(),
            phase: Phase::Build,
            name: name.into(),
            state: StepState::Success,
            cached,
            started_at: Some(now()),
            finished_at: Some(now()),
            error: None,
        };
        progress::upsert_step(&mut tx, build.id, 1, &step).await.unwrap();
    }
    tx.commit().await.unwrap();
    let told = reports.api(&format!("/{}", build.id)).await.json();
    assert_eq!((&told["cache"]["hits"], &told["cache"]["steps"]), (&1.into(), &2.into()));
    assert_eq!((told["provider"].as_str(), told["source"].as_str()), (Some("github"), Some("octo/hello")));
    assert_eq!((told["commit_author"].as_str(), told["cause"].as_str()), (Some("Ada"), Some("push")));
    let page = reports.page("/1").await;
    for words in [
        "1 of 2 steps (50 %)",
        "octo/hello at github",
        "waited for a builder",
        "cached, began at",
        "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;U+202E&gt;",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("<script>alert") && page.contains("url(#hatch)"));
    assert!(reports.page("").await.contains("From the cache: 1 of 2 steps (50 %)"));
}

#[tokio::test]
async fn a_long_log_is_read_in_parts_and_searched_whole() {
    let reports = Reports::new().await;
    let build = reports.running().await;
    let line = |step: &str, number: usize| format!("{step} line {number} {}\n", "x".repeat(1000));
    let mut tx = reports.write().await;
    let mut whole = String::new();
    for piece in 0..60 {
        let (step, from) = (if piece % 2 == 0 { "a" } else { "b" }, piece / 2 * 50);
        let text: String = (from..from + 50).map(|number| line(step, number + 1)).collect();
        whole.push_str(&text);
        logs::append(&mut tx, build.id, 1, &[(Some(step), &text, now())]).await.unwrap();
    }
    logs::append(&mut tx, build.id, 1, &[(None, "\u{1b}[31mThe \u{1b}[0mEnd", now())]).await.unwrap();
    tx.commit().await.unwrap();
    reports.end(build.id).await;
    let id = build.id;

    let text = |items: &Value| items.as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect::<String>();
    let end = reports.api(&format!("/{id}/log/pieces")).await.json();
    assert!(text(&end["items"]).ends_with("End") && end["earlier"] == true && end["later"] == false);
    // Going back from the end by parts gives all of it, with true numbers of lines.
    let (mut parts, mut part) = (Vec::new(), end);
    loop {
        let begun: u64 = part["lines"].as_object().unwrap().values().map(|lines| lines.as_u64().unwrap()).sum();
        let before = whole.len() - parts.iter().map(String::len).sum::<usize>();
        let here = text(&part["items"]);
        let start = before.saturating_sub(if parts.is_empty() { here.len() - "\u{1b}[31mThe \u{1b}[0mEnd".len() } else { here.len() });
        assert_eq!(begun as usize, whole[..start].matches('\n').count());
        parts.push(if parts.is_empty() { here.trim_end_matches("\u{1b}[31mThe \u{1b}[0mEnd").to_owned() } else { here });
        if part["earlier"] == false {
            break;
        }
        assert!(parts.len() < 10, "a part is about a megabyte");
        part = reports.api(&format!("/{id}/log/pieces?before={}", part["items"][0]["seq"])).await.json();
    }
    parts.reverse();
    assert_eq!(parts.concat(), whole);
    let around = reports.api(&format!("/{id}/log/pieces?step=b&line=777")).await.json();
    assert!(text(&around["items"]).contains(&line("b", 777)) && around["lines"]["b"].as_u64().unwrap() < 777);
    let after = reports.api(&format!("/{id}/log/pieces?after=60")).await.json();
    assert!(after["items"].as_array().unwrap().len() == 1 && after["earlier"] == true && after["lines"]["a"] == 1500);
    reports.api(&format!("/{id}/log/pieces?step=b&line=5000")).await.problem(404, "not_found");
    reports.api(&format!("/{id}/log/pieces?line=0")).await.problem(422, "invalid");
    reports.api(&format!("/{id}/log/pieces?before=1&after=1")).await.problem(422, "invalid");

    let found = reports.api(&format!("/{id}/log/search?q=B+LINE+777+")).await.json();
    assert_eq!((found["items"].as_array().unwrap().len(), &found["more"]), (1, &false.into()));
    assert_eq!((&found["items"][0]["step"], &found["items"][0]["line"]), (&"b".into(), &777.into()));
    let found = reports.api(&format!("/{id}/log/search?q=the%20end")).await.json();
    assert_eq!((&found["items"][0]["step"], &found["items"][0]["text"]), (&"".into(), &"The End".into()));
    let many = reports.api(&format!("/{id}/log/search?q=x&step=a")).await.json();
    assert_eq!((many["items"].as_array().unwrap().len(), &many["more"]), (1000, &true.into()));
    reports.api(&format!("/{id}/log/search?q={}", "x".repeat(201))).await.problem(422, "invalid");

    let only = reports.api(&format!("/{id}/log?step=b")).await;
    assert_eq!(String::from_utf8(only.body).unwrap(), (1..=1500).map(|number| line("b", number)).collect::<String>());

    let shown = events(reports.open(id, "?tail=100000").await).await;
    let (name, skipped) = &shown[0];
    assert_eq!((name.as_str(), &skipped["after"]), ("skipped", &59.into()), "one piece of 50 kB and the last one fit");
    assert_eq!((&skipped["lines"]["a"], &skipped["lines"]["b"]), (&1500.into(), &1450.into()));
    assert!(log_of(&shown).starts_with(&line("b", 1451)) && log_of(&shown).ends_with("End"));
    assert_eq!(shown.last().unwrap().0, "end");
    let all = events(reports.open(id, "?tail=8388608").await).await;
    assert!(all[0].0 != "skipped" && log_of(&all).starts_with(&whole), "a log that fits is sent whole");
}

#[tokio::test]
async fn a_viewer_that_does_not_read_misses_nothing_and_hinders_nobody() {
    let reports = Reports::new().await;
    let build = reports.running().await;
    let piece = |number: usize| format!("piece {number} {}\n", "y".repeat(60_000));
    let mut tx = reports.write().await;
    logs::append(&mut tx, build.id, 1, &[(None, &piece(0), now())]).await.unwrap();
    tx.commit().await.unwrap();
    let mut idle = reports.open(build.id, "").await;
    let first = idle.frame().await.unwrap().unwrap().into_data().unwrap();
    let other = tokio::spawn(events(reports.open(build.id, "").await));
    // More than the feed keeps for those who are behind.
    for number in 1..80 {
        let mut tx = reports.write().await;
        logs::append(&mut tx, build.id, 1, &[(None, &piece(number), now())]).await.unwrap();
        tx.commit().await.unwrap();
    }
    reports.end(build.id).await;
    let expected: String = (0..80).map(piece).collect();
    let seen = other.await.unwrap();
    assert!(log_of(&seen) == expected && seen.last().unwrap().0 == "end", "the other viewer waits for nobody");
    let seen = events(Body::new(idle)).await;
    assert!(String::from_utf8_lossy(&first).contains("piece 0 "));
    assert_eq!(log_of(&seen).len(), expected.len() - piece(0).len());
    assert!(expected.ends_with(&log_of(&seen)) && seen.last().unwrap().0 == "end");
    assert!(seen.iter().all(|(name, _)| name != "reset"));
}
