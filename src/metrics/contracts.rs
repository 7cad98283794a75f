//! Contract and transaction families. Labels come from known artifacts only.

use prometheus::local::LocalHistogram;
use prometheus::{
    CounterVec, Error, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry,
};

use super::buckets::{CONFIRMATION, COUNT, GAS, LATENCY};
use super::family;
use super::series::{Flush, Table};
use crate::model::{
    Access, ContractCall, InnerCall, LabelKey, OTHER, Reason, Rollback, RollbackCause, RpcCall,
    SlotFate, StateChange, Transaction, TransactionKind, Unexplained,
};

/// `kind` of a revert that a transaction met; those of calls have the call's own.
const TRANSACTION: &str = "transaction";
const WEI_PER_ETHER: f64 = 1e18;

/// The families.
#[derive(Clone)]
pub struct Contracts {
    call_duration: HistogramVec,
    call_errors: IntCounterVec,
    multicall_calls: IntCounterVec,
    transactions: IntCounterVec,
    rolled_back: IntCounterVec,
    gas_used: HistogramVec,
    confirmation: HistogramVec,
    deployment_gas: HistogramVec,
    deployment_duration: HistogramVec,
    deployment_code_size: IntGaugeVec,
    deployment_block_share: GaugeVec,
    reverts: IntCounterVec,
    unexplained: IntCounterVec,
    fees: CounterVec,
    events: IntCounterVec,
    state_slots: IntCounterVec,
    state_accounts: HistogramVec,
    pub pending: IntGauge,
    pub oldest_pending: Gauge,
}

impl Contracts {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let function = &["contract", "function"];
        let rolled_back = family::counters(
            registry,
            "evm_transactions_rolled_back_total",
            "Transactions of evm_transactions_total that a rollback took off the chain again, by \
             its cause: evm_revert, reset or reorganisation.",
            &["cause"],
        )?;
        family::begin(&rolled_back, RollbackCause::ALL.map(RollbackCause::as_str));
        let unexplained = family::counters(
            registry,
            "evm_reverts_unexplained_total",
            "Reverted transactions whose reason is not known (_unknown in evm_reverts_total), by \
             why: not the first of its block, too much gas or too many to run again, and so on.",
            &["why"],
        )?;
        family::begin(&unexplained, Unexplained::ALL.map(Unexplained::as_str));
        Ok(Self {
            rolled_back,
            unexplained,
            call_duration: family::histograms(
                registry,
                "evm_contract_call_duration_seconds",
                "Time in seconds of a call of a contract's function, as its client saw it: read \
                 is eth_call and reads of state such as eth_getBalance (the method is the \
                 function then), estimate is eth_estimateGas, write is the sending of a \
                 transaction (not its mining).",
                LATENCY,
                &["contract", "function", "kind"],
            )?,
            call_errors: family::counters(
                registry,
                "evm_contract_call_errors_total",
                "Calls of a contract's function that failed: answered with an error, or not at \
                 all. Their kinds are those of evm_contract_call_duration_seconds, whose count is \
                 of all calls.",
                &["contract", "function", "kind"],
            )?,
            multicall_calls: family::counters(
                registry,
                "evm_multicall_calls_total",
                "Calls inside multicalls, read or mined, by the function called and whether it \
                 succeeded: true, false, or nothing where the answer does not tell.",
                &["contract", "function", "success"],
            )?,
            transactions: family::counters(
                registry,
                "evm_transactions_total",
                "Transactions whose fate is known, by contract function and by what became of \
                 them: success, reverted, rejected by the node, replaced by another of the same \
                 nonce, dropped by the node, lost from sight, or unknown: rolled back before its \
                 receipt was seen.",
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
            deployment_code_size: family::integer_gauges(
                registry,
                "evm_deployment_code_size_bytes",
                "Size in bytes of a contract's code on chain when it was last deployed; the limit \
                 is 24576.",
                &["contract"],
            )?,
            deployment_block_share: family::gauges(
                registry,
                "evm_deployment_block_share_ratio",
                "Share of its block's gas limit that a contract's last deployment used, 0 to 1.",
                &["contract"],
            )?,
            reverts: family::counters(
                registry,
                "evm_reverts_total",
                "Transactions reverted or rejected, reads and estimates refused with a reason, by \
                 contract function, kind (transaction, read, estimate) and reason: a custom \
                 error's name, Error, Panic(0x11), never its arguments or free text.",
                &["contract", "function", "kind", "reason"],
            )?,
            fees: family::float_counters(
                registry,
                "evm_transaction_fees_eth_total",
                "Fees of mined transactions in ETH: gas used times effective gas price, and those of \
                 blobs where their price is known.",
                function,
            )?,
            events: family::counters(
                registry,
                "evm_events_total",
                "Events that mined transactions emitted, by the emitting contract and the event's \
                 name; both _OTHER of those beyond the bound of different ones in a transaction.",
                &["contract", "event"],
            )?,
            state_slots: family::counters(
                registry,
                "evm_state_slots_total",
                "Storage slots that traced transactions changed, by what became of them: created, \
                 updated or cleared. Not every transaction is traced.",
                &["contract", "function", "change"],
            )?,
            state_accounts: family::histograms(
                registry,
                "evm_state_accounts_touched",
                "Accounts that a traced transaction changed; its count is of traced transactions.",
                COUNT,
                function,
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
        if let Some(cause) = transaction.rolled_back_by {
            self.rolled_back.with_label_values(&[cause.as_str()]).inc();
        }
        if let Some(gas) = transaction.gas_used {
            let gas = family::as_value(gas);
            self.gas_used.with_label_values(&[contract, function]).observe(gas);
            if transaction.kind == TransactionKind::Deployment {
                self.deployment_gas.with_label_values(&[contract]).observe(gas);
            }
        }
        if transaction.kind == TransactionKind::Deployment {
            if let Some(bytes) = transaction.code_bytes {
                self.deployment_code_size.with_label_values(&[contract]).set(i64::from(bytes));
            }
            if let Some(share) = transaction.block_share() {
                self.deployment_block_share.with_label_values(&[contract]).set(share);
            }
        }
        if let Some(fee) = transaction.fee().or_else(|| transaction.execution_fee()) {
            let eth = f64::from(fee) / WEI_PER_ETHER;
            self.fees.with_label_values(&[contract, function]).inc_by(eth);
        }
        if let Some(confirmation) = transaction.confirmation {
            let seconds = confirmation.as_secs_f64();
            self.confirmation.with_label_values(&[contract, function]).observe(seconds);
            if transaction.kind == TransactionKind::Deployment {
                self.deployment_duration.with_label_values(&[contract]).observe(seconds);
            }
        }
        if let Some(reason) = transaction.reason {
            let call =
                ContractCall { contract: transaction.contract, function: transaction.function };
            self.revert(call, TRANSACTION, reason);
        }
        if let Some(why) = transaction.unexplained {
            self.unexplained.with_label_values(&[why.as_str()]).inc();
        }
        self.multicall(&transaction.inner);
        if transaction.events_omitted > 0 {
            let more = self.events.with_label_values(&[OTHER, OTHER]);
            more.inc_by(u64::from(transaction.events_omitted));
        }
        for events in &transaction.events {
            let labels = [events.contract.as_str(), events.event.as_str()];
            self.events.with_label_values(&labels).inc_by(u64::from(events.count));
        }
    }

    /// Transactions that had been recorded before.
    pub fn record_rollback(&self, rollback: &Rollback) {
        let count = rollback.transactions.len() as u64 + u64::from(rollback.omitted);
        self.rolled_back.with_label_values(&[rollback.cause.as_str()]).inc_by(count);
    }

    /// Traces are fewer still.
    pub fn record_state(&self, change: &StateChange) {
        let (contract, function) = (change.contract.as_str(), change.function.as_str());
        for fate in SlotFate::ALL {
            let labels = [contract, function, fate.as_str()];
            let slots = u64::from(change.count(fate));
            self.state_slots.with_label_values(&labels).inc_by(slots);
        }
        let accounts = self.state_accounts.with_label_values(&[contract, function]);
        accounts.observe(f64::from(change.accounts));
    }

    fn revert(&self, call: ContractCall, kind: &str, reason: Reason) {
        let labels = [call.contract.as_str(), call.function.as_str(), kind, reason.as_str()];
        self.reverts.with_label_values(&labels).inc();
    }

    fn multicall(&self, inner: &[InnerCall]) {
        for call in inner {
            let success = match call.success {
                Some(true) => "true",
                Some(false) => "false",
                None => "",
            };
            let labels = [call.target.contract.as_str(), call.target.function.as_str(), success];
            self.multicall_calls.with_label_values(&labels).inc();
        }
    }
}

/// A series of calls of a function, at hand.
struct CallSeries {
    duration: LocalHistogram,
    errors: IntCounter,
}

impl Flush for CallSeries {
    fn flush(&mut self) {
        self.duration.flush();
    }
}

/// Contract calls by function, at hand.
pub struct ContractCalls {
    families: Contracts,
    series: Table<(LabelKey, LabelKey, Access), CallSeries>,
}

impl ContractCalls {
    pub fn new(families: Contracts) -> Self {
        Self { families, series: Table::new() }
    }

    pub fn record(&mut self, call: &RpcCall) {
        let Some(target) = call.target else {
            // A simulation of several calls has no function of its own.
            if let Some(detail) = &call.detail {
                self.families.multicall(&detail.inner);
            }
            return;
        };
        let access = Access::of(call.method.as_str());
        let key = (LabelKey::from(target.contract), LabelKey::from(target.function), access);
        let families = &self.families;
        let series = self.series.touch(key, || {
            let labels = [target.contract.as_str(), target.function.as_str(), access.as_str()];
            CallSeries {
                duration: families.call_duration.with_label_values(&labels).local(),
                errors: families.call_errors.with_label_values(&labels),
            }
        });
        series.duration.observe(call.total.as_secs_f64());
        if call.outcome.is_failure() {
            series.errors.inc();
        }
        // What a send came to, and what it called, is told with its transaction.
        if let Some(detail) = &call.detail
            && access != Access::Write
        {
            if let Some(reason) = detail.reason {
                families.revert(target, access.as_str(), reason);
            }
            if access == Access::Read {
                families.multicall(&detail.inner);
            }
        }
    }

    pub fn flush(&mut self) {
        self.series.flush();
    }
}
