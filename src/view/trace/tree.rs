//! The parts of a trace in their order: each below the one that it is a part of, by time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::Trace;
use crate::model::{HttpRequest, Operation, RpcCall, Transaction, UnixMicros, Work};
use crate::view::{Money, json as as_json};

/// The deepest that nodes are told; what is directly below is counted only. A tree comes from outside,
/// and who reads it follows it downwards.
const DEEPEST: usize = 48;

/// A part that others may be below.
#[derive(Clone, Copy)]
enum Node<'a> {
    Request(&'a HttpRequest),
    Operation(&'a Operation),
    Call(&'a RpcCall),
    Transaction(&'a Transaction),
}

/// The nodes by the span that they are below.
struct Below<'a> {
    nodes: HashMap<u64, Vec<Node<'a>>>,
    trace: &'a Trace,
    money: Option<&'a Money>,
    /// When the first request began.
    origin: UnixMicros,
}

/// The tree of a trace. Of several requests, as those of a page that traces itself, they are the
/// children of one node.
pub(super) fn of(trace: &Trace, money: Option<&Money>) -> Value {
    let spans: HashSet<u64> = trace.requests.iter().map(|it| it.trace.span_id).collect();
    let told: HashSet<u64> = trace.operations.iter().map(|it| it.span_id).collect();
    let origin = trace.requests.first().map_or_else(|| first(trace), |request| request.at);
    let mut below = Below { nodes: HashMap::new(), trace, money, origin };
    let is_known = |span: u64| spans.contains(&span) || told.contains(&span);
    let cut = circles(&trace.operations, &spans);
    for operation in &trace.operations {
        let is_below = |parent: &u64| is_known(*parent) && !cut.contains(&operation.span_id);
        let parent = operation.parent.filter(is_below);
        below.put(parent, operation.at, Node::Operation(operation));
    }
    for call in &trace.calls {
        let parent = call.trace.map(|trace| trace.span_id).filter(|span| is_known(*span));
        below.put(parent, call.at, Node::Call(call));
    }
    let sent: HashSet<_> = trace.calls.iter().filter_map(|call| call.transaction).collect();
    for transaction in &trace.transactions {
        if !sent.contains(&transaction.hash) {
            below.put(None, transaction.at, Node::Transaction(transaction));
        }
    }
    match &trace.requests[..] {
        [request] => below.tell(Node::Request(request), 0),
        requests => {
            let mut children: Vec<Value> =
                requests.iter().map(|request| below.tell(Node::Request(request), 1)).collect();
            children.extend(below.children(ORPHANS, 1));
            let ends = requests.iter().map(|it| it.at.0 + as_json::micros(it.total));
            let until = ends.max().unwrap_or(origin.0).saturating_sub(origin.0);
            let name = format!("{} requests", requests.len());
            node("trace", &name, Some(0), Duration::from_micros(until), false, &children)
        }
    }
}

/// Of each circle of operations, that are each below the next, the span at which it is cut open: below
/// itself nobody would come to it. That is the first one to begin, or the one that this is below.
fn circles(operations: &[Operation], requests: &HashSet<u64>) -> HashSet<u64> {
    let parents: HashMap<u64, Option<u64>> =
        operations.iter().map(|it| (it.span_id, it.parent)).collect();
    let mut by_time: Vec<&Operation> = operations.iter().collect();
    by_time.sort_by_key(|it| it.at);
    // By which way up each was passed. Each is passed once, however many are below it.
    let mut passed: HashMap<u64, usize> = HashMap::new();
    let mut cut = HashSet::new();
    for (way, operation) in by_time.into_iter().enumerate() {
        let mut at = operation.span_id;
        while !requests.contains(&at)
            && let Some(parent) = parents.get(&at)
        {
            if let Some(before) = passed.insert(at, way) {
                if before == way {
                    cut.insert(at);
                }
                break;
            }
            let Some(parent) = parent else { break };
            at = *parent;
        }
    }
    cut
}

/// Below no request that is known.
const ORPHANS: u64 = 0;

fn first(trace: &Trace) -> UnixMicros {
    trace.calls.iter().map(|call| call.at).min().unwrap_or_default()
}

impl<'a> Below<'a> {
    /// Puts a node below a span; without one, below the request during which it began.
    fn put(&mut self, parent: Option<u64>, at: UnixMicros, node: Node<'a>) {
        let parent = parent.unwrap_or_else(|| {
            let mut requests = self.trace.requests.iter().rev();
            let holding = requests.find(|request| request.at <= at);
            holding.or(self.trace.requests.first()).map_or(ORPHANS, |it| it.trace.span_id)
        });
        self.nodes.entry(parent).or_default().push(node);
    }

    /// What is below a span, by time. Taken out, so that a circle ends.
    fn children(&mut self, span: u64, depth: usize) -> Vec<Value> {
        let mut nodes = self.nodes.remove(&span).unwrap_or_default();
        nodes.sort_by_key(|node| node.at());
        nodes.into_iter().map(|node| self.tell(node, depth)).collect()
    }

    fn tell(&mut self, node: Node<'a>, depth: usize) -> Value {
        let (children, left_out) = match node.span() {
            Some(span) if depth < DEEPEST => (self.children(span, depth + 1), 0),
            Some(span) => (Vec::new(), self.nodes.remove(&span).map_or(0, |below| below.len())),
            None => (Vec::new(), 0),
        };
        let mut value = match node {
            Node::Request(request) => self.request(request, children),
            Node::Operation(operation) => self.operation(operation, &children),
            Node::Call(call) => self.call(call),
            Node::Transaction(transaction) => self.transaction(transaction),
        };
        if left_out > 0 {
            value["left_out_below"] = left_out.into();
        }
        value
    }

    fn since(&self, at: UnixMicros) -> Option<i64> {
        Some(at.0.cast_signed().saturating_sub(self.origin.0.cast_signed()))
    }

    fn request(&self, request: &HttpRequest, mut children: Vec<Value>) -> Value {
        let name = format!("{} {}", request.method, request.route);
        let is_told =
            self.trace.operations.iter().any(|it| it.parent == Some(request.trace.span_id));
        if let (false, Some(app)) = (is_told, &request.app) {
            if let Some(database) = app.database {
                let mut queries = node("queries", "db", None, database.took, false, &[]);
                queries["count"] = database.queries.into();
                children.push(queries);
            }
            for (function, took) in &app.functions {
                children.push(node("function", function.as_str(), None, *took, false, &[]));
            }
        }
        let failed = request.status >= 500 || request.end != crate::model::End::Complete;
        node("request", &name, self.since(request.at), request.total, failed, &children)
    }

    fn operation(&self, operation: &Operation, children: &[Value]) -> Value {
        let kind = match operation.work {
            Work::Server => "server",
            Work::Client => "client",
            Work::Query(_) => "query",
            Work::Function(_) => "function",
            Work::Other => "span",
        };
        let (start, took) = (self.since(operation.at), operation.duration);
        let mut value = node(kind, &operation.name, start, took, operation.failed, children);
        if let Work::Query(query) = &operation.work {
            value["system"] = query.system.as_str().into();
            value["operation"] = query.operation.map(|it| it.as_str()).into();
            value["collection"] = query.collection.map(|it| it.as_str()).into();
            value["fingerprint"] = (*query.fingerprint).into();
        }
        value
    }

    fn call(&self, call: &RpcCall) -> Value {
        let sent = self.trace.transactions.iter();
        let sent = sent.filter(|it| call.transaction == Some(it.hash));
        // A receipt's question names a transaction, too; the sending one is what it is below.
        let is_send = call.method.as_str().starts_with("eth_send");
        let children: Vec<Value> =
            sent.filter(|_| is_send).map(|transaction| self.transaction(transaction)).collect();
        let name = match call.target {
            Some(target) => format!("{} {}.{}", call.method, target.contract, target.function),
            None => call.method.to_string(),
        };
        let failed = call.outcome.is_failure();
        let mut value = node("call", &name, self.since(call.at), call.total, failed, &children);
        value["call"] = as_json::call(call);
        value
    }

    fn transaction(&self, transaction: &Transaction) -> Value {
        let name = format!("{}.{}", transaction.contract, transaction.function);
        let failed = transaction.status != crate::model::TransactionStatus::Success;
        let took = transaction.confirmation.unwrap_or_default();
        let start = self.since(transaction.at);
        let mut value = node("transaction", &name, start, took, failed, &[]);
        value["transaction"] = as_json::transaction(transaction, self.money);
        let state = self.trace.states.iter().find(|state| state.hash == transaction.hash);
        value["state"] = state.map(as_json::state).into();
        value
    }
}

impl Node<'_> {
    const fn at(&self) -> UnixMicros {
        match self {
            Self::Request(it) => it.at,
            Self::Operation(it) => it.at,
            Self::Call(it) => it.at,
            Self::Transaction(it) => it.at,
        }
    }

    const fn span(&self) -> Option<u64> {
        match self {
            Self::Request(it) => Some(it.trace.span_id),
            Self::Operation(it) => Some(it.span_id),
            Self::Call(_) | Self::Transaction(_) => None,
        }
    }
}

fn node(
    kind: &str,
    name: &str,
    start_us: Option<i64>,
    took: Duration,
    failed: bool,
    children: &[Value],
) -> Value {
    json!({
        "kind": kind,
        "name": name,
        "start_us": start_us,
        "duration_us": as_json::micros(took),
        "failed": failed,
        "children": children,
    })
}
