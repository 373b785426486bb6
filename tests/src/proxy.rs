//! The way to PostgreSQL, which a test can cut and mend.
//! Invariant: cut means cut: connections that stand are broken, new ones are refused. It runs on a thread of its own, because a test
//! that waits for a command of the binary lets nothing else run.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy on a free port; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
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
        let (open, mut watched) = watch::channel(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let connections = watched.clone();
                tokio::select! {
                    () = serve(listener, target, connections) => {}
                    // The sender went away, and so do we with every connection.
                    () = async { while watched.changed().await.is_ok() {} } => {}
                }
            });
        });
        Ok(Self { port, open })
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

async fn serve(listener: std::net::TcpListener, target: (String, u16), watched: watch::Receiver<bool>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
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
}

async fn pass(mut near: TcpStream, mut far: TcpStream) -> std::io::Result<(u64, u64)> {
    // Small messages both ways: waiting to fill packets would make every query slow.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await
}
