//! The monitor's JSON-RPC methods: whoever can call a node can call the monitor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::core::{RegisterMethodError, SubscriptionError};
use jsonrpsee::server::{
    PendingSubscriptionSink, RpcModule, SendTimeoutError, SubscriptionMessage,
};
use jsonrpsee::types::error::METHOD_NOT_FOUND_CODE;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::json;

use super::State;
use super::json as as_json;
use super::live::Follower;
use super::params::{Answer, Fields, invalid};
use super::unknown::UNKNOWN;
use super::{contracts, lists, overview, queries, routes, trace};
use crate::model::{SampleKind, UnixMicros};
use crate::store::{Measure, Range, SeriesQuery, Store};

/// Samples in one notification: as many calls as are passed on between two of them.
const MOST: usize = 100;
/// How long a subscriber may leave its notifications unread. Each that waits takes some 50 KB.
const UNREAD_FOR: Duration = Duration::from_secs(10);
/// Notifications of one subscription are at least this far apart.
const PACE: Duration = Duration::from_millis(100);
/// The notification's method name.
const NOTIFICATION: &str = "dappscope_event";
const SUBSCRIBE: &str = "dappscope_subscribe";
const UNSUBSCRIBE: &str = "dappscope_unsubscribe";
/// Points of a series when no number is given, and at most.
const USUAL_POINTS: u64 = 240;
const HIGHEST_POINTS: u64 = 4_000;

/// How a method is called.
#[derive(Clone, Copy)]
pub enum Transport {
    /// The listener's address, to tell where a WebSocket can be opened.
    Http(SocketAddr),
    WebSocket,
}

/// All methods, ready to be served.
pub fn methods(
    state: Arc<State>,
    transport: Transport,
) -> Result<RpcModule<Arc<State>>, RegisterMethodError> {
    let mut module = RpcModule::new(state);
    module.register_async_method("dappscope_overview", |params, state, _| async move {
        overview(&params, &state).await
    })?;
    module.register_async_method("dappscope_contracts", |params, state, _| async move {
        contracts(&params, &state).await
    })?;
    module.register_async_method("dappscope_routes", |params, state, _| async move {
        routes(&params, &state).await
    })?;
    module.register_async_method("dappscope_series", |params, state, _| async move {
        series(&params, &state).await
    })?;
    module.register_async_method("dappscope_calls", |params, state, _| async move {
        lists::calls(&params, &state).await
    })?;
    module.register_async_method("dappscope_requests", |params, state, _| async move {
        lists::requests(&params, &state).await
    })?;
    module.register_async_method("dappscope_transactions", |params, state, _| async move {
        lists::transactions(&params, &state).await
    })?;
    module.register_async_method("dappscope_rollbacks", |params, state, _| async move {
        lists::rolled_back(&params, &state).await
    })?;
    module.register_async_method("dappscope_blocks", |params, state, _| async move {
        lists::blocks(&params, &state).await
    })?;
    module.register_async_method("dappscope_states", |params, state, _| async move {
        lists::states(&params, &state).await
    })?;
    module.register_async_method("dappscope_findings", |params, state, _| async move {
        lists::findings(&params, &state).await
    })?;
    module.register_async_method("dappscope_queries", |params, state, _| async move {
        queries(&params, &state).await
    })?;
    module.register_async_method("dappscope_trace", |params, state, _| async move {
        trace::trace(&params, &state).await
    })?;
    match transport {
        Transport::WebSocket => {
            module.register_subscription(
                SUBSCRIBE,
                NOTIFICATION,
                UNSUBSCRIBE,
                |params, pending, state, _| async move { subscribe(params, pending, &state).await },
            )?;
        }
        Transport::Http(address) => {
            let words = format!(
                "a subscription needs a WebSocket, and this is plain HTTP: open ws://{address}/rpc \
                 and call it there"
            );
            for method in [SUBSCRIBE, UNSUBSCRIBE] {
                let words = words.clone();
                module.register_method(method, move |_, _, _| -> Answer {
                    Err(ErrorObjectOwned::owned(METHOD_NOT_FOUND_CODE, words.clone(), None::<()>))
                })?;
            }
        }
    }
    let mut names: Vec<_> = module.method_names().collect();
    names.sort_unstable();
    let words = format!("there is no such method; there are {}", names.join(", "));
    module.register_method(UNKNOWN, move |_, _, _| -> Answer {
        Err(ErrorObjectOwned::owned(METHOD_NOT_FOUND_CODE, words.clone(), None::<()>))
    })?;
    Ok(module)
}

async fn overview(params: &Params<'_>, state: &State) -> Answer {
    let at = UnixMicros::now();
    let mut fields = Fields::of(params)?;
    let range = counted(fields.range(at)?, at);
    fields.finish()?;
    let began = state.began;
    let stored = state.archive.read(move |store| overview::read(store, range, began, at)).await?;
    let now = state.live.now();
    let health = state.archive.health().await;
    let moment = overview::Moment {
        at,
        now: &now,
        tally: &state.tally,
        queue: &state.queue,
        health: &health,
    };
    let mut value = overview::tell(&stored, range, &moment);
    value["uptime_s"] = state.started.elapsed().as_secs().into();
    value["endpoints"] = json!({ "rpc": state.endpoints.rpc, "api": state.endpoints.api });
    Ok(value)
}

async fn contracts(params: &Params<'_>, state: &State) -> Answer {
    let now = UnixMicros::now();
    let mut fields = Fields::of(params)?;
    let range = counted(fields.range(now)?, now);
    let contract = fields.text("contract")?;
    let limit = fields.limit()?;
    fields.finish()?;
    let read = move |store: &Store| contracts::read(store, range, contract.as_deref());
    let found = state.archive.read(read).await?;
    Ok(contracts::tell(found, range, limit, state.money.as_ref()))
}

async fn routes(params: &Params<'_>, state: &State) -> Answer {
    let now = UnixMicros::now();
    let mut fields = Fields::of(params)?;
    let range = counted(fields.range(now)?, now);
    let route = fields.text("route")?;
    let limit = fields.limit()?;
    fields.finish()?;
    let read = move |store: &Store| routes::read(store, range, route.as_deref());
    let found = state.archive.read(read).await?;
    Ok(routes::tell(found, range, limit))
}

async fn queries(params: &Params<'_>, state: &State) -> Answer {
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let table = fields.text("collection")?;
    let limit = fields.limit()?;
    fields.finish()?;
    let read = move |store: &Store| queries::read(store, range, table.as_deref());
    let found = state.archive.read(read).await?;
    Ok(queries::tell(found, range, limit))
}

async fn series(params: &Params<'_>, state: &State) -> Answer {
    let measures = Measure::ALL.map(|measure| (measure.as_str(), measure));
    let now = UnixMicros::now();
    let mut fields = Fields::of(params)?;
    let range = counted(fields.range(now)?, now);
    let measure = fields.choice("measure", &measures)?.unwrap_or(Measure::CallDuration);
    let key = fields.text("key")?;
    let points = fields.number("points", 1..=HIGHEST_POINTS, "240")?.unwrap_or(USUAL_POINTS);
    fields.finish()?;
    let points = usize::try_from(points).expect("at most 4,000");
    let query = SeriesQuery { measure, key, range, points };
    let series = state.archive.read(move |store| store.series(&query)).await?;
    let mut value = as_json::series(&series, unit(measure));
    value["measure"] = measure.as_str().into();
    value["from_ms"] = as_json::millis(range.from).into();
    value["until_ms"] = as_json::millis(range.until).into();
    Ok(value)
}

/// The range that roll-ups count for an asked one: whole spans of ten seconds, as far as they are
/// past. Up to the end of this millisecond, so that the told milliseconds hold all that was counted.
fn counted(asked: Range, now: UnixMicros) -> Range {
    let whole = asked.in_whole_spans();
    let past = UnixMicros((now.0 / 1_000 + 1) * 1_000);
    Range { until: whole.until.min(past).max(whole.from), ..whole }
}

const fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::GasUsed | Measure::BlockGas => "gas",
        Measure::RequestBytes | Measure::ResponseBytes => "bytes",
        Measure::CallDuration
        | Measure::RequestDuration
        | Measure::Confirmation
        | Measure::BlockInterval
        | Measure::ContractCall
        | Measure::CacheResult
        | Measure::RequestPart => "us",
        Measure::RequestCalls | Measure::Uninspected => "calls",
        Measure::RequestQueries => "queries",
    }
}

/// Passes fresh samples on until the subscriber or the program leaves.
///
/// # Errors
/// It read nothing for too long; told to it once it reads again.
async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    state: &State,
) -> Result<(), SubscriptionError> {
    let kinds = match wanted(&params) {
        Ok(kinds) => kinds,
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    // Before the acceptance: what happens once the subscriber has its answer is not missed.
    let mut follower = Follower::new(&state.live, kinds);
    let Ok(sink) = pending.accept().await else { return Ok(()) };
    let money = state.money.as_ref();
    loop {
        let delivery = tokio::select! {
            delivery = follower.next(MOST) => delivery,
            () = sink.closed() => None,
        };
        let Some(delivery) = delivery else { return Ok(()) };
        let events: Vec<_> =
            delivery.samples.iter().map(|sample| as_json::sample(sample, money)).collect();
        let result = json!({ "events": events, "missed": delivery.missed });
        let message = SubscriptionMessage::new(NOTIFICATION, sink.subscription_id(), &result);
        let message = message?;
        // Waits for a slow reader; what it does not get meanwhile is counted. One that reads nothing
        // at all, as a page that stands in a debugger, loses its subscription.
        match sink.send_timeout(message, UNREAD_FOR).await {
            Ok(()) => {}
            Err(SendTimeoutError::Closed(_)) => return Ok(()),
            Err(SendTimeoutError::Timeout(_)) => {
                return Err(format!(
                    "nothing was read for {} s: the subscription has ended, subscribe anew",
                    UNREAD_FOR.as_secs()
                )
                .into());
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

fn wanted(params: &Params<'_>) -> Result<Vec<SampleKind>, ErrorObjectOwned> {
    let choices = SampleKind::ALL.map(|kind| (kind.as_str(), kind));
    let mut fields = Fields::of(params)?;
    let kinds = fields.choices("kinds", &choices)?;
    fields.finish()?;
    match kinds {
        None => Ok(SampleKind::ALL.to_vec()),
        Some(kinds) if kinds.is_empty() => {
            Err(invalid("`kinds` is empty; leave it out to get every kind"))
        }
        Some(mut kinds) => {
            kinds.sort_unstable();
            kinds.dedup();
            Ok(kinds)
        }
    }
}
