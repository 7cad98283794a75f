//! What is at which address, and which contract stands behind a proxy. Knows contracts by their
//! index only.

use std::collections::{HashMap, VecDeque};

use alloy::primitives::{Address, B256};

use super::interfaces::Interface;
use super::proxies::is_upgrade;

/// Addresses that are remembered; the oldest are forgotten first, and looked up again when met.
pub(super) const MOST_ADDRESSES: usize = 100_000;
/// How many proxies are followed one behind the other: also what ends a circle.
const MOST_BEHIND: usize = 4;

/// What an address's own code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The contract of this index.
    Contract(usize),
    /// Code that fits no artifact and has the functions of a well-known interface.
    Interface(Interface),
    /// Code that fits nothing.
    Stranger,
    /// No code.
    Account,
}

impl Code {
    /// Whether it has a name to go by.
    pub(super) fn is_named(self) -> bool {
        matches!(self, Self::Contract(_) | Self::Interface(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    pub code: Code,
    /// The contract that it passes calls on to.
    pub behind: Option<Address>,
    /// Whether the node was asked: a proxy that was told by its creation, or was upgraded since,
    /// stands in front of nobody knows what.
    pub is_settled: bool,
}

/// By address what is there.
#[derive(Default)]
pub(super) struct Residents {
    found: HashMap<Address, Found>,
    /// The addresses in `found`, oldest first.
    order: VecDeque<Address>,
    /// Whether anybody stands in front of another. A transaction can emit thousands of upgrades, and
    /// only the first one is to look through all addresses.
    has_proxies: bool,
    /// How often the chain was set back.
    setbacks: u32,
}

struct Found {
    resident: Resident,
    /// How often the chain had been set back when it was found.
    setbacks: u32,
}

impl Residents {
    pub(super) fn put(&mut self, address: Address, resident: Resident) {
        self.has_proxies |= resident.behind.is_some();
        let found = Found { resident, setbacks: self.setbacks };
        if self.found.insert(address, found).is_none() {
            self.order.push_back(address);
        }
        while self.order.len() > MOST_ADDRESSES {
            if let Some(oldest) = self.order.pop_front() {
                self.found.remove(&oldest);
            }
        }
    }

    /// The code at an address, the code behind that, and so on, as far as it is known.
    pub(super) fn chain(&self, address: Address) -> impl Iterator<Item = Code> {
        let first = self.found.get(&address);
        std::iter::successors(first, |found| self.found.get(&found.resident.behind?))
            .take(1 + MOST_BEHIND)
            .map(|found| found.resident.code)
    }

    /// The code that gives an address its name: the last of the chain that has one, else its own.
    pub(super) fn face(&self, address: Address) -> Option<Code> {
        let named = self.chain(address).filter(|code| code.is_named()).last();
        named.or_else(|| self.chain(address).next())
    }

    /// The first address of the chain that the node has to be asked about.
    pub(super) fn missing(&self, address: Address) -> Option<Address> {
        let mut at = address;
        for _ in 0..=MOST_BEHIND {
            match self.found.get(&at) {
                Some(Found { resident, setbacks })
                    if resident.is_settled && *setbacks == self.setbacks =>
                {
                    at = resident.behind?;
                }
                _ => return Some(at),
            }
        }
        None
    }

    /// An event was emitted at `address`: an upgrade makes what is behind it unknown.
    pub(super) fn emitted(&mut self, address: Address, topic: B256) {
        if !is_upgrade(topic) {
            return;
        }
        match self.found.get_mut(&address).map(|found| &mut found.resident) {
            // A beacon tells of the proxies that ask it, and nobody knows which they are.
            Some(Resident { behind: None, is_settled: true, .. }) if self.has_proxies => {
                self.has_proxies = false;
                let all = self.found.values_mut().map(|found| &mut found.resident);
                let proxies = all.filter(|resident| resident.behind.is_some());
                proxies.for_each(Resident::unsettle);
            }
            Some(Resident { behind: None, is_settled: true, .. }) | None => {}
            Some(proxy) => proxy.unsettle(),
        }
    }

    pub(super) fn forget(&mut self, address: Address) {
        if self.found.remove(&address).is_some() {
            self.order.retain(|other| *other != address);
        }
    }

    /// Forgets the addresses that an artifact may give a name.
    pub(super) fn forget_unnamed(&mut self) {
        let is_named = |r: &Resident| matches!(r.code, Code::Contract(_) | Code::Account);
        // A proxy goes by the name of what is behind it.
        self.found
            .retain(|_, Found { resident, .. }| is_named(resident) || resident.behind.is_some());
        let found = &self.found;
        self.order.retain(|address| found.contains_key(address));
    }

    /// Makes everything worth asking for again, and keeps what is known until it is answered.
    pub(super) fn doubt(&mut self) {
        self.setbacks = self.setbacks.wrapping_add(1);
    }

    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.order.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }
}

impl Resident {
    fn unsettle(&mut self) {
        self.behind = None;
        self.is_settled = false;
    }
}
