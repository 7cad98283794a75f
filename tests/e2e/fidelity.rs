//! The API's clients notice nothing: requests, curl and Chromium run the same session at a Flask app
//! directly and through the reverse proxy, and are told the same, but for what the README says.

mod differences;
mod servers;
mod upload;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Dappscope, marketplace};
use crate::upstream::Upstream;
use differences::{Difference, Differences, Told};
use servers::Server;

/// What a session prints at the first of `ways`, which may lead to others.
fn session(program: &str, script: &str, ways: &[SocketAddr], which: &[&str]) -> Told {
    let address = ways[0];
    let output = Command::new(match program {
        "node" => program.into(),
        within => marketplace().join(within),
    })
    .arg(marketplace().join("fidelity").join(script))
    .arg(format!("http://{address}"))
    .args(which)
    .output()
    .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} at {address}: {errors}");
    Told::read(&output.stdout, ways)
}

/// Where a session directly at `server` and one through the proxy were told different things.
fn differences(program: &str, script: &str, server: &Server, which: &[&str]) -> Differences {
    let direct = session(program, script, &[server.address], which);
    assert_eq!(direct.additions, 0, "there is no proxy yet");
    let node = Upstream::start();
    let scope = Dappscope::start(node.address, Some(server.address), "");
    let proxied = session(program, script, &[scope.api.unwrap(), server.address], which);
    assert!(proxied.additions > 10, "{} lines were added only", proxied.additions);
    let metrics = scope.settled();
    assert_eq!(metrics.sum("dappscope_samples_dropped_total", &[]), 0.0);
    assert!(scope.stop().success());
    Differences::between(&direct.document, &proxied.document)
}

const PYTHON: &str = ".venv/bin/python";

fn difference(at: &str, direct: Value, proxied: Value) -> Difference {
    (at.to_owned(), direct, proxied)
}

#[test]
fn requests_is_told_the_same_by_flask_through_the_proxy() {
    let found = differences(PYTHON, "requests_session.py", &Server::flask(), &[]);
    // Flask's own server closes each connection, the proxy keeps its own.
    found.are_only(&[difference("/connections", json!(10), json!(1))]);
}

#[test]
fn requests_is_told_the_same_by_gunicorn_through_the_proxy() {
    let found = differences(PYTHON, "requests_session.py", &Server::gunicorn(), &[]);
    found.are_only(&[]);
}

#[test]
fn curl_is_told_the_same_by_flask_through_the_proxy() {
    let found = differences(PYTHON, "curl_session.py", &Server::flask(), &["app"]);
    let told_to_go_on = json!({"line": "HTTP/1.1 100 Continue", "headers": {}, "trailers": {}});
    let twice = json!([told_to_go_on, told_to_go_on]);
    let once = json!([told_to_go_on]);
    let line = |version: &str| json!(format!("HTTP/{version} 200 OK"));
    let mut documented = no_targets();
    for upload in ["chunked", "expect, large", "expect, small", "multipart", "put"] {
        // Flask's own server says it twice.
        documented.push((format!("/{upload}/interim"), twice.clone(), once.clone()));
    }
    for old in ["as an old client", "an old client's download"] {
        // It answers in HTTP/1.1, and in chunks, whom it should not.
        documented.push((format!("/{old}/answers/0/line"), line("1.1"), line("1.0")));
    }
    let chunks = "/an old client's download/answers/0/headers/transfer-encoding";
    documented.push((chunks.to_owned(), json!(["chunked"]), Value::Null));
    for (asked, connections) in [
        ("redirected", 3),
        ("redirected to a get", 2),
        ("redirected with its body", 2),
        ("three in turn", 3),
    ] {
        documented.push((format!("/{asked}/connections"), json!(connections), json!(1)));
    }
    found.are_only(&documented);
}

#[test]
fn curl_is_told_the_same_by_gunicorn_through_the_proxy() {
    let found = differences(PYTHON, "curl_session.py", &Server::gunicorn(), &["app"]);
    found.are_only(&no_targets());
}

/// What no URL may hold, Flask's servers take.
fn no_targets() -> Vec<Difference> {
    let targets = ["/a<b", "/a>b", "/a`b", "?a<b", "?a>b", "?a\"b"];
    let place = |target| format!("/no targets//echo{target}");
    targets.map(|target| (place(target), json!("200"), json!("400"))).to_vec()
}

#[test]
fn curl_is_told_the_same_of_rare_answers_but_for_what_is_documented() {
    let found = differences(PYTHON, "curl_session.py", &Server::raw(), &["raw"]);
    let interim =
        |line: &str, headers: Value| json!([{"line": line, "headers": headers, "trailers": {}}]);
    let hints = interim("HTTP/1.1 103 Early Hints", json!({"link": ["</a.css>; rel=preload"]}));
    let go_on = interim("HTTP/1.1 100 Continue", json!({}));
    let chunked = json!(["chunked"]);
    let mut documented = vec![
        difference("/hints/interim", hints, json!([])),
        difference("/expecting, never-continues/interim", json!([]), go_on),
        difference("/not-modified/answers/0/headers/content-length", json!(["5"]), Value::Null),
        difference("/old/answers/0/line", json!("HTTP/1.0 200 OK"), json!("HTTP/1.1 200 OK")),
        difference("/old/answers/0/headers/transfer-encoding", Value::Null, chunked.clone()),
        difference(
            "/until-close/answers/0/headers/transfer-encoding",
            Value::Null,
            chunked.clone(),
        ),
        difference("/head of trailers/answers/0/headers/transfer-encoding", chunked, Value::Null),
        difference(
            "/head of trailers/answers/0/headers/trailer",
            json!(["X-Sum, X-Count"]),
            Value::Null,
        ),
    ];
    for place in ["/trailers/answers/0", "/five in turn/answers/1"] {
        // A client that does not ask for trailers gets none.
        documented.push((format!("{place}/trailers/x-sum"), json!(["abc"]), Value::Null));
        documented.push((format!("{place}/trailers/x-count"), json!(["2"]), Value::Null));
    }
    // What is no answer at all is told in words.
    for (path, exit, what) in [
        (
            "silent",
            52,
            "closed the connection before it had answered (connection closed before message completed)",
        ),
        (
            "nonsense",
            1,
            "sent something that is not an HTTP/1.1 response (invalid HTTP version parsed)",
        ),
    ] {
        let words = format!(
            "{{\"error\":{{\"message\":\"The API at 127.0.0.1:PORT {what}. The request may have been acted \
             upon, so it was not repeated. Look into the API's own log.\",\"reason\":\"upstream_gone\",\
             \"status\":502}}}}\n"
        );
        // A port's number has five digits, or nearly always: "PORT" has one less.
        let length = words.len() + 1;
        let answer = json!([{
            "line": "HTTP/1.1 502 Bad Gateway", "trailers": {},
            "headers": {"content-type": ["application/json"], "content-length": [length.to_string()]},
        }]);
        documented.extend([
            (format!("/{path}/exit"), json!(exit), json!(0)),
            (format!("/{path}/answers"), json!([]), answer),
            (format!("/{path}/bodies/0"), json!(""), json!(words)),
            (
                format!("/{path}/told/0"),
                json!("000 0 0 0 "),
                json!(format!("502 0 0 {length} application/json")),
            ),
        ]);
    }
    found.are_only(&documented);
}

#[test]
fn a_browser_is_told_the_same_by_flask_through_the_proxy() {
    let found = differences(node(), "browser_session.mjs", &Server::flask(), &[]);
    found.are_only(&[difference("/connections", json!(11), json!(1))]);
}

#[test]
fn a_browser_is_told_the_same_by_gunicorn_through_the_proxy() {
    let found = differences(node(), "browser_session.mjs", &Server::gunicorn(), &[]);
    found.are_only(&[]);
}

/// Node.js from the PATH, once Chromium is there for it.
fn node() -> &'static str {
    let found = Path::new("/usr/bin/chromium").is_file();
    assert!(found, "run tests/run.sh first: Chromium is missing");
    "node"
}
