//! The cookies that carry a secret: the session, a sign-in that waits for its second factor, and the browser of an OpenID Connect
//! sign-in. How each is called, set and read.
//!
//! Invariant: each is `HttpOnly` and `SameSite=Lax`, and over TLS `Secure` under a `__Host-` name, which no other host can set.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// Whether browsers reach this server over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tls,
    Plain,
}

/// A cookie of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SecretCookie {
    /// Over TLS: browsers accept `__Host-` only with `Secure`, for this host alone.
    over_tls: &'static str,
    over_plain: &'static str,
    transport: Transport,
}

impl SecretCookie {
    fn of(public_url: &Url, over_tls: &'static str, over_plain: &'static str) -> Self {
        let transport = if public_url.scheme() == "https" { Transport::Tls } else { Transport::Plain };
        Self { over_tls, over_plain, transport }
    }

    /// A session.
    pub(crate) fn session(public_url: &Url) -> Self {
        Self::of(public_url, "__Host-slipway", "slipway_session")
    }

    /// A sign-in that waits for its second factor.
    pub(crate) fn pending_sign_in(public_url: &Url) -> Self {
        Self::of(public_url, "__Host-slipway_signin", "slipway_signin")
    }

    /// The browser that began a sign-in at an OpenID Connect provider.
    pub(crate) fn oidc(public_url: &Url) -> Self {
        Self::of(public_url, "__Host-slipway_oidc", "slipway_oidc")
    }

    pub(crate) fn name(self) -> &'static str {
        match self.transport {
            Transport::Tls => self.over_tls,
            Transport::Plain => self.over_plain,
        }
    }

    fn secure(self) -> &'static str {
        match self.transport {
            Transport::Tls => "; Secure",
            Transport::Plain => "",
        }
    }

    /// `Set-Cookie` for a new secret.
    pub(crate) fn set(self, secret: &str, life: Duration) -> HeaderValue {
        let text = format!("{}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{}", self.name(), life.as_secs(), self.secure());
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// `Set-Cookie` that ends it in the browser.
    pub(crate) fn clear(self) -> HeaderValue {
        let text = format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}", self.name(), self.secure());
        HeaderValue::from_str(&text).expect("constant ASCII text is a valid header value")
    }

    /// The secret that a browser sent. When a cookie of the name comes twice, neither can be trusted.
    pub(crate) fn read(self, headers: &HeaderMap) -> Option<&str> {
        let mut found = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name())
            .map(|(_, value)| value);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Whether an answer sets or ends it.
    pub(crate) fn is_set_by(self, headers: &HeaderMap) -> bool {
        let ours =
            |value: &HeaderValue| value.to_str().ok().and_then(|text| text.split_once('=')).is_some_and(|(name, _)| name == self.name());
        headers.get_all(header::SET_COOKIE).iter().any(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    fn urls() -> (Url, Url) {
        (Url::parse("https://x.example").unwrap(), Url::parse("http://127.0.0.1:1").unwrap())
    }

    #[test]
    fn read_among_others_and_never_of_two() {
        let (tls, plain) = urls();
        let cookie = SecretCookie::session(&plain);
        assert_eq!(cookie.read(&headers("a=b; slipway_session=x; c=d")), Some("x"));
        assert_eq!(cookie.read(&headers("slipway_session=x; slipway_session=y")), None);
        assert_eq!(cookie.read(&headers("xslipway_session=x")), None);
        assert_eq!(SecretCookie::session(&tls).read(&headers("slipway_session=x")), None);
        assert_eq!(SecretCookie::pending_sign_in(&plain).read(&headers("slipway_session=x; slipway_signin=y")), Some("y"));
        assert_eq!(SecretCookie::oidc(&tls).read(&headers("__Host-slipway=x; __Host-slipway_oidc=z")), Some("z"));
    }

    #[test]
    fn attributes() {
        let (tls, plain) = urls();
        let minute = Duration::from_secs(60);
        let secure = SecretCookie::session(&tls).set("t", minute);
        assert_eq!(secure.to_str().unwrap(), "__Host-slipway=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        let open = SecretCookie::session(&plain).set("t", minute);
        assert_eq!(open.to_str().unwrap(), "slipway_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        for cookie in [SecretCookie::pending_sign_in(&tls), SecretCookie::oidc(&tls)] {
            let text = cookie.set("t", minute);
            let text = text.to_str().unwrap();
            assert!(text.starts_with("__Host-") && text.contains("; HttpOnly; SameSite=Lax; ") && text.ends_with("; Secure"), "{text}");
        }
    }

    #[test]
    fn an_answer_that_sets_the_session_itself_is_recognised() {
        let (_, plain) = urls();
        let (session, pending) = (SecretCookie::session(&plain), SecretCookie::pending_sign_in(&plain));
        let answer = HeaderMap::from_iter([(header::SET_COOKIE, session.clear())]);
        assert!(session.is_set_by(&answer) && !pending.is_set_by(&answer));
    }
}
