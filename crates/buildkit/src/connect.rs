//! Dials an engine: plain bytes for its HTTP API, a gRPC channel for BuildKit.
//!
//! The invariant: one channel belongs to one build, so dropping a build closes its connection; nothing is sent over plain TCP that leaves
//! the machine. Deliberately elsewhere: certificates (`tls`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::address::{Dial, EngineAddress, EngineKind, host_of};
use crate::error::EngineError;
use crate::tls;

const DIAL_LIMIT: Duration = Duration::from_secs(10);
const LISTEN_LIMIT: Duration = Duration::from_secs(2);
const WINDOW: u32 = 4 * 1024 * 1024;

/// A connected stream of any transport.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects; the operating system's error becomes the caller's "nothing answers".
pub(crate) async fn dial(address: &EngineAddress) -> Result<Stream, EngineError> {
    if address.is_exposed() {
        let reason = "it is plain TCP to another machine, expected certificates".to_owned();
        return Err(EngineError::Unsuitable { address: address.to_string(), reason });
    }
    let connected = async {
        match &address.dial {
            Dial::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            Dial::Tcp { target, tls } => {
                let stream = TcpStream::connect(target).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Stream::Tcp(stream)),
                    Some(tls) => Ok(Stream::Tls(Box::new(tls.handshake(host_of(target), stream).await?))),
                }
            }
        }
    };
    match tokio::time::timeout(DIAL_LIMIT, connected).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(address, root_cause(&error))),
        Err(_) => Err(unreachable(address, format!("no connection within {} s", DIAL_LIMIT.as_secs()))),
    }
}

/// What a peer has against our certificate. It says so after the handshake, and then closes; who sends meanwhile often learns of a broken
/// pipe only. So this dials once more and listens.
pub(crate) async fn refusal(address: &EngineAddress) -> Option<String> {
    if !matches!(address.dial, Dial::Tcp { tls: Some(_), .. }) {
        return None;
    }
    let mut stream = dial(address).await.ok()?;
    let heard = tokio::time::timeout(LISTEN_LIMIT, stream.read_u8()).await.ok()?;
    tls::words(&heard.err()?)
}

pub(crate) fn unreachable(address: &EngineAddress, cause: impl ToString) -> EngineError {
    EngineError::Unreachable { address: address.to_string(), cause: cause.to_string() }
}

/// A gRPC channel to the BuildKit at the address.
pub(crate) async fn channel(address: &EngineAddress) -> Result<Channel, EngineError> {
    let io = match address.kind {
        EngineKind::Docker => upgraded(address).await?,
        EngineKind::Buildkitd => Box::pin(TokioIo::new(dial(address).await?)) as Pin<Box<dyn Io>>,
    };
    let endpoint = Endpoint::from_static("http://engine")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    let mut once = Some(io);
    // One connection, never dialled again: a new one would know neither the session nor the build.
    let connector = tower::service_fn(move |_: Uri| {
        let io = once.take().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the engine closed the connection"));
        async move { io }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(address, root_cause(&error)))
}

/// The Engine's `POST /grpc`: HTTP/1 that becomes HTTP/2.
async fn upgraded(address: &EngineAddress) -> Result<Pin<Box<dyn Io>>, EngineError> {
    let broken = |error: hyper::Error| unreachable(address, root_cause(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(dial(address).await?)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "engine connection ended");
        }
    });
    let request = Request::post("/grpc")
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", "h2c")
        .body(Empty::<Bytes>::new())
        .expect("a constant request is well formed");
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(EngineError::Unsuitable {
            address: address.to_string(),
            reason: format!("it answered {} to `POST /grpc`, expected 101 from an engine with BuildKit", response.status().as_u16()),
        });
    }
    Ok(Box::pin(hyper::upgrade::on(response).await.map_err(broken)?))
}

/// The innermost cause: outer layers of the transport only say "transport error".
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(words) = tls::words(cause) {
            return words;
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => return cause.to_string(),
        }
    }
}

/// What hyper needs of a connection.
pub(crate) trait Io: hyper::rt::Read + hyper::rt::Write + Send {}
impl<T: hyper::rt::Read + hyper::rt::Write + Send> Io for T {}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
