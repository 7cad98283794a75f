//! Names for what real nodes and made-up artifacts hold.

use alloy::primitives::{address, hex};
use serde_json::{Value, json};

use super::residents::MOST_ADDRESSES;
use super::*;
use crate::decode::revert::{PANIC, REVERT};

mod names;
mod timeline;

const NFT: &str = include_str!("../../../tests/fixtures/artifacts/MarketNFT.json");
const MARKET: &str = include_str!("../../../tests/fixtures/artifacts/Marketplace.json");
const HERE: Address = address!("5FbDB2315678afecb367f032d93F642f64180aa3");

fn fixture(node: &str) -> Value {
    let path = format!("{}/tests/fixtures/nodes/{node}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn marketplace() -> Contracts {
    let mut contracts = Contracts::new();
    for json in [NFT, MARKET] {
        contracts.add(Artifact::parse(json.as_bytes(), "").unwrap());
    }
    contracts
}

fn artifact(name: &str, source: &str, abi: &Value, deployed: &str) -> Artifact {
    let json = json!({"contractName": name, "sourceName": source, "abi": abi,
        "bytecode": format!("0x60{}", deployed.trim_start_matches("0x")),
        "deployedBytecode": deployed});
    Artifact::parse(json.to_string().as_bytes(), "").unwrap()
}

fn function(name: &str, inputs: &[&str]) -> Value {
    let inputs: Vec<_> = inputs.iter().map(|t| json!({"name": "", "type": t})).collect();
    json!({"type": "function", "name": name, "inputs": inputs, "outputs": [],
        "stateMutability": "view"})
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn label(call: ContractCall) -> String {
    format!("{}.{}", call.contract, call.function)
}

#[test]
fn code_from_real_nodes_is_named() {
    for node in ["hardhat2", "anvil"] {
        let mut contracts = marketplace();
        let code = bytes(&fixture(node)["code-nft"]);
        assert!(!contracts.knows(HERE));
        assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), "MarketNFT");
        let mint = contracts.target(Some(HERE), &[0xd0, 0xde, 0xf5, 0x21]);
        assert_eq!(label(mint), "MarketNFT.mint");
        assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "MarketNFT._unknown");
        assert_eq!(label(contracts.target(Some(HERE), &[])), "MarketNFT.receive");
    }
}

#[test]
fn a_deployment_is_named_by_its_input() {
    let mut contracts = marketplace();
    let json: Value = serde_json::from_str(MARKET).unwrap();
    let mut input = bytes(&json["bytecode"]);
    input.extend([0; 31]);
    input.push(250);
    assert_eq!(label(contracts.target(None, &input)), "Marketplace.constructor");
    assert_eq!(contracts.created(HERE, &input, Interval::default()).as_str(), "Marketplace");
    assert!(contracts.knows(HERE));
    assert_eq!(contracts.created(HERE, &[1, 2], Interval::default()).as_str(), "_unknown");
    assert!(!contracts.knows(HERE), "the old name holds no more, the code is to be asked for");
    assert_eq!(label(contracts.target(None, &[])), "_unknown.constructor");
}

#[test]
fn accounts_and_strangers_are_told_apart() {
    let mut contracts = marketplace();
    assert_eq!(label(contracts.target(Some(HERE), &[])), "_unknown.receive");
    assert_eq!(contracts.learn_code(HERE, &[], None).as_str(), ACCOUNT);
    assert_eq!(label(contracts.target(Some(HERE), &[])), "_account.receive");
    assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "_account._unknown");
    assert_eq!(contracts.learn_code(HERE, &[0xfe, 1], None).as_str(), "_unknown");
    assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "_unknown._unknown");
    assert!(contracts.knows(HERE));
    contracts.add(artifact("Late", "", &json!([]), "0xfe01"));
    assert!(!contracts.knows(HERE), "a new artifact may fit");
    assert_eq!(contracts.learn_code(HERE, &[0xfe, 1], None).as_str(), "Late");
    contracts.forget_addresses();
    assert!(!contracts.knows(HERE));
}

#[test]
fn after_a_rollback_there_are_no_names_until_the_code_is_known_anew() {
    let mut contracts = marketplace();
    let code = bytes(&fixture("anvil")["code-nft"]);
    let proxy = Address::repeat_byte(0xaa);
    contracts.learn_code(HERE, &code, None);
    contracts.learn_code(proxy, &[0xfe], Some(HERE));
    contracts.roll_back(None, Interval::default());
    for address in [HERE, proxy] {
        assert_eq!(contracts.missing(address), Some(address));
        assert_eq!(contracts.contract(address).as_str(), "_unknown");
    }
    assert_eq!(contracts.learn_code(proxy, &[], None).as_str(), ACCOUNT);
    assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), "MarketNFT");
    assert!(contracts.knows(HERE) && contracts.knows(proxy));
}

#[test]
fn overloads_are_told_by_their_signature() {
    let abi = json!([
        function("mint", &["address"]),
        function("mint", &["address", "string"]),
        function("burn", &["uint256"])
    ]);
    let mut contracts = Contracts::new();
    contracts.add(artifact("Token", "", &abi, "0x6001"));
    contracts.learn_code(HERE, &[0x60, 0x01], None);
    let call = |contracts: &mut Contracts, s: [u8; 4]| label(contracts.target(Some(HERE), &s));
    assert_eq!(call(&mut contracts, [0xd0, 0xde, 0xf5, 0x21]), "Token.mint(address,string)");
    assert_eq!(call(&mut contracts, [0x6a, 0x62, 0x78, 0x42]), "Token.mint(address)");
    assert_eq!(call(&mut contracts, [0x42, 0x96, 0x6c, 0x68]), "Token.burn");
}

#[test]
fn a_proxys_calls_are_named_by_the_contract_behind_it() {
    let mut contracts = marketplace();
    let fallback = json!([{"type": "fallback", "stateMutability": "payable"}]);
    contracts.add(artifact("Proxy", "", &fallback, "0x36ff"));
    contracts.learn_code(HERE, &[0x36, 0xff], None);
    let mint = contracts.target(Some(HERE), &[0xd0, 0xde, 0xf5, 0x21]);
    assert_eq!(label(mint), "Proxy.mint");
    assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "Proxy.fallback");
    assert_eq!(label(contracts.target(Some(HERE), &[1])), "Proxy.fallback");
}

#[test]
fn two_contracts_of_one_name_are_told_by_their_sources() {
    let mut contracts = Contracts::new();
    contracts.add(artifact("Token", "a.sol", &json!([]), "0x6001"));
    contracts.add(artifact("Token", "b.sol", &json!([]), "0x6002"));
    assert_eq!(contracts.learn_code(HERE, &[0x60, 0x02], None).as_str(), "b.sol:Token");
    assert_eq!(contracts.learn_code(Address::ZERO, &[0x60, 0x01], None).as_str(), "a.sol:Token");
    contracts.add(artifact("Token", "a.sol", &json!([]), "0x6003"));
    assert_eq!(contracts.len(), 2, "compiled again");
    assert_eq!(contracts.learn_code(Address::ZERO, &[0x60, 0x03], None).as_str(), "a.sol:Token");
}

#[test]
fn a_name_that_a_second_source_takes_goes_by_the_source_from_then_on() {
    let mut contracts = Contracts::new();
    contracts.add(artifact("Token", "a.sol", &json!([]), "0x6001"));
    // At no address is an interface.
    contracts.add(artifact("Token", "i.sol", &json!([]), "0x"));
    assert_eq!(contracts.learn_code(HERE, &[0x60, 0x01], None).as_str(), "Token");
    contracts.add(artifact("Token", "b.sol", &json!([]), "0x6002"));
    assert_eq!(contracts.contract(HERE).as_str(), "a.sol:Token");
}

#[test]
fn identical_code_goes_by_the_first_source_in_any_order() {
    for order in [["a.sol", "b.sol"], ["b.sol", "a.sol"]] {
        let mut contracts = Contracts::new();
        for source in order {
            contracts.add(artifact("Token", source, &json!([]), "0x6001"));
        }
        let deployed = contracts.learn_code(HERE, &[0x60, 0x01], None);
        assert_eq!(deployed.as_str(), "a.sol:Token");
        let created = contracts.created(Address::ZERO, &[0x60, 0x60, 0x01], Interval::default());
        assert_eq!(created.as_str(), "a.sol:Token");
    }
}

#[test]
fn artifacts_beyond_the_limit_are_counted_once_each() {
    let mut contracts = Contracts::holding(2);
    for round in 0..2 {
        for name in ["A", "B", "C", "D"] {
            contracts.add(artifact(name, "", &json!([]), &format!("0x600{round}")));
        }
    }
    assert_eq!((contracts.len(), contracts.left_out()), (2, 2));
}

#[test]
fn a_fallback_passes_on_a_function_on_whose_signature_all_agree() {
    let fallback = json!([{"type": "fallback", "stateMutability": "payable"}]);
    let mut contracts = Contracts::new();
    contracts.add(artifact("Diamond", "", &fallback, "0x36ff"));
    let overloads =
        json!([function("list", &["uint256"]), function("list", &["uint256", "uint256"])]);
    contracts.add(artifact("IListing", "", &overloads, "0x"));
    contracts.learn_code(HERE, &[0x36, 0xff], None);
    let selector = |signature: &str| -> [u8; 4] {
        alloy::primitives::keccak256(signature)[..4].try_into().unwrap()
    };
    let list = |contracts: &mut Contracts, signature| {
        label(contracts.target(Some(HERE), &selector(signature)))
    };
    assert_eq!(list(&mut contracts, "list(uint256)"), "Diamond.list(uint256)");
    contracts.add(artifact("Facet", "", &json!([function("list", &["uint256"])]), "0x6001"));
    assert_eq!(list(&mut contracts, "list(uint256)"), "Diamond.list");
    assert_eq!(list(&mut contracts, "list(uint256,uint256)"), "Diamond.list(uint256,uint256)");
    assert_eq!(list(&mut contracts, "list()"), "Diamond.fallback");
}

#[test]
fn a_vyper_contract_is_known_with_its_immutables_behind_its_code() {
    let json: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/artifacts/vyper.json")).unwrap();
    let mut contracts = Contracts::new();
    contracts.add(Artifact::parse(json.to_string().as_bytes(), "").unwrap());
    let mut code = bytes(&json["deployedBytecode"]);
    code.extend([7; 64]);
    assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), "Fixed");
    for more in [0, 32, 96] {
        code.truncate(bytes(&json["deployedBytecode"]).len());
        code.extend(vec![7; more]);
        let name = if more == 0 { "Fixed" } else { "_unknown" };
        assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), name, "{more} bytes more");
    }
}

#[test]
fn a_delegated_account_goes_by_its_delegate() {
    let mut contracts = marketplace();
    let delegate = Address::repeat_byte(0xdd);
    let code = [&[0xef, 0x01, 0x00][..], delegate.as_slice()].concat();
    contracts.learn_code(HERE, &code, None);
    assert_eq!(contracts.missing(HERE), Some(delegate));
    assert_eq!(contracts.contract(HERE).as_str(), "_unknown");
    contracts.learn_code(delegate, &bytes(&fixture("anvil")["code-nft"]), None);
    let mint = contracts.target(Some(HERE), &[0xd0, 0xde, 0xf5, 0x21]);
    assert_eq!(label(mint), "MarketNFT.mint");
    assert_eq!(contracts.delegation(HERE, None), Some(delegate));
    // To an address without code, which runs nothing.
    contracts.learn_code(delegate, &[], None);
    assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "_account._unknown");
    contracts.learn_code(HERE, &[], None);
    assert_eq!(contracts.delegation(HERE, None), None);
    contracts.learn_code(HERE, &code[..22], None);
    assert_eq!(contracts.delegation(HERE, None), None, "cut short");
}

#[test]
fn reverts_are_named_by_the_contract_or_by_any() {
    let mut contracts = marketplace();
    let args = bytes(&fixture("hardhat2")["send-revert-args"]["data"]["data"]);
    assert_eq!(contracts.reason(None, &args).as_str(), "NotListed");
    assert_eq!(
        contracts.revert_message(Some(HERE), &args).unwrap(),
        "NotListed(nft: 0x5FbDB2315678afecb367f032d93F642f64180aa3, tokenId: 9)"
    );
    let text = hex!(
        "08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000046e6f7065"
    );
    assert_eq!(contracts.reason(None, &text).as_str(), "Error");
    let cut = &text[..text.len() - 1];
    assert_eq!(contracts.revert_message(None, cut).as_deref(), None, "cut short");
    assert_eq!(contracts.revert_message(None, &text).as_deref(), Some("nope"));
    let panic = [&PANIC[..], &[0; 31], &[0x11]].concat();
    assert_eq!(contracts.reason(None, &panic).as_str(), "Panic(0x11)");
    assert_eq!(contracts.reason(None, &panic[..9]).as_str(), "Panic");
    assert_eq!(contracts.reason(None, &[]).as_str(), "no_data");
    assert_eq!(contracts.reason(None, &[1, 2, 3, 4]).as_str(), "_unknown");
    assert_eq!(contracts.reason(None, &[1]).as_str(), "_unknown");
}

#[test]
fn an_abi_that_asks_for_all_memory_is_not_followed() {
    let mut contracts = Contracts::new();
    let abi = json!([{"type": "error", "name": "E", "inputs":
        [{"name": "", "type": "uint8[4294967295][4294967295]"}]}]);
    contracts.add(artifact("Hog", "", &abi, "0x6001"));
    let data = contracts.registry.get(0).errors.keys().next().unwrap().to_vec();
    assert_eq!(contracts.revert_message(None, &data).as_deref(), Some("E"));
}

#[test]
fn addresses_are_bounded() {
    let mut contracts = Contracts::new();
    for i in 0..MOST_ADDRESSES + 10 {
        contracts.learn_code(Address::left_padding_from(&i.to_be_bytes()), &[], None);
    }
    assert_eq!(contracts.residents.len(), MOST_ADDRESSES);
    assert!(!contracts.knows(Address::left_padding_from(&3usize.to_be_bytes())));
}

proptest::proptest! {
    #[test]
    fn hostile_words_behind_a_known_selector_never_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![0_u64, 1, 31, 32, 64, 1 << 32, 1 << 63, u64::MAX]), 0..8,
        ),
        high in proptest::sample::select(vec![0_u8, 1, 0x80, 0xff]),
        selector in 0usize..40,
    ) {
        let mut contracts = marketplace();
        let words: Vec<u8> = words
            .iter()
            .flat_map(|word| [&[high; 24][..], &word.to_be_bytes()].concat())
            .collect();
        let errors: Vec<_> = contracts.registry.known().iter().flat_map(|k| k.errors.keys()).copied().collect();
        for selector in [errors[selector % errors.len()].to_vec(), vec![0x08, 0xc3, 0x79, 0xa0]] {
            let data = [&selector[..], &words].concat();
            contracts.revert_message(None, &data);
            contracts.reason(None, &data);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, to: Option<[u8; 20]>, selector in 0usize..40) {
        let mut contracts = marketplace();
        let to = to.map(Address::from);
        contracts.target(to, &bytes);
        contracts.created(HERE, &bytes, Interval::default());
        contracts.learn_code(HERE, &bytes, None);
        contracts.reason(to, &bytes);
        contracts.revert_message(to, &bytes);
        let errors: Vec<_> = contracts.registry.known().iter().flat_map(|k| k.errors.keys()).copied().collect();
        let data = [&errors[selector % errors.len()][..], &bytes].concat();
        contracts.revert_message(to, &data);
    }
}
