//! Who looks at a page, in which namespace they are, and what the frame around it shows; and the same frame around errors.
//!
//! Invariant: the chosen namespace is the one of the address when the person belongs to it, else their own; what may be done in it is
//! asked of the application by each handler, never read from the frame.

use std::sync::{Arc, OnceLock};

use askama::Template;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use slipway_app::store::accounts;
use slipway_app::{
    App, Caller, Error, NamespaceOwner, NodeState, RepositoryAdmin, RepositoryOwner, RepositoryRead, RepositoryView, RepositoryWrite,
    Standing,
};
use slipway_model::{AccountName, RepositoryName, Scope, Timestamp};

use super::error::{PageError, framed, notice};
use super::fields::Query;
use super::view::repositories::May;
use super::view::shell::{Area, Layout, Namespace, Notice, Person, Place, Role, Shell, Theme};
use super::view::ui::Tone;
use crate::edge::request_id;
use crate::error::ApiError;
use crate::session::Session;
use crate::state::WebState;

/// Name of the cookie that remembers the colours.
pub(super) const THEME_COOKIE: &str = "slipway_theme";

/// A signed-in person at a page.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) state: WebState,
    pub(super) caller: Caller,
    shell: Shell,
}

/// What the extractors leave for the layer around all pages.
#[derive(Default)]
struct Left {
    /// The frame, for an error that comes later.
    shell: OnceLock<Shell>,
    /// The address under the current name, when the one that was asked has a former one.
    moved: OnceLock<String>,
}

#[derive(Clone, Default)]
struct Slot(Arc<Left>);

impl FromRequestParts<WebState> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Response> {
        let Session(caller) =
            <Session as FromRequestParts<WebState>>::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let shell = shell_of(parts, state, &caller).await.map_err(|error| PageError::from(error).into_response())?;
        if let Some(slot) = parts.extensions.get::<Slot>() {
            // Only the first of two extractors fills it; both would say the same.
            slot.0.shell.set(shell.clone()).ok();
        }
        Ok(Self { state: state.clone(), caller, shell })
    }
}

async fn shell_of(parts: &mut Parts, state: &WebState, caller: &Caller) -> Result<Shell, Error> {
    let Ok(Query(query)) = Query::from_request_parts(parts, state).await;
    let app = state.app();
    let own = caller.account().name.to_string();
    let namespaces = namespaces(app, caller).await?;
    let asked = namespace_of(&parts.uri).or_else(|| query.filled("namespace").map(str::to_owned));
    let chosen = asked.as_ref().filter(|name| namespaces.iter().any(|one| one.name == **name)).cloned();
    if chosen.is_none() {
        follow_rename(parts, app).await?;
    }
    let role = if caller.account().is_admin { Role::Administrator } else { Role::Member };
    Ok(Shell {
        now: app.clock().now(),
        theme: theme(&parts.headers),
        layout: Layout::Framed,
        person: Some(Person { name: own.clone(), role }),
        namespace: chosen.unwrap_or(own),
        namespaces,
        builders: builders(app).await?,
        version: state.options().version,
        path: parts.uri.path().to_owned(),
        notice: notice(query.text("done")).map(|(tone, text)| Notice { tone, text: text.to_owned() }),
        ..Shell::outside()
    })
}

/// Where the person may switch to: their own namespace first, then their organizations by name.
async fn namespaces(app: &App, caller: &Caller) -> Result<Vec<Namespace>, Error> {
    let mut all = vec![Namespace { name: caller.account().name.to_string(), place: Place::Own }];
    all.extend(app.list_organizations(caller).await?.into_iter().map(|membership| Namespace {
        name: membership.account.name.to_string(),
        place: if membership.standing == Standing::Owner { Place::Owner } else { Place::Member },
    }));
    Ok(all)
}

/// The namespace that an address names: `/{ns}/…` or `/o/{org}/…`. Our own words are names of nobody.
fn namespace_of(uri: &Uri) -> Option<String> {
    let mut parts = uri.path().split('/').skip(1);
    let name = match parts.next()? {
        "o" => parts.next()?,
        other => other,
    };
    name.parse::<AccountName>().ok().map(|name| name.to_string())
}

/// Leaves word of the current name when the address has a former one. The layer follows it only when the page itself was shown, so the
/// new name is told to nobody who may not see what the old one leads to.
async fn follow_rename(parts: &Parts, app: &App) -> Result<(), Error> {
    let (Some(slot), true) = (parts.extensions.get::<Slot>(), parts.method == Method::GET) else { return Ok(()) };
    let Some(name) = namespace_of(&parts.uri).and_then(|name| name.parse::<AccountName>().ok()) else { return Ok(()) };
    let mut tx = app.db().read().await?;
    if let Some(account) = accounts::find(&mut tx, &name).await?.filter(|account| account.name != name) {
        let address = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // Nothing before the name can hold it: the address begins with `/` or `/o/`.
        slot.0.moved.set(address.replacen(name.as_str(), account.name.as_str(), 1)).ok();
    }
    Ok(())
}

impl Visit {
    /// The application.
    pub(super) fn app(&self) -> &Arc<App> {
        self.state.app()
    }

    /// The frame for a page of that area.
    pub(super) fn shell(&self, area: Area) -> Shell {
        Shell { area, request_id: request_id::current(), ..self.shell.clone() }
    }

    /// The moment of this request.
    pub(super) fn now(&self) -> Timestamp {
        self.shell.now
    }

    /// The right over the person's own namespace.
    pub(super) async fn own(&self, scope: Scope) -> Result<NamespaceOwner, PageError> {
        Ok(self.app().namespace(&self.caller, &self.caller.account().name, scope).await?)
    }

    /// Every right that the person has over a repository.
    pub(super) async fn rights(&self, at: &RepositoryAt) -> Result<Rights, PageError> {
        Rights::of(self.app(), Some(&self.caller), at).await
    }
}

/// A repository's address.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct RepositoryAt {
    pub(super) ns: AccountName,
    pub(super) name: RepositoryName,
}

/// Rights over a repository, from the smallest to the largest. What is missing was refused.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) view: RepositoryView,
    read: Option<RepositoryRead>,
    write: Option<RepositoryWrite>,
    admin: Option<RepositoryAdmin>,
    owner: Option<RepositoryOwner>,
}

impl Rights {
    /// Every right that somebody has over a repository; strangers may view what is public.
    pub(super) async fn of(app: &App, caller: Option<&Caller>, at: &RepositoryAt) -> Result<Self, PageError> {
        let viewer = async || -> Result<Self, PageError> {
            let view = app.repository_view(caller, &at.ns, &at.name).await?;
            Ok(Self { view, read: None, write: None, admin: None, owner: None })
        };
        let Some(known) = caller else { return viewer().await };
        match app.repository_owner(known, &at.ns, &at.name).await {
            Ok(owner) => return Ok(Self::of_owner(owner)),
            Err(Error::NotFound) => return viewer().await,
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let admin = granted(app.repository_admin(known, &at.ns, &at.name).await)?;
        let write = match &admin {
            Some(admin) => Some(RepositoryWrite::from(admin.clone())),
            None => granted(app.repository_write(known, &at.ns, &at.name).await)?,
        };
        let read = match &write {
            Some(write) => RepositoryRead::from(write.clone()),
            None => app.repository_read(known, &at.ns, &at.name).await?,
        };
        Ok(Self { view: read.clone().into(), read: Some(read), write, admin, owner: None })
    }

    fn of_owner(owner: RepositoryOwner) -> Self {
        let admin = RepositoryAdmin::from(owner.clone());
        let write = RepositoryWrite::from(admin.clone());
        let read = RepositoryRead::from(write.clone());
        Self { view: read.clone().into(), read: Some(read), write: Some(write), admin: Some(admin), owner: Some(owner) }
    }

    /// The largest of them, in words of the views.
    pub(super) fn may(&self) -> May {
        match (&self.owner, &self.admin, &self.write, &self.read) {
            (Some(_), ..) => May::Owner,
            (_, Some(_), ..) => May::Admin,
            (_, _, Some(_), _) => May::Write,
            (.., Some(_)) => May::Read,
            _ => May::View,
        }
    }

    /// To read, when given.
    pub(super) fn reads(&self) -> Option<&RepositoryRead> {
        self.read.as_ref()
    }

    /// To read, or the page does not exist for this person.
    pub(super) fn read(&self) -> Result<&RepositoryRead, PageError> {
        self.read.as_ref().ok_or_else(|| ApiError::not_found().into())
    }

    /// To write.
    pub(super) fn write(&self) -> Result<&RepositoryWrite, PageError> {
        self.write.as_ref().ok_or_else(|| self.missing("write"))
    }

    /// To change settings.
    pub(super) fn admin(&self) -> Result<&RepositoryAdmin, PageError> {
        self.admin.as_ref().ok_or_else(|| self.missing("admin"))
    }

    /// Who may not even see builds and settings is told that there are none, as the API does.
    fn missing(&self, permission: &str) -> PageError {
        if self.read.is_some() { forbidden(permission) } else { ApiError::not_found().into() }
    }

    /// To delete.
    pub(super) fn owner(&self) -> Result<&RepositoryOwner, PageError> {
        self.owner.as_ref().ok_or_else(|| self.missing("owner"))
    }
}

/// A right, or none when it was refused.
fn granted<T>(asked: Result<T, Error>) -> Result<Option<T>, PageError> {
    match asked {
        Ok(right) => Ok(Some(right)),
        Err(Error::Refused(_) | Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn forbidden(permission: &str) -> PageError {
    ApiError::new(crate::error::Code::Forbidden, format!("this needs the permission `{permission}`"))
        .hint("ask an owner of the repository")
        .into()
}

/// `2 builders idle`, with its colour and shape.
async fn builders(app: &App) -> Result<Notice, Error> {
    let all = app.list_nodes().await?;
    let is = |wanted: fn(&NodeState) -> bool| all.iter().filter(|node| wanted(&node.state)).count();
    let word = |n: usize| if n == 1 { "builder" } else { "builders" };
    let running: u64 = all.iter().filter(|node| node.state != NodeState::Offline).map(|node| node.running).sum();
    let work = is(NodeState::builds);
    let (tone, text) = if all.is_empty() {
        (Tone::Attention, "no builder".to_owned())
    } else if running > 0 {
        (Tone::Running, format!("{running} {} running", if running == 1 { "build" } else { "builds" }))
    } else if work > 0 {
        (Tone::Good, format!("{work} {} idle", word(work)))
    } else if is(|state| matches!(state, NodeState::NoEngine { .. } | NodeState::TooOld(_))) > 0 {
        (Tone::Attention, "no engine answers".to_owned())
    } else if is(|state| *state == NodeState::Offline) == all.len() {
        (Tone::Attention, format!("{} {} offline", all.len(), word(all.len())))
    } else {
        (Tone::Stopped, "no builder takes builds".to_owned())
    };
    Ok(Notice { tone, text })
}

fn theme(headers: &HeaderMap) -> Theme {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(THEME_COOKIE)?.strip_prefix('='));
    found.map_or(Theme::Auto, Theme::from_word)
}

/// A page of a stranger: no person, but their colours.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) state: WebState,
    pub(super) shell: Shell,
}

impl FromRequestParts<WebState> for Outside {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Self::Rejection> {
        if let Err(error) = follow_rename(parts, state.app()).await {
            // A former name then leads to what it led to before; the page itself tells of a database that does not answer.
            tracing::warn!(%error, "it is not known whether the address has a former name");
        }
        let Ok(Query(query)) = Query::from_request_parts(parts, state).await;
        let shell = Shell {
            theme: theme(&parts.headers),
            now: state.app().clock().now(),
            version: state.options().version,
            path: parts.uri.path().to_owned(),
            notice: notice(query.text("done")).map(|(tone, text)| Notice { tone, text: text.to_owned() }),
            request_id: request_id::current(),
            ..Shell::outside()
        };
        Ok(Self { state: state.clone(), shell })
    }
}

/// Renders a view. Views are plain data, so rendering fails only when memory does.
pub(super) fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => super::error_page(ApiError::internal(&error)),
    }
}

/// Renders a view with another status than 200: a form that came back.
pub(super) fn show_refused(page: &impl Template) -> Response {
    let mut response = show(page);
    *response.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
    response
}

/// Leads on after a form was accepted (303: with GET).
pub(super) fn go(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Puts the frame around an error when it is known who asks, and leads on from a former name to the current one.
pub(super) async fn dress(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::OK
        && let Some(address) = slot.0.moved.get()
    {
        return Redirect::permanent(address).into_response();
    }
    match (response.extensions_mut().remove::<ApiError>(), slot.0.shell.get()) {
        (Some(error), Some(shell)) => framed(&error, shell.clone()),
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_that_of_the_address() {
        let of = |address: &'static str| namespace_of(&Uri::from_static(address));
        assert_eq!(of("/acme").as_deref(), Some("acme"));
        assert_eq!(of("/acme/shop/builds?done=saved").as_deref(), Some("acme"));
        assert_eq!(of("/o/acme/teams/dev").as_deref(), Some("acme"));
        for ours in ["/", "/settings/tokens", "/o", "/o/", "/builds", "/repositories/new", "/admin/accounts", "/..%2f"] {
            assert_eq!(of(ours), None, "{ours}");
        }
    }
}
