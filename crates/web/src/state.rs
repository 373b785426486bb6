//! What every handler has: the application and the few facts of this process.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use slipway_app::App;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::edge::cookie::SessionCookie;

/// State of the router; cheap to clone.
#[derive(Clone)]
pub struct WebState(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    options: Options,
    cookie: SessionCookie,
}

/// Facts of this process.
#[derive(Clone)]
pub struct Options {
    /// Version of the program, for the pages and the API.
    pub version: &'static str,
    /// What `/metrics` shows; without it there is no such address.
    pub metrics: Option<PrometheusHandle>,
    /// From here on no build is handed out and the process is not ready; requests are still answered.
    pub draining: CancellationToken,
    /// Ends streams, at last.
    pub shutdown: CancellationToken,
}

impl WebState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(app: Arc<App>, options: Options) -> Self {
        let cookie = SessionCookie::of(&app.config().public_url);
        Self(Arc::new(Inner { app, options, cookie }))
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.0.app
    }

    /// Facts of this process.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The address under which people reach us.
    #[must_use]
    pub fn public_url(&self) -> &Url {
        &self.0.app.config().public_url
    }

    pub(crate) fn cookie(&self) -> SessionCookie {
        self.0.cookie
    }
}

impl std::fmt::Debug for WebState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebState").field("version", &self.0.options.version).finish_non_exhaustive()
    }
}
