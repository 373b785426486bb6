//! The files that pages load, held in the binary. Their common address carries a hash over all of them, so they may be cached for ever.
//!
//! One hash for the whole folder lets the scripts import each other by relative address.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// A file in the binary.
#[derive(Debug)]
pub struct Asset {
    /// Its name in the address.
    pub name: &'static str,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Content.
    pub bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal => $type:literal,)*) => {
        &[$(Asset { name: $name, content_type: $type, bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/", $name)) },)*]
    };
}

static ASSETS: &[Asset] = assets! {
    "slipway.css" => "text/css; charset=utf-8",
    "slipway.js" => "text/javascript; charset=utf-8",
    "log.js" => "text/javascript; charset=utf-8",
    "ansi.js" => "text/javascript; charset=utf-8",
    "autobuild.js" => "text/javascript; charset=utf-8",
    "picker.js" => "text/javascript; charset=utf-8",
    "icon.svg" => "image/svg+xml",
};

/// The hash in every asset's address.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut hash = Sha256::new();
        for asset in ASSETS {
            hash.update(asset.name.as_bytes());
            hash.update((asset.bytes.len() as u64).to_le_bytes());
            hash.update(asset.bytes);
        }
        hex::encode(&hash.finalize()[..8])
    })
}

/// The address of the asset of that name.
#[must_use]
pub fn href(name: &str) -> String {
    debug_assert!(find(name).is_some(), "no asset is called {name}");
    format!("/assets/{}/{name}", version())
}

/// The asset of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}
