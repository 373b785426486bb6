//! Repositories: create, list, change, delete, and their tags.

use slipway_model::{RepositoryName, Visibility};
use slipway_store::repositories::{self, Repository};
use slipway_store::{StoreError, hooks};

use crate::{App, Caller, Error, NamespaceOwner, Refusal, RefusalKind, RepositoryAdmin, RepositoryOwner};

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
        tx.commit().await?;
        Ok(repository)
    }

    /// A page of the namespace's repositories by name. The caller holds the namespace.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_repositories(&self, owner: &NamespaceOwner, after: Option<&str>, limit: u32) -> Result<Vec<Repository>, Error> {
        let mut tx = self.read().await?;
        Ok(repositories::list(&mut tx, owner.account().id, after, limit).await?)
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
        let description = description.unwrap_or(&before.description);
        check_description(description)?;
        let mut tx = self.write().await?;
        repositories::update(&mut tx, before.id, description, visibility.unwrap_or(before.visibility)).await?;
        let repository = repositories::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
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
        let running = slipway_store::builds::list(&mut tx, repository.id, Some(slipway_model::BuildState::Running), None, 1).await?;
        if let Some(build) = running.first() {
            let refusal =
                Refusal::new(RefusalKind::Conflict, "build_running", format!("build #{} of this repository is running", build.number));
            return Err(refusal.hint("cancel it or wait for its end, then delete the repository").into());
        }
        if let Some(autobuild) = repositories::get_autobuild(&mut tx, repository.id).await?
            && let Some(hook) = hooks::get_by_autobuild(&mut tx, autobuild.id).await?
        {
            hooks::set_unwanted(&mut tx, hook.id, now).await?;
        }
        repositories::delete(&mut tx, repository.id).await?;
        tx.commit().await?;
        self.wake.hooks.notify_one();
        Ok(())
    }

    /// The namespace of the caller's own account.
    #[must_use]
    pub fn own_namespace(&self, caller: &Caller) -> Option<NamespaceOwner> {
        self.namespace(caller, &caller.account().name, slipway_model::Scope::RepoRead).ok()
    }
}
