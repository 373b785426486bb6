//! `slipway serve`: puts the rooms together, runs them, and ends them in order.
//!
//! Invariant of the end: first no build is handed out, then running builds end or are handed back (over HTTP, so the listener still
//! answers), then streams end, then connections, then the database is closed. A second signal ends the process at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use slipway_app::App;
use slipway_registry::Registry;
use slipway_web::{Options, WebState};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use url::Url;

use super::{builder, open};
use crate::config::Config;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::listener;
use crate::signals::EndSignals;

/// Above `drain_timeout`: for handing builds back.
const HAND_BACK: Duration = Duration::from_secs(10);
/// For background loops to end the step that they are in.
const LOOPS_END: Duration = Duration::from_secs(10);
const SWEEP: Duration = Duration::from_secs(300);
const OBSERVE: Duration = Duration::from_secs(10);

/// Everything that runs.
struct Running {
    app: Arc<App>,
    /// No build is handed out any more.
    draining: CancellationToken,
    /// Loops, streams and connections end.
    stop: CancellationToken,
    listener: JoinHandle<()>,
    loops: Vec<JoinHandle<()>>,
    builder: Option<JoinHandle<()>>,
}

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let mut signals = EndSignals::listen()?;
    let _instance = Instance::lock(&config.data_dir)?;
    let (socket, bound) = bind(config.listen).await?;
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::failed(format!("metrics cannot be recorded: {error}"), "start it again"))?;
    let db = open::database(&config).await?;
    let blobs = open::blobs(&config).await?;
    let app = Arc::new(open::app(&config, db, config.public_url(bound))?);
    let registry = Registry::new(Arc::clone(&app), blobs);
    let running = start(&config, app, registry, socket, bound, metrics);
    announce(&running.app, bound).await?;
    let signal = signals.next().await;
    tracing::info!(signal, "shutting down; a second signal ends at once");
    tokio::select! {
        () = end(running, config.drain_timeout) => Ok(()),
        signal = signals.next() => {
            tracing::warn!(signal, "ended at once");
            Err(Failure::failed("ended at once by a second signal", "builds that ran are tried again when their lease ends"))
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let refused = |error: std::io::Error| {
        Failure::failed(
            format!("`{address}` cannot be listened on: {error}"),
            "`listen` names another address and port; perhaps slipway runs already",
        )
    };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    Ok((socket, bound))
}

fn start(config: &Config, app: Arc<App>, registry: Registry, socket: TcpListener, bound: SocketAddr, metrics: PrometheusHandle) -> Running {
    let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
    let options = Options {
        version: env!("CARGO_PKG_VERSION"),
        api_per_minute: config.api_per_minute,
        metrics: Some(metrics.clone()),
        draining: draining.clone(),
        shutdown: stop.clone(),
    };
    let web = slipway_web::router(WebState::new(Arc::clone(&app), options));
    let nosniff = SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let router = web.merge(registry.clone().router().layer(CatchPanicLayer::new()).layer(nosniff));
    let loops = vec![
        tokio::spawn(Arc::clone(&app).run(stop.clone())),
        tokio::spawn(registry.clone().run_external(stop.clone())),
        tokio::spawn(sweep_uploads(registry, stop.clone())),
        tokio::spawn(observe(Arc::clone(&app), metrics, stop.clone())),
    ];
    let builder = config
        .builder
        .enabled
        .then(|| tokio::spawn(builder::run_builtin(Arc::clone(&app), config.clone(), loopback(bound), draining.clone())));
    let listener = tokio::spawn(listener::run(socket, router, stop.clone()));
    Running { app, draining, stop, listener, loops, builder }
}

/// The address under which the built-in builder reaches this process.
fn loopback(bound: SocketAddr) -> Url {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, bound.port()))).expect("an address with a port is a valid authority of a URL")
}

/// Tells where the server is, and how the first administrator gets in.
async fn announce(app: &App, bound: SocketAddr) -> Result<(), Failure> {
    let setup = app.begin_setup().await.map_err(open::application)?;
    let mut text = format!("slipway {} listens on http://{bound}\n", env!("CARGO_PKG_VERSION"));
    let public = app.config().public_url.as_str().trim_end_matches('/');
    if public != format!("http://{bound}") {
        text.push_str(&format!("public address: {public}\n"));
    }
    if let Some(token) = setup {
        let address = app.address(&format!("/setup?token={}", token.expose()));
        text.push_str(&format!("no account yet; make the first administrator (this address works once): {address}\n"));
    }
    // Whoever started the process may have closed its output, and the server shall run all the same.
    if let Err(failure) = crate::print(&text) {
        tracing::warn!(%failure, "the start could not be announced");
    }
    Ok(())
}

async fn end(running: Running, drain_timeout: Duration) {
    let Running { app, draining, stop, listener, loops, builder } = running;
    draining.cancel();
    if let Some(builder) = builder {
        wait("builder", builder, drain_timeout + HAND_BACK).await;
    }
    stop.cancel();
    for task in loops {
        wait("loop", task, LOOPS_END).await;
    }
    wait("listener", listener, LOOPS_END).await;
    app.db().close().await;
    tracing::info!("ended");
}

async fn wait(what: &'static str, mut task: JoinHandle<()>, limit: Duration) {
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(what, %error, "a part ended badly"),
        Err(_) => {
            tracing::warn!(what, "a part did not end in time and is cut");
            task.abort();
        }
    }
}

/// Uploads that nobody finished.
async fn sweep_uploads(registry: Registry, stop: CancellationToken) {
    loop {
        let swept = registry.sweep_uploads().await;
        if swept.expired + swept.orphaned > 0 {
            tracing::info!(expired = swept.expired, orphaned = swept.orphaned, "uploads swept");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Gauges that are read from the database, and the recorder's own housekeeping.
async fn observe(app: Arc<App>, metrics: PrometheusHandle, stop: CancellationToken) {
    loop {
        metrics.run_upkeep();
        match app.queue_length().await {
            Ok((queued, running)) => {
                for (state, count) in [("queued", queued), ("running", running)] {
                    // Far below 2^52, where a float would begin to round.
                    metrics::gauge!("slipway_builds", "state" => state).set(u32::try_from(count).unwrap_or(u32::MAX));
                }
            }
            Err(error) => tracing::debug!(%error, "the queue could not be measured"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(OBSERVE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_builder_dials_loopback() {
        assert_eq!(loopback("0.0.0.0:8080".parse().unwrap()).as_str(), "http://127.0.0.1:8080/");
        assert_eq!(loopback("[::]:81".parse().unwrap()).as_str(), "http://[::1]:81/");
        assert_eq!(loopback("192.0.2.1:82".parse().unwrap()).as_str(), "http://192.0.2.1:82/");
    }
}
