//! What stands at the provider for a repository: webhook and deploy key, with their buttons; the provider's own log; and what every page
//! of the repository says when its source or link is in trouble.
//!
//! Invariant: a secret is shown only as the answer to a form, by the application's word, which writes it into the audit log.

use std::time::Duration;

use axum::response::Response;
use slipway_app::{App, DeployKeyStatus, Error, HookDelivery, HookSecret, HookStatus, LastDelivery, SourceState};
use slipway_model::{LinkState, Timestamp};

use super::error::{PageError, sentence};
use super::fields::{At, Form, Query};
use super::frame::{RepositoryAt, Visit, go, show};
use super::providers::provider_name;
use super::repository::{Opened, open};
use super::view::repositories::{HeadNotice, Tab};
use super::view::ui::{self, Tone};
use super::view::webhook::{AtProvider, HookNotice, HookPanel, HookSecretPage, KeyPanel, LoggedRow, PutUpBy, RemoteLogPage, SeenThere};
use crate::edge::routes::{Routes, get, post};
use crate::error::{ApiError, Code};

/// The addresses of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/{ns}/{name}/autobuild/webhook/check", post(check))
        .route("/{ns}/{name}/autobuild/webhook/repair", post(repair))
        .route("/{ns}/{name}/autobuild/webhook/rotate", post(rotate_secret))
        .route("/{ns}/{name}/autobuild/webhook/secret", post(show_secret))
        .route("/{ns}/{name}/autobuild/deploy-key/rotate", post(rotate_key))
        .route("/{ns}/{name}/deliveries/at-provider", get(log))
        .route("/{ns}/{name}/deliveries/at-provider/redeliver", post(redeliver))
}

/// How people call the provider of the repository's source; empty without one.
pub(super) fn called(app: &App, opened: &Opened) -> String {
    let Some(settings) = &opened.autobuild else { return String::new() };
    match app.provider(&settings.provider).map(|forge| forge.provider()) {
        Some(provider) => provider_name(provider.kind, provider.web_url.as_str()),
        None => settings.provider.to_string(),
    }
}

/// `every 5 minutes`.
fn every(interval: Duration) -> String {
    match interval.as_secs() {
        60 => "every minute".to_owned(),
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("every {} minutes", seconds / 60),
        _ => format!("every {}", ui::duration_text(interval)),
    }
}

/// What every page of a repository says when its source, or the link that serves it, is in trouble. `providers` is where who looks may mend
/// links, `namespace` is whose they are.
pub(super) fn trouble(state: &SourceState, providers: Option<&str>, namespace: &str) -> Vec<HeadNotice> {
    let mut notices = Vec::new();
    let providers = providers.map(str::to_owned);
    let help = || format!("An owner of `{namespace}` can help: who owns the namespace manages its links.");
    if let Some(problem) = &state.link_problem {
        let (tone, stops) = match state.link {
            LinkState::Disabled => {
                (Tone::Stopped, "Nothing is built from the source until it is enabled; what was pushed meanwhile is found then.")
            }
            LinkState::Expiring => (Tone::Attention, "Builds go on until then."),
            LinkState::ScopeMissing | LinkState::Error => (Tone::Attention, "Some of what builds need may fail until this is mended."),
            _ => (Tone::Attention, "Nothing is built from the source until this is mended; what was pushed meanwhile is found then."),
        };
        let next = match (&providers, &state.link_hint) {
            (Some(_), Some(hint)) => format!("{stops} Next step: {hint}."),
            _ => format!("{stops} {}", help()),
        };
        notices.push(HeadNotice { tone, text: sentence(problem), since: None, next, providers: providers.clone() });
    }
    if let Some(problem) = &state.problem {
        let next = if providers.is_some() {
            "If it was deleted, choose another source. If it stands, let the linked account see it again, or link one that does.".to_owned()
        } else {
            help()
        };
        notices.push(HeadNotice { tone: Tone::Attention, text: sentence(&problem.text), since: Some(problem.since), next, providers });
    }
    notices
}

/// What is wrong with a webhook, as a sentence; `None` when it is right.
fn wrong(hook: &HookStatus, provider: &str) -> Option<(Tone, String)> {
    let attention = |text: String| Some((Tone::Attention, text));
    match (&hook.problem, &hook.error) {
        _ if hook.right => None,
        (Some(problem), _) if hook.standing => attention(sentence(problem)),
        (_, Some(error)) if hook.manual => attention(sentence(error)),
        (_, Some(error)) => attention(format!("The webhook does not stand at {provider}: {error}. It is tried again.")),
        // The secret was changed and the provider does not know it yet, or it is the very first moment.
        (_, None) if hook.remote_id.is_some() => Some((Tone::Running, format!("{provider} is being told the webhook's secret."))),
        (_, None) => Some((Tone::Running, format!("The webhook is being made at {provider}."))),
    }
}

/// The banner of the deliveries page: the webhook is not right, and who finds pushes meanwhile.
pub(super) fn hook_notice(app: &App, opened: &Opened) -> Option<HookNotice> {
    let settings = opened.autobuild.as_ref()?;
    let provider = called(app, opened);
    let asked = opened.source_state.as_ref();
    let meanwhile = match asked.map(|state| state.link) {
        Some(LinkState::Ok | LinkState::Expiring | LinkState::ScopeMissing | LinkState::Error) | None => {
            let next = asked.map(|state| format!(", next {}", ui::clock_text(state.next_look_at, opened.shell.now))).unwrap_or_default();
            format!(
                "Until it is right, the reconciler finds pushes: it looks at the refs at {provider} {}{next}. Nothing is lost; builds begin a little later.",
                every(app.config().reconcile_interval)
            )
        }
        Some(_) => "The link does not work either, so pushes are found once it does.".to_owned(),
    };
    let Some(hook) = &settings.hook else {
        let text = format!(
            "There is no webhook for this repository at {provider}. Link {provider} again under Source providers, or save the autobuild settings again, and it is made."
        );
        return Some(HookNotice { tone: Tone::Attention, text, since: None, meanwhile, next_look_at: None, by: PutUpBy::Slipway });
    };
    let (tone, text) = wrong(hook, &provider)?;
    let by = if hook.manual { PutUpBy::Person } else { PutUpBy::Slipway };
    let since = hook.wrong_since.filter(|_| tone == Tone::Attention);
    let next_look_at = (!hook.manual).then_some(hook.next_look_at);
    Some(HookNotice { tone, text, since, meanwhile, next_look_at, by })
}

fn seen(last: LastDelivery) -> SeenThere {
    SeenThere { at: last.at, status: last.status, words: last.words }
}

fn hook_panel(hook: &HookStatus, provider: &str) -> HookPanel {
    let found = wrong(hook, provider);
    let word = match &found {
        None => "stands",
        Some((Tone::Running, _)) => "on its way",
        Some(_) if hook.manual && !hook.standing => "to be added by a person",
        Some(_) if hook.standing => "needs attention",
        Some(_) => "does not stand",
    };
    HookPanel {
        tone: found.as_ref().map_or(Tone::Good, |(tone, _)| *tone),
        word: word.to_owned(),
        problem: found.map(|(_, text)| text),
        wrong_since: hook.wrong_since,
        by: if hook.manual { PutUpBy::Person } else { PutUpBy::Slipway },
        address: hook.address.clone(),
        events: hook.events.clone(),
        last_here: hook.last_delivery,
        last_there: hook.last_there.clone().map(seen),
        checked_at: hook.checked_at,
        next_look_at: hook.next_look_at,
        repaired: hook.repaired_at.map(|at| (at, hook.repaired_why.clone().unwrap_or_default())),
        previous_secret_until: hook.previous_secret_until,
        settings_url: hook.settings_url.clone(),
    }
}

fn key_panel(key: &DeployKeyStatus, provider: &str) -> KeyPanel {
    let error = key.error.as_deref();
    let because = error.map(|error| format!(": {error}")).unwrap_or_default();
    let instead = "Until it stands, clones use a token of the link";
    let (tone, word, problem) = match key.state {
        "standing" if key.changing => (
            Tone::Running,
            "being changed",
            Some(format!("The new key does not stand at {provider} yet{because}. This one is used until it does.")),
        ),
        "standing" => (Tone::Good, "stands", error.map(sentence)),
        "forbidden" => (
            Tone::Attention,
            "not allowed",
            Some(format!("Clones use a token of the link, because there may be no deploy key{because}.")),
        ),
        _ if error.is_some() => {
            (Tone::Attention, "does not stand", Some(format!("{instead}, because {provider} did not take it{because}.")))
        }
        _ => (Tone::Running, "on its way", Some(format!("The key is being put up at {provider}. {instead}."))),
    };
    // A key that stands with a remark about the last look is no green one.
    let tone = if tone == Tone::Good && problem.is_some() { Tone::Attention } else { tone };
    KeyPanel {
        tone,
        word: word.to_owned(),
        problem,
        fingerprint: key.fingerprint.clone(),
        public_key: key.public_key.clone(),
        created_at: key.created_at,
        checked_at: key.checked_at,
        settings_url: key.settings_url.clone(),
    }
}

/// The panels of the autobuild settings; `None` while nothing is stored.
pub(super) fn at_provider(app: &App, opened: &Opened) -> Option<AtProvider> {
    let settings = opened.autobuild.as_ref()?;
    let provider = called(app, opened);
    Some(AtProvider {
        hook: settings.hook.as_ref().map(|hook| hook_panel(hook, &provider)),
        key: settings.deploy_key.as_ref().map(|key| key_panel(key, &provider)),
        takeover: opened.takeover(),
        provider,
    })
}

/// Back to where the button was, with a word about what came of it.
fn back(at: &RepositoryAt, form: &super::fields::Fields, done: &str) -> Response {
    match form.text("back") {
        "deliveries" => go(&format!("/{}/{}/deliveries?done={done}", at.ns, at.name)),
        _ => go(&format!("/{}/{}/autobuild?done={done}#webhook", at.ns, at.name)),
    }
}

/// `POST …/webhook/check`: looks now.
async fn check(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let hook = visit.app().look_at_hook(rights.write()?).await?;
    Ok(back(&at, &form, if hook.right { "webhook-right" } else { "webhook-wrong" }))
}

/// `POST …/webhook/repair`.
async fn repair(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let hook = visit.app().repair_hook(rights.admin()?).await?;
    Ok(back(&at, &form, if hook.right { "webhook-repaired" } else { "webhook-wrong" }))
}

/// `POST …/webhook/rotate`: another secret. Who has to enter it at the provider gets it.
async fn rotate_secret(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let (hook, shown) = visit.app().rotate_hook_secret(rights.admin()?).await?;
    match shown {
        Some(secret) => secret_page(&visit, &at, secret, hook.previous_secret_until.filter(|_| hook.standing)).await,
        None => Ok(back(&at, &form, if hook.right { "webhook-secret" } else { "webhook-secret-later" })),
    }
}

/// `POST …/webhook/secret`: shows it, to put the webhook up by hand.
async fn show_secret(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let secret = visit.app().show_hook_secret(rights.admin()?).await?;
    secret_page(&visit, &at, secret, None).await
}

async fn secret_page(visit: &Visit, at: &RepositoryAt, secret: HookSecret, until: Option<Timestamp>) -> Result<Response, PageError> {
    let opened = open(visit, at, Tab::Autobuild).await?;
    let kind = opened.head.source.as_ref().map(|source| source.kind).ok_or_else(ApiError::not_found)?;
    Ok(show(&HookSecretPage {
        provider: called(visit.app(), &opened),
        kind,
        secret: secret.expose().to_owned(),
        address: secret.address,
        events: secret.events,
        settings_url: secret.settings_url,
        previous_secret_until: until,
        shell: opened.shell,
        head: opened.head,
    }))
}

/// `POST …/deploy-key/rotate`.
async fn rotate_key(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let key = visit.app().rotate_deploy_key(rights.admin()?).await?;
    let done = if key.state == "standing" && !key.changing { "key-changed" } else { "key-later" };
    Ok(go(&format!("/{}/{}/autobuild?done={done}#deploy-key", at.ns, at.name)))
}

fn logged(base: &str, entry: HookDelivery) -> LoggedRow {
    LoggedRow {
        id: entry.id,
        delivery_id: entry.delivery_id,
        event: entry.event,
        there: seen(entry.outcome),
        here: entry.here.map(|(id, status)| (status, format!("{base}/deliveries/{id}"))),
    }
}

/// `/{ns}/{name}/deliveries/at-provider`: asks the provider now. What it cannot or does not say stands on the page.
async fn log(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Deliveries).await?;
    let cursor = query.filled("cursor").filter(|cursor| cursor.len() <= 500).map(str::to_owned);
    let found = visit.app().remote_deliveries(opened.rights.write()?, cursor.as_deref()).await;
    let mut page = RemoteLogPage {
        provider: called(visit.app(), &opened),
        settings_url: opened.autobuild.as_ref().and_then(|settings| Some(settings.hook.as_ref()?.settings_url.clone())),
        rows: Vec::new(),
        cursor,
        next: None,
        problem: None,
        shell: opened.shell.clone(),
        head: opened.head.clone(),
    };
    match found {
        Ok(log) => {
            page.problem = log.unsupported.as_deref().map(sentence);
            page.settings_url = Some(log.settings_url);
            page.next = log.next;
            page.rows = log.items.into_iter().map(|entry| logged(&opened.base(), entry)).collect();
        }
        Err(Error::NotFound) => page.problem = Some("There is no webhook, so there is no log of it.".to_owned()),
        Err(error @ (Error::Refused(_) | Error::Forge { .. })) => page.problem = Some(sentence(&ApiError::from(error).detail)),
        Err(error) => return Err(error.into()),
    }
    Ok(show(&page))
}

/// `POST …/deliveries/at-provider/redeliver`.
async fn redeliver(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let right = rights.write()?;
    let id = form.filled("id").ok_or_else(|| ApiError::new(Code::Invalid, "the form names no entry of the provider's log").field("id"))?;
    visit.app().redeliver(right, id).await?;
    let cursor = form.filled("cursor").map(|cursor| format!("&cursor={}", ui::address_part(cursor))).unwrap_or_default();
    Ok(go(&format!("/{}/{}/deliveries/at-provider?done=redelivery{cursor}", at.ns, at.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> HookStatus {
        HookStatus {
            standing: true,
            right: true,
            manual: false,
            address: "https://slipway.test/hooks/github/1".into(),
            events: vec!["push".into()],
            remote_id: Some("1".into()),
            error: None,
            problem: None,
            wrong_since: None,
            checked_at: None,
            next_look_at: Timestamp::from_millis(0),
            repaired_at: None,
            repaired_why: None,
            previous_secret_until: None,
            last_delivery: None,
            last_there: None,
            settings_url: "https://github.test/a/b/settings/hooks".into(),
        }
    }

    #[test]
    fn each_state_of_a_webhook_has_its_colour_and_words() {
        let of = |hook: &HookStatus| {
            let panel = hook_panel(hook, "GitHub");
            (panel.tone, panel.word, panel.problem)
        };
        assert_eq!(of(&hook()), (Tone::Good, "stands".into(), None));
        let standing = HookStatus { right: false, problem: Some("the webhook is switched off at the provider".into()), ..hook() };
        let (tone, word, problem) = of(&standing);
        assert_eq!((tone, word.as_str()), (Tone::Attention, "needs attention"));
        assert_eq!(problem.as_deref(), Some("The webhook is switched off at the provider."));
        let wanted = HookStatus { standing: false, right: false, remote_id: None, ..hook() };
        assert_eq!(of(&wanted), (Tone::Running, "on its way".into(), Some("The webhook is being made at GitHub.".into())));
        let refused = HookStatus { error: Some("403".into()), ..wanted.clone() };
        assert_eq!(of(&refused).0, Tone::Attention);
        let manual = HookStatus { manual: true, error: Some("the link only reads".into()), ..wanted };
        assert_eq!(of(&manual).1, "to be added by a person");
    }

    #[test]
    fn trouble_names_who_can_help_and_shows_links_only_to_owners() {
        let state = SourceState {
            problem: None,
            takeover: None,
            login: Some("octo".into()),
            link: LinkState::Revoked,
            link_since: None,
            link_problem: Some("the link of `octo` to `github` is revoked since 2026-11-21 14:02 UTC".into()),
            link_hint: Some("link it again under Source providers and retry".into()),
            looked_at: None,
            next_look_at: Timestamp::from_millis(0),
        };
        let own = trouble(&state, Some("/o/acme/settings/source-providers"), "acme");
        assert_eq!((own[0].tone, own[0].providers.as_deref()), (Tone::Attention, Some("/o/acme/settings/source-providers")));
        assert!(own[0].next.contains("link it again"), "{}", own[0].next);
        let other = trouble(&state, None, "acme");
        assert!(other[0].providers.is_none() && other[0].next.contains("An owner of `acme` can help"), "{}", other[0].next);
        let fine = SourceState { link: LinkState::Ok, link_problem: None, link_hint: None, ..state.clone() };
        assert!(trouble(&fine, None, "acme").is_empty());
        let disabled = SourceState { link: LinkState::Disabled, ..state };
        assert_eq!(trouble(&disabled, None, "acme")[0].tone, Tone::Stopped);
    }

    #[test]
    fn intervals_read_well() {
        let of = |seconds| every(Duration::from_secs(seconds));
        assert_eq!([of(60), of(300), of(5), of(90)], ["every minute", "every 5 minutes", "every 5.0s", "every 1m 30s"]);
    }
}
