//! The calls inside a call of Multicall3, and what came of each.
//!
//! Reads the ABI's words by hand: what a call claims to hold is not to be believed, and of most of it
//! nothing is kept. A multicall inside a multicall is a call like any other.

use alloy::primitives::{Address, Bytes};

use crate::model::CallDetail;

/// Of what an inner call returned, as much as names its error.
const MOST_DATA: usize = 1 << 10;

/// A call inside a multicall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub to: Address,
    /// At most the selector.
    pub input: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerResult {
    pub success: bool,
    /// What it returned, or the revert data; at most 1 KiB of it.
    pub data: Bytes,
}

/// A function that calls others.
struct Function {
    selector: [u8; 4],
    /// Which parameter the list of calls is.
    calls: usize,
    /// Which member of a call its input is; the first is the address.
    input: usize,
    /// Which of the returned values the list of results is.
    results: usize,
    /// Whether a result is success and data; of the others all have succeeded, or the whole call had
    /// not.
    tells_success: bool,
}

const FUNCTIONS: [Function; 6] = [
    // aggregate((address,bytes)[]) → (uint256, bytes[])
    Function {
        selector: [0x25, 0x2d, 0xba, 0x42],
        calls: 0,
        input: 1,
        results: 1,
        tells_success: false,
    },
    // tryAggregate(bool,(address,bytes)[]) → ((bool,bytes)[])
    Function {
        selector: [0xbc, 0xe3, 0x8b, 0xd7],
        calls: 1,
        input: 1,
        results: 0,
        tells_success: true,
    },
    // blockAndAggregate((address,bytes)[]) → (uint256, bytes32, (bool,bytes)[])
    Function {
        selector: [0xc3, 0x07, 0x7f, 0xa9],
        calls: 0,
        input: 1,
        results: 2,
        tells_success: true,
    },
    // tryBlockAndAggregate(bool,(address,bytes)[]) → (uint256, bytes32, (bool,bytes)[])
    Function {
        selector: [0x39, 0x95, 0x42, 0xe9],
        calls: 1,
        input: 1,
        results: 2,
        tells_success: true,
    },
    // aggregate3((address,bool,bytes)[]) → ((bool,bytes)[])
    Function {
        selector: [0x82, 0xad, 0x56, 0xcb],
        calls: 0,
        input: 2,
        results: 0,
        tells_success: true,
    },
    // aggregate3Value((address,bool,uint256,bytes)[]) → ((bool,bytes)[])
    Function {
        selector: [0x17, 0x4d, 0xea, 0x71],
        calls: 0,
        input: 3,
        results: 0,
        tells_success: true,
    },
];

/// Whether a call with this selector may hold others.
pub fn is_multicall(selector: [u8; 4]) -> bool {
    function(selector).is_some()
}

/// The selectors of all functions that call others.
pub fn selectors() -> impl Iterator<Item = [u8; 4]> {
    FUNCTIONS.iter().map(|function| function.selector)
}

/// What the input of a call of Multicall3 calls, the first [`CallDetail::MOST_INNER`] of it; none
/// when it is none, or cannot be read.
pub fn open(input: &[u8]) -> Option<Vec<Inner>> {
    let (selector, arguments) = input.split_first_chunk()?;
    let function = function(*selector)?;
    let call = |call: Words<'_>| {
        let to = Address::from_word(call.word(0)?.into());
        let input = call.bytes(function.input)?;
        Some(Inner { to, input: input[..input.len().min(4)].to_vec() })
    };
    Words(arguments).list(function.calls)?.map(|at| call(at?)).collect()
}

/// What came of the calls, in their order, from what the function of this selector returned; none
/// when that does not tell or cannot be read.
pub fn results(selector: [u8; 4], returned: &[u8]) -> Option<Vec<InnerResult>> {
    let function = function(selector)?;
    let cut = |data: &[u8]| Bytes::copy_from_slice(&data[..data.len().min(MOST_DATA)]);
    let returned = Words(returned);
    if !function.tells_success {
        let success =
            |data: Option<Words<'_>>| Some(InnerResult { success: true, data: cut(data?.text()?) });
        return returned.list(function.results)?.map(success).collect();
    }
    let result = |result: Words<'_>| {
        let success = match result.number(0)? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(InnerResult { success, data: cut(result.bytes(1)?) })
    };
    returned.list(function.results)?.map(|at| result(at?)).collect()
}

fn function(selector: [u8; 4]) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.selector == selector)
}

/// Encoded values: heads, and behind them what the heads point to, counted from where they begin.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn word(self, index: usize) -> Option<[u8; 32]> {
        self.0.get(index.checked_mul(32)?..)?.first_chunk().copied()
    }

    fn number(self, index: usize) -> Option<usize> {
        let word = self.word(index)?;
        let (high, low) = word.split_last_chunk::<8>()?;
        let number = usize::try_from(u64::from_be_bytes(*low)).ok()?;
        high.iter().all(|byte| *byte == 0).then_some(number)
    }

    /// What the head of this index points to.
    fn behind(self, index: usize) -> Option<Self> {
        self.0.get(self.number(index)?..).map(Words)
    }

    /// The bytes that begin here: their number, then they.
    fn text(self) -> Option<&'a [u8]> {
        self.0.get(32..)?.get(..self.number(0)?)
    }

    fn bytes(self, index: usize) -> Option<&'a [u8]> {
        self.behind(index)?.text()
    }

    /// The items of a list of things of variable size, as many of them as are kept.
    fn list(self, index: usize) -> Option<impl Iterator<Item = Option<Self>>> {
        let list = self.behind(index)?;
        let count = list.number(0)?;
        let items = Words(list.0.get(32..)?);
        // Each has a head at least.
        (count <= items.0.len() / 32)
            .then(|| (0..count.min(CallDetail::MOST_INNER)).map(move |item| items.behind(item)))
    }
}

#[cfg(test)]
mod tests {
    use alloy::dyn_abi::{DynSolType, DynSolValue as Value};
    use alloy::primitives::{U256, keccak256};

    use super::*;

    const SIGNATURES: [&str; 6] = [
        "aggregate((address,bytes)[])",
        "tryAggregate(bool,(address,bytes)[])",
        "blockAndAggregate((address,bytes)[])",
        "tryBlockAndAggregate(bool,(address,bytes)[])",
        "aggregate3((address,bool,bytes)[])",
        "aggregate3Value((address,bool,uint256,bytes)[])",
    ];
    const RETURNED: [&str; 6] = [
        "(uint256,bytes[])",
        "((bool,bytes)[])",
        "(uint256,bytes32,(bool,bytes)[])",
        "(uint256,bytes32,(bool,bytes)[])",
        "((bool,bytes)[])",
        "((bool,bytes)[])",
    ];

    /// A value of the type: lists are of `size` items, the i-th of which is told by i.
    fn value(ty: &DynSolType, i: u8, size: u8) -> Value {
        match ty {
            DynSolType::Address => Value::Address(Address::with_last_byte(i)),
            DynSolType::Bool => Value::Bool(i.is_multiple_of(2)),
            DynSolType::Bytes => Value::Bytes(vec![i; usize::from(i)]),
            DynSolType::Array(item) => {
                Value::Array((0..size).map(|i| value(item, i, size)).collect())
            }
            DynSolType::Tuple(items) => {
                Value::Tuple(items.iter().map(|t| value(t, i, size)).collect())
            }
            DynSolType::FixedBytes(n) => Value::FixedBytes([7; 32].into(), *n),
            _ => Value::Uint(U256::from(9), 256),
        }
    }

    fn encode(types: &str, size: u8) -> Vec<u8> {
        let ty: DynSolType = types.parse().unwrap();
        value(&ty, 0, size).abi_encode_params()
    }

    fn input(signature: &str, size: u8) -> Vec<u8> {
        let types = &signature[signature.find('(').unwrap()..];
        [&keccak256(signature)[..4], &encode(types, size)].concat()
    }

    #[test]
    fn every_function_is_opened() {
        for (signature, returned) in SIGNATURES.into_iter().zip(RETURNED) {
            let input = input(signature, 9);
            let inner = open(&input).unwrap_or_else(|| panic!("{signature}"));
            assert_eq!(inner.len(), 9, "{signature}");
            for (i, call) in (0..).zip(&inner) {
                assert_eq!(call.to, Address::with_last_byte(i), "{signature}");
                assert_eq!(call.input, vec![i; usize::from(i).min(4)], "{signature}");
            }
            let selector = *input.first_chunk().unwrap();
            let results = results(selector, &encode(returned, 9)).unwrap();
            let tells = !signature.starts_with("aggregate(");
            for (i, result) in (0_u8..).zip(&results) {
                assert_eq!(result.success, i.is_multiple_of(2) || !tells, "{signature}");
                assert_eq!(result.data[..], vec![i; usize::from(i)], "{signature}");
            }
            assert_eq!(results.len(), 9);
            assert!(is_multicall(selector));
        }
        assert!(!is_multicall([1, 2, 3, 4]));
        assert_eq!(open(&[1, 2, 3, 4]), None);
        assert_eq!(open(&[]), None);
        assert_eq!(results([0x82, 0xad, 0x56, 0xcb], &[]), None, "it reverted");
    }

    #[test]
    fn no_more_is_kept_than_is_needed() {
        let ty: DynSolType = "((address,bool,bytes)[])".parse().unwrap();
        let DynSolType::Tuple(types) = &ty else { panic!() };
        let DynSolType::Array(item) = &types[0] else { panic!() };
        let calls = vec![value(item, 3, 0); 1_000];
        let arguments = Value::Tuple(vec![Value::Array(calls)]).abi_encode_params();
        let input = [&[0x82, 0xad, 0x56, 0xcb][..], &arguments].concat();
        assert_eq!(open(&input).unwrap().len(), CallDetail::MOST_INNER);
        // All of many results are the same large one, which itself is there once.
        let word = |number: usize| U256::from(number).to_be_bytes::<32>();
        let mut returned = [word(32), word(300)].concat();
        returned.extend((0..300).flat_map(|_| word(300 * 32)));
        returned.extend([word(0), word(64), word(1 << 20)].concat());
        returned.resize(returned.len() + (1 << 20), 0xab);
        let results = results([0x82, 0xad, 0x56, 0xcb], &returned).unwrap();
        assert_eq!(results.len(), CallDetail::MOST_INNER);
        assert!(results.iter().all(|result| result.data.len() == MOST_DATA && !result.success));
    }

    proptest::proptest! {
        #[test]
        fn a_changed_multicall_never_panics(
            which in 0usize..6, at: proptest::sample::Index, to: u8, cut: proptest::sample::Index,
        ) {
            let (mut input, mut returned) = (input(SIGNATURES[which], 3), encode(RETURNED[which], 3));
            let selector = *input.first_chunk().unwrap();
            let (i, r) = (4 + at.index(input.len() - 4), at.index(returned.len()));
            (input[i], returned[r]) = (to, to);
            input.truncate(cut.index(input.len()));
            let _ = (open(&input), results(selector, &returned));
            returned.truncate(cut.index(returned.len()));
            results(selector, &returned);
        }
    }
}
