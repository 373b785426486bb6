//! Access tokens as forms and tables, whoever owns them: what was typed becomes a wish, a refusal comes back beside its field.
//!
//! Deliberately elsewhere: whose tokens they are and who may make them (the pages that use this, and `slipway-app`).

use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use slipway_app::{Refusal, TokenView, TokenWish};
use slipway_model::{Scope, ScopeSet, Timestamp};

use super::error::sentence;
use super::fields::Fields;
use super::view::form::Field;
use super::view::tokens::{Expiry, NewToken, Reach, ScopeChoice, TokenForm, TokenLife, TokenRow};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// More repositories than a token may name, fewer than would take long to look at.
const MAX_PATHS: usize = 200;

/// What `docker login`, push and pull need.
const USUAL: [Scope; 2] = [Scope::RepoRead, Scope::RepoWrite];

fn explain(scope: Scope) -> &'static str {
    match scope {
        Scope::RepoRead => "Read repositories, builds and settings; pull.",
        Scope::RepoWrite => "Push; delete tags.",
        Scope::RepoAdmin => "Change settings, create and delete repositories, link providers.",
        Scope::BuildWrite => "Start, cancel and retry builds.",
        Scope::Account => "The account itself: its settings, organizations and tokens.",
    }
}

fn scopes(ticked: &[Scope]) -> Vec<ScopeChoice> {
    Scope::ALL.iter().map(|scope| ScopeChoice { name: scope.as_str(), text: explain(*scope), ticked: ticked.contains(scope) }).collect()
}

/// The form before anything was typed.
pub(super) fn empty() -> TokenForm {
    TokenForm { scopes: scopes(&USUAL), ..TokenForm::default() }
}

/// The last moment of a day in UTC, written `2026-12-31`.
pub(super) fn end_of_day(day: &str) -> Option<Timestamp> {
    let shaped = day.len() == 10 && day.bytes().enumerate().all(|(n, b)| if matches!(n, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    let text = format!("{day}T23:59:59Z");
    shaped.then(|| Timestamp::deserialize(StrDeserializer::<ValueError>::new(&text)).ok()).flatten()
}

/// The form as it was sent, with a wish when it can be read.
pub(super) struct Sent {
    pub(super) form: TokenForm,
    pub(super) wish: Option<TokenWish>,
}

/// Reads the form. What cannot be read stands beside its field, and there is no wish.
pub(super) fn read(fields: &Fields, now: Timestamp) -> Sent {
    let ticked: Vec<Scope> = fields.all("scope").filter_map(|word| word.parse().ok()).collect();
    let name = fields.text("name").trim();
    let typed = fields.text("repositories");
    let listed = fields.text("reach") == Reach::Listed.as_str();
    let mut form = TokenForm {
        name: Field::new(name),
        scopes: scopes(&ticked),
        scopes_error: None,
        reach: if listed { Reach::Listed } else { Reach::Everything },
        repositories: Field::new(typed),
        expiry: Expiry::from_word(fields.text("expires")).unwrap_or_default(),
        until: Field::new(fields.text("until").trim()),
    };
    let paths: Vec<String> =
        typed.split([',', '\n', '\r', ' ', '\t']).filter(|path| !path.is_empty()).take(MAX_PATHS).map(str::to_owned).collect();
    let after = |days| Some(now.plus(DAY * days));
    let expires_at = match form.expiry {
        Expiry::Week => after(7),
        Expiry::Month => after(30),
        Expiry::Quarter => after(90),
        Expiry::Year => after(365),
        Expiry::Never => None,
        Expiry::Date => {
            let end = end_of_day(&form.until.value);
            form.until.error = match end {
                None => Some("Choose a day, as `2026-12-31`.".to_owned()),
                Some(end) if end <= now => Some("That day has passed.".to_owned()),
                Some(_) => None,
            };
            end
        }
    };
    if ticked.is_empty() {
        form.scopes_error = Some("Choose at least one.".to_owned());
    }
    if listed && paths.is_empty() {
        form.repositories.error = Some("Name at least one repository, or choose “Everywhere”.".to_owned());
    }
    let readable = form.scopes_error.is_none() && !form.repositories.is_refused() && !form.until.is_refused();
    let wish = TokenWish { name: name.to_owned(), scopes: ScopeSet::new(ticked), repositories: listed.then_some(paths), expires_at };
    Sent { form, wish: readable.then_some(wish) }
}

/// The form with the application's refusal beside the field that it names.
pub(super) fn refused(mut form: TokenForm, refusal: &Refusal) -> TokenForm {
    let text = Some(sentence(&refusal.detail));
    match refusal.field.as_deref() {
        Some(field) if field.starts_with("scope") => form.scopes_error = text,
        Some(field) if field.starts_with("repositories") => form.repositories.error = text,
        Some("expires_at") => {
            form.expiry = Expiry::Date;
            form.until.error = text;
        }
        _ => form.name.error = text,
    }
    form
}

/// The table.
pub(super) fn rows(tokens: Vec<TokenView>, now: Timestamp) -> Vec<TokenRow> {
    let row = |view: TokenView| TokenRow {
        id: view.token.id.to_string(),
        name: view.token.name,
        scopes: view.token.scopes.iter().map(ToString::to_string).collect(),
        repositories: view.repositories,
        created_at: view.token.created_at,
        used_at: view.token.last_used_at,
        used_from: view.token.last_used_from,
        expires_at: view.token.expires_at,
        life: if view.token.expires_at.is_some_and(|end| end <= now) { TokenLife::Ended } else { TokenLife::Valid },
    };
    tokens.into_iter().map(row).collect()
}

/// The token that was just made, with the command that logs in with it.
pub(super) fn created(name: &str, made: &slipway_app::NewToken, registry: &str, account: &str) -> NewToken {
    NewToken { name: name.to_owned(), token: made.secret.expose().to_owned(), login: format!("docker login {registry} -u {account}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_385_000_000);

    #[test]
    fn a_full_form_is_a_wish() {
        let sent = read(
            &Fields::of("name=+ci+&scope=repo%3Aread&scope=nonsense&reach=listed&repositories=acme%2Fshop%0D%0Aacme%2Fbase&expires=30"),
            NOW,
        );
        let wish = sent.wish.unwrap();
        assert_eq!(wish.name, "ci");
        assert_eq!(wish.scopes.to_string(), "repo:read");
        assert_eq!(wish.repositories.unwrap(), ["acme/shop", "acme/base"]);
        assert_eq!(wish.expires_at, Some(NOW.plus(DAY * 30)));
    }

    #[test]
    fn what_is_missing_is_said_beside_its_field_and_what_was_typed_stays() {
        let sent = read(&Fields::of("name=ci&reach=listed&repositories=+%0A&expires=date&until=2020-01-01"), NOW);
        assert!(sent.wish.is_none());
        assert!(sent.form.scopes_error.is_some() && sent.form.repositories.is_refused() && sent.form.until.is_refused());
        assert_eq!((sent.form.name.value.as_str(), sent.form.until.value.as_str()), ("ci", "2020-01-01"));
        let everywhere = read(&Fields::of("name=ci&scope=account&reach=everything&repositories=left&expires=never"), NOW).wish.unwrap();
        assert!(everywhere.repositories.is_none() && everywhere.expires_at.is_none());
    }

    #[test]
    fn days_end_at_their_last_second() {
        assert_eq!(end_of_day("2026-12-31").map(|end| end.to_string()).as_deref(), Some("2026-12-31T23:59:59.000Z"));
        for bad in ["", "2026-02-30", "2026-1-1", "31.12.2026", "2026-12-31T00", "+026-12-31", "２026-12-31"] {
            assert_eq!(end_of_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn refusals_find_their_field() {
        let refusal = |field: &str| Refusal::new(slipway_app::RefusalKind::Invalid, "x", "no").field(field);
        assert!(refused(empty(), &refusal("scopes")).scopes_error.is_some());
        assert!(refused(empty(), &refusal("repositories[1]")).repositories.is_refused());
        assert!(refused(empty(), &refusal("expires_at")).until.is_refused());
        assert!(refused(empty(), &refusal("elsewhere")).name.is_refused());
    }
}
