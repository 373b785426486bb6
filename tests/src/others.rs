//! Bitbucket Cloud (a fake) and Gitea (the real one) beside the fake GitHub, and the three as one thing: a provider at which a person
//! approves, pushes and looks.
//! Invariant: the person [`AUTHOR`] stands at each, with a namespace of the same name.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_testkit::bitbucket::{Consumer, FakeBitbucket, WorkspaceRole};
use slipway_testkit::gitea::{Bent, Contents, Gitea, RefreshTokens, Settings, Ssh, SshEndpoint};
use slipway_testkit::github::{OAuthApp, Visibility};

use crate::{AUTHOR, Client, DeployKeys, TestApp, setup};

/// What the consumer at Bitbucket may.
const SCOPES: &[&str] = &["account", "pullrequest", "repository", "repository:admin", "webhook"];

/// Requests an hour that no test comes near: with intervals of seconds the providers' own numbers are used up in a minute.
pub(crate) const MANY: u64 = 1_000_000;

/// The other providers.
pub struct Others {
    /// The fake Bitbucket Cloud.
    pub bitbucket: FakeBitbucket,
    /// Slipway's OAuth consumer there.
    pub consumer: Consumer,
    /// The real Gitea. Its refresh tokens are good once.
    pub gitea: Gitea,
    /// What stands between Slipway and it.
    pub bent: Bent,
    /// Slipway's application there.
    pub gitea_app: OAuthApp,
}

/// A repository's webhook as its provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookThere {
    /// The provider's id.
    pub id: String,
    /// Where deliveries go.
    pub url: String,
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    /// The fake GitHub.
    GitHub,
    /// The fake Bitbucket Cloud.
    Bitbucket,
    /// The real Gitea.
    Gitea,
}

impl Others {
    /// Starts both, with [`AUTHOR`] and an application for the site.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start(site: &str, deploy_keys: DeployKeys) -> Result<Self> {
        let bitbucket = FakeBitbucket::start().await?;
        bitbucket.add_user(AUTHOR);
        bitbucket.set_hourly_limit(AUTHOR, usize::try_from(MANY)?);
        let consumer = bitbucket.add_consumer("Slipway", &format!("{site}/oauth/bitbucket/callback"), SCOPES)?;
        let ssh = if deploy_keys == DeployKeys::Made { Ssh::On } else { Ssh::Off };
        let gitea = Gitea::start_with(Settings { refresh_tokens: RefreshTokens::Rotating, ssh, ..Settings::default() }).await?;
        gitea.user(AUTHOR).await?;
        let gitea_app = gitea.oauth_app("Slipway", &format!("{site}/oauth/gitea/callback")).await?;
        let bent = Bent::before(gitea.web_url()).await?;
        Ok(Self { bitbucket, consumer, gitea, bent, gitea_app })
    }

    pub(crate) fn configuration(&self, deploy_keys: DeployKeys) -> String {
        let Self { bitbucket, consumer, gitea, bent, gitea_app } = self;
        let at_bitbucket =
            setup::provider("bitbucket", "bitbucket", bitbucket.web_url(), bitbucket.api_url(), &consumer.key, &consumer.secret);
        let api_url = format!("{}/api/v1", bent.origin());
        let at_gitea = setup::provider("gitea", "gitea", bent.origin(), &api_url, &gitea_app.client_id, &gitea_app.client_secret);
        let ssh = gitea.ssh().map(|SshEndpoint { user, host, port, host_key }| {
            format!("ssh_url = \"ssh://{user}@{host}:{port}\"\nssh_host_keys = [\"{host_key}\"]\n")
        });
        at_bitbucket + setup::ssh(deploy_keys) + &at_gitea + &ssh.unwrap_or_default()
    }
}

impl Forge {
    /// All three.
    pub const ALL: [Self; 3] = [Self::GitHub, Self::Bitbucket, Self::Gitea];

    /// Its id in the configuration.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Bitbucket => "bitbucket",
            Self::Gitea => "gitea",
        }
    }

    /// What Slipway asks for by default.
    #[must_use]
    pub fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &["read:org", "repo"],
            Self::Bitbucket => SCOPES,
            Self::Gitea => &["read:organization", "read:user", "write:repository"],
        }
    }

    fn others(self, app: &TestApp) -> Result<&Others> {
        app.others.as_ref().with_context(|| format!("the test wished for {self:?}"))
    }

    /// Where it stands.
    ///
    /// # Errors
    /// When the test did not wish for it.
    pub fn web_url(self, app: &TestApp) -> Result<String> {
        Ok(match self {
            Self::GitHub => app.github.web_url().to_owned(),
            Self::Bitbucket => self.others(app)?.bitbucket.web_url().to_owned(),
            Self::Gitea => self.others(app)?.bent.origin().to_owned(),
        })
    }

    /// Opens an authorization address as a person with a browser and approves; gives where the browser is sent back to.
    ///
    /// # Errors
    /// When a page refuses.
    pub async fn approve(self, app: &TestApp, authorize_url: &str, login: &str) -> Result<String> {
        match self {
            Self::GitHub => app.github.approve_oauth(authorize_url, login).await,
            Self::Bitbucket => self.others(app)?.bitbucket.approve_oauth(authorize_url, login).await,
            Self::Gitea => self.others(app)?.gitea.approve_oauth(authorize_url, login).await,
        }
    }

    /// Begins to link a namespace and gives the address at the provider.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn connect(self, api: &Client, namespace: &str) -> Result<String> {
        let begun = api.post(&format!("/namespaces/{namespace}/links/{}/connect", self.id()), &json!({})).await?;
        Ok(begun["authorize_url"].as_str().context("an address to authorize at")?.to_owned())
    }

    /// Links a namespace through the whole flow.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn link(self, app: &TestApp, api: &Client, namespace: &str, login: &str) -> Result<Value> {
        let back = self.approve(app, &self.connect(api, namespace).await?, login).await?;
        api.open(&back).await?.json()
    }

    /// The link of a namespace as it is shown; its state is `not_linked` when there is none.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn seen(self, api: &Client, namespace: &str) -> Result<Value> {
        let links = api.items(&format!("/namespaces/{namespace}/links")).await?;
        links.into_iter().find(|link| link["provider"] == self.id()).context("every provider has an entry")
    }

    /// Makes a repository that is built from a source by the default rule (`main` becomes `latest`), and waits for its webhook.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn build_from(self, app: &TestApp, api: &Client, namespace: &str, name: &str, source: &str) -> Result<()> {
        api.post(&format!("/repositories/{namespace}"), &json!({ "name": name, "visibility": "private" })).await?;
        let at = format!("/repositories/{namespace}/{name}/autobuild");
        let body = json!({ "provider": self.id(), "source": source, "autotest": "off", "rules": [] });
        api.put(&at, &body).await.with_context(|| format!("a source at {self:?}"))?;
        let stands = async || Ok((api.get(&at).await?["hook"]["standing"] == true).then_some(()));
        app.wait_for("the webhook to stand", stands).await?;
        self.settle(app).await
    }

    /// Waits until the webhooks that were begun have been answered, where the provider tells.
    ///
    /// # Errors
    /// When the test did not wish for the provider.
    pub async fn settle(self, app: &TestApp) -> Result<()> {
        match self {
            Self::GitHub => app.github.settle().await,
            Self::Bitbucket => self.others(app)?.bitbucket.settle().await,
            Self::Gitea => {}
        }
        Ok(())
    }

    /// An organization that belongs to [`AUTHOR`].
    ///
    /// # Errors
    /// When it is refused.
    pub async fn organization(self, app: &TestApp, name: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.organization(name, &[(AUTHOR, slipway_testkit::github::OrgRole::Admin)]),
            Self::Bitbucket => drop(self.others(app)?.bitbucket.add_workspace(name, &[(AUTHOR, WorkspaceRole::Owner)])),
            Self::Gitea => drop(self.others(app)?.gitea.organization(name, AUTHOR, Visibility::Private).await?),
        }
        Ok(())
    }

    /// An empty private repository.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn repository(self, app: &TestApp, full_name: &str) -> Result<()> {
        match self {
            Self::GitHub => drop(app.github.repository(full_name, Visibility::Private).await?),
            Self::Bitbucket => drop(self.others(app)?.bitbucket.add_repository(full_name, Visibility::Private)),
            Self::Gitea => drop(self.others(app)?.gitea.repository(full_name, Visibility::Private, Contents::Empty).await?),
        }
        Ok(())
    }

    /// Commits to a branch, which tells the webhook.
    ///
    /// # Errors
    /// When git refuses.
    pub async fn push(self, app: &TestApp, full_name: &str, branch: &str, files: &[(&str, &str)]) -> Result<String> {
        let commit = match self {
            Self::GitHub => app.github.commit(full_name, branch, files, "A change").await?,
            Self::Bitbucket => self.others(app)?.bitbucket.push(full_name, branch, files, "A change").await?,
            Self::Gitea => self.others(app)?.gitea.commit(full_name, branch, files, "A change").await?,
        };
        self.settle(app).await?;
        Ok(commit)
    }

    /// The webhooks of a repository.
    ///
    /// # Errors
    /// When the provider does not tell.
    pub async fn hooks(self, app: &TestApp, full_name: &str) -> Result<Vec<HookThere>> {
        Ok(match self {
            Self::GitHub => {
                app.github.hooks(full_name).into_iter().map(|hook| HookThere { id: hook.id.to_string(), url: hook.url }).collect()
            }
            Self::Bitbucket => {
                let hooks = self.others(app)?.bitbucket.hooks(full_name);
                hooks.into_iter().map(|hook| HookThere { id: hook.uuid, url: hook.url }).collect()
            }
            Self::Gitea => {
                let hooks = self.others(app)?.gitea.hooks(full_name).await?;
                let hook = |one: Value| {
                    let url = one["config"]["url"].as_str().unwrap_or_default().to_owned();
                    HookThere { id: one["id"].to_string(), url }
                };
                hooks.into_iter().map(hook).collect()
            }
        })
    }

    /// Deletes a repository; the name is free again.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn delete_repository(self, app: &TestApp, full_name: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.delete_repository(full_name),
            Self::Bitbucket => self.others(app)?.bitbucket.delete_repository(full_name),
            Self::Gitea => self.others(app)?.gitea.delete_repository(full_name).await?,
        }
        Ok(())
    }

    /// Gives a repository another name.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn rename(self, app: &TestApp, full_name: &str, name: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.rename_repository(full_name, name),
            Self::Bitbucket => self.others(app)?.bitbucket.rename_repository(full_name, name),
            Self::Gitea => self.others(app)?.gitea.rename_repository(full_name, name).await?,
        }
        Ok(())
    }

    /// Gives a repository to another owner.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn transfer(self, app: &TestApp, full_name: &str, owner: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.transfer_repository(full_name, owner),
            Self::Bitbucket => self.others(app)?.bitbucket.transfer_repository(full_name, owner),
            Self::Gitea => self.others(app)?.gitea.transfer_repository(full_name, owner).await?,
        }
        Ok(())
    }

    /// Shows a repository to everybody.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn publish(self, app: &TestApp, full_name: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.set_visibility(full_name, Visibility::Public),
            Self::Bitbucket => self.others(app)?.bitbucket.set_visibility(full_name, Visibility::Public),
            Self::Gitea => self.others(app)?.gitea.set_visibility(full_name, Visibility::Public).await?,
        }
        Ok(())
    }

    /// Makes another branch the default one.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn set_default_branch(self, app: &TestApp, full_name: &str, branch: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.set_default_branch(full_name, branch).await?,
            Self::Bitbucket => self.others(app)?.bitbucket.set_main_branch(full_name, branch),
            Self::Gitea => self.others(app)?.gitea.set_default_branch(full_name, branch).await?,
        }
        Ok(())
    }

    /// The person takes the whole grant back, on the provider's pages.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn revoke(self, app: &TestApp, login: &str) -> Result<()> {
        match self {
            Self::GitHub => app.github.revoke_grant(login, &app.oauth.client_id),
            Self::Bitbucket => {
                let others = self.others(app)?;
                others.bitbucket.revoke_grant(login, &others.consumer.key);
            }
            Self::Gitea => {
                let others = self.others(app)?;
                others.gitea.revoke_grant(login, &others.gitea_app.client_id).await?;
            }
        }
        Ok(())
    }

    /// Whether the person still lets us in, as the provider's pages show it.
    ///
    /// # Errors
    /// When the provider does not tell.
    pub async fn has_grant(self, app: &TestApp, login: &str) -> Result<bool> {
        Ok(match self {
            Self::GitHub => !app.github.oauth_tokens(login, &app.oauth.client_id).is_empty(),
            Self::Bitbucket => {
                let others = self.others(app)?;
                others.bitbucket.has_grant(login, &others.consumer.key)
            }
            Self::Gitea => self.others(app)?.gitea.granted_applications(login).await?.contains(&"Slipway".to_owned()),
        })
    }
}
