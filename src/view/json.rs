//! Samples as JSON: snake_case, units in the names.
//!
//! Numbers that fit 2⁵³ are JSON numbers (gas, microseconds, milliseconds since the epoch). Hashes,
//! addresses and selectors are `0x` hexadecimal as in Ethereum's own JSON; amounts of wei are decimal
//! strings. What is not known is `null`.

use std::time::Duration;

use alloy::primitives::utils::format_ether;
use alloy::primitives::{Address, U256};
use serde_json::{Value, json};

use super::{Money, advice};

use crate::model::{
    Access, Block, Breakdown, ContractName, End, Finding, HostReading, HttpRequest, InnerCall,
    Join, Operation, Outcome, Part, Rollback, RollbackCause, RpcCall, Sample, SlotFate,
    StateChange, TraceContext, Transaction, TransactionKind, Unexplained, UnixMicros, UnknownPeer,
    Volume, Work,
};
use crate::store::{Series, Summary};

/// The most bytes of code that a contract may have (EIP-170).
pub const CODE_LIMIT: u32 = 24_576;

pub const fn millis(at: UnixMicros) -> u64 {
    at.0 / 1_000
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A sample with its kind, for a list of mixed ones.
pub fn sample(sample: &Sample, money: Option<&Money>) -> Value {
    let mut value = match sample {
        Sample::Call(it) => call(it),
        Sample::Request(it) => request(it),
        Sample::Transaction(it) => transaction(it, money),
        Sample::Block(it) => block(it),
        Sample::Host(it) => reading(it),
        Sample::State(it) => state(it),
        Sample::Finding(it) => finding(it),
        Sample::Operation(it) => operation(it),
        Sample::Breakdown(it) => broken_down(it),
        Sample::Route(it) => json!({ "at_ms": millis(it.at), "pattern": it.pattern }),
        Sample::Rollback(it) => rollback(it),
    };
    value["kind"] = sample.kind().as_str().into();
    value
}

pub fn call(call: &RpcCall) -> Value {
    let detail = call.detail.as_deref();
    let uninspected = detail.and_then(|detail| detail.uninspected);
    let mut value = json!({
        "at_ms": millis(call.at),
        "method": call.method,
        "transport": call.transport.as_str(),
        "outcome": outcome(call.outcome),
        "error_code": match call.outcome { Outcome::Error(code) => Some(code), _ => None },
        "failed": call.outcome.is_failure(),
        "connection": call.connection.0,
        "batch_index": call.batch.map(|place| place.index),
        "batch_size": call.batch.map(|place| place.size),
        "request_bytes": call.request_bytes,
        "response_bytes": call.response_bytes,
        "total_us": micros(call.total),
        "upstream_us": micros(call.upstream),
        "overhead_us": micros(call.overhead),
        "contract": call.target.map(|target| target.contract),
        "function": call.target.map(|target| target.function),
        "access": call.target.map(|_| Access::of(call.method.as_str()).as_str()),
        "transaction": call.transaction,
        "trace_id": trace_id(call.trace),
        "joined_by": call.joined_by.map(Join::as_str),
        "selector": detail.and_then(|detail| detail.selector).map(selector),
        "reason": detail.and_then(|detail| detail.reason),
        "message": detail.and_then(|detail| detail.message.as_deref()),
        "delegation": delegation(
            detail.and_then(|detail| detail.delegation),
            call.target.map(|target| target.contract),
        ),
        "estimated_gas": detail.and_then(|detail| detail.gas),
        "inner": detail.map_or_else(|| json!([]), |detail| inner(&detail.inner)),
        "uninspected": uninspected.map(|uninspected| uninspected.reason.as_str()),
        "uninspected_calls": uninspected.map(|uninspected| uninspected.calls),
    });
    // Recorded only where it stands for the outcome: an answer's own status is not kept.
    match call.outcome {
        Outcome::Http(status) => value["http_status"] = status.into(),
        // What the relay answers itself.
        Outcome::Connect => value["http_status"] = 502.into(),
        _ => {}
    }
    value
}

/// What a traced transaction changed.
pub fn state(change: &StateChange) -> Value {
    let slots = change.slots.iter().map(|slot| {
        json!({
            "address": slot.address,
            "contract": slot.contract,
            "slot": slot.slot,
            "name": slot.name,
            "change": slot.fate().as_str(),
            "before": slot.before,
            "after": slot.after,
        })
    });
    json!({
        "at_ms": millis(change.at),
        "transaction": change.hash,
        "block": change.block,
        "contract": change.contract,
        "function": change.function,
        "tracer": change.tracer.as_str(),
        "took_us": micros(change.took),
        "created": change.count(SlotFate::Created),
        "updated": change.count(SlotFate::Updated),
        "cleared": change.count(SlotFate::Cleared),
        "accounts": change.accounts,
        "slots": slots.collect::<Vec<_>>(),
    })
}

pub fn finding(finding: &Finding) -> Value {
    json!({
        "at_ms": millis(finding.at),
        "finding": finding.kind.as_str(),
        "text": advice::text(finding),
        "advice": advice::advice(finding),
        "who": advice::who(finding),
        "wasted": finding.wasted(),
        "count": finding.count,
        "span_us": micros(finding.span),
        "method": finding.method,
        "contract": finding.target.map(|target| target.contract),
        "function": finding.target.map(|target| target.function),
        "transaction": finding.transaction,
        "account": finding.account,
        "connection": finding.connection.0,
        "user_agent": finding.client.agent,
        "process": finding.client.process,
        "process_unknown": finding.client.process_unknown.map(UnknownPeer::as_str),
        "http_method": finding.request.map(|request| request.method),
        "route": finding.request.map(|request| request.route),
        "trace_id": finding.request.map(|request| trace_text(request.trace_id)),
        "query": finding.query,
        "block": finding.block,
    })
}

fn operation(operation: &Operation) -> Value {
    let (kind, query) = match &operation.work {
        Work::Server => ("server", None),
        Work::Client => ("client", None),
        Work::Query(query) => ("query", Some(query)),
        Work::Function(_) => ("function", None),
        Work::Other => ("span", None),
    };
    json!({
        "at_ms": millis(operation.at),
        "trace_id": trace_text(operation.trace_id),
        "work": kind,
        "name": operation.name,
        "total_us": micros(operation.duration),
        "failed": operation.failed,
        "query": query.map(|query| &*query.fingerprint),
    })
}

fn broken_down(breakdown: &Breakdown) -> Value {
    let mut value = self::breakdown(breakdown);
    value["at_ms"] = millis(breakdown.at).into();
    value["trace_id"] = trace_text(breakdown.trace_id).into();
    value["method"] = breakdown.method.as_str().into();
    value["route"] = breakdown.route.as_str().into();
    value["status"] = breakdown.status.into();
    value
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Error(_) => "error",
        Outcome::Http(_) => "http",
        Outcome::Timeout => "timeout",
        Outcome::Connect => "connect",
        Outcome::ClientGone => "client_gone",
        Outcome::UpstreamGone => "upstream_gone",
        Outcome::Unanswered => "unanswered",
        Outcome::Uninspected => "uninspected",
        Outcome::Notification => "notification",
        Outcome::Stopped => "stopped",
    }
}

pub fn request(request: &HttpRequest) -> Value {
    let app = request.app.as_deref();
    json!({
        "at_ms": millis(request.at),
        "method": request.method,
        "route": request.route,
        "path": request.path,
        "status": request.status,
        "end": end(request.end),
        "connection": request.connection.0,
        "request_bytes": request.request_bytes,
        "response_bytes": request.response_bytes,
        "total_us": micros(request.total),
        "upstream_us": micros(request.upstream),
        "first_byte_us": micros(request.first_byte),
        "overhead_us": micros(request.overhead),
        "trace_id": trace_id(Some(request.trace)),
        "cache": request.cache.as_str(),
        "flow": request.flow.as_str(),
        "database": app.and_then(|app| app.database).map(|database| json!({
            "total_us": micros(database.took),
            "queries": database.queries,
        })),
        "functions": app.map_or(&[][..], |app| &app.functions).iter()
            .map(|(function, took)| json!({ "function": function, "total_us": micros(*took) }))
            .collect::<Vec<_>>(),
    })
}

const fn end(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::ClientGone => "client_gone",
        End::UpstreamGone => "upstream_gone",
        End::Unreachable => "unreachable",
        End::TimedOut => "timed_out",
        End::Stopped => "stopped",
    }
}

pub fn transaction(transaction: &Transaction, money: Option<&Money>) -> Value {
    let fee = transaction.fee();
    let events = transaction.events.iter().map(|events| {
        json!({ "contract": events.contract, "event": events.event, "count": events.count })
    });
    let mut value = json!({
        "at_ms": millis(transaction.at),
        "hash": transaction.hash,
        "type": transaction.kind.as_str(),
        "status": transaction.status.as_str(),
        "from": transaction.from,
        "to": transaction.to,
        "created": transaction.created,
        "contract": transaction.contract,
        "function": transaction.function,
        "selector": transaction.selector.map(selector),
        "nonce": transaction.nonce,
        "value_wei": transaction.value.to_string(),
        "gas_limit": transaction.gas_limit,
        "gas_used": transaction.gas_used,
        "gas_price_wei": transaction.gas_price.map(|price| price.to_string()),
        "block": transaction.block,
        "reason": transaction.reason,
        "confirmation_us": transaction.confirmation.map(micros),
        "submission_us": transaction.submission.map(micros),
        "trace_id": trace_id(transaction.trace),
        "through_relay": transaction.through_relay(),
        "envelope": transaction.envelope,
        "message": transaction.message.as_deref().or(transaction.unexplained.map(advice::unexplained)),
        "unexplained": transaction.unexplained.map(Unexplained::as_str),
        "fee_eth": fee.map(ether),
        "execution_fee_eth": transaction.execution_fee().map(ether),
        "events": events.collect::<Vec<_>>(),
        "events_omitted": transaction.events_omitted,
        "inner": inner(&transaction.inner),
        "delegation": delegation(transaction.delegation, Some(transaction.contract)),
        "block_gas_limit": transaction.block_gas_limit,
        "block_share": transaction.block_share(),
        "rolled_back_by": transaction.rolled_back_by.map(RollbackCause::as_str),
    });
    if transaction.kind == TransactionKind::Deployment {
        value["code_bytes"] = transaction.code_bytes.into();
        value["code_limit_bytes"] = CODE_LIMIT.into();
    }
    if let Some(blob) = transaction.blob {
        value["blob_gas_used"] = blob.used.into();
        value["blob_gas_price_wei"] = blob.price.map(|price| price.to_string()).into();
        value["blob_fee_eth"] = transaction.blob_fee().map(ether).into();
    }
    in_money(&mut value, fee, money);
    value
}

/// A rollback, and the transactions that it took off the chain.
pub fn rollback(rollback: &Rollback) -> Value {
    json!({
        "at_ms": millis(rollback.at),
        "cause": rollback.cause.as_str(),
        "blocks": rollback.blocks,
        "transactions": rollback.transactions,
        "omitted": rollback.omitted,
    })
}

/// Adds what a fee is in money, where a price of ETH is configured.
pub fn in_money(value: &mut Value, fee: Option<U256>, money: Option<&Money>) {
    if let Some(money) = money {
        value["fee_money"] = fee.map(|wei| f64::from(wei) / 1e18 * money.eth_price).into();
        value["currency"] = money.currency.as_str().into();
    }
}

/// Wei as ETH, exactly, without trailing zeros.
pub fn ether(wei: U256) -> String {
    let text = format_ether(wei);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn selector(selector: [u8; 4]) -> String {
    alloy::hex::encode_prefixed(selector)
}

/// An account's delegation (EIP-7702): to which address, and which contract is there.
fn delegation(address: Option<Address>, contract: Option<ContractName>) -> Value {
    address.map_or(Value::Null, |address| json!({ "address": address, "contract": contract }))
}

fn inner(calls: &[InnerCall]) -> Value {
    let each = calls.iter().map(|call| {
        json!({
            "contract": call.target.contract,
            "function": call.target.function,
            "selector": call.selector.map(selector),
            "success": call.success,
            "reason": call.reason,
        })
    });
    each.collect()
}

pub fn block(block: &Block) -> Value {
    json!({
        "at_ms": millis(block.at),
        "number": block.number,
        "hash": block.hash,
        "parent": block.parent,
        "timestamp_s": block.timestamp,
        "gas_used": block.gas_used,
        "gas_limit": block.gas_limit,
        "fullness": block.fullness(),
        "base_fee_wei": block.base_fee.map(|fee| fee.to_string()),
        "transactions": block.transactions,
        "interval_us": block.interval.map(micros),
    })
}

pub fn reading(reading: &HostReading) -> Value {
    json!({
        "at_ms": millis(reading.at),
        "cpu_ratio": reading.cpu,
        "memory_used_bytes": reading.memory_used,
        "memory_available_bytes": reading.memory_available,
        "memory_total_bytes": reading.memory_total,
        "disks": volumes(&reading.disks, ["device", "read_bytes", "written_bytes"]),
        "networks": volumes(&reading.networks, ["interface", "received_bytes", "transmitted_bytes"]),
        "processes": processes(reading),
        "databases": reading.databases.iter().map(|(name, bytes)| json!({ "database": name, "bytes": bytes })).collect::<Value>(),
    })
}

/// Devices with what they moved since the machine was started, under these names.
fn volumes(volumes: &[(Box<str>, Volume)], [device, read, written]: [&str; 3]) -> Value {
    let each = volumes
        .iter()
        .map(|(name, volume)| json!({ device: name, read: volume.read, written: volume.written }));
    each.collect()
}

/// By role: what its processes use together.
fn processes(reading: &HostReading) -> Value {
    let each = reading.roles().into_iter().map(|role| {
        json!({
            "process": role.main.role,
            "pid": role.main.pid,
            "processes": role.processes,
            "started_s": role.main.started,
            "uptime_s": (reading.at.0 / 1_000_000).saturating_sub(role.main.started),
            "cpu_seconds": role.cpu_seconds,
            "resident_bytes": role.resident,
            "open_files": role.open_files,
            "threads": role.threads,
            "disk_read_bytes": role.disk.read,
            "disk_written_bytes": role.disk.written,
        })
    });
    each.collect()
}

/// A summary whose values are in `unit`: `us` or `gas`.
pub fn summary(summary: &Summary, unit: &str) -> Value {
    let mut value = json!({
        "count": summary.count,
        "errors": summary.errors,
        "error_ratio": ratio(summary.errors, summary.count),
    });
    for (name, of) in [
        ("min", summary.min),
        ("p50", summary.p50),
        ("p95", summary.p95),
        ("p99", summary.p99),
        ("max", summary.max),
    ] {
        value[format!("{name}_{unit}")] = of.into();
    }
    value[format!("sum_{unit}")] = summary.sum.into();
    value
}

pub fn series(series: &Series, unit: &str) -> Value {
    let points: Vec<_> = series
        .points
        .iter()
        .map(|point| {
            let mut value = summary(&point.summary, unit);
            value["at_ms"] = millis(point.at).into();
            value
        })
        .collect();
    json!({ "unit": unit, "step_ms": micros(series.step) / 1_000, "points": points })
}

/// A share, none of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn trace_id(trace: Option<TraceContext>) -> Option<String> {
    trace.map(|trace| trace_text(trace.trace_id))
}

fn trace_text(trace_id: u128) -> String {
    format!("{trace_id:032x}")
}

/// Where a request's time went.
pub fn breakdown(breakdown: &Breakdown) -> Value {
    let mut value = json!({
        "told_by": breakdown.told_by.as_str(),
        "joined_by": breakdown.joined_by.map_or("nothing", Join::as_str),
        "queries": breakdown.queries,
        "rpc_calls": breakdown.rpc_calls,
        "total_us": micros(breakdown.total),
        "left_out": breakdown.left_out,
    });
    // The last one takes what rounding leaves, so that the parts add up.
    let mut left = micros(breakdown.total);
    for part in Part::ALL {
        let micros = match part {
            Part::App => left,
            _ => micros(breakdown.part(part)).min(left),
        };
        left -= micros;
        value[format!("{}_us", part.as_str())] = micros.into();
    }
    if !breakdown.are_calls_known() {
        // Some of the ambiguous calls may be its: what was counted so far would be a guess.
        for unknown in ["rpc_calls", "evm_us", "rpc_us", "app_us"] {
            value[unknown] = Value::Null;
        }
    }
    value
}

/// A share in words: `0.4 %`. A few among very many are not none.
pub fn percent(part: u64, whole: u64) -> String {
    match 100.0 * ratio(part, whole).unwrap_or(0.0) {
        share if part > 0 && share < 0.05 => "less than 0.1 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}
