//! No secret where somebody may read it: not in an address that a provider is asked, not in the server's log, not in what runs on the
//! machine while a source is cloned.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_testkit::github::TokenLife;
use slipway_tests::provider::{Request, Signature, ZERO, push_payload};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Forge, PERSON, Repository, Setup, TestApp};

/// Every secret that a provider and Slipway share by now.
async fn secrets(app: &TestApp, source: &str) -> Result<Vec<String>> {
    let others = app.others.as_ref().context("all providers stand")?;
    let mut all = vec![app.oauth.client_secret.clone(), others.consumer.secret.clone(), others.gitea_app.client_secret.clone()];
    all.extend(app.github.oauth_tokens(AUTHOR, &app.oauth.client_id));
    all.extend(others.bitbucket.access_tokens(AUTHOR, &others.consumer.key));
    all.extend(others.bitbucket.refresh_tokens(AUTHOR, &others.consumer.key).into_iter().map(|(token, _)| token));
    all.extend(app.github.hooks(source).into_iter().filter_map(|hook| hook.secret));
    all.extend(others.bitbucket.hooks(source).into_iter().filter_map(|hook| hook.secret));
    anyhow::ensure!(all.len() >= 8, "the test knows too few secrets: {}", all.len());
    Ok(all)
}

/// What stands in a query of the redirect back to us is a secret too, as long as it is good.
fn parameters(back: &str) -> Vec<String> {
    let pairs = url::form_urlencoded::parse(back.split_once('?').map_or("", |(_, query)| query).as_bytes()).into_owned();
    pairs.filter(|(name, _)| name == "code" || name == "state").map(|(_, value)| value).collect()
}

#[tokio::test]
async fn no_secret_is_in_an_address_or_in_the_log() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    app.github.set_token_life(&app.oauth.client_id, TokenLife::EightHours);
    let mut known: BTreeSet<String> = BTreeSet::new();
    let builder = app.builder("remote").await?;
    let others = app.others.as_ref().unwrap();
    for forge in Forge::ALL {
        let (name, source) = (format!("from-{}", forge.id()), "octo/hello".to_owned());
        forge.repository(&app, &source).await?;
        let back = forge.approve(&app, &forge.connect(&app.api, PERSON).await?, AUTHOR).await?;
        known.extend(parameters(&back));
        app.api.open(&back).await?.json()?;
        forge.build_from(&app, &app.api, PERSON, &name, &source).await?;
        let commit = forge.push(&app, &source, "main", &[("Dockerfile", "FROM scratch\n")]).await?;
        let repository = Repository::new(&app, &name);
        app.wait_for("the push to be built", || async {
            Ok(repository.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str()))
        })
        .await?;
        let work = builder.claim().await?;
        let credential = work.source.credential.context("a private source is cloned with a credential")?;
        assert!(!work.source.clone_url.contains('@') && !work.source.clone_url.contains(&credential.password), "{}", work.source.clone_url);
        known.insert(credential.password);
    }
    known.extend(secrets(&app, "octo/hello").await?);
    // Every token is renewed once; every webhook gets another secret; the pickers, the checks and the provider's logs are asked.
    for forge in Forge::ALL {
        let later = std::time::Duration::from_secs(8 * 3600 + 60);
        match forge {
            Forge::GitHub => app.github.advance_clock(later),
            Forge::Bitbucket => others.bitbucket.advance_clock(later),
            Forge::Gitea => {}
        }
        let at = format!("/namespaces/{PERSON}/links/{}", forge.id());
        assert_eq!(app.api.post(&format!("{at}/check"), &json!({})).await?["state"], "ok", "{forge:?}");
        app.api.get(&format!("{at}/source-repositories?q=hello")).await?;
        let hook = format!("/repositories/{PERSON}/from-{}/hook", forge.id());
        app.api.post(&format!("{hook}/rotate-secret"), &Value::Null).await?;
        app.api.post(&format!("{hook}/check"), &Value::Null).await?;
        app.api.try_api(reqwest::Method::GET, &format!("{hook}/deliveries"), None).await?;
    }
    known.extend(secrets(&app, "octo/hello").await?);
    for forge in Forge::ALL {
        app.api.delete(&format!("/namespaces/{PERSON}/links/{}", forge.id())).await?;
    }
    let leaked = app.github.secrets_in_addresses();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(app.github.requests().len() > 20 && others.bitbucket.requests().len() > 20, "the providers were asked");
    // The pages that a person sees on the way have the state in their address, as OAuth wants it.
    let by_browser = |path: &str| path.starts_with("/site/oauth2/authorize") || path.starts_with("/account/");
    for seen in others.bitbucket.requests().into_iter().filter(|seen| !by_browser(&seen.path)) {
        let address = format!("{}?{}", seen.path, seen.query);
        assert!(!known.iter().any(|secret| address.contains(secret.as_str())), "{address}");
    }
    let (log, gitea) = (app.log(), others.gitea.log());
    for secret in &known {
        assert!(secret.len() >= 8, "`{secret}` would be found in any word");
        let line = log.iter().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
        // Gitea logs the addresses that it is asked, also where the browser of the person goes.
        let line = gitea.lines().find(|line| line.contains(secret.as_str()) && !line.contains("/login/oauth/"));
        assert!(line.is_none(), "a secret is in an address at Gitea: {line:?}");
    }
    assert!(others.bitbucket.violations().is_empty(), "{:?}", others.bitbucket.violations());
    app.finish().await
}

/// Other services take a webhook's secret out of its address. Here it proves nothing, and whoever sends it so finds it nowhere again.
#[tokio::test]
async fn a_secret_in_the_query_proves_nothing_and_is_written_down_nowhere() -> Result<()> {
    let mut app = TestApp::start().await?;
    app.stop().await?;
    let config = app.folder().join("slipway.toml");
    let settings = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("log = \"trace\"\n{settings}"))?;
    app.restart().await?;
    let token = app.token.clone();
    let secret = {
        let hello = app.linked_repository("hello").await?;
        let (url, secret) = hello.hook()?;
        let payload = push_payload(&app, "octo/hello", "refs/heads/main", ZERO, "1111111111111111111111111111111111111111");
        let query = format!("secret={secret}&access_token={token}&token={secret}&sig={secret}");
        let request = Request::to(&hello, "push", "by-query", &payload)?;
        for signature in [Signature::None, Signature::Foreign, Signature::Sha1Only] {
            let request = Request { url: format!("{url}?{query}"), ..request.clone().signed(signature) };
            let answer = request.send(app.http()).await?;
            answer.problem(401)?;
            assert!(!answer.text.contains(&secret) && !answer.text.contains(&token), "{}", answer.text);
        }
        // Neither where there is no hook, no such provider, or no such address at all.
        let nobody = "01977c9d-0000-7000-8000-000000000000";
        for (provider, status) in [("github", 401), ("unknown", 404)] {
            let request = Request { url: format!("{}/hooks/{provider}/{nobody}?{query}", app.site()), ..request.clone() };
            request.send(app.http()).await?.problem(status)?;
        }
        for path in ["/nowhere", "/api/v1/me", "/demo/hello"] {
            let answer = app.stranger().open(&format!("{path}?{query}")).await?;
            assert!(matches!(answer.status, 303 | 401 | 404), "{path} answered {}", answer.status);
        }
        assert!(hello.builds().await?.is_empty() && hello.decided().await?.iter().all(|delivery| delivery["event"] == "ping"));
        let refused = Value::from(app.api.items(&hello.at("/refused-requests")).await?).to_string();
        assert!(refused.contains("signature") && !refused.contains(&secret) && !refused.contains(&token), "{refused}");
        secret
    };
    app.stop().await?;
    let log = app.log();
    assert!(log.iter().any(|line| line.contains("/hooks/github/")), "what is asked is logged when somebody wants it so");
    let shown = log.iter().find(|line| line.contains(&secret) || line.contains(&token));
    assert!(shown.is_none(), "{shown:?}");
    app.finish().await
}

/// What every process of the machine shows of itself, again and again until told to stop.
fn watch(stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<BTreeSet<String>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                for part in ["cmdline", "environ"] {
                    // A process may be gone by now.
                    let Ok(bytes) = std::fs::read(entry.path().join(part)) else { continue };
                    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
                    if text.contains("git") {
                        seen.insert(text);
                    }
                }
            }
        }
        seen
    })
}

/// While a real builder clones a private source with a token of the link.
#[tokio::test]
async fn no_secret_is_in_the_process_list_while_a_source_is_cloned() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(&stop);
    let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN echo built\n"))]).await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    let ended = hello.ended(&id, "success").await;
    stop.store(true, Ordering::Relaxed);
    let seen = watching.join().map_err(|_| anyhow::anyhow!("the watcher died"))?;
    ended?;
    assert!(seen.iter().any(|line| line.contains("fetch")), "nobody was seen to fetch: {}", seen.len());
    let mut secrets = app.github.oauth_tokens(AUTHOR, &app.oauth.client_id);
    secrets.push(app.oauth.client_secret.clone());
    for secret in &secrets {
        let shown = seen.iter().find(|line| line.contains(secret.as_str()));
        assert!(shown.is_none(), "a process shows it: {shown:?}");
        assert!(!hello.log(&id).await?.contains(secret.as_str()), "the build's log shows it");
    }
    assert!(app.github.secrets_in_addresses().is_empty(), "{:?}", app.github.secrets_in_addresses());
    app.finish().await
}
