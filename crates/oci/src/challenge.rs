//! What a registry asks for before it answers: the `WWW-Authenticate` header (RFC 9110 §11.6.1, Docker token specification).
//!
//! Invariant: a hostile header gives few challenges of bounded size, or none; it never fails loudly.

/// Longest header that is looked at.
const MAX_HEADER: usize = 8192;
const MAX_CHALLENGES: usize = 8;

/// One way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from this address.
    Bearer {
        /// Where tokens are given out, as written.
        realm: String,
        /// For which service to ask there.
        service: Option<String>,
    },
}

/// The challenges of one header that are understood, in its order.
#[must_use]
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    if header.len() > MAX_HEADER {
        return found;
    }
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() && found.len() < MAX_CHALLENGES {
        let (scheme, behind) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, behind) = parameters(behind);
        let value = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            found.push(Challenge::Bearer { realm, service: value("service") });
        }
        // What `Negotiate` carries ends with these.
        rest = behind.trim_start_matches([' ', ',', '\t', '=']);
    }
    found
}

/// A word of the grammar, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

/// `key=value` pairs as far as they go: a word without `=` begins the next challenge.
fn parameters(mut text: &str) -> (Vec<(&str, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let here = text.trim_start_matches([' ', ',', '\t']);
        let (key, behind) = token(here);
        let Some(value) = behind.trim_start().strip_prefix('=').filter(|_| !key.is_empty()) else { return (found, here) };
        let value = value.trim_start();
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let (word, behind) = token(value);
                (word.to_owned(), behind)
            }
        };
        found.push((key, value));
        if behind.len() == text.len() {
            return (found, "");
        }
        text = behind;
    }
}

/// What stands before the closing quote, and what follows that.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn what_registries_send_is_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(parse_challenges(hub), [bearer("https://auth.docker.io/token", Some("registry.docker.io"))]);
        assert_eq!(parse_challenges(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse_challenges("basic"), [Challenge::Basic]);
        let both = r#"Negotiate abc==, BEARER Realm = "https://a/t" , error="invalid_token", Basic realm=x"#;
        assert_eq!(parse_challenges(both), [bearer("https://a/t", None), Challenge::Basic]);
        assert_eq!(parse_challenges(r#"Bearer realm="a\"b,c", service=s"#), [bearer("a\"b,c", Some("s"))]);
    }

    #[test]
    fn what_makes_no_sense_gives_nothing() {
        for odd in ["", ",", "=", "\"", "Bearer", "Bearer service=\"x\"", "Bearer realm", "é", "Digest realm=\"x\"", "Bearer =\"x\""] {
            assert!(parse_challenges(odd).iter().all(|challenge| *challenge == bearer("", None)), "{odd}");
        }
        assert_eq!(parse_challenges("Bearer realm=\"open"), [bearer("open", None)]);
        assert_eq!(parse_challenges(&"Basic, ".repeat(100)).len(), MAX_CHALLENGES);
        assert!(parse_challenges(&format!("Bearer realm=\"{}\"", "a".repeat(MAX_HEADER))).is_empty());
    }
}
