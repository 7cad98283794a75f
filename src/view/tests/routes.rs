//! What is told of each route, counted once more from the samples fed.

use super::*;

const ROUTES: [&str; 3] = ["/api/nfts", "/api/nfts/{id}", "/"];

fn some(i: usize) -> HttpRequest {
    let Sample::Request(base) = request("/", [200, 200, 404, 502][i % 4]) else { unreachable!() };
    HttpRequest {
        method: HttpMethod::known(["GET", "POST"][i / 3 % 2]),
        route: Route::known(ROUTES[i % 3]),
        cache: CacheOutcome::ALL[i * i % 11 % 6],
        flow: Flow::ALL[usize::from(i.is_multiple_of(13)) + usize::from(i.is_multiple_of(26))],
        total: Duration::from_micros(1_000 + i as u64 * 31 % 997),
        request_bytes: i as u64 % 7,
        response_bytes: i as u64 * 13,
        ..base
    }
}

#[tokio::test]
async fn routes_tell_times_sizes_and_what_the_cache_did() {
    let mut view = Served::start(None).await;
    let requests: Vec<_> = (0..600).map(some).collect();
    view.feed(&requests.iter().cloned().map(Sample::Request).collect::<Vec<_>>());
    let told = view.ask("dappscope_routes", json!({ "last": "5m" })).await.unwrap();
    let routes = told["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 6, "{told:#}");
    for told in routes {
        let mine: Vec<_> = requests
            .iter()
            .filter(|r| r.method.as_str() == told["method"] && r.route.as_str() == told["route"])
            .filter(|r| r.flow == Flow::Response)
            .collect();
        let failed = mine.iter().filter(|r| r.status >= 500).count();
        assert_eq!(told["requests"]["count"], mine.len(), "{told:#}");
        assert_eq!(told["requests"]["errors"], failed);
        let sum = |of: fn(&HttpRequest) -> u64| mine.iter().map(|r| of(r)).sum::<u64>();
        let float = |value: &Value| value.as_f64().map(|value| format!("{value}"));
        let micros = |r: &HttpRequest| r.total.as_micros().try_into().unwrap();
        assert_eq!(float(&told["requests"]["sum_us"]), Some(sum(micros).to_string()));
        let received = sum(|r| r.response_bytes);
        assert_eq!(float(&told["response_bytes"]["sum_bytes"]), Some(received.to_string()));
        assert_eq!(told["request_bytes"]["max_bytes"], 6);
        let count = |outcome| mine.iter().filter(|r| r.cache == outcome).count();
        for outcome in CacheOutcome::ALL {
            assert_eq!(told["cache"][outcome.as_str()], count(outcome), "{outcome:?} {told:#}");
        }
        let hits = count(CacheOutcome::Hit);
        let asked = hits + count(CacheOutcome::Miss) + count(CacheOutcome::Stale);
        let ratio = (asked > 0).then(|| hits as f64 / asked as f64);
        assert_eq!(told["cache"]["hit_ratio"], json!(ratio));
    }
    let one = json!({ "last": "5m", "route": "/", "limit": 1 });
    let told = view.ask("dappscope_routes", one).await.unwrap();
    assert_eq!((&told["routes"][0]["route"], &told["left_out"]), (&json!("/"), &json!(1)));
    let series = json!({ "last": "5m", "measure": "cache_result", "key": "GET / miss" });
    let told = view.ask("dappscope_series", series).await.unwrap();
    assert_eq!(told["unit"], "us", "{told:#}");
}

#[tokio::test]
async fn a_request_tells_its_cache_flow_queries_and_functions() {
    let mut view = Served::start(None).await;
    let functions = [(AppFunction::known("mint"), Duration::from_millis(8))].into();
    let database = DatabaseTiming { took: Duration::from_millis(3), queries: Some(7) };
    let app = Some(Box::new(AppTiming { database: Some(database), functions }));
    view.feed(&[
        Sample::Request(HttpRequest { app, cache: CacheOutcome::Miss, ..some(1) }),
        Sample::Request(HttpRequest { cache: CacheOutcome::Hit, ..some(2) }),
    ]);
    let missed = view.ask("dappscope_requests", json!({ "cache": "miss" })).await.unwrap();
    let told = missed["requests"].as_array().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["cache"], &told[0]["flow"]), (&json!("miss"), &json!("response")));
    assert_eq!(told[0]["database"], json!({ "total_us": 3_000, "queries": 7 }));
    assert_eq!(told[0]["functions"], json!([{ "function": "mint", "total_us": 8_000 }]));
    let hit = view.ask("dappscope_requests", json!({ "cache": "hit" })).await.unwrap();
    assert_eq!(hit["requests"][0]["database"], json!(null));
    assert_eq!(hit["requests"][0]["functions"], json!([]));
}
