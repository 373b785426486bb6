//! Builder nodes in every state, with a hostile name.

use super::{HOSTILE, ago, page, shell};
use crate::pages::view::form::Field;
use crate::pages::view::nodes::{JoinTokenRow, NewJoin, NodePage, NodeRow, NodesPage, Origin, Stand};
use crate::pages::view::shell::Area;
use crate::pages::view::ui::Tone;

fn node(name: &str) -> NodeRow {
    NodeRow {
        id: "0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4".into(),
        name: name.into(),
        origin: Origin::Joined("ada".into()),
        version: "0.1.0".into(),
        git: "2.39.5".into(),
        engine: Some("Docker Engine 20.10.24".into()),
        obstacle: None,
        labels: vec!["builder=2".into(), "ssd".into()],
        places: 2,
        busy: 2,
        seen_at: ago(4),
        draining_since: None,
        created_at: ago(900_000),
        stand: Stand { tone: Tone::Running, word: "building", trouble: None },
        builds: vec![("acme/shop #49".into(), "/acme/shop/builds/49".into())],
        others: 1,
    }
}

fn idle(name: &str, tone: Tone, word: &'static str, trouble: Option<(&str, &str)>) -> NodeRow {
    let trouble = trouble.map(|(problem, hint)| (problem.to_owned(), hint.to_owned()));
    NodeRow { busy: 0, builds: vec![], others: 0, stand: Stand { tone, word, trouble }, ..node(name) }
}

fn nodes() -> NodesPage {
    let no_engine = (
        "No Docker Engine answers at `unix:///var/run/docker.sock`: no such file.",
        "Install and start Docker Engine, or set `[builder] engine` to one that runs.",
    );
    let offline = ("Nothing is heard of it.", "Start `slipway builder` on its machine again.");
    let drained = NodeRow { draining_since: Some(ago(600)), ..idle("forge-4", Tone::Stopped, "drained", None) };
    NodesPage {
        shell: shell(Area::Nodes),
        nodes: vec![
            NodeRow { origin: Origin::BuiltIn, ..idle("built-in", Tone::Good, "idle", None) },
            node("forge-1"),
            NodeRow { engine: None, ..idle("forge-2", Tone::Attention, "no engine", Some(no_engine)) },
            NodeRow { seen_at: ago(7200), labels: vec![], ..idle(HOSTILE, Tone::Bad, "offline", Some(offline)) },
            drained,
            NodeRow { obstacle: Some("`slirp4netns` is not installed".into()), ..idle("forge-5", Tone::Good, "idle", None) },
        ],
        waiting: 1,
        silence: 60,
        tokens: vec![JoinTokenRow {
            id: "0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c5".into(),
            labels: "builder=1 zone=a".into(),
            by: HOSTILE.into(),
            created_at: ago(300),
            expires_at: ago(-3300),
        }],
        created: None,
        labels: Field::new("builder"),
        problem: None,
    }
}

pub(super) fn all() -> Vec<(&'static str, String)> {
    let token = format!("slj_{}", "0123456789abcdef".repeat(4));
    let created = NewJoin {
        keep: format!("(umask 077; echo {token} > join-token)"),
        start: "slipway builder --server https://slipway.acme.example --token-file join-token --data-dir /var/lib/slipway-builder".into(),
        expires_at: ago(-3600),
    };
    let one = |node: NodeRow| NodePage {
        shell: shell(Area::Nodes),
        labels: Field::new("builder=2 ssd"),
        node,
        confirm: Field::default(),
        remove_problem: None,
    };
    let refused = NodePage {
        labels: Field::refused("builder=0", "`builder=0` is no number of builds, expected `builder=1` to `builder=1000`."),
        confirm: Field::refused("forge", "The node is called `forge-1`, `forge` was typed."),
        ..one(node("forge-1"))
    };
    let built_in = NodePage {
        remove_problem: Some("The built-in builder is part of the server and would register itself again.".into()),
        ..one(NodeRow { origin: Origin::BuiltIn, ..idle("built-in", Tone::Good, "idle", None) })
    };
    let draining = NodeRow { draining_since: Some(ago(60)), ..node(HOSTILE) };
    let too_many = "100 join tokens stand already, more are not made. Take some back, or wait an hour.";
    vec![
        ("nodes", page(&nodes())),
        ("nodes-empty", page(&NodesPage { nodes: vec![], tokens: vec![], waiting: 0, ..nodes() })),
        ("nodes-token", page(&NodesPage { created: Some(created), ..nodes() })),
        (
            "nodes-refused",
            page(&NodesPage { labels: Field::refused("<b>", "`<b>` is no label."), problem: Some(too_many.into()), ..nodes() }),
        ),
        ("node", page(&one(node("forge-1")))),
        ("node-draining", page(&one(draining))),
        ("node-refused", page(&refused)),
        ("node-built-in", page(&built_in)),
    ]
}
