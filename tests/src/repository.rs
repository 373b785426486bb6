//! A repository `demo/NAME` that is built from `octo/NAME`, as its owner uses it.
//! Invariant: everything goes through the public API.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{AUTHOR, PERSON, TestApp};

/// A handle; cheap to make.
#[derive(Clone, Copy)]
pub struct Repository<'a> {
    app: &'a TestApp,
    name: &'a str,
}

impl<'a> Repository<'a> {
    /// The repository of that name, which should stand.
    #[must_use]
    pub fn new(app: &'a TestApp, name: &str) -> Self {
        // Names are literals of tests; a leak of a few bytes buys handles that outlive `&mut TestApp`.
        Self { app, name: String::leak(name.to_owned()) }
    }

    /// `demo/NAME`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{PERSON}/{}", self.name)
    }

    /// `octo/NAME` at the provider.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{AUTHOR}/{}", self.name)
    }

    /// Its address in the API, with `rest` behind it.
    #[must_use]
    pub fn at(&self, rest: &str) -> String {
        format!("/repositories/{}{rest}", self.path())
    }

    /// Writes source and rules and waits for the webhook.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn put_autobuild(&self, rules: Value) -> Result<Value> {
        let body = json!({ "provider": "github", "source": self.source(), "autotest": "off", "rules": rules });
        self.app.api.put(&self.at("/autobuild"), &body).await?;
        let settings = self.app.wait_for("the webhook to stand", || async {
            let settings = self.app.api.get(&self.at("/autobuild")).await?;
            Ok(Some(settings).filter(|settings| settings["hook"]["standing"] == true))
        });
        let settings = settings.await?;
        // The ping is a delivery of its own; tests count from behind it.
        self.app.github.settle().await;
        self.decided().await?;
        Ok(settings)
    }

    /// From now on no newer push cancels the waiting build of an older one.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn build_every_push(&self) -> Result<()> {
        let mut body = json!({ "cancel_superseded": false });
        let settings = self.settings().await?;
        for kept in ["provider", "source", "rules"] {
            body[kept] = settings[kept].clone();
        }
        self.app.api.put(&self.at("/autobuild"), &body).await?;
        Ok(())
    }

    /// Source, rules and variables as people saved them, without what loops find out about the source meanwhile.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn settings(&self) -> Result<Value> {
        let mut settings = self.app.api.get(&self.at("/autobuild")).await?;
        for found in ["hook", "deploy_key", "source_state"] {
            settings[found] = Value::Null;
        }
        Ok(settings)
    }

    /// The secret and address of its webhook, as the provider has them.
    ///
    /// # Errors
    /// When there is none.
    pub fn hook(&self) -> Result<(String, String)> {
        let hook = self.app.github.hooks(&self.source()).pop().context("the webhook stands at the provider")?;
        Ok((hook.url, hook.secret.context("it has a secret")?))
    }

    /// Commits files to a branch at the provider, which tells the webhook.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn push(&self, branch: &str, files: &[(&str, &str)]) -> Result<String> {
        let commit = self.app.github.commit(&self.source(), branch, files, "A change").await?;
        self.app.github.settle().await;
        Ok(commit)
    }

    /// Waits until every delivery is decided; gives all of them, newest first.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn decided(&self) -> Result<Vec<Value>> {
        self.app
            .wait_for("every delivery to be decided", || async {
                let all = self.app.api.items(&self.at("/deliveries")).await?;
                Ok(Some(all).filter(|all| all.iter().all(|delivery| !delivery["processed_at"].is_null())))
            })
            .await
    }

    /// The delivery of an event with this `after`, decided; `ref` tells several of one commit apart.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delivery_of(&self, reference: &str) -> Result<Value> {
        let all = self.decided().await?;
        let found =
            all.iter().find(|delivery| delivery["verdicts"].as_array().is_some_and(|all| all.iter().any(|one| one["ref"] == reference)));
        found.cloned().with_context(|| format!("no delivery tells of `{reference}`: {all:?}"))
    }

    /// All builds, newest first.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn builds(&self) -> Result<Vec<Value>> {
        self.app.api.items(&self.at("/builds")).await
    }

    /// One build by its id, without what a loop does for it meanwhile.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn build(&self, id: &str) -> Result<Value> {
        let mut build = self.app.api.get(&self.at(&format!("/builds/{id}"))).await?;
        build["commit_status"] = Value::Null;
        Ok(build)
    }

    /// The one build of a commit, once it was made.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub async fn build_of(&self, commit: &str) -> Result<Value> {
        self.decided().await?;
        let all = self.builds().await?;
        let mut found: Vec<Value> = all.into_iter().filter(|build| build["commit"] == commit).collect();
        ensure!(found.len() == 1, "{} builds of {commit}, expected one: {found:?}", found.len());
        Ok(found.remove(0))
    }

    /// Waits until a build is as wanted.
    ///
    /// # Errors
    /// With the build's last look, when it does not become so.
    pub async fn until(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (wanted, last) = (&wanted, &std::cell::RefCell::new(Value::Null));
        let waited = self.app.wait_for(what, || async move {
            let build = self.build(id).await?;
            let done = wanted(&build);
            last.replace(build.clone());
            Ok(done.then_some(build))
        });
        waited.await.with_context(|| format!("the build at last: {}", last.borrow()))
    }

    /// Waits for a build's end.
    ///
    /// # Errors
    /// When it ends otherwise than expected.
    pub async fn ended(&self, id: &str, expected: &str) -> Result<Value> {
        let build = self.until(id, "the build's end", |build| is_final(&build["state"])).await?;
        if build["state"] != expected {
            let log = self.log(id).await.unwrap_or_default();
            bail!("the build ended as {}, expected {expected}: {build}\nits log:\n{log}", build["state"]);
        }
        Ok(build)
    }

    /// A build's log as text.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn log(&self, id: &str) -> Result<String> {
        Ok(self.app.api.open(&format!("/api/v1{}", self.at(&format!("/builds/{id}/log")))).await?.text)
    }

    /// The digest of a tag, when it stands.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn tag(&self, name: &str) -> Result<Option<String>> {
        let tags = self.app.api.items(&self.at("/tags")).await?;
        Ok(tags.iter().find(|tag| tag["name"] == name).and_then(|tag| tag["digest"].as_str()).map(str::to_owned))
    }

    /// Names of all tags.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let tags = self.app.api.items(&self.at("/tags")).await?;
        Ok(tags.iter().filter_map(|tag| tag["name"].as_str()).map(str::to_owned).collect())
    }
}

/// Whether a build's state is one that never changes.
#[must_use]
pub fn is_final(state: &Value) -> bool {
    matches!(state.as_str(), Some("success" | "failed" | "cancelled"))
}

/// A text field that must be there.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}
