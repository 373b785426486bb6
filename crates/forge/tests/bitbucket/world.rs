//! The fake Bitbucket with a consumer of ours and people who link.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http::HeaderMap;
use slipway_forge::{AuthorizeRequest, Forge, Grant, Provider};
use slipway_model::ProviderKind;
use slipway_testkit::bitbucket::{Consumer, FakeBitbucket, Visibility, WorkspaceRole};
use url::Url;

pub const CALLBACK: &str = "http://127.0.0.1:9/oauth/bitbucket/callback";
pub const SCOPES: &[&str] = &["account", "repository", "pullrequest", "repository:admin", "webhook"];

pub struct World {
    pub bitbucket: FakeBitbucket,
    pub consumer: Consumer,
    pub client: Arc<dyn Forge>,
}

impl World {
    pub async fn new() -> Self {
        Self::with_scopes(SCOPES).await
    }

    pub async fn with_scopes(scopes: &[&str]) -> Self {
        let bitbucket = FakeBitbucket::start().await.unwrap();
        for nickname in ["emma", "hugo", "mallory"] {
            bitbucket.add_user(nickname);
        }
        bitbucket.add_workspace("acme", &[("emma", WorkspaceRole::Owner), ("hugo", WorkspaceRole::Member)]);
        bitbucket.add_repository("emma/hello", Visibility::Private);
        bitbucket.add_repository("acme/site", Visibility::Private);
        let consumer = bitbucket.add_consumer("Slipway", CALLBACK, scopes).unwrap();
        let client = slipway_forge::open(Provider {
            id: "bitbucket".parse().unwrap(),
            kind: ProviderKind::Bitbucket,
            web_url: bitbucket.web_url().parse().unwrap(),
            api_url: bitbucket.api_url().parse().unwrap(),
            client_id: consumer.key.clone(),
            client_secret: consumer.secret.clone().into(),
            app: None,
            ssh: None,
        })
        .unwrap();
        Self { bitbucket, consumer, client }
    }

    /// The code that a person comes back with.
    pub async fn code(&self, nickname: &str) -> String {
        let callback: Url = CALLBACK.parse().unwrap();
        let scopes = self.client.offers()[0].scopes;
        let request = AuthorizeRequest { redirect_uri: &callback, state: "st4te", challenge: "not sent", scopes };
        let address = self.client.authorize_url(&request);
        assert!(!address.as_str().contains("not"), "{address}");
        let back: Url = self.bitbucket.approve_oauth(address.as_str(), nickname).await.unwrap().parse().unwrap();
        let query = |name: &str| back.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned();
        assert_eq!(query("state"), "st4te");
        query("code")
    }

    pub async fn link(&self, nickname: &str) -> Grant {
        let code = self.code(nickname).await;
        self.client.exchange_code(&code, &CALLBACK.parse().unwrap(), &"ignored".into()).await.unwrap()
    }
}

impl Drop for World {
    /// Unless the test failed, every request was one that Bitbucket describes, and so was every answer.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.bitbucket.violations(), Vec::<String>::new());
            assert!(self.bitbucket.requests().iter().all(|request| !request.unknown));
        }
    }
}

/// The deliveries that arrived at our address, with their exact bytes.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Inbox {
    pub async fn listen(&self) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/bitbucket/0192", listener.local_addr().unwrap()).parse().unwrap();
        let inbox = self.0.clone();
        let app = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            inbox.lock().unwrap().push((headers, body));
            async { http::StatusCode::ACCEPTED }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    pub fn take(&self) -> Vec<(HeaderMap, Bytes)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
