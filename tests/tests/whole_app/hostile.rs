//! A provider that answers wrongly: pages instead of JSON, errors that say 200, half an answer, pages without end, a way to somebody
//! else's host, silence; or that is down, or wants to be left alone. Each is told as what it is, breaks nothing, opens nothing, and no
//! token goes anywhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::gitea::{self, Hits};
use slipway_testkit::{github, wait};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Answer, Forge, PERSON, Repository, Setup, TestApp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Somebody else's host: it takes whatever is sent and keeps it.
struct Elsewhere {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Elsewhere {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 64 * 1024];
                // One read is enough: a credential stands in the first lines.
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..read]);
                // Whoever does not listen to the answer is no matter of ours.
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}").await.ok();
            }
        });
        Ok(Self { address, heard, server })
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How the provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Html,
    ErrorBody,
    Truncated,
    EndlessPages,
    Redirect,
    Silence,
    Limited,
    Down,
}

const ALL: [Wrong; 8] =
    [Wrong::Html, Wrong::ErrorBody, Wrong::Truncated, Wrong::EndlessPages, Wrong::Redirect, Wrong::Silence, Wrong::Limited, Wrong::Down];

/// How long a provider that was asked too often wants to be left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// After a provider's pause the reconciler waits for about a minute more.
const READ_AGAIN: Duration = Duration::from_secs(150);

impl Wrong {
    /// Makes everything below `prefix` go wrong: the API, or the exchange of codes.
    fn begin(self, app: &TestApp, forge: Forge, elsewhere: &Elsewhere, prefix: &str) {
        let Some(others) = app.others.as_ref().filter(|_| forge != Forge::GitHub) else {
            let fault = match self {
                Self::Html => github::Fault::Html,
                Self::ErrorBody => github::Fault::ErrorBody,
                Self::Truncated => github::Fault::Truncated,
                Self::EndlessPages => github::Fault::EndlessPages,
                Self::Redirect => github::Fault::RedirectTo(elsewhere.address.clone()),
                Self::Silence => github::Fault::Silence(Duration::from_secs(60)),
                Self::Limited => github::Fault::SecondaryLimit(429, Some(PAUSE.as_secs())),
                Self::Down => github::Fault::Status(503),
            };
            return app.github.trouble(prefix, fault, github::Times::UntilCleared);
        };
        // Both know the same ones.
        let fault = match self {
            Self::Html => gitea::Fault::Html,
            Self::ErrorBody => gitea::Fault::ErrorBody,
            Self::Truncated => gitea::Fault::Truncated,
            Self::EndlessPages => gitea::Fault::EndlessPages,
            Self::Redirect => gitea::Fault::RedirectTo(elsewhere.address.clone()),
            Self::Silence => gitea::Fault::Silence,
            Self::Limited => gitea::Fault::RateLimited(PAUSE),
            Self::Down => gitea::Fault::Outage(503),
        };
        match forge {
            Forge::Gitea => others.bent.add_fault(prefix, fault, Hits::All),
            _ => others.bitbucket.add_fault(prefix, fault, Hits::All),
        }
    }

    fn end(app: &TestApp, forge: Forge) {
        match forge {
            Forge::GitHub => app.github.clear_troubles(),
            Forge::Bitbucket => app.others.as_ref().unwrap().bitbucket.clear_faults(),
            Forge::Gitea => app.others.as_ref().unwrap().bent.clear_faults(),
        }
    }
}

/// Where a provider's API begins. Of Gitea, branches and tags are asked of git.
fn api_of(forge: Forge) -> &'static [&'static str] {
    match forge {
        Forge::GitHub => &["/api/v3"],
        Forge::Bitbucket => &["/2.0"],
        Forge::Gitea => &["/api/v1", "/octo/"],
    }
}

/// Tokens of ours that the provider gave.
fn tokens(app: &TestApp, forge: Forge) -> Vec<String> {
    if forge == Forge::GitHub {
        let mut all = app.github.oauth_tokens(AUTHOR, &app.oauth.client_id);
        all.push(app.oauth.client_secret.clone());
        return all;
    }
    let others = app.others.as_ref().unwrap();
    if forge == Forge::Gitea {
        // It shows its tokens to nobody but us.
        let mut all: Vec<String> = others.bent.secrets().into_iter().collect();
        all.push(others.gitea_app.client_secret.clone());
        return all;
    }
    let mut all = others.bitbucket.access_tokens(AUTHOR, &others.consumer.key);
    all.extend(others.bitbucket.refresh_tokens(AUTHOR, &others.consumer.key).into_iter().map(|(token, _)| token));
    all.push(others.consumer.secret.clone());
    all
}

fn says_nothing_secret(app: &TestApp, forge: Forge, elsewhere: &Elsewhere, answer: &str) -> Result<()> {
    let (heard, log) = (elsewhere.heard(), app.log());
    ensure!(!heard.to_lowercase().contains("authorization:"), "a credential went to another host: {heard}");
    for token in tokens(app, forge) {
        ensure!(!heard.contains(&token), "a token went to another host: {heard}");
        ensure!(!answer.contains(&token), "a token is in an answer: {answer}");
        ensure!(!log.iter().any(|line| line.contains(&token)), "a token is in the log");
    }
    ensure!(!log.iter().any(|line| line.contains("panicked")), "the server panicked");
    Ok(())
}

/// A refusal with a code and words that a person can do something with.
fn is_clear(answer: &Answer, what: &str) -> Result<Value> {
    ensure!((400..=504).contains(&answer.status), "{what} answered {}: {}", answer.status, answer.text);
    let problem = answer.problem(answer.status).with_context(|| what.to_owned())?;
    ensure!(text(&problem, "detail").len() > 10 && problem["code"] != "internal", "{what}: {problem}");
    Ok(problem)
}

/// Linking while the provider's token endpoint, or its API, answers wrongly: refused in words, and no row.
async fn no_link_is_made_of_a_wrong_answer(forge: Forge, exchange: &str) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    let elsewhere = Elsewhere::start().await?;
    for wrong in ALL {
        for prefix in [exchange, api_of(forge)[0]] {
            // A code and a person are no lists.
            if wrong == Wrong::EndlessPages {
                continue;
            }
            let back = forge.approve(&app, &forge.connect(&app.api, PERSON).await?, AUTHOR).await?;
            wrong.begin(&app, forge, &elsewhere, prefix);
            let answer = app.api.open(&back).await?;
            Wrong::end(&app, forge);
            is_clear(&answer, &format!("{wrong:?} at {prefix}"))?;
            says_nothing_secret(&app, forge, &elsewhere, &answer.text)?;
            assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "not_linked", "{wrong:?} at {prefix}");
        }
    }
    let link = forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    assert_eq!(link["state"], "ok", "the right answer still links: {link}");
    app.finish().await
}

#[tokio::test]
async fn no_link_is_made_of_a_wrong_answer_of_github() -> Result<()> {
    no_link_is_made_of_a_wrong_answer(Forge::GitHub, "/login/oauth/access_token").await
}

#[tokio::test]
async fn no_link_is_made_of_a_wrong_answer_of_bitbucket() -> Result<()> {
    no_link_is_made_of_a_wrong_answer(Forge::Bitbucket, "/site/oauth2/access_token").await
}

#[tokio::test]
async fn no_link_is_made_of_a_wrong_answer_of_gitea() -> Result<()> {
    no_link_is_made_of_a_wrong_answer(Forge::Gitea, "/login/oauth/access_token").await
}

/// A link that works, while the API answers wrongly: it is not called revoked, nothing is saved or built of a wrong answer, nothing that
/// stood is taken away, and when the provider is itself again everything goes on.
async fn a_working_link_survives_wrong_answers(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    let elsewhere = Elsewhere::start().await?;
    for source in ["octo/hello", "octo/other"] {
        forge.repository(&app, source).await?;
    }
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let first = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.wait_for("the push to be built", || async {
        Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == first.as_str()))
    })
    .await?;
    app.create_repository("second").await?;
    let hooks = forge.hooks(&app, "octo/hello").await?;
    let at = format!("/namespaces/{PERSON}/links/{}", forge.id());
    for (round, wrong) in ALL.into_iter().enumerate() {
        // Something new to be told: an answer that says that all is as before has nothing in it to be cut.
        forge.organization(&app, &format!("new-{round}")).await?;
        for prefix in api_of(forge) {
            wrong.begin(&app, forge, &elsewhere, prefix);
        }
        let mut answers = String::new();
        // A person asks for a check, a source, a build.
        let link = app.api.post(&format!("{at}/check"), &json!({})).await.with_context(|| format!("{wrong:?}"))?;
        answers.push_str(&link.to_string());
        ensure!(["ok", "error"].contains(&text(&link, "state")), "{wrong:?} makes the link {link}");
        if wrong != Wrong::EndlessPages {
            ensure!(link["evidence"].is_string(), "{wrong:?}: what the provider did is not said: {link}");
            let body = json!({ "provider": forge.id(), "source": "octo/other", "autotest": "off", "rules": [] });
            let refused = app.api.try_api(Method::PUT, &format!("/repositories/{PERSON}/second/autobuild"), Some(&body)).await?;
            is_clear(&refused, &format!("{wrong:?} at a source"))?;
            answers.push_str(&refused.text);
            let refused = app.api.try_api(Method::POST, &hello.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?;
            is_clear(&refused, &format!("{wrong:?} at a build"))?;
            answers.push_str(&refused.text);
        }
        // The timers ask too: for the webhook, the organizations, the refs.
        app.api.try_api(Method::POST, &format!("{at}/refresh"), Some(&json!({}))).await?;
        let hook = app.api.try_api(Method::POST, &hello.at("/hook/check"), None).await?;
        answers.push_str(&hook.text);
        let looked = app.api.get(&hello.at("/autobuild")).await?["source_state"].clone();
        ensure!(looked["problem"].is_null(), "{wrong:?} is no word about the source: {looked}");
        // A delivery is authentic by its signature, whatever the API does.
        let commit = forge.push(&app, "octo/hello", &format!("branch-{round}"), &[("Dockerfile", "FROM scratch\n")]).await?;
        app.wait_for("the delivery", || async {
            let all = hello.decided().await?;
            Ok(all
                .iter()
                .any(|one| {
                    one["verdicts"].as_array().is_some_and(|all| all.iter().any(|one| one["ref"] == format!("refs/heads/branch-{round}")))
                })
                .then_some(()))
        })
        .await
        .with_context(|| commit.clone())?;
        says_nothing_secret(&app, forge, &elsewhere, &answers)?;

        Wrong::end(&app, forge);
        let link = app.api.post(&format!("{at}/check"), &json!({})).await?;
        ensure!(link["state"] == "ok", "after {wrong:?}: {link}");
        ensure!(forge.hooks(&app, "octo/hello").await? == hooks, "after {wrong:?} the webhooks are others");
        let autobuild = app.api.get(&hello.at("/autobuild")).await?;
        ensure!(autobuild["source"] == "octo/hello" && autobuild["source_state"]["problem"].is_null(), "after {wrong:?}: {autobuild}");
        wait::until("the refs to be read again", READ_AGAIN, || async {
            let now = app.api.get(&hello.at("/autobuild")).await?["source_state"].clone();
            Ok((now["looked_at"] != looked["looked_at"]).then_some(()))
        })
        .await
        .with_context(|| format!("after {wrong:?}"))?;
    }
    assert_eq!(hello.builds().await?.len(), 1, "no rule is for those branches: nothing else was built");
    says_nothing_secret(&app, forge, &elsewhere, "")?;
    app.finish().await
}

#[tokio::test]
async fn a_link_to_github_survives_wrong_answers() -> Result<()> {
    a_working_link_survives_wrong_answers(Forge::GitHub).await
}

#[tokio::test]
async fn a_link_to_bitbucket_survives_wrong_answers() -> Result<()> {
    a_working_link_survives_wrong_answers(Forge::Bitbucket).await
}

#[tokio::test]
async fn a_link_to_gitea_survives_wrong_answers() -> Result<()> {
    a_working_link_survives_wrong_answers(Forge::Gitea).await
}
