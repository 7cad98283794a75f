//! A person at the page, in a browser: what they see of a purchase is what the API of the monitor
//! tells, and their range holds while the page is paused.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{marketplace, until};
use crate::marketplace::{Dapp, Way, post};

/// Mints, lists and buys; the purchase's transaction's hash.
fn buy(dapp: &Dapp) -> Value {
    let did = |path: &str, body: Value, expected: u16| {
        let (status, answer) = post(dapp.api, path, &body);
        assert_eq!(status, expected, "{path}: {answer}");
        answer
    };
    let minted = did("/api/nfts/mint", json!({"account": 1, "uri": "ipfs://page"}), 201);
    let path = format!("/api/nfts/{}", minted["token_id"]);
    did(&format!("{path}/list"), json!({"price_wei": "1000"}), 200);
    did(&format!("{path}/buy"), json!({"account": 2}), 200)["transaction"]["hash"].clone()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[test]
fn a_person_finds_a_purchase_and_its_gas_on_wide_and_narrow_screens() {
    assert!(std::path::Path::new("/usr/bin/chromium").is_file(), "run tests/run.sh first");
    let dapp = Dapp::start(Way::PLAIN);
    let hash = buy(&dapp);
    let gas = until("the purchase is mined", || {
        let told = dapp.scope.ask("dappscope_transactions", &json!({ "hash": hash }));
        told["transactions"][0]["gas_used"].as_u64()
    });
    let visited = Command::new("node")
        .args(["clients/page_session.mjs", &format!("http://{}", dapp.scope.page)])
        .current_dir(marketplace())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&visited.stderr);
    assert!(visited.status.success(), "{complaint}");
    let seen: Value = serde_json::from_slice(&visited.stdout).unwrap();
    for width in ["wide", "narrow"] {
        let seen = &seen[width];
        let rows: Vec<String> =
            seen["rows"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let has = |words: &str| rows.iter().any(|row| row.contains(words));
        assert!(has("transaction Marketplace.buy"), "{width}: {rows:#?}");
        assert!(has(&format!("success · {} gas", thousands(gas))), "{width}: {rows:#?}");
        assert!(has("queries"), "{width}: {rows:#?}");
        let summary = seen["summary"].as_str().unwrap();
        assert!(summary.contains(&format!("{} gas", thousands(gas))), "{width}: {summary}");
        let inside = seen["inside"].to_string();
        assert!(inside.contains("POST /api/nfts/{id}/buy"), "{width}: {inside}");
        assert_eq!((&seen["fits"], &seen["complaints"]), (&json!(true), &json!([])), "{width}");
    }
    assert!(dapp.stop().success());
}
