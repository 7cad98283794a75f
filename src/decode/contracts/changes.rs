//! What comes to addresses and goes from them: creations, code that the node answered or a call set,
//! rollbacks of the chain.

use std::time::Duration;

use alloy::primitives::{Address, B256};

use super::Contracts;
use super::interfaces::Interface;
use super::known::Known;
use super::proxies::{self, BEACON_SLOT, IMPLEMENTATION_SLOT};
use super::residents::{Code, Resident};
use crate::model::{ContractCode, ContractName, Interval, Stamp};

/// How long after a rollback a block may be announced that was mined before it.
const ANNOUNCED_LATE: Duration = Duration::from_secs(1);

impl Contracts {
    /// A contract was created at `address` by a transaction with this input: calls from `since.start`
    /// on go by it, and at `since.end` it was there. When no artifact fits, the address stays unknown,
    /// so that its code is asked for.
    pub fn created(
        &mut self,
        address: Address,
        creation_input: &[u8],
        since: Interval,
    ) -> ContractName {
        let index = self.by_creation(creation_input);
        self.created_as(address, index, since);
        index.map_or(ContractName::unknown(), |index| self.registry.label(index))
    }

    /// The same for a creation whose contract was found before, by [`Self::by_creation`].
    pub fn created_as(&mut self, address: Address, index: Option<usize>, since: Interval) {
        match index {
            Some(index) => {
                // What passes on calls it has no function for may be a proxy: the node knows of what.
                let is_settled = !self.registry.get(index).has_fallback;
                let resident = Resident { code: Code::Contract(index), behind: None, is_settled };
                self.residents.put(address, resident, since);
            }
            // What was there before the chain was reset is there no more.
            None => self.residents.forget(address, since),
        }
    }

    /// A block holds a transaction that created a contract. `sent` is when its submission passed, for
    /// one that came through the relay: before a rollback, it speaks of a chain that is gone.
    pub fn mined_creation(
        &mut self,
        address: Address,
        creation_input: &[u8],
        sent: Option<Stamp>,
        seen: Stamp,
    ) {
        let rollback = self.residents.last_rollback().end;
        match sent {
            Some(sent) if sent < rollback => {}
            Some(start) => {
                self.created(address, creation_input, Interval { start, end: seen.max(start) });
            }
            None if seen.since(rollback) < ANNOUNCED_LATE && rollback > Stamp::default() => {
                self.residents.forget(address, Interval { start: rollback, end: seen });
            }
            None => {
                self.created(address, creation_input, Interval { start: rollback, end: seen });
            }
        }
    }

    /// The code at an address, as the node answered. False when the answer says nothing of any time,
    /// because the code may have changed while the node was asked.
    pub fn learn(&mut self, found: &ContractCode) -> bool {
        let resident = self.resident(found.address, &found.code, found.implementation, true);
        self.residents.learn(found.address, resident, found.asked)
    }

    /// As [`Self::learn`], of code that is there now.
    pub fn learn_code(
        &mut self,
        address: Address,
        code: &[u8],
        implementation: Option<Address>,
    ) -> ContractName {
        let resident = self.resident(address, code, implementation, true);
        let now = Stamp::from_nanos(u64::MAX);
        self.residents.learn(address, resident, Interval { start: now, end: now });
        self.contract(address)
    }

    /// A call set the code at an address, in this interval.
    pub fn set_code(&mut self, address: Address, code: &[u8], at: Interval) {
        let resident = self.resident(address, code, None, false);
        self.residents.forget(address, at);
        self.residents.put(address, resident, at);
    }

    /// A call wrote to a storage slot of an address: of a proxy or beacon, what is behind it is to be
    /// asked for.
    pub fn set_storage(&mut self, address: Address, slot: B256) {
        if [IMPLEMENTATION_SLOT, BEACON_SLOT].contains(&slot) {
            self.residents.unsettle(address);
            return;
        }
        let code = self.residents.chain(address, None).next();
        if let Some(Code::Contract(index)) = code
            && self.registry.get(index).functions.contains_key(&proxies::IMPLEMENTATION)
        {
            self.residents.unsettle_proxies();
        }
    }

    fn resident(
        &self,
        address: Address,
        code: &[u8],
        implementation: Option<Address>,
        is_asked: bool,
    ) -> Resident {
        let delegate = proxies::delegated(code);
        let fit =
            |known: &Known| known.deployed.matches(code).map(|fit| (fit, known.deployed.len()));
        let own = if code.is_empty() {
            Code::Account
        } else if delegate.is_some() {
            Code::Delegated
        } else if let Some(index) = self.registry.best(fit) {
            Code::Contract(index)
        } else {
            // The functions of a proxy's own code are not those that are called through it.
            Interface::of(address, code).map_or(Code::Stranger, Code::Interface)
        };
        let behind = delegate.or(proxies::cloned(code)).or(implementation);
        let may_be_proxy = match own {
            Code::Contract(index) => self.registry.get(index).has_fallback,
            Code::Interface(_) | Code::Stranger => true,
            Code::Account | Code::Delegated => false,
        };
        Resident {
            code: own,
            behind: behind.filter(|behind| !behind.is_zero()),
            is_settled: is_asked || behind.is_some() || !may_be_proxy,
        }
    }

    /// Something may have changed the code at an address in this interval: it is to be asked for.
    pub fn doubt(&mut self, address: Address, changed: Interval) {
        self.residents.forget(address, changed);
    }

    /// The chain is another one: what was at which address holds no more.
    pub fn forget_addresses(&mut self) {
        self.residents.clear();
    }

    /// The chain was put back, in this interval, to its state of `to`, or to an unknown earlier one:
    /// what came to addresses since then is there no more.
    pub fn roll_back(&mut self, to: Option<Stamp>, rollback: Interval) {
        self.residents.roll_back(to, rollback);
    }

    /// The state of the chain changed: an address without code may have some now.
    pub fn state_changed(&mut self, at: Stamp) {
        self.residents.state_changed(at);
    }
}
