//! A span while it is read: keeps what matters of what the encodings bring, cut to its length.

use std::sync::Arc;

use super::MOST_SPANS;
use crate::model::{CustomId, CustomMetrics, DatabaseSpan, Span, SpanKind, Spans};

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// Stands before the names of listed metrics where an app sets its own apart.
const CUSTOM: &str = "app.custom.";

#[derive(Default)]
pub(super) struct Draft {
    pub(super) trace_id: Option<u128>,
    pub(super) span_id: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    name: Box<str>,
    kind: SpanKind,
    failed: bool,
    route: Option<Box<str>>,
    system: Option<Box<str>>,
    database: DatabaseSpan,
    numbers: Vec<(CustomId, f64)>,
}

impl Draft {
    pub(super) fn name(&mut self, name: &str) {
        self.name = cut(name, Span::LONGEST_NAME);
    }

    /// The number of a `SpanKind`; an unknown one is internal, as the protocol says.
    pub(super) fn kind(&mut self, number: u64) {
        self.kind = match number {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        };
    }

    /// The number of a status.
    pub(super) fn status(&mut self, number: u64) {
        self.failed = number == ERROR;
    }

    /// An attribute whose value is a text. Where an SDK sends a name and the older one of the same
    /// thing, the older one is left aside.
    pub(super) fn attribute(&mut self, key: &str, value: &str) {
        let database = &mut self.database;
        let (place, is_older, longest) = match key {
            "http.route" => (&mut self.route, false, Span::LONGEST_NAME),
            "db.system.name" => (&mut self.system, false, Span::LONGEST_NAME),
            "db.system" => (&mut self.system, true, Span::LONGEST_NAME),
            "db.operation.name" => (&mut database.operation, false, Span::LONGEST_NAME),
            "db.operation" => (&mut database.operation, true, Span::LONGEST_NAME),
            "db.collection.name" => (&mut database.collection, false, Span::LONGEST_NAME),
            "db.sql.table" => (&mut database.collection, true, Span::LONGEST_NAME),
            "db.query.text" => (&mut database.query, false, Span::LONGEST_QUERY),
            "db.statement" => (&mut database.query, true, Span::LONGEST_QUERY),
            _ => return,
        };
        let is_known = is_older && place.is_some();
        if !is_known && !value.is_empty() {
            *place = Some(cut(value, longest));
        }
    }

    /// An attribute by its number; one whose value is none is NaN, which is refused where it is of a
    /// listed metric.
    pub(super) fn number(&mut self, key: &str, value: f64, listed: &CustomMetrics) {
        if self.numbers.len() < Span::MOST_NUMBERS
            && let Some(id) = listed.find(key.strip_prefix(CUSTOM).unwrap_or(key))
        {
            self.numbers.push((id, value));
        }
    }

    /// The span; none where an id is missing, zero or of a wrong length.
    fn finish(self, scope: &Arc<str>) -> Option<Span> {
        let scope = || Arc::clone(scope);
        let database = self
            .system
            .map(|system| Box::new(DatabaseSpan { scope: scope(), system, ..self.database }));
        Some(Span {
            trace_id: self.trace_id.filter(|id| *id != 0)?,
            span_id: self.span_id.filter(|id| *id != 0)?,
            parent: self.parent.filter(|id| *id != 0),
            name: self.name,
            kind: self.kind,
            start_ns: self.start_ns,
            end_ns: self.end_ns.max(self.start_ns),
            failed: self.failed,
            route: self.route,
            database,
            by_library: is_library(&scope()),
            numbers: self.numbers.into(),
        })
    }
}

/// Whether a scope is an instrumentation library's and not the app's own, by the names that those of
/// OpenTelemetry and of some frameworks have.
fn is_library(scope: &str) -> bool {
    const NAMED: [&str; 9] = [
        "instrumentation",
        "opentelemetry.io/contrib",
        "io.opentelemetry.",
        "microsoft.aspnetcore",
        "system.net.http",
        "next.js",
        "prisma",
        "@fastify/otel",
        "@vercel/otel",
    ];
    let scope = scope.to_ascii_lowercase();
    NAMED.iter().any(|name| scope.contains(name))
}

/// Whether one more span is taken; counts it as left out where it is not.
pub(super) fn has_room(spans: &mut Spans) -> bool {
    let room = spans.spans.len() < MOST_SPANS;
    spans.left_out += u64::from(!room);
    room
}

/// Takes a span that `scope` tells of, or counts it as left out.
pub(super) fn take(spans: &mut Spans, draft: Draft, scope: &Arc<str>) {
    match draft.finish(scope) {
        Some(span) => spans.spans.push(span),
        None => spans.left_out += 1,
    }
}

/// The name of an instrumentation, which its spans share.
pub(super) fn scope(name: &str) -> Arc<str> {
    cut(name, Span::LONGEST_NAME).into()
}

/// The beginning of `text`, at most so many bytes.
fn cut(text: &str, longest: usize) -> Box<str> {
    text[..text.floor_char_boundary(longest)].into()
}
