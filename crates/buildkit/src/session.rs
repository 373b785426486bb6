//! The session of a build: a gRPC server of ours inside a stream that we opened to the engine.
//!
//! The invariant: the session ends with its [`Session`] value, and the engine loses access to everything it served.
//! Deliberately elsewhere: the services (`filesync`, `auth`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard_buildkit_proto::health::health_server::{self, HealthServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{self, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::{self, FileSyncServer};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{self, AuthServer};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status};

use crate::auth::Answers;
use crate::filesync::Files;

/// Bytes under way in each direction.
const BUFFER: usize = 512 * 1024;
const WINDOW: u32 = 4 * 1024 * 1024;
/// Patterns of a `.dockerignore` travel as headers.
const HEADERS: u32 = 8 * 1024 * 1024;

/// An open session; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    _open: DropGuard,
}

/// Opens a session over the channel and serves it until the value is dropped.
pub(crate) async fn open(control: &mut ControlClient<Channel>, files: Files, answers: Answers) -> Result<Session, Status> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let open = CancellationToken::new();
    let (near, far) = tokio::io::duplex(BUFFER);
    let sent = ReaderStream::with_capacity(far, 64 * 1024)
        .filter_map(|read| async { read.ok().map(|data| BytesMessage { data: data.to_vec() }) })
        .take_until(open.clone().cancelled_owned());
    let mut request = Request::new(sent);
    let metadata = request.metadata_mut();
    metadata.insert("x-docker-expose-session-uuid", ascii(&id)?);
    metadata.insert("x-docker-expose-session-name", ascii("slipway")?);
    // Sessions with the same key share the engine's copy of a folder, and it takes a file of equal size and time for
    // unchanged: a stale or another build's Dockerfile. So no two builds share one.
    metadata.insert("x-docker-expose-session-sharedkey", ascii(&id)?);
    for method in methods() {
        metadata.append("x-docker-expose-session-grpc-method", ascii(&method)?);
    }
    let received = control.session(request).await?.into_inner();
    let received =
        received.map_ok(|message| Bytes::from(message.data)).map_err(io::Error::other).take_until(open.clone().cancelled_owned());
    let io = SessionIo { read: Box::pin(StreamReader::new(received)), write: near };
    let served = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(HEADERS)
        .add_service(FileSyncServer::new(files))
        .add_service(AuthServer::new(answers.clone()))
        .add_service(SecretsServer::new(answers.clone()))
        .add_service(HealthServer::new(answers))
        .serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(io)));
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::debug!(%error, "build session ended");
        }
    });
    Ok(Session { id, _open: open.drop_guard() })
}

fn methods() -> Vec<String> {
    [
        (file_sync_server::SERVICE_NAME, "DiffCopy"),
        (auth_server::SERVICE_NAME, "Credentials"),
        (auth_server::SERVICE_NAME, "FetchToken"),
        (auth_server::SERVICE_NAME, "GetTokenAuthority"),
        (auth_server::SERVICE_NAME, "VerifyTokenAuthority"),
        (secrets_server::SERVICE_NAME, "GetSecret"),
        (health_server::SERVICE_NAME, "Check"),
    ]
    .map(|(service, method)| format!("/{service}/{method}"))
    .to_vec()
}

fn ascii(text: &str) -> Result<MetadataValue<Ascii>, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("`{text}` cannot be sent as a header")))
}

/// What the engine sends is read, what we answer is written.
struct SessionIo {
    read: Pin<Box<dyn AsyncRead + Send>>,
    write: DuplexStream,
}

impl Connected for SessionIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for SessionIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for SessionIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
