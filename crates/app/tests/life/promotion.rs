//! Which builds move a tag: real commits at the fake provider, builds by hand, force pushes, roll-backs. Any order of all of them is held against
//! a model beside the rule (`app::promote`).

use anyhow::{Context as _, Result};
use slipway_app::{AuditFilter, BuilderOutcome, Error, RegisteredBuilder, RepositoryAdmin, RepositoryWrite, RetryBuild, StartBuild};
use slipway_model::{BuildState, FailureCode, FailureReason, ImageTag};
use slipway_store::builds::Build;
use slipway_store::{build_tags, images};

use crate::world::World;

struct Scene {
    world: World,
    right: RepositoryAdmin,
    builder: RegisteredBuilder,
    latest: ImageTag,
}

impl Scene {
    async fn new() -> Result<Self> {
        let world = World::new().await?;
        let (_, right) = world.ready().await?;
        let builder = world.builder("one").await?;
        Ok(Self { world, right, builder, latest: "latest".parse()? })
    }

    fn write(&self) -> RepositoryWrite {
        RepositoryWrite::from(self.right.clone())
    }

    async fn head(&self) -> Result<String> {
        self.world.github.ref_head("octo/hello", "refs/heads/main").await?.context("main stands")
    }

    async fn commit(&self, text: &str) -> Result<String> {
        self.world.github.commit("octo/hello", "main", &[("text", text)], text).await
    }

    fn digest(build: &Build) -> String {
        format!("sha256:{:064x}", build.number)
    }

    /// The next build of the queue ends with an image; gives how it is then.
    async fn built(&self) -> Result<Build> {
        let build = self.world.app.claim(&self.builder).await?.context("a build waits")?.build;
        self.world.pushed(build.repository, &Self::digest(&build)).await?;
        let outcome = BuilderOutcome::Pushed(Self::digest(&build));
        assert_eq!(self.world.app.finish(&self.builder, build.id, build.attempt, &outcome).await?, Ok(BuildState::Success));
        self.world.builds(&self.right).await?.into_iter().find(|one| one.id == build.id).context("it stands")
    }

    async fn pushed(&self, before: &str, after: &str) -> Result<Build> {
        self.world.push(&self.right, before, after).await?;
        self.built().await
    }

    async fn start(&self, commit: &str) -> Result<Result<Vec<Build>, Error>> {
        let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: Some(commit.parse()?), no_cache: false };
        Ok(self.world.app.start_builds(&self.write(), &start, self.right.repository().account).await)
    }

    async fn by_hand(&self, commit: &str) -> Result<Build> {
        self.start(commit).await??;
        self.built().await
    }

    async fn retried(&self, build: &Build) -> Result<Build> {
        let retry = RetryBuild { build: build.id, no_cache: false };
        self.world.app.retry_build(&self.write(), retry, self.right.repository().account).await?;
        self.built().await
    }

    /// The number of the build whose image the tag shows.
    async fn shows(&self) -> Result<u64> {
        let mut tx = self.world.app.db().read().await?;
        let tag = images::get_tag(&mut tx, self.right.repository().id, "latest").await?.context("latest")?;
        let all = self.world.builds(&self.right).await?;
        let build = all.iter().find(|build| Self::digest(build) == tag.digest).context("of a build")?;
        assert_eq!(tag.origin.map(|origin| origin.build), Some(build.id));
        Ok(build.number)
    }

    async fn roll_back(&self, which: &str) -> Result<slipway_store::images::Tag, Error> {
        self.world.app.roll_back(&self.right, &self.latest, which).await
    }
}

fn note(build: &Build) -> &str {
    build.note.as_deref().unwrap_or_default()
}

fn code(refused: Result<slipway_store::images::Tag, Error>) -> String {
    match refused {
        Err(Error::Refused(refusal)) => refusal.code.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_older_than_what_a_tag_shows_does_not_move_it() -> Result<()> {
    let scene = Scene::new().await?;
    let first = scene.head().await?;
    // Two commits in one push: the first of them was never the head.
    let (between, second) = (scene.commit("2").await?, scene.commit("3").await?);
    assert_eq!((scene.pushed(&first, &second).await?.note, scene.shows().await?), (None, 1));
    let old = scene.by_hand(&between).await?;
    assert_eq!((old.number, scene.shows().await?), (2, 1));
    let expected = format!("not moved, because {} is older than {}, which it shows", &between[..7], &second[..7]);
    assert!(note(&old).starts_with(&expected) && note(&old).ends_with(": latest"), "{}", note(&old));
    // The same commit once more is no step back.
    assert_eq!((scene.by_hand(&second).await?.note, scene.shows().await?), (None, 3));
    // A force push makes its commit the newest, whatever it comes from; what it replaced stays behind it.
    let side = scene.world.github.force_commit("octo/hello", "main", Some(&first), &[("text", "4")], "side").await?;
    assert_eq!((scene.pushed(&second, &side).await?.note, scene.shows().await?), (None, 4));
    // No part of the branch any more, so only its own build can be made once more.
    let refused = scene.start(&second).await?;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.code == "commit_not_in_ref"), "{refused:?}");
    let pushed = scene.world.builds(&scene.right).await?.into_iter().find(|build| build.number == 1).context("the push of it")?;
    let replaced = scene.retried(&pushed).await?;
    assert_eq!((note(&replaced), scene.shows().await?), ("not moved, because a newer push of `main` moved it before: latest", 4));
    // One that leads back to an older commit is a step back, which only a person makes.
    scene.world.github.update_ref("octo/hello", "refs/heads/main", &first).await?;
    let back = scene.pushed(&side, &first).await?;
    assert!(note(&back).contains(&format!("{} is older than {}", &first[..7], &side[..7])), "{}", note(&back));
    assert_eq!(scene.shows().await?, 4);
    Ok(())
}

#[tokio::test]
async fn a_person_moves_a_tag_back_and_the_next_push_moves_it_on() -> Result<()> {
    let scene = Scene::new().await?;
    let first = scene.head().await?;
    let second = scene.commit("2").await?;
    scene.pushed(&first, &second).await?;
    let third = scene.commit("3").await?;
    scene.pushed(&second, &third).await?;
    assert_eq!(scene.shows().await?, 2);
    let moved = scene.roll_back("1").await?;
    assert_eq!((scene.shows().await?, moved.moved_by), (1, Some(scene.right.repository().account)));
    // Nothing from before moves it on: neither a retry nor a build by hand of what was the head.
    let newest = scene.world.builds(&scene.right).await?[1].clone();
    let expected = "not moved, because a person moved it to the image of #1 after this push: latest";
    assert_eq!((note(&scene.retried(&newest).await?), scene.shows().await?), (expected, 1));
    assert_eq!((note(&scene.by_hand(&third).await?), scene.shows().await?), (expected, 1));
    let fourth = scene.commit("4").await?;
    assert_eq!((scene.pushed(&third, &fourth).await?.note, scene.shows().await?), (None, 5));
    // Every move is in the audit log, by id too.
    scene.roll_back(&newest.id.to_string()).await?;
    let root = scene.world.administrator("root").await?;
    let filter = AuditFilter { action: Some("tag.move".into()), ..AuditFilter::default() };
    let told = scene.world.app.list_audit(&scene.world.app.installation_audit(&root)?, &filter, None, 10).await?;
    let moves: Vec<_> = told.iter().map(|entry| (entry.object.as_str(), entry.new.as_ref().map(|new| new["build"].clone()))).collect();
    assert_eq!(moves, [("hello:latest", Some(2.into())), ("hello:latest", Some(1.into()))]);
    assert!(told.iter().all(|entry| entry.actor == "demo" && entry.old.is_some()));
    Ok(())
}

#[tokio::test]
async fn a_tag_of_a_hook_is_moved_to_what_the_hook_pushed_by_it() -> Result<()> {
    let scene = Scene::new().await?;
    let (repository, extra): (_, ImageTag) = (scene.right.repository().id, "extra".parse()?);
    let extra_of = |number: u64| format!("sha256:{:064x}", 1000 + number);
    let mut before = scene.head().await?;
    for text in ["2", "3", "4"] {
        let commit = scene.commit(text).await?;
        scene.world.push(&scene.right, &before, &commit).await?;
        before = commit;
        let build = scene.world.app.claim(&scene.builder).await?.context("a build waits")?.build;
        scene.world.pushed(repository, &extra_of(build.number)).await?;
        let mut tx = scene.world.app.db().write().await?;
        build_tags::note(&mut tx, build.id, build.attempt, &extra, &extra_of(build.number)).await?;
        tx.commit().await?;
        // `hooks/push` of the last one pushes only by its own tag.
        let outcome = if text == "4" {
            BuilderOutcome::Passed
        } else {
            scene.world.pushed(repository, &Scene::digest(&build)).await?;
            BuilderOutcome::Pushed(Scene::digest(&build))
        };
        assert_eq!(scene.world.app.finish(&scene.builder, build.id, 1, &outcome).await?, Ok(BuildState::Success));
    }
    let back = async |tag: &ImageTag, which: &str| scene.world.app.roll_back(&scene.right, tag, which).await;
    assert_eq!(back(&extra, "1").await?.digest, extra_of(1));
    assert_eq!(back(&scene.latest, "1").await?.digest, format!("sha256:{:064x}", 1), "the rule's own tag");
    assert_eq!(back(&extra, "3").await?.digest, extra_of(3), "it has no other image");
    assert_eq!(code(back(&scene.latest, "3").await), "no_image");
    // One that was deleted is one that the build gives all the same.
    scene.world.app.delete_tag(&scene.write(), "extra").await?;
    assert_eq!(back(&extra, "2").await?.digest, extra_of(2));
    Ok(())
}

#[tokio::test]
async fn a_tag_is_not_moved_to_what_is_no_image() -> Result<()> {
    let scene = Scene::new().await?;
    let first = scene.head().await?;
    let second = scene.commit("2").await?;
    scene.pushed(&first, &second).await?;
    scene.world.push(&scene.right, &second, &scene.commit("3").await?).await?;
    let failing = scene.world.app.claim(&scene.builder).await?.context("a build")?.build;
    let failed = BuilderOutcome::Failed(FailureReason::new(FailureCode::StepFailed, "no"));
    assert_eq!(scene.world.app.finish(&scene.builder, failing.id, 1, &failed).await?, Ok(BuildState::Failed));
    assert_eq!(code(scene.roll_back("2").await), "no_image");
    for nothing in ["3", "0", "", "x", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(code(scene.roll_back(nothing).await), "no_such_build", "{nothing}");
    }
    let other = scene.world.app.roll_back(&scene.right, &"other".parse()?, "1").await;
    assert!(matches!(other, Err(Error::NotFound)), "a tag that neither stands nor is of the build: {other:?}");
    // One that was deleted comes back; an image that was deleted does not.
    scene.world.app.delete_tag(&scene.write(), "latest").await?;
    scene.roll_back("#1").await?;
    assert_eq!(scene.shows().await?, 1);
    let mut tx = scene.world.app.db().write().await?;
    let gone = scene.world.builds(&scene.right).await?[0].digest.clone().context("a digest")?;
    images::delete_manifest(&mut tx, scene.right.repository().id, &gone).await?;
    tx.commit().await?;
    assert_eq!(code(scene.roll_back("1").await), "image_gone");
    Ok(())
}

#[tokio::test]
async fn where_nobody_can_tell_which_is_older_the_order_decides_and_the_build_says_so() -> Result<()> {
    let scene = Scene::new().await?;
    let first = scene.head().await?;
    let second = scene.commit("2").await?;
    scene.pushed(&first, &second).await?;
    let third = scene.commit("3").await?;
    scene.world.push(&scene.right, &second, &third).await?;
    let build = scene.world.app.claim(&scene.builder).await?.context("a build")?.build;
    scene.world.pushed(build.repository, &Scene::digest(&build)).await?;
    scene.world.github.set_outage(Some(502));
    let outcome = BuilderOutcome::Pushed(Scene::digest(&build));
    assert_eq!(scene.world.app.finish(&scene.builder, build.id, 1, &outcome).await?, Ok(BuildState::Success));
    assert_eq!(scene.shows().await?, 2);
    let told = scene.world.builds(&scene.right).await?[1].clone();
    let expected = format!("whether {} is older than {} could not be known", &third[..7], &second[..7]);
    assert!(note(&told).starts_with(&expected) && note(&told).ends_with("the order of pushes decided"), "{}", note(&told));
    // Asked again, the answer is the same, and nothing changes.
    assert_eq!(scene.world.app.finish(&scene.builder, build.id, 1, &outcome).await?, Ok(BuildState::Success));
    assert_eq!(scene.world.builds(&scene.right).await?[1].note, told.note);
    Ok(())
}
