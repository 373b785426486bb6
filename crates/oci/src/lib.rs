//! The words of the OCI distribution specification 1.1: digests, names, manifests, requests, ranges, error codes.
//!
//! Invariant: everything here is pure. A value that exists is valid: a [`Digest`], [`RepositoryName`] or [`Tag`] can only
//! be had by parsing, so no room behind this one meets a path segment that it would have to distrust.
//! Deliberately elsewhere: who may do what (`app`), where bytes lie (`blobs`), answers over HTTP (`registry`).

mod challenge;
mod digest;
mod error;
mod json;
mod manifest;
mod name;
mod range;
mod request;

pub use challenge::{Challenge, parse_challenges};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::{ErrorCode, error_body};
pub use manifest::{Child, Descriptor, Kind, MAX_MANIFEST_BYTES, MAX_REFERENCES, Manifest, ManifestError, Role, media_type};
pub use name::{NameError, Reference, RepositoryName, Tag};
pub use range::{ByteRange, ContentRange, Selected, parse_range};
pub use request::{Access, Action, Fetch, Mount, Page, Refusal, UploadId, parse};
