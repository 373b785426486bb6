//! From which address a request comes: one rule for pages, API and registry, so that logs, limits and lists of tokens say the same.

use std::net::IpAddr;

/// The client's address: the other end of the connection, or what a proxy on this machine names. Only such a proxy is believed, and only
/// the entry that it added itself, the last. `forwarded` is the last `X-Forwarded-For` header.
#[must_use]
pub fn client_address(peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
    if !peer.is_loopback() {
        return peer;
    }
    forwarded.and_then(|list| list.rsplit(',').next()).and_then(|last| last.trim().parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_local_proxy_is_believed() {
        let address = |peer: &str, forwarded| client_address(peer.parse().unwrap(), forwarded).to_string();
        assert_eq!(address("127.0.0.1", Some("6.6.6.6, 203.0.113.9")), "203.0.113.9");
        assert_eq!(address("::1", Some("2001:db8::1")), "2001:db8::1");
        assert_eq!(address("198.51.100.1", Some("203.0.113.9")), "198.51.100.1");
        assert_eq!(address("127.0.0.1", Some("203.0.113.9, nonsense")), "127.0.0.1");
        assert_eq!(address("127.0.0.1", None), "127.0.0.1");
    }
}
