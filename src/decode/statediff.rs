//! What a transaction changed in the chain's storage, from a node's trace of it.
//!
//! Reads the answers to `debug_traceTransaction`: of `prestateTracer` in diff mode, which tells it
//! outright, and default struct logs, where it is found by following the storage instructions. Both
//! are read as a stream: struct logs reach tens of megabytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use alloy::primitives::{Address, B256, U256};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::TracedSlot;

/// A slot that a transaction wrote, as far as its struct logs tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenSlot {
    pub address: Address,
    pub slot: B256,
    /// None when it was not read before it was written.
    pub before: Option<B256>,
    pub after: B256,
}

/// The slots that changed, by address and slot, and how many accounts did, by the answer of
/// `prestateTracer` in diff mode.
///
/// # Errors
/// It is no such answer.
pub fn prestate_diff(json: &str) -> Result<(Vec<TracedSlot>, u32), serde_json::Error> {
    let Diff { pre, post } = serde_json::from_str(json)?;
    let (mut slots, mut accounts) = (Vec::new(), 0);
    let addresses: HashSet<&Address> = pre.keys().chain(post.keys()).collect();
    for address in addresses {
        let (before, after) = (pre.get(address), post.get(address));
        let told = slots.len();
        // What is zero is left out: a slot on one side only was created or cleared.
        let value = |side: Option<&Account<'_>>, slot| {
            side.and_then(|account| account.storage.get(slot)).copied().unwrap_or_default()
        };
        let sides = [before, after].into_iter().flatten();
        let written: HashSet<&U256> = sides.flat_map(|account| account.storage.keys()).collect();
        for slot in written {
            let (before, after) = (value(before, slot).into(), value(after, slot).into());
            if before != after {
                slots.push(TracedSlot { address: *address, slot: (*slot).into(), before, after });
            }
        }
        let changed = match (before, after) {
            (Some(before), Some(after)) => before.differs(after),
            // Created, or destroyed.
            _ => true,
        };
        accounts += u32::from(changed || slots.len() > told);
    }
    slots.sort_unstable_by_key(|slot| (slot.address, slot.slot));
    Ok((slots, accounts))
}

/// The slots that were written and do not have the value they were read with, by address and slot,
/// by the struct logs of a transaction to `address`, or one that `created` it.
///
/// # Errors
/// These are no struct logs, or some without the stack.
pub fn struct_logs(
    json: &str,
    address: Address,
    created: bool,
) -> Result<Vec<WrittenSlot>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let machine = Machine::new(address, created);
    let written = deserializer.deserialize_map(StructLogs(machine))?;
    deserializer.end()?;
    Ok(written)
}

#[derive(Deserialize)]
struct Diff<'a> {
    #[serde(borrow)]
    pre: HashMap<Address, Account<'a>>,
    #[serde(borrow)]
    post: HashMap<Address, Account<'a>>,
}

#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    balance: Option<&'a RawValue>,
    #[serde(borrow)]
    nonce: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(default)]
    storage: HashMap<U256, U256>,
}

impl Account<'_> {
    /// Whether balance, nonce or code is another one `after`, which holds what changed.
    fn differs(&self, after: &Self) -> bool {
        let fields = |account: &Self| {
            [account.balance, account.nonce, account.code].map(|field| field.map(RawValue::get))
        };
        let changed =
            |(before, after): (&Option<&str>, &Option<&str>)| after.is_some() && before != after;
        fields(self).iter().zip(&fields(after)).any(changed)
    }
}

/// An account's storage: of one whose address is not known before its constructor has ended, the
/// number of its creation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Storage {
    Of(Address),
    Created(usize),
}

type Place = (Storage, B256);

/// A call that is being executed.
struct Frame {
    storage: Storage,
    /// Writes before it began.
    writes: usize,
}

/// What the step before leads to.
enum Next {
    /// The value of this slot on the stack.
    Loaded(Place),
    /// A call's first step.
    Entered(Storage),
}

/// Follows storage through the calls of a transaction.
struct Machine {
    /// The calls that are being executed; never empty.
    frames: Vec<Frame>,
    next: Option<Next>,
    writes: Vec<(Place, B256)>,
    /// Places by how many of `writes` are theirs.
    written: HashMap<Place, usize>,
    /// What was there before the transaction, where that was seen.
    before: HashMap<Place, B256>,
    /// The addresses of what was created, by the number of the creation.
    created: Vec<Option<Address>>,
    /// The transaction itself creates the account.
    root_is_new: bool,
}

/// An instruction that is about to be executed.
#[derive(Deserialize)]
struct Step<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    depth: usize,
    #[serde(borrow, default)]
    stack: Top<'a>,
}

/// The two topmost words of a stack, the topmost first.
#[derive(Default)]
struct Top<'a>([Option<&'a str>; 2]);

impl Top<'_> {
    fn word(&self, place: usize) -> Option<U256> {
        let digits = self.0[place]?;
        U256::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
    }
}

impl Machine {
    fn new(address: Address, created: bool) -> Self {
        Self {
            frames: vec![Frame { storage: Storage::Of(address), writes: 0 }],
            next: None,
            writes: Vec::new(),
            written: HashMap::new(),
            before: HashMap::new(),
            created: Vec::new(),
            root_is_new: created,
        }
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), &'static str> {
        let word = |place| step.stack.word(place).ok_or("expected a stack of hexadecimal words");
        let next = self.next.take();
        match step.depth.cmp(&self.frames.len()) {
            std::cmp::Ordering::Less => self.returned(step.depth, word(0)?)?,
            std::cmp::Ordering::Equal => {
                if let Some(Next::Loaded(place)) = next {
                    let value = word(0)?.into();
                    if !self.written.contains_key(&place) {
                        self.before.entry(place).or_insert(value);
                    }
                }
            }
            std::cmp::Ordering::Greater => {
                let Some(Next::Entered(storage)) = next else {
                    return Err("expected a call before the depth grows");
                };
                if step.depth != self.frames.len() + 1 {
                    return Err("expected the depth to grow by one");
                }
                self.frames.push(Frame { storage, writes: self.writes.len() });
            }
        }
        let Some(Frame { storage, .. }) = self.frames.last() else {
            return Err("expected a depth of at least 1");
        };
        let storage = *storage;
        self.next = match &*step.op {
            "SLOAD" => Some(Next::Loaded((storage, word(0)?.into()))),
            "SSTORE" => {
                let place = (storage, word(0)?.into());
                self.writes.push((place, word(1)?.into()));
                *self.written.entry(place).or_default() += 1;
                None
            }
            "CALL" | "STATICCALL" => {
                let address = Address::from_word(word(1)?.into());
                Some(Next::Entered(Storage::Of(address)))
            }
            "CALLCODE" | "DELEGATECALL" => Some(Next::Entered(storage)),
            "CREATE" | "CREATE2" => {
                self.created.push(None);
                Some(Next::Entered(Storage::Created(self.created.len() - 1)))
            }
            _ => None,
        };
        Ok(())
    }

    /// Calls ended, down to this depth; of the outermost of them the caller has the result: zero
    /// when it failed, else 1 or the address of what was created.
    fn returned(&mut self, depth: usize, result: U256) -> Result<(), &'static str> {
        if depth == 0 {
            return Err("expected a depth of at least 1");
        }
        let ended = &self.frames[depth];
        if result.is_zero() {
            for (place, _) in self.writes.drain(ended.writes..) {
                if let Some(count) = self.written.get_mut(&place) {
                    *count -= 1;
                    if *count == 0 {
                        self.written.remove(&place);
                    }
                }
            }
        } else if let Storage::Created(number) = ended.storage
            // A constructor's delegate calls return 1, as calls do.
            && self.frames[depth - 1].storage != ended.storage
        {
            self.created[number] = Some(Address::from_word(result.into()));
        }
        self.frames.truncate(depth);
        Ok(())
    }

    fn finish(mut self) -> Vec<WrittenSlot> {
        let mut new: HashSet<Address> = self.created.iter().copied().flatten().collect();
        if let (true, Some(Frame { storage: Storage::Of(root), .. })) =
            (self.root_is_new, self.frames.first())
        {
            new.insert(*root);
        }
        let mut last = BTreeMap::new();
        for ((storage, slot), after) in self.writes.drain(..) {
            let address = match storage {
                Storage::Of(address) => Some(address),
                Storage::Created(number) => self.created[number],
            };
            if let Some(address) = address {
                last.insert((address, slot), after);
            }
        }
        let written = |((address, slot), after)| {
            let before = if new.contains(&address) {
                Some(B256::ZERO)
            } else {
                self.before.get(&(Storage::Of(address), slot)).copied()
            };
            (before != Some(after)).then_some(WrittenSlot { address, slot, before, after })
        };
        last.into_iter().filter_map(written).collect()
    }
}

/// The whole answer.
struct StructLogs(Machine);

impl<'de> Visitor<'de> for StructLogs {
    type Value = Vec<WrittenSlot>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with struct logs")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut failed, mut found) = (false, false);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "structLogs" => {
                    map.next_value_seed(Steps(&mut self.0))?;
                    found = true;
                }
                "failed" => failed = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (found, failed) {
            (false, _) => Err(A::Error::missing_field("structLogs")),
            // A transaction that reverted has changed no storage.
            (true, true) => Ok(Vec::new()),
            (true, false) => Ok(self.0.finish()),
        }
    }
}

/// The steps, none of which is kept.
struct Steps<'m>(&'m mut Machine);

impl<'de> DeserializeSeed<'de> for Steps<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Steps<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct logs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(step) = seq.next_element::<Step<'de>>()? {
            self.0.step(&step).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stack of words")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Top<'de>, A::Error> {
        let mut top = [None, None];
        while let Some(word) = seq.next_element::<&'de str>()? {
            top = [Some(word), top[0]];
        }
        Ok(Top(top))
    }
}

#[cfg(test)]
mod tests;
