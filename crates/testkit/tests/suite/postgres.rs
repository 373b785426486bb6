//! Throw-away databases are separate and work.

use std::process::Command;

fn psql(url: &str, statement: &str) -> (bool, String) {
    let output = Command::new("psql").args(["-qAt", "-c", statement, url]).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[tokio::test]
async fn each_database_is_its_own() {
    let (one, two) = tokio::join!(slipway_testkit::postgres::fresh_database(), slipway_testkit::postgres::fresh_database());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    assert!(psql(&one.url(), "CREATE TABLE t (x int); INSERT INTO t VALUES (7)").0);
    assert_eq!(psql(&one.url(), "SELECT x FROM t"), (true, "7".to_owned()));
    assert!(!psql(&two.url(), "SELECT x FROM t").0, "the table stands only in the first");
    assert_eq!(psql(&two.url(), "SHOW synchronous_commit").1, "on", "the product refuses anything else");
}
