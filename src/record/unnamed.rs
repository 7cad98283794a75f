//! What calls touch, by name; and the calls whose names take code that was asked for and is on its
//! way.
//!
//! A contract that was deployed before anybody watched is named by its code, which the first call
//! to it has asked for. That call waits for it here, for a moment.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::{Address, Bytes, hex};

use super::findings::Subject;
use crate::decode::contracts::Contracts;
use crate::decode::multicall::{self, Inner, InnerResult};
use crate::decode::revert::RevertInfo;
use crate::decode::simulation;
use crate::model::{
    CallDetail, ChainQuestion, ContractCall, FunctionName, InnerCall, Interval, Method, RpcCall,
    Stamp, UNKNOWN,
};

/// How long a call waits for a name: as long as a mined transaction.
const PATIENCE: Duration = Duration::from_secs(1);
/// Calls that wait, at most; further ones go without a name.
const MOST: usize = 4_096;
/// What of an input names its function, in bytes.
const SELECTOR: usize = 4;
/// Bytes of revert data that are kept while a call waits.
const MOST_DATA: usize = 4_096;
/// Bytes of an answer that are looked into for what a multicall returned.
const LARGEST_ANSWER: usize = 1 << 20;

/// What a call touches.
pub(super) enum Touched {
    /// A function of the contract at an address.
    Function { to: Address, input: Vec<u8> },
    /// The creation of a contract, whose name is in the code that is not kept.
    Creation(ContractCall),
    /// Several functions, called one after the other by a simulation.
    Calls(Vec<Inner>),
    /// An account's state, by a method of the node; no account where several are named.
    State { account: Option<Address>, method: Method },
}

impl Touched {
    /// The same, for findings.
    pub(super) fn subject(&self) -> Option<Subject> {
        match self {
            Self::Function { to, input } => {
                Some(Subject::Function(*to, input.first_chunk().copied()))
            }
            Self::Calls(calls) => match &calls[..] {
                [only] => Some(Subject::Function(only.to, only.input.first_chunk().copied())),
                _ => None,
            },
            Self::Creation(_) => None,
            Self::State { account, .. } => account.map(Subject::State),
        }
    }
}

/// A call and what its names are made of.
pub(super) struct Unnamed {
    pub(super) call: RpcCall,
    /// When the node ran it: it goes by what was at its addresses then.
    at: Interval,
    touched: Touched,
    /// Few have one.
    failure: Option<Box<RevertInfo>>,
    inner: Vec<Inner>,
    results: Vec<InnerResult>,
}

/// Calls by the address whose code they wait for, each with the time at which it waits no longer.
#[derive(Default)]
pub(super) struct WaitingForNames {
    calls: HashMap<Address, Vec<(Stamp, Unnamed)>>,
    count: usize,
}

impl Unnamed {
    /// `answer` is the result's JSON, where there is one.
    pub(super) fn new(
        call: RpcCall,
        at: Interval,
        touched: Touched,
        failure: Option<RevertInfo>,
        answer: Option<&[u8]>,
    ) -> Self {
        let failure = failure.map(Box::new);
        let (inner, results) = (Vec::new(), Vec::new());
        let mut unnamed = Self { call, at, touched, failure, inner, results };
        if let Touched::Function { input, .. } = &mut unnamed.touched {
            if let Some(selector) = input.first_chunk().copied()
                && let Some(inner) = multicall::open(input)
            {
                unnamed.inner = inner;
                let returned = answer.and_then(returned);
                let results = returned.and_then(|it| multicall::results(selector, &it));
                unnamed.results = results.unwrap_or_default();
                unnamed.results.iter_mut().for_each(shorten);
            }
            input.truncate(SELECTOR);
        }
        if let Touched::Calls(calls) = &mut unnamed.touched {
            unnamed.inner = std::mem::take(calls);
            unnamed.results = answer.and_then(simulation::results).unwrap_or_default();
            unnamed.results.iter_mut().for_each(shorten);
        }
        if let Some(data) = unnamed.failure.as_mut().and_then(|failure| failure.data.as_mut()) {
            *data = Bytes::copy_from_slice(&data[..data.len().min(MOST_DATA)]);
        }
        unnamed
    }

    /// Whose code has to be known for this call's names, next.
    pub(super) fn missing(&self, contracts: &Contracts) -> Option<Address> {
        let touched = match &self.touched {
            Touched::Function { to, input } => Some((*to, !input.is_empty())),
            Touched::Creation(_) | Touched::Calls(_) => None,
            Touched::State { account, .. } => account.map(|account| (account, false)),
        };
        let inner = self.inner.iter().map(|inner| (inner.to, !inner.input.is_empty()));
        let mut all = touched.into_iter().chain(inner);
        all.find_map(|(address, with_input)| {
            contracts.missing_at(address, with_input, Some(self.at))
        })
    }

    /// The call with the names that can be given.
    pub(super) fn name(self, contracts: &mut Contracts) -> RpcCall {
        let Self { mut call, at, touched, failure, mut inner, results } = self;
        let at = Some(at);
        let mut detail = call.detail.take().map(|detail| *detail).unwrap_or_default();
        let to = match touched {
            Touched::Function { to, input } => {
                let target = contracts.target_at(Some(to), &input, at);
                detail.delegation = contracts.delegation(to, at);
                detail.selector = unnamed_selector(target, &input);
                call.target = Some(target);
                Some(to)
            }
            Touched::Creation(target) => {
                call.target = Some(target);
                None
            }
            Touched::State { account, method } => {
                let function = FunctionName::known(method.as_str());
                call.target = account.map(|account| ContractCall {
                    contract: contracts.contract_at(account, at),
                    function,
                });
                None
            }
            Touched::Calls(_) => {
                // One call alone is what the whole is.
                if let [only] = &inner[..] {
                    let target = contracts.target_at(Some(only.to), &only.input, at);
                    detail.selector = unnamed_selector(target, &only.input);
                    detail.delegation = contracts.delegation(only.to, at);
                    let failed = results.first().filter(|result| !result.success);
                    detail.reason =
                        failed.map(|result| contracts.reason(Some(only.to), &result.data));
                    call.target = Some(target);
                    inner.clear();
                }
                None
            }
        };
        if let Some(failure) = failure {
            let data = failure.data.as_ref().filter(|data| !data.is_empty());
            detail.reason = Some(match data {
                Some(data) => contracts.reason(to, data),
                None => failure.kind.reason(),
            });
            detail.message = match data {
                Some(data) => contracts.revert_message(to, data).map(Into::into),
                None if failure.words.is_empty() => None,
                None => Some(failure.words),
            };
        }
        detail.inner = opened(&inner, &results, contracts, at);
        call.detail = (detail != CallDetail::default()).then(|| Box::new(detail));
        call
    }
}

/// The calls of a multicall, by name.
pub(super) fn opened(
    inner: &[Inner],
    results: &[InnerResult],
    contracts: &mut Contracts,
    at: Option<Interval>,
) -> Box<[InnerCall]> {
    let results = results.iter().map(Some).chain(std::iter::repeat(None));
    inner
        .iter()
        .zip(results)
        .map(|(inner, result)| {
            let target = contracts.target_at(Some(inner.to), &inner.input, at);
            InnerCall {
                target,
                selector: unnamed_selector(target, &inner.input),
                success: result.map(|result| result.success),
                reason: result
                    .filter(|result| !result.success)
                    .map(|result| contracts.reason(Some(inner.to), &result.data)),
            }
        })
        .collect()
}

/// The selector, where it has to stand for a name.
fn unnamed_selector(target: ContractCall, input: &[u8]) -> Option<[u8; 4]> {
    input.first_chunk().copied().filter(|_| target.function.as_str() == UNKNOWN)
}

/// Keeps what tells why a call failed.
fn shorten(result: &mut InnerResult) {
    let kept = if result.success { 0 } else { result.data.len().min(MOST_DATA) };
    result.data = Bytes::copy_from_slice(&result.data[..kept]);
}

/// The bytes that a call returned.
fn returned(answer: &[u8]) -> Option<Bytes> {
    if answer.len() > LARGEST_ANSWER {
        return None;
    }
    let text: &str = serde_json::from_slice(answer).ok()?;
    hex::decode(text).ok().map(Into::into)
}

impl WaitingForNames {
    /// Has a call wait for the code at an address; gives it back when there is no room.
    pub(super) fn put(&mut self, address: Address, call: Unnamed, now: Stamp) -> Option<Unnamed> {
        self.put_until(address, call, now.after(PATIENCE))
    }

    fn put_until(&mut self, address: Address, call: Unnamed, until: Stamp) -> Option<Unnamed> {
        if self.count >= MOST {
            return Some(call);
        }
        self.count += 1;
        self.calls.entry(address).or_default().push((until, call));
        None
    }

    /// The code at an address is known: gives the calls that have all their names now. The others
    /// go on waiting, and what they wait for is put to `wanted`.
    pub(super) fn learned(
        &mut self,
        address: Address,
        contracts: &Contracts,
        wanted: &mut Vec<ChainQuestion>,
    ) -> Vec<Unnamed> {
        let waited = self.calls.remove(&address).unwrap_or_default();
        self.count -= waited.len();
        let mut named = Vec::new();
        for (until, call) in waited {
            match call.missing(contracts) {
                Some(next) => {
                    wanted.push(ChainQuestion::Code(next));
                    named.extend(self.put_until(next, call, until));
                }
                None => named.push(call),
            }
        }
        named
    }

    /// The addresses whose code is waited for.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.calls.keys().copied()
    }

    /// Takes out those that have waited long enough.
    pub(super) fn take_due(&mut self, now: Stamp) -> Vec<Unnamed> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut due = Vec::new();
        for waiting in self.calls.values_mut() {
            due.extend(waiting.extract_if(.., |(until, _)| *until <= now).map(|(_, call)| call));
        }
        self.calls.retain(|_, waiting| !waiting.is_empty());
        self.count -= due.len();
        due
    }

    /// Takes out all.
    pub(super) fn take_all(&mut self) -> Vec<Unnamed> {
        self.count = 0;
        std::mem::take(&mut self.calls).into_values().flatten().map(|(_, call)| call).collect()
    }
}
