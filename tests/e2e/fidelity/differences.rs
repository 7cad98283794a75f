//! Two sessions' documents compared: what a proxy adds by its documentation is counted and set
//! aside, everything else has to be the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

/// Response headers of one connection, and the time.
const OF_THE_ANSWER: [&str; 3] = ["date", "connection", "keep-alive"];
/// Request headers of one connection, which do not reach the API.
const OF_THE_REQUEST: [&str; 5] = ["connection", "keep-alive", "te", "upgrade", "http2-settings"];
/// Request headers that the proxy adds.
const ADDED: [&str; 5] =
    ["traceparent", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// What a session told.
pub struct Told {
    pub document: Value,
    /// How many lines in it a proxy had added.
    pub additions: usize,
}

impl Told {
    /// Reads a session's output; the `addresses` where it ran must not matter.
    pub fn read(output: &[u8], addresses: &[SocketAddr]) -> Self {
        let mut text = String::from_utf8_lossy(output).into_owned();
        for address in addresses {
            text = text.replace(&format!(":{}", address.port()), ":PORT");
        }
        let mut document: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() > 5_000, "the session tells {} bytes only", text.len());
        let mut additions = 0;
        set_aside(&mut document, &mut additions);
        Self { document, additions }
    }
}

fn set_aside(value: &mut Value, additions: &mut usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| set_aside(item, additions)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &mut *value) {
                    ("headers" | "trailers", Value::Array(lines)) => {
                        *value = by_name(lines, &OF_THE_ANSWER, additions);
                    }
                    ("request_headers", Value::Array(lines)) => {
                        *value = by_name(lines, &OF_THE_REQUEST, additions);
                    }
                    _ => set_aside(value, additions),
                }
            }
        }
        _ => {}
    }
}

/// Header lines by name, in lower case, in the order in which those of one name came.
fn by_name(lines: &[Value], one_hop: &[&str], additions: &mut usize) -> Value {
    let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        let name = line[0].as_str().unwrap().to_ascii_lowercase();
        let mut text = line[1].as_str().unwrap();
        if name == "server-timing" {
            // A browser joins the lines of one name.
            let own = text.rfind("proxy;dur=").map_or(text, |at| text[..at].trim_end_matches(", "));
            *additions += usize::from(own != text);
            text = own;
        }
        if ADDED.contains(&name.as_str()) {
            *additions += 1;
            continue;
        }
        let was_added_whole = name == "server-timing" && text.is_empty();
        if !was_added_whole && !one_hop.contains(&name.as_str()) {
            named.entry(name).or_default().push(text.into());
        }
    }
    serde_json::to_value(named).unwrap()
}

/// Where, what a client is told directly, and what through the proxy.
pub type Difference = (String, Value, Value);

/// Places (JSON pointers) where two documents differ, with what each has there.
pub struct Differences(BTreeMap<String, (Value, Value)>);

impl Differences {
    pub fn between(direct: &Value, proxied: &Value) -> Self {
        let mut found = BTreeMap::new();
        compare(String::new(), direct, proxied, &mut found);
        Self(found)
    }

    /// These are all.
    pub fn are_only(self, documented: &[Difference]) {
        let documented: BTreeMap<_, _> = documented
            .iter()
            .map(|(at, direct, proxied)| (at.clone(), (direct.clone(), proxied.clone())))
            .collect();
        let mut text = String::new();
        for (at, (direct, proxied)) in &self.0 {
            if documented.get(at) != self.0.get(at) {
                write!(
                    text,
                    "\n{at}\n  directly:          {direct}\n  through the proxy: {proxied}"
                )
                .unwrap();
            }
        }
        for at in documented.keys().filter(|at| !self.0.contains_key(*at)) {
            write!(text, "\n{at}: documented, and no difference").unwrap();
        }
        assert!(text.is_empty(), "{text}");
    }
}

fn compare(at: String, a: &Value, b: &Value, found: &mut BTreeMap<String, (Value, Value)>) {
    match (a, b) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                compare(format!("{at}/{name}"), &a[name], &b[name], found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (a, b)) in one.iter().zip(other).enumerate() {
                compare(format!("{at}/{index}"), a, b, found);
            }
        }
        _ if a == b => {}
        _ => {
            found.insert(at, (a.clone(), b.clone()));
        }
    }
}
