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

/// The Dockerfile's folder from the root of the source, whether or not the Dockerfile is there yet: a hook may make it.
pub(crate) fn folder(source: &Tree, rule: &BuildRule) -> String {
    let path = match dockerfile_path(source, rule.context.as_str(), rule.dockerfile.as_str()) {
        Ok(path) => path,
        Err(_) => joined(rule.context.as_str(), rule.dockerfile.as_str()),
    };
    path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
}

/// Finds everything or says what is missing.
pub(crate) fn make(checkout: &Path, rule: &BuildRule) -> Result<Plan, Failure> {
    let source = open(checkout)?;
    let given_context = rule.context.as_str();
    if !matches!(given_context, "" | "/") {
        require_folder(&source, given_context)?;
    }
    let path = dockerfile_path(&source, given_context, rule.dockerfile.as_str())?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let context_path = match given_context {
        "" => folder.as_str(),
        "/" => "",
        given => given,
    };
    let context = source.subtree(context_path).map_err(|error| not_a_folder(context_path, &error.to_string()))?;
    let content = read(&source, &path)?.ok_or_else(|| not_found(&path))?;
    crate::args::check_frontend(&content)?;
    let ignore = read(&source, &format!("{path}.dockerignore"))?;
    let tests = tests(&source, &folder)?;
    let dockerfile = DockerfileText { path, content, ignore };
    Ok(Plan { context, dockerfile, folder, tests })
}

/// The rule's Dockerfile; a folder stands for the `Dockerfile` in it.
fn dockerfile_path(source: &Tree, context: &str, dockerfile: &str) -> Result<String, Failure> {
    let path = joined(context, dockerfile);
    match source.kind(&path) {
        Ok(Some(EntryKind::File)) => Ok(path),
        Ok(Some(EntryKind::Folder)) => {
            let inside = format!("{path}/Dockerfile");
            match source.kind(&inside) {
                Ok(Some(EntryKind::File)) => Ok(inside),
                Ok(_) => Err(not_found(&inside)),
                Err(_) => Err(outside(&inside)),
            }
        }
        Ok(Some(EntryKind::Special) | None) => Err(not_found(&path)),
        Err(_) => Err(outside(&path)),
    }
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

pub(crate) fn tests(source: &Tree, folder: &str) -> Result<Vec<String>, Failure> {
    let names = source.names(folder).map_err(|error| Failure::internal("the checkout cannot be read", error))?;
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
    Ok(names.filter(|name| name.ends_with(".test.yml")).collect())
}

fn not_found(path: &str) -> Failure {
    Failure::new(FailureCode::DockerfileNotFound, format!("Dockerfile not found at `{path}`"))
}

fn outside(path: &str) -> Failure {
    Failure::new(FailureCode::DockerfileNotFound, format!("`{path}` cannot be used: it is no file inside of the source"))
}

fn not_a_folder(context: &str, why: &str) -> Failure {
    Failure::new(FailureCode::ContextNotFound, format!("build context `{context}` is not a folder of the source: {why}"))
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
        assert_eq!(of("", "Nope").to_string(), "Dockerfile not found at `Nope`");
        assert_eq!(of("app", "Nope").to_string(), "Dockerfile not found at `app/Nope`");
        assert_eq!(of("", "app/docker").to_string(), "Dockerfile not found at `app/docker/Dockerfile`");
        for path in ["passwd", "etc/passwd"] {
            let reason = of("", path);
            assert_eq!(reason.code, FailureCode::DockerfileNotFound);
            assert!(reason.text.contains("inside of the source") && !reason.text.contains("root"), "{reason}");
        }
        assert_eq!(of("etc", "passwd").to_string(), "build context `etc` is not a folder of the source: it leads out of the source");
        assert_eq!(of("nope", "x").code, FailureCode::ContextNotFound);
        assert!(of("Dockerfile", "x").text.ends_with("it is a file"));
    }
}
