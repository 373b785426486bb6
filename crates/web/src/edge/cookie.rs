//! The session cookie: its name, how it is set, how it is read.

use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// The cookie of this server, by whether browsers reach it over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionCookie {
    /// `__Host-`: browsers accept it only with `Secure`, for this host alone.
    Secure,
    /// For plain HTTP.
    Plain,
}

impl SessionCookie {
    pub(crate) fn of(public_url: &Url) -> Self {
        if public_url.scheme() == "https" { Self::Secure } else { Self::Plain }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Secure => "__Host-slipway",
            Self::Plain => "slipway_session",
        }
    }

    fn secure(self) -> &'static str {
        match self {
            Self::Secure => "; Secure",
            Self::Plain => "",
        }
    }

    /// `Set-Cookie` for a new session.
    pub(crate) fn set(self, token: &str, max_age_seconds: u64) -> HeaderValue {
        let text = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_seconds}{}", self.name(), self.secure());
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// `Set-Cookie` that ends it in the browser.
    pub(crate) fn clear(self) -> HeaderValue {
        let text = format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}", self.name(), self.secure());
        HeaderValue::from_str(&text).expect("constant ASCII text is a valid header value")
    }

    /// The session token that a browser sent. When a cookie of the name comes twice, neither can be trusted.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    #[test]
    fn read_among_others_and_never_of_two() {
        let cookie = SessionCookie::Plain;
        assert_eq!(cookie.read(&headers("a=b; slipway_session=x; c=d")), Some("x"));
        assert_eq!(cookie.read(&headers("slipway_session=x; slipway_session=y")), None);
        assert_eq!(cookie.read(&headers("xslipway_session=x")), None);
        assert_eq!(SessionCookie::Secure.read(&headers("slipway_session=x")), None);
    }

    #[test]
    fn attributes() {
        let secure = SessionCookie::of(&Url::parse("https://x.example").unwrap()).set("t", 60);
        assert_eq!(secure.to_str().unwrap(), "__Host-slipway=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        let plain = SessionCookie::of(&Url::parse("http://127.0.0.1:1").unwrap()).set("t", 60);
        assert_eq!(plain.to_str().unwrap(), "slipway_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    }
}
