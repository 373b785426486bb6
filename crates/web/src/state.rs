//! What every handler has: the application and the few facts of this process.

use std::num::NonZeroU32;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use slipway_app::App;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::api::log::Feeds;
use crate::edge::rate::ApiRate;

/// State of the router; cheap to clone.
#[derive(Clone)]
pub struct WebState(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    options: Options,
    rate: ApiRate,
    feeds: Feeds,
}

/// Facts of this process.
#[derive(Clone)]
pub struct Options {
    /// Version of the program, for the pages and the API.
    pub version: &'static str,
    /// How many requests one credential or address may send to the API in a minute.
    pub api_per_minute: NonZeroU32,
    /// What `/metrics` shows; without it there is no such address.
    pub metrics: Option<PrometheusHandle>,
    /// From here on no build is handed out and the process is not ready; requests are still answered.
    pub draining: CancellationToken,
    /// Ends streams, at last.
    pub shutdown: CancellationToken,
}

impl Options {
    /// The API's limit when nobody set another.
    pub const API_PER_MINUTE: NonZeroU32 = NonZeroU32::new(1200).expect("the number is not zero");
}

impl WebState {
    /// Puts the parts together.
    #[must_use]
    pub fn new(app: Arc<App>, options: Options) -> Self {
        let rate = ApiRate::new(options.api_per_minute);
        Self(Arc::new(Inner { app, options, rate, feeds: Feeds::default() }))
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

    /// What is shown of builds that are being watched.
    pub(crate) fn feeds(&self) -> &Feeds {
        &self.0.feeds
    }

    pub(crate) fn api_rate(&self) -> &ApiRate {
        &self.0.rate
    }
}

impl std::fmt::Debug for WebState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebState").field("version", &self.0.options.version).finish_non_exhaustive()
    }
}
