//! The listener of the page: one HTTP service for the page, the scrape, the health check and the
//! JSON-RPC API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, Methods, Server, ServerConfig, StopHandle, TowerServiceBuilder,
    stop_channel, ws,
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use super::access::{Access, Entrance, Refused};
use super::live::Reach;
use super::page::{ASSETS, Asset, protect};
use super::unknown::Known;
use super::verdict::in_words as time_in_words;
use super::{State, ViewError, rpc};
use crate::metrics;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 128;
/// A request's head must arrive within this time.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Connections get this long to end when the program does.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause after a failed accept: out of file descriptors is not mended by trying again at once.
const BACK_OFF: Duration = Duration::from_millis(100);

const LARGEST_REQUEST: u32 = 256 * 1024;
const LARGEST_RESPONSE: u32 = 16 * 1024 * 1024;
const LARGEST_BATCH: u32 = 32;
const SUBSCRIPTIONS: u32 = 4;
/// Messages that wait for a slow WebSocket reader before its subscriptions wait themselves. With what
/// those hold, a reader that stands still costs about a megabyte.
const MESSAGES: u32 = 4;

type Rpc = TowerServiceBuilder<tower::layer::util::Identity, tower::layer::util::Identity>;

/// What every connection needs.
struct Shared {
    state: Arc<State>,
    access: Access,
    rpc: Rpc,
    /// What is answered over HTTP: a subscription needs a WebSocket.
    plain: Methods,
    /// What is answered on a WebSocket.
    lasting: Methods,
    stop: StopHandle,
}

/// Serves until `shutdown` holds true or its sender is gone, then lets what is under way end.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    access: Access,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ViewError> {
    let address = listener.local_addr()?;
    let methods = |kind| rpc::methods(Arc::clone(&state), kind).map_err(ViewError::Methods);
    let (plain, lasting) =
        (methods(rpc::Transport::Http(address))?, methods(rpc::Transport::WebSocket)?);
    let config = ServerConfig::builder()
        .max_request_body_size(LARGEST_REQUEST)
        .max_response_body_size(LARGEST_RESPONSE)
        .max_connections(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX))
        .max_subscriptions_per_connection(SUBSCRIPTIONS)
        .set_message_buffer_capacity(MESSAGES)
        .set_batch_request_config(BatchRequestConfig::Limit(LARGEST_BATCH))
        .build();
    let (stop, stopper) = stop_channel();
    let shared = Arc::new(Shared {
        state: Arc::clone(&state),
        access,
        rpc: Server::builder().set_config(config).to_service_builder(),
        plain: plain.into(),
        lasting: lasting.into(),
        stop,
    });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = told_to_stop(&mut shutdown) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let shared = Arc::clone(&shared);
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    connection(stream, shared, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the page could not be accepted");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    // Fails only when it was stopped already.
    let _ = stopper.stop();
    drop(shared);
    let farewell = async {
        while connections.join_next().await.is_some() {}
        stopper.stopped().await;
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("some connections to the page did not end within {FAREWELL:?}");
    }
    Ok(())
}

/// Returns when `shutdown` holds true, or its sender is gone and nobody could say so any more.
async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) {
    // A failure shows with the first read or write.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the page ended early");
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<HttpBody> {
    let (parts, body) = request.into_parts();
    let mut response = match shared.access.check(&parts) {
        Err(Refused(status, words)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            let mut response = in_words(status, &words);
            if status == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
        Ok(Entrance::ByUrl(cookie)) if parts.uri.path() == "/" => keep_token(&cookie),
        Ok(_) => route(shared, Request::from_parts(parts, body)).await,
    };
    protect(response.headers_mut());
    response
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<HttpBody> {
    let path = request.uri().path();
    if path == "/rpc" {
        return call(shared, request).await;
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let mut response = match (asset, path) {
        (None, path) if !matches!(path, "/metrics" | "/healthz") => {
            return in_words(
                StatusCode::NOT_FOUND,
                "nothing is here; there are / (the page), /rpc (JSON-RPC), /metrics and /healthz",
            );
        }
        _ if !reads => return not_allowed("GET, HEAD"),
        (Some(asset), _) => serve_asset(asset),
        (None, "/metrics") => scrape(shared).await,
        (None, _) => health(shared).await,
    };
    if request.method() == Method::HEAD {
        *response.body_mut() = HttpBody::empty();
    }
    response
}

/// Hands a JSON-RPC request or a WebSocket upgrade to jsonrpsee.
async fn call(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<HttpBody> {
    let methods = match ws::is_upgrade_request(&request) {
        true => &shared.lasting,
        false if request.method() == Method::POST => &shared.plain,
        false => return not_allowed("POST, or GET to open a WebSocket"),
    };
    let known = methods.clone();
    let middleware =
        RpcServiceBuilder::new().layer_fn(move |inner| Known { methods: known.clone(), inner });
    let builder = shared.rpc.clone().set_rpc_middleware(middleware);
    let mut service = builder.build(methods.clone(), shared.stop.clone());
    match service.call(request).await {
        Ok(response) => response,
        Err(error) => in_words(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn scrape(shared: &Arc<Shared>) -> Response<HttpBody> {
    let metrics = Arc::clone(&shared.state.metrics);
    // Encoding takes milliseconds; connections are not to wait for it.
    match tokio::task::spawn_blocking(move || metrics.encode()).await {
        Ok(text) => with_type(metrics::CONTENT_TYPE, HttpBody::from(text)),
        Err(_) => in_words(StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed; see the log"),
    }
}

/// 200 while the monitor works. Whether node and API answer is told, as far as it is known, and
/// changes nothing: they are not asked now.
async fn health(shared: &Arc<Shared>) -> Response<HttpBody> {
    let state = &shared.state;
    let now = state.live.now();
    let store = state.archive.health().await;
    let status = if store.recording { "ok" } else { "degraded" };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": state.started.elapsed().as_secs(),
        "rpc_upstream": upstream_in_words(now.rpc),
        "api_upstream": state.endpoints.api.as_ref().map(|_| upstream_in_words(now.api)),
        "store": { "recording": store.recording, "trouble": store.trouble },
    });
    let mut response = with_type("application/json", HttpBody::from(body.to_string()));
    if !store.recording {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// What is known of an upstream.
fn upstream_in_words(known: Option<Reach>) -> String {
    match known {
        None => "not tried yet".to_owned(),
        Some(Reach { up: true, .. }) => "answers".to_owned(),
        Some(Reach { up: false, since }) => {
            format!("down for {}", time_in_words(since.elapsed().as_secs_f64()))
        }
    }
}

fn serve_asset(asset: &Asset) -> Response<HttpBody> {
    let mut response = with_type(asset.content_type, HttpBody::from(asset.bytes.to_vec()));
    // The names carry no version, so each is asked for again.
    let fresh = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    response
}

/// Has the browser keep the token and takes it out of the address line.
fn keep_token(cookie: &str) -> Response<HttpBody> {
    let mut response = in_words(StatusCode::SEE_OTHER, "the token is kept; go to /");
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn not_allowed(allowed: &'static str) -> Response<HttpBody> {
    let words = format!("this address takes {allowed}");
    let mut response = in_words(StatusCode::METHOD_NOT_ALLOWED, &words);
    let methods = if allowed.starts_with("POST") { "GET, POST" } else { allowed };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn in_words(status: StatusCode, words: &str) -> Response<HttpBody> {
    let body = json!({ "error": words, "status": status.as_u16() });
    let mut response = with_type("application/json", HttpBody::from(body.to_string()));
    *response.status_mut() = status;
    response
}

fn with_type(content_type: &'static str, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
