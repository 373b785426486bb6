//! What a build is asked to do, as the frontend `dockerfile.v0` and the exporters understand it.
//!
//! The invariant: only the attributes named here reach the engine; none of them lets a build ask for a device, a host
//! path or a privilege. Deliberately elsewhere: sending (`solve`), file serving (`filesync`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest as WireRequest};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::auth::RegistryCredentials;
use crate::tree::Tree;

/// One build.
#[derive(Debug, Clone)]
pub struct SolveRequest {
    /// The folder that COPY and ADD read from.
    pub context: Tree,
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// The stage to build; `None` is the last one.
    pub target: Option<String>,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Secrets by id, for `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, Bytes>,
    /// Registry credentials by host.
    pub credentials: RegistryCredentials,
    /// Whether earlier results on the engine may be used.
    pub layer_cache: LayerCache,
    /// Whose caches this build shares on the engine; `None` shares with every other build that says nothing.
    pub cache_scope: Option<CacheScope>,
    /// What else of the cache is used: images with an inline cache, and what [`CacheExport::Registry`] kept. One that is missing is fine.
    pub cache_from: Vec<RegistryRef>,
    /// Where cache records are kept beside the engine.
    pub cache_export: CacheExport,
    /// Where base images come from.
    pub base_images: BaseImages,
    /// What becomes of the result.
    pub export: Export,
    /// How long the engine may be silent after the result before its last log lines are given up.
    pub log_grace: Duration,
}

impl SolveRequest {
    /// A build of this context and Dockerfile with everything else at its plainest.
    pub fn new(context: Tree, dockerfile: DockerfileText) -> Self {
        Self {
            context,
            dockerfile,
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            secrets: BTreeMap::new(),
            credentials: RegistryCredentials::default(),
            layer_cache: LayerCache::Use,
            cache_scope: None,
            cache_from: Vec::new(),
            cache_export: CacheExport::None,
            base_images: BaseImages::AlwaysAsk,
            export: Export::None,
            log_grace: Duration::from_secs(2),
        }
    }
}

/// The Dockerfile as text that the caller has read: what was checked is what is built.
#[derive(Debug, Clone)]
pub struct DockerfileText {
    /// Its path as the user knows it, for messages; the last part names it for the frontend.
    pub path: String,
    /// Its content.
    pub content: Bytes,
    /// The `<name>.dockerignore` beside it, which takes the place of the context's `.dockerignore`.
    pub ignore: Option<Bytes>,
}

impl DockerfileText {
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("Dockerfile")
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Bytes> {
        let mut files = BTreeMap::from([(self.name().to_owned(), self.content.clone())]);
        if let Some(ignore) = &self.ignore {
            files.insert(format!("{}.dockerignore", self.name()), ignore.clone());
        }
        files
    }
}

/// Whether earlier results on the engine may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerCache {
    /// Yes.
    Use,
    /// No: every step runs.
    Ignore,
}

/// Where cache records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheExport {
    /// On the engine only.
    None,
    /// In the image's own configuration too.
    Inline,
    /// In a registry too, those of all stages; only a buildkitd can. The build succeeds also when the registry refuses.
    Registry(RegistryRef),
}

/// A name in a registry, and how that is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRef {
    /// `host/ns/name:tag`
    pub name: String,
    /// Whether it speaks plain HTTP.
    pub insecure: bool,
}

/// A part of the engine's cache that nobody outside of it reads or writes: folders of `RUN --mount=type=cache`, and results of steps, which may
/// hold what a secret opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheScope(String);

impl CacheScope {
    /// The part that has these words as its name.
    pub fn of(words: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for word in words {
            // Their lengths too: no two lists of words give the same bytes.
            hash.update((word.len() as u64).to_be_bytes());
            hash.update(word);
        }
        Self(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Where base images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseImages {
    /// The registry is asked each time, with this build's credentials: never stale, and no build reads an image that only
    /// another one may pull.
    AlwaysAsk,
    /// An image in the engine's own store counts.
    PreferLocal,
}

/// What becomes of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// Nothing is kept but the cache.
    None,
    /// An image in the Docker Engine's store under this name (`host/ns/name:tag`).
    EngineStore {
        /// The full name with a tag.
        name: String,
    },
    /// A buildkitd pushes the image itself, by its digest.
    Push {
        /// `host/ns/name`
        repository: String,
        /// Whether the registry speaks plain HTTP.
        insecure: bool,
    },
}

/// What a finished build leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveOutput {
    /// The engine's store: the image's id. A push by buildkitd: the manifest's digest. No export: `None`.
    pub digest: Option<String>,
}

/// The request on the wire.
pub(crate) fn wire(request: &SolveRequest, build: &str, session: &str) -> WireRequest {
    let (exporter, exporter_attrs) = exporter(&request.export);
    let exports = match &request.cache_export {
        CacheExport::None => Vec::new(),
        CacheExport::Inline => vec![CacheOptionsEntry { r#type: "inline".to_owned(), attrs: HashMap::new() }],
        CacheExport::Registry(cache) => vec![registry_cache(cache)],
    };
    WireRequest {
        r#ref: build.to_owned(),
        session: session.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attributes(request),
        exporter_deprecated: exporter.to_owned(),
        exporter_attrs_deprecated: exporter_attrs,
        cache: Some(CacheOptions { exports, ..CacheOptions::default() }),
        ..WireRequest::default()
    }
}

fn exporter(export: &Export) -> (&'static str, HashMap<String, String>) {
    let attrs = |attrs: &[(&str, &str)]| attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    match export {
        Export::None => ("", HashMap::new()),
        Export::EngineStore { name } => ("moby", attrs(&[("name", name)])),
        Export::Push { repository, insecure } => {
            let insecure = if *insecure { "true" } else { "false" };
            let own = [("name", repository.as_str()), ("push", "true"), ("push-by-digest", "true"), ("store", "false")];
            ("image", attrs(&[own.as_slice(), &[("registry.insecure", insecure)]].concat()))
        }
    }
}

/// As an image's manifest: an index of layers is none that registries have to take.
fn registry_cache(cache: &RegistryRef) -> CacheOptionsEntry {
    let attrs = [
        ("ref", cache.name.as_str()),
        ("mode", "max"),
        ("image-manifest", "true"),
        ("oci-mediatypes", "true"),
        ("ignore-error", "true"),
        ("registry.insecure", if cache.insecure { "true" } else { "false" }),
    ];
    CacheOptionsEntry {
        r#type: "registry".to_owned(),
        attrs: attrs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

fn attributes(request: &SolveRequest) -> HashMap<String, String> {
    let mut attrs = HashMap::from([("filename".to_owned(), request.dockerfile.name().to_owned())]);
    attrs.extend(request.target.iter().map(|target| ("target".to_owned(), target.clone())));
    attrs.extend(request.build_args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    attrs.extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    if request.layer_cache == LayerCache::Ignore {
        attrs.insert("no-cache".to_owned(), String::new());
    }
    if request.base_images == BaseImages::AlwaysAsk {
        attrs.insert("image-resolve-mode".to_owned(), "pull".to_owned());
    }
    if let Some(CacheScope(scope)) = &request.cache_scope {
        attrs.insert("build-arg:BUILDKIT_CACHE_MOUNT_NS".to_owned(), scope.clone());
        // The key of every step that runs has its host's name in it. The last words win over what a build argument says.
        attrs.insert("hostname".to_owned(), scope.clone());
    }
    if !request.cache_from.is_empty() {
        // The frontend reads its own attribute; the list in `CacheOptions` has no effect on it.
        let import = |from: &RegistryRef| {
            let insecure = if from.insecure { "true" } else { "false" };
            serde_json::json!({"Type": "registry", "Attrs": {"ref": from.name, "registry.insecure": insecure}})
        };
        let imports: Vec<_> = request.cache_from.iter().map(import).collect();
        attrs.insert("cache-imports".to_owned(), serde_json::Value::from(imports).to_string());
    }
    attrs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_request_says_what_was_asked_and_nothing_else() {
        let tree = Tree::open(std::path::Path::new("/")).expect("root");
        let text = DockerfileText { path: "docker/App.Dockerfile".into(), content: Bytes::new(), ignore: Some(Bytes::new()) };
        assert_eq!(text.files().into_keys().collect::<Vec<_>>(), ["App.Dockerfile", "App.Dockerfile.dockerignore"]);
        let mut request = SolveRequest::new(tree, text);
        request.target = Some("final".into());
        request.build_args.insert("A".into(), "1".into());
        request.labels.insert("l".into(), "2".into());
        request.layer_cache = LayerCache::Ignore;
        request.cache_from = vec![RegistryRef { name: "h/n:t".into(), insecure: false }];
        request.cache_scope = Some(CacheScope("aa".into()));
        request.build_args.insert("BUILDKIT_CACHE_MOUNT_NS".into(), "other".into());
        request.cache_export = CacheExport::Inline;
        request.export = Export::EngineStore { name: "h/n:t".into() };
        let wire = wire(&request, "b", "s");
        let mut attrs: Vec<String> = wire.frontend_attrs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        attrs.sort();
        assert_eq!(
            attrs,
            [
                "build-arg:A=1",
                "build-arg:BUILDKIT_CACHE_MOUNT_NS=aa",
                "cache-imports=[{\"Attrs\":{\"ref\":\"h/n:t\",\"registry.insecure\":\"false\"},\"Type\":\"registry\"}]",
                "filename=App.Dockerfile",
                "hostname=aa",
                "image-resolve-mode=pull",
                "label:l=2",
                "no-cache=",
                "target=final"
            ]
        );
        assert_eq!(wire.exporter_deprecated, "moby");
        assert!(wire.entitlements.is_empty());
    }

    #[test]
    fn a_scope_is_a_name_of_its_own() {
        let names = [CacheScope::of(&["a", "b"]), CacheScope::of(&["ab"]), CacheScope::of(&["a", "c"]), CacheScope::of(&["b", "a"])];
        for (index, name) in names.iter().enumerate() {
            assert!(name.0.len() == 32 && !names[..index].contains(name), "{names:?}");
        }
        assert_eq!(names[0], CacheScope::of(&["a", "b"]));
    }
}
