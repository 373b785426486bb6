//! What an engine is, and whether it is new enough.
//!
//! The invariant: nothing is built by an engine older than what is known to be sound, or by one without BuildKit. Deliberately elsewhere: the
//! version of a Docker Engine's API (`engine`).

use std::fmt;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{InfoRequest, ListWorkersRequest};
use tonic::{Code, Status};

use crate::connect::{channel, refusal, root_cause, unreachable};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::solve::{Client, is_lost};

/// The first buildkitd in which a frontend cannot write outside of its own folder (CVE-2026-33747).
const MIN_BUILDKITD: [u32; 3] = [0, 28, 1];

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `Docker Engine` or `buildkitd`.
    pub name: &'static str,
    /// Its version, for example `20.10.24`.
    pub version: String,
}

impl fmt::Display for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Client {
    /// Asks the engine what it is, and refuses one that is too old or whose BuildKit does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        match self.ask().await {
            Err(broken @ EngineError::Unreachable { .. }) => {
                Err(refusal(&self.address).await.map_or(broken, |cause| unreachable(&self.address, cause)))
            }
            done => done,
        }
    }

    async fn ask(&self) -> Result<EngineInfo, EngineError> {
        if self.address.is_docker() {
            let info = Engine::new(self.address.clone()).info().await?;
            let mut control = ControlClient::new(channel(&self.address).await?);
            control.list_workers(ListWorkersRequest::default()).await.map_err(|status| self.silent(&status))?;
            return Ok(info);
        }
        let mut control = ControlClient::new(channel(&self.address).await?);
        let found = match control.info(InfoRequest::default()).await {
            Ok(answer) => answer.into_inner().buildkit_version.map(|version| version.version).unwrap_or_default(),
            // Those before 0.11 do not know the question.
            Err(status) if status.code() == Code::Unimplemented => String::new(),
            Err(status) => return Err(self.silent(&status)),
        };
        match numbers(&found) {
            Some(version) if version >= MIN_BUILDKITD => {
                Ok(EngineInfo { name: "buildkitd", version: found.trim_start_matches('v').to_owned() })
            }
            _ => {
                let found: String = if found.is_empty() { "unknown".to_owned() } else { found.chars().take(100).collect() };
                let [major, minor, patch] = MIN_BUILDKITD;
                Err(self.unsuitable(format!("version `{found}` is too old, expected buildkitd {major}.{minor}.{patch} or newer")))
            }
        }
    }

    fn silent(&self, status: &Status) -> EngineError {
        match std::error::Error::source(status) {
            Some(source) if is_lost(status) => unreachable(&self.address, root_cause(source)),
            _ => self.unsuitable(format!("its BuildKit does not answer: {}", crate::explain::scrub(status.message()))),
        }
    }

    fn unsuitable(&self, reason: String) -> EngineError {
        EngineError::Unsuitable { address: self.address.to_string(), reason }
    }
}

/// Of `v0.32.2`, `0.29.0-rc1`, `v0.30.0+dirty`.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let plain = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for good in ["v0.28.1", "0.32.2", "v0.100.0", "v1.0.0", "v0.29.0-rc1", "v0.28.1+dirty"] {
            assert!(numbers(good).is_some_and(|version| version >= MIN_BUILDKITD), "{good}");
        }
        for bad in ["", "v0.28.0", "0.0.0+unknown", "v0.9.3", "0.30", "v0.30.0.1", "new", "v0.30.x"] {
            assert!(numbers(bad).is_none_or(|version| version < MIN_BUILDKITD), "{bad}");
        }
    }
}
