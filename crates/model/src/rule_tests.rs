//! Build rules: what they match, what comes out, and what is refused.

use super::*;
use proptest::prelude::*;

fn rule(kind: SourceType, source: &str, tags: &str) -> BuildRule {
    BuildRule { source_type: kind, tags: tags.parse().unwrap(), ..BuildRule::default_for(source.parse().unwrap()) }
}

fn outcome(rule: &BuildRule, name: &str) -> Option<Vec<String>> {
    let found = rule.matches(&name.parse().unwrap(), &"a1".repeat(20).parse().unwrap(), Timestamp::from_millis(1_795_780_800_000))?;
    Some(found.tags.into_iter().map(String::from).collect())
}

#[test]
fn literal_and_regex_sources() {
    let main = rule(SourceType::Branch, "main", "latest");
    assert_eq!(outcome(&main, "refs/heads/main"), Some(vec!["latest".into()]));
    assert_eq!(outcome(&main, "refs/heads/main2"), None);
    assert_eq!(outcome(&main, "refs/tags/main"), None);
    let version = rule(SourceType::Tag, "/^v([0-9]+)\\.([0-9.]+)$/", "release-{\\1}, {\\1}.{\\2}, {sourceref}");
    assert_eq!(outcome(&version, "refs/tags/v1.2.3"), Some(vec!["release-1".into(), "1.2.3".into(), "v1.2.3".into()]));
    assert_eq!(outcome(&version, "refs/tags/x1"), None);
    let unanchored = rule(SourceType::Branch, "/feature/", "{sourceref}");
    assert!(outcome(&unanchored, "refs/heads/my-feature").is_some());
}

#[test]
fn a_regex_that_does_not_compile_says_where() {
    let error = "/^v(abc/".parse::<SourcePattern>().unwrap_err();
    assert_eq!(error.field(), "source");
    assert!(matches!(error, RuleError::Pattern { position: 3, .. }), "{error}");
    assert!("/a{1000}{1000}{1000}/".parse::<SourcePattern>().is_err());
    assert!("a b".parse::<SourcePattern>().is_err());
}

#[test]
fn tags_may_use_only_groups_that_exist() {
    assert_eq!(rule(SourceType::Tag, "/^v(.*)$/", "{\\2}").check(), Err(RuleError::Group { used: 2, available: 1 }));
    assert_eq!(rule(SourceType::Tag, "main", "{\\1}").check(), Err(RuleError::Group { used: 1, available: 0 }));
}

#[test]
fn paths_stay_inside() {
    assert_eq!("/a//b/./c/".parse::<RulePath>().unwrap().as_str(), "a/b/c");
    for root in ["/", ".", "./", "//"] {
        assert_eq!(root.parse::<RulePath>().unwrap().as_str(), "/", "{root}");
    }
    assert_eq!("".parse::<RulePath>().unwrap().as_str(), "");
    for bad in ["../x", "a/../../x", "a\0b"] {
        assert!(bad.parse::<RulePath>().is_err(), "{bad}");
    }
}

#[test]
fn tags_of_a_commit_and_a_day() {
    let main = rule(SourceType::Branch, "main", "{sha}, {sourceref}-{shortsha}, {date}");
    assert_eq!(outcome(&main, "refs/heads/main"), Some(vec!["a1".repeat(20), "main-a1a1a1a".into(), "20261127".into()]));
}

#[test]
fn targets_are_typed() {
    for good in ["", " runtime ", "0", "build-2.x_y"] {
        assert_eq!(good.parse::<TargetStage>().unwrap().as_str(), good.trim());
    }
    for bad in ["-x", "a b", "a/b", &"x".repeat(129)] {
        assert_eq!(bad.parse::<TargetStage>().unwrap_err().field(), "target", "{bad}");
    }
}

#[test]
fn pull_requests_are_matched_by_the_branch_that_they_go_into() {
    let found = |rule: &BuildRule, base: &str| {
        let found = rule.matches_pull_request(&base.parse().unwrap(), &"a1".repeat(20).parse().unwrap(), Timestamp::from_millis(0))?;
        Some(found.tags.into_iter().map(String::from).collect::<Vec<_>>())
    };
    for kind in [SourceType::Branch, SourceType::PullRequest] {
        let rule = rule(kind, "/^release-(.*)$/", "{\\1}");
        assert_eq!(found(&rule, "refs/heads/release-2"), Some(vec!["2".to_owned()]));
        assert_eq!(found(&rule, "refs/heads/main"), None);
        assert_eq!(found(&rule, "refs/tags/release-2"), None);
    }
    assert_eq!(found(&rule(SourceType::Tag, "/.*/", "x"), "refs/heads/main"), None);
    let everything = rule(SourceType::PullRequest, "/.*/", "x");
    for name in ["refs/heads/main", "refs/tags/v1", "refs/pull/1/head"] {
        assert_eq!(outcome(&everything, name), None, "it listens to no push");
    }
    assert_eq!(everything.describe(), "pull request /.*/");
}

#[test]
fn paths_are_for_what_can_be_compared() {
    let with_paths =
        |kind| BuildRule { paths: PathFilter { include: "api".parse().unwrap(), ..PathFilter::default() }, ..rule(kind, "main", "x") };
    for kind in [SourceType::Branch, SourceType::PullRequest] {
        assert_eq!(with_paths(kind).check(), Ok(()));
    }
    assert_eq!(with_paths(SourceType::Tag).check(), Err(RuleError::PathsOfTag));
}

#[test]
fn a_rule_of_before_there_were_targets_is_read() {
    let now = rule(SourceType::Branch, "main", "x");
    let mut json = serde_json::to_value(&now).unwrap();
    for field in ["target", "args", "paths"] {
        json.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(serde_json::from_value::<BuildRule>(json).unwrap(), now);
}

proptest! {
    #[test]
    fn every_match_gives_valid_tags(short in "[a-zA-Z0-9_/\u{e0}-\u{ff}-]{1,40}") {
        let name = RefName::branch(&short);
        prop_assume!(name.is_ok());
        let found = rule(SourceType::Branch, "/(.*)/", "x-{\\1},{sourceref}").matches(&name.unwrap(), &"a1".repeat(20).parse().unwrap(), Timestamp::from_millis(0)).unwrap();
        for tag in found.tags {
            prop_assert!(tag.as_str().parse::<ImageTag>().is_ok());
        }
    }
}
