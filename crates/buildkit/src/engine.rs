//! The calls of the Engine's own HTTP API that a builder needs beside a build.
//!
//! The invariant: an engine without BuildKit is refused before anything is asked of it, and a name or label reaches the
//! request path only percent-encoded. Deliberately elsewhere: the classic builder (never), running containers (compose
//! does it), the stream of a push (`push`).

use std::collections::BTreeMap;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::address::EngineAddress;
use crate::auth::RegistryAuth;
use crate::error::EngineError;
use crate::http::{fetch, send};
use crate::info::EngineInfo;
use crate::push::{PushProgress, header, read_push};

/// The label that compose puts on everything it makes.
const PROJECT: &str = "com.docker.compose.project";
/// Docker 20.10: the first whose BuildKit serves a session over `/grpc`.
const MIN_API: (u32, u32) = (1, 41);
/// The name of images that are kept for their layers.
const KEPT: &str = "slipway-kept";
/// Everything but letters, digits and `-._`.
pub(crate) const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
/// As [`STRICT`], for image names, whose `/` and `:` are part of the engine's route.
pub(crate) const NAME: &AsciiSet = &STRICT.remove(b'/').remove(b':').remove(b'@');

/// A Docker Engine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) address: EngineAddress,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WithId {
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    #[serde(default)]
    volumes: Option<Vec<NamedVolume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedVolume {
    name: String,
}

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images<'a> {
    /// All of them.
    All,
    /// What was downloaded stays, so that its layers are not downloaded again, and loses its names: whoever asks for one asks its registry.
    ButDownloads {
        /// The registry (`host:port`) that builds push to: what it has was made here.
        except: &'a str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedImage {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

impl ListedImage {
    fn kept_name(&self) -> String {
        format!("{KEPT}:{}", self.id.strip_prefix("sha256:").unwrap_or(&self.id))
    }

    /// Whether it was kept before, or a registry has it and this one has not.
    fn is_downloaded(&self, except: &str) -> bool {
        if self.repo_tags.iter().flatten().any(|name| *name == self.kept_name()) {
            return true;
        }
        let mut names = self.repo_digests.iter().flatten().filter(|name| !name.starts_with("<none>")).peekable();
        names.peek().is_some() && !names.any(|name| name.strip_prefix(except).is_some_and(|rest| rest.starts_with('/')))
    }
}

impl Engine {
    /// The engine at the address; nothing is dialled yet.
    pub fn new(address: EngineAddress) -> Self {
        Self { address }
    }

    /// Asks the engine what it is and refuses one that is too old. Whether its BuildKit answers, [`crate::Client::info`] knows.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let unsuitable = |reason: String| EngineError::Unsuitable { address: self.address.to_string(), reason };
        if !self.address.is_docker() {
            return Err(unsuitable("it is a buildkitd, expected a Docker Engine".to_owned()));
        }
        let answer = fetch(&self.address, Method::GET, "/version").await?;
        let version: Version =
            serde_json::from_slice(&answer).map_err(|_| unsuitable("its answer to `/version` is not an engine's".to_owned()))?;
        let known = version.api_version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        if known.is_none_or(|api: (u32, u32)| api < MIN_API) {
            return Err(unsuitable(format!(
                "version `{}` (API `{}`) is too old, expected Docker Engine 20.10 (API `1.41`) or newer",
                version.version, version.api_version
            )));
        }
        Ok(EngineInfo { name: "Docker Engine", version: version.version })
    }

    /// Pushes `name:tag` and returns the manifest digest (`sha256:...`) that the registry now holds.
    ///
    /// Progress is a courtesy: when nobody takes it in time, lines are dropped. Dropping the future ends the push.
    pub async fn push(
        &self,
        name: &str,
        tag: &str,
        auth: Option<&RegistryAuth>,
        progress: &mpsc::Sender<PushProgress>,
    ) -> Result<String, EngineError> {
        let path = format!("/images/{}/push?tag={}", encode(name, NAME), encode(tag, STRICT));
        let host = name.split('/').next().unwrap_or_default();
        let answer = send(&self.address, Method::POST, &path, &[("X-Registry-Auth", &header(auth, host))]).await?;
        read_push(&self.address, answer.into_body(), progress).await
    }

    /// Gives an image one more name.
    pub async fn tag(&self, image: &str, name: &str, tag: &str) -> Result<(), EngineError> {
        let path = format!("/images/{}/tag?repo={}&tag={}", encode(image, NAME), encode(name, STRICT), encode(tag, STRICT));
        fetch(&self.address, Method::POST, &path).await.map(drop)
    }

    /// Removes a name of an image; its layers stay while anything (also the build cache) uses them. Absent is fine.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        self.delete(&format!("/images/{}?force=true&noprune=true", encode(image, NAME))).await
    }

    /// Whether an image of this name or id is in the engine's store.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        self.image_id(image).await.map(|id| id.is_some())
    }

    /// The id of the image that a name stands for; `None` when no image has it.
    pub async fn image_id(&self, image: &str) -> Result<Option<String>, EngineError> {
        match self.list::<WithId>(&format!("/images/{}/json", encode(image, NAME))).await {
            Ok(image) => Ok(Some(image.id)),
            Err(EngineError::Answer { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The digest under which an image was pushed to a repository (`host/namespace/name`); `None` when it was not.
    pub async fn repository_digest(&self, image: &str, repository: &str) -> Result<Option<String>, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pushed {
            #[serde(default)]
            repo_digests: Option<Vec<String>>,
        }
        let pushed = match self.list::<Pushed>(&format!("/images/{}/json", encode(image, NAME))).await {
            Ok(pushed) => pushed,
            Err(EngineError::Answer { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let names = pushed.repo_digests.unwrap_or_default();
        Ok(names.iter().rev().find_map(|name| name.strip_prefix(repository)?.strip_prefix('@')).map(str::to_owned))
    }

    /// The names `repository:tag` that images have in a repository (`host/namespace/name`), each with its image's id.
    pub async fn names_in(&self, repository: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let wanted = filters(&serde_json::json!({ "reference": [repository] }));
        let mut names = BTreeMap::new();
        for image in self.list::<Vec<ListedImage>>(&format!("/images/json?filters={wanted}")).await? {
            let own = |name: &String| name.strip_prefix(repository).is_some_and(|tag| tag.starts_with(':'));
            names.extend(image.repo_tags.unwrap_or_default().into_iter().filter(own).map(|name| (name, image.id.clone())));
        }
        Ok(names)
    }

    /// Removes all containers, networks and volumes of a compose project, running or not.
    pub async fn remove_project(&self, project: &str) -> Result<(), EngineError> {
        self.remove_labelled(&format!("{PROJECT}={project}")).await
    }

    /// Removes all containers, networks and volumes with a label (`key` or `key=value`), in this order.
    pub async fn remove_labelled(&self, label: &str) -> Result<(), EngineError> {
        let filter = filter(label);
        for item in self.list::<Vec<WithId>>(&format!("/containers/json?all=true&filters={filter}")).await? {
            self.delete(&format!("/containers/{}?force=true&v=true", encode(&item.id, STRICT))).await?;
        }
        for item in self.list::<Vec<WithId>>(&format!("/networks?filters={filter}")).await? {
            self.delete(&format!("/networks/{}", encode(&item.id, STRICT))).await?;
        }
        for item in self.list::<Volumes>(&format!("/volumes?filters={filter}")).await?.volumes.unwrap_or_default() {
            self.delete(&format!("/volumes/{}?force=true", encode(&item.name, STRICT))).await?;
        }
        Ok(())
    }

    /// Removes all containers and volumes, every network that is not the engine's own, and images.
    pub async fn remove_everything(&self, images: Images<'_>) -> Result<(), EngineError> {
        for item in self.list::<Vec<WithId>>("/containers/json?all=true").await? {
            self.delete(&format!("/containers/{}?force=true&v=true", encode(&item.id, STRICT))).await?;
        }
        let own = filters(&serde_json::json!({ "type": ["custom"] }));
        for item in self.list::<Vec<WithId>>(&format!("/networks?filters={own}")).await? {
            self.delete(&format!("/networks/{}", encode(&item.id, STRICT))).await?;
        }
        for item in self.list::<Volumes>("/volumes").await?.volumes.unwrap_or_default() {
            self.delete(&format!("/volumes/{}?force=true", encode(&item.name, STRICT))).await?;
        }
        for image in self.list::<Vec<ListedImage>>("/images/json").await? {
            match images {
                Images::ButDownloads { except } if image.is_downloaded(except) => self.take_names(&image).await?,
                _ => self.delete(&format!("/images/{}?force=true", encode(&image.id, STRICT))).await?,
            }
        }
        Ok(())
    }

    /// The image stays, under a name that nobody asks for.
    async fn take_names(&self, image: &ListedImage) -> Result<(), EngineError> {
        let kept = image.kept_name();
        self.tag(&image.id, KEPT, kept.rsplit(':').next().unwrap_or_default()).await?;
        for name in image.repo_tags.iter().flatten().filter(|name| !name.starts_with("<none>") && **name != kept) {
            self.remove_image(name).await?;
        }
        Ok(())
    }

    /// Deletes; something that is gone, or is being removed already, is what was wanted.
    async fn delete(&self, path: &str) -> Result<(), EngineError> {
        match fetch(&self.address, Method::DELETE, path).await {
            Ok(_) | Err(EngineError::Answer { status: 404, .. }) => Ok(()),
            Err(EngineError::Answer { status: 409, message }) if message.contains("already in progress") => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn encode(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(text, set).to_string()
}

fn filter(label: &str) -> String {
    filters(&serde_json::json!({ "label": [label] }))
}

pub(crate) fn filters(value: &serde_json::Value) -> String {
    encode(&value.to_string(), STRICT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_gave_is_told_from_what_was_made_here() {
        let image = |tags: &[&str], digests: &[&str]| {
            let all = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
            ListedImage { id: "sha256:ab".into(), repo_tags: all(tags), repo_digests: all(digests) }
        };
        for (tags, digests, kept) in [
            (&["postgres:15"][..], &["postgres@sha256:1"][..], true),
            (&["first:latest"], &[], false),
            (&["<none>:<none>"], &["<none>@<none>"], false),
            // Pushed, and perhaps downloaded before.
            (&["h:5/acme/hello:latest"], &["h:5/acme/hello@sha256:1"], false),
            (&["h:5/acme/hello:latest"], &["postgres@sha256:1", "h:5/acme/hello@sha256:1"], false),
            (&["h:50/acme/hello:latest"], &["h:50/acme/hello@sha256:1"], true),
            // Kept before; a name that only looks so is nobody's.
            (&["slipway-kept:ab"], &[], true),
            (&["slipway-kept:cd"], &[], false),
        ] {
            assert_eq!(image(tags, digests).is_downloaded("h:5"), kept, "{tags:?} {digests:?}");
        }
    }
}
