//! Every delivery that was recorded at real providers, sent to a webhook of ours as the provider sends it: each gets a verdict with a reason.
//! Invariant: a recorded body is sent as it is, but for the repository's id, and with its name, so that no two are the same.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_testkit::github::sign_sha256;
use slipway_tests::provider::{Request, Target};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Answer, Forge, PERSON, Repository, Setup, TestApp};

use super::deliveries::{everything, fixtures};

/// A recorded body, and the headers where they were recorded, too.
struct Recorded {
    forge: Forge,
    file: String,
    event: String,
    body: Value,
    headers: Option<Vec<(String, String)>>,
}

/// What stands in the index, which has bodies alone.
fn bodies() -> Result<Vec<Recorded>> {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv"))?;
    let mut all = Vec::new();
    for line in index.lines() {
        let [provider, event, file, ..] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        let forge = match provider {
            "github" => Forge::GitHub,
            "bitbucket-cloud" => Forge::Bitbucket,
            "gitea" | "forgejo" => Forge::Gitea,
            _ => continue,
        };
        let body = serde_json::from_slice(&std::fs::read(fixtures().join(provider).join("webhooks").join(file))?)?;
        // The index marks what it is not sure of, and has a word for several of one kind.
        let event = match event.trim_end_matches('?') {
            "" => "unknown".to_owned(),
            "pullrequest:*" => "pullrequest:updated".to_owned(),
            "repo:commit_status_*" => "repo:commit_status_updated".to_owned(),
            event => event.to_owned(),
        };
        all.push(Recorded { forge, file: format!("{provider}/{file}"), event, body, headers: None });
    }
    Ok(all)
}

/// What was recorded with its headers.
fn whole() -> Result<Vec<Recorded>> {
    let mut all = Vec::new();
    for (provider, forge, event_header) in [("github", Forge::GitHub, "x-github-event"), ("forgejo", Forge::Gitea, "x-forgejo-event")] {
        for entry in std::fs::read_dir(fixtures().join(provider).join("deliveries"))? {
            let path = entry?.path();
            let mut recorded: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let headers = recorded["headers"].as_object().context("it has headers")?;
            let headers = headers.iter().filter_map(|(name, value)| Some((name.to_lowercase(), value.as_str()?.to_owned())));
            let headers: Vec<_> = headers.filter(|(name, _)| name.starts_with("x-g") || name.starts_with("x-forgejo")).collect();
            let event = headers.iter().find(|(name, _)| name == event_header).context("it has an event")?.1.clone();
            let file = format!("{provider}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            all.push(Recorded { forge, file, event, body: recorded["body"].take(), headers: Some(headers) });
        }
    }
    Ok(all)
}

impl Recorded {
    /// As if it told of this source.
    fn about(&mut self, source_id: &Value) {
        let field = if self.forge == Forge::Bitbucket { "uuid" } else { "id" };
        if let Some(repository) = self.body.get_mut("repository").filter(|repository| repository.is_object()) {
            repository[field] = source_id.clone();
        }
        let base = if self.forge == Forge::Bitbucket { "/pullrequest/destination/repository" } else { "/pull_request/base/repo" };
        if let Some(base) = self.body.pointer_mut(base).filter(|base| base.is_object()) {
            base[field] = source_id.clone();
        }
        // The documentation's own examples have every state in the place of one.
        if let Some(state) = self.body.pointer_mut("/pullrequest/state").filter(|state| **state == "OPEN|MERGED|DECLINED") {
            *state = json!("OPEN");
        }
        if let Some(body) = self.body.as_object_mut() {
            body.insert("recorded_in".to_owned(), json!(self.file));
        }
    }

    /// Its id, as the inbox shows it.
    fn id(&self, number: usize) -> String {
        let own = self.headers.iter().flatten().find(|(name, _)| name == "x-github-delivery" || name == "x-forgejo-delivery");
        own.map_or_else(|| format!("recorded-{number}"), |(_, id)| id.clone())
    }

    async fn send(&self, app: &TestApp, target: &Target, id: &str) -> Result<Answer> {
        let request = Request::by(self.forge, target, &self.event, id, &self.body);
        let Some(recorded) = &self.headers else { return request.send(app.http()).await };
        let digits = sign_sha256(&target.secret, &request.body);
        let mut sent = app.http().post(&request.url).header("content-type", "application/json");
        for (name, value) in recorded.iter().filter(|(name, _)| !name.ends_with("signature") && !name.starts_with("x-hub")) {
            sent = sent.header(name, value);
        }
        sent = match self.forge {
            Forge::Gitea => sent.header("x-forgejo-signature", &digits).header("x-gitea-signature", &digits),
            _ => sent.header("x-hub-signature-256", format!("sha256={digits}")),
        };
        Answer::of(sent.body(request.body).send().await?).await
    }
}

/// A source with a webhook whose secret is known.
async fn target(app: &TestApp, forge: Forge, name: &str) -> Result<Target> {
    forge.repository(app, "octo/hello").await?;
    let target = match forge {
        Forge::Gitea => forge.hook_by_hand(app, name, "octo/hello", AUTHOR).await?,
        _ => {
            forge.link(app, &app.api, PERSON, AUTHOR).await?;
            forge.build_from(app, &app.api, PERSON, name, "octo/hello").await?;
            forge.target(app, "octo/hello")?
        }
    };
    let body = json!({ "provider": forge.id(), "source": "octo/hello", "autotest": "off", "rules": everything() });
    app.api.put(&format!("/repositories/{PERSON}/{name}/autobuild"), &body).await?;
    Ok(target)
}

#[tokio::test]
async fn every_recorded_delivery_gets_a_verdict() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    let mut all = bodies()?;
    all.extend(whole()?);
    assert!(all.len() > 200, "only {} were found", all.len());
    let mut built = 0;
    for forge in Forge::ALL {
        let name = format!("from-{}", forge.id());
        let target = target(&app, forge, &name).await?;
        let source_id = forge.source_id(&app, "octo/hello").await?;
        let (repository, mut sent) = (Repository::new(&app, &name), Vec::new());
        for (number, recorded) in all.iter_mut().enumerate().filter(|(_, recorded)| recorded.forge == forge) {
            recorded.about(&source_id);
            let id = recorded.id(number);
            let answer = recorded.send(&app, &target, &id).await?;
            assert_eq!(answer.status, 202, "{}: {}", recorded.file, answer.text);
            sent.push((id, &*recorded));
        }
        let kept = repository.decided().await?;
        for (id, Recorded { file, event, .. }) in &sent {
            let one = kept.iter().find(|one| one["delivery_id"] == id.as_str()).with_context(|| format!("{file} was not kept"))?;
            let verdicts = one["verdicts"].as_array().context("a list of verdicts")?;
            assert!(!verdicts.is_empty() || one["detail"].is_string(), "{file}: nothing says what became of it: {one}");
            assert!(verdicts.iter().all(|verdict| text(verdict, "text").len() > 10), "{file}: {one}");
            // Of what was recorded whole all can be read; only pushes start something, because autotest is off.
            assert_ne!(one["status"], "rejected", "{file}: {one}");
            let push = matches!(event.as_str(), "push" | "repo:push");
            // Of what happens to a pull request only some is looked at.
            let looked_at = push || (event.starts_with("pull") && verdicts.iter().any(|verdict| verdict["outcome"] != "ignored"));
            assert_eq!(one["status"] == "accepted", looked_at, "{file}: {one}");
            assert!(push || verdicts.iter().all(|verdict| verdict["build"].is_null()), "{file}: {one}");
        }
        built += repository.builds().await?.len();
    }
    assert!(built > 5, "only {built} recorded pushes were built");
    app.finish().await
}
