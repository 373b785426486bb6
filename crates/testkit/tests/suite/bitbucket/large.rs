//! Ten thousand repositories: what a picker has to cope with must not be slow because of the fake.

use slipway_testkit::bitbucket::Visibility;

use super::World;

#[tokio::test]
async fn ten_thousand_repositories_are_listed_and_searched() {
    let world = World::new().await;
    for number in 0..10_000 {
        world.bitbucket.add_repository(&format!("acme/service-{number}"), Visibility::Private);
    }
    let first = world.get("/repositories/acme?role=member&pagelen=100").await;
    assert_eq!((first["size"].as_u64(), first["values"].as_array().unwrap().len()), (Some(10_002), 100));
    let last = world.get("/repositories/acme?role=member&pagelen=100&page=101").await;
    assert_eq!((last["values"][1]["name"].as_str(), last.get("next")), (Some("service-9999"), None));
    let found = world.get("/repositories/acme?role=member&q=name+~+%22E-77%22").await;
    assert_eq!(found["size"], 111);
    // Git data is made when it is needed.
    world.bitbucket.push("acme/service-77", "main", &[("a", "1")], "First").await.unwrap();
    assert_eq!(world.get("/repositories/acme/service-77/refs/branches/main").await["name"], "main");
    world.unviolated();
}
