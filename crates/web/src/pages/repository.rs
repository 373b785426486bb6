//! The pages of one repository that are not about building: general, tags, settings.

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::{accounts, builds, images};
use slipway_app::{App, AutobuildSettings, BuildsWanted, Caller, Error, SourceState};
use slipway_forge::SourceKey;
use slipway_model::{AccountName, LinkState, ProviderId, RepositoryName, RepositoryPath, SourceType, Visibility};

use super::anybody::Anybody;
use super::builds::row as build_row;
use super::error::{PageError, sentence};
use super::external;
use super::fields::{At, Form, Query};
use super::frame::{RepositoryAt, Rights, Visit, go, show, show_refused};
use super::view::form::Field;
use super::view::repositories::{GeneralPage, May, RepositoryHead, RepositorySettingsPage, SourceView, Tab, TagRow, TagsPage};
use super::view::shell::{Area, Layout, Shell};
use super::webhook::trouble;
use crate::error::Code;

const LATEST: u32 = 6;
const TAGS: u32 = 30;

/// A source as the pages show it; `None` when its provider is no longer configured.
pub(super) fn source_view(app: &App, provider: &ProviderId, key: SourceKey<'_>, link: Option<LinkState>) -> Option<SourceView> {
    let SourceKey { id, full_name } = key;
    let configured = app.provider(provider)?.provider();
    Some(SourceView {
        provider: provider.to_string(),
        kind: configured.kind,
        full_name: full_name.to_owned(),
        id: id.to_owned(),
        url: Some(format!("{}/{full_name}", configured.web_url.as_str().trim_end_matches('/'))),
        link: link.unwrap_or(LinkState::NotLinked),
    })
}

/// What each page of a repository begins with.
pub(super) struct Opened {
    pub(super) rights: Rights,
    pub(super) head: RepositoryHead,
    pub(super) autobuild: Option<AutobuildSettings>,
    pub(super) source_state: Option<SourceState>,
    pub(super) path: RepositoryPath,
    pub(super) shell: Shell,
}

impl Opened {
    /// The branch of the first rule that names one literally: what the empty states suggest to push to.
    pub(super) fn watched(&self) -> Option<String> {
        let rules = &self.autobuild.as_ref()?.rules;
        let rule = rules.iter().find(|rule| rule.autobuild && rule.source_type == SourceType::Branch && !rule.source.is_regex())?;
        Some(rule.source.as_str().to_owned())
    }

    /// How it came that another link serves the source than before, as a sentence.
    pub(super) fn takeover(&self) -> Option<String> {
        self.source_state.as_ref()?.takeover.as_deref().map(sentence)
    }

    /// `/namespace/name`.
    pub(super) fn base(&self) -> String {
        self.head.base()
    }
}

/// Authorises and reads what the head of a repository's page shows.
pub(super) async fn open(visit: &Visit, at: &RepositoryAt, tab: Tab) -> Result<Opened, PageError> {
    open_as(visit.app(), Some(&visit.caller), visit.shell(Area::Repositories), at, tab).await
}

async fn open_as(app: &App, caller: Option<&Caller>, shell: Shell, at: &RepositoryAt, tab: Tab) -> Result<Opened, PageError> {
    let rights = Rights::of(app, caller, at).await?;
    let repository = rights.view.repository().clone();
    let (autobuild, source_state) = match rights.reads() {
        Some(read) => (app.get_autobuild(read).await?, app.get_source_state(read).await?),
        None => (None, None),
    };
    let source = match &autobuild {
        Some(settings) => {
            let key = SourceKey { id: &settings.source_id, full_name: &settings.source };
            source_view(app, &settings.provider, key, source_state.as_ref().map(|state| state.link))
        }
        None => None,
    };
    let path = RepositoryPath { namespace: repository.namespace, name: repository.name };
    let may = rights.may();
    let providers = (may == May::Owner).then(|| shell.providers());
    let notices = source_state.as_ref().map(|state| trouble(state, providers.as_deref(), path.namespace.as_str())).unwrap_or_default();
    let head = RepositoryHead {
        namespace: path.namespace.to_string(),
        name: path.name.to_string(),
        visibility: repository.visibility,
        source,
        tab,
        may,
        providers,
        notices,
    };
    Ok(Opened { shell, rights, head, autobuild, source_state, path })
}

/// A page that strangers may see when the repository is public.
async fn open_to_anybody(who: &Anybody, at: &RepositoryAt, tab: Tab) -> Result<Opened, PageError> {
    let shell = Shell { area: Area::Repositories, layout: Layout::Framed, ..who.shell.clone() };
    open_as(who.state.app(), who.caller(), shell, at, tab).await
}

/// Leads a stranger to sign in where there is nothing to see without; that is the same whether it is there or not.
pub(super) fn or_sign_in(who: &Anybody, error: PageError) -> Result<Response, PageError> {
    match who.visit {
        None if error.0.code == Code::NotFound => Ok(go(&who.shell.sign_in())),
        _ => Err(error),
    }
}

fn pull(app: &App, path: &RepositoryPath) -> String {
    format!("docker pull {}/{path}", app.registry_host())
}

/// `/{ns}/{name}`.
pub(super) async fn general(who: Anybody, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let opened = match open_to_anybody(&who, &at, Tab::General).await {
        Ok(opened) => opened,
        Err(error) => return or_sign_in(&who, error),
    };
    let app = who.state.app();
    let tags = tag_rows(app, &opened, None, LATEST).await?;
    let builds = match opened.rights.reads() {
        Some(read) => app
            .list_builds(read, &BuildsWanted::default(), None, LATEST)
            .await?
            .iter()
            .map(|build| build_row(&opened.path, build))
            .collect(),
        None => Vec::new(),
    };
    Ok(show(&GeneralPage {
        description: opened.rights.view.repository().description.clone(),
        pull: pull(app, &opened.path),
        login: format!("docker login {}", app.registry_host()),
        tags,
        builds,
        watched: opened.watched(),
        takeover: opened.takeover(),
        shell: opened.shell,
        head: opened.head,
    }))
}

async fn tag_rows(app: &App, opened: &Opened, after: Option<&str>, limit: u32) -> Result<Vec<TagRow>, Error> {
    let repository = opened.rights.view.repository().id;
    let mut tx = app.db().read().await?;
    let mut rows = Vec::new();
    for tag in images::list_tags(&mut tx, repository, after, limit).await? {
        let build = match &tag.origin {
            Some(origin) => builds::get(&mut tx, repository, origin.build).await?,
            None => None,
        };
        let size = images::get_manifest(&mut tx, repository, &tag.digest).await?.and_then(|manifest| image_size(&manifest.content));
        let moved_by = match tag.moved_by {
            Some(person) => accounts::get(&mut tx, person).await?.map(|person| person.name.to_string()),
            None => None,
        };
        let external = match opened.rights.reads() {
            Some(_) => app.external_tag(&mut tx, repository, tag.name.as_str()).await?.filter(|there| there.digest == tag.digest),
            None => None,
        };
        rows.push(TagRow {
            external: external.map(|there| external::row(&there, opened.shell.now)),
            moved_by,
            pull: format!("{}:{}", pull(app, &opened.path), tag.name),
            name: tag.name.to_string(),
            digest: tag.digest,
            size,
            updated_at: tag.updated_at,
            build: build.map(|build| (format!("#{}", build.number), format!("{}/builds/{}", opened.base(), build.number))),
        });
    }
    Ok(rows)
}

/// Bytes of layers and configuration; `None` for an index, whose images have sizes of their own.
fn image_size(manifest: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Part {
        size: u64,
    }
    #[derive(Deserialize)]
    struct Manifest {
        config: Part,
        layers: Vec<Part>,
    }
    let manifest: Manifest = serde_json::from_slice(manifest).ok()?;
    manifest.layers.iter().try_fold(manifest.config.size, |sum, layer| sum.checked_add(layer.size))
}

/// `/{ns}/{name}/tags`.
pub(super) async fn tags(who: Anybody, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = match open_to_anybody(&who, &at, Tab::Tags).await {
        Ok(opened) => opened,
        Err(error) => return or_sign_in(&who, error),
    };
    let mut tags = tag_rows(who.state.app(), &opened, query.filled("cursor"), TAGS + 1).await?;
    let more = tags.len() > TAGS as usize;
    tags.truncate(TAGS as usize);
    let next = tags.last().filter(|_| more).map(|last| last.name.clone());
    Ok(show(&TagsPage { shell: opened.shell, head: opened.head, tags, next }))
}

/// A tag's address.
#[derive(Debug, Deserialize)]
pub(super) struct TagAt {
    ns: AccountName,
    name: RepositoryName,
    tag: String,
}

/// `POST /{ns}/{name}/tags/{tag}/delete`.
pub(super) async fn delete_tag(visit: Visit, At(which): At<TagAt>) -> Result<Response, PageError> {
    let right = visit.app().repository_push(&visit.caller, &which.ns, &which.name).await?;
    visit.app().delete_tag(&right, &which.tag).await?;
    Ok(go(&format!("/{}/{}/tags?done=tag-deleted", which.ns, which.name)))
}

/// `POST /{ns}/{name}/tags/{tag}/move`: to the image of a build, by its number.
pub(super) async fn move_tag(visit: Visit, At(which): At<TagAt>, Form(form): Form) -> Result<Response, PageError> {
    let right = visit.app().repository_admin(&visit.caller, &which.ns, &which.name).await?;
    let tag = which.tag.parse().map_err(|_| Error::NotFound)?;
    visit.app().roll_back(&right, &tag, form.text("build").trim()).await?;
    Ok(go(&format!("/{}/{}/tags?done=tag-moved", which.ns, which.name)))
}

async fn settings_page(visit: &Visit, at: &RepositoryAt) -> Result<(Opened, RepositorySettingsPage), PageError> {
    let opened = open(visit, at, Tab::Settings).await?;
    let repository = opened.rights.admin()?.repository();
    let mut tx = visit.app().db().read().await?;
    let tags = images::list_tags(&mut tx, repository.id, None, 10_000).await?.len();
    let page = RepositorySettingsPage {
        shell: opened.shell.clone(),
        head: opened.head.clone(),
        description: Field::new(&repository.description),
        visibility: repository.visibility,
        confirm: Field::default(),
        tags,
    };
    Ok((opened, page))
}

/// `GET /{ns}/{name}/settings`.
pub(super) async fn settings(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    Ok(show(&settings_page(&visit, &at).await?.1))
}

/// `POST /{ns}/{name}/settings`.
pub(super) async fn change(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let (opened, mut page) = settings_page(&visit, &at).await?;
    let visibility: Option<Visibility> = form.text("visibility").parse().ok();
    match visit.app().update_repository(opened.rights.admin()?, Some(form.text("description").trim()), visibility).await {
        Ok(_) => Ok(go(&format!("{}/settings?done=saved", opened.base()))),
        Err(Error::Refused(refusal)) => {
            page.description = Field::refused(form.text("description"), sentence(&refusal.detail));
            page.visibility = visibility.unwrap_or(page.visibility);
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /{ns}/{name}/delete`: only with the name typed.
pub(super) async fn delete(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let (opened, mut page) = settings_page(&visit, &at).await?;
    let owner = opened.rights.owner()?;
    let typed = form.text("confirm").trim();
    if typed != opened.path.to_string() {
        page.confirm = Field::refused(typed, format!("That is not the name of this repository, expected {}.", opened.path));
        return Ok(show_refused(&page));
    }
    match visit.app().delete_repository(owner).await {
        Ok(()) => Ok(go(&format!("/{}?done=deleted", opened.path.namespace))),
        Err(Error::Refused(refusal)) => {
            page.confirm = Field::refused(typed, sentence(&refusal.detail));
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::image_size;

    #[test]
    fn the_size_of_an_image_is_that_of_its_parts() {
        assert_eq!(image_size(br#"{"config":{"size":10},"layers":[{"size":100},{"size":1000}]}"#), Some(1110));
        assert_eq!(image_size(br#"{"manifests":[]}"#), None);
        assert_eq!(image_size(br#"{"config":{"size":18446744073709551615},"layers":[{"size":1}]}"#), None);
    }
}
