//! Settings of the account and of the installation: tokens, colours, builder nodes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use slipway_app::{BuilderView, Error};
use slipway_model::{BuildState, Scope, ScopeSet, TokenId};

use super::error::{PageError, sentence};
use super::fields::{At, Form};
use super::frame::{THEME_COOKIE, Visit, go, show, show_refused};
use super::view::form::Field;
use super::view::nodes::{Contact, EngineView, NodeRow, NodesPage};
use super::view::settings::{AccountPage, NewToken, ScopeChoice, TokenRow, TokensPage};
use super::view::shell::{Area, Theme};
use crate::session::safe_next;

/// `/settings`.
pub(super) async fn home() -> Response {
    go("/settings/tokens")
}

/// `POST /settings/theme`: remembers the colours in this browser for a year.
pub(super) async fn theme(Form(form): Form) -> Response {
    let theme = Theme::from_word(form.text("theme"));
    let cookie = format!("{THEME_COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", theme.as_str());
    let cookie = HeaderValue::from_str(&cookie).expect("one of three words in constant ASCII text");
    ([(header::SET_COOKIE, cookie)], go(safe_next(form.filled("next")))).into_response()
}

/// `/settings/account`.
pub(super) async fn account(visit: Visit) -> Response {
    let account = visit.caller.account();
    show(&AccountPage { shell: visit.shell(Area::Settings), created_at: Some(account.created_at), email: account.email.clone() })
}

fn explain(scope: Scope) -> &'static str {
    match scope {
        Scope::RepoRead => "Read repositories, builds and settings; pull.",
        Scope::RepoWrite => "Push; delete tags.",
        Scope::RepoAdmin => "Change settings, create and delete repositories, link providers.",
        Scope::BuildWrite => "Start, cancel and retry builds.",
        Scope::Account => "The account itself: its tokens and settings.",
    }
}

/// What `docker login`, push and pull need.
const USUAL: [Scope; 2] = [Scope::RepoRead, Scope::RepoWrite];

async fn tokens_page(visit: &Visit, ticked: &[Scope]) -> Result<TokensPage, PageError> {
    let tokens = visit.app().list_tokens(&visit.caller).await?;
    let rows = tokens.into_iter().map(|token| TokenRow {
        id: token.id.to_string(),
        name: token.name,
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        created_at: token.created_at,
        used_at: token.last_used_at,
        expires_at: token.expires_at,
    });
    let scopes = Scope::ALL.iter().map(|scope| ScopeChoice { name: scope.as_str(), text: explain(*scope), ticked: ticked.contains(scope) });
    Ok(TokensPage {
        shell: visit.shell(Area::Settings),
        tokens: rows.collect(),
        created: None,
        name: Field::default(),
        scopes: scopes.collect(),
        scopes_error: None,
    })
}

/// `GET /settings/tokens`.
pub(super) async fn tokens(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&tokens_page(&visit, &USUAL).await?))
}

/// `POST /settings/tokens`: the answer is the only page that ever shows the token, so there is no redirect.
pub(super) async fn make_token(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let name = form.text("name").trim();
    let scopes: Vec<Scope> = form.all("scope").filter_map(|word| word.parse().ok()).collect();
    if scopes.is_empty() {
        let page = tokens_page(&visit, &[]).await?;
        return Ok(show_refused(&TokensPage { name: Field::new(name), scopes_error: Some("Choose at least one.".to_owned()), ..page }));
    }
    match visit.app().create_token(&visit.caller, name, &ScopeSet::new(scopes.clone()), None).await {
        Ok(made) => {
            let login = format!("docker login {} -u {}", visit.app().registry_host(), visit.caller.account().name);
            let created = NewToken { name: name.to_owned(), token: made.secret.expose().to_owned(), login };
            Ok(show(&TokensPage { created: Some(created), ..tokens_page(&visit, &USUAL).await? }))
        }
        Err(Error::Refused(refusal)) => {
            Ok(show_refused(&TokensPage { name: Field::refused(name, sentence(&refusal.detail)), ..tokens_page(&visit, &scopes).await? }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/tokens/{id}/revoke`.
pub(super) async fn revoke_token(visit: Visit, At(id): At<TokenId>) -> Result<Response, PageError> {
    visit.app().revoke_token(&visit.caller, id).await?;
    Ok(go("/settings/tokens?done=revoked"))
}

/// `/builders`, for administrators.
pub(super) async fn nodes(visit: Visit) -> Result<Response, PageError> {
    visit.app().administrator(&visit.caller)?;
    let (waiting, _) = visit.app().queue_length().await?;
    let own = visit.app().list_namespace_builds(&visit.own(Scope::RepoRead)?, None, 100).await?;
    let nodes = visit.app().list_builders().await?.into_iter().map(|view| {
        let held = own.iter().filter(|(_, build)| build.state == BuildState::Running && build.builder == Some(view.builder.id));
        let builds = held.map(|(path, build)| (format!("{path} #{}", build.number), format!("/{path}/builds/{}", build.number))).collect();
        node(view, builds)
    });
    Ok(show(&NodesPage {
        nodes: nodes.collect(),
        waiting: usize::try_from(waiting).unwrap_or(usize::MAX),
        shell: visit.shell(Area::Nodes),
    }))
}

fn node(view: BuilderView, builds: Vec<(String, String)>) -> NodeRow {
    let engine = match (view.engine, view.problem) {
        (Some(description), _) => EngineView::Ready(description),
        (None, problem) => EngineView::Unavailable {
            problem: sentence(problem.as_deref().unwrap_or("the builder has not said yet whether its engine answers")),
            hint: sentence(view.hint.as_deref().unwrap_or_default()),
        },
    };
    NodeRow {
        name: view.builder.name,
        version: view.builder.version,
        parallel: view.builder.parallel,
        busy: u32::try_from(view.running).unwrap_or(u32::MAX),
        seen_at: view.builder.last_seen_at,
        contact: if view.online { Contact::Fresh } else { Contact::Lost },
        engine,
        builds,
    }
}
