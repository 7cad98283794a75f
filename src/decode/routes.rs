//! A request's path as a bounded route, fit for a label.
//!
//! In this order: patterns that were listed, configured or learned (`/api/nfts/{id}`, Flask's
//! `/api/nfts/<int:id>`), the one with the most literal parts first; the dapp's own shapes (an address is `{address}`, digits are `{id}`, …);
//! a tree that collapses a level with more than ten names into `{*}`; at most a hundred routes,
//! then `_OTHER`. A 404 is `_unmatched` unless a pattern covers it or something else was answered on
//! its route before: scanners invent paths.
//!
//! Paths come from outside: whatever is in them, a route is printable ASCII of at most 128 bytes.

use std::borrow::Cow;
use std::cmp::Reverse;
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
    /// As a label.
    text: Box<str>,
    /// Admitted when it is first met: listings name more routes than are used.
    route: Option<Route>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(Box<str>),
    /// One level that begins and ends so, `report.{format}`.
    Around(Box<str>, Box<str>),
    /// One level of digits.
    Digits,
    /// One level of any name.
    Any,
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
        let pattern = Pattern { parts, text: pattern_text(pattern).into(), route: None };
        let at = known.patterns.partition_point(|p| p.order() <= pattern.order());
        known.patterns.insert(at, pattern);
        true
    }

    /// The route of a path (a query is left out) that was answered with `status`.
    pub fn route(&self, path: &str, status: u16) -> Route {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let known = &mut *self.lock();
        if let Some(pattern) = known.patterns.iter_mut().find(|pattern| pattern.matches(path)) {
            return *pattern.route.get_or_insert_with(|| known.labels.admit(&pattern.text));
        }
        if status == 404 {
            return known.find(path).unwrap_or(UNMATCHED);
        }
        known.text.clear();
        let mut level = &mut known.tree;
        for (depth, segment) in segments(path).enumerate() {
            known.text.push('/');
            if depth == DEPTH {
                known.text.push_str("{*}");
                break;
            }
            let (name, next) = level.descend(name_of(segment));
            known.text.push_str(name);
            level = next;
        }
        end_text(&mut known.text, path);
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

impl Known {
    /// The route of a path on which something was answered before; names that a collapsed level
    /// holds are not known.
    fn find(&mut self, path: &str) -> Option<Route> {
        self.text.clear();
        let mut level = &self.tree;
        for (depth, segment) in segments(path).enumerate() {
            if depth == DEPTH {
                return None;
            }
            let (name, next) = level.names.get_key_value(name_of(segment))?;
            self.text.push('/');
            self.text.push_str(name);
            level = next;
        }
        end_text(&mut self.text, path);
        self.labels.get(&self.text)
    }
}

impl Level {
    /// The level below `name`, and the name it goes by.
    fn descend<'a>(&mut self, name: &'a str) -> (&'a str, &mut Level) {
        // Shapes are few, and names that already have a route keep it: a label must not change its
        // meaning.
        if !name.starts_with('{') && !self.names.contains_key(name) && self.is_full() {
            return ("{*}", self.collapsed.get_or_insert_default());
        }
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), Level::default());
        }
        (name, self.names.get_mut(name).expect("inserted above if it was missing"))
    }

    /// Once full, a level stays it.
    fn is_full(&self) -> bool {
        self.names.keys().filter(|name| !name.starts_with('{')).count() >= CHILDREN
    }
}

impl Pattern {
    /// Which is tried first: the one with more literal parts, then the one that is narrower from
    /// the left.
    fn order(&self) -> (Reverse<usize>, &[Part]) {
        let literal = self.parts.iter().filter(|part| matches!(part, Part::Literal(_))).count();
        (Reverse(literal), &self.parts)
    }

    fn matches(&self, path: &str) -> bool {
        let mut segments = segments(path);
        for part in &self.parts {
            let Some(segment) = segments.next() else { return false };
            let fits = match part {
                Part::Literal(name) => **name == *segment,
                Part::Around(before, after) => {
                    let within = segment.strip_prefix(&**before);
                    within.and_then(|it| it.strip_suffix(&**after)).is_some_and(|it| !it.is_empty())
                }
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
    segments(pattern).map(parse_part).collect()
}

fn parse_part(segment: &str) -> Part {
    let (Some(begin), Some(end)) = (segment.find(['<', '{']), segment.rfind(['>', '}'])) else {
        return Part::Literal(segment.into());
    };
    if begin > end {
        return Part::Literal(segment.into());
    }
    let (before, inside, after) =
        (&segment[..begin], &segment[begin + 1..end], &segment[end + 1..]);
    if !before.is_empty() || !after.is_empty() {
        return Part::Around(before.into(), after.into());
    }
    if segment.starts_with('<') {
        match inside.split_once(':').map(|(converter, _)| converter) {
            Some(c) if c.starts_with("int") && !c.contains("signed") => Part::Digits,
            Some(c) if c.starts_with("path") => Part::Rest,
            _ => Part::Any,
        }
    } else if inside.ends_with("...") || inside.ends_with(":path") || inside == "*" {
        Part::Rest
    } else {
        Part::Any
    }
}

/// A pattern as a label: `<int:id>` becomes `{id}`.
fn pattern_text(pattern: &str) -> String {
    let mut text = String::new();
    for segment in segments(pattern) {
        text.push('/');
        let mut rest = segment;
        while let Some((before, (inside, after))) =
            rest.split_once('<').and_then(|(before, it)| Some((before, it.split_once('>')?)))
        {
            let name = inside.rsplit(':').next().unwrap_or(inside);
            text.extend([before, "{", name, "}"]);
            rest = after;
        }
        text.push_str(rest);
    }
    end_text(&mut text, pattern);
    text
}

/// Ends a route's text as its path ends: a slash at the end is another route.
fn end_text(text: &mut String, path: &str) {
    if text.is_empty() || path.ends_with('/') && path.len() > 1 {
        text.push('/');
    }
}

/// What a segment goes by in the tree: its shape, its name, or `{*}` for what no label may hold.
fn name_of(segment: &str) -> &str {
    shape(segment).unwrap_or(if is_plain(segment) { segment } else { "{*}" })
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
    fn of_patterns_that_both_match_the_narrower_wins_whatever_came_first() {
        let routes = Routes::new(&[
            "/<path:page>",
            "/{a}/b/c",
            "/a/{b}/c",
            "/users/<name>",
            "/users/<int:user>",
            "/users/<name>.json",
            "/v{version}/{kind}-{id}",
        ]);
        for (path, route) in [
            ("/a/b/c", "/a/{b}/c"),
            ("/x/b/c", "/{a}/b/c"),
            ("/users/7", "/users/{user}"),
            ("/users/me", "/users/{name}"),
            ("/users/me.json", "/users/{name}.json"),
            ("/users/.json", "/users/{name}"),
            ("/v2/nft-7", "/v{version}/{kind}-{id}"),
            ("/favicon.ico", "/{page}"),
        ] {
            assert_eq!(routes.route(path, 404).as_str(), route, "{path}");
        }
    }

    #[test]
    fn a_listing_of_many_routes_takes_room_for_those_that_are_used() {
        let listed: Vec<_> = (0..400).map(|i| format!("/listed/{i}/x")).collect();
        let routes = Routes::new(&listed);
        for path in &listed[300..] {
            assert_eq!(routes.route(path, 200).as_str(), path);
        }
        assert_eq!(routes.route("/listed/1/x", 200).as_str(), OTHER);
        assert_eq!(routes.overflow(), 1);
    }

    #[test]
    fn a_404_keeps_the_route_on_which_something_was_answered_before() {
        let routes = Routes::default();
        assert_eq!(routes.route("/api/nfts/7", 404), UNMATCHED);
        routes.route("/api/nfts/7", 200);
        assert_eq!(routes.route("/api/nfts/999", 404).as_str(), "/api/nfts/{id}");
        assert_eq!(routes.route("/api/nfts", 404), UNMATCHED);
        assert_eq!(routes.route("/api/nfts/7/x", 404), UNMATCHED);
        assert_eq!(routes.route("/api/nfts/999/", 404), UNMATCHED);
        for i in 0..20 {
            routes.route(&format!("/page{i}"), 200);
        }
        assert_eq!(routes.route("/page19", 404), UNMATCHED, "a collapsed level knows no names");
        assert_eq!(routes.route("/page3", 404).as_str(), "/page3");
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
