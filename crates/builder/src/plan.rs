//! What is built: Dockerfile, context and test files of a rule, found inside the checkout.
//!
//! The invariant: every path is opened beneath the checkout, never through a link out of it, before an engine or compose
//! hears of it; what was read here is what is built. Deliberately elsewhere: building (`image`), running tests (`compose`).

use std::path::Path;

use bytes::Bytes;
use slipway_buildkit::{DockerfileText, EntryKind, Tree};
use slipway_model::{BuildRule, FailureCode};

use crate::failure::Failure;

const DOCKERFILE_LIMIT: usize = 1024 * 1024;
/// The rule's field, as people know it.
const DOCKERFILE: &str = "the rule's Dockerfile location";

/// What a build works on.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The build context.
    pub(crate) context: Tree,
    /// The Dockerfile with its path from the root of the source.
    pub(crate) dockerfile: DockerfileText,
    /// The Dockerfile's folder from the root of the source, empty for the root.
    pub(crate) folder: String,
    /// Test files in that folder, by name.
    pub(crate) tests: Vec<String>,
}

/// The checkout, to be read beneath itself only.
pub(crate) fn open(checkout: &Path) -> Result<Tree, Failure> {
    Tree::open(checkout).map_err(|error| Failure::internal("the checkout cannot be read", error))
}

/// The path of the rule's Dockerfile from the root of the source, whether or not it is there yet: a hook may make it. A folder stands for the
/// `Dockerfile` in it.
pub(crate) fn location(source: &Tree, rule: &BuildRule) -> String {
    let path = joined(rule.context.as_str(), rule.dockerfile.as_str());
    match source.kind(&path) {
        Ok(Some(EntryKind::Folder)) => format!("{path}/Dockerfile"),
        _ => path,
    }
}

/// The folder of a path, empty for the root.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A file in a folder, which is empty for the root.
pub(crate) fn beside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The Dockerfile's path from the build context, which is its own folder where a rule names none.
pub(crate) fn from_context<'p>(location: &'p str, rule: &BuildRule) -> &'p str {
    let name = location.strip_prefix(folder(location)).unwrap_or(location);
    let below = |context: &str| location.strip_prefix(context).and_then(|rest| rest.strip_prefix('/')).unwrap_or(location);
    match rule.context.as_str() {
        "" => name.trim_start_matches('/'),
        "/" => location,
        context => below(context),
    }
}

/// Finds everything or says what is missing.
pub(crate) fn make(checkout: &Path, rule: &BuildRule) -> Result<Plan, Failure> {
    let source = open(checkout)?;
    let given_context = rule.context.as_str();
    if !matches!(given_context, "" | "/") {
        require_folder(&source, given_context)?;
    }
    let path = location(&source, rule);
    match source.kind(&path) {
        Ok(Some(EntryKind::File)) => {}
        Ok(_) => return Err(not_found(&path)),
        Err(_) => return Err(outside(&path)),
    }
    let folder = folder(&path).to_owned();
    let context_path = match given_context {
        "" => folder.as_str(),
        "/" => "",
        given => given,
    };
    let context = source.subtree(context_path).map_err(|error| not_a_folder(context_path, &error.to_string()))?;
    let content = read(&source, &path)?.ok_or_else(|| not_found(&path))?;
    crate::args::check_frontend(&content)?;
    let ignore = read(&source, &format!("{path}.dockerignore"))?;
    if ignore.is_none() && !matches!(context.kind(".dockerignore"), Ok(None | Some(EntryKind::File))) {
        return Err(outside(&beside(context_path, ".dockerignore")));
    }
    let tests = tests(&source, &folder)?;
    let dockerfile = DockerfileText { path, content, ignore };
    Ok(Plan { context, dockerfile, folder, tests })
}

fn joined(context: &str, dockerfile: &str) -> String {
    let path = [context, dockerfile].iter().filter(|part| !matches!(**part, "" | "/")).copied().collect::<Vec<_>>().join("/");
    if path.is_empty() { "Dockerfile".to_owned() } else { path }
}

fn require_folder(source: &Tree, context: &str) -> Result<(), Failure> {
    match source.kind(context) {
        Ok(Some(EntryKind::Folder)) => Ok(()),
        Ok(Some(_)) => Err(not_a_folder(context, "it is a file")),
        Ok(None) => Err(not_a_folder(context, "nothing stands there")),
        Err(_) => Err(not_a_folder(context, "it leads out of the source")),
    }
}

fn read(source: &Tree, path: &str) -> Result<Option<Bytes>, Failure> {
    match source.read(path, DOCKERFILE_LIMIT) {
        Ok(content) => Ok(content.map(Bytes::from)),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            Err(Failure::new(FailureCode::DockerfileInvalid, format!("`{path}` is larger than {DOCKERFILE_LIMIT} bytes")))
        }
        Err(_) => Err(outside(path)),
    }
}

/// The test files that stand beside the Dockerfile, by name. Each is a file, or the build ends here.
pub(crate) fn tests(source: &Tree, folder: &str) -> Result<Vec<String>, Failure> {
    let names = match source.names(folder) {
        Ok(names) => names,
        // A hook that builds by itself needs none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::internal("the checkout cannot be read", error)),
    };
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
    let names: Vec<String> = names.filter(|name| name.ends_with(".test.yml")).collect();
    for name in &names {
        let path = beside(folder, name);
        let why = match source.kind(&path) {
            Ok(Some(EntryKind::File)) => continue,
            Ok(Some(EntryKind::Folder)) => "it is a folder",
            Ok(Some(EntryKind::Special)) => "it is no regular file",
            Ok(None) => "it is a link to what is not there",
            Err(_) => "it leads out of the source",
        };
        let text = format!("the test file `{path}` beside {DOCKERFILE} cannot be used: {why}");
        return Err(Failure::new(FailureCode::TestInvalid, text));
    }
    Ok(names)
}

fn not_found(path: &str) -> Failure {
    Failure::new(FailureCode::DockerfileNotFound, format!("Dockerfile not found at `{path}`, {DOCKERFILE}"))
}

fn outside(path: &str) -> Failure {
    Failure::new(FailureCode::DockerfileNotFound, format!("`{path}`, {DOCKERFILE}, cannot be used: it is no file inside of the source"))
}

fn not_a_folder(context: &str, why: &str) -> Failure {
    Failure::new(FailureCode::ContextNotFound, format!("the rule's build context `{context}` is not a folder of the source: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn rule(context: &str, dockerfile: &str) -> BuildRule {
        let mut rule = BuildRule::default_for("main".parse().expect("pattern"));
        rule.context = context.parse().expect("context");
        rule.dockerfile = dockerfile.parse().expect("dockerfile");
        rule
    }

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("app/docker")).expect("folders");
        for path in ["Dockerfile", "app/Dockerfile", "app/docker/Prod", "app/b.test.yml", "app/a.test.yml", "app/notes.yml"] {
            std::fs::write(at(path), format!("FROM {path}")).expect("file");
        }
        symlink("/etc/passwd", at("passwd")).expect("link");
        symlink("/etc", at("etc")).expect("link");
        symlink("app/Dockerfile", at("inside")).expect("link");
        folder
    }

    #[test]
    fn dockerfile_and_context_are_found_as_docker_hub_did() {
        let folder = sample();
        let of = |context: &str, dockerfile: &str| make(folder.path(), &rule(context, dockerfile)).expect("plan");
        let plain = of("", "app/Dockerfile");
        assert_eq!((plain.dockerfile.path.as_str(), plain.folder.as_str()), ("app/Dockerfile", "app"));
        assert_eq!(plain.tests, ["a.test.yml", "b.test.yml"]);
        assert_eq!(plain.context.kind("a.test.yml").expect("kind"), Some(EntryKind::File));
        assert_eq!(of("/app", "docker/Prod").dockerfile.path, "app/docker/Prod");
        let root = of("/", "app/Dockerfile");
        assert_eq!((root.dockerfile.path.as_str(), root.folder.as_str()), ("app/Dockerfile", "app"));
        assert_eq!(root.context.kind("app/a.test.yml").expect("kind"), Some(EntryKind::File));
        assert_eq!(of("app", "docker/Prod").context.kind("docker").expect("kind"), Some(EntryKind::Folder));
        assert_eq!(of("", "app").dockerfile.path, "app/Dockerfile");
        assert_eq!(of("", "inside").dockerfile.content, "FROM app/Dockerfile");
        assert_eq!(of("", "").dockerfile.path, "Dockerfile");
    }

    #[test]
    fn what_is_missing_or_leads_out_has_a_reason_of_its_own() {
        let folder = sample();
        let of = |context: &str, dockerfile: &str| make(folder.path(), &rule(context, dockerfile)).expect_err("must fail").reason;
        assert_eq!(of("", "Nope").to_string(), "Dockerfile not found at `Nope`, the rule's Dockerfile location");
        assert_eq!(of("app", "Nope").to_string(), "Dockerfile not found at `app/Nope`, the rule's Dockerfile location");
        assert_eq!(of("", "app/docker").to_string(), "Dockerfile not found at `app/docker/Dockerfile`, the rule's Dockerfile location");
        for path in ["passwd", "etc/passwd"] {
            let reason = of("", path);
            assert_eq!(reason.code, FailureCode::DockerfileNotFound);
            let words = ["inside of the source", "the rule's Dockerfile location"];
            assert!(words.iter().all(|words| reason.text.contains(words)) && !reason.text.contains("root"), "{reason}");
        }
        assert_eq!(
            of("etc", "passwd").to_string(),
            "the rule's build context `etc` is not a folder of the source: it leads out of the source"
        );
        assert_eq!(of("nope", "x").code, FailureCode::ContextNotFound);
        assert!(of("Dockerfile", "x").text.ends_with("it is a file"));
        symlink("/etc/passwd", folder.path().join("app/.dockerignore")).expect("link");
        let ignore = of("app", "docker/Prod").to_string();
        assert!(ignore.starts_with("`app/.dockerignore`, ") && ignore.ends_with("no file inside of the source"), "{ignore}");
        make(folder.path(), &rule("", "Dockerfile")).expect("another context");
    }

    #[test]
    fn what_is_no_test_file_is_said_with_its_path_and_the_rules_field() {
        let folder = sample();
        let at = |path: &str| folder.path().join(path);
        for (name, why) in
            [("folder", "it is a folder"), ("out", "it leads out of the source"), ("gone", "it is a link to what is not there")]
        {
            let file = format!("app/{name}.test.yml");
            match name {
                "folder" => std::fs::create_dir(at(&file)).expect("folder"),
                "out" => symlink("/etc/passwd", at(&file)).expect("link"),
                _ => symlink("nowhere", at(&file)).expect("link"),
            }
            let reason = make(folder.path(), &rule("", "app/Dockerfile")).expect_err(name).reason;
            let wanted = format!("the test file `{file}` beside the rule's Dockerfile location cannot be used: {why}");
            assert_eq!((reason.code, reason.text), (FailureCode::TestInvalid, wanted));
            make(folder.path(), &rule("", "Dockerfile")).expect("another folder's");
            std::fs::rename(at(&file), at(&format!("{name}.moved"))).expect("moved");
        }
        symlink("b.test.yml", at("app/c.test.yml")).expect("link");
        assert_eq!(make(folder.path(), &rule("", "app/Dockerfile")).expect("plan").tests.len(), 3, "a link inside is a file");
    }

    #[test]
    fn the_dockerfile_is_named_from_its_context() {
        let folder = sample();
        let source = open(folder.path()).expect("tree");
        let of = |context: &str, dockerfile: &str| {
            let rule = rule(context, dockerfile);
            from_context(&location(&source, &rule), &rule).to_owned()
        };
        assert_eq!(of("", "app/docker/Prod"), "Prod");
        assert_eq!(of("/", "app/Dockerfile"), "app/Dockerfile");
        assert_eq!(of("app", ""), "Dockerfile");
        assert_eq!(of("app", "docker/Prod"), "docker/Prod");
        // A folder stands for the file in it, also when a hook has still to make it.
        assert_eq!(
            (of("", "app"), of("/", "app"), of("app", "docker")),
            ("Dockerfile".into(), "app/Dockerfile".into(), "docker/Dockerfile".into())
        );
        assert_eq!(of("", ""), "Dockerfile");
    }
}
