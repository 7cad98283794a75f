//! Each query is counted once, however many spans tell of it.

use super::*;
use crate::decode::otlp;

const FLASK: &[u8] = include_bytes!("../../../tests/fixtures/otlp/flask.pb");

/// A query's span: its id, its parent's, its instrumentation, when it began and ended.
fn query(id: u64, parent: Option<u64>, scope: &str, times: (u64, u64)) -> Span {
    let database = DatabaseSpan {
        scope: scope.into(),
        system: "sqlite".into(),
        query: Some("SELECT * FROM nfts WHERE id = 7".into()),
        ..DatabaseSpan::default()
    };
    Span {
        trace_id: 1,
        span_id: id,
        parent,
        name: "SELECT".into(),
        kind: SpanKind::Client,
        start_ns: times.0,
        end_ns: times.1,
        database: Some(Box::new(database)),
        ..Span::default()
    }
}

fn tell(bench: &mut Bench, spans: Vec<Span>) {
    bench.take(Observation::Spans(Box::new(Spans { spans, left_out: 0 })));
}

/// How long the counted queries took, in nanoseconds.
fn counted(bench: &Bench) -> Vec<u128> {
    let operations = bench.received.operations();
    let queries = operations.iter().filter(|it| matches!(it.work, Work::Query(_)));
    queries.map(|operation| operation.duration.as_nanos()).collect()
}

#[test]
fn a_real_export_tells_each_query_and_function_once() {
    let mut bench = Bench::new();
    bench.take(Observation::Spans(Box::new(
        otlp::protobuf(FLASK, &CustomMetrics::default()).unwrap(),
    )));
    let mut queries = Vec::new();
    let mut functions = Vec::new();
    for operation in bench.received.operations() {
        match operation.work {
            Work::Query(query) => queries.push((
                query.system.as_str(),
                query.operation.unwrap().as_str(),
                query.collection.unwrap().as_str(),
            )),
            Work::Function(function) => functions.push(function.as_str()),
            Work::Server | Work::Client | Work::Other => {}
        }
    }
    assert_eq!(bench.received.events(), [Event::Spans { taken: 13, left_out: 0, repeated: 0 }]);
    queries.sort_unstable();
    let nfts = |operation| ("sqlite", operation, "nfts");
    // Two by a cursor, two by SQLAlchemy, one that failed.
    let expected = [
        nfts("INSERT"),
        nfts("INSERT"),
        ("sqlite", "SELECT", "missing"),
        nfts("SELECT"),
        nfts("SELECT"),
    ];
    assert_eq!(queries, expected);
    assert_eq!(functions, ["mint"]);
}

#[test]
fn a_span_around_a_query_is_another_telling_of_it_also_in_a_later_export() {
    // The parent, in the same export and whatever the order; in a later one.
    let mut bench = Bench::new();
    let (outer, inner) = (query(1, None, "orm", (0, 90)), query(2, Some(1), "driver", (10, 50)));
    tell(&mut bench, vec![outer.clone(), inner.clone()]);
    assert_eq!(counted(&bench), [40]);
    let mut bench = Bench::new();
    tell(&mut bench, vec![inner]);
    tell(&mut bench, vec![outer]);
    assert_eq!(counted(&bench), [40]);
    // A sibling that lasts longer, for each of three queries.
    let mut bench = Bench::new();
    let at = |from| (from + 10, from + 50);
    let inner = [0, 100, 200].map(|from| query(from + 10, Some(1), "driver", at(from)));
    let outer = [0, 100, 200].map(|from| query(from + 11, Some(1), "orm", (from, from + 60)));
    tell(&mut bench, inner.to_vec());
    tell(&mut bench, outer.to_vec());
    assert_eq!(counted(&bench), [40, 40, 40]);
}

#[test]
fn of_two_tellings_that_took_equally_long_one_is_counted() {
    let mut bench = Bench::new();
    let spans = ["driver", "orm"].into_iter().zip(1..);
    tell(&mut bench, spans.map(|(scope, id)| query(id, Some(9), scope, (10, 50))).collect());
    assert_eq!(counted(&bench), [40]);
}

#[test]
fn queries_that_only_look_alike_are_all_counted() {
    let mut bench = Bench::new();
    tell(
        &mut bench,
        vec![
            query(1, Some(9), "driver", (10, 50)),
            // The same instrumentation, at the same time: another thread's.
            query(2, Some(9), "driver", (0, 60)),
            // Not around it.
            query(3, Some(9), "orm", (20, 70)),
            // Of another parent.
            query(4, Some(8), "orm", (0, 60)),
        ],
    );
    assert_eq!(counted(&bench), [40, 60, 50, 60]);
}

#[test]
fn what_a_span_does_not_tell_is_taken_from_its_attributes_or_left_open() {
    let mut bench = Bench::new();
    let with = |id, operation: Option<&str>, collection: Option<&str>, name: &str| {
        let database = DatabaseSpan {
            system: "redis".into(),
            operation: operation.map(Into::into),
            collection: collection.map(Into::into),
            ..DatabaseSpan::default()
        };
        Span {
            name: name.into(),
            database: Some(Box::new(database)),
            ..query(id, None, "", (0, 1))
        }
    };
    let spans = vec![
        with(1, Some("get /db/0"), Some("c"), "GET"),
        with(2, None, None, "x"),
        with(3, None, None, "connect"),
    ];
    tell(&mut bench, spans);
    let told: Vec<_> = bench
        .received
        .operations()
        .into_iter()
        .filter_map(|operation| match operation.work {
            Work::Query(query) => Some((
                query.operation.map(|it| it.as_str()),
                query.collection.map(|it| it.as_str()),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(Some("GET"), Some("c"))], "what tells nothing of itself is no query");
}

#[test]
fn names_without_end_become_other_and_are_told() {
    let mut bench = Bench::new();
    let spans = (0..300).map(|id| Span {
        trace_id: 1,
        span_id: id + 1,
        name: format!("function {id}").into(),
        ..Span::default()
    });
    tell(&mut bench, spans.collect());
    let overflow = Event::LabelOverflow { label: "app_function" };
    let told = bench.received.events().into_iter().filter(|event| *event == overflow).count();
    assert_eq!(told, 300 - 256);
}

#[test]
fn an_export_that_is_sent_again_counts_once() {
    let mut bench = Bench::new();
    let spans = || vec![query(1, None, "sqlite3", (0, 5)), query(2, None, "sqlite3", (6, 9))];
    tell(&mut bench, spans());
    tell(&mut bench, spans());
    assert_eq!(counted(&bench), [5, 3]);
    let again = Event::Spans { taken: 0, left_out: 0, repeated: 2 };
    assert!(bench.received.events().contains(&again));
}

#[test]
fn a_function_is_the_app_s_own_and_not_a_library_s() {
    let mut bench = Bench::new();
    let span = |id, name: &str, by_library| Span {
        trace_id: 1,
        span_id: id,
        name: name.into(),
        by_library,
        ..Span::default()
    };
    let spans = vec![
        span(1, "GET /items/{id} http send", true),
        span(2, "middleware - jsonParser", true),
        span(3, "price", false),
    ];
    tell(&mut bench, spans);
    let operations = bench.received.operations();
    let functions = operations.iter().filter_map(|operation| match operation.work {
        Work::Function(function) => Some(function.as_str()),
        _ => None,
    });
    assert_eq!(functions.collect::<Vec<_>>(), ["price"]);
    assert_eq!(operations.len(), 3, "they stand in the tree all the same");
}

#[test]
fn connecting_is_no_query_and_the_rows_of_a_cursor_are_one() {
    let mut bench = Bench::new();
    let bare = |id, name: &str| Span {
        name: name.into(),
        database: Some(Box::new(DatabaseSpan {
            system: "PostgreSQL".into(),
            ..DatabaseSpan::default()
        })),
        ..query(id, Some(9), "pg", (0, 1))
    };
    let row =
        |id| Span { name: "CURSOR: SELECT".into(), ..query(id, Some(9), "asyncpg", (id, id)) };
    let mut spans = vec![bare(1, "pg-pool.connect"), bare(2, "connect")];
    spans.extend((100..300).map(row));
    tell(&mut bench, spans);
    assert_eq!(counted(&bench), [0]);
}

#[test]
fn the_name_of_a_query_s_span_keeps_no_value() {
    let mut bench = Bench::new();
    let with = |id, system: &str, name: &str, query_text: Option<&str>| Span {
        name: name.into(),
        database: Some(Box::new(DatabaseSpan {
            system: system.into(),
            query: query_text.map(Into::into),
            ..DatabaseSpan::default()
        })),
        ..query(id, None, "x", (0, 1))
    };
    let statement = "SELECT * FROM users WHERE pw='SECRET'";
    let spans = vec![
        with(1, "sqlite", statement, None),
        with(2, "sqlite", statement, Some(statement)),
        with(3, "redis", "SET SECRET SECRET", Some("SET SECRET SECRET")),
        with(4, "MongoDB", "{SECRET}", None),
    ];
    tell(&mut bench, spans);
    let operations = bench.received.operations();
    let names: Vec<_> = operations.iter().map(|operation| &*operation.name).collect();
    assert_eq!(names, ["SELECT", "SELECT users", "SET", "MongoDB"]);
    assert!(!format!("{operations:?}").contains("SECRET"));
}
