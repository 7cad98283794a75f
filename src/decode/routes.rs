//! A request's path as a bounded route, fit for a label.
//!
//! In this order: patterns that the API's spans reported (`/api/nfts/<int:token_id>`), that were listed or
//! configured (`/api/nfts/{id}`), of all of them the one that the API was seen to go by before, or
//! else the one with the most literal parts first; the
//! dapp's own shapes (an address is `{address}`, digits are `{id}`, …); a tree that collapses a level
//! with more than ten names into `{*}`; at most a hundred routes, then `_OTHER`. A 404 is
//! `_unmatched` unless a pattern covers it or something else was answered on its route before:
//! scanners invent paths.
//!
//! Paths and patterns come from outside: whatever is in them, a route is printable ASCII of at most
//! 128 bytes.

mod notation;
mod pattern;
mod precedence;
mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pattern::Pattern;
pub use pattern::{Patterns, flaw, unbalanced};
use precedence::{Number, Precedence, Wins};
use shape::{TOKEN, masked, name_of};

use crate::model::{LabelSet, Route, kind};

/// Names that a level of the tree tells apart before it collapses.
const CHILDREN: usize = 10;
/// Levels of a path that are looked at; deeper ones become one `{*}`.
const DEPTH: usize = 8;
/// Patterns that are kept of those listed and configured, and of those reported by spans.
const LISTED: usize = 500;
const LEARNED: usize = 100;
/// Paths below which applications are mounted.
const MOUNTS: usize = 20;

const UNMATCHED: Route = Route::known("_unmatched");

/// Tells routes.
#[derive(Default)]
pub struct Routes {
    patterns: Vec<Pattern>,
    /// How many of them the API's spans reported.
    learned: usize,
    /// The number of the newest one.
    newest: Number,
    precedence: Precedence,
    /// Paths whose requests are in no figure.
    excluded: Patterns,
    /// Where applications were found to be mounted.
    mounts: BTreeSet<Box<str>>,
    tree: Level,
    labels: LabelSet<kind::RouteKind>,
    text: String,
}

/// The result of [`Routes::learn`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// What to [recall](Routes::recall) after a restart, if the route is new.
    pub added: Option<Box<str>>,
    /// The request's route, if the pattern is a known one.
    pub route: Option<Route>,
}

/// A level of the tree: the names seen below it, or that there were too many.
#[derive(Default)]
struct Level {
    names: BTreeMap<Box<str>, Level>,
    collapsed: Option<Box<Level>>,
}

impl Routes {
    /// Routes with these patterns: `/api/nfts/{id}`, `/api/nfts/<int:id>`, `/files/<path:name>`,
    /// `/files/{name...}`.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        let mut routes = Self::default();
        for pattern in patterns {
            routes.add(pattern.as_ref());
        }
        routes
    }

    /// Requests on these paths are in no figure.
    pub fn exclude(&mut self, excluded: Patterns) {
        self.excluded = excluded;
    }

    /// Whether requests on this path are in no figure.
    pub fn excludes(&self, path: &str) -> bool {
        self.excluded.matches(without_query(path))
    }

    /// Adds a pattern, as listed or configured. Whether there is room for it; there is none for one
    /// that is not printable ASCII.
    pub fn add(&mut self, pattern: &str) -> bool {
        let Some(mut pattern) = Pattern::listed(pattern) else { return false };
        if self.patterns.iter().any(|known| known.parts == pattern.parts) {
            return true;
        }
        let has_room = self.patterns.len() - self.learned < LISTED;
        if has_room {
            pattern.number = self.next_number();
            self.insert(pattern);
        }
        has_room
    }

    /// Adds a route that the API's span reported for a request with this path. It replaces a listed
    /// pattern that matches the same. It is not added where it matches neither the path nor the path's
    /// end, beyond a hundred, or where one that matches the same was reported before, so that no
    /// route changes its name.
    pub fn learn(&mut self, route: &str, path: &str) -> Learned {
        let path = without_query(path);
        let Some(pattern) = self.reported(route, path) else { return Learned::default() };
        let known = self.patterns.iter().find(|known| known.parts == pattern.parts);
        let known = known.map(|known| (known.number, known.reported.is_some()));
        let text = pattern.reported.clone();
        let (number, added) = match known {
            Some((number, true)) => (number, None),
            _ => match (self.take(pattern), known) {
                (Some(number), _) => (number, text),
                (None, Some((number, _))) => (number, None),
                (None, None) => return Learned::default(),
            },
        };
        Learned { added, route: self.served(number, path) }
    }

    /// Adds a pattern that was learned before; whether it was, as for [`learn`](Self::learn).
    pub fn recall(&mut self, route: &str) -> bool {
        let Some(pattern) = Pattern::reported(route) else { return false };
        let is_same = |known: &Pattern| known.parts == pattern.parts && known.reported.is_some();
        !self.patterns.iter().any(is_same) && self.take(pattern).is_some()
    }

    /// The learned patterns that have named a path since they were asked for last.
    pub fn used(&mut self) -> impl Iterator<Item = &str> {
        self.patterns.iter_mut().filter_map(|pattern| {
            let is_used = std::mem::take(&mut pattern.is_used);
            pattern.reported.as_deref().filter(|_| is_used)
        })
    }

    /// Parses a reported route, and adds the path of its mount where the request's path shows one.
    fn reported(&mut self, route: &str, path: &str) -> Option<Pattern> {
        let own = Pattern::reported(route)?;
        if own.matches(path) {
            return Some(own);
        }
        let (mounted, above) = Pattern::mounted(route, path)?;
        if !self.mounts.contains(&*above) {
            if self.mounts.len() >= MOUNTS {
                return None;
            }
            self.mounts.insert(above);
        }
        Some(mounted)
    }

    /// Inserts a reported pattern in the place of a listed one that matches the same. Returns its
    /// number, or `None` where there is no room.
    fn take(&mut self, mut reported: Pattern) -> Option<Number> {
        if self.learned >= LEARNED {
            return None;
        }
        reported.number = match self.patterns.iter().position(|known| known.parts == reported.parts)
        {
            Some(at) => self.patterns.remove(at).number,
            None => self.next_number(),
        };
        self.learned += 1;
        let number = reported.number;
        self.insert(reported);
        Some(number)
    }

    fn next_number(&mut self) -> Number {
        self.newest += 1;
        self.newest
    }

    fn insert(&mut self, pattern: Pattern) {
        let at = self.patterns.partition_point(|known| known.order() <= pattern.order());
        self.patterns.insert(at, pattern);
    }

    /// The route of a pattern, which served a request with this path whatever else matches it.
    fn served(&mut self, number: Number, path: &str) -> Option<Route> {
        let others = self.patterns.iter().filter(|it| it.number != number && it.matches(path));
        for other in others {
            self.precedence.saw(number, other.number);
        }
        let at = self.patterns.iter().position(|pattern| pattern.number == number)?;
        Some(self.route_of(at))
    }

    /// The index of the pattern that a path goes by, and whether that is sure. It is not where several
    /// match and no span has shown which of them the API prefers.
    fn choose(&self, path: &str) -> (Option<usize>, bool) {
        let matching = |(_, pattern): &(usize, &Pattern)| pattern.matches(path);
        let mut all = self.patterns.iter().enumerate().filter(matching);
        let Some((mut best, _)) = all.next() else { return (None, true) };
        if self.learned == 0 {
            return (Some(best), true);
        }
        let mut is_sure = true;
        for (at, other) in all {
            match self.precedence.between(self.patterns[best].number, other.number) {
                Some(Wins::This) => {}
                Some(Wins::Other) => best = at,
                Some(Wins::Either) | None => is_sure = false,
            }
        }
        (Some(best), is_sure)
    }

    fn route_of(&mut self, at: usize) -> Route {
        let pattern = &mut self.patterns[at];
        pattern.is_used = true;
        *pattern.route.get_or_insert_with(|| self.labels.admit(&pattern.text))
    }

    /// Whether it is sure which of the known patterns a path goes by. Where it is not, the API's own
    /// span of the request says it.
    pub fn is_sure(&self, path: &str) -> bool {
        self.choose(without_query(path)).1
    }

    /// A path with what may be secret in it hidden, but for the words of known routes; ids, hashes and
    /// addresses of the chain stay.
    pub fn mask<'a>(&self, path: &'a str) -> Cow<'a, str> {
        masked(path, |word| is_word(&self.patterns, word))
    }

    /// The route of a path (a query is left out) that was answered with `status`.
    pub fn route(&mut self, path: &str, status: u16) -> Route {
        let path = without_query(path);
        if let Some(at) = self.choose(path).0 {
            return self.route_of(at);
        }
        if status == 404 {
            return self.find(path).unwrap_or(UNMATCHED);
        }
        self.text.clear();
        let mut level = &mut self.tree;
        for (depth, segment) in segments(path).enumerate() {
            self.text.push('/');
            if depth == DEPTH {
                self.text.push_str("{*}");
                break;
            }
            let (name, next) = level.descend(name(&self.patterns, segment));
            self.text.push_str(name);
            level = next;
        }
        end_text(&mut self.text, path);
        self.labels.admit(&self.text)
    }

    /// How many times there was no room for a route.
    pub fn overflow(&self) -> u64 {
        self.labels.overflow()
    }

    /// The route of a path on which something was answered before; names that a collapsed level
    /// holds are not known.
    fn find(&mut self, path: &str) -> Option<Route> {
        self.text.clear();
        let mut level = &self.tree;
        for (depth, segment) in segments(path).enumerate() {
            if depth == DEPTH {
                return None;
            }
            let (name, next) = level.names.get_key_value(name(&self.patterns, segment))?;
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

/// What a segment that no pattern covers goes by.
fn name<'a>(patterns: &[Pattern], segment: &'a str) -> &'a str {
    match name_of(segment) {
        TOKEN if is_word(patterns, segment) => segment,
        name => name,
    }
}

/// Whether it is a word of a known route, which is no secret.
fn is_word(patterns: &[Pattern], segment: &str) -> bool {
    patterns.iter().any(|pattern| pattern.has_literal(segment))
}

fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// The non-empty parts between slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Ends a route's text as its path ends: a slash at the end is another route.
fn end_text(text: &mut String, path: &str) {
    if text.is_empty() || path.ends_with('/') && path.len() > 1 {
        text.push('/');
    }
}
