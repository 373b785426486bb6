//! Repositories: create, list, change, delete, and their tags.

use serde_json::json;
use slipway_model::{BuildId, RepositoryName, Scope, Visibility};
use slipway_store::builds::BuildFilter;
use slipway_store::repositories::{self, Repository};
use slipway_store::{StoreError, builds, hooks, images};

use crate::audit::{self, Change, Place};
use crate::{App, Caller, Error, NamespaceOwner, NamespaceView, Refusal, RefusalKind, RepositoryAdmin, RepositoryOwner, RepositoryWrite};

const DESCRIPTION_CHARACTERS: usize = 2000;

fn check_description(text: &str) -> Result<(), Error> {
    let length = text.chars().count();
    if length > DESCRIPTION_CHARACTERS {
        return Err(Error::invalid(
            "description",
            "description",
            format!("the description has {length} characters, at most {DESCRIPTION_CHARACTERS} are accepted"),
        ));
    }
    if text.contains('\0') {
        return Err(Error::invalid("description", "description", "the description has a NUL character"));
    }
    Ok(())
}

impl App {
    /// Makes a repository in the namespace.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn create_repository(
        &self,
        owner: &NamespaceOwner,
        name: &str,
        description: &str,
        visibility: Visibility,
    ) -> Result<Repository, Error> {
        let name: RepositoryName =
            name.parse().map_err(|error: slipway_model::InvalidName| Error::invalid("name", "name", error.to_string()))?;
        check_description(description)?;
        let mut tx = self.write().await?;
        let id = match repositories::insert(&mut tx, owner.account().id, &name, description, visibility, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => {
                let refusal = Refusal::new(
                    RefusalKind::Conflict,
                    "name_taken",
                    format!("there is a repository `{}/{name}` already", owner.account().name),
                );
                return Err(refusal.field("name").into());
            }
            other => other?,
        };
        let repository = repositories::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("repository.create", name.as_str()).now(json!({"visibility": visibility, "description": description}));
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Account(owner.account()), change).await?;
        tx.commit().await?;
        Ok(repository)
    }

    /// A page of the namespace's repositories that the view shows, by name.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_repositories(&self, view: &NamespaceView, after: Option<&str>, limit: u32) -> Result<Vec<Repository>, Error> {
        let mut tx = self.read().await?;
        Ok(repositories::list(&mut tx, view.account().id, view.eyes(), after, limit).await?)
    }

    /// Repositories of every namespace whose path contains the text: those that the caller has a right over, and public ones. By path.
    ///
    /// # Errors
    /// A missing scope, a limited token.
    pub async fn search_repositories(&self, caller: &Caller, text: &str, limit: u32) -> Result<Vec<Repository>, Error> {
        caller.demand(Scope::RepoRead)?;
        caller.demand_unlimited()?;
        let text: String = text.chars().take(200).collect();
        let mut tx = self.read().await?;
        Ok(repositories::search(&mut tx, caller.account().id, &text.to_lowercase(), limit).await?)
    }

    /// Changes what people see of a repository; `None` leaves a field.
    ///
    /// # Errors
    /// A refusal.
    pub async fn update_repository(
        &self,
        right: &RepositoryAdmin,
        description: Option<&str>,
        visibility: Option<Visibility>,
    ) -> Result<Repository, Error> {
        let before = right.repository();
        description.map_or(Ok(()), check_description)?;
        let mut tx = self.write().await?;
        repositories::update(&mut tx, before.id, description, visibility).await?;
        let repository = repositories::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("repository.change", before.name.as_str())
            .old(json!({"visibility": before.visibility, "description": before.description}))
            .now(json!({"visibility": repository.visibility, "description": repository.description}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(before), change).await?;
        tx.commit().await?;
        Ok(repository)
    }

    /// Deletes a repository with its images, rules, builds and deliveries. Its webhook goes too; the source and the link stay.
    ///
    /// # Errors
    /// A refusal while a build of it runs.
    pub async fn delete_repository(&self, right: &RepositoryOwner) -> Result<(), Error> {
        let repository = right.repository();
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let running = BuildFilter { state: Some(slipway_model::BuildState::Running), ..BuildFilter::default() };
        let running = builds::list(&mut tx, repository.id, &running, None, 1).await?;
        if let Some(build) = running.first() {
            let refusal =
                Refusal::new(RefusalKind::Conflict, "build_running", format!("build #{} of this repository is running", build.number));
            return Err(refusal.hint("cancel it or wait for its end, then delete the repository").into());
        }
        let autobuild = repositories::get_autobuild(&mut tx, repository.id).await?;
        if let Some(autobuild) = &autobuild
            && let Some(hook) = hooks::get_by_autobuild(&mut tx, autobuild.id).await?
        {
            hooks::set_unwanted(&mut tx, hook.id, now).await?;
        }
        repositories::delete(&mut tx, repository.id).await?;
        if let Some(autobuild) = &autobuild {
            self.release_deploy_key(&mut tx, repository.account, &autobuild.provider, &autobuild.source_id).await?;
        }
        let change = Change::new("repository.delete", repository.name.as_str()).old(json!({"visibility": repository.visibility}));
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.wake.hooks.notify_one();
        self.wake.keys.notify_one();
        Ok(())
    }

    /// Deletes a build that has ended, with its steps and log. Its image and tags stay.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a refusal while it has not ended.
    pub async fn delete_build(&self, right: &RepositoryOwner, id: BuildId) -> Result<(), Error> {
        let repository = right.repository();
        let mut tx = self.write().await?;
        let build = builds::get(&mut tx, repository.id, id).await?.ok_or(Error::NotFound)?;
        if !builds::delete(&mut tx, repository.id, id).await? {
            return Err(Error::conflict(
                "build_not_ended",
                format!("build #{} is {}; it can be deleted when it has ended", build.number, build.state),
            ));
        }
        let change = Change::new("build.delete", format!("{} #{}", repository.name, build.number)).old(json!({"state": build.state}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.build_changed(id);
        Ok(())
    }

    /// Deletes a tag; the image that it pointed to stays as long as something else names it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_tag(&self, right: &RepositoryWrite, tag: &str) -> Result<(), Error> {
        let repository = right.repository();
        let mut tx = self.write().await?;
        let digest = images::get_tag(&mut tx, repository.id, tag).await?.ok_or(Error::NotFound)?.digest;
        images::delete_tag(&mut tx, repository.id, tag).await?;
        let change = Change::new("tag.delete", format!("{}:{tag}", repository.name)).old(json!({"digest": digest}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        Ok(tx.commit().await?)
    }
}
