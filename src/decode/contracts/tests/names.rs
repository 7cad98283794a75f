//! Names of proxies, events and well-known interfaces, from OpenZeppelin's contracts as compiled.

use alloy::primitives::keccak256;

use super::*;

const BEHIND: Address = address!("00000000000000000000000000000000000000b1");
const OTHER: Address = address!("00000000000000000000000000000000000000b2");
const MINT: [u8; 4] = [0xd0, 0xde, 0xf5, 0x21];

fn compiled(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/artifacts/openzeppelin.json"
    ))
    .unwrap();
    all[name].clone()
}

fn nft_code() -> Vec<u8> {
    bytes(&fixture("hardhat2")["code-nft"])
}

/// The marketplace's contracts and an ERC-1967 proxy.
fn with_proxy() -> (Contracts, Vec<u8>) {
    let mut contracts = marketplace();
    let proxy = compiled("proxy");
    contracts.add(Artifact::parse(proxy.to_string().as_bytes(), "").unwrap());
    (contracts, bytes(&proxy["deployedBytecode"]))
}

fn clone_of(address: Address) -> Vec<u8> {
    let text =
        format!("363d3d373d3d3d363d73{}5af43d82803e903d91602b57fd5bf3", hex::encode(address));
    hex::decode(text).unwrap()
}

fn topic(signature: &str) -> Option<B256> {
    Some(keccak256(signature))
}

#[test]
fn a_proxy_goes_by_the_contract_behind_it() {
    let (mut contracts, code) = with_proxy();
    assert_eq!(contracts.missing(HERE), Some(HERE));
    assert_eq!(contracts.learn_code(HERE, &code, Some(BEHIND)).as_str(), "ERC1967Proxy");
    assert_eq!(contracts.missing(HERE), Some(BEHIND), "its own code alone names no function");
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "ERC1967Proxy.mint");
    contracts.learn_code(BEHIND, &nft_code(), None);
    assert_eq!(contracts.missing(HERE), None);
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "MarketNFT.mint");
    assert_eq!(label(contracts.target(Some(HERE), &[1, 2, 3, 4])), "MarketNFT._unknown");
    assert_eq!(label(contracts.target(Some(HERE), &[])), "MarketNFT.receive");
    assert_eq!(contracts.contract(HERE).as_str(), "MarketNFT");
}

#[test]
fn what_only_the_proxy_has_is_named_by_the_proxy() {
    let mut contracts = marketplace();
    let abi = json!([{"type": "fallback", "stateMutability": "payable"},
        function("upgradeTo", &["address"]), function("mint", &["address", "string"])]);
    contracts.add(artifact("OldProxy", "", &abi, "0x36ff"));
    contracts.learn_code(HERE, &[0x36, 0xff], Some(BEHIND));
    contracts.learn_code(BEHIND, &nft_code(), None);
    let upgrade: [u8; 4] = keccak256("upgradeTo(address)")[..4].try_into().unwrap();
    assert_eq!(label(contracts.target(Some(HERE), &upgrade)), "MarketNFT.upgradeTo");
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "MarketNFT.mint");
}

#[test]
fn every_kind_of_minimal_clone_goes_by_what_it_is_a_clone_of() {
    let address = hex::encode(BEHIND);
    for (kind, code) in [
        ("ERC-1167", hex::encode(clone_of(BEHIND))),
        ("with arguments", hex::encode([&clone_of(BEHIND)[..], b"arguments"].concat())),
        ("Solady", format!("3d3d3d3d363d3d37363d73{address}5af43d3d93803e602a57fd5bf3")),
        ("PUSH0", format!("5f5f365f5f37365f73{address}5af43d5f5f3e6029573d5ffd5b3d5ff3")),
        (
            "Vyper",
            format!("366000600037611000600036600073{address}5af4602c57600080fd5b6110006000f3"),
        ),
    ] {
        let mut contracts = marketplace();
        contracts.learn_code(HERE, &hex::decode(&code).unwrap(), None);
        assert_eq!(contracts.missing(HERE), Some(BEHIND), "{kind}");
        assert_eq!(label(contracts.target(Some(HERE), &MINT)), "_unknown._unknown", "{kind}");
        contracts.learn_code(BEHIND, &nft_code(), None);
        assert_eq!(label(contracts.target(Some(HERE), &MINT)), "MarketNFT.mint", "{kind}");
        let cut = &hex::decode(&code).unwrap()[..40];
        contracts.learn_code(OTHER, cut, None);
        assert_eq!(contracts.missing(OTHER), None, "{kind} cut short is no clone");
    }
}

#[test]
fn a_proxy_of_a_proxy_is_followed_and_a_circle_ends() {
    let (mut contracts, code) = with_proxy();
    contracts.learn_code(HERE, &clone_of(OTHER), None);
    contracts.learn_code(OTHER, &code, Some(BEHIND));
    contracts.learn_code(BEHIND, &nft_code(), None);
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "MarketNFT.mint");
    // Two that stand in front of each other, one in front of itself, and one in front of nothing.
    contracts.learn_code(HERE, &clone_of(OTHER), None);
    contracts.learn_code(OTHER, &clone_of(HERE), None);
    assert_eq!(contracts.missing(HERE), None);
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "_unknown._unknown");
    contracts.learn_code(HERE, &clone_of(HERE), None);
    assert_eq!(contracts.missing(HERE), None);
    contracts.learn_code(HERE, &clone_of(BEHIND), None);
    contracts.learn_code(BEHIND, &[], None);
    assert_eq!(label(contracts.target(Some(HERE), &MINT)), "_unknown._unknown", "no account");
    contracts.learn_code(HERE, &code, Some(Address::ZERO));
    assert_eq!(contracts.missing(HERE), None);
}

#[test]
fn a_chain_of_proxies_has_an_end() {
    let mut contracts = marketplace();
    let at = |i: u8| Address::with_last_byte(i);
    for i in 1..=6 {
        contracts.learn_code(at(i), &clone_of(at(i + 1)), None);
    }
    assert_eq!(contracts.missing(at(1)), None, "the seventh is too far behind");
    assert_eq!(contracts.missing(at(3)), Some(at(7)));
    contracts.learn_code(at(7), &nft_code(), None);
    assert_eq!(contracts.contract(at(3)).as_str(), "MarketNFT");
    assert_eq!(contracts.contract(at(2)).as_str(), "_unknown");
}

#[test]
fn an_upgrade_makes_what_is_behind_a_proxy_unknown() {
    for upgraded in ["Upgraded(address)", "BeaconUpgraded(address)"] {
        let (mut contracts, code) = with_proxy();
        contracts.learn_code(HERE, &code, Some(BEHIND));
        contracts.learn_code(BEHIND, &nft_code(), None);
        assert_eq!(
            contracts.event(HERE, topic("Transfer(address,address,uint256)")),
            EventName::known("Transfer")
        );
        assert!(contracts.knows(HERE));
        let name = upgraded.split('(').next().unwrap();
        assert_eq!(contracts.event(HERE, topic(upgraded)).as_str(), name);
        assert_eq!(contracts.missing(HERE), Some(HERE));
        assert_eq!(contracts.contract(HERE).as_str(), "ERC1967Proxy");
        let market: Value = serde_json::from_str(MARKET).unwrap();
        contracts.learn_code(HERE, &code, Some(OTHER));
        contracts.learn_code(OTHER, &bytes(&market["deployedBytecode"]), None);
        assert_eq!(contracts.contract(HERE).as_str(), "Marketplace");
    }
    let creation = bytes(&compiled("proxy")["bytecode"]);
    let upgraded = topic("Upgraded(address)").unwrap();
    assert!(creation.windows(32).any(|word| word == upgraded), "what OpenZeppelin's proxy emits");
}

#[test]
fn an_upgraded_beacon_makes_all_proxies_unknown() {
    let (mut contracts, _) = with_proxy();
    let code = bytes(&compiled("beaconProxy"));
    contracts.learn_code(HERE, &code, Some(BEHIND));
    contracts.learn_code(BEHIND, &nft_code(), None);
    contracts.learn_code(OTHER, &[0xfe, 0x01], None);
    assert!(contracts.knows(HERE));
    for _ in 0..2 {
        contracts.event(OTHER, topic("Upgraded(address)"));
        assert_eq!(contracts.missing(HERE), Some(HERE));
        assert_eq!(contracts.missing(BEHIND), None);
        contracts.learn_code(HERE, &code, Some(BEHIND));
        assert!(contracts.knows(HERE));
    }
}

#[test]
fn events_of_artifacts_written_again_and_again_are_bounded() {
    let mut contracts = Contracts::new();
    let event =
        |name: String| json!({"type": "event", "name": name, "inputs": [], "anonymous": false});
    for round in 0..15 {
        let abi = (0..9_000).map(|i| event(format!("E{round}x{i}"))).collect();
        contracts.add(artifact("A", "", &Value::Array(abi), "0x6001"));
    }
    assert!(contracts.events.len() <= MOST_EVENTS);
    assert_eq!(contracts.event(HERE, topic("E0x1()")).as_str(), "E0x1");
}

#[test]
fn a_proxy_told_by_its_creation_is_still_asked_for() {
    let (mut contracts, code) = with_proxy();
    let input = [&bytes(&compiled("proxy")["bytecode"])[..], &[0; 96]].concat();
    assert_eq!(contracts.created(HERE, &input, Interval::default()).as_str(), "ERC1967Proxy");
    assert_eq!(contracts.missing(HERE), Some(HERE));
    contracts.event(HERE, topic("Upgraded(address)"));
    contracts.learn_code(HERE, &code, Some(BEHIND));
    assert_eq!(contracts.missing(HERE), Some(BEHIND));
}

#[test]
fn errors_of_the_contract_behind_a_proxy_are_found_first() {
    let mut contracts = Contracts::new();
    // Both selectors are 0x42966c68: `burn(uint256)` and `collate_propagate_storage(bytes16)`.
    let error = |name: &str, ty: &str| json!([{"type": "error", "name": name, "inputs": [{"name": "", "type": ty}]}]);
    contracts.add(artifact("A", "", &error("burn", "uint256"), "0x6001"));
    contracts.add(artifact("B", "", &error("collate_propagate_storage", "bytes16"), "0x6002"));
    let data = [&[0x42, 0x96, 0x6c, 0x68][..], &[0; 32]].concat();
    assert_eq!(contracts.reason(Some(HERE), &data).as_str(), "burn");
    contracts.learn_code(HERE, &clone_of(BEHIND), None);
    contracts.learn_code(BEHIND, &[0x60, 0x02], None);
    assert_eq!(contracts.reason(Some(HERE), &data).as_str(), "collate_propagate_storage");
}

#[test]
fn events_are_named_by_whoever_knows_the_topic() {
    let mut contracts = Contracts::new();
    let of =
        |contracts: &mut Contracts, signature| contracts.event(HERE, topic(signature)).as_str();
    assert_eq!(
        of(&mut contracts, "TransferSingle(address,address,address,uint256,uint256)"),
        "TransferSingle"
    );
    let minted = "Minted(address,(uint256,bytes)[])";
    assert_eq!(of(&mut contracts, minted), "_unknown");
    let event = |anonymous| {
        json!([{"type": "event", "name": "Minted", "anonymous": anonymous, "inputs": [
            {"name": "by", "type": "address", "indexed": true},
            {"name": "all", "type": "tuple[]", "indexed": false, "components": [
                {"name": "a", "type": "uint256"}, {"name": "b", "type": "bytes"}]}]}])
    };
    contracts.add(artifact("Quiet", "", &event(true), "0x6001"));
    assert_eq!(of(&mut contracts, minted), "_unknown", "an anonymous event has no topic");
    contracts.add(artifact("Loud", "", &event(false), "0x6002"));
    assert_eq!(of(&mut contracts, minted), "Minted");
    assert_eq!(contracts.event(HERE, None).as_str(), "_unknown");
}

#[test]
fn contracts_without_an_artifact_go_by_their_interface() {
    let mut contracts = Contracts::new();
    for (standard, calls) in [
        (
            "ERC20",
            &[
                ("transfer(address,uint256)", "transfer"),
                ("decimals()", "decimals"),
                ("mint()", "_unknown"),
            ][..],
        ),
        (
            "ERC721",
            &[
                ("ownerOf(uint256)", "ownerOf"),
                ("tokenURI(uint256)", "tokenURI"),
                (
                    "safeTransferFrom(address,address,uint256)",
                    "safeTransferFrom(address,address,uint256)",
                ),
                ("tokenByIndex(uint256)", "_unknown"),
                ("totalSupply()", "_unknown"),
            ],
        ),
        (
            "ERC1155",
            &[
                ("balanceOf(address,uint256)", "balanceOf"),
                ("safeTransferFrom(address,address,uint256,uint256,bytes)", "safeTransferFrom"),
                ("supportsInterface(bytes4)", "supportsInterface"),
            ],
        ),
    ] {
        let code = bytes(&compiled(standard));
        assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), standard);
        for (signature, name) in calls {
            let target = contracts.target(Some(HERE), &keccak256(signature)[..4]);
            assert_eq!(label(target), format!("{standard}.{name}"));
        }
        contracts.learn_code(OTHER, &clone_of(HERE), None);
        assert_eq!(contracts.contract(OTHER).as_str(), standard, "behind a proxy");
    }
    let artifact_too = artifact("Coin", "", &json!([]), compiled("ERC20").as_str().unwrap());
    let code = bytes(&compiled("ERC20"));
    assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), "ERC20");
    contracts.add(artifact_too);
    assert!(!contracts.knows(HERE), "a new artifact may fit");
    assert_eq!(contracts.learn_code(HERE, &code, None).as_str(), "Coin", "artifacts win");
}

#[test]
fn code_that_only_calls_a_token_is_no_token() {
    // What a compiler makes of `token.transfer(…)` for each function of ERC-20.
    let calls: Vec<u8> = [
        "allowance(address,address)",
        "approve(address,uint256)",
        "balanceOf(address)",
        "totalSupply()",
        "transfer(address,uint256)",
        "transferFrom(address,address,uint256)",
    ]
    .iter()
    .flat_map(|signature| [&[0x63][..], &keccak256(signature)[..4], &[0x60, 0xe0, 0x1b]].concat())
    .collect();
    let dispatch =
        |code: &[u8]| code.chunks(8).flat_map(|c| [&c[..5], &[0x14]].concat()).collect::<Vec<_>>();
    let mut contracts = Contracts::new();
    assert_eq!(contracts.learn_code(HERE, &calls, None).as_str(), "_unknown");
    assert_eq!(contracts.learn_code(HERE, &dispatch(&calls), None).as_str(), "ERC20");
    // The same bytes as something that is pushed are no instructions.
    let hidden: Vec<u8> =
        dispatch(&calls).chunks(6).flat_map(|c| [&[0x65][..], c].concat()).collect();
    assert_eq!(contracts.learn_code(HERE, &hidden, None).as_str(), "_unknown");
}

#[test]
fn multicall3_is_known_by_its_address() {
    let mut contracts = Contracts::new();
    let canonical = address!("cA11bde05977b3631167028862bE2a173976CA11");
    assert_eq!(contracts.learn_code(canonical, &[0xfe], None).as_str(), "Multicall3");
    let aggregate = contracts.target(Some(canonical), &[0x82, 0xad, 0x56, 0xcb]);
    assert_eq!(label(aggregate), "Multicall3.aggregate3");
    assert_eq!(contracts.learn_code(canonical, &[], None).as_str(), ACCOUNT);
}

#[test]
fn panics_are_told_in_words_and_arguments_by_their_names() {
    let abi = json!([
        {"type": "error", "name": "InsufficientPrice", "inputs":
            [{"name": "sent", "type": "uint256"}, {"name": "price", "type": "uint256"}]},
        {"type": "error", "name": "Nested", "inputs": [{"name": "a", "type": "uint8[][][]"}]},
        {"type": "error", "name": "Long", "inputs": [{"name": "text", "type": "string[]"}]}
    ]);
    let mut contracts = Contracts::new();
    contracts.add(artifact("Shop", "", &abi, "0x6001"));
    let say = |contracts: &Contracts, data: &[u8]| contracts.revert_message(None, data).unwrap();
    let word = |value: u8| [&[0; 31][..], &[value]].concat();
    let of = |signature: &str, words: &[u8]| {
        let words: Vec<u8> = words.iter().flat_map(|value| word(*value)).collect();
        [&keccak256(signature)[..4], &words].concat()
    };
    let price = of("InsufficientPrice(uint256,uint256)", &[1, 2]);
    assert_eq!(say(&contracts, &price), "InsufficientPrice(sent: 1, price: 2)");
    let nested = of("Nested(uint8[][][])", &[0x20, 0]);
    assert_eq!(say(&contracts, &nested), "Nested", "could ask for all memory");
    let mut long = of("Long(string[])", &[0x20, 1, 0x20, 255]);
    long.extend([b'x'; 256]);
    let long = say(&contracts, &long);
    assert!(long.starts_with("Long(text: [\"xxx") && long.chars().count() <= 300, "{long}");
    let panic = |code| say(&contracts, &[&PANIC[..], &word(code)].concat());
    assert_eq!(panic(0x11), "Panic(0x11): arithmetic overflow or underflow");
    assert_eq!(panic(0x32), "Panic(0x32): array index out of bounds");
    assert_eq!(panic(0x77), "Panic(0x77)");
    let text: Vec<u8> =
        [&REVERT[..], &word(0x20), &[&[0; 30][..], &[2, 0]].concat(), &[b'y'; 512]].concat();
    assert_eq!(say(&contracts, &text), "y".repeat(300));
}

#[test]
fn slots_behind_a_proxy_are_named_by_the_layout_of_what_is_behind_it() {
    let (mut contracts, code) = with_proxy();
    let ledger = compiled("ledger");
    contracts.add(Artifact::parse(ledger.to_string().as_bytes(), "").unwrap());
    contracts.learn_code(HERE, &code, Some(BEHIND));
    let total = B256::with_last_byte(1);
    assert_eq!(contracts.slot_name(HERE, total), None, "nobody knows what is behind it");
    contracts.learn_code(BEHIND, &bytes(&ledger["deployedBytecode"]), None);
    assert_eq!(contracts.slot_name(HERE, total).as_deref(), Some("total"));
    let key = HERE.into_word();
    let balance = keccak256([key, B256::with_last_byte(2)].concat());
    assert_eq!(contracts.slot_name(HERE, balance), None);
    let name = contracts.slot_name_among(HERE, balance, &[key]).unwrap();
    assert_eq!(&*name, format!("balances[{HERE}]"));
    let implementation =
        B256::from(hex!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"));
    assert_eq!(
        contracts.slot_name(OTHER, implementation).as_deref(),
        Some("eip1967.proxy.implementation")
    );
}
