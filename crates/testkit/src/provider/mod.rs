//! What every fake provider is made of: real git, its smart HTTP, faults on purpose, signatures, credentials, ids and time.
//! Invariant: nothing here knows one provider's words or rules; those stand in `github` and `bitbucket`.

pub(crate) mod browser;
pub(crate) mod credentials;
pub(crate) mod faults;
pub(crate) mod git;
pub(crate) mod http_backend;
pub(crate) mod words;

use hmac::{Hmac, KeyInit as _, Mac as _};

/// Random lower-case hex of `bytes` bytes.
pub(crate) fn random_hex(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// Epoch milliseconds of the machine.
#[expect(
    clippy::disallowed_methods,
    reason = "the provider is a foreign machine with a clock of its own; the product's Clock must not move it"
)]
pub(crate) fn wall_clock_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as i64)
}

/// Hex of HMAC-SHA256, the value after `sha256=`.
pub fn sign_sha256(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Text made safe for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub docs, "Validating webhook deliveries", section "Testing the webhook payload validation".
    #[test]
    fn signature_of_the_documentation() {
        assert_eq!(
            sign_sha256("It's a Secret to Everybody", b"Hello, World!"),
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
