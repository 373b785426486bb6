//! Promotion against a model: pushes, forced or not, builds by hand, retries and roll-backs in any order, builds that end in any order, and a
//! provider that sometimes cannot tell which of two commits is older.
//! Invariant: the model knows times of pushes and a graph of commits; it shares no code with the rule.

use proptest::prelude::{Strategy, prop_oneof};
use proptest::test_runner::{Config as Cases, TestCaseError, TestRunner};
use slipway_model::{AutobuildId, Autotest, BuildRule, Clock, ImageTag, ProviderId, RefName, Scope, SecretToken, TokenKind, Visibility};
use slipway_store::builds::NewBuild;
use slipway_store::images::NewManifest;
use slipway_store::refs::{self, NewRefEvent};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::{Db, tokens};

use super::*;
use crate::builds::Wanted;
use crate::{Caller, Config, Keys, RepositoryAdmin, Role};

/// Commits of a case.
const COMMITS: usize = 6;
const TAGS: [&str; 2] = ["latest", "stable"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The ref goes to a commit, whatever it was before.
    Push(usize),
    /// A person wants a commit built.
    ByHand(usize),
    /// One of all builds once more.
    Retry(usize),
    /// One of those that are under way ends with an image.
    End(usize),
    /// A person moves the first tag to the image of one that ended.
    RollBack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..COMMITS).prop_map(Step::Push),
        2 => (0..COMMITS).prop_map(Step::ByHand),
        1 => (0..20_usize).prop_map(Step::Retry),
        6 => (0..20_usize).prop_map(Step::End),
        1 => (0..20_usize).prop_map(Step::RollBack),
    ]
}

/// The parent of each commit, which has a smaller number; itself for one without.
type Graph = [usize; COMMITS];

fn graph() -> impl Strategy<Value = Graph> {
    (0..1_usize, 0..2_usize, 0..3_usize, 0..4_usize, 0..5_usize, 0..6_usize).prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f])
}

fn is_before(graph: &Graph, commit: usize, mut of: usize) -> bool {
    while graph[of] != of {
        of = graph[of];
        if of == commit {
            return true;
        }
    }
    false
}

/// What the provider says: of some pairs nothing.
fn said(graph: &Graph, commit: usize, of: usize) -> Option<bool> {
    (!(commit + 2 * of).is_multiple_of(5)).then(|| is_before(graph, commit, of))
}

fn id(commit: usize) -> CommitId {
    format!("{:040x}", commit + 1).parse().unwrap()
}

fn number(commit: &CommitId) -> usize {
    usize::from_str_radix(commit.as_str(), 16).unwrap() - 1
}

/// A build: what of, and the time of the push that led there (or when it was asked for).
#[derive(Clone, Copy, Debug)]
struct Modelled {
    commit: usize,
    time: usize,
    ended: bool,
}

/// What a tag shows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shown {
    build: usize,
    commit: usize,
    time: usize,
}

#[derive(Default)]
struct Model {
    pushes: Vec<(usize, usize)>,
    builds: Vec<Modelled>,
    tags: [Option<Shown>; 2],
}

impl Model {
    /// When a push last led to the commit.
    fn pushed(&self, commit: usize) -> Option<usize> {
        self.pushes.iter().rev().find(|(_, pushed)| *pushed == commit).map(|(time, _)| *time)
    }

    fn end(&mut self, graph: &Graph, build: usize) {
        self.builds[build].ended = true;
        let Modelled { commit, time, .. } = self.builds[build];
        for tag in &mut self.tags {
            let stays = tag.is_some_and(|shown| time < shown.time || said(graph, commit, shown.commit) == Some(true));
            if !stays {
                *tag = Some(Shown { build, commit, time });
            }
        }
    }
}

struct Place {
    app: App,
    caller: Caller,
    provider: ProviderId,
    _folder: tempfile::TempDir,
}

/// A repository of its own for each case.
struct Case<'a> {
    place: &'a Place,
    right: RepositoryAdmin,
    autobuild: Autobuild,
    rule: BuildRule,
    name: RefName,
    tags: Vec<ImageTag>,
    builds: Vec<Build>,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}", folder.path().join("x.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let app = App::new(db, clock, Keys::derive(&[1; 32]), [], Config::new("http://slipway.test".parse().unwrap()));
        app.add_user("ada", Role::User, &"correct horse battery".to_owned().into()).await.unwrap();
        let mut tx = app.write().await.unwrap();
        let account = slipway_store::accounts::get_by_name(&mut tx, &"ada".parse().unwrap()).await.unwrap().unwrap().id;
        let (secret, scopes) = (SecretToken::generate(TokenKind::Personal), slipway_model::ScopeSet::all());
        let hash = secret.hash();
        let new =
            tokens::NewToken { account, created_by: None, name: "t", hash: &hash, scopes: &scopes, repositories: None, expires_at: None };
        tokens::insert(&mut tx, &new, app.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let caller = app.caller_by_token(&secret, "127.0.0.1").await.unwrap().unwrap();
        Self { app, caller, provider: "github".parse().unwrap(), _folder: folder }
    }

    async fn case(&self) -> Case<'_> {
        let namespace = self.app.namespace(&self.caller, &"ada".parse().unwrap(), Scope::RepoAdmin).await.unwrap();
        let name = format!("r{}", AutobuildId::new());
        self.app.create_repository(&namespace, &name, "", Visibility::Private).await.unwrap();
        let right = self.app.repository_admin(&self.caller, &"ada".parse().unwrap(), &name.parse().unwrap()).await.unwrap();
        let autobuild = Autobuild {
            id: AutobuildId::new(),
            repository: right.repository().id,
            provider: self.provider.clone(),
            source_id: "42".into(),
            source_name: "octo/hello".into(),
            default_branch: "main".into(),
            autotest: Autotest::Off,
            cancel_superseded: false,
            approve_external: true,
            environment_sealed: Vec::new(),
            updated_at: self.app.clock.now(),
        };
        let rule = BuildRule::default_for("main".parse().unwrap());
        let mut tx = self.app.write().await.unwrap();
        repositories::upsert_autobuild(&mut tx, &autobuild).await.unwrap();
        repositories::replace_rules(&mut tx, autobuild.id, std::slice::from_ref(&rule)).await.unwrap();
        tx.commit().await.unwrap();
        let tags = TAGS.iter().map(|tag| tag.parse().unwrap()).collect();
        Case { place: self, right, autobuild, rule, name: "refs/heads/main".parse().unwrap(), tags, builds: Vec::new() }
    }
}

impl Case<'_> {
    /// A push as it enters the log, and its build.
    async fn push(&mut self, commit: usize) {
        let app = &self.place.app;
        let (now, after) = (app.clock.now(), id(commit));
        let mut tx = app.write().await.unwrap();
        let event = NewRefEvent {
            autobuild: self.autobuild.id,
            name: &self.name,
            before: None,
            after: Some(&after),
            origin: refs::Origin::Delivery,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        let (event, seq) = refs::insert(&mut tx, &event, now).await.unwrap();
        let new = NewBuild {
            repository: self.autobuild.repository,
            autobuild: self.autobuild.id,
            rule: &self.rule,
            ref_event: event,
            provider: &self.autobuild.provider,
            source_id: "42",
            source_name: "octo/hello",
            source_ref: &self.name,
            ref_seq: seq,
            commit: &after,
            commit_message: None,
            commit_author: None,
            tags: &self.tags,
            no_cache: false,
            cause: "push",
            started_by: None,
            retry_of: None,
            terms: &builds::Terms::of_push(),
        };
        let (id, _) = builds::insert(&mut tx, &new, now).await.unwrap().unwrap();
        let build = builds::get_any(&mut tx, id).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        self.builds.push(build);
    }

    async fn by_hand(&mut self, commit: usize) {
        let (app, commit) = (&self.place.app, id(commit));
        let rules = [(&self.rule, self.tags.clone())];
        let wanted = Wanted {
            autobuild: &self.autobuild,
            source_ref: &self.name,
            commit: &commit,
            rules: &rules,
            no_cache: false,
            cause: "manual",
            by: None,
        };
        let mut tx = app.write().await.unwrap();
        let made = app.queue_wanted(&mut tx, &wanted).await.unwrap();
        tx.commit().await.unwrap();
        self.builds.extend(made);
    }

    async fn retry(&mut self, which: usize) {
        let app = &self.place.app;
        let mut tx = app.write().await.unwrap();
        let made = app.repeat_build(&mut tx, &self.builds[which], None).await.unwrap();
        tx.commit().await.unwrap();
        self.builds.push(made);
    }

    fn digest(which: usize) -> String {
        format!("sha256:{which:064x}")
    }

    /// As `App::finish` does it, with the graph in the provider's place.
    async fn end(&self, graph: &Graph, which: usize) {
        let (app, build, digest) = (&self.place.app, &self.builds[which], Self::digest(which));
        let new = NewManifest {
            digest: &digest,
            media_type: "application/vnd.oci.image.manifest.v1+json",
            artifact_type: None,
            subject: None,
            annotations: None,
            content: digest.as_bytes(),
            refs: &[],
        };
        let mut tx = app.write().await.unwrap();
        images::insert_manifest(&mut tx, build.repository, &new, app.clock.now()).await.unwrap();
        let mut known = Known::default();
        loop {
            match app.promote(&mut tx, build, Some(&digest), &known, app.clock.now()).await.unwrap() {
                Promotion::Ended(state) => break assert_eq!(state, BuildState::Success),
                Promotion::Ask(shown) => known.learn(shown.into_iter().map(|shown| {
                    let answer = match said(graph, number(&build.commit), number(&shown)) {
                        Some(true) => Ancestry::Older,
                        Some(false) => Ancestry::NotOlder,
                        None => Ancestry::Unknown("nobody knows".to_owned()),
                    };
                    (shown, answer)
                })),
            }
        }
        tx.commit().await.unwrap();
    }

    async fn shown(&self) -> [Option<(usize, bool)>; 2] {
        let mut tx = self.place.app.read().await.unwrap();
        let mut found = [None; 2];
        for (found, tag) in found.iter_mut().zip(TAGS) {
            let tag = images::get_tag(&mut tx, self.autobuild.repository, tag).await.unwrap();
            *found = tag.map(|tag| {
                let build = self.builds.iter().position(|build| Some(build.id) == tag.origin.as_ref().map(|origin| origin.build)).unwrap();
                assert_eq!(tag.digest, Self::digest(build), "tag and image belong together");
                (build, tag.moved_by.is_some())
            });
        }
        found
    }
}

async fn run(place: &Place, graph: &Graph, steps: &[Step]) {
    let (mut case, mut model) = (place.case().await, Model::default());
    for (time, step) in steps.iter().enumerate() {
        let before = model.tags;
        let mut person = false;
        match *step {
            Step::Push(commit) => {
                case.push(commit).await;
                model.pushes.push((time, commit));
                model.builds.push(Modelled { commit, time, ended: false });
            }
            Step::ByHand(commit) => {
                case.by_hand(commit).await;
                model.builds.push(Modelled { commit, time: model.pushed(commit).unwrap_or(time), ended: false });
            }
            Step::Retry(which) if which < model.builds.len() => {
                case.retry(which).await;
                model.builds.push(Modelled { ended: false, ..model.builds[which] });
            }
            Step::End(which) => {
                let open: Vec<usize> = (0..model.builds.len()).filter(|at| !model.builds[*at].ended).collect();
                if let Some(build) = open.get(which % open.len().max(1)) {
                    case.end(graph, *build).await;
                    model.end(graph, *build);
                }
            }
            Step::RollBack(which) if model.builds.get(which).is_some_and(|build| build.ended) => {
                let tag = place.app.roll_back(&case.right, &case.tags[0], &(which + 1).to_string()).await.unwrap();
                assert_eq!((tag.digest.as_str(), tag.moved_by), (Case::digest(which).as_str(), Some(place.caller.account().id)));
                model.tags[0] = Some(Shown { build: which, commit: model.builds[which].commit, time });
                person = true;
            }
            Step::Retry(_) | Step::RollBack(_) => {}
        }
        let found = case.shown().await;
        assert_eq!(found.map(|tag| tag.map(|(build, _)| build)), model.tags.map(|tag| tag.map(|shown| shown.build)), "after {step:?}");
        // Whatever the model says: no tag goes back by itself.
        for (old, new) in before.iter().zip(model.tags).filter_map(|(old, new)| Some((old.as_ref()?, new?))).filter(|_| !person) {
            assert!(new.time >= old.time, "behind a later push");
            assert!(said(graph, new.commit, old.commit) != Some(true), "to an older commit");
        }
    }
    // Everything ends; then each tag shows the newest push, unless that led to an older commit than another build's.
    for build in 0..model.builds.len() {
        if !model.builds[build].ended {
            case.end(graph, build).await;
            model.end(graph, build);
        }
    }
    let found = case.shown().await;
    assert_eq!(found.map(|tag| tag.map(|(build, _)| build)), model.tags.map(|tag| tag.map(|shown| shown.build)));
    // Which of two is shown that are older than each other by one measure each, depends on which ends first; never what the newest replaced.
    if let Some((time, commit)) = model.pushes.last()
        && !model.builds.iter().any(|build| said(graph, *commit, build.commit) == Some(true))
    {
        for shown in model.tags.into_iter().flatten() {
            assert!(shown.time >= *time, "the newest push is nowhere: {shown:?}");
        }
    }
}

#[test]
fn no_tag_goes_back_by_itself_whatever_happens() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::new());
    let mut runner = TestRunner::new(Cases { cases: 400, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(&(graph(), proptest::collection::vec(step(), 1..24)), |(graph, steps)| {
        let case = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(&place, &graph, &steps))));
        case.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Without the loops and the database: each answer of the rule once.
#[test]
fn a_tag_that_is_asked_about_too_often_moves_by_the_order() {
    let mut known = Known::default();
    assert_eq!(known.of(&id(1)), None);
    known.learn([(id(1), Ancestry::Older)]);
    assert_eq!(known.of(&id(1)), Some(Ancestry::Older));
    assert_eq!(known.of(&id(2)), None);
    known.learn([]);
    known.learn([]);
    assert_eq!(known.of(&id(1)), Some(Ancestry::Older));
    assert!(matches!(known.of(&id(2)), Some(Ancestry::Unknown(_))), "somebody moves it again and again");
}
