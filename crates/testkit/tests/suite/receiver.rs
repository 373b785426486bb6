//! A program that receives webhooks, for these tests.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

/// One request as it came in.
#[derive(Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    seen: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub async fn start(status: StatusCode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/github/1", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Received>>> = Arc::default();
        let keep = move |State(seen): State<Arc<Mutex<Vec<Received>>>>, headers: HeaderMap, body: Bytes| async move {
            seen.lock().unwrap().push(Received { headers, body: body.to_vec() });
            (status, "thank you")
        };
        let app = Router::new().route("/hooks/github/1", post(keep)).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen }
    }

    /// What came in for one event, in order.
    pub fn of(&self, event: &str) -> Vec<Received> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|one| one.headers["x-github-event"] == event).cloned().collect()
    }

    /// Everything that came in, in order.
    pub fn all(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    pub fn json_of(&self, event: &str) -> Vec<serde_json::Value> {
        self.of(event).iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect()
    }
}
