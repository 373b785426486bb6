//! Who is at the other end of the connection.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;

/// The client's address for logs, limits and "last used from". Behind a proxy on this machine it is the one that the proxy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::from([0, 0, 0, 0]), |info| info.0.ip());
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        Ok(Self(slipway_app::client_address(peer, forwarded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn address(peer: &str, forwarded: &str) -> String {
        let peer: SocketAddr = peer.parse().unwrap();
        let request = http::Request::builder().header("x-forwarded-for", forwarded).extension(ConnectInfo(peer)).body(()).unwrap();
        let Ok(found) = ClientAddress::from_request_parts(&mut request.into_parts().0, &()).await;
        found.0.to_string()
    }

    #[tokio::test]
    async fn only_a_local_proxy_is_believed() {
        assert_eq!(address("127.0.0.1:5", "6.6.6.6, 203.0.113.9").await, "203.0.113.9");
        assert_eq!(address("198.51.100.1:5", "203.0.113.9").await, "198.51.100.1");
        assert_eq!(address("127.0.0.1:5", "nonsense").await, "127.0.0.1");
    }
}
