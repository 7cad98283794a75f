//! A request's path as a bounded route, fit for a label.
//!
//! In this order: patterns that the API itself told (`/api/nfts/<int:token_id>`), that were listed or
//! configured (`/api/nfts/{id}`), of all of them the one with the most literal parts first; the
//! dapp's own shapes (an address is `{address}`, digits are `{id}`, …); a tree that collapses a level
//! with more than ten names into `{*}`; at most a hundred routes, then `_OTHER`. A 404 is
//! `_unmatched` unless a pattern covers it or something else was answered on its route before:
//! scanners invent paths.
//!
//! Paths and patterns come from outside: whatever is in them, a route is printable ASCII of at most
//! 128 bytes.

mod pattern;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use pattern::Pattern;
pub use pattern::{flaw, unbalanced};
use shape::name_of;
pub use shape::without_secrets;

use crate::model::{LabelSet, Route, kind};

/// Names that a level of the tree tells apart before it collapses.
const CHILDREN: usize = 10;
/// Levels of a path that are looked at; deeper ones become one `{*}`.
const DEPTH: usize = 8;
/// Patterns that are kept of those listed and configured, and of those that the API told.
const LISTED: usize = 500;
const LEARNED: usize = 100;

const UNMATCHED: Route = Route::known("_unmatched");

/// Tells routes.
#[derive(Default)]
pub struct Routes {
    patterns: Vec<Pattern>,
    /// How many of them the API told.
    learned: usize,
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

    /// Adds a pattern, as listed or configured. Whether there is room for it; there is none for one
    /// that is not printable ASCII.
    pub fn add(&mut self, pattern: &str) -> bool {
        let Some(pattern) = Pattern::listed(pattern) else { return false };
        if self.patterns.iter().any(|known| known.parts == pattern.parts) {
            return true;
        }
        let has_room = self.patterns.len() - self.learned < LISTED;
        if has_room {
            self.insert(pattern);
        }
        has_room
    }

    /// Adds a pattern that the API told of a request with this path, in the place of a listed one
    /// that matches the same. Whether it was added: not what is no pattern or does not match the
    /// path, nor beyond a hundred; and of two that match the same the first stays, so that no route
    /// goes by changing names.
    pub fn learn(&mut self, told: &str, path: &str) -> bool {
        Pattern::told(told).is_some_and(|told| told.matches(path) && self.take(told))
    }

    /// Adds a pattern that was learned before; whether it was, as for [`learn`](Self::learn).
    pub fn recall(&mut self, told: &str) -> bool {
        Pattern::told(told).is_some_and(|told| self.take(told))
    }

    /// The learned patterns that have named a path since they were asked for last.
    pub fn used(&mut self) -> impl Iterator<Item = &str> {
        self.patterns.iter_mut().filter_map(|pattern| {
            let is_used = std::mem::take(&mut pattern.is_used);
            pattern.told.as_deref().filter(|_| is_used)
        })
    }

    fn take(&mut self, told: Pattern) -> bool {
        if self.learned >= LEARNED {
            return false;
        }
        if let Some(at) = self.patterns.iter().position(|known| known.parts == told.parts) {
            if self.patterns[at].told.is_some() {
                return false;
            }
            self.patterns.remove(at);
        }
        self.learned += 1;
        self.insert(told);
        true
    }

    fn insert(&mut self, pattern: Pattern) {
        let at = self.patterns.partition_point(|known| known.order() <= pattern.order());
        self.patterns.insert(at, pattern);
    }

    /// The route of a path (a query is left out) that was answered with `status`.
    pub fn route(&mut self, path: &str, status: u16) -> Route {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if let Some(pattern) = self.patterns.iter_mut().find(|pattern| pattern.matches(path)) {
            pattern.is_used = true;
            return *pattern.route.get_or_insert_with(|| self.labels.admit(&pattern.text));
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
            let (name, next) = level.descend(name_of(segment));
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
