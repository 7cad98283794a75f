//! Contract and transaction families. Labels come from known artifacts only.

use prometheus::local::LocalHistogram;
use prometheus::{Error, Gauge, HistogramVec, IntCounterVec, IntGauge, Registry};

use super::buckets::{CONFIRMATION, GAS, LATENCY};
use super::family;
use super::series::{LabelKey, Table};
use crate::model::{RpcCall, Transaction, TransactionKind};

/// The families.
#[derive(Clone)]
pub struct Contracts {
    call_duration: HistogramVec,
    transactions: IntCounterVec,
    gas_used: HistogramVec,
    confirmation: HistogramVec,
    deployment_gas: HistogramVec,
    deployment_duration: HistogramVec,
    reverts: IntCounterVec,
    pub pending: IntGauge,
    pub oldest_pending: Gauge,
}

impl Contracts {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let function = &["contract", "function"];
        Ok(Self {
            call_duration: family::histograms(
                registry,
                "evm_contract_call_duration_seconds",
                "Time in seconds of a call of a contract's function, as its client saw it: reads \
                 are eth_call, writes are the sending of a transaction (not its mining).",
                LATENCY,
                &["contract", "function", "kind"],
            )?,
            transactions: family::counters(
                registry,
                "evm_transactions_total",
                "Transactions whose fate is known, by contract function and by what became of \
                 them: success, reverted, rejected by the node, or lost.",
                &["contract", "function", "status"],
            )?,
            gas_used: family::histograms(
                registry,
                "evm_transaction_gas_used",
                "Gas units that a mined transaction used, from its receipt.",
                GAS,
                function,
            )?,
            confirmation: family::histograms(
                registry,
                "evm_transaction_confirmation_seconds",
                "Time in seconds from a transaction leaving for the node to the block that holds \
                 it being seen.",
                CONFIRMATION,
                function,
            )?,
            deployment_gas: family::histograms(
                registry,
                "evm_deployment_gas_used",
                "Gas units that the creation of a contract used, from its receipt.",
                GAS,
                &["contract"],
            )?,
            deployment_duration: family::histograms(
                registry,
                "evm_deployment_duration_seconds",
                "Time in seconds from a contract's creation leaving for the node to the block \
                 that holds it being seen.",
                CONFIRMATION,
                &["contract"],
            )?,
            reverts: family::counters(
                registry,
                "evm_reverts_total",
                "Transactions reverted or rejected, by contract function and reason: a custom \
                 error's name, Error, Panic(0x11), never free text.",
                &["contract", "function", "reason"],
            )?,
            pending: family::integer_gauge(
                registry,
                "evm_transactions_pending",
                "Transactions submitted and not mined yet.",
            )?,
            oldest_pending: family::gauge(
                registry,
                "evm_oldest_pending_transaction_seconds",
                "For how many seconds the oldest transaction not mined yet has been waiting; 0 \
                 when there is none.",
            )?,
        })
    }

    /// Transactions are few beside calls: label lookups are affordable here.
    pub fn record(&self, transaction: &Transaction) {
        let contract = transaction.contract.as_str();
        let function = transaction.function.as_str();
        let status = transaction.status.as_str();
        self.transactions.with_label_values(&[contract, function, status]).inc();
        if let Some(gas) = transaction.gas_used {
            let gas = family::as_value(gas);
            self.gas_used.with_label_values(&[contract, function]).observe(gas);
            if transaction.kind == TransactionKind::Deployment {
                self.deployment_gas.with_label_values(&[contract]).observe(gas);
            }
        }
        if let Some(confirmation) = transaction.confirmation {
            let seconds = confirmation.as_secs_f64();
            self.confirmation.with_label_values(&[contract, function]).observe(seconds);
            if transaction.kind == TransactionKind::Deployment {
                self.deployment_duration.with_label_values(&[contract]).observe(seconds);
            }
        }
        if let Some(reason) = transaction.reason {
            self.reverts.with_label_values(&[contract, function, reason.as_str()]).inc();
        }
    }
}

/// Whether a call reads the chain or sends to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Access {
    Read,
    Write,
}

impl Access {
    /// None for what touches a contract but is neither, such as an estimate.
    fn of(method: &str) -> Option<Self> {
        match method {
            "eth_call" => Some(Self::Read),
            _ if method.starts_with("eth_send") => Some(Self::Write),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Contract calls by function, at hand.
pub struct ContractCalls {
    families: Contracts,
    durations: Table<(LabelKey, LabelKey, Access), LocalHistogram>,
}

impl ContractCalls {
    pub fn new(families: Contracts) -> Self {
        Self { families, durations: Table::new() }
    }

    pub fn record(&mut self, call: &RpcCall) {
        let Some(target) = call.target else { return };
        let Some(access) = Access::of(call.method.as_str()) else { return };
        let key = (LabelKey::from(target.contract), LabelKey::from(target.function), access);
        let duration = self.durations.touch(key, || {
            let labels = [target.contract.as_str(), target.function.as_str(), access.as_str()];
            self.families.call_duration.with_label_values(&labels).local()
        });
        duration.observe(call.total.as_secs_f64());
    }

    pub fn flush(&mut self) {
        self.durations.flush();
    }
}
