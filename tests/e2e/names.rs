//! Names of contracts and functions on the three nodes: they are those of the code that was at an
//! address when a call ran.

use std::process::Command;

use alloy::primitives::{Address, B256, U256, hex};
use serde_json::{Value, json};

use crate::harness::{Dappscope, marketplace, until};
use crate::nodes::{Kind, Node};
use crate::probes::{GAS, Way, artifact, calldata};

const CALLS: &str = "evm_contract_call_duration_seconds_count";
const SALT: B256 = B256::repeat_byte(7);

/// A node, and dappscope in front of it.
struct Scene {
    kind: Kind,
    node: Node,
    scope: Dappscope,
}

impl Scene {
    fn start(kind: Kind) -> Self {
        Self::with(kind, "")
    }

    fn with(kind: Kind, settings: &str) -> Self {
        let node = Node::start(kind);
        let scope = Dappscope::start(node.address, None, settings);
        until("the node to be followed", || {
            (scope.metrics().sum("evm_node_up", &[]) > 0.5).then_some(())
        });
        Self { kind, node, scope }
    }

    fn relay(&self) -> Way {
        Way(self.scope.rpc)
    }

    fn direct(&self) -> Way {
        Way(self.node.address)
    }

    fn read(&self, to: &str, data: &str) -> Value {
        self.relay().answer("eth_call", &json!([{"to": to, "data": data}, "latest"]))
    }

    /// Calls of this kind (`read`, `estimate`, `write`) that were named so.
    fn calls(&self, name: &str, access: &str) -> f64 {
        let (contract, function) = name.rsplit_once('.').unwrap();
        let labels = [("contract", contract), ("function", function), ("kind", access)];
        self.scope.metrics().sum(CALLS, &labels)
    }

    /// Reads until a read more has this name. On a busy machine the code may come too late for a call,
    /// which then has no name; it never has a wrong one.
    fn reads_as(&self, to: &str, data: &str, name: &str) {
        self.repeats(name, "read", || drop(self.read(to, data)));
    }

    /// The same of transactions: also the mined one is named so.
    fn sends_as(&self, to: &str, data: &str, name: &str) -> Value {
        let from = &self.relay().accounts()[0];
        self.repeats(name, "write", || drop(self.relay().send(from, to, data, GAS)));
        self.mined(1, name)
    }

    fn repeats(&self, name: &str, access: &str, call: impl Fn()) {
        let before = self.calls(name, access);
        until(name, || {
            call();
            self.scope.settled();
            (self.calls(name, access) > before + 0.5).then_some(())
        });
    }

    /// Waits until so many calls have this name.
    fn named(&self, count: u32, name: &str, access: &str) {
        let enough = || (self.calls(name, access) > f64::from(count) - 0.5).then_some(());
        let begun = std::time::Instant::now();
        until("a name", || {
            let late = begun.elapsed().as_secs() >= 20;
            assert!(!late, "{:?}: no {count} × {name} ({access}): {}", self.kind, self.all_calls());
            enough()
        });
    }

    /// Waits until this many transactions have this name, whatever their status.
    fn mined(&self, count: u32, name: &str) -> Value {
        let (contract, function) = name.rsplit_once('.').unwrap();
        let begun = std::time::Instant::now();
        until("a transaction's name", || {
            let told = self.scope.ask("dappscope_transactions", &json!({"last": "1h"}));
            let all = told["transactions"].as_array().unwrap().clone();
            let is_it = |t: &&Value| t["contract"] == contract && t["function"] == function;
            let found: Vec<_> = all.iter().filter(is_it).cloned().collect();
            if found.len() >= count as usize {
                return found.first().cloned();
            }
            let names = || all.iter().map(|t| format!("{}.{}", t["contract"], t["function"]));
            let late = begun.elapsed().as_secs() >= 20;
            let kind = self.kind;
            assert!(!late, "{kind:?}: no {count} × {name}: {:?}", names().collect::<Vec<_>>());
            None
        })
    }

    fn all_calls(&self) -> String {
        let metrics = self.scope.metrics_text();
        let lines = metrics.lines().filter(|line| line.starts_with(CALLS));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn code(place: &str) -> Value {
    artifact(place)["deployedBytecode"].clone()
}

/// Where the factory puts the child of this salt.
fn child_of(factory: &str, salt: B256) -> String {
    let creation = hex::decode(artifact("probes/Child.sol/Child")["bytecode"].as_str().unwrap());
    let factory: Address = factory.parse().unwrap();
    factory.create2_from_code(salt, creation.unwrap()).to_string()
}

fn make(salt: B256) -> String {
    calldata("make(bytes32)", &[salt.into()])
}

#[test]
fn an_address_that_had_no_code_gets_its_contracts_name() {
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let factory = relay.deploy(from, &artifact("probes/Child.sol/ChildFactory"));
        let poke = calldata("poke()", &[]);
        let looks: [&dyn Fn(&str); 5] = [
            &|child| drop(relay.ask("eth_getCode", &json!([child, "latest"]))),
            &|child| drop(relay.ask("eth_getBalance", &json!([child, "latest"]))),
            &|child| drop(scene.read(child, &poke)),
            &|child| drop(relay.answer("eth_estimateGas", &json!([{"to": child, "data": poke}]))),
            &|child| {
                let gift = json!([{"from": from, "to": child, "value": "0x1"}]);
                relay.ask("eth_sendTransaction", &gift);
            },
        ];
        let names = [
            ("_account.eth_getCode", "read"),
            ("_account.eth_getBalance", "read"),
            ("_account._unknown", "read"),
            ("_account._unknown", "estimate"),
            ("_account.receive", "write"),
        ];
        for ((look, (name, access)), salt) in looks.iter().zip(names).zip(1..) {
            let salt = B256::with_last_byte(salt);
            let child = child_of(&factory, salt);
            scene.repeats(name, access, || look(&child));
            relay.send(from, &factory, &make(salt), GAS);
            scene.sends_as(&child, &poke, "Child.poke");
        }
        // At once: what was asked for before the creation is no answer.
        let child = child_of(&factory, SALT);
        scene.read(&child, &poke);
        relay.send(from, &factory, &make(SALT), GAS);
        scene.sends_as(&child, &poke, "Child.poke");
        assert_eq!(scene.calls("_account._unknown", "write"), 0.0, "{kind:?}");
    }
}

#[test]
fn code_that_is_set_is_named_from_then_on() {
    let (get_a, get_b) = (calldata("getA()", &[]), calldata("getB()", &[]));
    let set_b = calldata("setB(uint256)", &[U256::from(2)]);
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let fixture = relay.deploy(from, &artifact("probes/Fixtures.sol/FixA"));
        scene.read(&fixture, &get_a);
        scene.named(1, "FixA.getA", "read");
        let methods: &[&str] = match kind {
            Kind::Anvil => &["hardhat_setCode", "anvil_setCode"],
            _ => &["hardhat_setCode"],
        };
        // What is set is known without a question to the node: each call has its name.
        for (method, round) in methods.iter().zip(1..) {
            relay.ask(method, &json!([fixture, code("probes/Fixtures.sol/FixB")]));
            relay.send(from, &fixture, &set_b, GAS);
            scene.read(&fixture, &get_b);
            scene.named(round, "FixB.getB", "read");
            scene.named(round, "FixB.setB", "write");
            scene.mined(round, "FixB.setB");
            relay.ask(method, &json!([fixture, code("probes/Fixtures.sol/FixA")]));
            scene.read(&fixture, &get_a);
            scene.named(round + 1, "FixA.getA", "read");
        }
        // An address that was held to have no code, and one whose code is taken away.
        let empty = "0x00000000000000000000000000000000000e0e0e";
        scene.reads_as(empty, &get_b, "_account._unknown");
        relay.ask("hardhat_setCode", &json!([empty, code("probes/Fixtures.sol/FixB")]));
        scene.reads_as(empty, &get_b, "FixB.getB");
        relay.ask("hardhat_setCode", &json!([empty, "0x"]));
        scene.reads_as(empty, &get_b, "_account._unknown");
        assert_eq!(scene.calls("FixA._unknown", "read"), 0.0, "{kind:?}");
    }
}

#[test]
fn fixtures_at_one_address_keep_their_own_names() {
    const ROUNDS: u32 = 30;
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        // What every fixture finds there.
        let odd = relay.deploy(from, &artifact("probes/Odd.sol/Odd"));
        let fixtures = ["A", "B"].map(|name| {
            let compiled = artifact(&format!("probes/Fixtures.sol/Fix{name}"));
            let get = calldata(&format!("get{name}()"), &[]);
            let set = calldata(&format!("set{name}(uint256)"), &[U256::from(4)]);
            (compiled, get, set)
        });
        let mut places = std::collections::BTreeSet::new();
        for round in 0..ROUNDS {
            let (compiled, get, set) = &fixtures[(round % 2) as usize];
            let snapshot = relay.ask("evm_snapshot", &json!([]));
            let fixture = relay.deploy(from, compiled);
            for _ in 0..3 {
                scene.read(&fixture, get);
            }
            relay.send(from, &fixture, set, GAS);
            scene.read(&odd, &calldata("x()", &[]));
            assert_eq!(relay.ask("evm_revert", &json!([snapshot])), json!(true));
            places.insert(fixture);
        }
        assert_eq!(places.len(), 1, "{kind:?}: the fixtures are at one address");
        scene.named(ROUNDS, "Odd.x", "read");
        for (read, write) in [("FixA.getA", "FixA.setA"), ("FixB.getB", "FixB.setB")] {
            scene.named(3 * ROUNDS / 2, read, "read");
            scene.named(ROUNDS / 2, write, "write");
        }
        scene.scope.settled();
        let told = scene.scope.ask("dappscope_transactions", &json!({"last": "1h", "limit": 1000}));
        for wrong in ["FixA", "FixB", "_account"] {
            let name = format!("{wrong}._unknown");
            for access in ["read", "write"] {
                assert_eq!(scene.calls(&name, access), 0.0, "{kind:?}: {}", scene.all_calls());
            }
            for transaction in told["transactions"].as_array().unwrap() {
                let is_it =
                    transaction["contract"] == wrong && transaction["function"] == "_unknown";
                assert!(!is_it, "{kind:?}: {transaction}");
            }
        }
    }
}

#[test]
fn fixtures_whose_receipts_pass_elsewhere_get_no_wrong_names() {
    const ROUNDS: u32 = 20;
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let (relay, direct) = (scene.relay(), scene.direct());
        let from = &relay.accounts()[0];
        for round in 0..ROUNDS {
            let name = ["A", "B"][(round % 2) as usize];
            let code = &artifact(&format!("probes/Fixtures.sol/Fix{name}"))["bytecode"];
            let snapshot = relay.ask("evm_snapshot", &json!([]));
            let creation = json!([{"from": from, "data": code, "gas": GAS}]);
            let hash = relay.ask("eth_sendTransaction", &creation);
            let receipt = direct.receipt(hash.as_str().unwrap());
            let fixture = receipt["contractAddress"].as_str().unwrap();
            for _ in 0..3 {
                scene.read(fixture, &calldata(&format!("get{name}()"), &[]));
            }
            assert_eq!(relay.ask("evm_revert", &json!([snapshot])), json!(true));
        }
        let all = |name: &str| scene.calls(name, "read");
        until("the reads to be recorded", || {
            let known = all("FixA.getA") + all("FixB.getB") + all("_unknown._unknown");
            (known > f64::from(3 * ROUNDS) - 0.5).then_some(())
        });
        for wrong in ["FixA._unknown", "FixB._unknown", "_account._unknown"] {
            assert_eq!(all(wrong), 0.0, "{kind:?}: {}", scene.all_calls());
        }
    }
}

#[test]
fn a_chain_that_begins_anew_has_other_contracts_at_its_addresses() {
    let (get_a, get_b) = (calldata("getA()", &[]), calldata("getB()", &[]));
    for (kind, reset) in [(Kind::Hardhat2, "hardhat_reset"), (Kind::Anvil, "anvil_reset")] {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let first = relay.deploy(from, &artifact("probes/Fixtures.sol/FixA"));
        scene.reads_as(&first, &get_a, "FixA.getA");
        relay.ask(reset, &json!([]));
        let second = relay.deploy(from, &artifact("probes/Fixtures.sol/FixB"));
        assert_eq!(first, second);
        scene.reads_as(&second, &get_b, "FixB.getB");
        // The same past the relay, once the new block was seen.
        let direct = scene.direct();
        let snapshot = direct.ask("evm_snapshot", &json!([]));
        let third = direct.deploy(from, &artifact("probes/Fixtures.sol/FixA"));
        scene.mined(2, "FixA.constructor");
        scene.reads_as(&third, &get_a, "FixA.getA");
        direct.ask("evm_revert", &json!([snapshot]));
        let fourth = direct.deploy(from, &artifact("probes/Fixtures.sol/FixB"));
        assert_eq!(third, fourth);
        scene.mined(2, "FixB.constructor");
        scene.reads_as(&fourth, &get_b, "FixB.getB");
        assert_eq!(scene.calls("FixA._unknown", "read"), 0.0, "{kind:?}");
    }
}

#[test]
fn a_proxy_whose_slot_is_set_goes_by_its_new_implementation() {
    const SLOT: &str = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let [counter, fixture] =
            ["probes/ProbeCounter.sol/ProbeCounter", "probes/Fixtures.sol/FixA"]
                .map(|place| relay.deploy(from, &artifact(place)).parse::<Address>().unwrap());
        let proxy = "../@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol/ERC1967Proxy";
        let creation = artifact(proxy)["bytecode"].as_str().unwrap().to_owned();
        let word = |word: U256| hex::encode(word.to_be_bytes::<32>());
        let behind = word(counter.into_word().into());
        // It is initialised by a call of `count()`.
        let call = "06661abd00000000000000000000000000000000000000000000000000000000";
        let words = [U256::from(0x40), U256::from(4)].map(word).concat();
        let arguments = format!("{behind}{words}{call}");
        let proxy = relay.deploy(from, &json!({"bytecode": format!("{creation}{arguments}")}));
        scene.reads_as(&proxy, &calldata("count()", &[]), "ProbeCounter.count");
        relay.ask("hardhat_setStorageAt", &json!([proxy, SLOT, fixture.into_word()]));
        scene.reads_as(&proxy, &calldata("getA()", &[]), "FixA.getA");
    }
}

#[test]
fn a_delegated_account_goes_by_its_delegate() {
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let delegate = relay.deploy(from, &artifact("probes/SmartAccount.sol/SmartAccount"));
        let version = calldata("version()", &[]);
        // Through the relay, and past it.
        for way in [scene.scope.rpc, scene.node.address] {
            let url = format!("http://{way}");
            let delegated = delegate_to(&url, &delegate);
            let account = delegated["account"].as_str().unwrap();
            await_block_of(&scene, &delegated);
            scene.reads_as(account, &version, "SmartAccount.version");
            let executed = scene.sends_as(account, &execute(from), "SmartAccount.execute");
            let address: Address =
                executed["delegation"]["address"].as_str().unwrap().parse().unwrap();
            assert_eq!(address, delegate.parse::<Address>().unwrap(), "{kind:?}");
            assert_eq!(executed["delegation"]["contract"], "SmartAccount");
            await_block_of(&scene, &delegate_to(&url, &Address::ZERO.to_string()));
            scene.reads_as(account, &version, "_account._unknown");
        }
        let told = scene.scope.ask("dappscope_contracts", &json!({"last": "1h"}));
        let contracts = told["contracts"].as_array().unwrap();
        let contract = contracts.iter().find(|it| it["contract"] == "SmartAccount").unwrap();
        assert_eq!(contract["delegations"].as_array().unwrap().len(), 1, "{contract}");
    }
}

/// `execute(to, 0, "")`
fn execute(to: &str) -> String {
    let to = U256::from_be_bytes(to.parse::<Address>().unwrap().into_word().0);
    let words = [to, U256::ZERO, U256::from(0x60), U256::ZERO];
    calldata("execute(address,uint256,bytes)", &words)
}

fn delegate_to(url: &str, contract: &str) -> Value {
    let output = Command::new("node")
        .args(["clients/delegation.mjs", url, contract])
        .current_dir(marketplace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until the block of a transaction was seen.
fn await_block_of(scene: &Scene, transaction: &Value) {
    until("the transaction to be recorded", || {
        let told = scene
            .scope
            .ask("dappscope_transactions", &json!({"hash": transaction["hash"], "last": "1h"}));
        (!told["transactions"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn simulations_and_traces_are_told_by_function() {
    for kind in Kind::ALL {
        let scene = Scene::start(kind);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        let fixture = relay.deploy(from, &artifact("probes/Fixtures.sol/FixA"));
        let get = json!({"from": from, "to": fixture, "data": calldata("getA()", &[])});
        let odd = calldata("setA(uint256)", &[U256::from(3)]);
        let set = json!({"from": from, "to": fixture, "input": odd});
        let mut expected = 0;
        for (method, params) in [
            ("eth_createAccessList", json!([get, "latest"])),
            ("debug_traceCall", json!([get, "latest", {}])),
            ("trace_call", json!([get, ["trace"], "latest"])),
            ("eth_callMany", json!([[{"transactions": [get]}], {"blockNumber": "latest"}])),
            ("eth_simulateV1", json!([{"blockStateCalls": [{"calls": [get]}]}, "latest"])),
        ] {
            // Whether the node knows the method or not, it is known what was asked.
            relay.answer(method, &params);
            expected += 1;
            scene.named(expected, "FixA.getA", "read");
        }
        let calls =
            json!([{"blockStateCalls": [{"calls": [get, set]}, {"calls": [get]}]}, "latest"]);
        let answer = relay.answer("eth_simulateV1", &calls);
        let simulated = until("the simulation to be recorded", || {
            let filter = json!({"last": "1h", "method": "eth_simulateV1"});
            let told = scene.scope.ask("dappscope_calls", &filter);
            let calls = told["calls"].as_array()?;
            let is_it = |call: &&Value| call["inner"].as_array().is_some_and(|it| it.len() == 3);
            calls.iter().find(is_it).cloned()
        });
        let inner = simulated["inner"].as_array().unwrap();
        let functions: Vec<_> = inner.iter().map(|call| &call["function"]).collect();
        assert_eq!(functions, ["getA", "setA", "getA"], "{kind:?}: {simulated}");
        if answer["error"].is_null() {
            let success: Vec<_> = inner.iter().map(|call| &call["success"]).collect();
            assert_eq!(success, [true, false, true], "{kind:?}: {answer}");
            assert_eq!(inner[1]["reason"], "OddValue", "{kind:?}");
        }
    }
}

#[test]
fn contracts_of_one_name_go_by_their_sources_in_any_order() {
    let sources = ["probes/VaultA.sol/Vault", "probes/VaultB.sol/Vault"];
    let put = calldata("put(uint256)", &[U256::from(1)]);
    for order in [[0, 1], [1, 0]] {
        let scene = Scene::start(Kind::Anvil);
        let relay = scene.relay();
        let from = &relay.accounts()[0];
        for source in order.map(|at| sources[at]) {
            let vault = relay.deploy(from, &artifact(source));
            relay.send(from, &vault, &put, GAS);
            let name = source.replace(".sol/", ".sol:");
            scene.mined(1, &format!("contracts/{name}.put"));
            scene.mined(1, &format!("contracts/{name}.constructor"));
        }
        assert!(!scene.all_calls().contains("contract=\"Vault\""));
    }
}

#[test]
fn a_diamonds_function_is_named_beside_an_interface_with_overloads() {
    let scene = Scene::start(Kind::Anvil);
    let relay = scene.relay();
    let from = &relay.accounts()[0];
    let diamond = relay.deploy(from, &artifact("probes/Diamond.sol/Diamond"));
    scene.sends_as(&diamond, &calldata("enlist(uint256)", &[U256::from(1)]), "Diamond.enlist");
}

#[test]
fn a_vyper_contract_with_immutables_is_named_by_its_code_on_chain() {
    let compiled: Value =
        serde_json::from_str(include_str!("../fixtures/artifacts/vyper.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Fixed.json"), compiled.to_string()).unwrap();
    for kind in [Kind::Hardhat2, Kind::Anvil] {
        let node = Node::start(kind);
        let direct = Way(node.address);
        let from = &direct.accounts()[0];
        let creation = compiled["bytecode"].as_str().unwrap();
        let limit = hex::encode(B256::with_last_byte(9));
        let deployed = direct.deploy(from, &json!({"bytecode": format!("{creation}{limit}")}));
        let settings = format!("[chain]\nartifacts = [{:?}]\n", folder.path());
        let scope = Dappscope::start(node.address, None, &settings);
        let scene = Scene { kind, node, scope };
        scene.reads_as(&deployed, &calldata("LIMIT()", &[]), "Fixed.LIMIT");
        scene.sends_as(&deployed, &calldata("add(uint256)", &[U256::from(2)]), "Fixed.add");
    }
}

#[test]
fn artifacts_beyond_the_limit_are_said_to_be_left_out() {
    let artifacts = marketplace().join("artifacts");
    let settings = format!("[chain]\nmax_artifacts = 3\nartifacts = [{artifacts:?}]\n");
    let scene = Scene::with(Kind::Anvil, &settings);
    let line = scene.scope.await_log("the artifacts left out", |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.contains("chain.max_artifacts"))
    });
    assert_eq!(line["fields"]["kept"], 3, "{line}");
    assert!(line["fields"]["left_out"].as_u64().unwrap() > 3, "{line}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let program = env!("CARGO_BIN_EXE_dappscope");
    let check =
        Command::new(program).args(["check", "--config"]).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(said.contains("chain.max_artifacts: expected at most 3 artifacts, found "), "{said}");
}
