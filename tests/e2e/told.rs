//! What the API tells of itself: its routes, and numbers of its own.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Dappscope, Hardhat, Metrics, free_port, http, until};
use crate::marketplace::{Flask, Server, post};

const REQUESTS: &str = "http_server_request_duration_seconds_count";

fn routes(metrics: &Metrics) -> Vec<String> {
    let mut routes: Vec<String> =
        metrics.matching(REQUESTS, &[]).map(|(labels, _)| labels["http_route"].clone()).collect();
    routes.sort_unstable();
    routes.dedup();
    routes
}

#[test]
fn routes_that_flask_tells_are_learned_and_kept_over_a_restart() {
    let own = tempfile::tempdir().unwrap();
    let data = own.path().join("data");
    let hardhat = Hardhat::start();
    let port = free_port();
    let flask = SocketAddr::from(([127, 0, 0, 1], port));
    let scope = Dappscope::start_in(&data, hardhat.address, Some(flask), "", &[]);
    let _flask = Flask::start(Server::Development, scope.otlp, port, scope.rpc);
    let get = |scope: &Dappscope, path: &str| http(scope.api.unwrap(), "GET", path, &[], b"");
    let (status, minted) = post(scope.api.unwrap(), "/api/nfts/mint", &json!({"uri": "ipfs://a"}));
    assert_eq!(status, 201, "{minted}");
    assert_eq!(get(&scope, &format!("/api/nfts/{}", minted["token_id"])).status, 200);
    let by_shape = ["/api/nfts/mint", "/api/nfts/{id}"];
    assert_eq!(routes(&scope.settled()), by_shape, "told after the requests");
    let learned = |scope: &Dappscope| {
        scope.metrics().sum("dappscope_samples_stored_total", &[("kind", "route")])
    };
    until("both routes to be learned", || (learned(&scope) > 1.5).then_some(()));
    // There are no such tokens; a route that is known covers a 404 too.
    for id in [777, 778] {
        assert_eq!(get(&scope, &format!("/api/nfts/{id}")).status, 404);
    }
    let metrics = scope.settled();
    assert_eq!(routes(&metrics), ["/api/nfts/mint", "/api/nfts/{id}", "/api/nfts/{token_id}"]);
    let named = metrics.sum(REQUESTS, &[("http_route", "/api/nfts/{token_id}")]);
    assert_eq!((named, learned(&scope)), (2.0, 2.0));
    assert!(scope.stop().success());

    // Flask tells its spans to where nobody listens any more.
    let scope = Dappscope::start_in(&data, hardhat.address, Some(flask), "", &[]);
    get(&scope, "/api/nfts/4");
    let metrics = scope.settled();
    assert_eq!(routes(&metrics), ["/api/nfts/{token_id}"]);
    assert!(metrics.matching("dappscope_spans_total", &[]).all(|(_, count)| count == 0.0));
    assert!(scope.stop().success());
}

#[test]
fn numbers_of_the_api_become_families_of_their_own() {
    let settings = "[api]\ncustom = [\"db:histogram:seconds\", \"coins_minted:counter\"]\n";
    let hardhat = Hardhat::start();
    let port = free_port();
    let flask = SocketAddr::from(([127, 0, 0, 1], port));
    let scope = Dappscope::start(hardhat.address, Some(flask), settings);
    let _flask = Flask::start(Server::Development, None, port, scope.rpc);
    // The marketplace's own header tells of its queries; for its spans stands one written by hand.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let answer = http(scope.api.unwrap(), "GET", "/api/nfts", &[("traceparent", &parent)], b"");
    assert_eq!(answer.status, 200);
    let attribute = |key: &str, value: i64| json!({"key": key, "value": {"intValue": value}});
    let span = json!({
        "traceId": trace, "spanId": "0000000000000007", "name": "mint", "kind": 1,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2",
        "attributes": [
            attribute("app.custom.coins_minted", 3),
            attribute("coins_minted", 4),
            attribute("coins_minted", -1),
            attribute("app.custom.unlisted", 9),
        ],
    });
    let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let json_type = [("Content-Type", "application/json")];
    let taken = http(scope.otlp.unwrap(), "POST", "/v1/traces", &json_type, export.as_bytes());
    assert_eq!(taken.status, 200, "{}", taken.text());
    let metrics = until("the numbers to be told", || {
        let metrics = scope.metrics();
        (metrics.sum("app_custom_coins_minted_total", &[]) > 0.5).then_some(metrics)
    });
    let of_listing = [("http_route", "/api/nfts")];
    assert_eq!(metrics.sum("app_custom_coins_minted_total", &of_listing), 7.0);
    assert_eq!(metrics.sum("app_custom_db_seconds_count", &of_listing), 1.0);
    assert!(metrics.sum("app_custom_db_seconds_sum", &of_listing) > 0.0);
    let refused = [("kind", "custom_value")];
    assert_eq!(metrics.sum("dappscope_parse_failures_total", &refused), 1.0);
    assert!(!scope.metrics_text().contains("unlisted"));
    assert!(scope.stop().success());
}
