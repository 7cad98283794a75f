//! A request is told as a tree, in whatever order and shape its parts were recorded.

use super::*;
use crate::model::{Breakdown, DbOperation, DbSystem, Join, Operation, Query, ToldBy, Work};

const ID: u128 = 0xabc;
const PROXY: u64 = 1;

fn operation(span_id: u64, parent: u64, name: &str, work: Work) -> Sample {
    Sample::Operation(Box::new(Operation {
        at: UnixMicros(UnixMicros::now().0 + span_id),
        duration: Duration::from_micros(700),
        trace_id: ID,
        span_id,
        parent: Some(parent),
        name: name.into(),
        failed: false,
        work,
    }))
}

fn query(span_id: u64, parent: u64) -> Sample {
    let query = Query {
        system: DbSystem::known("sqlite"),
        operation: Some(DbOperation::known("SELECT")),
        collection: None,
        fingerprint: "SELECT * FROM nfts WHERE id = ?".into(),
    };
    operation(span_id, parent, "SELECT", Work::Query(query))
}

/// A call of the span `of`, which sent a transaction or did not.
fn made(method: &'static str, of: u64, join: Option<Join>, sent: Option<B256>) -> Sample {
    let Sample::Call(call) = call(method, Outcome::Success, 900) else { unreachable!() };
    let trace = TraceContext { trace_id: ID, span_id: of, flags: 1 };
    let trace = (join != Some(Join::Ambiguous)).then_some(trace);
    Sample::Call(RpcCall { trace, joined_by: join, transaction: sent, ..call })
}

fn mined() -> Sample {
    let reverted = transaction(TransactionStatus::Reverted, Some("NotForSale"));
    let Sample::Transaction(mut transaction) = reverted else { unreachable!() };
    transaction.trace = Some(TraceContext { trace_id: ID, span_id: 3, flags: 1 });
    Sample::Transaction(transaction)
}

fn broken_down() -> Sample {
    let micros = Duration::from_micros;
    Sample::Breakdown(Box::new(Breakdown {
        at: UnixMicros::now(),
        trace_id: ID,
        method: HttpMethod::known("GET"),
        route: Route::known("/api/nfts/{id}"),
        status: 200,
        told_by: ToldBy::Spans,
        joined_by: Some(Join::Trace),
        queries: Some(1),
        rpc_calls: 2,
        total: micros(20_000),
        database: micros(700),
        evm: micros(1_000),
        rpc: micros(800),
        proxy: micros(60),
        left_out: 0,
    }))
}

/// Kinds and names of a tree, depth first, each with its depth.
fn outline(node: &Value, depth: usize, into: &mut Vec<(usize, String)>) {
    let text = |key: &str| node[key].as_str().unwrap().to_owned();
    into.push((depth, format!("{} {}", text("kind"), text("name"))));
    for child in node["children"].as_array().unwrap() {
        outline(child, depth + 1, into);
    }
}

fn outlined(told: &Value) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    outline(&told["tree"], 0, &mut lines);
    lines
}

fn params() -> Value {
    json!({ "trace_id": format!("{ID:032x}") })
}

#[tokio::test]
async fn operations_calls_and_transactions_stand_below_what_made_them() {
    let mut view = Served::start(None).await;
    let hash = B256::repeat_byte(0x5f);
    view.feed(&[
        request("/api/nfts/7", 200),
        query(4, 2),
        operation(3, 2, "POST", Work::Client),
        operation(2, PROXY, "GET /api/nfts/<id>", Work::Server),
        made("eth_sendRawTransaction", 3, Some(Join::Trace), Some(hash)),
        made("eth_getTransactionReceipt", 3, Some(Join::Trace), Some(hash)),
        // Of a span that never came.
        made("eth_chainId", 77, Some(Join::Trace), None),
        made("eth_blockNumber", 0, Some(Join::Ambiguous), None),
        mined(),
    ]);
    let told = view.ask("dappscope_trace", params()).await.unwrap();
    assert_eq!((&told["is_settled"], &told["breakdown"]), (&json!(false), &Value::Null));
    assert_eq!(told["gas_used"], 84_000);
    let expected = [
        (0, "request GET /api/nfts/{id}"),
        (1, "call eth_chainId"),
        (1, "server GET /api/nfts/<id>"),
        (2, "client POST"),
        (3, "call eth_sendRawTransaction"),
        (4, "transaction Marketplace.buy"),
        (3, "call eth_getTransactionReceipt"),
        (2, "query SELECT"),
    ];
    let mut lines = outlined(&told);
    let mut expected: Vec<_> = expected.map(|(depth, name)| (depth, name.to_owned())).into();
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected, "{told:#}");
    assert_eq!(told["ambiguous"][0]["method"], "eth_blockNumber");
    view.feed(&[broken_down()]);
    let told = view.ask("dappscope_trace", json!({ "transaction": hash })).await.unwrap();
    let breakdown = &told["breakdown"];
    let part = |name: &str| breakdown[format!("{name}_us")].as_u64().unwrap();
    let parts: u64 = ["database", "evm", "rpc", "proxy", "app"].into_iter().map(part).sum();
    assert_eq!((parts, part("total")), (20_000, 20_000));
    assert_eq!((&told["is_settled"], &breakdown["told_by"]), (&json!(true), &json!("spans")));
    let routes = view.ask("dappscope_routes", json!({})).await.unwrap();
    let route = &routes["routes"][0];
    assert_eq!(route["per_request"], json!({ "rpc_calls": 2.0, "queries": 1.0, "gas": 84_000.0 }));
    assert_eq!(route["share"]["evm"], 0.05);
}

#[tokio::test]
async fn where_spans_are_not_expected_a_request_settles_soon_and_where_they_are_when_they_are_late()
{
    let ended = |ago: u64| {
        let Sample::Request(request) = request("/api/nfts/7", 200) else { unreachable!() };
        Sample::Request(HttpRequest { at: UnixMicros(request.at.0 - ago * 1_000_000), ..request })
    };
    for (ago, spans_come, joined_by, expected) in [
        (1, false, Some(Join::Alone), false),
        (4, false, Some(Join::Alone), true),
        (4, true, Some(Join::Alone), false),
        (4, false, Some(Join::Trace), false),
        // Its spans may be in the API's first export.
        (4, false, None, false),
        (14, false, None, true),
        (14, true, Some(Join::Trace), true),
    ] {
        let mut view = Served::start(None).await;
        view.feed(&[ended(ago)]);
        if spans_come {
            view.event(&Event::Spans { taken: 1, left_out: 0, repeated: 0 });
        }
        if joined_by.is_some() {
            view.feed(&[made("eth_chainId", PROXY, joined_by, None)]);
        }
        let told = view.ask("dappscope_trace", params()).await.unwrap();
        assert_eq!(told["is_settled"], expected, "{ago} s, {spans_come}, {joined_by:?}");
    }
}

#[tokio::test]
async fn queries_are_told_by_their_shape() {
    let mut view = Served::start(None).await;
    view.feed(&[query(4, 2), query(5, 2), query(6, 2), operation(7, 2, "x", Work::Server)]);
    let told = view.ask("dappscope_queries", json!({})).await.unwrap();
    let [only] = &told["queries"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!(only["fingerprint"], "SELECT * FROM nfts WHERE id = ?");
    assert_eq!((&only["count"], &only["sum_us"]), (&json!(3), &json!(2_100)));
    assert_eq!(only["trace_id"], format!("{ID:032x}"));
    let none = view.ask("dappscope_queries", json!({ "collection": "nfts" })).await.unwrap();
    assert_eq!(none["queries"], json!([]), "its table is not told");
}

#[tokio::test]
async fn a_deep_or_circular_tree_is_told_and_ends() {
    let mut view = Served::start(None).await;
    view.feed(&[request("/api/nfts/7", 200)]);
    let deep: Vec<_> = (2..1_900).map(|id| operation(id, id - 1, "nested", Work::Other)).collect();
    view.feed(&deep);
    view.feed(&[
        operation(5_000, 5_001, "circle", Work::Other),
        operation(5_001, 5_000, "circle", Work::Other),
    ]);
    let told = view.ask("dappscope_trace", params()).await.unwrap();
    let lines = outlined(&told);
    assert!(lines.len() > 40 && lines.iter().all(|(depth, _)| *depth <= 48), "{}", lines.len());
}

#[tokio::test]
async fn operations_in_a_circle_are_told_below_the_request_during_which_they_began() {
    let mut view = Served::start(None).await;
    view.feed(&[
        request("/api/nfts/7", 200),
        operation(2, PROXY, "GET /api/nfts/<id>", Work::Server),
        operation(5_002, 5_000, "second", Work::Other),
        operation(5_000, 5_001, "first", Work::Other),
        operation(5_001, 5_002, "third", Work::Other),
        operation(5_003, 5_001, "below", Work::Other),
        operation(6_000, 6_000, "itself", Work::Other),
    ]);
    let told = view.ask("dappscope_trace", params()).await.unwrap();
    let expected = [
        (0, "request GET /api/nfts/{id}"),
        (1, "server GET /api/nfts/<id>"),
        (1, "span first"),
        (2, "span second"),
        (3, "span third"),
        (4, "span below"),
        (1, "span itself"),
    ];
    assert_eq!(outlined(&told), expected.map(|(depth, name)| (depth, name.to_owned())));
}

#[tokio::test]
async fn what_a_tree_has_no_room_for_is_counted() {
    let mut view = Served::start(None).await;
    let Sample::Breakdown(breakdown) = broken_down() else { unreachable!() };
    let breakdown = Sample::Breakdown(Box::new(Breakdown { left_out: 70, ..*breakdown }));
    view.feed(&[request("/api/nfts/7", 200), breakdown]);
    let join = Some(Join::Trace);
    view.feed(&(0..2_003).map(|_| made("eth_chainId", PROXY, join, None)).collect::<Vec<_>>());
    view.feed(&(2..2_012).map(|id| query(id, PROXY)).collect::<Vec<_>>());
    let told = view.ask("dappscope_trace", params()).await.unwrap();
    assert_eq!(told["tree"]["children"].as_array().unwrap().len(), 4_000);
    let left_out = json!({
        "requests": 0, "operations": 10, "calls": 3, "transactions": 0, "ambiguous": 0,
    });
    assert_eq!((&told["left_out"], &told["breakdown"]["left_out"]), (&left_out, &json!(70)));
}

#[tokio::test]
async fn a_call_that_may_be_any_one_s_of_several_requests_is_told_once() {
    let mut view = Served::start(None).await;
    // All at once: each of them may have made any of the calls.
    let requests = (0..300).map(|_| request("/api/nfts/7", 200));
    let calls = (0..300).map(|_| made("eth_blockNumber", 0, Some(Join::Ambiguous), None));
    view.feed(&requests.chain(calls).collect::<Vec<_>>());
    let told = view.ask("dappscope_trace", params()).await.unwrap();
    let ambiguous = told["ambiguous"].as_array().unwrap().len();
    assert_eq!((told["tree"]["children"].as_array().unwrap().len(), ambiguous), (300, 300));
}

#[tokio::test]
async fn what_there_is_no_tree_of_is_said() {
    let mut view = Served::start(None).await;
    view.feed(&[transaction(TransactionStatus::Success, None)]);
    assert_invalid(view.ask("dappscope_trace", json!({})).await, "expected `trace_id` or");
    assert_invalid(view.ask("dappscope_trace", params()).await, "nothing of this trace");
    let hash = B256::repeat_byte(0x5f);
    let of = json!({ "transaction": hash });
    assert_invalid(view.ask("dappscope_trace", of).await, "not known to belong to a request");
    let of = json!({ "transaction": B256::repeat_byte(1) });
    assert_invalid(view.ask("dappscope_trace", of).await, "no such transaction");
}
