//! Well-known interfaces: names for contracts that no artifact tells of, from the selectors that
//! their code compares a call's with.

use std::collections::HashMap;
use std::sync::LazyLock;

use alloy::primitives::{Address, B256, address, keccak256};

use super::Selector;

/// Where Multicall3 is on every chain that has it.
const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

const EQ: u8 = 0x14;
const SUB: u8 = 0x03;
const XOR: u8 = 0x18;
const DUP1: u8 = 0x80;
const DUP16: u8 = 0x8f;
const PUSH1: u8 = 0x60;
const PUSH3: u8 = 0x62;
const PUSH4: u8 = 0x63;
const PUSH32: u8 = 0x7f;

struct Standard {
    name: &'static str,
    /// A contract without one of these is none of its kind.
    mandatory: &'static [&'static str],
    optional: &'static [&'static str],
}

/// The more specific ones first.
const STANDARDS: [Standard; 6] = [
    Standard {
        name: "Multicall3",
        mandatory: &[
            "aggregate((address,bytes)[])",
            "aggregate3((address,bool,bytes)[])",
            "aggregate3Value((address,bool,uint256,bytes)[])",
            "blockAndAggregate((address,bytes)[])",
            "tryAggregate(bool,(address,bytes)[])",
            "tryBlockAndAggregate(bool,(address,bytes)[])",
        ],
        optional: &[
            "getBasefee()",
            "getBlockHash(uint256)",
            "getBlockNumber()",
            "getChainId()",
            "getCurrentBlockCoinbase()",
            "getCurrentBlockDifficulty()",
            "getCurrentBlockGasLimit()",
            "getCurrentBlockTimestamp()",
            "getEthBalance(address)",
            "getLastBlockHash()",
        ],
    },
    Standard {
        name: "ERC1155",
        mandatory: &[
            "balanceOf(address,uint256)",
            "balanceOfBatch(address[],uint256[])",
            "isApprovedForAll(address,address)",
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)",
            "safeTransferFrom(address,address,uint256,uint256,bytes)",
            "setApprovalForAll(address,bool)",
            "supportsInterface(bytes4)",
        ],
        optional: &["uri(uint256)"],
    },
    Standard {
        name: "ERC721",
        mandatory: &[
            "approve(address,uint256)",
            "balanceOf(address)",
            "getApproved(uint256)",
            "isApprovedForAll(address,address)",
            "ownerOf(uint256)",
            "safeTransferFrom(address,address,uint256)",
            "safeTransferFrom(address,address,uint256,bytes)",
            "setApprovalForAll(address,bool)",
            "supportsInterface(bytes4)",
            "transferFrom(address,address,uint256)",
        ],
        optional: &[
            "name()",
            "symbol()",
            "tokenByIndex(uint256)",
            "tokenOfOwnerByIndex(address,uint256)",
            "tokenURI(uint256)",
            "totalSupply()",
        ],
    },
    Standard {
        name: "ERC20",
        mandatory: &[
            "allowance(address,address)",
            "approve(address,uint256)",
            "balanceOf(address)",
            "totalSupply()",
            "transfer(address,uint256)",
            "transferFrom(address,address,uint256)",
        ],
        optional: &["decimals()", "name()", "symbol()"],
    },
    Standard {
        name: "ERC2981",
        mandatory: &["royaltyInfo(uint256,uint256)", "supportsInterface(bytes4)"],
        optional: &[],
    },
    Standard { name: "ERC165", mandatory: &["supportsInterface(bytes4)"], optional: &[] },
];

/// The events of the standards, and of ERC-1967's proxies.
const EVENTS: [&str; 9] = [
    "AdminChanged(address,address)",
    "Approval(address,address,uint256)",
    "ApprovalForAll(address,address,bool)",
    "BeaconUpgraded(address)",
    "Transfer(address,address,uint256)",
    "TransferBatch(address,address,address,uint256[],uint256[])",
    "TransferSingle(address,address,address,uint256,uint256)",
    "URI(string,uint256)",
    "Upgraded(address)",
];

/// The functions of all standards, each with its own bit.
struct Functions {
    by_selector: HashMap<Selector, (u64, &'static str)>,
    /// The mandatory ones of each standard, and all of it, in the order of [`STANDARDS`].
    masks: [(u64, u64); STANDARDS.len()],
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut by_selector = HashMap::new();
    let masks = STANDARDS.map(|standard| {
        let mut mask = |signatures: &[&'static str]| {
            signatures.iter().fold(0, |mask, signature| {
                let next = 1 << by_selector.len();
                mask | by_selector
                    .entry(selector(signature))
                    .or_insert((next, standard.label(signature)))
                    .0
            })
        };
        let mandatory = mask(standard.mandatory);
        (mandatory, mandatory | mask(standard.optional))
    });
    Functions { by_selector, masks }
});

/// Code that has a well-known interface's functions, and maybe those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub name: &'static str,
    /// The bits of its functions.
    functions: u64,
}

impl Interface {
    /// The most specific one that the code at an address has in full.
    pub(super) fn of(address: Address, code: &[u8]) -> Option<Self> {
        let table = &*FUNCTIONS;
        let mut functions = compared(code)
            .filter_map(|selector| table.by_selector.get(&selector))
            .fold(0, |found, (bit, _)| found | bit);
        if address == MULTICALL3 {
            functions |= table.masks[0].1;
        }
        let fits = |(mandatory, _): &(u64, u64)| functions & mandatory == *mandatory;
        let which = table.masks.iter().position(fits)?;
        Some(Self { name: STANDARDS[which].name, functions })
    }

    /// The name of one of its functions.
    pub(super) fn function(self, selector: &Selector) -> Option<&'static str> {
        let (bit, label) = FUNCTIONS.by_selector.get(selector)?;
        (self.functions & bit != 0).then_some(label)
    }
}

impl Standard {
    /// A function's name; its signature when the standard has two of the name.
    fn label(&self, signature: &'static str) -> &'static str {
        let name = |signature: &'static str| signature.split('(').next().unwrap_or(signature);
        let all = self.mandatory.iter().chain(self.optional);
        let same = all.filter(|other| name(other) == name(signature)).count();
        if same > 1 { signature } else { name(signature) }
    }
}

/// By its first topic the name of each well-known event.
pub(super) fn events() -> impl Iterator<Item = (B256, &'static str)> {
    EVENTS
        .into_iter()
        .map(|signature| (keccak256(signature), signature.split('(').next().unwrap_or(signature)))
}

fn selector(signature: &str) -> Selector {
    let [a, b, c, d, ..] = keccak256(signature).0;
    [a, b, c, d]
}

/// What the code compares something with that may be a selector. Selectors that it calls others with
/// are compared with nothing; one that begins with a zero is pushed without it.
fn compared(code: &[u8]) -> impl Iterator<Item = Selector> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(&instruction) = code.get(at) {
            let pushed = at + 1;
            at = pushed;
            if (PUSH1..=PUSH32).contains(&instruction) {
                at += usize::from(instruction - PUSH1) + 1;
            }
            if !matches!(instruction, PUSH3 | PUSH4) {
                continue;
            }
            let selector = match code.get(pushed..at) {
                Some(&[b, c, d]) => [0, b, c, d],
                Some(&[a, b, c, d]) => [a, b, c, d],
                _ => return None,
            };
            let next = match code.get(at) {
                Some(DUP1..=DUP16) => code.get(at + 1),
                next => next,
            };
            if matches!(next, Some(&(EQ | SUB | XOR))) {
                return Some(selector);
            }
        }
        None
    })
}
