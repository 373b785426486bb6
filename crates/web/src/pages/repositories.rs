//! Lists of repositories, a new one, and the search.

use axum::response::Response;
use slipway_app::store::repositories::Repository;
use slipway_app::store::{builds, links, repositories};
use slipway_app::{Error, NamespaceOwner};
use slipway_model::{AccountName, LinkState, RepositoryPath, Scope, Visibility};

use super::builds::row as build_row;
use super::error::{PageError, sentence};
use super::fields::{At, Fields, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::repository::source_view;
use super::view::form::Field;
use super::view::repositories::{NewRepositoryPage, RepositoryListPage, RepositoryRow};
use super::view::search::SearchPage;
use super::view::shell::{Area, Shell};

const PAGE: u32 = 30;
/// A filter looks at this many names; more are found by the search of a later version.
const FILTERED: u32 = 1000;

/// `/`: the person's own namespace.
pub(super) async fn home(visit: Visit, query: Query) -> Result<Response, PageError> {
    let owner = visit.own(Scope::RepoRead)?;
    page(visit, &owner, query.0).await
}

/// `/{ns}`.
pub(super) async fn list(visit: Visit, At(ns): At<AccountName>, query: Query) -> Result<Response, PageError> {
    let owner = visit.app().namespace(&visit.caller, &ns, Scope::RepoRead)?;
    page(visit, &owner, query.0).await
}

async fn page(visit: Visit, owner: &NamespaceOwner, query: Fields) -> Result<Response, PageError> {
    let (wanted, after) = (query.text("q").trim().to_lowercase(), query.filled("cursor"));
    let mut found = match wanted.is_empty() {
        true => visit.app().list_repositories(owner, after, PAGE + 1).await?,
        false => named(visit.app().list_repositories(owner, None, FILTERED).await?, &wanted),
    };
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more && wanted.is_empty()).map(|last| last.name.to_string());
    let works = visit.app().list_links(owner).await?.iter().any(|link| link.state == LinkState::Ok);
    let rows = rows(&visit, &found).await?;
    let shell = Shell { namespace: owner.account().name.to_string(), ..visit.shell(Area::Repositories) };
    let link = if works { LinkState::Ok } else { LinkState::NotLinked };
    Ok(show(&RepositoryListPage { shell, query: query.text("q").chars().take(100).collect(), rows, link, next }))
}

fn named(mut all: Vec<Repository>, wanted: &str) -> Vec<Repository> {
    all.retain(|repository| {
        repository.name.as_str().contains(wanted) || format!("{}/{}", repository.namespace, repository.name).contains(wanted)
    });
    all
}

/// Rows with source and last build, read in one transaction. The repositories are the caller's to see already.
async fn rows(visit: &Visit, found: &[Repository]) -> Result<Vec<RepositoryRow>, PageError> {
    let mut tx = visit.app().db().read().await?;
    let mut rows = Vec::with_capacity(found.len());
    for repository in found {
        let path = RepositoryPath { namespace: repository.namespace.clone(), name: repository.name.clone() };
        let source = match repositories::get_autobuild(&mut tx, repository.id).await? {
            Some(autobuild) => {
                let link = links::get(&mut tx, repository.account, &autobuild.provider).await?;
                source_view(visit.app(), &autobuild.provider, &autobuild.source_name, link.map(|link| link.state))
            }
            None => None,
        };
        let last = builds::list(&mut tx, repository.id, None, None, 1).await?.pop();
        rows.push(RepositoryRow {
            description: repository.description.clone(),
            visibility: repository.visibility,
            source,
            last_build: last.map(|build| build_row(&path, &build)),
            path: path.to_string(),
        });
    }
    Ok(rows)
}

/// `/search?q=`.
pub(super) async fn search(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    let wanted = query.text("q").trim().to_lowercase();
    let found = match wanted.is_empty() {
        true => Vec::new(),
        false => {
            let mut found = named(visit.app().list_repositories(&visit.own(Scope::RepoRead)?, None, FILTERED).await?, &wanted);
            found.truncate(50);
            found
        }
    };
    let rows = rows(&visit, &found).await?;
    Ok(show(&SearchPage { shell: visit.shell(Area::Elsewhere), query: query.text("q").chars().take(100).collect(), rows }))
}

/// `GET /repositories/new`.
pub(super) async fn new(visit: Visit) -> Response {
    show(&blank(&visit))
}

fn blank(visit: &Visit) -> NewRepositoryPage {
    let shell = visit.shell(Area::Repositories);
    NewRepositoryPage {
        namespaces: shell.namespaces.clone(),
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
    let refusal = match namespace(&visit, form.text("namespace")) {
        Ok(owner) => match visit.app().create_repository(&owner, name, description, visibility).await {
            Ok(made) if form.text("then") == "autobuild" => return Ok(go(&format!("/{}/{}/autobuild/source", made.namespace, made.name))),
            Ok(made) => return Ok(go(&format!("/{}/{}?done=created", made.namespace, made.name))),
            Err(Error::Refused(refusal)) => refusal,
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error),
    };
    let mut page = NewRepositoryPage { name: Field::new(name), description: Field::new(description), visibility, ..blank(&visit) };
    let field = if refusal.field.as_deref() == Some("description") { &mut page.description } else { &mut page.name };
    field.error = Some(sentence(&refusal.detail));
    Ok(show_refused(&page))
}

fn namespace(visit: &Visit, name: &str) -> Result<NamespaceOwner, PageError> {
    let name: AccountName = name.parse().map_err(|_| Error::NotFound)?;
    Ok(visit.app().namespace(&visit.caller, &name, Scope::RepoAdmin)?)
}
