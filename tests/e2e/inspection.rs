//! Bodies that are hard to read: compressed by a gateway in front of the node, more than a megabyte
//! long, or holding blobs. What is recorded of them is compared with the node's own receipts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use alloy::consensus::{SignableTransaction, TxEip4844, TxEip4844WithSidecar, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip4844::{Blob, BlobTransactionSidecar, Bytes48};
use alloy::eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
use alloy::primitives::{Address, B256, Signature, U256, b256, hex};
use flate2::Compression;
use serde_json::{Value, json};

use crate::harness::{Dappscope, Metrics, http, until};
use crate::nodes::{Kind, Node};
use crate::probes::{GAS, Way, artifact, calldata};

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "X-GZIP"];
const CALLS: &str = "rpc_server_call_duration_seconds_count";
const UNINSPECTED: &str = "rpc_server_calls_uninspected_total";

fn compress(codings: &str, plain: &[u8]) -> Vec<u8> {
    codings.split(',').fold(plain.to_vec(), |bytes, coding| match coding.trim() {
        "gzip" | "X-GZIP" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4_096, 4, 20).write_all(&bytes).unwrap();
            out
        }
        "zstd" => zstd::encode_all(&bytes[..], 3).unwrap(),
        // A coding that is not registered.
        _ => bytes.iter().map(|byte| byte ^ 0xff).collect(),
    })
}

fn decompress(codings: &str, bytes: &[u8]) -> Vec<u8> {
    codings.split(',').rev().fold(bytes.to_vec(), |bytes, coding| {
        let mut plain = Vec::new();
        let read = match coding.trim() {
            "gzip" | "X-GZIP" => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain),
            "deflate" => flate2::read::ZlibDecoder::new(&bytes[..]).read_to_end(&mut plain),
            "br" => brotli::Decompressor::new(&bytes[..], 4_096).read_to_end(&mut plain),
            "zstd" => zstd::stream::read::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut plain),
            "" => return bytes,
            _ => return bytes.iter().map(|byte| byte ^ 0xff).collect(),
        };
        read.unwrap();
        plain
    })
}

/// A gateway before `node`: undoes a request's `Content-Encoding`, and compresses the answer as
/// `Accept-Encoding` asks.
fn gateway(node: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || pass(stream, node));
        }
    });
    address
}

fn pass(stream: TcpStream, node: SocketAddr) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut fields = BTreeMap::new();
    let mut head = String::new();
    reader.read_line(&mut head)?;
    loop {
        let begin = head.len();
        if reader.read_line(&mut head)? <= 2 {
            break;
        }
        let line = &head[begin..];
        let (name, value) = line.split_once(':').unwrap();
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if fields.contains_key("upgrade") {
        return tunnel(stream, node, &head);
    }
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let Ok(length) = field("content-length").parse() else { return Ok(()) };
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = decompress(field("content-encoding"), &body);
    let headers = [("Content-Type", "application/json")];
    let answer = http(node, "POST", "/", &headers, &body);
    let wanted = field("accept-encoding");
    let (coded, header) = match wanted {
        "" => (answer.body, String::new()),
        _ => (compress(wanted, &answer.body), format!("Content-Encoding: {wanted}\r\n")),
    };
    let head = format!(
        "HTTP/1.1 {} OK\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n",
        answer.status,
        coded.len()
    );
    let mut stream = stream;
    stream.write_all(&[head.as_bytes(), &coded].concat())
}

/// A WebSocket, by which the chain is watched, passes as it is.
fn tunnel(mut client: TcpStream, node: SocketAddr, head: &str) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(node)?;
    upstream.write_all(head.as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut upstream, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

/// Posts `body` compressed, and reads the answer, which comes compressed alike.
fn post(relay: SocketAddr, coding: &str, body: &Value) -> Value {
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", coding),
        ("Accept-Encoding", coding),
    ];
    let answer = http(relay, "POST", "/", &headers, &compress(coding, body.to_string().as_bytes()));
    assert_eq!(answer.status, 200, "{coding}");
    serde_json::from_slice(&decompress(coding, &answer.body)).unwrap()
}

fn request(id: usize, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// What is recorded of a transaction, once it is.
fn transaction(scope: &Dappscope, hash: &str) -> Value {
    until("the transaction to be recorded", || {
        let found = scope.ask("dappscope_transactions", &json!({"hash": hash, "last": "1d"}));
        found["transactions"].as_array().and_then(|list| list.first().cloned())
    })
}

/// The scrape, once a family's sum over these labels has come to `sum`.
fn counted(scope: &Dappscope, family: &str, labels: &[(&str, &str)], sum: f64) -> Metrics {
    until("the calls to be counted", || {
        let metrics = scope.metrics();
        (metrics.sum(family, labels) >= sum).then_some(metrics)
    })
}

fn calls(scope: &Dappscope, filter: &Value) -> Vec<Value> {
    scope.ask("dappscope_calls", filter)["calls"].as_array().unwrap().clone()
}

fn verdict(scope: &Dappscope) -> String {
    let overview = scope.ask("dappscope_overview", &json!({"last": "1h"}));
    overview["verdict"]["text"].as_str().unwrap().to_owned()
}

fn quantity(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Behind a gateway to `node`, once the chain is watched and the contract at `child` has its name.
fn behind_a_gateway(node: SocketAddr, child: &str) -> Dappscope {
    let scope = Dappscope::start(gateway(node), None, "");
    let read = json!([{"to": child, "data": calldata("n()", &[])}, "latest"]);
    until("the contract to be named", || {
        Way(scope.rpc).ask("eth_call", &read);
        let overview = scope.ask("dappscope_overview", &json!({"last": "1h"}));
        let named = calls(&scope, &json!({"last": "1h", "contract": "Child"}));
        (overview["node"]["up"] == true && !named.is_empty()).then_some(())
    });
    scope
}

#[test]
fn compressed_by_a_gateway_calls_are_read_as_plain_ones_are() {
    let node = Node::start(Kind::Hardhat2);
    let direct = Way(node.address);
    let from = direct.accounts().remove(0);
    let child = direct.deploy(&from, &artifact("probes/Child.sol/Child"));
    let scope = behind_a_gateway(node.address, &child);
    for coding in CODINGS {
        let send = |function: &str| {
            let data = calldata(function, &[]);
            let transaction = json!({"from": from, "to": child, "data": data, "gas": GAS});
            post(scope.rpc, coding, &request(1, "eth_sendTransaction", &json!([transaction])))
        };
        let poked = send("poke()")["result"].as_str().unwrap().to_owned();
        let failed = send("fail()")["error"]["data"]["txHash"].as_str().unwrap().to_owned();
        for (hash, function, status) in [(poked, "poke", "success"), (failed, "fail", "reverted")] {
            let recorded = transaction(&scope, &hash);
            let receipt = direct.receipt(&hash);
            assert_eq!(recorded["through_relay"], true, "{coding}: {recorded}");
            assert_eq!(
                (&recorded["contract"], &recorded["function"]),
                (&"Child".into(), &function.into())
            );
            assert_eq!(recorded["status"], status, "{coding}");
            assert_eq!(recorded["gas_used"], quantity(&receipt["gasUsed"]), "{coding}");
            if status == "reverted" {
                assert_eq!(recorded["reason"], "TooMany", "{coding}");
            }
        }
        let batch = json!([
            request(1, "eth_chainId", &json!([])),
            request(2, "eth_missing", &json!([])),
            request(3, "net_version", &json!([])),
        ]);
        assert_eq!(post(scope.rpc, coding, &batch).as_array().unwrap().len(), 3);
    }
    let each = CODINGS.len() as f64;
    let metrics = counted(&scope, CALLS, &[("rpc_method", "net_version")], each);
    let count = |method: &str, error: &str| {
        metrics.sum(CALLS, &[("rpc_method", method), ("error_type", error)])
    };
    assert_eq!(count("eth_sendTransaction", ""), each);
    assert_eq!(count("eth_sendTransaction", "-32603"), each);
    assert_eq!(count("eth_chainId", ""), each);
    assert_eq!(count("net_version", ""), each);
    assert_eq!(metrics.sum(UNINSPECTED, &[]), 0.0);
    assert_eq!(metrics.sum("dappscope_parse_failures_total", &[]), 0.0);
    assert!(
        calls(&scope, &json!({"last": "1h"})).iter().all(|call| call["outcome"] != "uninspected")
    );
    assert!(scope.stop().success());
}

#[test]
fn an_unknown_coding_is_said_and_its_transactions_are_joined() {
    let node = Node::start(Kind::Hardhat2);
    let direct = Way(node.address);
    let from = direct.accounts().remove(0);
    let child = direct.deploy(&from, &artifact("probes/Child.sol/Child"));
    let scope = behind_a_gateway(node.address, &child);
    let data = calldata("poke()", &[]);
    let send = request(
        1,
        "eth_sendTransaction",
        &json!([{"from": from, "to": child, "data": data, "gas": GAS}]),
    );
    // The request is hidden, and then both are.
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "rot")];
    let body = compress("rot", send.to_string().as_bytes());
    let answer = http(scope.rpc, "POST", "/", &headers, &body).json();
    let hash = answer["result"].as_str().unwrap();
    let recorded = transaction(&scope, hash);
    assert_eq!(recorded["through_relay"], true, "{recorded}");
    assert_eq!((&recorded["contract"], &recorded["function"]), (&"Child".into(), &"poke".into()));
    let filter = json!({"last": "1h", "transaction": hash});
    let call = until("the call to be recorded", || calls(&scope, &filter).into_iter().next());
    assert_eq!((&call["outcome"], &call["uninspected"]), (&"success".into(), &"compressed".into()));
    post(scope.rpc, "rot", &send);
    let metrics = counted(&scope, UNINSPECTED, &[], 2.0);
    assert_eq!(metrics.sum(UNINSPECTED, &[("reason", "compressed")]), 2.0);
    scope.settled();
    let said = verdict(&scope);
    assert!(said.contains("2 RPC calls could not be read: compressed"), "{said}");
    assert!(!said.contains("All well"), "{said}");
    assert!(scope.stop().success());
}

#[test]
fn a_batch_of_more_than_a_megabyte_is_read_item_by_item() {
    const FAILING: usize = 72;
    const ITEMS: usize = 1_000;
    for kind in Kind::ALL {
        let node = Node::start(kind);
        let scope = Dappscope::start(node.address, None, "");
        let long = format!("0x{}", "ab".repeat(493));
        let items = (0..ITEMS).map(|id| match id % 13 {
            // An item in thirteen, 72 in all.
            0 if id / 13 < FAILING => request(id, "eth_missing", &json!([long])),
            _ => request(id, "web3_sha3", &json!([long])),
        });
        let mut body = Value::from(items.collect::<Vec<_>>()).to_string();
        assert!((1_048_577..1_062_351).contains(&body.len()), "{}", body.len());
        body += &" ".repeat(1_062_351 - body.len());
        let headers = [("Content-Type", "application/json")];
        let answers = http(scope.rpc, "POST", "/", &headers, body.as_bytes()).json();
        let failed = |answer: &&Value| answer["error"].is_object();
        assert_eq!(answers.as_array().unwrap().iter().filter(failed).count(), FAILING, "{kind:?}");
        let metrics = counted(&scope, CALLS, &[], ITEMS as f64);
        scope.settled();
        let count = |labels: &[(&str, &str)]| metrics.sum(CALLS, labels);
        assert_eq!(count(&[]), ITEMS as f64, "{kind:?}");
        assert_eq!(count(&[("error_type", "")]), (ITEMS - FAILING) as f64, "{kind:?}");
        assert_eq!(metrics.sum("rpc_server_batch_size_count", &[]), 1.0);
        assert_eq!(metrics.sum(UNINSPECTED, &[]), 0.0, "{kind:?}");
        let said = verdict(&scope);
        assert!(said.contains("7.2 % of 1,000 RPC calls failed"), "{kind:?}: {said}");
        assert!(scope.stop().success());
    }
}

/// The first account of all three nodes.
const KEY: [u8; 32] = b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").0;
/// Of a commitment that is the point at infinity, as a blob of zeros has.
const VERSIONED_HASH: B256 =
    b256!("010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014");

/// A signed transaction with `blobs` blobs of zeros, as it is sent, and its hash.
fn blob_transaction(nonce: u64, blobs: usize, has_cell_proofs: bool) -> (String, B256) {
    let infinity = Bytes48::from_slice(&[&[0xc0][..], &[0; 47]].concat());
    let (all, commitments) = (vec![Blob::ZERO; blobs], vec![infinity; blobs]);
    let sidecar = match has_cell_proofs {
        true => BlobTransactionSidecarVariant::Eip7594(BlobTransactionSidecarEip7594::new(
            all,
            commitments,
            vec![infinity; blobs * 128],
        )),
        false => BlobTransactionSidecarVariant::Eip4844(BlobTransactionSidecar {
            blobs: all,
            commitments,
            proofs: vec![infinity; blobs],
        }),
    };
    let transaction = TxEip4844 {
        chain_id: 31_337,
        nonce,
        gas_limit: 30_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: Address::repeat_byte(7),
        value: U256::from(5),
        blob_versioned_hashes: vec![VERSIONED_HASH; blobs],
        max_fee_per_blob_gas: 1_000_000_000,
        ..TxEip4844::default()
    };
    let key = k256::ecdsa::SigningKey::from_slice(&KEY).unwrap();
    let signed = key.sign_prehash_recoverable(transaction.signature_hash().as_slice()).unwrap();
    let signature = Signature::from(signed);
    let hash = *transaction.clone().into_signed(signature).hash();
    let sent = TxEip4844WithSidecar { tx: transaction, sidecar }.into_signed(signature);
    (hex::encode_prefixed(TxEnvelope::from(sent).encoded_2718()), hash)
}

/// Sends a blob transaction; its hash, as the node returns it.
fn send_blobs(way: Way, nonce: u64, blobs: usize, has_cell_proofs: bool) -> String {
    let (raw, hash) = blob_transaction(nonce, blobs, has_cell_proofs);
    let recorded = way.ask("eth_sendRawTransaction", &json!([raw]));
    assert_eq!(recorded, hash.to_string());
    hash.to_string()
}

/// Which of the two forms of sidecar a node takes, found out by a transaction of nonce 0.
fn takes_cell_proofs(node: Way) -> bool {
    let answers = [true, false].map(|has_cell_proofs| {
        let (raw, _) = blob_transaction(0, 1, has_cell_proofs);
        node.answer("eth_sendRawTransaction", &json!([raw]))
    });
    let accepted = answers.iter().position(|answer| answer["error"].is_null());
    accepted.unwrap_or_else(|| panic!("blobs are refused: {answers:?}")) == 0
}

#[test]
fn transactions_of_one_four_and_six_blobs_have_the_node_s_gas() {
    for kind in Kind::ALL {
        let node = Node::start(kind);
        let direct = Way(node.address);
        let scope = Dappscope::start(node.address, None, "");
        let has_cell_proofs = takes_cell_proofs(direct);
        for (nonce, blobs) in [(1, 1), (2, 4), (3, 6)] {
            let hash = send_blobs(Way(scope.rpc), nonce, blobs, has_cell_proofs);
            let receipt = direct.receipt(&hash);
            let recorded = transaction(&scope, &hash);
            assert_eq!(recorded["through_relay"], true, "{kind:?}, {blobs} blobs: {recorded}");
            assert_eq!(recorded["gas_used"], quantity(&receipt["gasUsed"]));
            let filter = json!({"transaction": hash, "last": "1h"});
            let call = until("the call", || calls(&scope, &filter).into_iter().next());
            assert_eq!(call["outcome"], "success", "{kind:?}, {blobs} blobs");
            assert!(call["uninspected"].is_null(), "{kind:?}, {blobs} blobs");
        }
        assert_eq!(scope.settled().sum(UNINSPECTED, &[]), 0.0, "{kind:?}");
        assert!(scope.stop().success());
    }
}

#[test]
fn a_send_beyond_the_limit_is_said_and_its_transaction_joined() {
    let node = Node::start(Kind::Anvil);
    let scope = Dappscope::start(node.address, None, "[rpc]\ncapture_bytes = 65536\n");
    let has_cell_proofs = takes_cell_proofs(Way(node.address));
    let hash = send_blobs(Way(scope.rpc), 1, 2, has_cell_proofs);
    assert_eq!(transaction(&scope, &hash)["through_relay"], true);
    let filter = json!({"transaction": hash, "last": "1h"});
    let call = until("the call", || calls(&scope, &filter).into_iter().next());
    assert_eq!(call["outcome"], "success");
    assert_eq!(call["uninspected"], "too_large");
    let said = verdict(&scope);
    assert!(said.contains("could not be read: too large"), "{said}");
    assert!(scope.stop().success());
}

#[test]
fn a_batch_beyond_the_limit_is_read_as_far_as_it_was_kept() {
    let node = Node::start(Kind::Anvil);
    let scope = Dappscope::start(node.address, None, "[rpc]\ncapture_bytes = 20000\n");
    let items = (0..500).map(|id| match id {
        0..50 => request(id, "eth_missing", &json!([])),
        _ => request(id, "eth_chainId", &json!([])),
    });
    let body = Value::from(items.collect::<Vec<_>>()).to_string();
    let headers = [("Content-Type", "application/json")];
    let answers = http(scope.rpc, "POST", "/", &headers, body.as_bytes()).json();
    assert_eq!(answers.as_array().unwrap().len(), 500);
    // The rest of the batch is recorded after its items.
    let metrics = counted(&scope, UNINSPECTED, &[], 1.0);
    scope.settled();
    let count = |labels: &[(&str, &str)]| metrics.sum(CALLS, labels);
    assert_eq!(count(&[("error_type", "-32601")]), 50.0);
    let (seen, unread) = (count(&[("rpc_method", "eth_chainId")]), metrics.sum(UNINSPECTED, &[]));
    assert!(seen > 50.0, "{seen}");
    // The rest of the requests was not kept, but of its answers some were.
    assert!(unread >= 1.0, "{unread}");
    let said = verdict(&scope);
    assert!(said.contains("could not be read: too large"), "{said}");
    assert!(scope.stop().success());
}
