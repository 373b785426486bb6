//! Client of BuildKit: inside a Docker Engine, or a standalone buildkitd.
//!
//! What lives here: the connection ([`EngineAddress`]), one build ([`Client::solve`]) with the session that serves it
//! (context, Dockerfile, secrets, registry credentials), and the few calls of the Engine's own HTTP API that a builder
//! needs ([`Engine`]). The invariant: nothing outside the folder that was given as the context is ever read, whatever
//! symbolic links it holds, and no text of the daemon leaves this crate with a path of its host in it.
//! Deliberately elsewhere: what to build and why (`slipway-builder`), and the classic builder, which is never used.

mod address;
mod auth;
mod connect;
mod containers;
mod details;
mod engine;
mod error;
mod explain;
mod filesync;
mod filter;
mod follow;
mod http;
mod info;
#[doc(hidden)]
pub mod parsers;
mod patterns;
mod progress;
mod push;
mod request;
mod save;
mod session;
mod solve;
mod tls;
mod tree;

pub use address::EngineAddress;
pub use auth::{RegistryAuth, RegistryCredentials};
pub use engine::{Engine, Images};
pub use error::{AddressError, EngineError, SolveError};
pub use info::EngineInfo;
pub use patterns::{PatternError, Patterns};
pub use progress::{LogStream, SolveEvent, Vertex};
pub use push::PushProgress;
pub use request::{BaseImages, CacheExport, CacheScope, DockerfileText, Export, LayerCache, RegistryRef, SolveOutput, SolveRequest};
pub use save::{ImageTar, SavedImage};
pub use solve::Client;
pub use tls::{ClientIdentity, EngineTls, TlsError};
pub use tree::{EntryKind, Tree};
