//! What the registry needs to know of a manifest: its kind, and everything that it points to.
//!
//! Invariant: a document that two readers could understand differently is refused (keys twice, keys that differ from a
//! known one only by case, both `layers` and `manifests`, a media type that contradicts the header). The bytes are
//! never rewritten: what is stored and served is what was received. Sources: OCI image-spec 1.1 manifest.md,
//! image-index.md, descriptor.md; Docker image manifest v2 schema 2.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Digest, json};

/// Largest manifest taken (OCI distribution-spec 1.1 asks for at least 4 MiB).
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Most things that one manifest may point to.
pub const MAX_REFERENCES: usize = 10_000;

/// Media types that decide something here.
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
}

/// The two shapes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One image or artifact: `config` and `layers`.
    Image,
    /// A list of manifests: `manifests`.
    Index,
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Some(Self::Image),
            media_type::OCI_INDEX | media_type::DOCKER_LIST => Some(Self::Index),
            _ => None,
        }
    }
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Over [`MAX_MANIFEST_BYTES`].
    #[error("the manifest is larger than 4 MiB")]
    TooLarge,
    /// Not acceptable; the text says what was expected.
    #[error("{0}")]
    Invalid(String),
}

fn invalid(text: impl Into<String>) -> ManifestError {
    ManifestError::Invalid(text.into())
}

/// A pointer to content: media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
}

/// In which part of a manifest a pointer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `config` of an image.
    Config,
    /// A layer of an image.
    Layer,
    /// A layer that its licence forbids to push; it may be absent.
    ForeignLayer,
    /// A manifest in an index.
    Manifest,
    /// A member of an index that is no manifest: BuildKit before 0.21 lists cache layers this way. A blob, or a manifest.
    Other,
}

impl Role {
    /// A short word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Layer => "layer",
            Self::ForeignLayer => "foreign",
            Self::Manifest => "manifest",
            Self::Other => "other",
        }
    }
}

/// One thing that a manifest points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Where it stands.
    pub role: Role,
    /// What it points to.
    pub target: Descriptor,
}

/// A manifest that was read and found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its shape.
    pub kind: Kind,
    /// Its media type, as it will be served.
    pub media_type: String,
    /// Everything that it points to, except the subject, in document order.
    pub children: Vec<Child>,
    /// The manifest that this one is about; it may be absent from the repository.
    pub subject: Option<Descriptor>,
    /// What kind of artifact this is: `artifactType`, else the media type of `config` (distribution-spec §Referrers).
    pub artifact_type: Option<String>,
    /// Annotations, for the referrers list.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Keys of a manifest, for the comparison without case: Go readers match keys that way.
const KNOWN_KEYS: [&str; 8] = ["schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"];
/// Keys of a descriptor.
const DESCRIPTOR_KEYS: [&str; 3] = ["mediaType", "digest", "size"];

impl Manifest {
    /// Reads a manifest. `content_type` is the header of the request without parameters, if there was one.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge);
        }
        json::check(bytes).map_err(|error| invalid(format!("the manifest is not acceptable JSON: {error}")))?;
        check_key_case(bytes)?;
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("not an image manifest or index: {error}")))?;
        document.into_manifest(content_type)
    }
}

impl Document {
    fn into_manifest(self, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        if self.schema_version != 2 {
            return Err(invalid(format!("schemaVersion is `{}`, expected `2`", self.schema_version)));
        }
        let media_type = match (self.media_type, content_type) {
            (Some(own), Some(header)) if own != header => {
                return Err(invalid(format!("Content-Type is `{header}` but mediaType is `{own}`")));
            }
            (Some(own), _) => own,
            (None, Some(header)) => header.to_owned(),
            (None, None) => return Err(invalid("neither Content-Type nor mediaType says what the manifest is")),
        };
        let kind = Kind::of(&media_type).ok_or_else(|| invalid(format!("media type `{media_type}` is not an image manifest or index")))?;
        let children = match (kind, self.config, self.layers, self.manifests) {
            (Kind::Image, Some(config), Some(layers), None) => image_children(config, layers),
            (Kind::Image, ..) => return Err(invalid("an image manifest has `config` and `layers` and no `manifests`")),
            (Kind::Index, None, None, Some(manifests)) => index_children(manifests),
            (Kind::Index, ..) => return Err(invalid("an index has `manifests` and neither `config` nor `layers`")),
        };
        if children.len() > MAX_REFERENCES {
            return Err(invalid(format!("{} references, at most {MAX_REFERENCES} are taken", children.len())));
        }
        let config_type = children.iter().find(|child| child.role == Role::Config).map(|c| c.target.media_type.clone());
        Ok(Manifest {
            kind,
            media_type,
            artifact_type: self.artifact_type.filter(|text| !text.is_empty()).or(config_type),
            children,
            subject: self.subject,
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

fn image_children(config: Descriptor, layers: Vec<Descriptor>) -> Vec<Child> {
    let layer = |target: Descriptor| {
        let foreign = target.media_type.contains("nondistributable") || target.media_type.contains(".foreign.");
        Child { role: if foreign { Role::ForeignLayer } else { Role::Layer }, target }
    };
    std::iter::once(Child { role: Role::Config, target: config }).chain(layers.into_iter().map(layer)).collect()
}

fn index_children(manifests: Vec<Descriptor>) -> Vec<Child> {
    let role = |target: &Descriptor| match Kind::of(&target.media_type) {
        Some(_) => Role::Manifest,
        None => Role::Other,
    };
    manifests.into_iter().map(|target| Child { role: role(&target), target }).collect()
}

/// Refuses keys that equal a known key but for case, in the manifest and in its descriptors.
fn check_key_case(bytes: &[u8]) -> Result<(), ManifestError> {
    type Raw<'a> = BTreeMap<String, &'a serde_json::value::RawValue>;
    let object = |raw: &str| serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(raw).ok();
    let top: Raw<'_> = serde_json::from_slice(bytes).map_err(|_| invalid("a manifest is a JSON object"))?;
    look_alike(top.keys(), &KNOWN_KEYS)?;
    for key in ["config", "subject"] {
        if let Some(descriptor) = top.get(key).and_then(|raw| object(raw.get())) {
            look_alike(descriptor.keys(), &DESCRIPTOR_KEYS)?;
        }
    }
    for key in ["layers", "manifests"] {
        let Some(list) = top.get(key) else { continue };
        let items: Vec<BTreeMap<String, serde::de::IgnoredAny>> =
            serde_json::from_str(list.get()).map_err(|error| invalid(format!("`{key}` is not a list of descriptors: {error}")))?;
        for item in &items {
            look_alike(item.keys(), &DESCRIPTOR_KEYS)?;
        }
    }
    Ok(())
}

fn look_alike<'a>(keys: impl Iterator<Item = &'a String>, known: &[&str]) -> Result<(), ManifestError> {
    for key in keys {
        if let Some(proper) = known.iter().find(|k| k.eq_ignore_ascii_case(key) && *k != key) {
            return Err(invalid(format!("key `{key}` looks like `{proper}`, expected that spelling")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> String {
        Digest::sha256(&[n]).to_string()
    }

    fn descriptor(media_type: &str, n: u8) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{n},"extra":{{"a":1}}}}"#, digest(n))
    }

    fn image(rest: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]{rest}}}"#,
            media_type::OCI_MANIFEST,
            descriptor("application/vnd.oci.image.config.v1+json", 1),
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 2),
            descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", 3),
        )
    }

    fn refused(text: &str, content_type: Option<&str>) -> String {
        match Manifest::parse(text.as_bytes(), content_type) {
            Err(ManifestError::Invalid(message)) => message,
            other => panic!("expected a refusal of {text}, had {other:?}"),
        }
    }

    #[test]
    fn reads_an_image() {
        let subject = format!(r#","subject":{},"annotations":{{"k":"v"}}"#, descriptor(media_type::OCI_MANIFEST, 9));
        let manifest = Manifest::parse(image(&subject).as_bytes(), Some(media_type::OCI_MANIFEST)).expect("valid");
        assert_eq!(manifest.kind, Kind::Image);
        let roles: Vec<_> = manifest.children.iter().map(|c| (c.role, c.target.size)).collect();
        assert_eq!(roles, [(Role::Config, 1), (Role::Layer, 2), (Role::ForeignLayer, 3)]);
        assert_eq!(manifest.subject.expect("subject").digest.as_str(), digest(9));
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
        assert_eq!(manifest.annotations["k"], "v");
    }

    #[test]
    fn reads_an_index_with_buildkit_cache_members() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{}],"artifactType":"a/b"}}"#,
            descriptor(media_type::DOCKER_MANIFEST, 1),
            descriptor("application/vnd.buildkit.cacheconfig.v0", 2),
        );
        let manifest = Manifest::parse(text.as_bytes(), Some(media_type::OCI_INDEX)).expect("valid");
        let roles: Vec<_> = manifest.children.iter().map(|c| c.role).collect();
        assert_eq!(roles, [Role::Manifest, Role::Other]);
        assert_eq!((manifest.kind, manifest.artifact_type.as_deref()), (Kind::Index, Some("a/b")));
        assert_eq!(manifest.media_type, media_type::OCI_INDEX);
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let image_type = Some(media_type::OCI_MANIFEST);
        assert!(refused(&image(r#","layers":[]"#), image_type).contains("twice"));
        assert!(refused(&image(r#","Layers":[]"#), image_type).contains("`Layers`"));
        assert!(refused(&image(r#","manifests":[]"#), image_type).contains("no `manifests`"));
        assert!(refused(&image(""), Some(media_type::DOCKER_MANIFEST)).contains("Content-Type"));
        let index = image("").replace(media_type::OCI_MANIFEST, media_type::OCI_INDEX);
        assert!(refused(&index, None).contains("an index"));
        assert!(refused(&image("").replace(r#""digest":"#, r#""Digest":"#), None).contains("`Digest`"));
        assert!(refused(r#"{"schemaVersion":2,"config":{},"layers":[]}"#, None).contains("not an image"));
    }

    #[test]
    fn refuses_other_documents() {
        for text in ["", "[]", "null", "{}", r#"{"schemaVersion":1,"fsLayers":[]}"#, "{\"schemaVersion\":2,\"layers\":5}"] {
            refused(text, Some(media_type::OCI_MANIFEST));
        }
        refused(&image("").replace("\"size\":2", "\"size\":-2"), None);
        refused(&image("").replace("\"size\":2", "\"size\":2.5"), None);
        refused(&image("").replace(&digest(2), "sha256:0"), None);
        refused(&image("").replace(media_type::OCI_MANIFEST, "text/html"), None);
        let large = vec![b' '; MAX_MANIFEST_BYTES + 1];
        assert_eq!(Manifest::parse(&large, None), Err(ManifestError::TooLarge));
        let many = vec![descriptor("l", 1); MAX_REFERENCES + 1].join(",");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#);
        assert!(refused(&index, Some(media_type::OCI_INDEX)).contains("at most"));
    }
}
