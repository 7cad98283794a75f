//! The wiring: binds the ports, starts every part in front of the next, and ends them in the order in
//! which nothing is lost.
//!
//! Start: store, recorder, proxies, receiver, watchers, page. End: the proxies finish what is under
//! way, the receiver and the watchers stop, the recorder empties the queue, the store writes and seals, the page goes last.

mod chain_settings;
mod custom;
mod ending;
mod fit;
mod learned;
mod narrator;

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task;

use chain_settings::{traces, watch_settings};
use ending::losses;
pub use fit::Unfit;
use narrator::Narrator;

use crate::chain::{self, artifacts::ArtifactWatcher, artifacts::follow_artifacts};
use crate::config::{Config, LogFormat, Upstream};
use crate::decode::contracts::Contracts;
use crate::decode::routes::Patterns;
use crate::host::{self, HostSettings, HostWatch};
use crate::metrics::{Metrics, Reading, Sources, StoreNumbers};
use crate::model::{CustomMetrics, Flights, Observer, Queue, Role, Sink, Tally, Underway};
use crate::record::{self, Recorder};
use crate::store::{self, Store, StoreError, Writer};
use crate::view::{self, Endpoints, View, ViewError};
use crate::wire::guard::Guard;
use crate::wire::otlp;
use crate::wire::relay::{self, Relay, RelaySettings};
use crate::wire::reverse::{self, Drained, ReverseSettings};

/// How long what is under way may take to finish. Who runs containers kills them ten seconds after they
/// were asked to end, and what was cut is still to be recorded.
const DRAIN: Duration = Duration::from_secs(7);
/// How long an export that is under way then may take: exporters send within milliseconds.
const DRAIN_EXPORTS: Duration = Duration::from_millis(500);
/// How long an exporter may take to send one export.
const SLOWEST_EXPORT: Duration = Duration::from_secs(10);
/// How long nothing may come of an export that was begun.
const STALLED_EXPORT: Duration = Duration::from_secs(2);
/// How often the artifacts' directories are looked at for new contracts.
const ARTIFACTS_EVERY: Duration = Duration::from_secs(2);

/// How long the recorder waits for the first look at the artifacts: a few hundred take milliseconds.
const FIRST_SCAN: Duration = Duration::from_secs(2);

/// Where the parts really listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub rpc: SocketAddr,
    pub api: Option<SocketAddr>,
    /// The receiver of spans.
    pub otlp: Option<SocketAddr>,
    pub page: SocketAddr,
}

impl Addresses {
    /// Tells people what to point where.
    fn announce(&self, config: &Config) {
        tracing::info!(
            rpc = %self.rpc,
            api = self.api.map(tracing::field::display),
            otlp = self.otlp.map(tracing::field::display),
            page = %self.page,
            "listening; page and numbers: http://{}", self.page
        );
        tracing::info!(
            "set your wallet's and your frontend's RPC URL to http://{} (it goes on to {})",
            self.rpc,
            config.rpc.upstream
        );
        if let Some(api) = self.api {
            tracing::info!(
                "open your API at http://{api} (it goes on to {}), and set the API's own RPC URL to http://{}",
                config.api.upstream,
                self.rpc
            );
        }
        if let Some(otlp) = self.otlp {
            tracing::info!(
                "for queries and functions run the API under opentelemetry-instrument with \
                 OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp} and \
                 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            );
        }
        for (proxy, open) in
            [("rpc", config.rpc.allow_any_origin), ("api", config.api.allow_any_origin)]
        {
            if open {
                tracing::warn!(
                    "{proxy}.allow_any_origin is on: any web page that you visit can use it"
                );
            }
        }
    }
}

/// Starts logging as the settings say. Once a process.
///
/// # Errors
/// The filter cannot be understood.
pub fn log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).with_context(|| {
        format!("log.filter: expected \"info\" or \"info,dappscope::wire=debug\", found {filter:?}")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// What the settings name and this machine does not have. No mistakes: it may come to be while the
/// program runs.
pub fn doubts(config: &Config) -> Vec<String> {
    // Of the usual folders a project has one, and before it is compiled none.
    let usual = Config::default().chain.artifacts;
    let dirs = config.chain.artifacts.iter().filter(|dir| !usual.contains(dir));
    let dirs = dirs.filter(|dir| !Path::new(dir).is_dir()).map(|dir| {
        format!(
            "chain.artifacts: expected a directory with compiled contracts, found none at {dir:?}; it \
             is looked for while dappscope runs, and until then contracts and functions have no names"
        )
    });
    let files = config.host.databases.iter().filter(|file| !Path::new(file).exists()).map(|file| {
        format!(
            "host.databases: expected a file, found none at {file:?}; it is looked for while dappscope \
             runs, and until then its size is not told"
        )
    });
    dirs.chain(files).collect()
}

/// Looks at the artifacts as a start does: says if there are more than are read.
pub fn artifacts_left_out(config: &Config) -> Option<String> {
    let most = most_artifacts(config);
    let found = artifact_watcher(config).scan(|| false).artifacts.len();
    (found > most).then(|| {
        format!(
            "chain.max_artifacts: expected at most {most} artifacts, found {found}; the contracts of the \
             other {} have no names, raise it",
            found - most
        )
    })
}

fn most_artifacts(config: &Config) -> usize {
    usize::try_from(config.chain.max_artifacts.0).unwrap_or(usize::MAX)
}

fn artifact_watcher(config: &Config) -> ArtifactWatcher {
    let folders = config.chain.artifacts.iter().map(PathBuf::from).collect();
    ArtifactWatcher::new(folders).finding(most_artifacts(config))
}

/// Judges what the settings name as a start does, and reads the files that it needs.
///
/// # Errors
/// Everything that is not what it should be.
pub fn check(config: &Config) -> Result<(), Unfit> {
    fit::judge(config).map(drop)
}

/// Who holds a port, in words; empty where the system does not tell.
pub fn taken_by(address: SocketAddr) -> String {
    match host::who_listens(address.port()) {
        Some((pid, name)) => format!("is taken by {name} (process {pid})"),
        None => "is taken".to_owned(),
    }
}

/// Finds the processes at the other ends of connections, and tells those of the API from others.
fn peer_lookup(config: &Config) -> record::PeerLookup {
    let mut owners = host::Owners::new(api_role(config).into_iter().collect());
    Box::new(move |ends, among| owners.find(ends, among))
}

/// The running program.
pub struct App {
    addresses: Addresses,
    parts: Parts,
}

/// What runs, in the order in which it ends.
struct Parts {
    stop_proxies: watch::Sender<bool>,
    relay: Relay,
    reverse: Option<JoinHandle<Drained>>,
    stop_otlp: watch::Sender<bool>,
    otlp: Option<JoinHandle<()>>,
    stop_watchers: watch::Sender<bool>,
    chain: JoinHandle<()>,
    host: Option<HostWatch>,
    recorder: Recorder,
    writer: Writer,
    store: Store,
    tally: Arc<Tally>,
    stop_page: watch::Sender<bool>,
    page: task::JoinHandle<Result<(), ViewError>>,
}

impl App {
    /// Starts everything; needs a tokio runtime.
    ///
    /// # Errors
    /// A port is taken, the data directory cannot be used or is in use: says which, and what to do.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        survive_file_limits();
        let routes = fit::judge(&config)?;
        for doubt in doubts(&config) {
            tracing::warn!("{doubt}");
        }
        let relay_sockets = relay::bind(config.rpc.listen, threads(&config))
            .with_context(|| taken(config.rpc.listen, "--rpc-listen"))?;
        let reverse_socket = match config.api.enabled {
            true => Some(
                reverse::bind(config.api.listen)
                    .with_context(|| taken(config.api.listen, "--api-listen"))?,
            ),
            false => None,
        };
        let otlp_socket = match config.otlp.enabled {
            true => Some(
                otlp::bind(config.otlp.listen)
                    .with_context(|| taken(config.otlp.listen, "--otlp-listen"))?,
            ),
            false => None,
        };
        let page_socket = TcpListener::bind(config.page.listen)
            .with_context(|| taken(config.page.listen, "--listen"))?;
        page_socket.set_nonblocking(true).context("the page's listener")?;
        let addresses = Addresses {
            rpc: relay_sockets[0].local_addr().context("the relay's address")?,
            api: reverse_socket.as_ref().map(TcpListener::local_addr).transpose()?,
            otlp: otlp_socket.as_ref().map(TcpListener::local_addr).transpose()?,
            page: page_socket.local_addr().context("the page's address")?,
        };

        let tally = Arc::new(Tally::default());
        let queue = Queue::new(
            usize::try_from(config.queue.entries.0)?,
            mebibytes(config.queue.mib.0)?,
            Arc::clone(&tally),
        );
        let observer = Observer::new(&queue);
        let (store, writer) = open_store(&config, &tally)?;
        let learned = learned::routes(&store);
        let custom = custom::custom(&config.api.custom);
        let calls = Underway::default();
        let flights = Flights::default();
        let requests = config.api.enabled.then(|| flights.clone());
        let metrics = Arc::new(metrics(&tally, &queue, &store, &calls, requests, custom.clone())?);
        let (live_sink, live) = view::live();
        let sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(writer.sink()),
            Box::new(metrics.sink()),
            Box::new(live_sink),
            Box::new(Narrator::default()),
        ];
        let (wanted, addresses_wanted) = mpsc::channel(1_024);
        let (compiled, artifacts) = std_mpsc::channel();
        let recorder = Recorder::start(
            Arc::clone(&queue),
            Arc::clone(&tally),
            Contracts::holding(most_artifacts(&config)),
            artifacts,
            record::Settings {
                traces: traces(&config),
                peer_lookup: peer_lookup(&config),
                flights: flights.clone(),
                routes,
                learned,
                custom: custom.clone(),
                inspect_bytes: usize::try_from(config.rpc.capture_bytes.0)?,
                first_scan: FIRST_SCAN,
            },
            sinks,
            wanted,
        )?;

        let (stop_proxies, stopping) = watch::channel(false);
        let relay = relay::serve(
            relay_sockets,
            RelaySettings { active: calls, flights: flights.clone(), ..relay_settings(&config)? },
            guard(
                &config.rpc.allowed_hosts,
                &config.rpc.allowed_origins,
                config.rpc.allow_any_origin,
            ),
            observer.clone(),
            stopping.clone(),
        )?;
        let reverse = reverse_socket
            .map(|socket| {
                reverse::serve(
                    socket,
                    reverse_settings(&config, flights)?,
                    guard(
                        &config.api.allowed_hosts,
                        &config.api.allowed_origins,
                        config.api.allow_any_origin,
                    ),
                    observer.clone(),
                    stopping,
                )
                .map_err(anyhow::Error::from)
            })
            .transpose()?;
        // Ends after the proxies: what the API tells of its last requests comes after their answers.
        let (stop_otlp, stopping) = watch::channel(false);
        let otlp = otlp_socket
            .map(|socket| {
                let settings = otlp::Settings {
                    drain: DRAIN_EXPORTS,
                    slowest: SLOWEST_EXPORT,
                    stalled: STALLED_EXPORT,
                    custom,
                };
                otlp::serve(socket, settings, Guard::default(), observer.clone(), stopping)
            })
            .transpose()?;

        let (stop_watchers, stopping) = watch::channel(false);
        let artifacts = follow_artifacts(
            artifact_watcher(&config),
            ARTIFACTS_EVERY,
            compiled,
            stopping.clone(),
        );
        let blocks =
            chain::watch(watch_settings(&config), observer.clone(), addresses_wanted, stopping);
        let chain = watcher_thread(artifacts, blocks)?;
        let host = host::watch(&host_settings(&config), observer)
            .inspect_err(|error| tracing::warn!("{error}"))
            .ok();

        let (stop_page, stopping) = watch::channel(false);
        let page = View::new(view::Parts {
            store: store.clone(),
            metrics,
            live,
            tally: Arc::clone(&tally),
            queue,
            endpoints: Endpoints {
                rpc: Some(format!("http://{}", addresses.rpc)),
                api: addresses.api.map(|api| format!("http://{api}")),
            },
            money: (config.money.eth_price.0 > 0.0).then(|| view::Money {
                eth_price: config.money.eth_price.0,
                currency: config.money.currency.clone(),
            }),
            admit: admit(&config),
            token: (!config.page.token.is_empty()).then(|| config.page.token.clone()),
        })?;
        let page_socket = tokio::net::TcpListener::from_std(page_socket)?;
        let page = task::spawn(page.serve(page_socket, stopping));

        addresses.announce(&config);
        Ok(Self {
            addresses,
            parts: Parts {
                stop_proxies,
                relay,
                reverse,
                stop_otlp,
                otlp,
                stop_watchers,
                chain,
                host,
                recorder,
                writer,
                store,
                tally,
                stop_page,
                page,
            },
        })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Ends everything, losing nothing: takes up to the time that what is under way may need.
    pub async fn stop(self) {
        let parts = self.parts;
        tracing::info!(
            "finishing what is under way, {DRAIN:?} at most; asked again, it ends at once"
        );
        parts.stop_proxies.send_replace(true);
        let (relay, reverse) = (parts.relay, parts.reverse);
        blocking("the proxies", move || {
            if !relay.join() {
                tracing::error!("a relay thread had panicked");
            }
            match reverse.map(JoinHandle::join) {
                Some(Ok(drained)) if drained.cut > 0 => {
                    tracing::warn!(
                        connections = drained.cut,
                        "cut what the API's clients had under way after {DRAIN:?}"
                    );
                }
                Some(Err(_)) => tracing::error!("the reverse proxy's thread had panicked"),
                Some(Ok(_)) | None => {}
            }
        })
        .await;
        parts.stop_otlp.send_replace(true);
        parts.stop_watchers.send_replace(true);
        let (otlp, chain, host, recorder, writer) =
            (parts.otlp, parts.chain, parts.host, parts.recorder, parts.writer);
        blocking("the recorder and the store", move || {
            if otlp.is_some_and(|otlp| otlp.join().is_err()) {
                tracing::error!("the receiver of spans had panicked");
            }
            if chain.join().is_err() {
                tracing::error!("the chain watcher had panicked");
            }
            drop(host);
            recorder.stop();
            writer.close();
        })
        .await;
        parts.stop_page.send_replace(true);
        match parts.page.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the page: {error}"),
            Err(_) => tracing::error!("the page had panicked"),
        }
        match losses(&parts.tally, &parts.store.status()) {
            None => tracing::info!("stopped; every sample is stored"),
            Some(losses) => tracing::warn!("stopped; {losses}"),
        }
    }
}

/// Runs the watchers on a thread of their own: when a block is seen is a measurement, which the page's
/// work must not delay.
fn watcher_thread(
    artifacts: impl Future<Output = ()> + Send + 'static,
    blocks: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async { tokio::join!(artifacts, blocks) });
    };
    Ok(std::thread::Builder::new().name("chain".to_owned()).spawn(run)?)
}

/// Waits for threads without stopping the runtime, on which the page still answers.
async fn blocking(what: &'static str, wait: impl FnOnce() + Send + 'static) {
    if task::spawn_blocking(wait).await.is_err() {
        tracing::error!("{what} could not be ended in order");
    }
}

/// A file that may grow no further has to be an error to the store, not the end of the program.
fn survive_file_limits() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Handled is not ignored, but it is not deadly either; the write then fails with EFBIG.
        const SIGXFSZ: i32 = 25;
        match signal(SignalKind::from_raw(SIGXFSZ)) {
            // tokio keeps the handler for the life of the process.
            Ok(_) => {}
            Err(error) => tracing::warn!("a limit on file sizes would end the program: {error}"),
        }
    }
}

fn taken(address: SocketAddr, flag: &str) -> String {
    format!(
        "cannot listen on {address}, which {}; end that, or choose another with {flag}",
        taken_by(address)
    )
}

fn threads(config: &Config) -> usize {
    usize::try_from(config.rpc.threads.0).expect("at most 64 by the setting's bounds; qed")
}

fn mebibytes(mib: u64) -> anyhow::Result<usize> {
    Ok(usize::try_from(mib << 20)?)
}

fn guard(hosts: &[String], origins: &[String], open: bool) -> Guard {
    Guard::new(open, hosts.to_vec(), origins.to_vec())
}

/// The guard as the page asks it.
fn admit(config: &Config) -> view::Admit {
    let guard = guard(&config.page.allowed_hosts, &config.page.allowed_origins, false);
    Arc::new(move |host, origin| {
        guard.admit(host, origin).map_err(|refusal| (refusal.status, refusal.message()))
    })
}

fn open_store(config: &Config, tally: &Arc<Tally>) -> anyhow::Result<(Store, Writer)> {
    let opened = Store::open(&config.store.dir, store_options(config)?, Arc::clone(tally));
    opened.map_err(|error| {
        if let StoreError::InUse { dir, lock } = &error
            && let Some((pid, name)) = host::who_holds(lock)
        {
            return anyhow::anyhow!(
                "the store directory {} is in use by {name} (process {pid}); end that, or choose \
                 another with --data-dir",
                dir.display()
            );
        }
        error.into()
    })
}

fn store_options(config: &Config) -> anyhow::Result<store::Options> {
    let days = config.store.retention_days.0;
    Ok(store::Options {
        retention: (days > 0).then(|| Duration::from_hours(days * 24)),
        cache_bytes: mebibytes(config.store.cache_mib.0)?,
        commit_every: Duration::from_millis(config.store.commit_every_ms.0),
        ..store::Options::default()
    })
}

fn relay_settings(config: &Config) -> anyhow::Result<RelaySettings> {
    let capture_limit = usize::try_from(config.rpc.capture_bytes.0)?;
    let settings = RelaySettings::new(config.rpc.upstream.authority());
    Ok(RelaySettings {
        capture_limit,
        // Room for a request and its response, whatever the limit of one.
        capture_total: settings.capture_total.max(2 * capture_limit),
        connect_timeout: Duration::from_millis(config.rpc.connect_timeout_ms.0),
        drain: DRAIN,
        ..settings
    })
}

fn reverse_settings(config: &Config, flights: Flights) -> anyhow::Result<ReverseSettings> {
    let upstream = config.api.upstream.authority().parse()?;
    Ok(ReverseSettings {
        connect_timeout: Duration::from_millis(config.api.connect_timeout_ms.0),
        first_byte_timeout: Config::limit(config.api.response_timeout_ms.0),
        server_timing: config.api.server_timing,
        drain: DRAIN,
        flights,
        long_polls: Arc::new(Patterns::new(&config.api.long_poll)),
        ..ReverseSettings::new(upstream)
    })
}

/// The port of this machine that an upstream is.
fn local(upstream: &Upstream) -> Option<u16> {
    upstream.is_local().then_some(upstream.port)
}

fn api_role(config: &Config) -> Option<(Role, u16)> {
    let port = local(&config.api.upstream).filter(|_| config.api.enabled)?;
    Some((Role::known("flask"), port))
}

fn host_settings(config: &Config) -> HostSettings {
    let mut roles = Vec::new();
    roles.extend(local(&config.rpc.upstream).map(|port| (Role::known("hardhat"), port)));
    roles.extend(api_role(config));
    HostSettings {
        interval: Duration::from_millis(config.host.every_ms.0),
        roles,
        databases: config.host.databases.iter().map(PathBuf::from).collect(),
    }
}

fn metrics(
    tally: &Arc<Tally>,
    queue: &Arc<Queue>,
    store: &Store,
    calls: &Underway,
    requests: Option<Flights>,
    custom: CustomMetrics,
) -> anyhow::Result<Metrics> {
    let calls = calls.clone();
    let store = store.clone();
    let numbers = move || {
        let status = store.status();
        StoreNumbers {
            bytes: status.bytes,
            errors: status.errors,
            write_time: status.write_time,
            writes: status.commits,
        }
    };
    Ok(Metrics::new(Sources {
        tally: Arc::clone(tally),
        queue: Arc::clone(queue),
        store: Some(Box::new(numbers)),
        active_calls: Box::new(move || calls.count()),
        active_requests: requests.map(|it| Box::new(move || it.count()) as Reading<u64>),
        custom,
    })?)
}
