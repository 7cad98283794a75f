//! A request's path as a bounded route, fit for a label.
//!
//! In this order: patterns that were configured or learned (`/api/nfts/{id}`, Flask's
//! `/api/nfts/<int:id>`); the dapp's own shapes (an address is `{address}`, digits are `{id}`, …);
//! a tree that collapses a level with more than ten names into `{*}`; at most a hundred routes,
//! then `_OTHER`. A 404 that no pattern covers is `_unmatched`: scanners invent paths.
//!
//! Paths come from outside: whatever is in them, a route is printable ASCII of at most 128 bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{LabelSet, Route, kind};

/// Names that a level of the tree tells apart before it collapses.
const CHILDREN: usize = 10;
/// Levels of a path that are looked at; deeper ones become one `{*}`.
const DEPTH: usize = 8;
/// Patterns that are kept.
const PATTERNS: usize = 500;

const UNMATCHED: Route = Route::known("_unmatched");

/// Tells routes. Cheap to clone; clones share what they have learned.
#[derive(Clone, Default)]
pub struct Routes(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    patterns: Vec<Pattern>,
    tree: Level,
    labels: LabelSet<kind::RouteKind>,
    text: String,
}

/// A level of the tree: the names seen below it, or that there were too many.
#[derive(Default)]
struct Level {
    names: BTreeMap<Box<str>, Level>,
    collapsed: Option<Box<Level>>,
}

struct Pattern {
    parts: Vec<Part>,
    /// How many parts are literal: the more, the sooner it is tried.
    literal: usize,
    route: Route,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// One level of any name.
    Any,
    /// One level of digits.
    Digits,
    /// One level or more.
    Rest,
}

impl Routes {
    /// Routes with these patterns: `/api/nfts/{id}`, `/api/nfts/<int:id>`, `/files/<path:name>`,
    /// `/files/{name...}`.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        let routes = Self::default();
        for pattern in patterns {
            routes.learn(pattern.as_ref());
        }
        routes
    }

    /// Adds a pattern, as configured or as a server span's `http.route` tells. Whether there is
    /// room for it; there is none for one that is not printable ASCII.
    pub fn learn(&self, pattern: &str) -> bool {
        if !pattern.bytes().all(|b| b.is_ascii_graphic()) {
            return false;
        }
        let mut known = self.lock();
        let parts = parse_pattern(pattern);
        if known.patterns.iter().any(|p| p.parts == parts) {
            return true;
        }
        if known.patterns.len() >= PATTERNS {
            return false;
        }
        let mut text = String::new();
        pattern_text(pattern, &mut text);
        let route = known.labels.admit(&text);
        let literal = parts.iter().filter(|p| matches!(p, Part::Literal(_))).count();
        let at = known.patterns.partition_point(|p| p.literal >= literal);
        known.patterns.insert(at, Pattern { parts, literal, route });
        true
    }

    /// The route of a path (a query is left out) that was answered with `status`.
    pub fn route(&self, path: &str, status: u16) -> Route {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let known = &mut *self.lock();
        if let Some(pattern) = known.patterns.iter().find(|pattern| pattern.matches(path)) {
            return pattern.route;
        }
        if status == 404 {
            return UNMATCHED;
        }
        known.text.clear();
        let mut level = &mut known.tree;
        for (depth, segment) in segments(path).enumerate() {
            known.text.push('/');
            if depth == DEPTH {
                known.text.push_str("{*}");
                break;
            }
            if let Some(shape) = shape(segment) {
                known.text.push_str(shape);
                level = level.descend(shape).1;
                continue;
            }
            let (name, next) = if is_plain(segment) {
                level.descend(segment)
            } else {
                ("{*}", level.descend("{*}").1)
            };
            known.text.push_str(name);
            level = next;
        }
        if known.text.is_empty() || path.ends_with('/') && path.len() > 1 {
            known.text.push('/');
        }
        known.labels.admit(&known.text)
    }

    /// How many times there was no room for a route.
    pub fn overflow(&self) -> u64 {
        self.lock().labels.overflow()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What is inside is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    /// The level below `name`, and the name it goes by.
    fn descend<'a>(&mut self, name: &'a str) -> (&'a str, &mut Level) {
        if self.collapsed.is_some() || !self.names.contains_key(name) && self.is_full(name) {
            // Names that already have a route keep it: a label must not change its meaning.
            if !self.names.contains_key(name) {
                let below = self.collapsed.get_or_insert_default();
                return ("{*}", below);
            }
        }
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), Level::default());
        }
        (name, self.names.get_mut(name).expect("inserted above if it was missing"))
    }

    fn is_full(&self, name: &str) -> bool {
        !name.starts_with('{')
            && self.names.keys().filter(|n| !n.starts_with('{')).count() >= CHILDREN
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let mut segments = segments(path);
        for part in &self.parts {
            let Some(segment) = segments.next() else { return false };
            let fits = match part {
                Part::Literal(name) => **name == *segment,
                Part::Any => true,
                Part::Digits => segment.bytes().all(|b| b.is_ascii_digit()),
                Part::Rest => return true,
            };
            if !fits {
                return false;
            }
        }
        segments.next().is_none()
    }
}

/// The non-empty parts between slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn parse_pattern(pattern: &str) -> Vec<Part> {
    segments(pattern)
        .map(|segment| {
            if let Some(inside) = between(segment, '<', '>') {
                match inside.split_once(':').map(|(converter, _)| converter) {
                    Some(c) if c.starts_with("int") => Part::Digits,
                    Some(c) if c.starts_with("path") => Part::Rest,
                    _ => Part::Any,
                }
            } else if let Some(inside) = between(segment, '{', '}') {
                if inside.ends_with("...") || inside.ends_with(":path") || inside == "*" {
                    Part::Rest
                } else {
                    Part::Any
                }
            } else {
                Part::Literal(segment.into())
            }
        })
        .collect()
}

/// A pattern as a label: `<int:id>` becomes `{id}`.
fn pattern_text(pattern: &str, text: &mut String) {
    for segment in segments(pattern) {
        text.push('/');
        match between(segment, '<', '>') {
            Some(inside) => {
                text.push('{');
                text.push_str(inside.rsplit(':').next().unwrap_or(inside));
                text.push('}');
            }
            None => text.push_str(segment),
        }
    }
    if text.is_empty() || pattern.ends_with('/') && pattern.len() > 1 {
        text.push('/');
    }
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// What a segment is, if it is one of the dapp's own shapes.
fn shape(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some("{id}");
    }
    match bytes {
        [b'0', b'x' | b'X', rest @ ..] if rest.len() == 40 && hex(rest) => Some("{address}"),
        [b'0', b'x' | b'X', rest @ ..] if rest.len() == 64 && hex(rest) => Some("{hash}"),
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() && hex(rest) => Some("{hex}"),
        _ if is_uuid(bytes) => Some("{uuid}"),
        _ if is_cid(bytes) => Some("{cid}"),
        _ if bytes.len() > 4 && bytes[bytes.len() - 4..].eq_ignore_ascii_case(b".eth") => {
            Some("{name}")
        }
        _ if is_secret(bytes) => Some(TOKEN),
        _ => None,
    }
}

/// Stands for what may be a key, a password or a person.
const TOKEN: &str = "{token}";

/// Whether a segment may be a secret: an API key, a signed token, a mail address. Rather one too
/// many than one in a label: a word with digits in it of 16 letters, or any of 32, is hidden.
fn is_secret(bytes: &[u8]) -> bool {
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let word = bytes.iter().all(u8::is_ascii_alphanumeric);
    bytes.iter().any(|byte| b"@;=".contains(byte))
        || bytes.starts_with(b"eyJ")
        || bytes.starts_with(b"sk_")
        || bytes.starts_with(b"pk_")
        || bytes.len() >= 32
        || (bytes.len() >= 16 && word && (digits > 0 || bytes.iter().any(u8::is_ascii_uppercase)))
}

/// A path with what may be secret in it hidden; ids, hashes and addresses of the chain stay.
pub fn without_secrets(path: &str) -> Cow<'_, str> {
    let hidden = |segment: &&str| shape(segment) == Some(TOKEN);
    if !path.split('/').any(|segment| !segment.is_empty() && hidden(&segment)) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<&str> =
        path.split('/').map(|s| if !s.is_empty() && hidden(&s) { TOKEN } else { s }).collect();
    Cow::Owned(segments.join("/"))
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// CIDv0 (`Qm…`, base58) or CIDv1 in base32 (`bafy…`), base36 (`k…`) or base58 (`z…`).
fn is_cid(bytes: &[u8]) -> bool {
    let base58 = |b: &u8| b.is_ascii_alphanumeric() && !b"0OIl".contains(b);
    match bytes {
        [b'Q', b'm', rest @ ..] => rest.len() == 44 && rest.iter().all(base58),
        [b'b', rest @ ..] => {
            rest.len() >= 50 && rest.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        }
        [b'k', rest @ ..] => {
            rest.len() >= 50 && rest.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
        }
        [b'z', rest @ ..] => rest.len() >= 46 && rest.iter().all(base58),
        _ => false,
    }
}

/// Whether a name may stand in a label: a short word as routes are made of.
fn is_plain(segment: &str) -> bool {
    segment.len() <= 40
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~@:+".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::OTHER;

    fn route(path: &str) -> &'static str {
        Routes::default().route(path, 200).as_str()
    }

    #[test]
    fn a_dapps_own_shapes_are_known() {
        let address = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
        let hash = format!("0x{}", "ab".repeat(32));
        assert_eq!(route(&format!("/api/nfts/{address}")), "/api/nfts/{address}");
        assert_eq!(route(&format!("/tx/{hash}/logs")), "/tx/{hash}/logs");
        assert_eq!(route("/api/nfts/17"), "/api/nfts/{id}");
        assert_eq!(route("/users/vitalik.eth"), "/users/{name}");
        assert_eq!(route("/j/123e4567-e89b-12d3-a456-426614174000"), "/j/{uuid}");
        assert_eq!(
            route("/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG/1.json"),
            "/ipfs/{cid}/1.json"
        );
        assert_eq!(
            route("/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"),
            "/ipfs/{cid}"
        );
        assert_eq!(route("/"), "/");
        assert_eq!(route("/api/nfts/"), "/api/nfts/");
        assert_eq!(route("/api/nfts?key=secret"), "/api/nfts");
    }

    #[test]
    fn patterns_come_first_and_the_most_literal_wins() {
        let routes = Routes::new(&[
            "/api/nfts/{id}",
            "/api/nfts/<int:token_id>/history",
            "/api/nfts/mine",
            "/files/<path:name>",
        ]);
        assert_eq!(routes.route("/api/nfts/17", 200).as_str(), "/api/nfts/{id}");
        assert_eq!(routes.route("/api/nfts/mine", 200).as_str(), "/api/nfts/mine");
        assert_eq!(routes.route("/api/nfts/abc", 404).as_str(), "/api/nfts/{id}");
        let history = routes.route("/api/nfts/17/history", 500).as_str();
        assert_eq!(history, "/api/nfts/{token_id}/history");
        assert_eq!(routes.route("/files/a/b/c.png", 200).as_str(), "/files/{name}");
        assert_eq!(routes.route("/api/nfts/x/history", 404).as_str(), "_unmatched");
    }

    #[test]
    fn a_404_that_nothing_covers_is_unmatched_and_takes_no_room() {
        let routes = Routes::default();
        for i in 0..1_000 {
            assert_eq!(routes.route(&format!("/wp-admin/{i}/x{i}.php"), 404), UNMATCHED);
        }
        assert_eq!(routes.overflow(), 0);
        assert_eq!(routes.route("/wp-admin", 200).as_str(), "/wp-admin");
    }

    #[test]
    fn a_level_with_more_than_ten_names_collapses() {
        let routes = Routes::default();
        let all: std::collections::BTreeSet<_> =
            (0..1_000).map(|i| routes.route(&format!("/u/name{i}/x"), 200).as_str()).collect();
        assert_eq!(all.len(), 11);
        assert!(all.contains("/u/{*}/x"));
        assert_eq!(routes.route("/u/name3/x", 200).as_str(), "/u/name3/x");
        assert_eq!(routes.route("/u/5/x", 200).as_str(), "/u/{id}/x");
    }

    #[test]
    fn there_are_at_most_a_hundred_routes() {
        let routes = Routes::default();
        let mut all = std::collections::BTreeSet::new();
        for (a, b, c) in (0..8_000).map(|i| (i / 400, i / 20 % 20, i % 20)) {
            all.insert(routes.route(&format!("/a{a}/b{b}/c{c}"), 200).as_str());
        }
        assert_eq!(all.len(), 101);
        assert!(all.contains(OTHER) && routes.overflow() > 0);
    }

    #[test]
    fn hostile_paths_become_harmless_routes() {
        assert_eq!(route("/%3Cscript%3E/a"), "/{*}/a");
        assert_eq!(route("/a/\u{1b}[31m\r\n/b"), "/a/{*}/b");
        assert_eq!(route(&format!("/{}", "x".repeat(60_000))), "/{token}");
        assert_eq!(route(&"/a".repeat(30_000)), "/a/a/a/a/a/a/a/a/{*}");
        assert_eq!(route("//a///b"), "/a/b");
        assert_eq!(route("/../../etc/passwd"), "/../../etc/passwd");
        assert_eq!(route("*"), "/{*}");
        assert_eq!(route(""), "/");
    }

    proptest! {
        #[test]
        fn a_route_is_always_short_and_printable(path in any::<String>(), status: u16) {
            let routes = Routes::new(&["/a/{b}"]);
            let route = routes.route(&path, status).as_str();
            prop_assert!(route.len() <= 128);
            prop_assert!(route.bytes().all(|b| b.is_ascii_graphic()), "{}", route);
        }
    }
}
