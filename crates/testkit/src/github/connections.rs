//! Takes connections and can drop one without an answer, which no framework lets a handler do.
//! Invariant: a dropped answer is dropped after everything that it told of has happened.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::trouble::Dropped;

/// Why a connection ends early.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is lost on purpose")
    }
}

impl std::error::Error for Lost {}

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, app: Router) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(one(stream, app.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: those that end give theirs back.
                tracing::warn!(%error, "the sample provider could not take a connection");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn one(stream: TcpStream, app: Router) {
    stream.set_nodelay(true).ok();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move {
            match app.oneshot(request.map(Body::new)).await {
                Ok(response) if response.extensions().get::<Dropped>().is_some() => Err(Lost),
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the sample provider ended");
    }
}
