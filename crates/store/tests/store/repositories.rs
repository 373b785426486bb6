//! Repositories, settings, rules.

use slipway_model::{
    AccountId, AutobuildId, Autotest, BuildArgument, BuildRule, PathFilter, Permission, RepositoryId, RuleId, SourceType, Visibility,
};
use slipway_store::logs::append;
use slipway_store::repositories::{self, Autobuild, Eyes};
use slipway_store::{Db, StoreError, builds, deliveries, images, refs, teams};

use crate::fixture::{
    NOW, ODD, account, after, autobuild, begin, commit, done, look, organization, provider, ref_name, repository, rule, secret, tag, team,
    token, world,
};

on_both! {
    a_repository_is_found_by_id_and_name;
    a_name_is_given_once_per_account;
    build_numbers_count_up_for_each_repository;
    settings_survive_odd_texts;
    a_repository_has_one_source;
    rules_survive_odd_texts;
    a_rule_belongs_to_one_source;
    everything_of_a_repository_goes_with_it;
    eyes_see_what_is_theirs;
    limited_eyes_see_less;
    only_something_public_shows_a_namespace;
    a_search_finds_what_is_seen;
    a_search_takes_every_text_as_it_stands;
}

async fn a_repository_is_found_by_id_and_name(db: &Db) {
    let ada = account(db, "ada").await;
    let name = "web-shop".parse().expect("name");
    let mut tx = begin(db).await;
    let id = repositories::insert(&mut tx, ada, &name, ODD, Visibility::Public, NOW).await.expect("inserts");
    done(tx).await;
    let mut tx = begin(db).await;
    let found = repositories::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.id, found.account, found.namespace.as_str(), found.name.as_str()), (id, ada, "ada", "web-shop"));
    assert_eq!((found.description.as_str(), found.visibility, found.created_at), (ODD, Visibility::Public, NOW));
    let ada_name = "ada".parse().expect("name");
    assert_eq!(repositories::get_by_name(&mut tx, &ada_name, &name).await.expect("query").expect("stands").id, id);
    assert!(repositories::get_by_name(&mut tx, &"bob".parse().expect("name"), &name).await.expect("query").is_none());
    assert!(repositories::get_by_name(&mut tx, &ada_name, &"web".parse().expect("name")).await.expect("query").is_none());
    assert!(repositories::get(&mut tx, RepositoryId::new()).await.expect("query").is_none());
    let long = "🦀".repeat(100_000);
    repositories::update(&mut tx, id, Some(&long), Some(Visibility::Private)).await.expect("writes");
    let found = repositories::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.description == long, found.visibility), (true, Visibility::Private));
    for (description, visibility, now) in [
        (None, None, (long.as_str(), Visibility::Private)),
        (Some(ODD), None, (ODD, Visibility::Private)),
        (None, Some(Visibility::Public), (ODD, Visibility::Public)),
        (Some(""), None, ("", Visibility::Public)),
    ] {
        repositories::update(&mut tx, id, description, visibility).await.expect("writes");
        let found = repositories::get(&mut tx, id).await.expect("query").expect("stands");
        assert!((found.description.as_str(), found.visibility) == now, "{visibility:?}: what is not said stays");
    }
    assert!(!repositories::delete(&mut tx, RepositoryId::new()).await.expect("deletes"));
}

async fn a_name_is_given_once_per_account(db: &Db) {
    repository(db, "ada", "web").await;
    repository(db, "bob", "web").await;
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    let again = repositories::insert(&mut tx, ada, &"web".parse().expect("name"), "", Visibility::Public, NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

async fn build_numbers_count_up_for_each_repository(db: &Db) {
    let (one, two) = (repository(db, "ada", "one").await, repository(db, "ada", "two").await);
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        takers.spawn(async move {
            let mut tx = begin(&db).await;
            let number = repositories::next_build_number(&mut tx, one).await.expect("counts");
            done(tx).await;
            number
        });
    }
    let mut numbers = takers.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut tx = begin(db).await;
    assert_eq!(repositories::next_build_number(&mut tx, two).await.expect("counts"), 1);
    let gone = repositories::next_build_number(&mut tx, RepositoryId::new()).await;
    assert!(matches!(gone, Err(StoreError::Conflict(_))), "{gone:?}");
}

async fn settings_survive_odd_texts(db: &Db) {
    let (ada, web) = (account(db, "ada").await, repository(db, "ada", "web").await);
    let settings = Autobuild {
        source_id: ODD.into(),
        source_name: format!("{ODD}{}", "ä".repeat(10_000)),
        default_branch: "feature/🦀'\"".into(),
        autotest: Autotest::All,
        environment_sealed: (0..=255).collect(),
        ..autobuild(web)
    };
    let mut tx = begin(db).await;
    assert!(repositories::get_autobuild(&mut tx, web).await.expect("query").is_none());
    repositories::upsert_autobuild(&mut tx, &settings).await.expect("writes");
    let found = repositories::get_autobuild(&mut tx, web).await.expect("query").expect("stands");
    assert_eq!(format!("{found:?}"), format!("{settings:?}"), "every field comes back");
    let changed = Autobuild {
        autotest: Autotest::Internal,
        approve_external: false,
        cancel_superseded: false,
        environment_sealed: vec![],
        updated_at: after(9),
        ..settings.clone()
    };
    repositories::upsert_autobuild(&mut tx, &changed).await.expect("writes");
    let found = repositories::get_autobuild_by_id(&mut tx, settings.id).await.expect("query").expect("stands");
    assert_eq!(format!("{found:?}"), format!("{changed:?}"));
    assert_eq!(repositories::count_by_provider(&mut tx, ada, &provider()).await.expect("query"), 1);
    assert_eq!(repositories::list_names_by_provider(&mut tx, ada, &provider()).await.expect("lists"), ["web"]);
    let by_provider = repositories::list_autobuilds_by_provider(&mut tx, ada, &provider()).await.expect("lists");
    assert_eq!(by_provider.iter().map(|found| found.id).collect::<Vec<_>>(), [settings.id]);
    let other = "ghe".parse().expect("provider");
    assert_eq!(repositories::count_by_provider(&mut tx, ada, &other).await.expect("query"), 0);
    assert!(repositories::list_names_by_provider(&mut tx, ada, &other).await.expect("lists").is_empty());
    assert!(repositories::list_autobuilds_by_provider(&mut tx, ada, &other).await.expect("lists").is_empty());
    assert!(repositories::delete_autobuild(&mut tx, settings.id).await.expect("deletes"));
    assert!(!repositories::delete_autobuild(&mut tx, settings.id).await.expect("deletes"));
    assert!(repositories::get_autobuild_by_id(&mut tx, settings.id).await.expect("query").is_none());
}

async fn a_repository_has_one_source(db: &Db) {
    let web = repository(db, "ada", "web").await;
    let mut tx = begin(db).await;
    repositories::upsert_autobuild(&mut tx, &autobuild(web)).await.expect("writes");
    let second = repositories::upsert_autobuild(&mut tx, &autobuild(web)).await;
    assert!(matches!(second, Err(StoreError::Conflict(_))), "{second:?}");
}

async fn rules_survive_odd_texts(db: &Db) {
    let world = world(db, "web").await;
    let odd = |source: &str, tags: &str, path: &str| BuildRule {
        id: RuleId::new(),
        source_type: SourceType::Tag,
        source: source.parse().expect("pattern"),
        tags: tags.parse().expect("tags"),
        dockerfile: path.parse().expect("path"),
        context: path.parse().expect("path"),
        autobuild: false,
        cache: false,
        target: "stage-1".parse().expect("stage"),
        args: vec![BuildArgument { name: "A".into(), value: "it's = \"🦀\"; --".into() }].try_into().expect("arguments"),
        paths: PathFilter { include: "ä/🦀 '*'/**\nb".parse().expect("patterns"), exclude: "**/*.{md,txt}".parse().expect("patterns") },
    };
    let rules = vec![
        odd("/^v'\"([0-9]+)🦀\\.\\x00$/", " {sourceref} ,\trelease-{\\1}", "docker/🦀 it's \"x\"; --/Dockerfile"),
        world.rule.clone(),
        odd("emoji-🦀-'quote'", "latest", &"ä/".repeat(100)),
        odd(&format!("/{}/", "(a|b)".repeat(200)), &vec!["x".repeat(128); 7].join(","), ""),
    ];
    let mut tx = begin(db).await;
    assert_eq!(repositories::list_rules(&mut tx, world.autobuild).await.expect("lists"), std::slice::from_ref(&world.rule));
    repositories::replace_rules(&mut tx, world.autobuild, &rules).await.expect("writes");
    assert_eq!(repositories::list_rules(&mut tx, world.autobuild).await.expect("lists"), rules, "in order, ids kept");
    let fewer: Vec<BuildRule> = rules.iter().rev().take(2).cloned().collect();
    repositories::replace_rules(&mut tx, world.autobuild, &fewer).await.expect("writes");
    assert_eq!(repositories::list_rules(&mut tx, world.autobuild).await.expect("lists"), fewer);
    repositories::replace_rules(&mut tx, world.autobuild, &[]).await.expect("writes");
    assert!(repositories::list_rules(&mut tx, world.autobuild).await.expect("lists").is_empty());
}

async fn a_rule_belongs_to_one_source(db: &Db) {
    let (one, two) = (world(db, "one").await, world(db, "two").await);
    let mut tx = begin(db).await;
    assert!(!repositories::rule_belongs_elsewhere(&mut tx, one.rule.id, one.autobuild).await.expect("query"));
    assert!(repositories::rule_belongs_elsewhere(&mut tx, one.rule.id, two.autobuild).await.expect("query"));
    assert!(!repositories::rule_belongs_elsewhere(&mut tx, RuleId::new(), two.autobuild).await.expect("query"));
    let stolen = repositories::replace_rules(&mut tx, two.autobuild, std::slice::from_ref(&one.rule)).await;
    assert!(matches!(stolen, Err(StoreError::Conflict(_))), "{stolen:?}");
    drop(tx);
    let mut tx = begin(db).await;
    let nowhere = repositories::replace_rules(&mut tx, AutobuildId::new(), &[rule()]).await;
    assert!(matches!(nowhere, Err(StoreError::Conflict(_))), "{nowhere:?}");
}

async fn everything_of_a_repository_goes_with_it(db: &Db) {
    let (goes, stays) = (world(db, "goes").await, world(db, "stays").await);
    let digest = format!("sha256:{:064x}", 1);
    let mut kept = Vec::new();
    for world in [&goes, &stays] {
        let mut tx = begin(db).await;
        let new = deliveries::NewDelivery {
            hook: slipway_model::HookId::new(),
            repository: world.repository,
            delivery_id: "d",
            event: "push",
            headers: "{}",
            body: b"{}",
            body_sha256: "00",
        };
        let (delivery, _) = deliveries::insert(&mut tx, &new, NOW).await.expect("inserts");
        let build = world.queue(&mut tx, NOW).await;
        append(&mut tx, build, 1, &[(None, "text", NOW)]).await.expect("appends");
        let manifest = images::NewManifest {
            digest: &digest,
            media_type: "m",
            artifact_type: None,
            subject: None,
            annotations: None,
            content: b"x",
            refs: &[],
        };
        images::insert_manifest(&mut tx, world.repository, &manifest, NOW).await.expect("inserts");
        images::move_tags(&mut tx, world.repository, &[tag("latest")], &digest, None, NOW).await.expect("moves");
        done(tx).await;
        kept.push((delivery, build));
    }
    let mut tx = begin(db).await;
    assert!(repositories::delete(&mut tx, goes.repository).await.expect("deletes"));
    assert!(!repositories::delete(&mut tx, goes.repository).await.expect("deletes"));
    done(tx).await;
    let mut tx = look(db).await;
    for (world, (delivery, build), stands) in [(&goes, kept[0], false), (&stays, kept[1], true)] {
        let name = ref_name("refs/heads/main");
        assert_eq!(repositories::get(&mut tx, world.repository).await.expect("query").is_some(), stands);
        assert_eq!(repositories::get_autobuild(&mut tx, world.repository).await.expect("query").is_some(), stands);
        assert_eq!(!repositories::list_rules(&mut tx, world.autobuild).await.expect("query").is_empty(), stands);
        assert_eq!(deliveries::get_raw(&mut tx, delivery).await.expect("query").is_some(), stands);
        assert_eq!(refs::last_seq(&mut tx, world.autobuild, &name).await.expect("query"), u64::from(stands));
        assert_eq!(builds::get_any(&mut tx, build).await.expect("query").is_some(), stands);
        let log = slipway_store::logs::list(&mut tx, build, 0, 10).await.expect("query");
        assert_eq!(!log.is_empty(), stands);
        assert_eq!(images::get_tag(&mut tx, world.repository, "latest").await.expect("query").is_some(), stands);
    }
    // The builder that still works on it learns that nothing is left.
    drop(tx);
    let mut tx = begin(db).await;
    let hash = secret(slipway_model::TokenKind::Build);
    let claimed = builds::claim(&mut tx, slipway_model::BuilderId::new(), &hash, &crate::fixture::FREE, NOW, after(30))
        .await
        .expect("claims")
        .expect("one waits");
    assert_eq!((claimed.id, claimed.commit), (kept[1].1, commit('a')));
}

async fn publish(db: &Db, id: RepositoryId) {
    let mut tx = begin(db).await;
    repositories::update(&mut tx, id, Some(""), Some(Visibility::Public)).await.expect("writes");
    done(tx).await;
}

async fn give(db: &Db, organization: AccountId, name: &str, members: &[AccountId], repositories: &[RepositoryId]) {
    let id = team(db, organization, name, members).await;
    let mut tx = begin(db).await;
    for repository in repositories {
        teams::set_permission(&mut tx, id, *repository, Permission::Read).await.expect("sets");
    }
    done(tx).await;
}

async fn seen(db: &Db, account: AccountId, eyes: Eyes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = repositories::list(&mut look(db).await, account, eyes, names.last().map(String::as_str), 2).await.expect("lists");
        if page.is_empty() {
            return names;
        }
        assert!(page.len() <= 2 && page.iter().all(|found| found.account == account));
        names.extend(page.into_iter().map(|found| found.name.as_str().to_owned()));
    }
}

async fn eyes_see_what_is_theirs(db: &Db) {
    let ((acme, owners), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    let mut ids = Vec::new();
    for name in ["api", "open", "web", "worker"] {
        ids.push(repository(db, "acme", name).await);
    }
    publish(db, ids[1]).await;
    // Two teams that both give it, and one that gives something elsewhere.
    give(db, acme, "crew", &[ada, bob], &[ids[2]]).await;
    give(db, acme, "keepers", &[ada], &[ids[2], ids[3]]).await;
    let theirs = repository(db, "zoo", "secret").await;
    give(db, zoo, "crew", &[eve], &[theirs]).await;
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, eve, NOW).await.expect("adds");
    done(tx).await;
    for (eyes, wanted) in [
        (Eyes::owner(), &["api", "open", "web", "worker"][..]),
        (Eyes::account(ada), &["open", "web", "worker"]),
        (Eyes::account(bob), &["open", "web"]),
        // Whether somebody owns is asked first; these eyes see what the other teams give.
        (Eyes::account(eve), &["open"]),
        (Eyes::account(AccountId::new()), &["open"]),
        (Eyes::stranger(), &["open"]),
    ] {
        assert_eq!(seen(db, acme, eyes).await, wanted, "{eyes:?}");
    }
    assert_eq!(seen(db, zoo, Eyes::account(eve)).await, ["secret"]);
    assert_eq!(seen(db, zoo, Eyes::account(ada)).await, Vec::<String>::new());
    assert_eq!(repositories::count_repositories(&mut look(db).await, acme).await.expect("query"), 4);
    assert_eq!(repositories::count_repositories(&mut look(db).await, AccountId::new()).await.expect("query"), 0);
}

async fn limited_eyes_see_less(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let ada = account(db, "ada").await;
    let mut ids = Vec::new();
    for name in ["api", "open", "web", "worker"] {
        ids.push(repository(db, "acme", name).await);
    }
    publish(db, ids[1]).await;
    give(db, acme, "crew", &[ada], &[ids[2]]).await;
    let (limited, _) = token(db, ada, Some(&[ids[0], ids[2]])).await;
    let (nothing, _) = token(db, ada, Some(&[])).await;
    for (eyes, wanted) in [
        (Eyes::owner().limited(limited), &["api", "open", "web"][..]),
        // The token gives nothing that the account has not.
        (Eyes::account(ada).limited(limited), &["open", "web"]),
        (Eyes::account(ada).limited(nothing), &["open"]),
        (Eyes::owner().limited(nothing), &["open"]),
        (Eyes::owner().limited(slipway_model::TokenId::new()), &["open"]),
        (Eyes::stranger().limited(limited), &["open"]),
    ] {
        assert_eq!(seen(db, acme, eyes).await, wanted, "{eyes:?}");
    }
}

async fn only_something_public_shows_a_namespace(db: &Db) {
    let (web, other) = (repository(db, "ada", "web").await, repository(db, "bob", "web").await);
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    publish(db, web).await;
    let mut tx = begin(db).await;
    assert!(repositories::has_public(&mut tx, ada).await.expect("query"));
    for nobody in [bob, AccountId::new()] {
        assert!(!repositories::has_public(&mut tx, nobody).await.expect("query"));
    }
    repositories::update(&mut tx, other, Some(""), Some(Visibility::Public)).await.expect("writes");
    repositories::update(&mut tx, web, Some(""), Some(Visibility::Private)).await.expect("writes");
    assert!(!repositories::has_public(&mut tx, ada).await.expect("query"));
    assert!(repositories::has_public(&mut tx, bob).await.expect("query"));
}

async fn find(db: &Db, account: AccountId, text: &str, limit: u32) -> Vec<String> {
    let found = repositories::search(&mut look(db).await, account, text, limit).await.expect("searches");
    found.into_iter().map(|found| format!("{}/{}", found.namespace, found.name)).collect()
}

async fn a_search_finds_what_is_seen(db: &Db) {
    let ((acme, _), (_, keepers)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mine = repository(db, "ada", "web").await;
    let (given, _hidden) = (repository(db, "acme", "web-shop").await, repository(db, "acme", "web-secret").await);
    repository(db, "zoo", "web").await;
    publish(db, repository(db, "bob", "open-web").await).await;
    repository(db, "bob", "web-private").await;
    give(db, acme, "crew", &[ada], &[given]).await;
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, keepers, ada, NOW).await.expect("adds");
    done(tx).await;
    assert_eq!(find(db, ada, "web", 50).await, ["acme/web-shop", "ada/web", "bob/open-web", "zoo/web"], "by path");
    assert_eq!(find(db, ada, "web", 2).await, ["acme/web-shop", "ada/web"]);
    assert_eq!(find(db, ada, "e/w", 50).await, ["acme/web-shop"]);
    assert_eq!(find(db, ada, "ada/web", 50).await, ["ada/web"]);
    assert_eq!(find(db, bob, "web", 50).await, ["bob/open-web", "bob/web-private"]);
    assert_eq!(find(db, AccountId::new(), "", 50).await, ["bob/open-web"]);
    let mut tx = begin(db).await;
    slipway_store::accounts::rename(&mut tx, ada, &"eve".parse().expect("name"), NOW).await.expect("renames");
    done(tx).await;
    assert_eq!(find(db, ada, "ada/", 50).await, Vec::<String>::new());
    assert_eq!(find(db, ada, "eve/", 50).await, ["eve/web"]);
    assert!(repositories::get(&mut look(db).await, mine).await.expect("query").is_some());
}

async fn a_search_takes_every_text_as_it_stands(db: &Db) {
    repository(db, "ada", "web_shop").await;
    repository(db, "ada", "web-shop").await;
    let ada = account(db, "ada").await;
    assert_eq!(find(db, ada, "b_s", 50).await, ["ada/web_shop"], "`_` is no placeholder");
    assert_eq!(find(db, ada, "b-s", 50).await, ["ada/web-shop"]);
    let long = "%_\\".repeat(5_000);
    for nothing in [
        "%",
        "w%b",
        "\\",
        "\\%",
        "\\_",
        "%%",
        "web_shop\\",
        "' OR '1'='1",
        ODD,
        "\0",
        "web\0",
        " web",
        "*",
        "?",
        "[a-z]",
        &long,
        &"a".repeat(40_000),
    ] {
        let shown: String = nothing.chars().take(20).collect();
        assert_eq!(find(db, ada, nothing, 50).await, Vec::<String>::new(), "{shown}");
    }
}
