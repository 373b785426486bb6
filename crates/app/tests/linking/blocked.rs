//! Sources that their provider shuts: blocked ones are said to be so and are not built, archived ones are marked and built as before.

use anyhow::{Context as _, Result, bail};
use slipway_app::{Error, RepositoryAdmin, RepositoryRead, RepositoryWrite, SourceProblem, SourceSearch};
use slipway_testkit::github::Blocked;

use crate::place::{Place, on_both};

on_both! {
    what_the_provider_blocks_is_said_to_be_blocked_and_not_built;
    what_is_archived_is_marked_and_built_as_before;
}

/// The timers, hours later.
async fn looks(place: &Place) -> Result<()> {
    place.wait(8 * 3600);
    place.round().await?;
    while place.app.reconcile_once().await? > 0 {}
    Ok(())
}

async fn problem(place: &Place, right: &RepositoryAdmin) -> Result<Option<SourceProblem>> {
    let read = RepositoryRead::from(RepositoryWrite::from(right.clone()));
    Ok(place.app.get_source_state(&read).await?.context("it has a source")?.problem)
}

async fn what_the_provider_blocks_is_said_to_be_blocked_and_not_built(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    looks(&place).await?;
    assert!(problem(&place, &right).await?.is_none());
    for why in [Blocked::Dmca, Blocked::Tos] {
        place.github.block_repository("octo/hello", Some(why));
        looks(&place).await?;
        let found = problem(&place, &right).await?.with_context(|| format!("{why:?}"))?;
        assert_eq!(found.code, "forbidden", "{found:?}");
        assert!(found.text.contains("Repository access blocked") && found.text.contains("`octo`"), "{found:?}");
        looks(&place).await?;
        assert_eq!(problem(&place, &right).await?.map(|again| again.since), Some(found.since), "since then");
        let view = place.view().await?;
        assert!(view.used_by[0].problem.is_some(), "{view:?}");
        match place.start(&right).await {
            Err(Error::Refused(refusal)) => assert!(refusal.detail.contains("Repository access blocked"), "{refusal:?}"),
            other => bail!("{why:?}: {other:?}"),
        }
        // Freed again it is what it was, though nothing was pushed meanwhile.
        place.github.block_repository("octo/hello", None);
        looks(&place).await?;
        assert!(problem(&place, &right).await?.is_none(), "{why:?}");
        place.start(&right).await?;
    }
    assert_eq!(place.builds(&right).await?.len(), 2);
    Ok(())
}

async fn what_is_archived_is_marked_and_built_as_before(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    looks(&place).await?;
    place.github.archive_repository("octo/hello");
    looks(&place).await?;
    let search = SourceSearch { text: "hello", ..SourceSearch::default() };
    let found = place.app.source_repositories(&place.owner().await?, &place.provider, search).await?;
    assert!(found.items[0].archived, "{found:?}");
    let audited = place.audited().await?;
    assert!(audited.contains(&"source.archived by slipway".to_owned()), "{audited:?}");
    assert!(problem(&place, &right).await?.is_none(), "it can be read, which is all that a build needs");
    place.start(&right).await?;
    Ok(())
}
