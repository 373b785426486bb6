//! The variables of a build: those that the service sets, and the repository's own.
//!
//! The invariant: a repository's variable never replaces one of the service's, and the private key for the checkout reaches nothing else.
//! Deliberately elsewhere: who may read them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use slipway_model::{CACHE_TAG, EnvironmentVariable, SERVICE_VARIABLES, SSH_KNOWN_HOSTS, SSH_PRIVATE};
use slipway_wire::Assignment;

/// What the checkout uses of a repository's variables.
#[derive(Clone, Default)]
pub(crate) struct SshVariables {
    /// `SSH_PRIVATE`
    pub(crate) private: Option<String>,
    /// `SSH_KNOWN_HOSTS`
    pub(crate) known_hosts: String,
}

impl std::fmt::Debug for SshVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SshVariables([redacted])")
    }
}

impl SshVariables {
    pub(crate) fn of(environment: &[EnvironmentVariable]) -> Self {
        let value = |name: &str| environment.iter().find(|variable| variable.name == name).map(|variable| variable.value.clone());
        Self { private: value(SSH_PRIVATE).filter(|key| !key.trim().is_empty()), known_hosts: value(SSH_KNOWN_HOSTS).unwrap_or_default() }
    }
}

/// Names and values, with the meaning that Docker Hub gave them.
#[derive(Clone)]
pub(crate) struct Variables {
    all: BTreeMap<String, String>,
    /// Names of those that are no build arguments.
    secret: BTreeSet<String>,
}

impl Variables {
    /// The Dockerfile by its path from the build context.
    pub(crate) fn new(assignment: &Assignment, commit_message: &str, dockerfile: &str) -> Self {
        let names = Names::new(assignment);
        let tags: Vec<&str> = assignment.tags.iter().map(|tag| tag.as_str()).collect();
        let cache_tag = if assignment.rule.cache { names.first_tag.clone() } else { String::new() };
        let own = assignment.environment.iter().filter(|variable| variable.name != SSH_PRIVATE);
        let mut all: BTreeMap<String, String> = own.map(|variable| (variable.name.clone(), variable.value.clone())).collect();
        let service = [
            assignment.source.source_ref.short().to_owned(),
            assignment.source.commit.to_string(),
            commit_message.to_owned(),
            names.repository.clone(),
            dockerfile.to_owned(),
            tags.join(","),
            cache_tag,
            names.image(),
        ];
        all.extend(SERVICE_VARIABLES.iter().map(|name| (*name).to_owned()).zip(service));
        let secret = assignment.environment.iter().filter(|variable| variable.secret).map(|variable| variable.name.clone()).collect();
        Self { all, secret }
    }

    /// Those that a Dockerfile declares: a build argument that nobody asked for would only break the cache.
    pub(crate) fn build_args(&self, declared: &BTreeSet<String>) -> BTreeMap<String, String> {
        let fits = |name: &String| declared.contains(name) && !name.starts_with("BUILDKIT_") && !self.secret.contains(name);
        let wanted = self.all.iter().filter(|(name, _)| fits(name));
        wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Secret ones, which a step gets by `RUN --mount=type=secret,id=NAME` alone.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Bytes> {
        self.secret().map(|(name, value)| (name.to_owned(), Bytes::from(value.to_owned().into_bytes()))).collect()
    }

    pub(crate) fn secret(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| self.secret.contains(*name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The names of the image.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// `host/namespace/name`
    pub(crate) repository: String,
    /// The first tag of the rule.
    pub(crate) first_tag: String,
    /// The tag that this build alone uses.
    pub(crate) build_tag: String,
}

impl Names {
    pub(crate) fn new(assignment: &Assignment) -> Self {
        Self {
            repository: format!("{}/{}", assignment.registry.host, assignment.registry.repository),
            first_tag: assignment.tags.first().map_or("latest", |tag| tag.as_str()).to_owned(),
            build_tag: format!("build-{}", assignment.build),
        }
    }

    /// The image as users know it.
    pub(crate) fn image(&self) -> String {
        format!("{}:{}", self.repository, self.first_tag)
    }

    /// Where the builds of the repository keep their cache.
    pub(crate) fn cache(&self) -> String {
        format!("{}:{CACHE_TAG}", self.repository)
    }

    /// The image as this build alone knows it.
    pub(crate) fn local(&self) -> String {
        format!("{}:{}", self.repository, self.build_tag)
    }
}
