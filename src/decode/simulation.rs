//! The calls inside a request that simulates several of them, and what came of each.
//!
//! `eth_simulateV1` has them in blocks, `eth_callMany` in bundles, `trace_callMany` in a list. A request
//! for one call (`eth_call`, `debug_traceCall`, `trace_call`, `eth_createAccessList`) is read by
//! [`super::submission::call_target`].

use alloy::primitives::{Bytes, U64};
use serde::Deserialize;

use super::multicall::{Inner, InnerResult};
use super::submission::{First, TransactionObject};
use crate::model::CallDetail;

/// Parameters and answers that are looked into, at most, in bytes.
const LARGEST: usize = 4 << 20;

/// The calls of such a request, the first [`CallDetail::MOST_INNER`] of them; none for other methods
/// and what cannot be read. Creations are left out: they go to no address.
pub fn calls(method: &str, params: &[u8]) -> Option<Vec<Inner>> {
    if params.len() > LARGEST {
        return None;
    }
    let objects: Vec<TransactionObject<'_>> = match method {
        "eth_simulateV1" => {
            let First(simulation): First<Simulation<'_>> = serde_json::from_slice(params).ok()?;
            let blocks = simulation.block_state_calls.into_iter();
            blocks.flat_map(|block| block.calls).collect()
        }
        "eth_callMany" => {
            let First(bundles): First<Vec<Bundle<'_>>> = serde_json::from_slice(params).ok()?;
            bundles.into_iter().flat_map(|bundle| bundle.transactions).collect()
        }
        "trace_callMany" => {
            let First(calls): First<Vec<First<TransactionObject<'_>>>> =
                serde_json::from_slice(params).ok()?;
            calls.into_iter().map(|First(call)| call).collect()
        }
        _ => return None,
    };
    let inner =
        |object: TransactionObject<'_>| Some(Inner { to: object.to?, input: object.selector()? });
    Some(objects.into_iter().filter_map(inner).take(CallDetail::MOST_INNER).collect())
}

/// What came of the calls of `eth_simulateV1`, in their order, from the result's JSON; none for the
/// results of other methods.
pub fn results(result: &[u8]) -> Option<Vec<InnerResult>> {
    if result.len() > LARGEST {
        return None;
    }
    let blocks: Vec<SimulatedBlock> = serde_json::from_slice(result).ok()?;
    let result = |call: SimulatedCall| {
        let of_error = call.error.and_then(|error| error.data);
        let data = Some(call.return_data).filter(|data| !data.is_empty()).or(of_error);
        InnerResult { success: !call.status.is_zero(), data: data.unwrap_or_default() }
    };
    let calls = blocks.into_iter().flat_map(|block| block.calls).map(result);
    Some(calls.take(CallDetail::MOST_INNER).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Simulation<'a> {
    #[serde(borrow)]
    block_state_calls: Vec<StateCalls<'a>>,
}

#[derive(Deserialize)]
struct StateCalls<'a> {
    #[serde(borrow, default)]
    calls: Vec<TransactionObject<'a>>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    transactions: Vec<TransactionObject<'a>>,
}

#[derive(Deserialize)]
struct SimulatedBlock {
    calls: Vec<SimulatedCall>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedCall {
    status: U64,
    #[serde(default)]
    return_data: Bytes,
    error: Option<SimulatedError>,
}

#[derive(Deserialize)]
struct SimulatedError {
    data: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;
    use serde_json::{Value, json};

    use super::*;

    fn inner(method: &str, params: &Value) -> Option<Vec<(u8, usize)>> {
        let calls = calls(method, params.to_string().as_bytes())?;
        Some(calls.iter().map(|call| (call.to[19], call.input.len())).collect())
    }

    #[test]
    fn the_calls_of_each_method_are_read_in_order() {
        let call = |to: u8| json!({"to": Address::with_last_byte(to), "data": "0x0102030405"});
        let transfer = json!({"to": Address::with_last_byte(3), "value": "0x1"});
        let creation = json!({"input": "0x6001"});
        let blocks = json!([{"blockStateCalls": [
            {"blockOverrides": {}, "calls": [call(1), creation, call(2)]}, {}, {"calls": [transfer]},
        ]}, "latest"]);
        let expected = Some(vec![(1, 4), (2, 4), (3, 0)]);
        assert_eq!(inner("eth_simulateV1", &blocks), expected);
        let bundles = json!([[{"transactions": [call(1), call(2)], "blockOverride": {}},
            {"transactions": [transfer]}], {"blockNumber": "latest"}]);
        assert_eq!(inner("eth_callMany", &bundles), expected);
        let listed = json!([[[call(1), ["trace"]], [call(2), []], [transfer, []]], "latest"]);
        assert_eq!(inner("trace_callMany", &listed), expected);
        assert_eq!(inner("eth_call", &json!([call(1)])), None);
        assert_eq!(inner("eth_simulateV1", &json!([7])), None);
        let many = json!([{"blockStateCalls": [{"calls": vec![call(1); 300]}]}]);
        assert_eq!(inner("eth_simulateV1", &many).unwrap().len(), CallDetail::MOST_INNER);
    }

    #[test]
    fn a_failed_calls_data_is_what_it_returned_or_in_its_error() {
        let result = json!([{"calls": [
            {"status": "0x1", "returnData": "0x01"},
            {"status": "0x0", "returnData": "0x02", "error": {"code": 3, "data": "0x03"}},
            {"status": "0x0", "returnData": "0x", "error": {"code": 3, "data": "0x04"}},
        ]}, {"calls": [{"status": "0x0", "error": {"code": -32000}}]}]);
        let results = results(result.to_string().as_bytes()).unwrap();
        let told: Vec<_> = results.iter().map(|it| (it.success, it.data.to_vec())).collect();
        let expected = [(true, vec![1]), (false, vec![2]), (false, vec![4]), (false, vec![])];
        assert_eq!(told, expected);
        assert_eq!(super::results(b"\"0x\""), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
            for method in ["eth_simulateV1", "eth_callMany", "trace_callMany"] {
                calls(method, &bytes);
                let call = json!({"to": text, "data": text});
                let params = json!([{"blockStateCalls": [{"calls": [call]}]}]);
                calls(method, params.to_string().as_bytes());
            }
            results(&bytes);
        }
    }
}
