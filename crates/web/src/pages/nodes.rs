//! Builder nodes, for administrators: how they stand, join tokens, labels, draining, removal.
//!
//! Invariant: a join token is shown by the one answer that makes it; builds are named only to people who may see them.

use axum::response::Response;
use slipway_app::store::builds::{Build, Part};
use slipway_app::{Administrator, Drain, Error, NewJoinToken, NodeEdit, NodeState, NodeView};
use slipway_model::{BuilderId, JoinTokenId, NodeLabels, RepositoryPath, Scope};

use super::error::{PageError, said, sentence, show_refusal};
use super::fields::{At, Form};
use super::frame::{Visit, go, show};
use super::view::form::Field;
use super::view::nodes::{JoinTokenRow, NewJoin, NodePage, NodeRow, NodesPage, Origin, Stand};
use super::view::shell::Area;
use super::view::ui::Tone;
use crate::edge::routes::{Routes, get, post};

const NODES: &str = "/builders";

/// The routes.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/builders", get(list))
        .route("/builders/join-tokens", post(make_token))
        .route("/builders/join-tokens/{id}/revoke", post(revoke_token))
        .route("/builders/{id}", get(node))
        .route("/builders/{id}/labels", post(set_labels))
        .route("/builders/{id}/drain", post(drain))
        .route("/builders/{id}/resume", post(resume))
        .route("/builders/{id}/remove", post(remove))
}

fn administrator(visit: &Visit) -> Result<Administrator, PageError> {
    Ok(visit.app().administrator(&visit.caller)?)
}

fn stand(state: &NodeState) -> Stand {
    let of = |tone, word| Stand { tone, word, trouble: None };
    let troubled = |tone, word, problem: &str, hint: &str| Stand { tone, word, trouble: Some((sentence(problem), sentence(hint))) };
    match state {
        NodeState::Offline => troubled(
            Tone::Bad,
            "offline",
            "nothing is heard of it; what it built is given to others when its lease ends",
            "start `slipway builder` on its machine again, and look whether it reaches this server",
        ),
        NodeState::TooOld(old) => troubled(Tone::Attention, "too old", &old.detail, &old.hint),
        NodeState::NoEngine { problem, hint } => troubled(Tone::Attention, "no engine", problem, hint),
        NodeState::NoBuilder => {
            troubled(Tone::Stopped, "no label", "it has no label `builder`, so it gets no builds", "give it that label, or `builder=n`")
        }
        NodeState::Draining => of(Tone::Running, "draining"),
        NodeState::Drained => of(Tone::Stopped, "drained"),
        NodeState::Full | NodeState::Building => of(Tone::Running, "building"),
        NodeState::Idle => of(Tone::Good, "idle"),
    }
}

fn row(view: NodeView, own: &[(RepositoryPath, Build)]) -> NodeRow {
    let held = own.iter().filter(|(_, build)| build.builder == Some(view.builder.id));
    let builds: Vec<_> =
        held.map(|(path, build)| (format!("{path} #{}", build.number), format!("/{path}/builds/{}", build.number))).collect();
    let busy = usize::try_from(view.running).unwrap_or(usize::MAX);
    let builder = view.builder;
    NodeRow {
        id: builder.id.to_string(),
        origin: builder.joined_by.clone().map_or(Origin::BuiltIn, Origin::Joined),
        engine: view.engine,
        labels: builder.labels.iter().collect(),
        // One that has not said yet how many it wants is shown as what it is: nothing.
        places: if builder.parallel == 0 { 0 } else { builder.places() },
        obstacle: builder.obstacle,
        busy: u32::try_from(busy).unwrap_or(u32::MAX),
        seen_at: builder.last_seen_at,
        draining_since: builder.draining_since,
        created_at: builder.created_at,
        stand: stand(&view.state),
        others: busy.saturating_sub(builds.len()),
        builds,
        name: builder.name,
        version: builder.version,
        git: builder.git.trim().trim_start_matches("git version ").to_owned(),
    }
}

/// What runs in the person's own namespace: administrators see no more of other people's builds than anybody.
async fn own_builds(visit: &Visit) -> Result<Vec<(RepositoryPath, Build)>, PageError> {
    Ok(visit.app().list_namespace_builds(&visit.own(Scope::RepoRead).await?.into(), Part::Running, 100).await?)
}

async fn page(visit: &Visit) -> Result<NodesPage, PageError> {
    let tokens = visit.app().list_join_tokens(&administrator(visit)?).await?;
    let (waiting, _) = visit.app().queue_length().await?;
    let own = own_builds(visit).await?;
    Ok(NodesPage {
        nodes: visit.app().list_nodes().await?.into_iter().map(|view| row(view, &own)).collect(),
        waiting: usize::try_from(waiting).unwrap_or(usize::MAX),
        silence: visit.app().builder_silence().as_secs(),
        tokens: tokens
            .into_iter()
            .map(|token| JoinTokenRow {
                id: token.id.to_string(),
                labels: token.labels.to_string(),
                by: token.created_by_name,
                created_at: token.created_at,
                expires_at: token.expires_at,
            })
            .collect(),
        created: None,
        labels: Field::new(NodeLabels::builder().to_string()),
        problem: None,
        shell: visit.shell(Area::Nodes),
    })
}

/// `GET /builders`.
async fn list(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&page(&visit).await?))
}

fn created(visit: &Visit, made: &NewJoinToken) -> NewJoin {
    let server = visit.app().config().public_url.as_str().trim_end_matches('/').to_owned();
    NewJoin {
        // Only its owner can read the file from the beginning on.
        keep: format!("(umask 077; echo {} > join-token)", made.token.expose()),
        start: format!("slipway builder --server {server} --token-file join-token --data-dir /var/lib/slipway-builder"),
        expires_at: made.expires_at,
    }
}

/// `POST /builders/join-tokens`: the answer is the only page that ever shows the token.
async fn make_token(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("labels").trim();
    match visit.app().make_join_token(&administrator(&visit)?, typed).await {
        Ok(made) => Ok(show(&NodesPage { created: Some(created(&visit, &made)), ..page(&visit).await? })),
        Err(Error::Refused(refusal)) => {
            let mut page = NodesPage { labels: Field::new(typed), ..page(&visit).await? };
            match refusal.field.as_deref() {
                Some("labels") => page.labels.error = Some(said(&refusal)),
                _ => page.problem = Some(said(&refusal)),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /builders/join-tokens/{id}/revoke`.
async fn revoke_token(visit: Visit, At(id): At<JoinTokenId>) -> Result<Response, PageError> {
    visit.app().revoke_join_token(&administrator(&visit)?, id).await?;
    Ok(go(&format!("{NODES}?done=join-token-revoked")))
}

async fn node_page(visit: &Visit, id: BuilderId) -> Result<NodePage, PageError> {
    let view = visit.app().get_node(&administrator(visit)?, id).await?;
    Ok(NodePage {
        labels: Field::new(view.builder.labels.to_string()),
        node: row(view, &own_builds(visit).await?),
        confirm: Field::default(),
        remove_problem: None,
        shell: visit.shell(Area::Nodes),
    })
}

/// `GET /builders/{id}`.
async fn node(visit: Visit, At(id): At<BuilderId>) -> Result<Response, PageError> {
    Ok(show(&node_page(&visit, id).await?))
}

/// `POST /builders/{id}/labels`.
async fn set_labels(visit: Visit, At(id): At<BuilderId>, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("labels").trim();
    let edit = NodeEdit { labels: Some(typed.to_owned()), drain: None };
    match visit.app().change_node(&administrator(&visit)?, id, &edit).await {
        Ok(_) => Ok(go(&format!("{NODES}/{id}?done=saved"))),
        Err(Error::Refused(refusal)) => {
            let labels = Field::refused(typed, said(&refusal));
            Ok(show_refusal(&NodePage { labels, ..node_page(&visit, id).await? }, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change(visit: &Visit, id: BuilderId, drain: Drain, word: &str) -> Result<Response, PageError> {
    visit.app().change_node(&administrator(visit)?, id, &NodeEdit { labels: None, drain: Some(drain) }).await?;
    Ok(go(&format!("{NODES}/{id}?done={word}")))
}

/// `POST /builders/{id}/drain`.
async fn drain(visit: Visit, At(id): At<BuilderId>) -> Result<Response, PageError> {
    change(&visit, id, Drain::Begin, "node-draining").await
}

/// `POST /builders/{id}/resume`.
async fn resume(visit: Visit, At(id): At<BuilderId>) -> Result<Response, PageError> {
    change(&visit, id, Drain::End, "node-resumed").await
}

/// `POST /builders/{id}/remove`.
async fn remove(visit: Visit, At(id): At<BuilderId>, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("confirm").trim();
    match visit.app().remove_node(&administrator(&visit)?, id, typed).await {
        Ok(()) => Ok(go(&format!("{NODES}?done=node-removed"))),
        Err(Error::Refused(refusal)) => {
            let mut page = NodePage { confirm: Field::new(typed), ..node_page(&visit, id).await? };
            match refusal.field.as_deref() {
                Some("confirm") => page.confirm.error = Some(said(&refusal)),
                _ => page.remove_problem = Some(said(&refusal)),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}
