//! Patterns of paths, as frameworks and people write them: `/api/nfts/{id}`,
//! `/api/nfts/<int:id>`, `/files/<path:name>`, `/files/{name...}`.

use std::cmp::Reverse;

use super::notation::canonical;
use super::precedence::Number;
use super::shape::{is_own_word, is_plain};
use super::{end_text, segments};
use crate::model::Route;

/// The longest label; a longer one would be `_OTHER`, which tells less than a shape.
const LONGEST_TEXT: usize = 128;

/// Levels of a path below which an application is mounted.
const MOST_ABOVE: usize = 3;

/// A pattern, and the route of the paths that it matches.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) parts: Vec<Part>,
    /// As a label.
    pub(super) text: Box<str>,
    /// Admitted when it is first met: listings name more routes than are used.
    pub(super) route: Option<Route>,
    /// As the API's spans reported it, if they did.
    pub(super) reported: Option<Box<str>>,
    /// Whether it has named a path lately.
    pub(super) is_used: bool,
    /// Given when it is taken among the others.
    pub(super) number: Number,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
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

impl Pattern {
    /// Parses a pattern from the settings or a listing. Returns `None` for one that no label may hold.
    pub(super) fn listed(pattern: &str) -> Option<Self> {
        pattern.bytes().all(|b| b.is_ascii_graphic()).then(|| Self {
            parts: segments(pattern).map(parse_part).collect(),
            text: pattern_text(pattern).into(),
            route: None,
            reported: None,
            is_used: false,
            number: 0,
        })
    }

    /// Parses a route reported by the API's spans, in its framework's notation. Returns `None` for a
    /// raw path, with an id, a key or prose in it: some SDKs report one when no route matched.
    pub(super) fn reported(route: &str) -> Option<Self> {
        let pattern = Self { reported: Some(route.into()), ..Self::listed(&canonical(route)?)? };
        let is_sane = |part: &Part| match part {
            Part::Literal(name) => is_own_word(name),
            Part::Around(before, after) => is_plain(before) && is_plain(after),
            Part::Digits | Part::Any | Part::Rest => true,
        };
        let is_quiet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@:+{}*/".contains(&byte);
        let is_route = pattern.text.len() <= LONGEST_TEXT
            && pattern.text.bytes().all(is_quiet)
            && pattern.parts.iter().all(is_sane);
        is_route.then_some(pattern)
    }

    /// Parses a route reported by an application that is mounted below a path it does not know.
    /// Returns the whole pattern and the mount's path, or `None` where the end of the request's path
    /// does not match.
    pub(super) fn mounted(route: &str, path: &str) -> Option<(Self, Box<str>)> {
        let own = Self::reported(route)?;
        let below = |depth: usize| {
            let rest: String = segments(path).skip(depth).flat_map(|it| ["/", it]).collect();
            own.matches(&rest)
        };
        let most = segments(path).count().min(MOST_ABOVE);
        let depth = (1..=most).find(|depth| below(*depth))?;
        let above: String = segments(path).take(depth).flat_map(|it| ["/", it]).collect();
        let whole = Self::reported(&format!("{above}{}", canonical(route)?))?;
        Some((whole, above.into()))
    }

    /// Which is tried first: the one with more literal parts, then the one that leaves no end open;
    /// what the API's spans reported before what was listed; then the one that is narrower from the
    /// left.
    pub(super) fn order(&self) -> (Reverse<usize>, bool, bool, &[Part]) {
        let literal = self.parts.iter().filter(|part| matches!(part, Part::Literal(_))).count();
        (Reverse(literal), self.parts.contains(&Part::Rest), self.reported.is_none(), &self.parts)
    }

    pub(super) fn has_literal(&self, word: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Literal(name) if **name == *word))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut segments = segments(path);
        for (at, part) in self.parts.iter().enumerate() {
            let Some(segment) = segments.next() else { return false };
            let fits = match part {
                Part::Literal(name) => **name == *segment,
                Part::Around(before, after) => {
                    let within = segment.strip_prefix(&**before);
                    within.and_then(|it| it.strip_suffix(&**after)).is_some_and(|it| !it.is_empty())
                }
                Part::Any => true,
                Part::Digits => segment.bytes().all(|b| b.is_ascii_digit()),
                Part::Rest => {
                    // As many as leave one for each part that follows.
                    let left = segments.clone().count();
                    let Some(more) = left.checked_sub(self.parts.len() - at - 1) else {
                        return false;
                    };
                    more == 0 || segments.nth(more - 1).is_some()
                }
            };
            if !fits {
                return false;
            }
        }
        segments.next().is_none()
    }
}

/// Patterns that a person listed, to be looked through in their order.
#[derive(Debug, Default)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Of what is no pattern ([`flaw`]) nothing is taken.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        Self(patterns.iter().filter_map(|it| Pattern::listed(it.as_ref())).collect())
    }

    /// Whether a path (without its query) is one of these.
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(path))
    }
}

/// What is wrong with a pattern that a person wrote; what frameworks list is taken as it is.
pub fn flaw(pattern: &str) -> Option<&'static str> {
    if !pattern.starts_with('/') {
        return Some("it does not begin with /");
    }
    if !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("it holds spaces or letters that a path has only as %20 and the like");
    }
    if pattern.contains(['?', '#']) {
        return Some("it goes on behind the path, with ? or #");
    }
    if pattern_text(pattern).len() > LONGEST_TEXT {
        return Some("it is longer than the 128 characters that a name may have");
    }
    if segments(pattern).any(|segment| segment.starts_with(':') && segment.len() > 1) {
        return Some("it has a parameter as :name, which is written {name}");
    }
    unbalanced(pattern)
}

/// What is wrong with the brackets of a pattern.
pub fn unbalanced(pattern: &str) -> Option<&'static str> {
    segments(pattern).find_map(unbalanced_segment)
}

fn unbalanced_segment(segment: &str) -> Option<&'static str> {
    let mut rest = segment;
    while let Some(begin) = rest.find(['{', '<', '}', '>']) {
        let (open, inside) = rest[begin..].split_at(1);
        let close = match open {
            "{" => '}',
            "<" => '>',
            _ => return Some("a bracket is closed that was not opened"),
        };
        let Some((name, after)) = inside.split_once(close) else {
            return Some("a bracket is opened that is not closed before the next /");
        };
        if name.is_empty() {
            return Some("a parameter has no name");
        }
        if open == "{" && name.contains('{') {
            return Some("a bracket is opened within another");
        }
        rest = after;
    }
    None
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
