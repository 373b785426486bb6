//! Two processes on one database: a token that rotates is renewed by one of them, and the grant survives; a session that ends at one of
//! them has ended.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::bitbucket;
use slipway_testkit::github::TokenLife;
use slipway_tests::{AUTHOR, Client, Database, Forge, PASSWORD, PERSON, Setup, TestApp};

/// An access token of either provider has ended by then.
const LATER: Duration = Duration::from_secs(8 * 3600 + 60);

/// Callers at once, and how often: a real Gitea on a small machine answers not many within the client's ten seconds.
fn callers(forge: Forge) -> (usize, u32) {
    if forge == Forge::Gitea { (40, 5) } else { (200, 3) }
}

/// So many callers, half at each process, ask for a check of the link at once; each must find it working.
async fn check_at_once(clients: &[Client; 2], forge: Forge, at_once: usize) -> Result<()> {
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..at_once {
        let (client, path) = (clients[number % 2].clone(), format!("/namespaces/{PERSON}/links/{}/check", forge.id()));
        callers.spawn(async move { client.post(&path, &json!({})).await });
    }
    while let Some(answer) = callers.join_next().await {
        let link: Value = answer??;
        ensure!(link["state"] == "ok", "a caller found {link}");
    }
    Ok(())
}

fn refreshes(app: &TestApp, forge: Forge) -> usize {
    let others = app.others.as_ref().unwrap();
    match forge {
        Forge::GitHub => app.github.requests().iter().filter(|seen| seen.path == "/login/oauth/access_token").count(),
        Forge::Bitbucket => others.bitbucket.requests().iter().filter(|seen| seen.path == "/site/oauth2/access_token").count(),
        Forge::Gitea => others.bent.requests().iter().filter(|seen| seen.path == "/login/oauth/access_token").count(),
    }
}

/// The access token ends at the provider, earlier than its life says.
fn end_token(app: &TestApp, forge: Forge) {
    let others = app.others.as_ref().unwrap();
    match forge {
        Forge::GitHub => app.github.advance_clock(LATER),
        Forge::Bitbucket => others.bitbucket.advance_clock(LATER),
        // Nobody moves the real one's clock.
        Forge::Gitea => others.bent.end_tokens(),
    }
}

async fn two_replicas_refresh_one_token(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().on(Database::Postgres).all_providers()).await?;
    let replica = app.replica().await?;
    let clients = [app.api.clone(), replica.client(&app.api)];
    app.github.set_token_life(&app.oauth.client_id, TokenLife::EightHours);
    forge.repository(&app, "octo/hello").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    app.github.set_rate_limit(AUTHOR, 1_000_000);
    let (at_once, rounds) = callers(forge);
    for round in 1..=rounds {
        let before = refreshes(&app, forge);
        // Each caller is refused, and all of them want another.
        end_token(&app, forge);
        check_at_once(&clients, forge, at_once).await?;
        let made = refreshes(&app, forge) - before;
        assert_eq!(made, 1, "round {round}: one token, one refresh");
    }
    // The grant is whole: a repository is built through it, by either process.
    assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "ok");
    forge.build_from(&app, &clients[1], PERSON, "hello", "octo/hello").await?;
    let commit = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.wait_for("the push to be built", || async {
        let builds = clients[1].items(&format!("/repositories/{PERSON}/hello/builds")).await?;
        Ok(builds.into_iter().find(|build| build["commit"] == commit.as_str()))
    })
    .await?;
    replica.stop().await?;
    app.finish().await
}

#[tokio::test]
async fn two_replicas_refresh_a_token_of_github_200_times_at_once_and_the_grant_survives() -> Result<()> {
    two_replicas_refresh_one_token(Forge::GitHub).await
}

#[tokio::test]
async fn two_replicas_refresh_a_token_of_bitbucket_200_times_at_once_and_the_grant_survives() -> Result<()> {
    two_replicas_refresh_one_token(Forge::Bitbucket).await
}

/// The real one, which takes each refresh token once: 200 times in five rounds.
#[tokio::test]
async fn two_replicas_refresh_a_token_of_gitea_200_times_at_once_and_the_grant_survives() -> Result<()> {
    two_replicas_refresh_one_token(Forge::Gitea).await
}

/// The one that holds the lease dies between the provider's answer and its commit, or before it asked: the other one waits for the lease
/// to end and goes on; a refresh token that was used up is told as what it is.
#[tokio::test]
async fn a_replica_that_dies_while_it_renews_does_not_block_the_other() -> Result<()> {
    let mut app = TestApp::with(Setup::default().on(Database::Postgres).all_providers()).await?;
    let replica = app.replica().await?;
    let other = replica.client(&app.api);
    Forge::Bitbucket.link(&app, &app.api, PERSON, AUTHOR).await?;
    let bitbucket = app.others.as_ref().unwrap().bitbucket.clone();
    bitbucket.advance_clock(LATER);
    bitbucket.add_fault("/site/oauth2/access_token", bitbucket::Fault::Silence, bitbucket::Hits::Next(1));
    let asked = {
        let api = app.api.clone();
        tokio::spawn(async move { api.post(&format!("/namespaces/{PERSON}/links/bitbucket/check"), &json!({})).await })
    };
    app.wait_for("the refresh to be under way", || async {
        let refused = bitbucket.requests().iter().any(|seen| seen.status == 401);
        Ok(refused.then_some(()))
    })
    .await?;
    tokio::task::yield_now().await;
    app.kill9()?;
    assert!(asked.await?.is_err());
    bitbucket.clear_faults();
    let link = other.post(&format!("/namespaces/{PERSON}/links/bitbucket/check"), &json!({})).await?;
    assert_eq!(link["state"], "ok", "{link}");
    replica.stop().await?;
    app.finish().await
}

/// Neither remembers who was signed in.
#[tokio::test]
async fn a_sign_out_ends_the_session_at_the_other_process_too() -> Result<()> {
    let app = TestApp::with(Setup::default().on(Database::Postgres)).await?;
    let replica = app.replica().await?;
    for signs_out_at_the_other in [false, true] {
        let here = app.sign_in(PERSON, PASSWORD).await?;
        // Both are one site, whose address is the first one's.
        let there = replica.client(&here).with_header("origin", app.site());
        for browser in [&here, &there] {
            assert_eq!(browser.open("/settings/account").await?.status, 200);
            assert_eq!(browser.try_api(Method::GET, "/me", None).await?.status, 200);
        }
        let ends = if signs_out_at_the_other { &there } else { &here };
        assert_eq!(ends.form("/signout", &[]).await?.status, 303);
        for browser in [&here, &there] {
            let page = browser.open("/settings/account").await?;
            assert!(page.status == 303 && page.location().starts_with("/signin"), "answered {} {}", page.status, page.location());
            browser.try_api(Method::GET, "/me", None).await?.problem(401)?;
            browser.try_api(Method::PATCH, "/me", Some(&json!({ "display_name": "Somebody" }))).await?.problem(401)?;
        }
    }
    replica.stop().await?;
    app.finish().await
}
