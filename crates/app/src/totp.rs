//! Time-based one-time passwords (RFC 6238) as every authenticator program makes them: SHA-1, 6 digits, 30 seconds.
//!
//! Deliberately elsewhere: that a code works once (`store::second_factors`), how often one may guess (`throttle`).

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use rand::Rng;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha1::Sha1;
use slipway_model::{Timestamp, constant_time_eq};

use crate::Error;

const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// RFC 4226 §4 recommends 160 bits.
const SECRET_BYTES: usize = 20;
/// Everything but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The secret that an authenticator shares with us.
pub(crate) struct TotpSecret(SecretSlice<u8>);

impl TotpSecret {
    pub(crate) fn generate() -> Self {
        let mut bytes = vec![0_u8; SECRET_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes.into())
    }

    /// From what was sealed.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// To be sealed.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// As people type it.
    pub(crate) fn base32(&self) -> SecretString {
        BASE32_NOPAD.encode(self.bytes()).into()
    }

    /// The address that an authenticator reads (`otpauth://`).
    pub(crate) fn uri(&self, issuer: &str, account: &str) -> SecretString {
        // The label is divided by a colon, so neither part may have one.
        let escape = |text: &str| utf8_percent_encode(&text.replace(':', " "), ESCAPED).to_string();
        let (issuer, account) = (escape(issuer), escape(account));
        format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            self.base32().expose_secret()
        )
        .into()
    }

    /// RFC 4226 §5.3 over the number of the time step.
    fn code(&self, step: i64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.bytes()).expect("a key for HMAC may have any length");
        mac.update(&step.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let offset = usize::from(digest[19] & 0xf);
        let number = digest[offset..offset + 4].iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// The time step of a code; one step to each side is accepted, for clocks that differ and people who type slowly.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        let current = now.as_seconds().div_euclid(STEP_SECONDS);
        let mut found = None;
        // Each is compared, whether one before was right or not.
        for step in current - 1..=current + 1 {
            if constant_time_eq(self.code(step).as_bytes(), code.as_bytes()) {
                found = Some(step);
            }
        }
        found
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret([redacted])")
    }
}

/// Whether a text has the form of a code.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit())
}

/// An address as a picture for a telephone's camera: an `<svg>` element without script or style.
pub(crate) fn qr_svg(uri: &SecretString) -> Result<SecretString, Error> {
    let code = QrCode::with_error_correction_level(uri.expose_secret(), EcLevel::M)
        .map_err(|_| Error::Internal("the address for the authenticator is too long for a picture"))?;
    let picture = code.render::<svg::Color<'_>>().min_dimensions(220, 220).build();
    // In a page there is no XML declaration.
    let element = picture.find("<svg").map_or(picture.as_str(), |at| &picture[at..]);
    Ok(element.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc_secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890".to_vec())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn codes_are_rfc_6238s() {
        // Appendix B, SHA1; the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(rfc_secret().code(seconds / 30), code, "{seconds}");
            assert_eq!(rfc_secret().step_of(code, at(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn one_step_to_each_side_is_accepted_and_no_more() {
        let secret = rfc_secret();
        let code = secret.code(100);
        for (seconds, accepted) in [(2969, false), (2970, true), (3000, true), (3029, true), (3059, true), (3060, false)] {
            assert_eq!(secret.step_of(&code, at(seconds)), accepted.then_some(100), "{seconds}");
        }
        for wrong in ["", "0", "00000", "0000000", "abcdef"] {
            assert_eq!(secret.step_of(wrong, at(3000)), None);
        }
    }

    #[test]
    fn a_secret_is_random_has_160_bits_and_is_not_shown() {
        let (one, other) = (TotpSecret::generate(), TotpSecret::generate());
        assert_eq!(one.bytes().len(), 20);
        assert_ne!(one.bytes(), other.bytes());
        assert_eq!(one.base32().expose_secret().len(), 32);
        assert!(!format!("{one:?}").contains(one.base32().expose_secret()));
    }

    #[test]
    fn the_address_is_what_authenticators_read() {
        let uri = rfc_secret().uri("Slipway hub.example:8443", "ada");
        assert_eq!(
            uri.expose_secret(),
            "otpauth://totp/Slipway%20hub.example%208443:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Slipway%20hub.example%208443&algorithm=SHA1&digits=6&period=30"
        );
        let picture = qr_svg(&uri).unwrap();
        let picture = picture.expose_secret();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>"), "{}", &picture[..80]);
        assert!(!picture.contains("style") && !picture.contains("script"));
        assert!(qr_svg(&"x".repeat(5000).into()).is_err());
    }

    #[test]
    fn only_six_digits_look_like_a_code() {
        assert!(is_code("012345"));
        for other in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            assert!(!is_code(other), "{other}");
        }
    }
}
