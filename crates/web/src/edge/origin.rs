//! Proof that a write by cookie came from our own pages.
//!
//! Invariant: a request that proves nothing is refused; a browser always sends one of the two headers with a write.

use http::{HeaderMap, Method, header};
use url::Url;

use crate::error::{ApiError, Code};

/// Methods that change nothing.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses a request that another site may have sent with the person's cookie.
pub(crate) fn check(headers: &HeaderMap, public_url: &Url) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let same = match (text(http::HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => same_origin(origin, text(header::HOST), public_url),
        (None, None) => false,
    };
    if same {
        Ok(())
    } else {
        Err(ApiError::new(Code::CrossOrigin, "a write with the session cookie must come from Slipway's own pages")
            .hint("use a token in `Authorization: Bearer` from programs"))
    }
}

/// The origin must be the public one or that of the `Host` that was asked: a page of another site can forge neither, and
/// the cookie of one host is never sent to another.
fn same_origin(origin: &str, host: Option<&str>, public_url: &Url) -> bool {
    let Ok(origin) = Url::parse(origin) else { return false };
    if origin.origin() == public_url.origin() {
        return true;
    }
    let asked = host.and_then(|host| Url::parse(&format!("{}://{host}", origin.scheme())).ok());
    matches!(origin.scheme(), "http" | "https") && asked.is_some_and(|asked| asked.origin() == origin.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_pass() {
        let public = Url::parse("https://slipway.example").unwrap();
        let check = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect();
            check(&headers, &public).is_ok()
        };
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("origin", "https://slipway.example")]));
        assert!(check(&[("origin", "http://10.0.0.5:8080"), ("host", "10.0.0.5:8080")]));
        assert!(!check(&[]));
        assert!(!check(&[("sec-fetch-site", "cross-site"), ("origin", "https://slipway.example")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[("sec-fetch-site", "none")]));
        assert!(!check(&[("origin", "null"), ("host", "slipway.example")]));
        assert!(!check(&[("origin", "https://evil.example"), ("host", "slipway.example")]));
        assert!(!check(&[("origin", "http://slipway.example"), ("host", "slipway.example:8443")]));
    }
}
