//! Starting builds by hand as a form: what was typed becomes a wish, a refusal comes back beside its field.
//!
//! Deliberately elsewhere: which refs and commits may be built (`slipway-app`).

use slipway_app::{Refusal, StartBuild};
use slipway_model::{CommitId, RefKind, RefName};

use super::error::sentence;
use super::fields::Fields;
use super::view::builds::StartForm;
use super::view::form::Field;

/// The form before anything was typed: the branch that people mean most often.
pub(super) fn empty(watched: Option<String>) -> StartForm {
    StartForm { name: Field::new(watched.unwrap_or_default()), ..StartForm::default() }
}

/// Reads the form. What cannot be read stands beside its field, and there is no wish. A button names a ref in full, people its kind and name.
pub(super) fn read(fields: &Fields) -> (StartForm, Option<StartBuild>) {
    let full = match fields.filled("ref") {
        Some(full) => full.to_owned(),
        None => format!("refs/{}/{}", if fields.text("kind") == "tags" { "tags" } else { "heads" }, fields.text("name").trim()),
    };
    let source_ref = full.parse::<RefName>();
    let is_tag = source_ref.as_ref().is_ok_and(|name| name.kind() == RefKind::Tag) || fields.text("kind") == "tags";
    let name = source_ref.as_ref().map_or_else(|_| fields.filled("ref").unwrap_or(fields.text("name")), RefName::short);
    let typed = fields.text("commit").trim();
    let commit = Some(typed).filter(|typed| !typed.is_empty()).map(str::parse::<CommitId>).transpose();
    let mut form = StartForm { is_tag, name: Field::new(name), commit: Field::new(typed), no_cache: fields.ticked("no_cache") };
    form.name.error = source_ref.as_ref().err().map(|error| sentence(&error.to_string()));
    form.commit.error = commit.as_ref().err().map(|error| sentence(&error.to_string()));
    let no_cache = form.no_cache;
    let wish = source_ref.ok().zip(commit.ok()).map(|(source_ref, commit)| StartBuild { source_ref, commit, no_cache });
    (form, wish)
}

/// Puts a refusal with its next step beside the field that it names; `false` when it names none of these.
pub(super) fn refuse(form: &mut StartForm, refusal: &Refusal) -> bool {
    let field = match refusal.field.as_deref() {
        Some("ref") => &mut form.name,
        Some("commit") => &mut form.commit,
        _ => return false,
    };
    let hint = refusal.hint.as_deref().map(|hint| format!(" {}", sentence(hint))).unwrap_or_default();
    field.error = Some(format!("{}{hint}", sentence(&refusal.detail)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_comes_back_with_what_is_wrong_with_it() {
        let commit = "a1".repeat(20);
        let (form, wish) = read(&Fields::of(&format!("kind=tags&name=+v1+&commit=+{commit}+&no_cache=true")));
        let wish = wish.unwrap();
        assert_eq!((wish.source_ref.as_str(), wish.commit.unwrap().as_str(), wish.no_cache), ("refs/tags/v1", commit.as_str(), true));
        assert!(form.is_tag && form.no_cache && form.name.value == "v1" && !form.name.is_refused() && !form.commit.is_refused());
        let (form, wish) = read(&Fields::of("ref=refs/heads/main&commit="));
        assert_eq!((form.name.value.as_str(), form.is_tag, wish.map(|wish| wish.commit)), ("main", false, Some(None)));
        for (sent, name, commit) in [
            ("kind=heads&name=main&commit=abc1234", false, true),
            ("kind=heads&name=main&commit=HEAD", false, true),
            ("kind=tags&name=a+b&commit=", true, false),
            ("name=&commit=x", true, true),
            ("ref=nonsense", true, false),
            ("", true, false),
        ] {
            let (form, wish) = read(&Fields::of(sent));
            assert!(wish.is_none(), "{sent}");
            assert_eq!((form.name.is_refused(), form.commit.is_refused()), (name, commit), "{sent}");
        }
        let (form, _) = read(&Fields::of("kind=tags&name=a+b&commit=abc1234"));
        assert_eq!((form.is_tag, form.name.value.as_str(), form.commit.value.as_str()), (true, "a b", "abc1234"));
    }
}
