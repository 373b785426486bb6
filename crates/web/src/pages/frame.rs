//! Who looks at a page and what the frame around it shows; and the same frame around errors.

use std::sync::{Arc, OnceLock};

use askama::Template;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use slipway_app::{App, Caller, Error, NamespaceOwner, RepositoryAdmin, RepositoryOwner, RepositoryRead, RepositoryView, RepositoryWrite};
use slipway_model::{AccountName, RepositoryName, Scope, Timestamp};

use super::error::{PageError, framed, notice};
use super::fields::Query;
use super::view::repositories::May;
use super::view::shell::{Area, Notice, Person, Role, Shell, Theme};
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

/// Where `Visit` leaves the frame for an error that comes later.
#[derive(Clone, Default)]
struct Slot(Arc<OnceLock<Shell>>);

impl FromRequestParts<WebState> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Response> {
        let Session(caller) =
            <Session as FromRequestParts<WebState>>::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let Ok(Query(query)) = Query::from_request_parts(parts, state).await;
        let builders = builders(state.app()).await.map_err(|error| PageError::from(error).into_response())?;
        let name = caller.account().name.to_string();
        let role = if caller.account().is_admin { Role::Administrator } else { Role::Member };
        let shell = Shell {
            now: state.app().clock().now(),
            theme: theme(&parts.headers),
            person: Some(Person { name: name.clone(), role }),
            namespaces: vec![name.clone()],
            namespace: name,
            builders,
            version: state.options().version,
            path: parts.uri.path().to_owned(),
            notice: notice(query.text("done")).map(|(tone, text)| Notice { tone, text: text.to_owned() }),
            ..Shell::outside()
        };
        if let Some(slot) = parts.extensions.get::<Slot>() {
            // Only the first of two extractors fills it; both would say the same.
            slot.0.set(shell.clone()).ok();
        }
        Ok(Self { state: state.clone(), caller, shell })
    }
}

impl Visit {
    /// The application.
    pub(super) fn app(&self) -> &App {
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
    pub(super) fn own(&self, scope: Scope) -> Result<NamespaceOwner, PageError> {
        Ok(self.app().namespace(&self.caller, &self.caller.account().name, scope)?)
    }

    /// Every right that the person has over a repository.
    pub(super) async fn rights(&self, at: &RepositoryAt) -> Result<Rights, PageError> {
        let (app, caller) = (self.app(), &self.caller);
        match app.repository_owner(caller, &at.ns, &at.name).await {
            Ok(owner) => return Ok(Rights::of_owner(owner)),
            Err(Error::NotFound | Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let admin = app.repository_admin(caller, &at.ns, &at.name).await.ok();
        let write = match &admin {
            Some(admin) => Some(RepositoryWrite::from(admin.clone())),
            None => app.repository_write(caller, &at.ns, &at.name).await.ok(),
        };
        let read = match &write {
            Some(write) => Some(RepositoryRead::from(write.clone())),
            None => app.repository_read(caller, &at.ns, &at.name).await.ok(),
        };
        let view = app.repository_view(Some(caller), &at.ns, &at.name).await?;
        Ok(Rights { view, read, write, admin, owner: None })
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
    fn of_owner(owner: RepositoryOwner) -> Self {
        let admin = RepositoryAdmin::from(owner.clone());
        let write = RepositoryWrite::from(admin.clone());
        let read = RepositoryRead::from(write.clone());
        Self { view: read.clone().into(), read: Some(read), write: Some(write), admin: Some(admin), owner: Some(owner) }
    }

    /// The largest of them, in words of the views.
    pub(super) fn may(&self) -> May {
        match (&self.owner, &self.admin, &self.write) {
            (Some(_), ..) => May::Owner,
            (_, Some(_), _) => May::Admin,
            (.., Some(_)) => May::Write,
            _ => May::Read,
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
        self.write.as_ref().ok_or_else(|| forbidden("write"))
    }

    /// To change settings.
    pub(super) fn admin(&self) -> Result<&RepositoryAdmin, PageError> {
        self.admin.as_ref().ok_or_else(|| forbidden("admin"))
    }

    /// To delete.
    pub(super) fn owner(&self) -> Result<&RepositoryOwner, PageError> {
        self.owner.as_ref().ok_or_else(|| forbidden("owner"))
    }
}

fn forbidden(permission: &str) -> PageError {
    ApiError::new(crate::error::Code::Forbidden, format!("this needs the permission `{permission}`"))
        .hint("ask an owner of the repository")
        .into()
}

/// `2 builders idle`, with its colour and shape.
async fn builders(app: &App) -> Result<Notice, Error> {
    let all = app.list_builders().await?;
    let online: Vec<_> = all.iter().filter(|builder| builder.online).collect();
    let busy: u64 = online.iter().map(|builder| builder.running).sum();
    let broken = online.iter().filter(|builder| builder.problem.is_some()).count();
    let word = |n: usize| if n == 1 { "builder" } else { "builders" };
    let (tone, text) = if online.is_empty() {
        (Tone::Attention, "no builder".to_owned())
    } else if broken == online.len() {
        (Tone::Attention, "no engine answers".to_owned())
    } else if busy > 0 {
        (Tone::Running, format!("{busy} {} running", if busy == 1 { "build" } else { "builds" }))
    } else {
        (Tone::Good, format!("{} {} idle", online.len() - broken, word(online.len() - broken)))
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
        let shell = Shell {
            theme: theme(&parts.headers),
            now: state.app().clock().now(),
            version: state.options().version,
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

/// Puts the frame around an error when it is known who asks.
pub(super) async fn dress_errors(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    match (response.extensions_mut().remove::<ApiError>(), slot.0.get()) {
        (Some(error), Some(shell)) => framed(&error, shell.clone()),
        _ => response,
    }
}
