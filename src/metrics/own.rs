//! The monitor's own families: what it costs, what it lost, and whether its upstreams answer.

use prometheus::local::LocalHistogram;
use prometheus::{
    CounterVec, Error, GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use super::buckets::OVERHEAD;
use super::family;
use crate::model::{
    ChainEvent, DropReason, Finding, FindingKind, NodeCost, Proxy, Queue, SampleKind, Tally,
};

/// The families.
#[derive(Clone)]
pub struct Own {
    overhead: HistogramVec,
    seen: IntCounterVec,
    stored: IntCounterVec,
    dropped: IntCounterVec,
    queue_depth: IntGauge,
    queue_capacity: IntGauge,
    pub label_overflow: IntCounterVec,
    pub parse_failures: IntCounterVec,
    pub opaque: IntCounterVec,
    pub refused: IntCounterVec,
    pub upstream_up: IntGaugeVec,
    pub network_bytes: IntCounterVec,
    findings: IntCounterVec,
    wasted_calls: IntCounterVec,
    node_calls: IntCounterVec,
    node_call_seconds: CounterVec,
    node_call_longest: GaugeVec,
    node_calls_skipped: IntCounterVec,
    node_method_calls: IntCounterVec,
}

impl Own {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let build = family::integer_gauges(
            registry,
            "dappscope_build_info",
            "Which dappscope this is; always 1.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let findings = family::counters(
            registry,
            "dappscope_findings_total",
            "Findings: things that the dapp does and could leave out, or should know of.",
            &["finding"],
        )?;
        family::begin(&findings, FindingKind::ALL.map(FindingKind::as_str));
        let node_calls = family::counters(
            registry,
            "dappscope_node_calls_total",
            "JSON-RPC calls that dappscope itself made to the node, by what it asked for; each \
             item of a batch is one.",
            &["purpose"],
        )?;
        family::begin(&node_calls, ChainEvent::PURPOSES);
        let node_calls_skipped = family::counters(
            registry,
            "dappscope_node_calls_skipped_total",
            "JSON-RPC calls that dappscope did not make, because they would have kept the node busy \
             for too long; by what they would have asked for.",
            &["purpose"],
        )?;
        family::begin(&node_calls_skipped, ChainEvent::PURPOSES);
        Ok(Self {
            overhead: family::histograms(
                registry,
                "dappscope_proxy_overhead_seconds",
                "Time in seconds that a proxy itself added to a call or request, upstream time \
                 left out.",
                OVERHEAD,
                &["proxy"],
            )?,
            seen: family::counters(
                registry,
                "dappscope_samples_total",
                "Samples made of what was observed, by kind.",
                &["kind"],
            )?,
            stored: family::counters(
                registry,
                "dappscope_samples_stored_total",
                "Samples that are on disk, by kind.",
                &["kind"],
            )?,
            dropped: family::counters(
                registry,
                "dappscope_samples_dropped_total",
                "Samples that were given up, by reason; for queue_full, observations of which no \
                 sample was made.",
                &["reason"],
            )?,
            queue_depth: family::integer_gauge(
                registry,
                "dappscope_queue_depth",
                "Observations that wait for the recorder.",
            )?,
            queue_capacity: family::integer_gauge(
                registry,
                "dappscope_queue_capacity",
                "Observations that fit into the queue before the recorder.",
            )?,
            label_overflow: family::counters(
                registry,
                "dappscope_label_overflow_total",
                "Times a name became _OTHER because its label had too many values already.",
                &["label"],
            )?,
            parse_failures: family::counters(
                registry,
                "dappscope_parse_failures_total",
                "What could not be read: messages that should have been JSON-RPC, and numbers of \
                 api.custom that are none; by what it was.",
                &["kind"],
            )?,
            opaque: family::counters(
                registry,
                "dappscope_opaque_connections_total",
                "Connections whose bytes were passed on unobserved from some point on, by reason.",
                &["reason"],
            )?,
            refused: family::counters(
                registry,
                "dappscope_refused_requests_total",
                "Requests that a proxy's guard refused, by proxy and reason.",
                &["proxy", "reason"],
            )?,
            upstream_up: family::integer_gauges(
                registry,
                "dappscope_upstream_up",
                "Whether a proxy's upstream could be reached when it was last tried: 1 or 0.",
                &["upstream"],
            )?,
            network_bytes: family::counters(
                registry,
                "dapp_network_bytes_total",
                "Bytes that passed a proxy, headers included, by peer (rpc or api) and direction \
                 (sent to the upstream or received from it).",
                &["peer", "direction"],
            )?,
            findings,
            wasted_calls: family::counters(
                registry,
                "dapp_wasted_calls_total",
                "JSON-RPC calls that the dapp could have saved, by finding: all calls of a \
                 finding but one, and of what is found again within ten seconds, \
                 of which no further finding is told. A call may be in findings of several kinds.",
                &["finding"],
            )?,
            node_calls,
            node_call_seconds: family::float_counters(
                registry,
                "dappscope_node_call_seconds_total",
                "Time in seconds for which dappscope itself waited for the node, by what it asked \
                 for.",
                &["purpose"],
            )?,
            node_call_longest: family::gauges(
                registry,
                "dappscope_node_call_longest_seconds",
                "Longest time in seconds since the start that dappscope itself waited for one \
                 answer of the node, or for one batch, by what it asked for. The node's own work \
                 for others is in it.",
                &["purpose"],
            )?,
            node_calls_skipped,
            node_method_calls: family::counters(
                registry,
                "dappscope_node_method_calls_total",
                "JSON-RPC calls that dappscope itself made to the node, by method; each item of a \
                 batch is one.",
                &["method"],
            )?,
        })
    }

    pub fn found(&self, finding: &Finding) {
        let kind = finding.kind.as_str();
        self.findings.with_label_values(&[kind]).inc();
        // Queries are no calls.
        if let Some(wasted) = finding.wasted().filter(|_| finding.query.is_none()) {
            self.wasted_calls.with_label_values(&[kind]).inc_by(u64::from(wasted));
        }
    }

    /// As [`found`](Self::found) counts them, of what is found again a moment later.
    pub fn wasted(&self, finding: FindingKind, calls: u32) {
        self.wasted_calls.with_label_values(&[finding.as_str()]).inc_by(u64::from(calls));
    }

    pub fn asked(&self, cost: &NodeCost) {
        let NodeCost { purpose, method, calls, skipped, took, longest } = *cost;
        self.node_calls.with_label_values(&[purpose]).inc_by(u64::from(calls));
        self.node_calls_skipped.with_label_values(&[purpose]).inc_by(u64::from(skipped));
        self.node_call_seconds.with_label_values(&[purpose]).inc_by(took.as_secs_f64());
        let known = self.node_call_longest.with_label_values(&[purpose]);
        known.set(known.get().max(longest.as_secs_f64()));
        if calls > 0 {
            self.node_method_calls.with_label_values(&[method]).inc_by(u64::from(calls));
        }
    }

    /// The overhead of one proxy, at hand.
    pub fn overhead(&self, proxy: Proxy) -> LocalHistogram {
        self.overhead.with_label_values(&[proxy.as_str()]).local()
    }

    /// Takes over what is counted elsewhere. Not to be run twice at a time.
    pub fn refresh(&self, tally: &Tally, queue: &Queue) {
        // Stored and dropped are read before seen, so that a scrape in between never shows more of
        // them than were seen.
        for kind in SampleKind::ALL {
            let stored = self.stored.with_label_values(&[kind.as_str()]);
            family::raise(&stored, tally.stored(kind));
        }
        for reason in DropReason::ALL {
            let dropped = self.dropped.with_label_values(&[reason.as_str()]);
            family::raise(&dropped, tally.dropped(reason));
        }
        for kind in SampleKind::ALL {
            family::raise(&self.seen.with_label_values(&[kind.as_str()]), tally.seen(kind));
        }
        // What was dropped before it was decoded has no kind; without it the sums would not agree.
        let undecoded = tally.dropped(DropReason::QueueFull);
        family::raise(&self.seen.with_label_values(&["undecoded"]), undecoded);
        self.queue_depth.set(family::as_gauge(queue.depth() as u64));
        self.queue_capacity.set(family::as_gauge(queue.capacity() as u64));
    }
}
