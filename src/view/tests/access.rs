//! Who is let in, and what protects the page.

use super::*;

#[tokio::test]
async fn the_page_and_the_scrape_are_served_with_headers_that_protect_them() {
    let mut view = Served::start(None).await;
    view.feed(&[call("eth_call", Outcome::Success, 100)]);
    let page = view.get("/", "").await;
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    let lower = page.to_lowercase();
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-cache",
    ] {
        assert!(lower.contains(header), "no {header} in {page}");
    }
    assert!(!lower.contains("access-control-allow-origin"));
    let scrape = view.get("/metrics", "").await;
    assert!(scrape.contains("text/plain; version=0.0.4"), "{scrape}");
    assert!(scrape.contains("rpc_server_call_duration_seconds_count{error_type=\"\",rpc_method=\"eth_call\",transport=\"http\"} 1"));
    let health = view.get("/healthz", "").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("\"status\":\"ok\""), "{health}");
    let nowhere = view.get("/..%2fetc/passwd", "").await;
    assert!(
        nowhere.starts_with("HTTP/1.1 404") && nowhere.contains("nothing is here"),
        "{nowhere}"
    );
    let host = view.address;
    let posted = view
        .raw(&format!("POST /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
        .await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    assert!(view.get("/rpc", "").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_refused() {
    let view = Served::start(None).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: evil.example:3001\r\nConnection: close\r\n\r\n".to_owned(),
        format!(
            "GET /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n{upgrade}Connection: close\r\n\r\n"
        ),
    ] {
        let answer = view.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{request}{answer}");
    }
    let twice = view
        .raw("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await;
    assert!(twice.starts_with("HTTP/1.1 400"), "{twice}");
}

#[tokio::test]
async fn a_token_is_asked_of_everybody_and_moves_from_the_url_into_a_cookie() {
    let token = "0123456789abcdef";
    let view = Served::start(Some(token)).await;
    for path in ["/", "/metrics", "/healthz", "/app.js"] {
        let refused = view.get(path, "").await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    }
    assert!(
        view.get("/metrics", &format!("Authorization: Bearer {token}\r\n"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    let moved = view.get(&format!("/?token={token}"), "").await;
    assert!(moved.starts_with("HTTP/1.1 303"), "{moved}");
    let cookie = moved.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"));
    let pair = cookie.split(';').next().unwrap();
    assert!(view.get("/", &format!("Cookie: {pair}\r\n")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_on_the_network_needs_a_token() {
    let view = |token: Option<&str>| {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(1, 1, Arc::clone(&tally));
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) =
            Store::open(dir.path(), Options::default(), Arc::clone(&tally)).unwrap();
        let sources = Sources {
            tally: Arc::clone(&tally),
            queue: Arc::clone(&queue),
            store: None,
            active_calls: Box::new(|| 0),
            active_requests: None,
            custom: CustomMetrics::default(),
        };
        View::new(Parts {
            store,
            metrics: Arc::new(Metrics::new(sources).unwrap()),
            live: live().1,
            tally,
            queue,
            endpoints: Endpoints::default(),
            money: None,
            admit: Arc::new(|_, _| Ok(())),
            token: token.map(str::to_owned),
        })
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let refused = view(None).unwrap().serve(listener, stopped).await.unwrap_err();
    assert!(refused.to_string().contains("set a token, or listen on 127.0.0.1"), "{refused}");
    assert!(matches!(view(Some("short")), Err(ViewError::WeakToken)));
}
