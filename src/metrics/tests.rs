//! What a scrape says, read as Prometheus reads it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, U256};

use super::*;
use crate::model::{
    AppFunction, AppTiming, BatchPlace, Block, Breakdown, CacheOutcome, CallDetail, Client,
    ConnectionId, ContractCall, ContractName, CustomMetrics, DbOperation, DbSystem, DropReason,
    EmittedEvents, End, Event, EventName, Finding, FindingKind, Flow, FunctionName, Head,
    HostReading, HttpMethod, HttpRequest, InnerCall, Join, LabelSet, Method, NodeCost, Opaque,
    Operation, Outcome, ProcessReading, Proxy, Query, Reason, Role, Rollback, RollbackCause, Route,
    RpcCall, Sample, SampleKind, Sink as _, StateChange, ToldBy, TraceContext, Tracer, Transaction,
    TransactionKind, TransactionStatus, Transport, UnixMicros, Volume, Work,
};

/// Every family: its type and its labels, as the catalogue of metrics names them.
const CATALOGUE: &[(&str, &str, &str)] = &[
    ("app_function_duration_seconds", "histogram", "function"),
    ("dapp_network_bytes_total", "counter", "direction,peer"),
    ("dapp_process_cpu_seconds_total", "counter", "process"),
    ("dapp_process_disk_read_bytes_total", "counter", "process"),
    ("dapp_process_disk_written_bytes_total", "counter", "process"),
    ("dapp_process_open_fds", "gauge", "process"),
    ("dapp_process_resident_memory_bytes", "gauge", "process"),
    ("dapp_process_start_time_seconds", "gauge", "process"),
    ("dapp_process_threads", "gauge", "process"),
    ("dapp_process_up", "gauge", "process"),
    ("dapp_processes", "gauge", "process"),
    ("dapp_process_restarts_total", "counter", "process"),
    ("dapp_database_size_bytes", "gauge", "database"),
    ("dapp_wasted_calls_total", "counter", "finding"),
    ("dappscope_build_info", "gauge", "version"),
    ("dappscope_exports_refused_total", "counter", "reason"),
    ("dappscope_findings_total", "counter", "finding"),
    ("dappscope_label_overflow_total", "counter", "label"),
    ("dappscope_node_call_longest_seconds", "gauge", "purpose"),
    ("dappscope_node_call_seconds_total", "counter", "purpose"),
    ("dappscope_node_calls_skipped_total", "counter", "purpose"),
    ("dappscope_node_calls_total", "counter", "purpose"),
    ("dappscope_node_method_calls_total", "counter", "method"),
    ("dappscope_opaque_connections_total", "counter", "reason"),
    ("dappscope_parse_failures_total", "counter", "kind"),
    ("dappscope_proxy_overhead_seconds", "histogram", "proxy"),
    ("dappscope_queue_capacity", "gauge", ""),
    ("dappscope_queue_depth", "gauge", ""),
    ("dappscope_refused_requests_total", "counter", "proxy,reason"),
    ("dappscope_requests_excluded_total", "counter", ""),
    ("dappscope_samples_dropped_total", "counter", "reason"),
    ("dappscope_samples_stored_total", "counter", "kind"),
    ("dappscope_samples_total", "counter", "kind"),
    ("dappscope_spans_total", "counter", "result"),
    ("dappscope_store_bytes", "gauge", ""),
    ("dappscope_store_errors_total", "counter", ""),
    ("dappscope_store_write_seconds", "summary", ""),
    ("dappscope_upstream_up", "gauge", "upstream"),
    (
        "db_client_operation_duration_seconds",
        "histogram",
        "db_collection_name,db_operation_name,db_system_name",
    ),
    ("db_client_n_plus_one_total", "counter", "http_route"),
    ("http_server_rpc_calls", "histogram", "http_route"),
    ("http_server_db_queries", "histogram", "http_route"),
    ("http_server_time_seconds_total", "counter", "http_route,part"),
    ("http_server_transaction_gas_total", "counter", "http_route"),
    ("http_server_transactions_reverted_total", "counter", "http_route"),
    ("evm_base_fee_wei", "gauge", ""),
    ("evm_block_gas_limit", "gauge", ""),
    ("evm_block_gas_used", "histogram", ""),
    ("evm_block_height", "gauge", ""),
    ("evm_block_interval_seconds", "histogram", ""),
    ("evm_block_mining_duration_seconds", "histogram", ""),
    ("evm_block_transactions", "histogram", ""),
    ("evm_chain_setbacks_total", "counter", "cause"),
    ("evm_contract_call_duration_seconds", "histogram", "contract,function,kind"),
    ("evm_contract_call_errors_total", "counter", "contract,function,kind"),
    ("evm_deployment_block_share_ratio", "gauge", "contract"),
    ("evm_deployment_code_size_bytes", "gauge", "contract"),
    ("evm_deployment_duration_seconds", "histogram", "contract"),
    ("evm_deployment_gas_used", "histogram", "contract"),
    ("evm_events_total", "counter", "contract,event"),
    ("evm_head_timestamp_seconds", "gauge", ""),
    ("evm_multicall_calls_total", "counter", "contract,function,success"),
    ("evm_node_restarts_total", "counter", ""),
    ("evm_node_start_time_seconds", "gauge", ""),
    ("evm_node_up", "gauge", ""),
    ("evm_oldest_pending_transaction_seconds", "gauge", ""),
    ("evm_reverts_total", "counter", "contract,function,kind,reason"),
    ("evm_reverts_unexplained_total", "counter", "why"),
    ("evm_state_accounts_touched", "histogram", "contract,function"),
    ("evm_state_slots_total", "counter", "change,contract,function"),
    ("evm_transaction_confirmation_seconds", "histogram", "contract,function"),
    ("evm_transaction_fees_eth_total", "counter", "contract,function"),
    ("evm_transaction_gas_used", "histogram", "contract,function"),
    ("evm_transactions_pending", "gauge", ""),
    ("evm_transactions_rolled_back_total", "counter", "cause"),
    ("evm_transactions_total", "counter", "contract,function,status"),
    ("http_server_aborted_requests_total", "counter", "http_route"),
    ("http_server_active_requests", "gauge", ""),
    ("http_server_active_websockets", "gauge", ""),
    ("http_server_cache_requests_total", "counter", "http_route,result"),
    ("http_server_event_stream_duration_seconds", "histogram", "http_route"),
    ("http_server_request_body_size_bytes", "histogram", "http_request_method,http_route"),
    (
        "http_server_request_duration_seconds",
        "histogram",
        "http_request_method,http_response_status_code,http_route",
    ),
    ("http_server_response_body_size_bytes", "histogram", "http_request_method,http_route"),
    ("http_server_time_to_first_byte_seconds", "histogram", "http_route"),
    ("http_server_upgrades_total", "counter", "http_route"),
    ("rpc_server_active_calls", "gauge", ""),
    ("rpc_server_batch_size", "histogram", ""),
    ("rpc_server_call_duration_seconds", "histogram", "error_type,rpc_method,transport"),
    ("rpc_server_calls_uninspected_total", "counter", "reason"),
    ("rpc_server_connections", "gauge", "transport"),
    ("rpc_server_duplicate_calls_total", "counter", "rpc_method"),
    ("rpc_server_notification_lag_seconds", "histogram", ""),
    ("rpc_server_notifications_total", "counter", "subscription"),
    ("rpc_server_request_size_bytes", "histogram", "rpc_method"),
    ("rpc_server_response_size_bytes", "histogram", "rpc_method"),
    ("system_cpu_utilization_ratio", "gauge", ""),
    ("system_disk_io_bytes_total", "counter", "disk_io_direction,system_device"),
    ("system_memory_usage_bytes", "gauge", "system_memory_state"),
    ("system_network_io_bytes_total", "counter", "network_interface_name,network_io_direction"),
];

fn metrics() -> Metrics {
    with(CustomMetrics::default())
}

/// With these metrics of the dapp's own.
pub(super) fn with(custom: CustomMetrics) -> Metrics {
    let tally = Arc::new(Tally::default());
    Metrics::new(Sources {
        queue: Queue::new(1_000, 1_000_000, Arc::clone(&tally)),
        tally,
        store: Some(Box::new(|| StoreNumbers {
            bytes: 4_096,
            errors: 2,
            writes: 8,
            write_time: Duration::from_millis(40),
        })),
        active_calls: Box::new(|| 4),
        active_requests: Some(Box::new(|| 3)),
        custom,
    })
    .unwrap()
}

fn scrape(metrics: &Metrics) -> String {
    String::from_utf8(metrics.encode()).unwrap()
}

#[track_caller]
fn has(scrape: &str, line: &str) {
    assert!(scrape.lines().any(|l| l == line), "no line {line} in\n{scrape}");
}

fn call(method: Method, outcome: Outcome) -> RpcCall {
    RpcCall {
        at: UnixMicros(1),
        method,
        transport: Transport::Http,
        outcome,
        connection: ConnectionId(1),
        batch: None,
        request_bytes: 200,
        response_bytes: 100,
        total: Duration::from_micros(900),
        upstream: Duration::from_micros(880),
        overhead: Duration::from_micros(20),
        target: None,
        transaction: None,
        trace: None,
        joined_by: None,
        detail: None,
    }
}

fn request() -> HttpRequest {
    HttpRequest {
        at: UnixMicros(1),
        method: HttpMethod::known("GET"),
        route: Route::known("/api/nfts/{id}"),
        path: "/api/nfts/7".into(),
        status: 200,
        end: End::Complete,
        connection: ConnectionId(1),
        request_bytes: 0,
        response_bytes: 1_000,
        total: Duration::from_millis(20),
        upstream: Duration::from_millis(19),
        first_byte: Duration::from_millis(18),
        overhead: Duration::from_micros(30),
        trace: TraceContext { trace_id: 1, span_id: 1, flags: 1 },
        cache: CacheOutcome::Hit,
        flow: Flow::Response,
        app: None,
    }
}

fn transaction(kind: TransactionKind, status: TransactionStatus) -> Transaction {
    Transaction {
        at: UnixMicros(1),
        hash: B256::ZERO,
        kind,
        status,
        from: None,
        to: None,
        created: None,
        contract: ContractName::known("Marketplace"),
        function: FunctionName::known("buy"),
        selector: None,
        nonce: None,
        value: U256::ZERO,
        gas_limit: None,
        gas_used: Some(84_000),
        gas_price: Some(1_000_000_000),
        block: Some(1),
        reason: (status != TransactionStatus::Success).then(|| Reason::known("NotForSale")),
        confirmation: Some(Duration::from_millis(4)),
        submission: None,
        trace: None,
        message: None,
        envelope: None,
        events: Box::default(),
        inner: Box::default(),
        delegation: None,
        code_bytes: None,
        block_gas_limit: None,
        rolled_back_by: None,
        unexplained: None,
        events_omitted: 0,
        blob: None,
    }
}

fn reading(pid: u32, cpu_seconds: f64) -> HostReading {
    let volume = Volume { read: 10, written: 20 };
    HostReading {
        at: UnixMicros(1),
        cpu: 0.25,
        memory_used: 100,
        memory_available: 200,
        memory_total: 300,
        disks: vec![("vda".into(), volume)],
        networks: vec![("lo".into(), volume)],
        processes: vec![ProcessReading {
            role: Role::known("flask"),
            pid,
            started: 1_700_000_000,
            cpu_seconds,
            resident: 50_000_000,
            open_files: Some(12),
            threads: Some(4),
            disk: volume,
        }],
        databases: vec![("marketplace.db".into(), 8_192)],
    }
}

fn operation(micros: u64, work: Work) -> Operation {
    Operation {
        at: UnixMicros(1),
        duration: Duration::from_micros(micros),
        trace_id: 1,
        span_id: 2,
        parent: Some(1),
        name: "SELECT".into(),
        failed: false,
        work,
    }
}

fn breakdown() -> Breakdown {
    let millis = Duration::from_millis;
    Breakdown {
        at: UnixMicros(1),
        trace_id: 1,
        method: HttpMethod::known("GET"),
        route: Route::known("/api/nfts/{id}"),
        status: 200,
        told_by: ToldBy::Spans,
        joined_by: Some(Join::Trace),
        queries: Some(7),
        rpc_calls: 3,
        total: millis(20),
        database: millis(2),
        evm: millis(8),
        rpc: millis(4),
        proxy: millis(1),
        left_out: 0,
    }
}

/// One of everything.
fn feed(metrics: &Metrics) {
    let mut sink = metrics.sink();
    let target = ContractCall {
        contract: ContractName::known("Marketplace"),
        function: FunctionName::known("listings"),
    };
    let inner = InnerCall { target, selector: None, success: Some(true), reason: None };
    let state = StateChange {
        at: UnixMicros(1),
        hash: B256::ZERO,
        block: 1,
        contract: target.contract,
        function: FunctionName::known("buy"),
        tracer: Tracer::PrestateDiff,
        took: Duration::from_millis(1),
        counts: [1, 2, 0],
        accounts: 3,
        slots: Box::default(),
    };
    let finding = |kind| Finding {
        at: UnixMicros(1),
        kind,
        count: 12,
        span: Duration::from_secs(1),
        method: None,
        target: None,
        transaction: None,
        account: None,
        connection: ConnectionId(1),
        client: Client::default(),
        request: None,
        query: None,
        block: None,
    };
    let block = Block {
        at: UnixMicros(1),
        number: 42,
        hash: B256::ZERO,
        parent: B256::ZERO,
        timestamp: 1_700_000_000,
        gas_used: 84_000,
        gas_limit: 30_000_000,
        base_fee: Some(875_000_000),
        transactions: 1,
        interval: Some(Duration::from_millis(500)),
    };
    sink.accept(&[
        Sample::Call(RpcCall {
            target: Some(target),
            ..call(Method::known("eth_call"), Outcome::Success)
        }),
        Sample::Call(RpcCall {
            target: Some(target),
            detail: Some(Box::new(CallDetail {
                reason: Some(Reason::known("NotForSale")),
                inner: vec![inner.clone(); 3].into(),
                ..CallDetail::default()
            })),
            ..call(Method::known("eth_call"), Outcome::Error(3))
        }),
        // What it reverted with is told by its transaction.
        Sample::Call(RpcCall {
            target: Some(target),
            detail: Some(Box::new(CallDetail {
                reason: Some(Reason::known("NotForSale")),
                ..CallDetail::default()
            })),
            ..call(Method::known("eth_sendTransaction"), Outcome::Error(-32603))
        }),
        Sample::Call(RpcCall {
            target: Some(target),
            ..call(Method::known("eth_estimateGas"), Outcome::Success)
        }),
        Sample::Request(HttpRequest {
            app: Some(Box::new(AppTiming {
                database: None,
                functions: [(AppFunction::known("mint"), Duration::from_millis(8))].into(),
            })),
            ..request()
        }),
        Sample::Request(HttpRequest { flow: Flow::Socket, status: 101, ..request() }),
        Sample::Request(HttpRequest {
            flow: Flow::Events,
            route: Route::known("/events"),
            end: End::ClientGone,
            total: Duration::from_mins(2),
            ..request()
        }),
        Sample::Request(HttpRequest {
            route: Route::known("/left"),
            end: End::ClientGone,
            status: 0,
            first_byte: Duration::ZERO,
            cache: CacheOutcome::Unknown,
            ..request()
        }),
        Sample::Transaction(Box::new(Transaction {
            code_bytes: Some(9_000),
            rolled_back_by: Some(RollbackCause::EvmRevert),
            block_gas_limit: Some(168_000),
            ..transaction(TransactionKind::Deployment, TransactionStatus::Success)
        })),
        Sample::Rollback(Box::new(Rollback {
            at: UnixMicros(0),
            cause: RollbackCause::Reset,
            blocks: None,
            transactions: [B256::ZERO].into(),
            omitted: 2,
        })),
        Sample::State(Box::new(state)),
        Sample::Finding(Box::new(finding(FindingKind::ReceiptPolling))),
        Sample::Finding(Box::new(finding(FindingKind::NonceAhead))),
        Sample::Transaction(Box::new(Transaction {
            events: vec![EmittedEvents {
                contract: target.contract,
                event: EventName::known("Sold"),
                count: 2,
            }]
            .into(),
            inner: vec![inner].into(),
            ..transaction(TransactionKind::Call, TransactionStatus::Reverted)
        })),
        Sample::Block(Box::new(block)),
        Sample::Host(Box::new(reading(7, 10.0))),
        Sample::Operation(Box::new(operation(
            200,
            Work::Query(Query {
                system: DbSystem::known("sqlite"),
                operation: Some(DbOperation::known("SELECT")),
                collection: None,
                fingerprint: "SELECT ?".into(),
            }),
        ))),
        Sample::Operation(Box::new(operation(2_000, Work::Function(AppFunction::known("price"))))),
        Sample::Breakdown(Box::new(breakdown())),
    ]);
    for event in [
        Event::BatchSize(3),
        Event::Duplicate(Method::known("eth_chainId")),
        Event::Notification { subscription: "newHeads", lag: Some(Duration::from_millis(1)) },
        Event::ParseFailure("rpc_request"),
        Event::ConnectionOpened { proxy: Proxy::Rpc },
        Event::ConnectionOpened { proxy: Proxy::Rpc },
        Event::ConnectionUpgraded { proxy: Proxy::Rpc },
        Event::ConnectionUpgraded { proxy: Proxy::Api },
        Event::ConnectionUpgraded { proxy: Proxy::Api },
        Event::ConnectionClosed { proxy: Proxy::Api, upgraded: true },
        Event::ConnectionClosed { proxy: Proxy::Api, upgraded: false },
        Event::BytesPassed { proxy: Proxy::Rpc, sent: 4, received: 10 },
        Event::BytesPassed { proxy: Proxy::Rpc, sent: 6, received: 20 },
        Event::ConnectionClosed { proxy: Proxy::Rpc, upgraded: false },
        Event::Opaque(Opaque::RequestNotHttp),
        Event::Refused { proxy: Proxy::Api, status: 403, reason: "host" },
        Event::Upstream { proxy: Proxy::Rpc, reachable: true },
        Event::NodeUp {
            at: UnixMicros(5_500_000),
            chain_id: 31_337,
            client: "Hardhat".into(),
            head: Head { number: 43, gas_limit: 60_000_000, ..Head::default() },
        },
        Event::NodeRestarted,
        Event::Spans { taken: 5, left_out: 2, repeated: 1 },
        Event::ExportRefused("malformed"),
        Event::Wasted { finding: FindingKind::ReceiptPolling, calls: 5 },
        Event::NothingTold { route: Route::known("/api/nfts/{id}") },
        Event::RequestMined {
            route: Route::known("/api/nfts/{id}"),
            gas: 84_000,
            reverted_after_success: true,
        },
        Event::RepeatedQueries { route: Route::known("/api/nfts/{id}") },
        Event::Mined(Duration::from_millis(2)),
        Event::WentBack { cause: Some(RollbackCause::EvmRevert), blocks: 3 },
        Event::Asked(NodeCost {
            purpose: "blocks",
            method: "eth_getTransactionReceipt",
            calls: 3,
            skipped: 2,
            took: Duration::from_millis(250),
            longest: Duration::from_millis(125),
        }),
        Event::LabelOverflow { label: "http_route" },
        Event::CallStarted,
        Event::Pending { transactions: 2, oldest: Some(Duration::from_secs(3)) },
    ] {
        sink.event(&event);
    }
    sink.flush();
}

#[test]
fn the_families_are_those_of_the_catalogue_and_each_says_what_it_is() {
    let metrics = metrics();
    feed(&metrics);
    metrics.encode();
    let mut found = BTreeMap::new();
    for family in metrics.registry.gather() {
        let labels = family.get_metric()[0].get_label();
        let names: Vec<_> = labels.iter().map(prometheus::proto::LabelPair::name).collect();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        assert!(family.help().len() > 15, "{} has no help", family.name());
        assert!(family.help().ends_with('.'), "{}", family.help());
        found.insert(family.name().to_owned(), (kind, names.join(",")));
    }
    let expected: BTreeMap<_, _> = CATALOGUE
        .iter()
        .map(|&(name, kind, labels)| (name.to_owned(), (kind.to_owned(), labels.to_owned())))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn promtool_finds_nothing_to_mend_in_the_scrape() {
    let metrics = metrics();
    feed(&metrics);
    assert_eq!(complaints(&metrics), "");
}

/// What promtool has to say of a scrape.
pub(super) fn complaints(metrics: &Metrics) -> String {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = tool.expect("promtool: apt-get install prometheus");
    tool.stdin.take().unwrap().write_all(&metrics.encode()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    if output.status.success() { complaints } else { format!("{}: {complaints}", output.status) }
}

#[test]
fn a_scrape_tells_what_was_fed() {
    let metrics = metrics();
    feed(&metrics);
    let text = scrape(&metrics);
    for line in [
        "rpc_server_call_duration_seconds_bucket{error_type=\"\",rpc_method=\"eth_call\",transport=\"http\",le=\"0.0005\"} 0",
        "rpc_server_call_duration_seconds_bucket{error_type=\"\",rpc_method=\"eth_call\",transport=\"http\",le=\"0.001\"} 1",
        "rpc_server_request_size_bytes_bucket{rpc_method=\"eth_call\",le=\"256\"} 2",
        "evm_contract_call_duration_seconds_count{contract=\"Marketplace\",function=\"listings\",kind=\"read\"} 2",
        "evm_contract_call_duration_seconds_count{contract=\"Marketplace\",function=\"listings\",kind=\"estimate\"} 1",
        "evm_contract_call_errors_total{contract=\"Marketplace\",function=\"listings\",kind=\"read\"} 1",
        "evm_contract_call_errors_total{contract=\"Marketplace\",function=\"listings\",kind=\"estimate\"} 0",
        "evm_contract_call_errors_total{contract=\"Marketplace\",function=\"listings\",kind=\"write\"} 1",
        "evm_reverts_total{contract=\"Marketplace\",function=\"listings\",kind=\"read\",reason=\"NotForSale\"} 1",
        "evm_multicall_calls_total{contract=\"Marketplace\",function=\"listings\",success=\"true\"} 4",
        "evm_events_total{contract=\"Marketplace\",event=\"Sold\"} 2",
        "evm_transaction_fees_eth_total{contract=\"Marketplace\",function=\"buy\"} 0.000168",
        "evm_deployment_code_size_bytes{contract=\"Marketplace\"} 9000",
        "evm_deployment_block_share_ratio{contract=\"Marketplace\"} 0.5",
        "evm_state_slots_total{change=\"created\",contract=\"Marketplace\",function=\"buy\"} 1",
        "evm_state_slots_total{change=\"updated\",contract=\"Marketplace\",function=\"buy\"} 2",
        "evm_state_slots_total{change=\"cleared\",contract=\"Marketplace\",function=\"buy\"} 0",
        "evm_state_accounts_touched_sum{contract=\"Marketplace\",function=\"buy\"} 3",
        "evm_block_mining_duration_seconds_sum 0.002",
        "evm_chain_setbacks_total{cause=\"evm_revert\"} 1",
        "evm_chain_setbacks_total{cause=\"reset\"} 0",
        "evm_transactions_rolled_back_total{cause=\"evm_revert\"} 1",
        "evm_transactions_rolled_back_total{cause=\"reset\"} 3",
        "evm_transactions_rolled_back_total{cause=\"reorganisation\"} 0",
        "dappscope_findings_total{finding=\"receipt_polling\"} 1",
        "dappscope_findings_total{finding=\"repeated_calls\"} 0",
        "dapp_wasted_calls_total{finding=\"receipt_polling\"} 16",
        "dappscope_node_calls_total{purpose=\"blocks\"} 3",
        "dappscope_node_calls_total{purpose=\"traces\"} 0",
        "dappscope_node_call_seconds_total{purpose=\"blocks\"} 0.25",
        "dappscope_node_call_longest_seconds{purpose=\"blocks\"} 0.125",
        "dappscope_node_calls_skipped_total{purpose=\"blocks\"} 2",
        "dappscope_node_method_calls_total{method=\"eth_getTransactionReceipt\"} 3",
        "evm_transactions_total{contract=\"Marketplace\",function=\"buy\",status=\"reverted\"} 1",
        "evm_reverts_total{contract=\"Marketplace\",function=\"buy\",kind=\"transaction\",reason=\"NotForSale\"} 1",
        "evm_deployment_gas_used_sum{contract=\"Marketplace\"} 84000",
        "evm_block_height 43",
        "evm_block_gas_limit 60000000",
        "evm_base_fee_wei 875000000",
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/api/nfts/{id}\"} 1",
        "http_server_active_requests 3",
        "http_server_active_websockets 1",
        "http_server_upgrades_total{http_route=\"/api/nfts/{id}\"} 1",
        "http_server_cache_requests_total{http_route=\"/api/nfts/{id}\",result=\"hit\"} 1",
        "http_server_cache_requests_total{http_route=\"/api/nfts/{id}\",result=\"stale\"} 0",
        "http_server_cache_requests_total{http_route=\"/events\",result=\"hit\"} 0",
        "http_server_aborted_requests_total{http_route=\"/left\"} 1",
        "http_server_aborted_requests_total{http_route=\"/events\"} 0",
        "http_server_time_to_first_byte_seconds_count{http_route=\"/api/nfts/{id}\"} 1",
        "http_server_time_to_first_byte_seconds_count{http_route=\"/events\"} 1",
        "http_server_time_to_first_byte_seconds_count{http_route=\"/left\"} 0",
        "http_server_event_stream_duration_seconds_sum{http_route=\"/events\"} 120",
        "app_function_duration_seconds_sum{function=\"mint\"} 0.008",
        "app_function_duration_seconds_sum{function=\"price\"} 0.002",
        "http_server_rpc_calls_bucket{http_route=\"/api/nfts/{id}\",le=\"0\"} 1",
        "http_server_rpc_calls_sum{http_route=\"/api/nfts/{id}\"} 3",
        "http_server_rpc_calls_count{http_route=\"/api/nfts/{id}\"} 2",
        "http_server_db_queries_sum{http_route=\"/api/nfts/{id}\"} 7",
        "http_server_db_queries_count{http_route=\"/api/nfts/{id}\"} 1",
        "http_server_time_seconds_total{http_route=\"/api/nfts/{id}\",part=\"evm\"} 0.008",
        "http_server_time_seconds_total{http_route=\"/api/nfts/{id}\",part=\"app\"} 0.005",
        "http_server_transaction_gas_total{http_route=\"/api/nfts/{id}\"} 84000",
        "http_server_transactions_reverted_total{http_route=\"/api/nfts/{id}\"} 1",
        "db_client_n_plus_one_total{http_route=\"/api/nfts/{id}\"} 1",
        "rpc_server_active_calls 5",
        "rpc_server_connections{transport=\"http\"} 0",
        "rpc_server_connections{transport=\"websocket\"} 1",
        "dapp_network_bytes_total{direction=\"received\",peer=\"rpc\"} 30",
        "evm_node_start_time_seconds 5.5",
        "evm_oldest_pending_transaction_seconds 3",
        "dappscope_store_bytes 4096",
        "dappscope_store_errors_total 2",
        "dappscope_store_write_seconds_sum 0.04",
        "dappscope_store_write_seconds_count 8",
        "dapp_process_up{process=\"flask\"} 1",
    ] {
        has(&text, line);
    }
}

#[test]
fn a_hostile_method_name_stays_inside_its_label() {
    let metrics = metrics();
    let mut names = LabelSet::new();
    let hostile = "x\"} 1\nevil_total{a=\"\\";
    let method: Method = names.admit(hostile);
    metrics.sink().accept(&[Sample::Call(call(method, Outcome::Error(-32601)))]);
    let text = scrape(&metrics);
    assert!(!text.lines().any(|line| line.starts_with("evil_total")), "{text}");
    has(
        &text,
        "rpc_server_call_duration_seconds_count{error_type=\"-32601\",rpc_method=\"x\\\"} 1\\nevil_total{a=\\\"\\\\\",transport=\"http\"} 1",
    );
}

#[test]
fn an_item_of_a_batch_is_a_call_and_the_batch_adds_its_overhead_once() {
    let metrics = metrics();
    let items: Vec<_> = (0..3)
        .map(|index| {
            Sample::Call(RpcCall {
                transport: Transport::HttpBatch,
                batch: Some(BatchPlace { index, size: 3 }),
                ..call(Method::known("eth_getBalance"), Outcome::Success)
            })
        })
        .collect();
    metrics.sink().accept(&items);
    let text = scrape(&metrics);
    has(
        &text,
        "rpc_server_call_duration_seconds_count{error_type=\"\",rpc_method=\"eth_getBalance\",transport=\"http_batch\"} 3",
    );
    has(&text, "dappscope_proxy_overhead_seconds_count{proxy=\"rpc\"} 1");
}

#[test]
fn the_accounting_is_taken_over_at_the_scrape_and_only_once() {
    let tally = Arc::new(Tally::default());
    let metrics = Metrics::new(Sources {
        queue: Queue::new(8, 8, Arc::clone(&tally)),
        tally: Arc::clone(&tally),
        store: None,
        active_calls: Box::new(|| 0),
        active_requests: None,
        custom: CustomMetrics::default(),
    })
    .unwrap();
    tally.count_seen(SampleKind::Call, 10);
    tally.count_stored(SampleKind::Call, 7);
    tally.count_dropped(DropReason::StoreBehind, 3);
    for _ in 0..2 {
        let text = scrape(&metrics);
        has(&text, "dappscope_samples_total{kind=\"call\"} 10");
        has(&text, "dappscope_samples_stored_total{kind=\"call\"} 7");
        has(&text, "dappscope_samples_dropped_total{reason=\"store_behind\"} 3");
        has(&text, "dappscope_queue_capacity 8");
        assert!(!text.contains("dappscope_store_bytes"), "nothing feeds it: {text}");
        assert!(!text.contains("http_server_active_requests"), "nothing feeds it: {text}");
    }
}

#[test]
fn the_processes_of_a_role_are_measured_together_and_one_that_ends_takes_nothing_away() {
    let metrics = metrics();
    let mut sink = metrics.sink();
    let mut tell = |cpu: &[(u32, f64)]| {
        let processes = cpu.iter().flat_map(|(pid, cpu)| reading(*pid, *cpu).processes);
        let reading = HostReading { processes: processes.collect(), ..reading(7, 0.0) };
        sink.accept(&[Sample::Host(Box::new(reading))]);
    };
    tell(&[(7, 1.0), (8, 2.0), (9, 4.0)]);
    let text = scrape(&metrics);
    has(&text, "dapp_process_cpu_seconds_total{process=\"flask\"} 7");
    has(&text, "dapp_processes{process=\"flask\"} 3");
    has(&text, "dapp_process_resident_memory_bytes{process=\"flask\"} 150000000");
    has(&text, "dapp_process_threads{process=\"flask\"} 12");
    tell(&[(7, 1.5), (9, 4.0)]);
    tell(&[(7, 1.5), (9, 4.25), (10, 0.25)]);
    let text = scrape(&metrics);
    has(&text, "dapp_process_cpu_seconds_total{process=\"flask\"} 8");
    has(&text, "dapp_process_restarts_total{process=\"flask\"} 0");
    has(&text, "dapp_process_disk_read_bytes_total{process=\"flask\"} 40");
    has(&text, "dapp_database_size_bytes{database=\"marketplace.db\"} 8192");
}

#[test]
fn a_process_that_is_replaced_adds_to_what_its_role_has_used() {
    let metrics = metrics();
    let mut sink = metrics.sink();
    let mut tell = |reading: HostReading| sink.accept(&[Sample::Host(Box::new(reading))]);
    tell(reading(7, 10.0));
    tell(reading(7, 12.0));
    tell(reading(8, 1.5));
    has(&scrape(&metrics), "dapp_process_cpu_seconds_total{process=\"flask\"} 13.5");
    has(&scrape(&metrics), "dapp_process_restarts_total{process=\"flask\"} 1");
    tell(HostReading { processes: Vec::new(), databases: Vec::new(), ..reading(8, 0.0) });
    has(&scrape(&metrics), "dapp_process_up{process=\"flask\"} 0");
    has(&scrape(&metrics), "dapp_processes{process=\"flask\"} 0");
    assert!(!scrape(&metrics).contains("dapp_database_size_bytes{"), "it is gone");
    let moved = Volume { read: 110, written: 20 };
    tell(HostReading { networks: vec![("lo".into(), moved)], ..reading(8, 1.5) });
    has(
        &scrape(&metrics),
        "system_network_io_bytes_total{network_interface_name=\"lo\",network_io_direction=\"receive\"} 100",
    );
}

#[test]
fn every_method_on_every_route_with_every_status_leaves_the_page_under_two_megabytes() {
    let metrics = metrics();
    let mut sink = metrics.sink();
    let (mut routes, mut methods) = (LabelSet::new(), LabelSet::new());
    let mut fed = 0_u32;
    for route in 0..200 {
        // As long as a label may be.
        let route = routes.admit(&format!("/{route:03}{}", "x".repeat(124)));
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PURGE"]
        {
            let method = methods.admit(method);
            let samples: Vec<Sample> = (100..600)
                .map(|status| Sample::Request(HttpRequest { method, route, status, ..request() }))
                .collect();
            sink.accept(&samples);
            fed += 500;
        }
        sink.accept(&[
            Sample::Request(HttpRequest { route, flow: Flow::Events, ..request() }),
            Sample::Request(HttpRequest { route, flow: Flow::Socket, ..request() }),
            Sample::Breakdown(Box::new(Breakdown { route, ..breakdown() })),
        ]);
    }
    let text = scrape(&metrics);
    assert!(text.len() < 2_000_000 && text.len() > 500_000, "{} bytes", text.len());
    let name = "http_server_request_duration_seconds_count{";
    let counts = text.lines().filter(|line| line.starts_with(name));
    let counted: u32 =
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(counted, fed, "what has no series of its own is counted all the same");
}
