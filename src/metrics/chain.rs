//! Block and node families.

use std::time::Duration;

use prometheus::{Error, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

use super::buckets::{CONFIRMATION, COUNT, GAS, LATENCY};
use super::family;
use crate::model::{Block, Head, RollbackCause, UnixMicros};

/// The families.
#[derive(Clone)]
pub struct Chain {
    height: IntGauge,
    gas_limit: IntGauge,
    head_timestamp: IntGauge,
    base_fee: Gauge,
    gas_used: Histogram,
    transactions: Histogram,
    interval: Histogram,
    mining: Histogram,
    setbacks: IntCounterVec,
    up: IntGauge,
    start_time: Gauge,
    restarts: IntCounter,
}

impl Chain {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let setbacks = family::counters(
            registry,
            "evm_chain_setbacks_total",
            "Rollbacks of the chain, by cause: an evm_revert or a reset that passed the relay, each \
             counted once, or a reorganisation.",
            &["cause"],
        )?;
        family::begin(&setbacks, RollbackCause::ALL.map(RollbackCause::as_str));
        Ok(Self {
            setbacks,
            height: family::integer_gauge(
                registry,
                "evm_block_height",
                "Number of the newest block.",
            )?,
            gas_limit: family::integer_gauge(
                registry,
                "evm_block_gas_limit",
                "Gas units that the newest block may hold.",
            )?,
            head_timestamp: family::integer_gauge(
                registry,
                "evm_head_timestamp_seconds",
                "The newest block's own timestamp in Unix seconds. Runs ahead of the clock on \
                 development nodes.",
            )?,
            base_fee: family::gauge(
                registry,
                "evm_base_fee_wei",
                "Base fee of the newest block, in wei for a unit of gas.",
            )?,
            gas_used: family::histogram(
                registry,
                "evm_block_gas_used",
                "Gas units used by a block.",
                GAS,
            )?,
            transactions: family::histogram(
                registry,
                "evm_block_transactions",
                "Transactions in a block.",
                COUNT,
            )?,
            interval: family::histogram(
                registry,
                "evm_block_interval_seconds",
                "Measured time in seconds between two blocks being seen, not from their \
                 timestamps.",
                CONFIRMATION,
            )?,
            mining: family::histogram(
                registry,
                "evm_block_mining_duration_seconds",
                "Time in seconds that the node took to mine a block, where that can be told: \
                 inside the call that sends a transaction or asks for a block.",
                LATENCY,
            )?,
            up: family::integer_gauge(
                registry,
                "evm_node_up",
                "Whether the node answers the watcher: 1 or 0.",
            )?,
            start_time: family::gauge(
                registry,
                "evm_node_start_time_seconds",
                "When the node was first seen answering since it was last away or restarted, in \
                 Unix seconds.",
            )?,
            restarts: family::counter(
                registry,
                "evm_node_restarts_total",
                "Times the chain turned out to be another one: instance changed, height went \
                 back, or genesis changed.",
            )?,
        })
    }

    pub fn record(&self, block: &Block) {
        let Block { number, timestamp, gas_limit, base_fee, .. } = *block;
        self.head(Head { number, timestamp, gas_limit, base_fee });
        self.gas_used.observe(family::as_value(block.gas_used));
        self.transactions.observe(f64::from(block.transactions));
        if let Some(interval) = block.interval {
            self.interval.observe(interval.as_secs_f64());
        }
    }

    fn head(&self, head: Head) {
        self.height.set(family::as_gauge(head.number));
        self.gas_limit.set(family::as_gauge(head.gas_limit));
        self.head_timestamp.set(family::as_gauge(head.timestamp));
        if let Some(fee) = head.base_fee {
            self.base_fee.set(family::as_value(fee));
        }
    }

    pub fn node_up(&self, at: UnixMicros, head: Head) {
        self.head(head);
        if self.up.get() == 0 {
            self.start_time.set(family::as_value(at.0) / 1e6);
        }
        self.up.set(1);
    }

    pub fn mined(&self, took: Duration) {
        self.mining.observe(took.as_secs_f64());
    }

    pub fn went_back(&self, cause: RollbackCause) {
        self.setbacks.with_label_values(&[cause.as_str()]).inc();
    }

    pub fn node_down(&self) {
        self.up.set(0);
    }

    pub fn node_restarted(&self) {
        self.restarts.inc();
        // The next "up" is the new node's.
        self.up.set(0);
    }
}
