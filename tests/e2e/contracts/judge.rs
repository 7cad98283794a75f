//! Compares what dappscope tells with the session's book, and collects every difference: a run takes
//! long, and is to say all that is wrong.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::harness::{Dappscope, call};
use crate::nodes::Kind;

/// How long what is expected may take to be told: transactions that a node forgot are looked for
/// now and then only, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How far a confirmation time may be from what the client measured, in microseconds.
const CONFIRMATION_SLACK_US: i64 = 50_000;
/// For how long a client that polls every 10 ms does not know at least, in microseconds.
const POLL_US: i64 = 20_000;

pub struct Judge<'a> {
    scope: &'a Dappscope,
    differences: Vec<String>,
}

impl<'a> Judge<'a> {
    pub fn of(scope: &'a Dappscope) -> Self {
        Self { scope, differences: Vec::new() }
    }

    /// Ends the test if anything differed.
    pub fn done(self, kind: Kind) {
        let all = self.differences;
        assert!(all.is_empty(), "{} differences on {kind:?}:\n{}", all.len(), all.join("\n"));
    }

    pub fn equal(&mut self, what: &str, told: &Value, expected: &Value) {
        if !same(told, expected) {
            self.differences.push(format!("{what}: expected {expected}, told {told}"));
        }
    }

    /// Every transaction of these parts is told exactly once, as it was, and no other one. The first
    /// part went by before dappscope was there: it may be told or not.
    pub fn transactions(&mut self, parts: &[&Value]) {
        let expected: Vec<&Value> =
            parts[1..].iter().flat_map(|p| items(&p["transactions"])).collect();
        let Some(told) = self.listed("transactions", |told| {
            expected.iter().all(|one| told.iter().any(|other| is_that(other, one)))
        }) else {
            return;
        };
        // What an earlier comparison has complained of need not be said again.
        let newest = items(&parts[parts.len() - 1]["transactions"]);
        for one in newest {
            let found: Vec<&Value> = told.iter().filter(|other| is_that(other, one)).collect();
            match found[..] {
                [found] => self.compare("transaction", found, one),
                _ => {
                    self.differences.push(format!("transaction told {} times: {one}", found.len()));
                }
            }
        }
        let early: Vec<&Value> = items(&parts[0]["transactions"]).collect();
        let unexpected = told
            .iter()
            .filter(|other| !expected.iter().chain(&early).any(|one| is_that(other, one)));
        self.differences
            .extend(unexpected.map(|other| format!("transaction that was not: {other}")));
    }

    /// Every call of this part is told with its names, its reason and what came of its inner calls.
    pub fn calls(&mut self, part: &Value) {
        let Some(told) = self.listed("calls", |_| true) else { return };
        for one in items(&part["calls"]) {
            let fits = |other: &&Value| differences(other, one).is_empty();
            if told.iter().any(|other| fits(&other)) {
                continue;
            }
            // The one that comes closest shows what is wrong.
            let nearest = told
                .iter()
                .filter(|other| other["method"] == one["method"])
                .min_by_key(|other| differences(other, one).len());
            self.differences.push(format!("call {one}\n    nearest {}", json!(nearest)));
        }
    }

    /// The counters of the scrape say what the lists say.
    pub fn counters(&mut self, part: &Value) {
        let Some(told) = self.listed("transactions", |_| true) else { return };
        let metrics = self.scope.settled();
        let mut differ = |what: String, counted: f64, expected: f64| {
            if (counted - expected).abs() > 0.5 {
                self.differences.push(format!("{what}: counted {counted}, expected {expected}"));
            }
        };
        for status in ["success", "reverted", "rejected", "replaced", "dropped"] {
            let listed = told.iter().filter(|one| one["status"] == status).count();
            let counted = metrics.sum("evm_transactions_total", &[("status", status)]);
            differ(format!("transactions {status}"), counted, to_f64(listed));
        }
        let booked = || items(&part["transactions"]);
        let lists =
            booked().filter(|one| one["contract"] == "Marketplace" && one["function"] == "list");
        let gas = lists.filter_map(|one| one["gas_used"].as_f64()).sum();
        let labels = [("contract", "Marketplace"), ("function", "list")];
        let counted = metrics.sum("evm_transaction_gas_used_sum", &labels);
        differ("gas of Marketplace.list".to_owned(), counted, gas);
        let setbacks = metrics.sum("evm_chain_setbacks_total", &[("cause", "evm_revert")]);
        differ("evm_revert".to_owned(), setbacks, 1.0);
    }

    /// Confirmation times under interval mining are those that the client measured by polling.
    pub fn confirmations(&mut self, part: &Value) {
        let Some(told) = self.listed("transactions", |_| true) else { return };
        for one in items(&part["confirmed"]) {
            let found = told.iter().find(|other| other["hash"] == one["hash"]);
            let measured = one["measured_us"].as_i64().unwrap();
            // A client that was held up measured late.
            let late = (one["unsure_us"].as_i64().unwrap() - POLL_US).max(0);
            // A machine that was late for the client may be so for dappscope, which hears of a block
            // and then asks for its receipts.
            let heard_late = 2 * one["late_us"].as_i64().unwrap();
            let confirmation = found.and_then(|found| found["confirmation_us"].as_i64());
            if confirmation.is_none_or(|us| {
                us > measured + CONFIRMATION_SLACK_US + heard_late
                    || us < measured - late - CONFIRMATION_SLACK_US
            }) {
                self.differences.push(format!("confirmation of {one}: told {confirmation:?}"));
            }
        }
    }

    /// State changes are those that the node's storage shows before and after.
    pub fn states(&mut self, part: &Value) {
        let expected: Vec<&Value> = items(&part["states"]).collect();
        let of = |told: &'_ [Value], one: &Value| {
            told.iter().find(|other| other["transaction"] == one["transaction"]).cloned()
        };
        let Some(told) =
            self.listed("states", |told| expected.iter().all(|one| of(told, one).is_some()))
        else {
            return;
        };
        for one in expected {
            match of(&told, one) {
                Some(found) => self.compare("state change", &found, one),
                None => self.differences.push(format!("state change not told: {one}")),
            }
        }
    }

    /// Every block of the chain as it is in the end is told.
    pub fn blocks(&mut self, part: &Value) {
        let expected: Vec<&Value> = items(&part["blocks"]).collect();
        let Some(told) = self.listed("blocks", |told| {
            expected.iter().all(|one| told.iter().any(|other| other["number"] == one["number"]))
        }) else {
            return;
        };
        for one in expected {
            if !told.iter().any(|other| differences(other, one).is_empty()) {
                // One that was undone has the same number.
                let found = told.iter().find(|other| other["number"] == one["number"]);
                self.differences.push(format!("block {one}: told {}", json!(found)));
            }
        }
    }

    /// Each finding is listed with the process that caused it. The session keeps its connections open for seconds,
    /// so its process has to be known.
    pub fn findings(&mut self, part: &Value) {
        let expected: Vec<Value> = items(&part["findings"])
            .map(|one| {
                let mut one = one.clone();
                one["user_agent"] = part["user_agent"].clone();
                one
            })
            .collect();
        let fits = |other: &Value, one: &Value| differences(other, one).is_empty();
        let Some(mut told) = self.listed("findings", |told| {
            expected.iter().all(|one| told.iter().any(|other| fits(other, one)))
        }) else {
            return;
        };
        let process = part["pid"].to_string();
        for one in expected {
            let Some(at) = told.iter().position(|other| fits(other, &one)) else {
                let near = told.iter().filter(|other| other["finding"] == one["finding"]);
                let near: Vec<&Value> = near.collect();
                self.differences.push(format!("finding {one}\n    told {}", json!(near)));
                continue;
            };
            let found = told.swap_remove(at);
            let is_it = found["process"].as_str().is_some_and(|text| text.contains(&process));
            if !is_it || !found["process_unknown"].is_null() {
                self.differences
                    .push(format!("finding of another process than {process}: {found}"));
            }
        }
    }

    fn compare(&mut self, what: &str, told: &Value, expected: &Value) {
        let wrong = differences(told, expected);
        if !wrong.is_empty() {
            let name = format!("{}.{}", expected["contract"], expected["function"]);
            let hash = expected["hash"].as_str().or(expected["transaction"].as_str());
            let line = format!("{what} {name} {}: {}", hash.unwrap_or("-"), wrong.join("; "));
            self.differences.push(line);
        }
    }

    /// All items that a method of the API lists, once they are `complete` or patience has ended;
    /// none when it does not answer, which is a difference of its own.
    fn listed(&mut self, name: &str, complete: impl Fn(&[Value]) -> bool) -> Option<Vec<Value>> {
        let begun = Instant::now();
        loop {
            match self.list(name) {
                Ok(told) if complete(&told) || begun.elapsed() > PATIENCE => return Some(told),
                Ok(_) => std::thread::sleep(Duration::from_millis(200)),
                Err(error) => {
                    self.differences.push(format!("dappscope_{name}: {error}"));
                    return None;
                }
            }
        }
    }

    fn list(&self, name: &str) -> Result<Vec<Value>, String> {
        // Once everything that was seen is stored, it can be asked for.
        self.scope.settled();
        let mut all = Vec::new();
        let mut before = Value::Null;
        loop {
            let mut params = json!({"last": "1d", "limit": 1000});
            if !before.is_null() {
                params["before"] = before;
            }
            let method = format!("dappscope_{name}");
            let answer = call(self.scope.page, "/rpc", &method, &json!([params]));
            if !answer["error"].is_null() {
                return Err(answer["error"].to_string());
            }
            all.extend(items(&answer["result"][name]).cloned());
            before = answer["result"]["next"].clone();
            if before.is_null() {
                return Ok(all);
            }
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Whether a told transaction is the booked one. One that a node refused has no hash for its client.
fn is_that(told: &Value, booked: &Value) -> bool {
    let keys: &[&str] = if booked["hash"].is_null() { &["status", "reason"] } else { &["hash"] };
    keys.iter().all(|key| told[*key] == booked[*key])
}

/// In what an item differs from what is expected of it. What is not expected may be anything.
fn differences(told: &Value, expected: &Value) -> Vec<String> {
    let none = Map::new();
    let expected = expected.as_object().unwrap_or(&none);
    let fits = |key: &str, value: &Value| match key {
        "message_says" => {
            let message = told["message"].as_str().unwrap_or_default().to_lowercase();
            message.contains(value.as_str().unwrap_or_default())
        }
        "hash" if value.is_null() => true,
        "fee_eth" => near(&told[key], value),
        // The last poll was answered after the block was seen.
        "count" if told["finding"] == "receipt_polling" => {
            let (told, polls) = (told[key].as_i64(), value.as_i64());
            told.zip(polls).is_some_and(|(told, polls)| (polls - 1..=polls).contains(&told))
        }
        "events" | "slots" => each(&told[key], value, false),
        "inner" => each(&told[key], value, true),
        _ => same(&told[key], value),
    };
    let wrong = expected.iter().filter(|(key, value)| !fits(key, value));
    wrong.map(|(key, value)| format!("{key} {} in the place of {value}", told[key])).collect()
}

/// Whether two lists agree item by item; `ordered`, or in any order.
fn each(told: &Value, expected: &Value, ordered: bool) -> bool {
    let told: Vec<&Value> = items(told).collect();
    let expected: Vec<&Value> = items(expected).collect();
    let fits = |told: &Value, expected: &Value| differences(told, expected).is_empty();
    told.len() == expected.len()
        && expected.iter().enumerate().all(|(at, one)| {
            if ordered { fits(told[at], one) } else { told.iter().any(|other| fits(other, one)) }
        })
}

/// Whether two values are the same; what is absent is null, and addresses may be written in either
/// way.
fn same(told: &Value, expected: &Value) -> bool {
    match (told, expected) {
        (Value::String(told), Value::String(expected)) if expected.contains("0x") => {
            told.eq_ignore_ascii_case(expected)
        }
        (Value::Number(_) | Value::String(_), Value::Number(_)) => {
            number(told).is_some() && number(told) == number(expected)
        }
        _ => told == expected,
    }
}

fn near(told: &Value, expected: &Value) -> bool {
    number(told).zip(number(expected)).is_some_and(|(a, b)| (a - b).abs() <= b.abs() * 1e-9)
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// A number, or one written as text, as those are that may be too large for JSON.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
