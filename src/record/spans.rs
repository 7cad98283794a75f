//! What an instrumented program tells of itself into operations: queries, functions, and what stands
//! around them.
//!
//! A query is often told twice, by the driver and by what stands on it: SQLAlchemy and sqlite3. It is
//! counted once, as the innermost tells it. The outer span is either the inner one's parent, or its
//! sibling that lasts from before it to after it and has the same query: SQLAlchemy's instrumentation
//! makes its span without making it the current one. The inner one has ended first and so comes
//! first, in the same export or in an earlier one.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::outbox::Outbox;
use crate::decode::sql::{self, Statement};
use crate::model::{
    DatabaseSpan, DbCollection, DbOperation, DbSystem, Event, LabelKind, LabelSet, Operation,
    Query, Span, SpanKind, Spans, UnixMicros, Work, kind,
};

/// Texts whose reading is remembered; programs send the same ones again and again.
const MOST_TEXTS: usize = 2_048;
/// Queries that are remembered for the spans around them, twice.
const MOST_QUERIES: usize = 8_192;
/// What SQLAlchemy calls the taking of a connection.
const CONNECT: &str = "connect";
/// How asyncpg's instrumentation begins the names of a cursor's spans.
const CURSOR: &str = "CURSOR:";
/// How far a program's clock may be from this one's, in microseconds, earlier and later: its spans
/// are kept under the day they tell, and a clock gone wrong must not open files for other years.
const EARLIEST: u64 = 24 * 3_600 * 1_000_000;
const LATEST: u64 = 60 * 1_000_000;

#[derive(Default)]
pub(super) struct Telling {
    texts: HashMap<(Box<str>, Box<str>), Arc<Statement>>,
    inner: Remembered,
    /// Cursors whose first row was told, by their place and query.
    cursors: HashSet<u64>,
    older_cursors: HashSet<u64>,
    systems: Labels<kind::DbSystemKind>,
    operations: Labels<kind::DbOperationKind>,
    collections: Labels<kind::DbCollectionKind>,
    functions: Labels<kind::AppFunctionKind>,
}

impl Telling {
    /// The operations that an export tells of, in its order; `now` is when it came.
    pub(super) fn take(
        &mut self,
        told: &Spans,
        now: UnixMicros,
        outbox: &mut Outbox,
    ) -> Vec<Operation> {
        let statements: Vec<_> = told.spans.iter().map(|span| self.statement(span)).collect();
        // First all of an export are known, then those that are inside another one are told apart.
        let spans = told.spans.iter().zip(statements);
        let operations = spans.map(|(span, statement)| {
            let name = name(span, statement.as_deref());
            let work = self.work(span, statement, outbox);
            operation(span, name, work, now)
        });
        operations.collect()
    }

    /// The statement of a query's span, which is remembered for the spans around it.
    fn statement(&mut self, span: &Span) -> Option<Arc<Statement>> {
        let database = span.database.as_deref().filter(|database| is_query(span, database))?;
        let statement = self.read(database);
        self.inner.put(span, database, &statement);
        Some(statement)
    }

    fn work(
        &mut self,
        span: &Span,
        statement: Option<Arc<Statement>>,
        outbox: &mut Outbox,
    ) -> Work {
        match (&span.database, statement, span.kind) {
            (Some(database), Some(statement), _) => {
                if self.inner.is_around(span, database, &statement) || self.is_further_row(span) {
                    Work::Other
                } else {
                    Work::Query(self.query(database, &statement, outbox))
                }
            }
            (None, _, SpanKind::Internal) if !span.name.is_empty() && !span.by_library => {
                Work::Function(self.functions.admit(&span.name, outbox))
            }
            (None, _, SpanKind::Server) => Work::Server,
            (None, _, SpanKind::Client) => Work::Client,
            _ => Work::Other,
        }
    }

    /// Whether it fetches one more row of a query that was counted: asyncpg's instrumentation tells a
    /// span for each row that a cursor gives. How often the same query was run within one parent
    /// that way nothing tells; it counts as once.
    fn is_further_row(&mut self, span: &Span) -> bool {
        let (Some(parent), Some(database)) = (span.parent, &span.database) else { return false };
        if !span.name.starts_with(CURSOR) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (span.trace_id, parent, &database.query).hash(&mut hasher);
        let key = hasher.finish();
        if self.older_cursors.contains(&key) {
            return true;
        }
        if self.cursors.len() >= MOST_QUERIES {
            self.older_cursors = std::mem::take(&mut self.cursors);
        }
        !self.cursors.insert(key)
    }

    fn read(&mut self, database: &DatabaseSpan) -> Arc<Statement> {
        let Some(text) = &database.query else { return Arc::default() };
        let key = (database.system.clone(), text.clone());
        if let Some(known) = self.texts.get(&key) {
            return Arc::clone(known);
        }
        if self.texts.len() >= MOST_TEXTS {
            self.texts.clear();
        }
        let statement = Arc::new(Statement::read(&database.system, text));
        self.texts.insert(key, Arc::clone(&statement));
        statement
    }

    fn query(
        &mut self,
        database: &DatabaseSpan,
        statement: &Statement,
        outbox: &mut Outbox,
    ) -> Query {
        // May hold more than the operation: "SELECT /path/to/db".
        let told = database.operation.as_deref().and_then(sql::command);
        let told = told.map(str::to_ascii_uppercase);
        let operation = statement.operation.as_deref().or(told.as_deref());
        let collection = statement.collection.as_deref().or(database.collection.as_deref());
        let operation: Option<DbOperation> =
            operation.map(|text| self.operations.admit(text, outbox));
        let collection: Option<DbCollection> =
            collection.map(|text| self.collections.admit(text, outbox));
        let system: DbSystem = self.systems.admit(&database.system.to_ascii_lowercase(), outbox);
        Query { system, operation, collection, fingerprint: Arc::clone(&statement.fingerprint) }
    }
}

/// What a span is called. That of a call to a database may be called by its whole statement.
fn name(span: &Span, statement: Option<&Statement>) -> Box<str> {
    let Some(database) = span.database.as_deref() else { return span.name.clone() };
    match statement.map(|it| (it.operation.as_deref(), it.collection.as_deref())) {
        Some((Some(operation), Some(collection))) => format!("{operation} {collection}").into(),
        Some((Some(operation), None)) => operation.into(),
        _ => sql::command(&span.name).unwrap_or(&database.system).into(),
    }
}

fn operation(span: &Span, name: Box<str>, work: Work, now: UnixMicros) -> Operation {
    let told = span.start_ns / 1_000;
    let believed = now.0.saturating_sub(EARLIEST)..=now.0.saturating_add(LATEST);
    let at = if believed.contains(&told) { UnixMicros(told) } else { now };
    Operation {
        at,
        duration: span.duration(),
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent: span.parent,
        name,
        failed: span.failed,
        work,
    }
}

/// Taking a connection is no query, nor is what tells neither its statement nor what it does.
fn is_query(span: &Span, database: &DatabaseSpan) -> bool {
    let does = |text: &str| !text.trim().is_empty() && !text.eq_ignore_ascii_case(CONNECT);
    database.query.is_some()
        || &*span.name != CONNECT && database.operation.as_deref().is_some_and(does)
}

/// Queries told lately, by what a span around them is found by.
#[derive(Default)]
struct Remembered {
    recent: Generation,
    older: Generation,
}

#[derive(Default)]
struct Generation {
    queries: usize,
    /// Spans that have a query among their children.
    parents: HashSet<(u128, u64)>,
    by_place: HashMap<Place, Vec<Told>>,
}

/// Where a query stands: its trace and parent, and its shape. Without a parent each span begins a
/// trace of its own, so that the trace says nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place(Option<(u128, u64)>, Arc<str>);

struct Told {
    scope: Arc<str>,
    start_ns: u64,
    end_ns: u64,
}

impl Remembered {
    fn put(&mut self, span: &Span, database: &DatabaseSpan, statement: &Statement) {
        if self.recent.queries >= MOST_QUERIES {
            self.older = std::mem::take(&mut self.recent);
        }
        let Generation { queries, parents, by_place } = &mut self.recent;
        *queries += 1;
        let parent = span.parent.map(|parent| (span.trace_id, parent));
        parents.extend(parent);
        if !statement.fingerprint.is_empty() {
            let scope = Arc::clone(&database.scope);
            let told = Told { scope, start_ns: span.start_ns, end_ns: span.end_ns };
            by_place
                .entry(Place(parent, Arc::clone(&statement.fingerprint)))
                .or_default()
                .push(told);
        }
    }

    /// Whether the span is around a query that was told, of which it is another telling. Such a span
    /// is forgotten: of two that began and ended as one the second is then counted.
    fn is_around(&mut self, span: &Span, database: &DatabaseSpan, statement: &Statement) -> bool {
        let own = (span.trace_id, span.span_id);
        let parent = span.parent.map(|parent| (span.trace_id, parent));
        let place = Place(parent, Arc::clone(&statement.fingerprint));
        let is_inside = |told: &Told| {
            told.scope != database.scope
                && span.start_ns <= told.start_ns
                && told.end_ns <= span.end_ns
        };
        let is_around = [&self.recent, &self.older].into_iter().any(|generation| {
            let queries = generation.by_place.get(&place);
            generation.parents.contains(&own) || queries.is_some_and(|it| it.iter().any(is_inside))
        });
        if is_around && let Some(queries) = self.recent.by_place.get_mut(&place) {
            let is_itself = |told: &Told| {
                told.scope == database.scope
                    && (told.start_ns, told.end_ns) == (span.start_ns, span.end_ns)
            };
            if let Some(at) = queries.iter().position(is_itself) {
                queries.swap_remove(at);
            }
        }
        is_around
    }
}

/// Labels of one kind; tells when there is no more room.
struct Labels<K>(LabelSet<K>);

impl<K: LabelKind> Default for Labels<K> {
    fn default() -> Self {
        Self(LabelSet::new())
    }
}

impl<K: LabelKind> Labels<K> {
    fn admit(&mut self, text: &str, outbox: &mut Outbox) -> crate::model::Label<K> {
        let before = self.0.overflow();
        let label = self.0.admit(text);
        if self.0.overflow() > before {
            outbox.event(&Event::LabelOverflow { label: K::NAME });
        }
        label
    }
}
