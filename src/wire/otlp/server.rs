//! The receiver's thread: accepts exporters, takes their exports one request at a time, drains.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answer::{Encoding, Refused};
use super::body::{self, Room};
use crate::decode::otlp;
use crate::model::{CustomMetrics, Observation, Observer, remedy};
use crate::wire::cors::CrossOrigin;
use crate::wire::guard::Guard;

/// How long a connection may be idle, or take for a request's head.
const IDLE: Duration = Duration::from_secs(60);
/// How long accepting rests when it fails.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Why the receiver could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the receiver of spans cannot be started: {0}")]
pub struct OtlpServerError(#[from] std::io::Error);

/// How the receiver is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long exports under way may take to finish at the end.
    pub drain: Duration,
    /// Metrics of the dapp's own, whose numbers are read from spans.
    pub custom: CustomMetrics,
    /// How long a body may take.
    pub slowest: Duration,
    /// How long nothing may come of it.
    pub stalled: Duration,
}

/// What the connections share.
struct Shared {
    guard: Guard,
    observer: Observer,
    custom: CustomMetrics,
    room: Room,
    slowest: Duration,
    stalled: Duration,
    /// Reasons of refusals that are in the log.
    said: Mutex<HashSet<&'static str>>,
}

/// Listens on `address`; port 0 takes a free one.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    // The standard library's listeners reuse addresses on Unix: a restart need not wait.
    TcpListener::bind(address)
}

/// Serves `listener` on a thread of its own until `shutdown` becomes true or its sender is gone,
/// then lets exports under way finish.
pub fn serve(
    listener: TcpListener,
    settings: Settings,
    guard: Guard,
    observer: Observer,
    shutdown: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, OtlpServerError> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let Settings { drain, custom, slowest, stalled } = settings;
    let room = Room::new();
    let said = Mutex::default();
    let shared = Arc::new(Shared { guard, observer, custom, room, slowest, stalled, said });
    let run = move || runtime.block_on(run(listener, drain, shared, shutdown));
    Ok(std::thread::Builder::new().name("otlp".to_owned()).spawn(run)?)
}

async fn run(
    listener: tokio::net::TcpListener,
    drain: Duration,
    shared: Arc<Shared>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let stopping = shutdown.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared), stopping.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "an exporter's connection was not accepted");
                    tokio::time::sleep(BACK_OFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!("{} exporters were cut off", connections.len());
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let speaks_grpc = tokio::select! {
        speaks_grpc = tokio::time::timeout(IDLE, speaks_grpc(&stream)) => speaks_grpc,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    match speaks_grpc {
        Ok(false) => {}
        Ok(true) => return shared.refused("grpc"),
        Err(_) => return,
    }
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An exporter that goes away, or speaks no HTTP, is none of ours to tell of.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Whether it begins as HTTP/2 does, which gRPC is spoken in.
async fn speaks_grpc(stream: &TcpStream) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    let mut begin = [0; PREFACE.len()];
    // No method of HTTP/1.1 begins with its first three letters.
    let length = stream.peek(&mut begin).await.unwrap_or(0);
    length >= 3 && PREFACE.starts_with(&begin[..length])
}

impl Shared {
    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let origin = request.headers().get(header::ORIGIN);
        let is_admitted = origin.is_some_and(|it| self.guard.admits_origin(it.as_bytes()));
        let cross_origin = is_admitted.then(|| CrossOrigin::of(&request)).flatten();
        let mut response = match &cross_origin {
            Some(asked) if asked.is_preflight() => Response::new(Full::default()),
            _ => self.answer_export(request).await,
        };
        if let Some(cross_origin) = cross_origin {
            *response.status_mut() = cross_origin.allow(response.status(), response.headers_mut());
        }
        response
    }

    async fn answer_export<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let encoding = Encoding::of(request.headers().get(header::CONTENT_TYPE));
        match self.take(request, encoding).await {
            Ok(response) => response,
            Err(refused) => {
                self.refused(refused.reason);
                // Exporters close or go on by themselves, but for a body that was left unread.
                let mut response = encoding.unwrap_or(Encoding::Json).refused(&refused);
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                if refused.status == StatusCode::METHOD_NOT_ALLOWED {
                    let post = HeaderValue::from_static("POST");
                    response.headers_mut().insert(header::ALLOW, post);
                }
                response
            }
        }
    }

    /// Tells that an export was refused; in the log once for each reason, and not in the words of the
    /// answer, which may quote what was sent.
    fn refused(&self, reason: &'static str) {
        self.observer.tell(Observation::ExportRefused(reason));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(reason) {
            let hint = remedy(reason).unwrap_or("The answer to it says why.");
            tracing::warn!(reason, "an export of spans was refused. {hint}");
        }
    }

    async fn take<B>(
        &self,
        request: Request<B>,
        encoding: Option<Encoding>,
    ) -> Result<Response<Full<Bytes>>, Refused>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, content) = request.into_parts();
        let of = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        self.guard.admit(of(header::HOST), of(header::ORIGIN)).map_err(|refusal| Refused {
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN),
            reason: "host_or_origin",
            message: refusal.message(),
        })?;
        let path = head.uri.path();
        let is_ignored = match path {
            "/v1/traces" => false,
            "/v1/metrics" | "/v1/logs" => true,
            _ => {
                let message = format!("expected /v1/traces, found {:.200}", path.escape_debug());
                return Err(Refused { status: StatusCode::NOT_FOUND, reason: "path", message });
            }
        };
        if head.method != Method::POST {
            let message = format!("expected POST, found {}", head.method);
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Refused { status, reason: "method", message });
        }
        let Some(encoding) = encoding else {
            return Err(Refused {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                reason: "content_type",
                message: "expected Content-Type application/x-protobuf or application/json; set \
                          OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (gRPC is not spoken here)"
                    .to_owned(),
            });
        };
        let read = self.room.read(content, self.stalled);
        let read = tokio::time::timeout(self.slowest, read).await;
        let too_slow = |_| body::too_slow("the whole export", self.slowest);
        // The room is held until the export is decoded, which is done for one at a time: nothing
        // below waits, and there is one thread.
        let (whole, _room) = read.map_err(too_slow)??;
        if is_ignored {
            return Ok(encoding.taken(0));
        }
        let whole = body::decoded(whole, head.headers.get(header::CONTENT_ENCODING))?;
        let read = match encoding {
            Encoding::Protobuf => otlp::protobuf(&whole, &self.custom),
            Encoding::Json => otlp::json(&whole, &self.custom),
        };
        let spans = read.map_err(|error| body::malformed(&error.to_string()))?;
        let left_out = spans.left_out;
        self.observer.tell(Observation::Spans(Box::new(spans)));
        Ok(encoding.taken(left_out))
    }
}
