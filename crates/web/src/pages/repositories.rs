//! Lists of repositories as the one who looks may see them, a new one, and the search.

use axum::response::Response;
use slipway_app::store::repositories::Repository;
use slipway_app::store::{builds, links, repositories};
use slipway_app::{App, Caller, Error, NamespaceOwner, NamespaceView, Standing};
use slipway_forge::SourceKey;
use slipway_model::{AccountName, LinkState, RepositoryPath, Scope, Visibility};

use super::anybody::Anybody;
use super::builds::row as build_row;
use super::error::{PageError, sentence};
use super::fields::{At, Fields, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::repository::{or_sign_in, source_view};
use super::view::form::Field;
use super::view::repositories::{Looks, May, NewRepositoryPage, RepositoryListPage, RepositoryRow};
use super::view::search::SearchPage;
use super::view::shell::{Area, Layout, Shell};

const PAGE: u32 = 30;
/// A filter looks at this many names of the namespace; the search at the top looks at all.
const FILTERED: u32 = 1000;
const FOUND: u32 = 50;

/// `/`: the person's own namespace.
pub(super) async fn home(visit: Visit, query: Query) -> Result<Response, PageError> {
    let view = NamespaceView::from(visit.own(Scope::RepoRead).await?);
    page(visit.app(), Some(&visit.caller), &view, visit.shell(Area::Repositories), query.0).await
}

/// `/{ns}`: for its owner all, for a member what the teams give, for everybody else what is public.
pub(super) async fn list(who: Anybody, At(ns): At<AccountName>, query: Query) -> Result<Response, PageError> {
    let view = match who.state.app().namespace_view(who.caller(), &ns).await {
        Ok(view) => view,
        Err(error) => return or_sign_in(&who, error.into()),
    };
    let shell = Shell { area: Area::Repositories, layout: Layout::Framed, ..who.shell.clone() };
    page(who.state.app(), who.caller(), &view, shell, query.0).await
}

async fn page(app: &App, caller: Option<&Caller>, view: &NamespaceView, shell: Shell, query: Fields) -> Result<Response, PageError> {
    let (wanted, after) = (query.text("q").trim().to_lowercase(), query.filled("cursor"));
    let mut found = match wanted.is_empty() {
        true => app.list_repositories(view, after, PAGE + 1).await?,
        false => named(app.list_repositories(view, None, FILTERED).await?, &wanted),
    };
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more && wanted.is_empty()).map(|last| last.name.to_string());
    let account = view.account();
    let looks = match view.standing() {
        Standing::Owner => Looks::Owner,
        Standing::Member => Looks::Member,
        Standing::Outsider => Looks::Outsider,
    };
    Ok(show(&RepositoryListPage {
        namespace: account.name.to_string(),
        display_name: account.display_name.clone(),
        kind: account.kind,
        looks,
        query: query.text("q").chars().take(100).collect(),
        rows: rows(app, caller, &found).await?,
        link: match looks {
            Looks::Owner => link_state(app, caller, &account.name).await?,
            Looks::Member | Looks::Outsider => LinkState::NotLinked,
        },
        next,
        shell,
    }))
}

/// Whether any link of the owner's namespace works, for the first steps.
async fn link_state(app: &App, caller: Option<&Caller>, name: &AccountName) -> Result<LinkState, PageError> {
    let Some(caller) = caller else { return Ok(LinkState::NotLinked) };
    let owner = app.namespace(caller, name, Scope::RepoRead).await?;
    let works = app.list_links(&owner).await?.iter().any(|link| link.state == LinkState::Ok);
    Ok(if works { LinkState::Ok } else { LinkState::NotLinked })
}

fn named(mut all: Vec<Repository>, wanted: &str) -> Vec<Repository> {
    all.retain(|repository| {
        repository.name.as_str().contains(wanted) || format!("{}/{}", repository.namespace, repository.name).contains(wanted)
    });
    all
}

/// Rows; source and last build only of those that the caller may read. The repositories are the caller's to see already.
async fn rows(app: &App, caller: Option<&Caller>, found: &[Repository]) -> Result<Vec<RepositoryRow>, PageError> {
    let mut rows = Vec::with_capacity(found.len());
    for repository in found {
        let path = RepositoryPath { namespace: repository.namespace.clone(), name: repository.name.clone() };
        let mut row = RepositoryRow {
            description: repository.description.clone(),
            visibility: repository.visibility,
            source: None,
            last_build: None,
            may: May::View,
            path: path.to_string(),
        };
        let read = match caller {
            Some(caller) => app.repository_read(caller, &path.namespace, &path.name).await,
            None => Err(Error::NotFound),
        };
        match read {
            Ok(_) => fill(app, repository, &path, &mut row).await?,
            Err(Error::NotFound | Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        rows.push(row);
    }
    Ok(rows)
}

async fn fill(app: &App, repository: &Repository, path: &RepositoryPath, row: &mut RepositoryRow) -> Result<(), PageError> {
    let mut tx = app.db().read().await?;
    row.may = May::Read;
    if let Some(autobuild) = repositories::get_autobuild(&mut tx, repository.id).await? {
        let link = links::get(&mut tx, repository.account, &autobuild.provider).await?;
        let key = SourceKey { id: &autobuild.source_id, full_name: &autobuild.source_name };
        row.source = source_view(app, &autobuild.provider, key, link.map(|link| link.state));
    }
    let last = builds::list(&mut tx, repository.id, &builds::BuildFilter::default(), None, 1).await?.pop();
    row.last_build = last.map(|build| build_row(path, &build));
    Ok(())
}

/// `/search?q=`: over every namespace that the person may look into.
pub(super) async fn search(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    let wanted = query.text("q").trim();
    let found = match wanted.is_empty() {
        true => Vec::new(),
        false => visit.app().search_repositories(&visit.caller, wanted, FOUND).await?,
    };
    let rows = rows(visit.app(), Some(&visit.caller), &found).await?;
    Ok(show(&SearchPage { shell: visit.shell(Area::Elsewhere), query: query.text("q").chars().take(100).collect(), rows }))
}

/// `GET /repositories/new?namespace=`.
pub(super) async fn new(visit: Visit) -> Response {
    show(&blank(&visit))
}

fn blank(visit: &Visit) -> NewRepositoryPage {
    let shell = visit.shell(Area::Repositories);
    NewRepositoryPage {
        namespaces: shell.namespaces.iter().filter(|one| one.is_owned()).map(|one| one.name.clone()).collect(),
        namespace: shell.namespace.clone(),
        shell,
        name: Field::default(),
        description: Field::default(),
        visibility: Visibility::Private,
    }
}

/// `POST /repositories/new`.
pub(super) async fn create(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let visibility = form.text("visibility").parse().unwrap_or(Visibility::Private);
    let (name, description) = (form.text("name").trim(), form.text("description").trim());
    let owner = namespace(&visit, form.text("namespace")).await?;
    let refusal = match visit.app().create_repository(&owner, name, description, visibility).await {
        Ok(made) if form.text("then") == "autobuild" => return Ok(go(&format!("/{}/{}/autobuild/source", made.namespace, made.name))),
        Ok(made) => return Ok(go(&format!("/{}/{}?done=created", made.namespace, made.name))),
        Err(Error::Refused(refusal)) => refusal,
        Err(error) => return Err(error.into()),
    };
    let mut page = NewRepositoryPage {
        name: Field::new(name),
        description: Field::new(description),
        visibility,
        namespace: owner.account().name.to_string(),
        ..blank(&visit)
    };
    let field = if refusal.field.as_deref() == Some("description") { &mut page.description } else { &mut page.name };
    field.error = Some(sentence(&refusal.detail));
    Ok(show_refused(&page))
}

async fn namespace(visit: &Visit, name: &str) -> Result<NamespaceOwner, PageError> {
    let name: AccountName = name.parse().map_err(|_| Error::NotFound)?;
    Ok(visit.app().namespace(&visit.caller, &name, Scope::RepoAdmin).await?)
}
