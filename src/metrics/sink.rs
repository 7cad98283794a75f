//! Turns samples and events into metrics, in the recorder's thread.
//!
//! Values gather in plain memory and are handed to the shared families when the batch ends, so a
//! scrape never sees half a batch's worth of atomics being fought over.

use prometheus::local::LocalHistogram;

use super::Families;
use super::api::{Api, Requests};
use super::app::App;
use super::chain::Chain;
use super::contracts::{ContractCalls, Contracts};
use super::custom::Numbers;
use super::family;
use super::functions::FunctionTimes;
use super::inside::{Breakdowns, Inside};
use super::machine::Readings;
use super::own::Own;
use super::rpc::{Calls, Rpc};
use crate::model::{Event, HttpRequest, Operation, Proxy, RpcCall, Sample, Sink, Transport, Work};

const HTTP: &str = Transport::Http.as_str();
const WEBSOCKET: &str = Transport::WebSocket.as_str();

/// Feeds every family that lives on samples and events.
pub struct MetricsSink {
    calls: Calls,
    contract_calls: ContractCalls,
    requests: Requests,
    functions: FunctionTimes,
    breakdowns: Breakdowns,
    readings: Readings,
    rpc_overhead: LocalHistogram,
    api_overhead: LocalHistogram,
    rpc: Rpc,
    api: Api,
    contracts: Contracts,
    chain: Chain,
    app: App,
    numbers: Numbers,
    inside: Inside,
    own: Own,
}

impl MetricsSink {
    pub(super) fn new(families: &Families) -> Self {
        Self {
            calls: Calls::new(families.rpc.clone()),
            contract_calls: ContractCalls::new(families.contracts.clone()),
            requests: Requests::new(families.api.clone(), families.room.clone()),
            functions: FunctionTimes::new(families.functions.clone()),
            breakdowns: Breakdowns::new(families.inside.clone(), families.room.clone()),
            inside: families.inside.clone(),
            api: families.api.clone(),
            readings: Readings::new(families.machine.clone()),
            rpc_overhead: families.own.overhead(Proxy::Rpc),
            api_overhead: families.own.overhead(Proxy::Api),
            rpc: families.rpc.clone(),
            contracts: families.contracts.clone(),
            chain: families.chain.clone(),
            app: families.app.clone(),
            numbers: Numbers::new(families.custom.clone(), families.room.clone()),
            own: families.own.clone(),
        }
    }

    fn call(&mut self, call: &RpcCall) {
        self.calls.record(call);
        self.contract_calls.record(call);
        // A batch's overhead belongs to its exchange, not to each of its items.
        if call.batch.is_none_or(|place| place.index == 0) {
            self.rpc_overhead.observe(call.overhead.as_secs_f64());
        }
    }

    fn request(&mut self, request: &HttpRequest) {
        self.requests.record(request);
        self.api_overhead.observe(request.overhead.as_secs_f64());
        for (function, took) in request.app.iter().flat_map(|app| &app.functions) {
            self.functions.observe(*function, *took);
        }
    }
}

impl MetricsSink {
    fn operation(&mut self, operation: &Operation) {
        match &operation.work {
            Work::Query(query) => self.app.query(query, operation.duration),
            Work::Function(function) => self.functions.observe(*function, operation.duration),
            Work::Server | Work::Client | Work::Other => {}
        }
    }
}

impl Sink for MetricsSink {
    fn accept(&mut self, samples: &[Sample]) {
        for sample in samples {
            match sample {
                Sample::Call(call) => self.call(call),
                Sample::Request(request) => self.request(request),
                Sample::Transaction(transaction) => self.contracts.record(transaction),
                Sample::Block(block) => self.chain.record(block),
                Sample::Host(reading) => self.readings.record(reading),
                Sample::State(change) => self.contracts.record_state(change),
                Sample::Finding(finding) => self.own.found(finding),
                Sample::Operation(operation) => self.operation(operation),
                Sample::Breakdown(breakdown) => self.breakdowns.record(breakdown),
                Sample::Rollback(rollback) => self.contracts.record_rollback(rollback),
                Sample::Route(_) => {}
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.calls.flush();
        self.contract_calls.flush();
        self.requests.flush();
        self.functions.flush();
        self.breakdowns.flush();
        self.rpc_overhead.flush();
        self.api_overhead.flush();
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::BatchSize(size) => self.rpc.batch_size.observe(f64::from(*size)),
            Event::Duplicate(method) => self.calls.duplicate(*method),
            Event::Notification { subscription, lag } => {
                self.rpc.notifications.with_label_values(&[subscription]).inc();
                if let Some(lag) = lag {
                    self.rpc.notification_lag.observe(lag.as_secs_f64());
                }
            }
            Event::ParseFailure(kind) => self.own.parse_failures.with_label_values(&[kind]).inc(),
            Event::ConnectionOpened { proxy: Proxy::Rpc } => {
                self.rpc.connections.with_label_values(&[HTTP]).inc();
            }
            Event::ConnectionOpened { proxy: Proxy::Api } => {}
            Event::ConnectionUpgraded { proxy: Proxy::Rpc } => {
                self.rpc.connections.with_label_values(&[HTTP]).dec();
                self.rpc.connections.with_label_values(&[WEBSOCKET]).inc();
            }
            Event::ConnectionUpgraded { proxy: Proxy::Api } => self.api.sockets.inc(),
            Event::ConnectionClosed { proxy: Proxy::Rpc, upgraded } => {
                let transport = if *upgraded { WEBSOCKET } else { HTTP };
                self.rpc.connections.with_label_values(&[transport]).dec();
            }
            Event::ConnectionClosed { proxy: Proxy::Api, upgraded } => {
                self.api.sockets.sub(i64::from(*upgraded));
            }
            Event::BytesPassed { proxy, sent, received } => {
                for (direction, bytes) in [("sent", sent), ("received", received)] {
                    let labels = [proxy.as_str(), direction];
                    self.own.network_bytes.with_label_values(&labels).inc_by(*bytes);
                }
            }
            Event::Opaque(why) => self.own.opaque.with_label_values(&[why.as_str()]).inc(),
            Event::Refused { proxy, reason, .. } => {
                self.own.refused.with_label_values(&[proxy.as_str(), reason]).inc();
            }
            Event::Upstream { proxy, reachable } => {
                let up = self.own.upstream_up.with_label_values(&[proxy.as_str()]);
                up.set(i64::from(*reachable));
            }
            Event::NodeUp { at, head, .. } => self.chain.node_up(*at, *head),
            Event::Spans { taken, left_out, repeated } => {
                self.app.spans(*taken, *left_out, *repeated);
            }
            Event::Excluded => self.app.excluded(),
            Event::ExportRefused(reason) => self.app.refused(reason),
            Event::RequestMined { route, gas, reverted_after_success } => {
                self.inside.mined(*route, *gas, *reverted_after_success);
            }
            Event::Custom { metric, route, value } => self.numbers.tell(*metric, *route, *value),
            Event::Wasted { finding, calls } => self.own.wasted(*finding, *calls),
            Event::RepeatedQueries { route } => self.inside.repeated_queries(*route),
            Event::NothingTold { route } => self.breakdowns.nothing_told(*route),
            Event::NodeDown { .. } => self.chain.node_down(),
            Event::NodeRestarted => self.chain.node_restarted(),
            Event::LabelOverflow { label } => {
                self.own.label_overflow.with_label_values(&[label]).inc();
            }
            Event::Mined(took) => self.chain.mined(*took),
            Event::WentBack { cause: Some(cause), .. } => self.chain.went_back(*cause),
            Event::WentBack { cause: None, .. } => {}
            Event::Asked(cost) => self.own.asked(cost),
            Event::CallStarted => self.rpc.active.inc(),
            Event::CallEnded => self.rpc.active.dec(),
            Event::Pending { transactions, oldest } => {
                self.contracts.pending.set(family::as_gauge(*transactions));
                let waiting = oldest.unwrap_or_default();
                self.contracts.oldest_pending.set(waiting.as_secs_f64());
            }
        }
    }
}
