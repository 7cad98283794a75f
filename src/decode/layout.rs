//! A contract's storage as the compiler laid it out, and which variable a slot belongs to.
//!
//! A slot gets a name only where it is certain: where the layout puts a variable there, or where the
//! hash that leads there was found. A mapping's key cannot be told from the slot, so keys are tried:
//! small numbers, and what the caller thinks of.

use std::collections::HashMap;
use std::sync::OnceLock;

use alloy::primitives::{B256, U256, b256, keccak256};
use serde::Deserialize;

/// The largest layout that is read, in bytes of JSON.
pub const LARGEST: usize = 1 << 20;
/// The longest name that is given, in bytes.
const LONGEST: usize = 128;
/// Slots behind the beginning of an array that are taken for its items: hashes lie so far apart that
/// it could be any number.
const MOST_ITEMS: u64 = 1 << 20;
/// Numbers that are tried as keys.
const SMALL_KEYS: u16 = 1024;
/// Mappings of a contract for which small numbers are tried.
const MOST_MAPPINGS: usize = 32;
/// The longest item of a mapping or array, in slots, that is looked into.
const MOST_SLOTS: u64 = 64;
/// Keys of the caller's that are tried.
const MOST_KEYS: usize = 32;
/// How deep structs and arrays are followed.
const DEEPEST: usize = 8;

/// Where ERC-1967 has proxies keep what they are.
const PROXY_SLOTS: [(B256, &str); 3] = [
    (
        b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
        "eip1967.proxy.implementation",
    ),
    (
        b256!("b53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103"),
        "eip1967.proxy.admin",
    ),
    (
        b256!("a3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"),
        "eip1967.proxy.beacon",
    ),
];

/// Where a contract's variables are.
#[derive(Debug)]
pub struct Layout {
    storage: Vec<Variable>,
    types: HashMap<String, Type>,
    /// By the slot of the value the mapping and the key: those of small numbers, made when first
    /// needed.
    small: OnceLock<HashMap<U256, (usize, u16)>>,
}

/// A variable of a contract or a member of a struct.
#[derive(Debug, Deserialize)]
struct Variable {
    label: String,
    /// From the beginning of what it is a member of.
    slot: U256,
    #[serde(rename = "type")]
    ty: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Type {
    encoding: Encoding,
    label: String,
    number_of_bytes: U256,
    /// Of an array the items' type.
    base: Option<String>,
    key: Option<String>,
    value: Option<String>,
    members: Option<Vec<Variable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Inplace,
    Mapping,
    DynamicArray,
    Bytes,
}

#[derive(Deserialize)]
struct Written {
    storage: Vec<Variable>,
    /// Null for a contract without variables.
    types: Option<HashMap<String, Type>>,
}

/// The name of a slot that means the same in all contracts.
pub fn standard_slot(slot: B256) -> Option<&'static str> {
    PROXY_SLOTS.iter().find(|(known, _)| *known == slot).map(|(_, name)| *name)
}

impl Layout {
    /// Reads the compiler's `storageLayout`; none when it is none, or has no variables.
    pub fn parse(json: &str) -> Option<Self> {
        if json.len() > LARGEST {
            return None;
        }
        let Written { storage, types } = serde_json::from_str(json).ok()?;
        let layout = Self { storage, types: types.unwrap_or_default(), small: OnceLock::new() };
        (!layout.storage.is_empty()).then_some(layout)
    }

    /// The variable that a slot belongs to; of mappings with the keys that fit, of `keys` and of small
    /// numbers. At most 128 bytes.
    pub fn name(&self, slot: B256, keys: &[B256]) -> Option<String> {
        let slot = U256::from_be_bytes(slot.0);
        let name = self
            .plain(slot)
            .or_else(|| self.behind_small_key(slot))
            .or_else(|| self.behind_given_key(slot, &keys[..keys.len().min(MOST_KEYS)]))?;
        (!name.is_empty() && name.len() <= LONGEST).then_some(name)
    }

    /// A slot that needs no key.
    fn plain(&self, slot: U256) -> Option<String> {
        let name = self.members(&self.storage, "", slot, DEEPEST);
        name.or_else(|| {
            self.storage.iter().find_map(|v| self.dynamic(&v.ty, v.slot, &v.label, slot))
        })
    }

    /// The names of those of `members` that are at a slot, which is counted from their beginning.
    fn members(&self, members: &[Variable], of: &str, slot: U256, depth: usize) -> Option<String> {
        let mut names = Vec::new();
        let mut length = 0;
        for member in members {
            let Some(within) = slot.checked_sub(member.slot) else { continue };
            let Some(ty) = self.types.get(&member.ty) else { continue };
            if within < ty.slots() {
                let name = if of.is_empty() {
                    member.label.clone()
                } else {
                    format!("{of}.{}", member.label)
                };
                let name = self.at(&member.ty, &name, within, depth.checked_sub(1)?)?;
                // Structs in structs may claim more members at one slot than there is memory for.
                length += name.len() + 2;
                if length > LONGEST + 2 {
                    return None;
                }
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What is at a slot of a value of a type, which is called `name`; `slot` is counted from its
    /// beginning.
    fn at(&self, ty: &str, name: &str, slot: U256, depth: usize) -> Option<String> {
        let ty = self.types.get(ty)?;
        match (ty.encoding, &ty.members, &ty.base) {
            // Nothing is ever kept in a mapping's own slot.
            (Encoding::Mapping, ..) => None,
            (Encoding::DynamicArray, ..) => Some(format!("{name}.length")),
            (Encoding::Inplace, Some(members), _) => self.members(members, name, slot, depth),
            (Encoding::Inplace, None, Some(base)) => {
                let bytes = self.types.get(base)?.number_of_bytes;
                let count = ty.label.strip_suffix(']')?.rsplit_once('[')?.1.parse().ok()?;
                self.item(base, bytes, Some(count), name, slot, depth)
            }
            _ => Some(name.to_owned()),
        }
    }

    /// The items of an array at a slot that is counted from the first of them.
    fn item(
        &self,
        base: &str,
        bytes: U256,
        count: Option<U256>,
        name: &str,
        slot: U256,
        depth: usize,
    ) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        let word = U256::from(32);
        if bytes.is_zero() {
            return None;
        }
        if bytes > word / U256::from(2) {
            let slots = bytes.div_ceil(word);
            let (index, within) = slot.div_rem(slots);
            if count.is_some_and(|count| index >= count) {
                return None;
            }
            return self.at(base, &format!("{name}[{index}]"), within, depth);
        }
        // Several to a slot.
        let each = word / bytes;
        let first = slot.checked_mul(each)?;
        let last = first.checked_add(each - U256::from(1))?;
        let last = count.map_or(last, |count| last.min(count.saturating_sub(U256::from(1))));
        match first.cmp(&last) {
            std::cmp::Ordering::Less => Some(format!("{name}[{first}..={last}]")),
            std::cmp::Ordering::Equal => Some(format!("{name}[{first}]")),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// What is at a slot of the part that a dynamic array or a long text keeps elsewhere; `at` is the
    /// variable's own slot.
    fn dynamic(&self, ty: &str, at: U256, name: &str, slot: U256) -> Option<String> {
        let ty = self.types.get(ty)?;
        let begins = || hash(&[at]);
        match (ty.encoding, &ty.base) {
            (Encoding::DynamicArray, Some(base)) => {
                let within = near(slot, begins())?;
                let bytes = self.types.get(base)?.number_of_bytes;
                self.item(base, bytes, None, name, within, DEEPEST)
            }
            (Encoding::Bytes, _) => near(slot, begins()).map(|_| name.to_owned()),
            // Those inside a struct.
            (Encoding::Inplace, _) => ty.members.as_ref()?.iter().find_map(|member| {
                let inner = self.types.get(&member.ty)?;
                if !matches!(inner.encoding, Encoding::DynamicArray | Encoding::Bytes) {
                    return None;
                }
                let at = at.wrapping_add(member.slot);
                self.dynamic(&member.ty, at, &format!("{name}.{}", member.label), slot)
            }),
            (Encoding::Mapping | Encoding::DynamicArray, _) => None,
        }
    }

    /// The mappings at the top, with the types of their keys and values.
    fn mappings(&self) -> impl Iterator<Item = (usize, &Variable, &str, &str)> {
        self.storage.iter().enumerate().filter_map(|(i, variable)| {
            let (key, value) = self.mapping(&variable.ty)?;
            Some((i, variable, key, value))
        })
    }

    fn mapping(&self, ty: &str) -> Option<(&str, &str)> {
        let ty = self.types.get(ty).filter(|ty| ty.encoding == Encoding::Mapping)?;
        Some((ty.key.as_deref()?, ty.value.as_deref()?))
    }

    fn behind_small_key(&self, slot: U256) -> Option<String> {
        let small = self.small.get_or_init(|| {
            let numbers = self.mappings().filter(|(_, _, key, _)| key.starts_with("t_uint"));
            numbers
                .take(MOST_MAPPINGS)
                .flat_map(|(i, variable, ..)| {
                    (0..SMALL_KEYS)
                        .map(move |key| (hash(&[U256::from(key), variable.slot]), (i, key)))
                })
                .collect()
        });
        if small.is_empty() {
            return None;
        }
        (0..MOST_SLOTS).find_map(|within| {
            let begin = slot.checked_sub(U256::from(within))?;
            let (i, key) = *small.get(&begin)?;
            let variable = &self.storage[i];
            let (_, value) = self.mapping(&variable.ty)?;
            self.value(value, begin, &format!("{}[{key}]", variable.label), slot)
        })
    }

    fn behind_given_key(&self, slot: U256, keys: &[B256]) -> Option<String> {
        self.mappings().find_map(|(_, variable, key, value)| {
            keys.iter().find_map(|word| {
                let name = format!("{}[{}]", variable.label, shown(key, *word)?);
                let begin = hash(&[U256::from_be_bytes(word.0), variable.slot]);
                self.value(value, begin, &name, slot).or_else(|| {
                    let (key, value) = self.mapping(value)?;
                    keys.iter().find_map(|word| {
                        let name = format!("{name}[{}]", shown(key, *word)?);
                        let begin = hash(&[U256::from_be_bytes(word.0), begin]);
                        self.value(value, begin, &name, slot)
                    })
                })
            })
        })
    }

    /// What is at a slot of a mapping's value, which begins at `begin`.
    fn value(&self, ty: &str, begin: U256, name: &str, slot: U256) -> Option<String> {
        let slots = self.types.get(ty)?.slots();
        let within = slot.checked_sub(begin).filter(|within| *within < slots);
        match within {
            Some(within) => self.at(ty, name, within, DEEPEST),
            None => self.dynamic(ty, begin, name, slot),
        }
    }
}

impl Type {
    fn slots(&self) -> U256 {
        self.number_of_bytes.div_ceil(U256::from(32))
    }
}

/// Where the values behind one or two words are.
fn hash(words: &[U256]) -> U256 {
    let mut bytes = [0; 64];
    for (place, word) in bytes.chunks_exact_mut(32).zip(words) {
        place.copy_from_slice(&word.to_be_bytes::<32>());
    }
    U256::from_be_bytes(keccak256(&bytes[..32 * words.len().min(2)]).0)
}

/// How far a slot is behind the beginning of an array, when it is among its first items.
fn near(slot: U256, begin: U256) -> Option<U256> {
    slot.checked_sub(begin).filter(|within| *within < U256::from(MOST_ITEMS))
}

/// A key as people write it; none when the word is no value of its type.
fn shown(ty: &str, word: B256) -> Option<String> {
    let number = U256::from_be_bytes(word.0);
    if let Some(bits) = ty.strip_prefix("t_uint") {
        return (number.bit_len() <= bits.parse().ok()?).then(|| number.to_string());
    }
    match ty {
        "t_bool" if number <= U256::from(1) => Some((!number.is_zero()).to_string()),
        "t_bytes32" => Some(word.to_string()),
        _ if ty == "t_address" || ty == "t_address_payable" || ty.starts_with("t_contract(") => {
            let address = alloy::primitives::Address::from_word(word);
            (number.bit_len() <= 160).then(|| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Layout {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/artifacts/openzeppelin.json"))
                .unwrap();
        Layout::parse(&all["ledger"]["storageLayout"].to_string()).unwrap()
    }

    fn at(number: u64) -> U256 {
        U256::from(number)
    }

    fn name(layout: &Layout, slot: U256, keys: &[B256]) -> Option<String> {
        layout.name(slot.into(), keys)
    }

    #[test]
    fn slots_of_the_compilers_layout_are_named() {
        let layout = ledger();
        let array = |slot, plus| hash(&[at(slot)]) + at(plus);
        for (slot, expected) in [
            (at(0), Some("owner, paused, level")),
            (at(1), Some("total")),
            (at(2), None),
            (at(5), Some("list.length")),
            (array(5, 0), Some("list[0]")),
            (array(5, 4095), Some("list[4095]")),
            (array(5, 1 << 40), None),
            (array(6, 7), Some("stock[2].made")),
            (array(6, 8), Some("stock[2].pair[0..=1]")),
            (array(6, 6), Some("stock[2].owner, stock[2].price")),
            (array(7, 1), Some("small[4..=7]")),
            (at(9), Some("fixedThree[1]")),
            (at(11), Some("single.owner, single.price")),
            (at(12), Some("single.made")),
            (at(14), Some("name")),
            (array(14, 1), Some("name")),
            (array(15, 0), Some("data")),
            (array(18, 3), Some("pairs[1][1]")),
            (at(20), None),
            (U256::MAX, None),
        ] {
            assert_eq!(name(&layout, slot, &[]).as_deref(), expected, "{slot}");
        }
    }

    #[test]
    fn slots_of_mappings_are_named_where_the_key_is_found() {
        let layout = ledger();
        let address = alloy::primitives::address!("5FbDB2315678afecb367f032d93F642f64180aa3");
        let word = address.into_word();
        let key = U256::from_be_bytes(word.0);
        let balance = hash(&[key, at(2)]);
        assert_eq!(name(&layout, balance, &[]), None);
        let expected = "balances[0x5FbDB2315678afecb367f032d93F642f64180aa3]";
        assert_eq!(name(&layout, balance, &[B256::ZERO, word]).as_deref(), Some(expected));
        assert_eq!(name(&layout, balance, &[B256::repeat_byte(7)]), None);
        let seventh = hash(&[at(7), at(3)]);
        assert_eq!(name(&layout, seventh, &[]).as_deref(), Some("items[7].owner, items[7].price"));
        assert_eq!(name(&layout, seventh + at(1), &[]).as_deref(), Some("items[7].made"));
        assert_eq!(name(&layout, seventh + at(3), &[]), None);
        let far = hash(&[at(99_999), at(3)]);
        assert_eq!(name(&layout, far, &[]), None);
        let given = [B256::from(at(99_999))];
        assert_eq!(name(&layout, far + at(1), &given).as_deref(), Some("items[99999].made"));
        let list = hash(&[at(5), at(16)]);
        assert_eq!(name(&layout, list, &[]).as_deref(), Some("lists[5].length"));
        let item = hash(&[list]) + at(3);
        assert_eq!(name(&layout, item, &[B256::from(at(5))]).as_deref(), Some("lists[5][3]"));
        let allowed = hash(&[key, hash(&[at(9), at(4)])]);
        let name = name(&layout, allowed, &[word, B256::from(at(9))]).unwrap();
        assert_eq!(
            name,
            "allowances[0x0000000000000000000000000000000000000009]\
             [0x5FbDB2315678afecb367f032d93F642f64180aa3]"
        );
    }

    #[test]
    fn hostile_layouts_give_no_name_and_no_crash() {
        let circle = r#"{"storage":[{"label":"a","offset":0,"slot":"0","type":"t"}],"types":{"t":
            {"encoding":"inplace","label":"t","numberOfBytes":"32","members":[
            {"label":"a","offset":0,"slot":"0","type":"t"}]}}}"#;
        let layout = Layout::parse(circle).unwrap();
        assert_eq!(layout.name(B256::ZERO, &[]), None);
        let array = circle
            .replace("members\":[", "base\":\"t\",\"x\":[")
            .replace("\"t\",\"n", "\"t[9]\",\"n");
        let layout = Layout::parse(&array).unwrap();
        assert_eq!(layout.name(B256::ZERO, &[]), None);
        let many = r#"{"label":"","offset":0,"slot":"0","type":"t"},"#.repeat(20);
        let bomb = circle.replacen("\"members\":[", &format!("\"members\":[{many}"), 1);
        assert_eq!(Layout::parse(&bomb).unwrap().name(B256::ZERO, &[]), None);
        let level = |i: u8| {
            let member = format!(r#"{{"label":"","offset":0,"slot":"0","type":"{}"}}"#, i + 1);
            let members = vec![member; 1000].join(",");
            format!(
                r#""{i}":{{"encoding":"inplace","label":"","numberOfBytes":"32","members":[{members}]}}"#
            )
        };
        let levels = (0..7).map(level).collect::<Vec<_>>().join(",");
        let bomb = format!(
            r#"{{"storage":[{{"label":"","offset":0,"slot":"0","type":"0"}}],"types":{{{levels},
                "7":{{"encoding":"inplace","label":"","numberOfBytes":"32"}}}}}}"#
        );
        assert_eq!(Layout::parse(&bomb).unwrap().name(B256::ZERO, &[]), None);
        for wrong in [
            "",
            "7",
            "{}",
            r#"{"storage":7}"#,
            r#"{"storage":[],"types":null}"#,
            r#"{"storage":[{"label":"a","offset":0,"slot":"-1","type":"t"}]}"#,
        ] {
            assert!(Layout::parse(wrong).is_none(), "{wrong}");
        }
        let huge = circle.replace("\"32\"", &format!("\"{}\"", U256::MAX));
        let layout = Layout::parse(&huge).unwrap();
        assert_eq!(layout.name(B256::repeat_byte(0xff), &[B256::ZERO]), None);
    }

    #[test]
    fn the_slots_of_proxies_are_known() {
        for (slot, name) in PROXY_SLOTS {
            assert_eq!(U256::from_be_bytes(slot.0), U256::from_be_bytes(keccak256(name).0) - at(1));
            assert_eq!(standard_slot(slot), Some(name));
        }
        assert_eq!(standard_slot(B256::ZERO), None);
    }
}
