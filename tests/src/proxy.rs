//! The way to PostgreSQL, which a test can cut and mend.
//! Invariant: cut means cut: connections that stand are broken, new ones are refused.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy on a free port; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(target: (String, u16)) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let listener = TcpListener::from_std(listener)?;
        let open = watch::Sender::new(true);
        let watched = open.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut watched) = (target.clone(), watched.clone());
                if !*watched.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = pass(near, far) => {}
                        // An error says that the proxy is gone, which ends the connection too.
                        _ = watched.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Ok(Self { port, open, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and lets no new one through.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream) -> std::io::Result<(u64, u64)> {
    // Small messages both ways: waiting to fill packets would make every query slow.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
