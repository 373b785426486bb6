//! Which repository settings are bound to: the one that was chosen, whoever has its name by now.

use anyhow::Result;
use serde_json::json;
use slipway_app::{AutobuildSettings, Error, Refusal};
use slipway_testkit::github::{FakeGitHub, Visibility as Shown};

use crate::place::{Place, on_both};

on_both! {
    saving_again_keeps_the_repository_that_was_chosen;
    another_repository_under_the_old_name_is_chosen_by_its_id_only;
    an_id_and_a_name_that_do_not_belong_together_choose_nothing;
    names_in_other_letters_are_the_same_source;
}

async fn another(github: &FakeGitHub, name: &str) -> Result<String> {
    github.repository(name, Shown::Private).await?;
    github.commit(name, "main", &[("Dockerfile", "FROM scratch\n")], "another one").await?;
    Ok(github.repository_id(name).to_string())
}

fn refusal(result: Result<AutobuildSettings, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn saving_again_keeps_the_repository_that_was_chosen(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, chosen) = place.build("hello", "octo/hello").await?;
    place.github.rename_repository("octo/hello", "world");
    another(&place.github, "octo/hello").await?;
    let saved = place.save(&right, json!({"provider": "github", "source": "octo/hello"})).await?;
    assert_eq!((saved.source_id.as_str(), saved.source.as_str()), (chosen.source_id.as_str(), "octo/world"));
    // A page that was opened before the rename.
    let saved = place.save(&right, json!({"provider": "github", "source": "octo/hello", "source_id": chosen.source_id})).await?;
    assert_eq!((saved.source_id.as_str(), saved.source.as_str()), (chosen.source_id.as_str(), "octo/world"));
    assert!(place.github.hooks("octo/hello").is_empty(), "the other one gets nothing");
    assert_eq!(place.github.hooks("octo/world").len(), 1);
    Ok(())
}

async fn another_repository_under_the_old_name_is_chosen_by_its_id_only(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, chosen) = place.build("hello", "octo/hello").await?;
    place.github.delete_repository("octo/hello");
    let by_name = json!({"provider": "github", "source": "octo/hello"});
    assert_eq!(refusal(place.save(&right, by_name.clone()).await).code, "source", "gone");
    let new = another(&place.github, "octo/hello").await?;
    for source in ["octo/hello", "Octo/Hello"] {
        let refused = refusal(place.save(&right, json!({"provider": "github", "source": source})).await);
        assert_eq!((refused.code, refused.field.as_deref()), ("source_changed", Some("source")));
        assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains(&format!("`{new}`"))), "{refused:?}");
    }
    let before = json!({"provider": "github", "source": "octo/hello", "source_id": chosen.source_id});
    assert_eq!(refusal(place.save(&right, before).await).code, "source", "by the id of the one that is gone");
    assert!(place.github.hooks("octo/hello").is_empty());
    let saved = place.save(&right, json!({"provider": "github", "source": "octo/hello", "source_id": new})).await?;
    assert_eq!(saved.source_id, new);
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    // From now on it is the stored one.
    assert_eq!(place.save(&right, by_name).await?.source_id, new);
    Ok(())
}

/// As an address that somebody else made would send it: what is shown is not what would be bound.
async fn an_id_and_a_name_that_do_not_belong_together_choose_nothing(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, chosen) = place.build("hello", "octo/hello").await?;
    let other = another(&place.github, "octo/other").await?;
    for source in ["octo/hello", "octo/nothing"] {
        let refused = refusal(place.save(&right, json!({"provider": "github", "source": source, "source_id": other})).await);
        assert_eq!(refused.code, "source_changed", "{refused:?}");
        assert!(refused.detail.contains("`octo/other`"), "{refused:?}");
    }
    for id in ["0", "../user", "x"] {
        let refused = refusal(place.save(&right, json!({"provider": "github", "source": "octo/hello", "source_id": id})).await);
        assert_eq!(refused.code, "source", "{id}");
    }
    let kept = place.save(&right, json!({"provider": "github", "source": "octo/hello", "source_id": ""})).await?;
    assert_eq!(kept.source_id, chosen.source_id, "an empty id is none");
    Ok(())
}

/// Names at GitHub are the same in any letters.
async fn names_in_other_letters_are_the_same_source(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, chosen) = place.build("hello", "OCTO/HELLO").await?;
    assert_eq!(chosen.source, "octo/hello");
    let saved = place.save(&right, json!({"provider": "github", "source": "Octo/HELLO"})).await?;
    assert_eq!((&saved.source, &saved.source_id), (&chosen.source, &chosen.source_id));
    let address = |settings: &AutobuildSettings| settings.hook.as_ref().map(|hook| hook.address.clone());
    assert_eq!(address(&saved), address(&chosen), "the same hook");
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    Ok(())
}
