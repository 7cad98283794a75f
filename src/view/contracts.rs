//! What the contracts cost: functions with their reads, gas, reverts, fees, confirmation and state
//! changes, deployments and events, contract by contract.
//!
//! Transactions, refused reads and traces are read one by one, so what is told of them is exact as
//! far as they all were read (`exact`); times of calls come from the roll-ups.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use serde_json::{Map, Value, json};

use super::Money;
use super::fates::Values;
use super::json::{self, in_money, micros};
use super::newest::each;
use crate::model::{
    Access, RpcCall, SlotFate, StateChange, Transaction, TransactionKind, TransactionStatus,
};
use crate::store::{
    CallFilter, Measure, Range, StateFilter, Store, StoreError, Summary, TransactionFilter,
};

/// Deployments that are told of a contract, the newest.
const DEPLOYMENTS: usize = 10;
/// Accounts that delegate to a contract which are listed of it.
const DELEGATIONS: usize = 100;
/// `kind` of a revert that a transaction met; those of calls have the call's own.
const TRANSACTION: &str = "transaction";

/// What was found, by contract.
#[derive(Default)]
pub struct Found {
    contracts: BTreeMap<String, Contract>,
    /// Whether every transaction of the range was read.
    transactions_complete: bool,
    /// Whether every failed call was.
    calls_complete: bool,
    traces_complete: bool,
    /// Events beyond the bound of different ones in a transaction.
    events_omitted: u64,
}

#[derive(Default)]
struct Contract {
    deployments: Vec<Value>,
    deployed: u64,
    functions: BTreeMap<String, Function>,
    events: BTreeMap<&'static str, u64>,
    /// Accounts that delegate to it (EIP-7702), as their latest transaction found them, each with the
    /// address that it delegates to.
    delegations: BTreeMap<Address, Address>,
}

#[derive(Default)]
struct Function {
    /// Calls by [`Access`], in microseconds.
    calls: [Option<Summary>; Access::ALL.len()],
    by_status: [u64; TransactionStatus::ALL.len()],
    /// By kind and reason.
    reverts: BTreeMap<(&'static str, &'static str), u64>,
    fees: U256,
    gas: Values,
    confirmation: Values,
    /// In the place of the two above when not every transaction was read.
    rolled_gas: Option<Summary>,
    rolled_confirmation: Option<Summary>,
    traced: u64,
    slots: [u64; SlotFate::ALL.len()],
    accounts: u64,
}

/// Reads what is known of one contract, or of all. Blocks.
pub fn read(store: &Store, range: Range, contract: Option<&str>) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let wanted = |name: &str| contract.is_none_or(|contract| contract == name);
    for (key, summary) in store.summaries(Measure::ContractCall, range)? {
        let Some((access, key)) = key.split_once(' ') else { continue };
        let Some(access) = Access::ALL.into_iter().find(|it| it.as_str() == access) else {
            continue;
        };
        if let Some(function) = found.of_key(key, wanted) {
            function.calls[access as usize] = Some(summary);
        }
    }
    let everything = TransactionFilter::default();
    let page = |paging| store.transactions(range, &everything, paging);
    found.transactions_complete = each(page, |transaction| found.count(transaction, wanted))?;
    if !found.transactions_complete {
        for (key, summary) in store.summaries(Measure::GasUsed, range)? {
            if let Some(function) = found.of_key(&key, wanted) {
                function.rolled_gas = Some(summary);
            }
        }
        for (key, summary) in store.summaries(Measure::Confirmation, range)? {
            if let Some(function) = found.of_key(&key, wanted) {
                function.rolled_confirmation = Some(summary);
            }
        }
    }
    let contract = contract.map(str::to_owned);
    let failed =
        CallFilter { failed: Some(true), contract: contract.clone(), ..CallFilter::default() };
    let page = |paging| store.calls(range, &failed, paging);
    found.calls_complete = each(page, |call| found.count_refused(call))?;
    let traced = StateFilter { contract, ..StateFilter::default() };
    let page = |paging| store.states(range, &traced, paging);
    found.traces_complete = each(page, |change| found.count_state(change))?;
    Ok(found)
}

impl Found {
    fn of(&mut self, contract: &str, function: &str) -> &mut Function {
        let contract = self.contracts.entry(contract.to_owned()).or_default();
        contract.functions.entry(function.to_owned()).or_default()
    }

    /// The function of a roll-up's key, `Contract.function`. A contract's name may have its source's
    /// in it, dot and all; a function's has none.
    fn of_key(&mut self, key: &str, wanted: impl Fn(&str) -> bool) -> Option<&mut Function> {
        let (contract, function) = key.rsplit_once('.')?;
        wanted(contract).then(|| self.of(contract, function))
    }

    fn count(&mut self, transaction: &Transaction, wanted: impl Fn(&str) -> bool) {
        self.events_omitted += u64::from(transaction.events_omitted);
        // Events belong to the contract that emitted them, whoever was called.
        for events in transaction.events.iter().filter(|events| wanted(events.contract.as_str())) {
            let emitter = self.contracts.entry(events.contract.to_string()).or_default();
            *emitter.events.entry(events.event.as_str()).or_default() += u64::from(events.count);
        }
        if !wanted(transaction.contract.as_str()) {
            return;
        }
        let function = self.of(transaction.contract.as_str(), transaction.function.as_str());
        function.by_status[transaction.status as usize] += 1;
        let reverted = transaction.status == TransactionStatus::Reverted;
        if let (Some(account), Some(to)) = (transaction.to, transaction.delegation) {
            let contract = self.contracts.entry(transaction.contract.to_string()).or_default();
            if contract.delegations.len() < DELEGATIONS {
                contract.delegations.entry(account).or_insert(to);
            }
        }
        let function = self.of(transaction.contract.as_str(), transaction.function.as_str());
        if let Some(gas) = transaction.gas_used {
            function.gas.add(gas, reverted);
        }
        if let Some(confirmation) = transaction.confirmation {
            function.confirmation.add(micros(confirmation), reverted);
        }
        if let Some(reason) = transaction.reason {
            *function.reverts.entry((TRANSACTION, reason.as_str())).or_default() += 1;
        }
        let fee = transaction.fee().or_else(|| transaction.execution_fee());
        function.fees = function.fees.saturating_add(fee.unwrap_or_default());
        if transaction.kind == TransactionKind::Deployment {
            let contract = self.contracts.entry(transaction.contract.to_string()).or_default();
            contract.deployed += 1;
            if contract.deployments.len() < DEPLOYMENTS {
                contract.deployments.push(deployment(transaction));
            }
        }
    }

    /// A send's refusal is told by its transaction.
    fn count_refused(&mut self, call: &RpcCall) {
        let access = Access::of(call.method.as_str());
        let reason = call.detail.as_ref().and_then(|detail| detail.reason);
        if let (Some(target), Some(reason)) = (call.target, reason)
            && access != Access::Write
        {
            let function = self.of(target.contract.as_str(), target.function.as_str());
            *function.reverts.entry((access.as_str(), reason.as_str())).or_default() += 1;
        }
    }

    fn count_state(&mut self, change: &StateChange) {
        let function = self.of(change.contract.as_str(), change.function.as_str());
        function.traced += 1;
        function.accounts += u64::from(change.accounts);
        for fate in SlotFate::ALL {
            function.slots[fate as usize] += u64::from(change.count(fate));
        }
    }
}

impl Function {
    fn gas(&self) -> Option<Summary> {
        self.rolled_gas.or_else(|| self.gas.summary())
    }

    fn confirmation(&self) -> Option<Summary> {
        self.rolled_confirmation.or_else(|| self.confirmation.summary())
    }

    /// What it took altogether: gas, then microseconds of its calls.
    fn weight(&self) -> (f64, f64) {
        let time = self.calls.iter().flatten().map(|summary| summary.sum).sum();
        (self.gas().map_or(0.0, |gas| gas.sum), time)
    }

    fn tell(&self, name: &str, exact: bool, money: Option<&Money>) -> Value {
        let mut value = json!({ "function": name });
        for access in Access::ALL {
            let told = self.calls[access as usize].map(|summary| json::summary(&summary, "us"));
            value[format!("{}s", access.as_str())] = told.into();
        }
        let mined = |summary: Option<Summary>, unit| {
            summary.map(|summary| {
                let mut value = json::summary(&summary, unit);
                value["exact"] = exact.into();
                value
            })
        };
        value["gas"] = mined(self.gas(), "gas").into();
        value["confirmation"] = mined(self.confirmation(), "us").into();
        let statuses = TransactionStatus::ALL
            .map(|status| (status.as_str().to_owned(), self.by_status[status as usize].into()));
        value["transactions"] = statuses.into_iter().collect::<Map<_, _>>().into();
        let mut reverts: Vec<_> = self.reverts.iter().collect();
        reverts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reverts = reverts.into_iter().map(
            |((kind, reason), count)| json!({ "kind": kind, "reason": reason, "count": count }),
        );
        value["reverts"] = reverts.collect();
        value["fee_eth"] = json::ether(self.fees).into();
        in_money(&mut value, Some(self.fees), money);
        value["state"] = self.state();
        value
    }

    fn state(&self) -> Value {
        if self.traced == 0 {
            return Value::Null;
        }
        let mut value = json!({ "traced": self.traced });
        let totals = SlotFate::ALL.map(|fate| (fate.as_str(), self.slots[fate as usize]));
        for (name, total) in totals.into_iter().chain([("accounts", self.accounts)]) {
            value[name] = total.into();
            value[format!("{name}_mean")] = json::ratio(total, self.traced).into();
        }
        value
    }
}

fn deployment(transaction: &Transaction) -> Value {
    json!({
        "at_ms": json::millis(transaction.at),
        "hash": transaction.hash,
        "status": transaction.status.as_str(),
        "address": transaction.created,
        "block": transaction.block,
        "gas_used": transaction.gas_used,
        "code_bytes": transaction.code_bytes,
        "code_limit_bytes": json::CODE_LIMIT,
        "block_share": transaction.block_share(),
        "duration_us": transaction.confirmation.map(micros),
    })
}

/// The heaviest first, at most `limit` contracts.
pub fn tell(found: Found, range: Range, limit: usize, money: Option<&Money>) -> Value {
    let exact = found.transactions_complete;
    let heavier =
        |a: (f64, f64), b: (f64, f64)| b.0.total_cmp(&a.0).then_with(|| b.1.total_cmp(&a.1));
    let mut contracts: Vec<_> = found
        .contracts
        .into_iter()
        .map(|(name, contract)| {
            let weights = contract.functions.values().map(Function::weight);
            (
                weights.fold((0.0, 0.0), |sum, weight| (sum.0 + weight.0, sum.1 + weight.1)),
                name,
                contract,
            )
        })
        .collect();
    contracts.sort_by(|a, b| heavier(a.0, b.0));
    let left_out = contracts.len().saturating_sub(limit);
    let told = contracts.into_iter().take(limit).map(|((gas, _), name, contract)| {
        let mut functions: Vec<_> = contract.functions.iter().collect();
        functions.sort_by(|a, b| heavier(a.1.weight(), b.1.weight()));
        let functions =
            functions.into_iter().map(|(name, function)| function.tell(name, exact, money));
        json!({
            "contract": name,
            "sum_gas": gas,
            "deployed": contract.deployed,
            "deployments": contract.deployments,
            "functions": functions.collect::<Vec<_>>(),
            "events": contract.events,
            "delegations": contract
                .delegations
                .iter()
                .map(|(account, to)| json!({ "account": account, "address": to }))
                .collect::<Vec<_>>(),
        })
    });
    json!({
        "from_ms": json::millis(range.from),
        "until_ms": json::millis(range.until),
        "contracts": told.collect::<Vec<_>>(),
        "left_out": left_out,
        "events_omitted": found.events_omitted,
        "exact": exact,
        "reverts_exact": exact && found.calls_complete,
        "state_exact": found.traces_complete,
    })
}
