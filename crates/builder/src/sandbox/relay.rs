//! The registry, seen from inside of an engine of its own: a listener in the engine's network whose connections go on from the machine's.
//!
//! The invariant: it leads to the one registry of the installation and nowhere else. Bytes pass as they are, so TLS stays between the engine
//! and the registry. Deliberately elsewhere: every other way out (`gate.sh`).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use slipway_wire::RegistryTarget;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

const CONNECTIONS: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// The registry's address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegistryAddress {
    /// As images are named: `host[:port]`.
    pub(super) host: String,
    pub(super) insecure: bool,
    name: String,
    port: u16,
}

impl RegistryAddress {
    pub(super) fn of(registry: &RegistryTarget) -> Self {
        let (name, port) = match registry.host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') && !name.is_empty() => (name, port.parse().ok()),
            _ => (registry.host.as_str(), None),
        };
        let port = port.unwrap_or(if registry.insecure { 80 } else { 443 });
        Self { host: registry.host.clone(), insecure: registry.insecure, name: name.to_owned(), port }
    }

    /// The address that the name has inside: its own when it is one, else the loopback's.
    fn inside(&self) -> Ipv4Addr {
        self.name.parse().unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// What has to be added to the inner loopback device for it.
    pub(super) fn extra_address(&self) -> Option<Ipv4Addr> {
        Some(self.inside()).filter(|address| !address.is_loopback())
    }

    /// The name that has to lead to the inner loopback.
    pub(super) fn extra_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != "localhost" && name.parse::<Ipv4Addr>().is_err())
    }
}

/// A relay at work; it ends when this goes.
#[derive(Debug)]
pub(super) struct Relay {
    _accepting: AbortOnDropHandle<()>,
}

impl Relay {
    /// Listens in a network namespace; `own` is an address of the machine that is not its loopback's, when it has one.
    pub(super) async fn open(network: File, registry: &RegistryAddress, own: Option<Ipv4Addr>) -> io::Result<Self> {
        let at = SocketAddrV4::new(registry.inside(), registry.port);
        // A thread of its own: it stays in the other network until it ends, and the socket stays there for ever.
        let bound = tokio::task::spawn_blocking(move || {
            std::thread::spawn(move || {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                std::net::TcpListener::bind(at)
            })
            .join()
            .map_err(|_| io::Error::other("the thread of the listener died"))?
        });
        let listener = bound.await.map_err(io::Error::other)??;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let target = (registry.name.clone(), registry.port);
        let accepting = tokio::spawn(async move {
            // They end with the relay.
            let mut connections = JoinSet::new();
            loop {
                while connections.len() >= CONNECTIONS {
                    connections.join_next().await;
                }
                while connections.try_join_next().is_some() {}
                let Ok((mut inner, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let target = target.clone();
                connections.spawn(async move {
                    match dial(&target.0, target.1, own).await {
                        // Either end may go at any time, which the other one sees.
                        Ok(mut outer) => drop(copy_bidirectional(&mut inner, &mut outer).await),
                        Err(error) => tracing::debug!(%error, "the registry does not answer an engine of its own"),
                    }
                });
            }
        });
        Ok(Self { _accepting: AbortOnDropHandle::new(accepting) })
    }
}

/// From another address than the loopback's: a server on this machine believes of that what it says of whom it speaks for, as of a proxy.
async fn dial(name: &str, port: u16, own: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let mut refused = io::Error::other("the name has no address");
    for address in tokio::net::lookup_host((name, port)).await? {
        let dialled = match own {
            Some(own) if address.is_ipv4() && address.ip().is_loopback() => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((own, 0).into())?;
                socket.connect(address).await
            }
            _ => TcpStream::connect(address).await,
        };
        match dialled {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_on_the_loopback_is_not_spoken_to_from_there() {
        let own = super::super::own_addresses().await.expect("addresses");
        let own: Ipv4Addr = own.first().expect("an engine's bridge at least").parse().expect("address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let (dialled, accepted) = tokio::join!(dial("localhost", port, Some(own)), listener.accept());
        dialled.expect("dialled");
        assert_eq!(accepted.expect("accepted").1.ip(), own);
    }
    use slipway_wire::Credential;

    fn of(host: &str, insecure: bool) -> RegistryAddress {
        let credential = Credential { username: "x".into(), password: "y".into() };
        RegistryAddress::of(&RegistryTarget { host: host.into(), insecure, repository: "demo/hello".parse().expect("path"), credential })
    }

    #[test]
    fn names_and_addresses_have_a_place_inside() {
        let local = of("127.0.0.1:8080", true);
        assert_eq!((local.inside(), local.port, local.extra_address(), local.extra_name()), (Ipv4Addr::LOCALHOST, 8080, None, None));
        let private = of("10.1.2.3:5000", true);
        assert_eq!((private.extra_address(), private.extra_name()), (Some(Ipv4Addr::new(10, 1, 2, 3)), None));
        let named = of("slipway.example.com", false);
        assert_eq!((named.inside(), named.port, named.extra_name()), (Ipv4Addr::LOCALHOST, 443, Some("slipway.example.com")));
        assert_eq!(of("slipway.example.com", true).port, 80);
        assert_eq!(of("localhost:5000", true).extra_name(), None);
    }
}
