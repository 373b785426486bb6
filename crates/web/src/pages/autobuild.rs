//! Autobuild settings: rules and variables in one form, the preview. Choosing a source is elsewhere (`picker`).

use axum::response::Response;
use slipway_app::store::builds::Build;
use slipway_app::{App, Error, PreviewRef, RepositoryRead, RuleInput, RulesBuilt, RulesPreview};
use slipway_forge::{Coverage, SourceKey};
use slipway_model::{Autotest, ProviderId};

use super::autobuild_form::{Typed, place, rule_row, variable_row, with_empty_rule, with_empty_variable, with_values};
use super::error::{PageError, sentence};
use super::fields::{At, Form, Query};
use super::frame::{RepositoryAt, Visit, go, show, show_refused};
use super::repository::{Opened, open, source_view};
use super::view::autobuild::{AutobuildPage, Preview, PreviewMatch, PreviewRule, PreviewTag, RuleRow, Stored};
use super::view::form::Field;
use super::view::repositories::{SourceView, Tab};
use super::view::shell::Notice;
use super::view::ui::Tone;
use super::webhook::at_provider;
use crate::error::ApiError;

/// A rule's matches in the preview.
const MATCHES: usize = 20;

/// `GET /{ns}/{name}/autobuild`: as stored, or with the source that was just chosen (`?provider=&source=&source_id=&branch=`).
pub(super) async fn page(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Autobuild).await?;
    opened.rights.read()?;
    let chosen = match opened.rights.admin() {
        Ok(_) => chosen(&visit, &opened, query.text("provider"), query.text("source"), query.text("source_id")).await?,
        Err(_) => None,
    };
    let branch = query.filled("branch").unwrap_or("main");
    // Values are shown to those who may change them, and only when they ask: others may look over the shoulder.
    let values = if query.text("values") == "shown" && opened.rights.admin().is_ok() { Values::Shown } else { Values::Hidden };
    Ok(show(&stored_page(visit.app(), opened, chosen, branch, values)))
}

/// The source that the address or a form names, when it is not the stored one.
async fn chosen(visit: &Visit, opened: &Opened, provider: &str, source: &str, id: &str) -> Result<Option<SourceView>, PageError> {
    let Ok(provider) = provider.parse::<ProviderId>() else { return Ok(None) };
    if source.is_empty() || source.len() > 500 || id.len() > 100 {
        return Ok(None);
    }
    let mut tx = visit.app().db().read().await?;
    let link = slipway_app::store::links::get(&mut tx, opened.rights.view.repository().account, &provider).await?;
    Ok(source_view(visit.app(), &provider, SourceKey { id, full_name: source }, link.map(|link| link.state)))
}

/// Whether the stored values of variables are on the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Shown,
    Hidden,
}

fn stored_page(app: &App, opened: Opened, chosen: Option<SourceView>, branch: &str, values: Values) -> AutobuildPage {
    let settings = opened.autobuild.as_ref();
    let mut rules: Vec<RuleRow> =
        settings.map(|s| s.rules.iter().enumerate().map(|(n, rule)| rule_row(n, rule)).collect()).unwrap_or_default();
    if rules.is_empty() {
        rules.push(RuleRow { source: Field::new(branch), tags: Field::new("latest"), ..RuleRow::empty(0) });
    }
    let variables =
        settings.map(|s| s.environment.iter().enumerate().map(|(n, variable)| variable_row(n, variable)).collect()).unwrap_or_default();
    let variables = match (values, settings) {
        (Values::Shown, Some(settings)) => with_values(variables, &settings.environment),
        _ => variables,
    };
    let at_provider = if chosen.is_none() { at_provider(app, &opened) } else { None };
    AutobuildPage {
        at_provider,
        source: chosen.or_else(|| opened.head.source.clone()),
        source_error: None,
        autotest: settings.map_or(Autotest::Off, |s| s.autotest),
        approve_external: settings.is_none_or(|s| s.approve_external),
        cancel_superseded: settings.is_none_or(|s| s.cancel_superseded),
        rules: with_empty_rule(rules),
        variables: with_empty_variable(variables),
        preview: Preview::default(),
        stored: if settings.is_some() { Stored::Yes } else { Stored::No },
        shell: opened.shell,
        head: opened.head,
    }
}

async fn typed_page(visit: &Visit, opened: Opened, typed: Typed) -> Result<AutobuildPage, PageError> {
    let source = chosen(visit, &opened, &typed.provider, &typed.source, &typed.source_id).await?;
    Ok(AutobuildPage {
        at_provider: at_provider(visit.app(), &opened),
        source: source.or_else(|| opened.head.source.clone()),
        source_error: typed.error,
        autotest: typed.autotest,
        approve_external: typed.approve_external,
        cancel_superseded: typed.cancel_superseded,
        rules: with_empty_rule(typed.rules),
        variables: with_empty_variable(typed.variables),
        preview: Preview::default(),
        stored: if opened.autobuild.is_some() { Stored::Yes } else { Stored::No },
        shell: opened.shell,
        head: opened.head,
    })
}

/// `POST /{ns}/{name}/autobuild`: save, save and build, or one of the helps for pages without JavaScript.
pub(super) async fn write(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Autobuild).await?;
    let admin = opened.rights.admin()?.clone();
    let mut typed = Typed::of(&form);
    match form.text("action") {
        "preview" => {
            let preview = look(&visit, opened.rights.read()?, &typed).await?;
            return Ok(show(&AutobuildPage { preview, ..typed_page(&visit, opened, typed).await? }));
        }
        // The page has one more empty row than what was typed, so what was typed in the last one is kept and a new one appears.
        "add-rule" | "add-variable" => return Ok(show(&typed_page(&visit, opened, typed).await?)),
        _ => {}
    }
    match visit.app().put_autobuild(&admin, &typed.input()).await {
        Ok(_) if form.text("action") == "save-and-build" => build_now(&visit, &at).await,
        Ok(_) => Ok(go(&format!("{}/autobuild?done=autobuild", opened.base()))),
        Err(Error::Refused(refusal)) => {
            typed.refuse(&refusal);
            Ok(show_refused(&typed_page(&visit, opened, typed).await?))
        }
        Err(error @ Error::Forge { .. }) => {
            typed.error = Some(sentence(&ApiError::from(error).detail));
            Ok(show_refused(&typed_page(&visit, opened, typed).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// After "Save and build": what was saved stays saved, and what was started and what was not is said.
async fn build_now(visit: &Visit, at: &RepositoryAt) -> Result<Response, PageError> {
    let mut opened = open(visit, at, Tab::Autobuild).await?;
    let (tone, text) = match visit.app().build_rules(opened.rights.write()?, visit.caller.account().id).await {
        Ok(RulesBuilt { started, left }) => match (started.as_slice(), left.as_slice()) {
            ([only], []) => return Ok(go(&format!("{}/builds/{}", opened.base(), only.number))),
            ([_, ..], []) => return Ok(go(&format!("{}/builds", opened.base()))),
            _ => (if started.is_empty() { Tone::Attention } else { Tone::Good }, in_words(&started, &left)),
        },
        Err(error @ (Error::Refused(_) | Error::Forge { .. })) => {
            (Tone::Attention, format!("Saved, but nothing was built: {}", sentence(&ApiError::from(error).detail)))
        }
        Err(error) => return Err(error.into()),
    };
    opened.shell.notice = Some(Notice { tone, text });
    let branch = opened.autobuild.as_ref().map(|settings| settings.default_branch.clone()).unwrap_or_default();
    Ok(show(&stored_page(visit.app(), opened, None, &branch, Values::Hidden)))
}

/// "Saved. Queued: #7 (branch main). Not built now: the rule tag /^v/ matches 3 tags: start the one that you want under Builds."
fn in_words(started: &[Build], left: &[String]) -> String {
    let builds: Vec<String> = started.iter().map(|build| format!("#{} ({})", build.number, build.rule.describe())).collect();
    match (builds.is_empty(), left.is_empty()) {
        (true, true) => "Saved. Nothing was built: the rules are for pull requests, which are tested when they come.".to_owned(),
        (true, false) => format!("Saved, but nothing was built: {}.", left.join("; ")),
        (false, _) => format!("Saved. Queued: {}. Not built now: {}.", builds.join(", "), left.join("; ")),
    }
}

/// `POST …/autobuild/preview`: the preview alone, for the page's script.
pub(super) async fn preview(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    // The link's token looks at a source that the form names: a right of admins.
    rights.admin()?;
    Ok(show(&look(&visit, rights.read()?, &Typed::of(&form)).await?))
}

/// What the typed rules would do. A rule that is refused is shown as such, the others are tried without it.
async fn look(visit: &Visit, right: &RepositoryRead, typed: &Typed) -> Result<Preview, PageError> {
    let mut left: Vec<(usize, RuleInput)> = typed.rule_inputs().into_iter().enumerate().collect();
    let mut errors: Vec<(usize, String)> = Vec::new();
    let mut problem = None;
    let mut found = None;
    // Rules are checked before the provider is asked, so trying again costs nothing.
    while !left.is_empty() {
        let inputs: Vec<RuleInput> = left.iter().map(|(_, input)| input.clone()).collect();
        match visit.app().preview_rules(right, &typed.provider, &typed.source, &inputs).await {
            Ok(mut looked) => {
                // The rules that were refused have their places still.
                for entry in &mut looked.refs {
                    entry.rule = left.get(entry.rule).map_or(entry.rule, |(place, _)| *place);
                }
                found = Some(looked);
                break;
            }
            Err(Error::Refused(refusal)) => match refusal.field.as_deref().and_then(place) {
                Some(("rules", n, _)) if n < left.len() => errors.push((left.remove(n).0, sentence(&refusal.detail))),
                _ => {
                    problem = Some(sentence(&refusal.detail));
                    break;
                }
            },
            Err(error @ Error::Forge { .. }) => {
                problem = Some(sentence(&ApiError::from(error).detail));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(match (problem, found) {
        (None, Some(found)) => picture(typed, &found, &errors),
        // Each rule is refused, so nobody was asked.
        (None, None) => picture(typed, &RulesPreview { refs: Vec::new(), looked_at: 0, coverage: Coverage::Whole }, &errors),
        (problem, _) => Preview { problem, ..Preview::default() },
    })
}

fn picture(typed: &Typed, looked: &RulesPreview, errors: &[(usize, String)]) -> Preview {
    let found = &looked.refs;
    let others = |name: &str, than: &PreviewRef| -> Vec<String> {
        let given = |entry: &PreviewRef| entry.on_push && entry.tags.iter().any(|tag| tag.as_str() == name);
        let same = found.iter().filter(|entry| !std::ptr::eq(*entry, than) && given(entry));
        same.map(|entry| format!("{} (rule {})", entry.source_ref.short(), entry.rule + 1)).take(3).collect()
    };
    let rules = typed.rules.iter().enumerate().map(|(n, row)| {
        let own: Vec<&PreviewRef> = found.iter().filter(|entry| entry.rule == n).collect();
        let tag = |entry: &PreviewRef, name: &slipway_model::ImageTag| PreviewTag {
            name: name.to_string(),
            collides: entry.collisions.contains(name).then(|| format!("also from {}", others(name.as_str(), entry).join(", "))),
        };
        PreviewRule {
            label: format!("Rule {}", n + 1),
            source: row.source.value.clone(),
            source_type: row.source_type,
            matches: own
                .iter()
                .take(MATCHES)
                .map(|entry| PreviewMatch {
                    source_ref: entry.source_ref.to_string(),
                    tags: entry.tags.iter().map(|name| tag(entry, name)).collect(),
                })
                .collect(),
            more: own.len().saturating_sub(MATCHES),
            by_hand: !row.autobuild,
            error: errors.iter().find(|(rule, _)| *rule == n).map(|(_, text)| text.clone()),
        }
    });
    let mut colliding: Vec<String> = found.iter().flat_map(|entry| &entry.collisions).map(ToString::to_string).collect();
    colliding.sort();
    colliding.dedup();
    let collisions = match colliding.as_slice() {
        [] => Vec::new(),
        names => vec![format!(
            "{} come{} from more than one branch or tag; the build of the later push wins.",
            names.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
            if names.len() == 1 { "s" } else { "" }
        )],
    };
    let part = (looked.coverage == Coverage::Part).then_some(looked.looked_at);
    Preview { rules: rules.collect(), collisions, part, problem: None }
}

/// `POST …/autobuild/remove`.
pub(super) async fn remove(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    visit.app().delete_autobuild(rights.admin()?).await?;
    Ok(go(&format!("/{}/{}?done=autobuild-off", at.ns, at.name)))
}
