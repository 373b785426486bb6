//! Builder nodes: how a machine becomes one, what an administrator decides about it, and how it stands.

use anyhow::{Context as _, Result, ensure};
use slipway_app::{
    Administrator, BuilderOutcome, Drain, Error, Joined, Joining, NodeEdit, NodeFacts, NodeState, RegisteredBuilder, RepositoryWrite, Role,
    StartBuild,
};
use slipway_model::{BuildState, BuilderId, FailureCode, FailureReason, SecretToken, TokenKind};

use crate::world::World;

const ENGINE: &str = r#"{"state":"ready","description":"Docker Engine 20.10.24","kind":"docker"}"#;
const GIT: &str = "git version 2.39.5";

/// A machine that has made its own credential.
struct Machine {
    credential: SecretToken,
    hash: String,
}

impl Machine {
    fn new() -> Self {
        let credential = SecretToken::generate(TokenKind::Builder);
        let hash = credential.hash().to_hex();
        Self { credential, hash }
    }

    fn joining(&self) -> Joining<'_> {
        Joining { name: "forge-1", credential: &self.hash, version: "0.1.0", protocol: 2, git: GIT, address: "192.0.2.1" }
    }

    async fn join(&self, world: &World, token: &str) -> Result<Joined> {
        Ok(world.app.join(token, &self.joining()).await?)
    }

    async fn node(&self, world: &World) -> Result<Option<RegisteredBuilder>> {
        Ok(world.app.builder_by_token(self.credential.expose()).await?)
    }
}

async fn root(world: &World) -> Result<Administrator> {
    let caller = world.administrator("root").await?;
    Ok(world.app.administrator(&caller)?)
}

/// A node that joined with these labels and said what it is.
async fn joined(world: &World, root: &Administrator, labels: &str) -> Result<RegisteredBuilder> {
    let token = world.app.make_join_token(root, labels).await?.token;
    let machine = Machine::new();
    ensure!(matches!(machine.join(world, token.expose()).await?, Joined::Node(_)), "it joins");
    let node = machine.node(world).await?.context("a node")?;
    world.says(&node, 4, ENGINE).await?;
    Ok(node)
}

fn refused(joined: Joined) -> String {
    match joined {
        Joined::Refused(why) => format!("{}; {}", why.detail, why.hint),
        other => panic!("{other:?}"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

async fn state(world: &World, root: &Administrator, id: BuilderId) -> Result<NodeState> {
    Ok(world.app.get_node(root, id).await?.state)
}

async fn actions(world: &World) -> Result<Vec<String>> {
    let caller = world.administrator("root").await?;
    let reader = world.app.installation_audit(&caller)?;
    let entries = world.app.list_audit(&reader, &slipway_app::AuditFilter::default(), None, 100).await?;
    let ours = entries.into_iter().filter(|entry| entry.action.starts_with("builder.") || entry.action.starts_with("join_token."));
    Ok(ours.map(|entry| format!("{} by {} via {}", entry.action, entry.actor, entry.via)).collect())
}

#[tokio::test]
async fn a_join_token_makes_one_node_however_often_its_machine_asks() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    let token = world.app.make_join_token(&root, "ssd, builder=2").await?.token;
    assert_eq!(world.app.list_join_tokens(&root).await?.len(), 1);
    let (machine, other) = (Machine::new(), Machine::new());
    assert!(machine.node(&world).await?.is_none(), "a credential without a node is worth nothing");
    let Joined::Node(id) = machine.join(&world, token.expose()).await? else { panic!("it joins") };
    assert!(world.app.list_join_tokens(&root).await?.is_empty());
    // The answer was lost, or the machine died before it kept it.
    assert_eq!(machine.join(&world, token.expose()).await?, Joined::Node(id));
    assert!(refused(other.join(&world, token.expose()).await?).contains("used already by the node `forge-1`: it works once"));
    assert!(other.node(&world).await?.is_none());
    let node = machine.node(&world).await?.context("a node")?;
    assert_eq!((node.id, node.name.as_str()), (id, "forge-1"));
    // It builds, and the exchange may still be repeated: nothing comes of it.
    world.says(&node, 4, ENGINE).await?;
    assert_eq!(machine.join(&world, token.expose()).await?, Joined::Node(id));
    let view = world.app.get_node(&root, id).await?;
    assert_eq!((view.builder.labels.to_string().as_str(), view.builder.joined_by.as_deref()), ("builder=2 ssd", Some("root")));
    assert_eq!((view.state, view.builder.places(), world.app.list_nodes().await?.len()), (NodeState::Idle, 2, 1));
    assert_eq!(actions(&world).await?, ["builder.join by root via join token", "join_token.create by root via session"]);
    Ok(())
}

#[tokio::test]
async fn what_is_no_valid_join_token_is_refused_with_what_to_do() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    let machine = Machine::new();
    for (token, expected) in [
        (
            SecretToken::generate(TokenKind::Personal).expose().to_owned(),
            "this is a personal access token, a builder's join token was expected",
        ),
        (SecretToken::generate(TokenKind::Builder).expose().to_owned(), "this is a builder node's own credential"),
        ("nonsense".to_owned(), "this is no token of ours"),
        (SecretToken::generate(TokenKind::Join).expose().to_owned(), "it expired, was taken back, or its node was removed"),
    ] {
        let words = refused(machine.join(&world, &token).await?);
        assert!(words.contains(expected) && words.contains("under Builder nodes"), "{words}");
    }
    let revoked = world.app.make_join_token(&root, "builder").await?;
    world.app.revoke_join_token(&root, revoked.id).await?;
    assert!(matches!(world.app.revoke_join_token(&root, revoked.id).await, Err(Error::NotFound)));
    refused(machine.join(&world, revoked.token.expose()).await?);
    let late = world.app.make_join_token(&root, "builder").await?;
    world.wait(3601);
    assert!(refused(machine.join(&world, late.token.expose()).await?).contains("expired"));
    // Whoever made it has to be an administrator still.
    let second = world.administrator("second").await?;
    let theirs = world.app.make_join_token(&world.app.administrator(&second)?, "builder").await?;
    world.app.set_administrator(&root, &second.account().name, Role::User).await?;
    assert!(refused(machine.join(&world, theirs.token.expose()).await?).contains("`second`, who made it, is no administrator any more"));
    // A credential that another node has.
    let (one, two) = (world.app.make_join_token(&root, "").await?.token, world.app.make_join_token(&root, "").await?.token);
    assert!(matches!(machine.join(&world, one.expose()).await?, Joined::Node(_)));
    assert!(refused(machine.join(&world, two.expose()).await?).contains("another node has this credential"));
    assert_eq!(code(world.app.join(two.expose(), &Joining { credential: "short", ..machine.joining() }).await), "credential");
    assert_eq!(code(world.app.make_join_token(&root, "builder=0").await), "labels");
    Ok(())
}

#[tokio::test]
async fn what_is_too_old_is_told_what_was_found_and_wanted_and_the_token_stays() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    let token = world.app.make_join_token(&root, "builder").await?.token;
    let machine = Machine::new();
    for (joining, expected) in [
        (Joining { protocol: 1, ..machine.joining() }, "speaks version 1 of the builder protocol, at least 2 is wanted"),
        (Joining { git: "git version 2.30.2", ..machine.joining() }, "git is `git version 2.30.2`, at least 2.32 is wanted"),
    ] {
        let Joined::TooOld(old) = world.app.join(token.expose(), &joining).await? else { panic!("too old") };
        assert!(old.detail.contains(expected) && !old.hint.is_empty(), "{old:?}");
    }
    let Joined::Node(id) = machine.join(&world, token.expose()).await? else { panic!("the token is as good as before") };
    let node = machine.node(&world).await?.context("a node")?;
    let good = NodeFacts { version: "1", protocol: 2, git: GIT, parallel: 1, engine: ENGINE, obstacle: None };
    let engine = r#"{"state":"ready","description":"Docker Engine 19.03.8","kind":"docker"}"#;
    for (facts, expected) in [
        (NodeFacts { protocol: 1, ..good }, "version 1 of the builder protocol"),
        (NodeFacts { git: "git version 2.31.9", ..good }, "at least 2.32 is wanted"),
        (NodeFacts { engine, ..good }, "engine is `Docker Engine 19.03.8`, at least Docker Engine 20.10 is wanted"),
    ] {
        let old = world.app.builder_seen(&node, &facts).await?.expect_err("too old");
        assert!(old.detail.contains(expected), "{old:?}");
        // An administrator reads the same on the page.
        assert_eq!(state(&world, &root, id).await?, NodeState::TooOld(old));
    }
    let other = r#"{"state":"ready","description":"buildkitd 0.9.0","kind":"buildkitd"}"#;
    assert_eq!(
        world.app.builder_seen(&node, &NodeFacts { engine: other, ..good }).await?,
        Ok(()),
        "its own room says what is too old for it"
    );
    assert_eq!(state(&world, &root, id).await?, NodeState::Idle);
    Ok(())
}

/// So many builds of `main`, started by hand.
async fn wanted(world: &World, count: usize) -> Result<()> {
    let (caller, right) = world.ready().await?;
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    for _ in 0..count {
        world.app.start_builds(&RepositoryWrite::from(right.clone()), &start, caller.account().id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_limit_of_the_labels_wins_and_counts_at_once() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    wanted(&world, 5).await?;
    let node = joined(&world, &root, "builder=1").await?;
    // It asks for four at once.
    world.app.claim(&node).await?.context("the first")?;
    assert!(world.app.claim(&node).await?.is_none(), "the label lets it build one at a time");
    assert_eq!(state(&world, &root, node.id).await?, NodeState::Full);
    let labels = |text: &str| NodeEdit { labels: Some(text.to_owned()), drain: None };
    world.app.change_node(&root, node.id, &labels("builder=2 ssd")).await?;
    world.app.claim(&node).await?.context("the second")?;
    assert!(world.app.claim(&node).await?.is_none());
    world.app.change_node(&root, node.id, &labels("builder")).await?;
    world.app.claim(&node).await?.context("the third")?;
    world.app.change_node(&root, node.id, &labels("ssd")).await?;
    assert!(world.app.claim(&node).await?.is_none(), "without the label it builds nothing");
    assert_eq!(state(&world, &root, node.id).await?, NodeState::NoBuilder);
    assert_eq!(code(world.app.change_node(&root, node.id, &labels("a=b=c")).await), "labels");
    world.app.change_node(&root, node.id, &labels("builder=4")).await?;
    world.app.claim(&node).await?.context("the fourth")?;
    assert!(world.app.claim(&node).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_draining_node_gets_nothing_new_and_is_drained_when_its_last_build_ended() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    wanted(&world, 2).await?;
    let node = joined(&world, &root, "builder").await?;
    let build = world.app.claim(&node).await?.context("a build")?.build;
    let drain = |drain| NodeEdit { labels: None, drain: Some(drain) };
    assert_eq!(world.app.change_node(&root, node.id, &drain(Drain::Begin)).await?.state, NodeState::Draining);
    assert!(world.app.claim(&node).await?.is_none());
    assert_eq!(world.app.heartbeat(&node, build.id, 1).await?, Ok(false), "what runs goes on");
    let failed = BuilderOutcome::Failed(FailureReason::new(FailureCode::StepFailed, "exit code 1"));
    assert_eq!(world.app.finish(&node, build.id, 1, &failed).await?, Ok(BuildState::Failed));
    assert_eq!(state(&world, &root, node.id).await?, NodeState::Drained);
    assert_eq!(world.app.change_node(&root, node.id, &drain(Drain::Begin)).await?.state, NodeState::Drained, "again is nothing new");
    assert_eq!(world.app.change_node(&root, node.id, &drain(Drain::End)).await?.state, NodeState::Idle);
    world.app.claim(&node).await?.context("the other one")?;
    let told = actions(&world).await?;
    assert_eq!(told[..2], ["builder.resume by root via session", "builder.drain by root via session"], "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_removed_node_is_nobody_at_once_and_its_builds_are_anybodys() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    wanted(&world, 1).await?;
    let token = world.app.make_join_token(&root, "builder").await?.token;
    let machine = Machine::new();
    machine.join(&world, token.expose()).await?;
    let node = machine.node(&world).await?.context("a node")?;
    let build = world.app.claim(&node).await?.context("a build")?.build;
    assert_eq!(code(world.app.remove_node(&root, node.id, "another").await), "confirm");
    world.app.remove_node(&root, node.id, "forge-1").await?;
    assert!(machine.node(&world).await?.is_none(), "its credential is worth nothing");
    assert!(world.app.heartbeat(&node, build.id, 1).await?.is_err(), "a request that was under way changes nothing");
    assert!(world.app.claim(&node).await?.is_none());
    assert!(refused(machine.join(&world, token.expose()).await?).contains("its node was removed"));
    let other = joined(&world, &root, "builder").await?;
    let again = world.app.claim(&other).await?.context("given to others")?.build;
    assert_eq!((again.id, again.attempt, again.tries()), (build.id, 2, 1), "fenced, and no try was used up");
    assert!(matches!(world.app.remove_node(&root, node.id, "forge-1").await, Err(Error::NotFound)));
    // The one inside of the server would come back.
    let builtin = world.builder("built-in").await?;
    assert_eq!(code(world.app.remove_node(&root, builtin.id, "built-in").await), "builtin_builder");
    world.wait(61);
    assert_eq!(state(&world, &root, builtin.id).await?, NodeState::Offline);
    world.app.remove_node(&root, builtin.id, "built-in").await?;
    Ok(())
}

#[tokio::test]
async fn what_builders_hand_back_is_tried_as_often_as_anything() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    wanted(&world, 1).await?;
    let node = joined(&world, &root, "builder").await?;
    // Six restarts of builders: more than it may be tried.
    for attempt in 1..=6 {
        let build = world.app.claim(&node).await?.context("it waits again")?.build;
        assert_eq!((build.attempt, build.tries()), (attempt, 1));
        assert_eq!(world.app.release(&node, build.id, attempt, "the builder shuts down").await?, Ok(()));
        assert!(world.app.heartbeat(&node, build.id, attempt).await?.is_err(), "it holds it no longer");
    }
    let trouble = BuilderOutcome::FailedForNow(FailureReason::new(FailureCode::Internal, "the engine went away"));
    for (attempt, state) in [(7, BuildState::Queued), (8, BuildState::Queued), (9, BuildState::Failed)] {
        world.wait(120);
        let build = world.app.claim(&node).await?.context("it waits again")?.build;
        assert_eq!(build.attempt, attempt);
        assert_eq!(world.app.finish(&node, build.id, attempt, &trouble).await?, Ok(state));
    }
    Ok(())
}

#[tokio::test]
async fn a_node_that_says_nothing_for_two_leases_is_offline_until_it_speaks() -> Result<()> {
    let world = World::new().await?;
    let root = root(&world).await?;
    let node = joined(&world, &root, "builder").await?;
    world.wait(59);
    assert_eq!(state(&world, &root, node.id).await?, NodeState::Idle);
    world.wait(1);
    assert_eq!(state(&world, &root, node.id).await?, NodeState::Offline);
    world.says(&node, 4, ENGINE).await?;
    assert_eq!(state(&world, &root, node.id).await?, NodeState::Idle);
    let unavailable = r#"{"state":"unavailable","problem":"no engine","hint":"start it"}"#;
    world.says(&node, 4, unavailable).await?;
    let NodeState::NoEngine { problem, hint } = state(&world, &root, node.id).await? else { panic!("no engine") };
    assert_eq!((problem.as_str(), hint.as_str()), ("no engine", "start it"));
    Ok(())
}

/// Many machines with one token at the same moment: one of them becomes a node, and it may ask again.
#[tokio::test]
async fn a_join_token_makes_one_node_of_many_machines_at_once() -> Result<()> {
    let world = World::on_postgres(|_| {}).await?;
    let root = root(&world).await?;
    let token = world.app.make_join_token(&root, "builder").await?.token.expose().to_owned();
    let machines: Vec<Machine> = (0..8).map(|_| Machine::new()).collect();
    let mut asking = tokio::task::JoinSet::new();
    for (number, hash) in machines.iter().map(|machine| machine.hash.clone()).enumerate() {
        let (app, token) = (world.app.clone(), token.clone());
        asking.spawn(async move {
            let machine = Machine { credential: SecretToken::generate(TokenKind::Builder), hash };
            (number, app.join(&token, &machine.joining()).await)
        });
    }
    let mut joined = Vec::new();
    while let Some(answer) = asking.join_next().await {
        let (number, answer) = answer?;
        match answer? {
            Joined::Node(id) => joined.push((number, id)),
            other => drop(refused(other)),
        }
    }
    let [(number, id)] = joined[..] else { panic!("{joined:?}") };
    assert_eq!(machines[number].join(&world, &token).await?, Joined::Node(id));
    assert_eq!(world.app.list_nodes().await?.len(), 1, "what came too late left nothing");
    Ok(())
}
