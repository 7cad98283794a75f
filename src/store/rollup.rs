//! Owns roll-ups: what is kept of the samples of one key over one span of time, the four spans, and
//! how a sample becomes a value of a measure.
//!
//! ```text
//! key     level 8 bits │ key id 24 bits │ start, in units of 10 s since the epoch 32 bits
//! value   count errors sum min (max - min) sketch          integers are varints
//! ```
//! The key's order puts the spans of one key behind one another, so a chart reads one stretch.

use std::collections::{BTreeMap, HashMap};

use super::bytes::{Damage, Read, Reader, put_varint};
use super::fields::micros;
use super::levels::unit_of;
use super::query::{Measure, Summary};
use super::sketch::{Sketch, rank_of};
use crate::model::{
    Access, CacheOutcome, ContractCall, End, Flow, HttpRequest, LabelKey, LabelMap, OTHER, Outcome,
    Part, Sample, TransactionStatus,
};

/// Ids below this one stand for all keys of a measure together.
const FIRST_ID: u32 = 16;
/// The most keys of one measure in a file, after which the key is `_OTHER`: the labels allow
/// contracts × functions, which a chart cannot show and memory should not hold.
const MOST_KEYS: usize = 4_096;
const CHAIN: &str = "chain";

pub(super) fn row_key(level: usize, id: u32, unit: u32) -> u64 {
    (level as u64) << 56 | u64::from(id) << 32 | u64::from(unit)
}

/// The id and the start of a row's key.
#[expect(clippy::cast_possible_truncation, reason = "the parts of a key are masked to their width")]
pub(super) const fn row_parts(key: u64) -> (u32, u32) {
    ((key >> 32) as u32 & 0xff_ffff, key as u32)
}

/// What is known of a set of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rollup {
    pub count: u64,
    errors: u64,
    sum: u64,
    min: u64,
    max: u64,
    sketch: Sketch,
}

impl Rollup {
    pub fn add(&mut self, value: u64, error: bool) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.errors += u64::from(error);
        self.sum = self.sum.saturating_add(value);
        self.sketch.add(value, 1);
    }

    fn merge_scalars(&mut self, count: u64, errors: u64, sum: u64, min: u64, max: u64) {
        self.min = if self.count == 0 { min } else { self.min.min(min) };
        self.max = self.max.max(max);
        self.count = self.count.saturating_add(count);
        self.errors = self.errors.saturating_add(errors);
        self.sum = self.sum.saturating_add(sum);
    }

    pub fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.merge_scalars(other.count, other.errors, other.sum, other.min, other.max);
            self.sketch.merge(&other.sketch);
        }
    }

    pub fn merge_encoded(&mut self, bytes: &[u8]) -> Read<()> {
        let mut reader = Reader(bytes);
        let (count, errors) = (reader.varint()?, reader.varint()?);
        let (sum, min) = (reader.varint()?, reader.varint()?);
        let max = min.checked_add(reader.varint()?).ok_or(Damage("a maximum"))?;
        if count > 0 {
            self.merge_scalars(count, errors, sum, min, max);
        }
        self.sketch.merge_encoded(&mut reader)?;
        reader.end()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_varint(&mut out, self.count);
        put_varint(&mut out, self.errors);
        put_varint(&mut out, self.sum);
        put_varint(&mut out, self.min);
        put_varint(&mut out, self.max - self.min);
        self.sketch.encode(&mut out);
        out
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum is told as a float")]
    pub fn summary(&self) -> Summary {
        let percentile =
            |quantile| self.sketch.at_rank(rank_of(self.count, quantile)).clamp(self.min, self.max);
        Summary {
            count: self.count,
            errors: self.errors,
            sum: self.sum as f64,
            min: self.min,
            max: self.max,
            p50: percentile(0.50),
            p95: percentile(0.95),
            p99: percentile(0.99),
        }
    }
}

/// Whether a request counts as failed: answered 5xx, or not at all for the upstream's fault. That one
/// of the others left, the client or the monitor, is no failure of it.
pub(super) fn request_failed(request: &HttpRequest) -> bool {
    let unanswered = matches!(request.end, End::UpstreamGone | End::Unreachable | End::TimedOut);
    let left = matches!(request.end, End::ClientGone | End::Stopped);
    request.status >= 500 || (request.status == 0 && !left) || unanswered
}

/// The texts that make a key; those that are not needed are empty.
type Parts = [&'static str; 3];

/// A value of a measure, and the parts of its key.
pub(super) struct Value {
    pub measure: Measure,
    parts: Parts,
    pub value: u64,
    pub error: bool,
}

impl Value {
    pub fn key(&self) -> String {
        key_text(self.measure, self.parts)
    }
}

fn key_text(measure: Measure, [first, second, third]: Parts) -> String {
    match measure {
        Measure::RequestDuration
        | Measure::RequestBytes
        | Measure::ResponseBytes
        | Measure::RequestCalls
        | Measure::RequestQueries
        | Measure::Uninspected => format!("{first} {second}"),
        Measure::CacheResult | Measure::RequestPart => format!("{first} {second} {third}"),
        Measure::GasUsed | Measure::Confirmation => format!("{first}.{second}"),
        Measure::ContractCall => format!("{first} {second}.{third}"),
        Measure::CallDuration | Measure::BlockInterval | Measure::BlockGas => first.to_owned(),
    }
}

/// Tells every value that a sample has.
pub(super) fn values_of(sample: &Sample, mut tell: impl FnMut(Value)) {
    match sample {
        Sample::Call(call) => {
            let (method, value) = (call.method.as_str(), micros(call.total));
            let error = call.outcome.is_failure();
            tell(Value { measure: Measure::CallDuration, parts: [method, "", ""], value, error });
            if let Some(ContractCall { contract, function }) = call.target {
                let access = Access::of(method).as_str();
                let parts = [access, contract.as_str(), function.as_str()];
                tell(Value { measure: Measure::ContractCall, parts, value, error });
            }
            if let Some(it) = call.detail.as_ref().and_then(|detail| detail.uninspected) {
                let (parts, value) = ([it.reason.as_str(), method, ""], u64::from(it.calls));
                let error = call.outcome == Outcome::Uninspected;
                tell(Value { measure: Measure::Uninspected, parts, value, error });
            }
        }
        Sample::Request(request) if request.flow == Flow::Response => {
            let (method, route) = (request.method.as_str(), request.route.as_str());
            let (parts, error) = ([method, route, ""], request_failed(request));
            let total = micros(request.total);
            for (measure, value) in [
                (Measure::RequestDuration, total),
                (Measure::RequestBytes, request.request_bytes),
                (Measure::ResponseBytes, request.response_bytes),
            ] {
                tell(Value { measure, parts, value, error });
            }
            if request.cache != CacheOutcome::Unknown {
                let parts = [method, route, request.cache.as_str()];
                tell(Value { measure: Measure::CacheResult, parts, value: total, error });
            }
        }
        Sample::Transaction(transaction) => {
            let parts = [transaction.contract.as_str(), transaction.function.as_str(), ""];
            let error = transaction.status == TransactionStatus::Reverted;
            if let Some(value) = transaction.gas_used {
                tell(Value { measure: Measure::GasUsed, parts, value, error });
            }
            if let Some(value) = transaction.confirmation.map(micros) {
                tell(Value { measure: Measure::Confirmation, parts, value, error });
            }
        }
        Sample::Block(block) => {
            let parts = [CHAIN, "", ""];
            if let Some(value) = block.interval.map(micros) {
                tell(Value { measure: Measure::BlockInterval, parts, value, error: false });
            }
            let value = block.gas_used;
            tell(Value { measure: Measure::BlockGas, parts, value, error: false });
        }
        Sample::Breakdown(breakdown) => {
            let (method, route) = (breakdown.method.as_str(), breakdown.route.as_str());
            let calls = breakdown.is_whole().then_some(breakdown.rpc_calls);
            let queries = breakdown.queries.filter(|_| breakdown.left_out == 0);
            for part in Part::ALL.into_iter().filter(|_| calls.is_some()) {
                let parts = [method, route, part.as_str()];
                let value = micros(breakdown.part(part));
                tell(Value { measure: Measure::RequestPart, parts, value, error: false });
            }
            let counts = [(Measure::RequestCalls, calls), (Measure::RequestQueries, queries)];
            for (measure, count) in counts {
                if let Some(value) = count.map(u64::from) {
                    tell(Value { measure, parts: [method, route, ""], value, error: false });
                }
            }
        }
        Sample::Request(_)
        | Sample::Host(_)
        | Sample::State(_)
        | Sample::Finding(_)
        | Sample::Operation(_)
        | Sample::Route(_)
        | Sample::Rollback(_) => {}
    }
}

/// The keys of a file and their ids.
#[derive(Default)]
pub(super) struct Keys {
    ids: BTreeMap<(Measure, String), u32>,
    /// The same by where the labels' parts lie, so that a sample costs neither formatting nor reading.
    parts: LabelMap<(Measure, [LabelKey; 3]), u32>,
    next: u32,
    /// Ids that no committed transaction has written yet.
    unwritten: Vec<(u32, Vec<u8>)>,
}

impl Keys {
    /// The id of all keys of a measure together.
    pub fn everything(measure: Measure) -> u32 {
        measure as u32
    }

    pub fn of(&self, measure: Measure, key: Option<&str>) -> Option<u32> {
        match key {
            None => Some(Self::everything(measure)),
            Some(key) => self.ids.get(&(measure, key.to_owned())).copied(),
        }
    }

    pub fn all(&self, measure: Measure) -> impl Iterator<Item = (&str, u32)> {
        let mine = move |(owner, _): &(Measure, String)| *owner == measure;
        self.ids.iter().filter(move |(key, _)| mine(key)).map(|((_, key), id)| (&key[..], *id))
    }

    /// Every id in use.
    pub fn ids(&self) -> Vec<u32> {
        let totals = Measure::ALL.into_iter().map(Self::everything);
        totals.chain(self.ids.values().copied()).collect()
    }

    pub fn id_of(&mut self, value: &Value) -> u32 {
        let parts = (value.measure, value.parts.map(LabelKey::from));
        if let Some(id) = self.parts.get(&parts) {
            return *id;
        }
        let id = self.assign(value.measure, value.key());
        if self.parts.len() < MOST_KEYS * Measure::ALL.len() {
            self.parts.insert(parts, id);
        }
        id
    }

    fn assign(&mut self, measure: Measure, mut key: String) -> u32 {
        let full = self.ids.len() >= MOST_KEYS && self.all(measure).count() >= MOST_KEYS - 1;
        if full && !self.ids.contains_key(&(measure, key.clone())) {
            key = OTHER.to_owned();
        }
        if let Some(id) = self.ids.get(&(measure, key.clone())) {
            return *id;
        }
        let id = self.next.max(FIRST_ID);
        self.next = id + 1;
        let mut row = vec![measure as u8];
        row.extend_from_slice(key.as_bytes());
        self.unwritten.push((id, row));
        self.ids.insert((measure, key), id);
        id
    }

    /// Takes over a row of the file's table of keys.
    pub fn load(&mut self, id: u32, row: &[u8]) -> Read<()> {
        let (measure, key) = row.split_first().ok_or(Damage("a measure"))?;
        let measure = *Measure::ALL.get(usize::from(*measure)).ok_or(Damage("a measure"))?;
        let key = std::str::from_utf8(key).map_err(|_| Damage("UTF-8"))?;
        self.next = self.next.max(id.saturating_add(1));
        self.ids.insert((measure, key.to_owned()), id);
        Ok(())
    }

    /// Takes over every key of another file; the pairs of its ids and those here.
    pub fn adopt(&mut self, other: &Self) -> Vec<(u32, u32)> {
        let totals = Measure::ALL.map(|m| (Self::everything(m), Self::everything(m)));
        let keys = other.ids.iter();
        let named = keys.map(|((measure, key), id)| (*id, self.assign(*measure, key.clone())));
        totals.into_iter().chain(named).collect()
    }

    pub fn take_unwritten(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.unwritten)
    }
}

/// Roll-ups of ten seconds that are not written yet, by start and id.
pub(super) type Open = BTreeMap<u32, HashMap<u32, Rollup>>;

/// Adds samples to roll-ups. Samples come in order of time, nearly, so the last span is kept at
/// hand.
pub(super) fn roll<'a>(samples: impl Iterator<Item = &'a Sample>, keys: &mut Keys) -> Open {
    let mut open = Open::new();
    let mut current: Option<(u32, Vec<Option<Box<Rollup>>>)> = None;
    for sample in samples {
        let unit = unit_of(sample.at().0);
        values_of(sample, |value| {
            let id = keys.id_of(&value);
            let slot = id as usize;
            if current.as_ref().is_none_or(|(held, _)| *held != unit) {
                if let Some((unit, slots)) = current.take() {
                    put_away(&mut open, unit, slots);
                }
                current = Some((unit, Vec::new()));
            }
            let Some((_, slots)) = &mut current else { return };
            if slots.len() <= slot {
                slots.resize_with(slot + 1, || None);
            }
            slots[slot].get_or_insert_default().add(value.value, value.error);
        });
    }
    if let Some((unit, slots)) = current {
        put_away(&mut open, unit, slots);
    }
    // All keys together, merged once for a batch rather than counted twice for each sample.
    let owner: HashMap<u32, Measure> =
        keys.ids.iter().map(|((measure, _), id)| (*id, *measure)).collect();
    for rollups in open.values_mut() {
        let mut totals: HashMap<u32, Rollup> = HashMap::new();
        for (id, rollup) in &*rollups {
            if let Some(measure) = owner.get(id) {
                totals.entry(Keys::everything(*measure)).or_default().merge(rollup);
            }
        }
        rollups.extend(totals);
    }
    open
}

fn put_away(open: &mut Open, unit: u32, slots: Vec<Option<Box<Rollup>>>) {
    let rollups = open.entry(unit).or_default();
    for (id, rollup) in slots.into_iter().enumerate() {
        if let Some(rollup) = rollup {
            let id = u32::try_from(id).expect("an id has 24 bits; qed");
            rollups.entry(id).or_default().merge(&rollup);
        }
    }
}

pub(super) fn merge_open(into: &mut Open, from: Open) {
    for (unit, rollups) in from {
        let held = into.entry(unit).or_default();
        for (id, rollup) in rollups {
            held.entry(id).or_default().merge(&rollup);
        }
    }
}
