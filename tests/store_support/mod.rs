//! Owns samples like those of a real dapp, made from a seed, for the store's tests and its bench.

#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(clippy::cast_precision_loss)]

use std::time::Duration;

use alloy::primitives::Address;
use dappscope::model::{
    AppFunction, AppTiming, BatchPlace, BlobGas, Block, Breakdown, CacheOutcome, CallDetail,
    Client, ConnectionId, ContractCall, ContractName, DatabaseTiming, DbCollection, DbOperation,
    DbSystem, EmittedEvents, End, EventName, Finding, FindingKind, Flow, FunctionName, HostReading,
    HttpMethod, HttpRequest, InnerCall, Join, LearnedRoute, Method, Operation, Outcome,
    ProcessReading, Query, Reason, RequestRef, Role, Rollback, RollbackCause, Route, RpcCall,
    Sample, SlotChange, StateChange, ToldBy, TraceContext, Tracer, Transaction, TransactionKind,
    TransactionStatus, Transport, Unexplained, Uninspected, UninspectedReason, UnixMicros,
    UnknownPeer, Volume, Work,
};

/// SplitMix64: the same sequence everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Between 0 and 1, neither of them.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Methods, the share of calls each has by Zipf's law, their typical request and response sizes and
/// how much slower they are than the quickest.
const METHODS: [(&str, u64, u64, f64); 12] = [
    ("eth_call", 310, 170, 1.3),
    ("eth_blockNumber", 63, 44, 0.7),
    ("eth_getTransactionReceipt", 130, 980, 1.0),
    ("eth_getBalance", 120, 58, 0.9),
    ("eth_chainId", 60, 42, 0.6),
    ("eth_getBlockByNumber", 90, 1_700, 1.4),
    ("eth_sendRawTransaction", 420, 104, 4.0),
    ("eth_estimateGas", 380, 44, 3.0),
    ("eth_gasPrice", 62, 48, 0.7),
    ("eth_getTransactionCount", 125, 42, 0.8),
    ("eth_getLogs", 250, 2_600, 2.0),
    ("eth_feeHistory", 100, 420, 1.1),
];

/// A stream of calls in order of time.
pub struct CallStream {
    pub random: Random,
    /// Unix time in nanoseconds of the next call.
    pub at_ns: u64,
    /// Calls a second.
    pub rate: f64,
    weights: Vec<f64>,
}

impl CallStream {
    pub fn new(seed: u64, from: UnixMicros, rate: f64) -> Self {
        let mut total = 0.0;
        let mut weights: Vec<f64> = (1..=METHODS.len())
            .map(|rank| {
                total += 1.0 / rank as f64;
                total
            })
            .collect();
        weights.iter_mut().for_each(|weight| *weight /= total);
        Self { random: Random(seed), at_ns: from.0 * 1_000, rate, weights }
    }

    pub fn next(&mut self) -> RpcCall {
        let random = &mut self.random;
        self.at_ns += (-random.unit().ln() / self.rate * 1e9) as u64;
        let pick = random.unit();
        let method = self.weights.partition_point(|weight| *weight < pick).min(METHODS.len() - 1);
        let (name, request, response, slower) = METHODS[method];
        let upstream = 90e3 * slower * (0.5 * random.normal()).exp();
        let overhead = 5_000 + random.below(15_000);
        // The client's own share: reading a short body takes a microsecond or two.
        let client = random.below(2_500);
        let failed = method == 0 && random.below(200) == 0;
        let response = match method {
            2 | 5 | 10 => response + random.below(response / 2),
            0 => response + 64 * random.below(3),
            _ => response + random.below(3),
        };
        RpcCall {
            at: UnixMicros(self.at_ns / 1_000),
            method: Method::known(name),
            transport: Transport::Http,
            outcome: if failed { Outcome::Error(-32_603) } else { Outcome::Success },
            connection: ConnectionId(1_000 + random.below(32)),
            batch: None,
            // The id in the envelope grows by a digit now and then; calls carry arguments.
            request_bytes: request + if method == 0 { 32 * random.below(4) } else { 0 },
            response_bytes: response,
            total: Duration::from_nanos(upstream as u64 + overhead + client),
            upstream: Duration::from_nanos(upstream as u64),
            overhead: Duration::from_nanos(overhead),
            target: None,
            transaction: None,
            trace: None,
            joined_by: None,
            detail: None,
        }
    }
}

fn hash(random: &mut Random) -> alloy::primitives::B256 {
    let words = [random.next(), random.next(), random.next(), random.next()];
    let mut bytes = [0; 32];
    words.iter().zip(bytes.chunks_mut(8)).for_each(|(w, b)| b.copy_from_slice(&w.to_le_bytes()));
    bytes.into()
}

fn trace(random: &mut Random) -> TraceContext {
    let trace_id = u128::from(random.next() | 1) << 64 | u128::from(random.next());
    TraceContext { trace_id, span_id: random.next() | 1, flags: random.below(2) as u8 }
}

fn duration(random: &mut Random) -> Duration {
    let magnitude = random.below(24);
    Duration::from_micros(random.next() % (1 << magnitude).max(2))
}

const CONTRACTS: [&str; 3] = ["Marketplace", "DappNFT", "_unknown"];
const FUNCTIONS: [&str; 5] = ["mint", "list", "buy", "cancel", "constructor"];
const OUTCOMES: [Outcome; 11] = [
    Outcome::Success,
    Outcome::Error(-32_603),
    Outcome::Error(3),
    Outcome::Http(503),
    Outcome::Timeout,
    Outcome::Connect,
    Outcome::ClientGone,
    Outcome::UpstreamGone,
    Outcome::Unanswered,
    Outcome::Uninspected,
    Outcome::Notification,
];
const ENDS: [End; 5] =
    [End::Complete, End::ClientGone, End::UpstreamGone, End::Unreachable, End::TimedOut];

fn target(random: &mut Random) -> ContractCall {
    ContractCall {
        contract: ContractName::known(CONTRACTS[random.below(3) as usize]),
        function: FunctionName::known(FUNCTIONS[random.below(5) as usize]),
    }
}

fn inner(random: &mut Random) -> Box<[InnerCall]> {
    (0..random.below(5))
        .map(|index| InnerCall {
            target: target(random),
            selector: (index == 0).then(|| [9, 8, 7, random.below(256) as u8]),
            success: [None, Some(true), Some(false)][random.below(3) as usize],
            reason: (index == 1).then(|| Reason::known("NotForSale")),
        })
        .collect()
}

fn message(random: &mut Random) -> Box<str> {
    format!("WrongPrice(paid: {}, é)", random.below(1_000)).into()
}

fn state(random: &mut Random, at: UnixMicros) -> StateChange {
    let ContractCall { contract, function } = target(random);
    StateChange {
        at,
        hash: hash(random),
        block: random.below(1_000_000),
        contract,
        function,
        tracer: Tracer::ALL[random.below(2) as usize],
        took: duration(random),
        counts: [random.below(9) as u32, random.below(300) as u32, 0],
        accounts: random.below(20) as u32,
        slots: (0..random.below(4))
            .map(|index| SlotChange {
                address: hash(random)[..20].try_into().unwrap(),
                contract: target(random).contract,
                slot: hash(random),
                name: (index != 1).then(|| format!("_owners[{}]", random.below(99)).into()),
                before: if index == 0 { Default::default() } else { hash(random) },
                after: if index == 2 { Default::default() } else { hash(random) },
            })
            .collect(),
    }
}

fn finding(random: &mut Random, at: UnixMicros) -> Finding {
    let often = |random: &mut Random| random.below(3) == 0;
    Finding {
        at,
        kind: FindingKind::ALL[random.below(4) as usize],
        count: random.below(1 << 20) as u32,
        span: duration(random),
        method: often(random).then(|| Method::known("eth_call")),
        target: often(random).then(|| target(random)),
        transaction: often(random).then(|| hash(random)),
        account: often(random).then(|| hash(random)[..20].try_into().unwrap()),
        connection: ConnectionId(random.below(1 << 40)),
        client: Client {
            agent: often(random).then(|| "Mozilla/5.0 (é)".into()),
            process: often(random).then(|| format!("node ({})", random.below(9_999)).into()),
            process_unknown: None,
        },
        request: None,
        query: None,
        block: None,
    }
}

/// A sample of any kind with any of its parts present or absent, durations in whole microseconds.
pub fn any_sample(random: &mut Random, at: UnixMicros) -> Sample {
    let often = |random: &mut Random| random.below(3) == 0;
    if random.below(20) == 0 {
        return Sample::Rollback(Box::new(Rollback {
            at,
            cause: RollbackCause::ALL[random.below(3) as usize],
            blocks: often(random).then(|| random.below(1 << 20)),
            transactions: (0..random.below(3)).map(|_| hash(random)).collect(),
            omitted: random.below(2) as u32,
        }));
    }
    let address = |random: &mut Random| Address::repeat_byte(random.below(256) as u8);
    match any_fourth_sample(random, at) {
        Sample::Call(mut call) => {
            if let Some(detail) = &mut call.detail {
                detail.uninspected = often(random).then(|| Uninspected {
                    reason: UninspectedReason::ALL[random.below(5) as usize],
                    calls: random.below(1 << 20) as u32,
                });
                detail.delegation = often(random).then(|| address(random));
            }
            Sample::Call(call)
        }
        Sample::Transaction(transaction) => {
            let why = Unexplained::ALL[random.below(8) as usize];
            let price = often(random).then(|| u128::from(random.next()) << 20);
            let cause = RollbackCause::ALL[random.below(3) as usize];
            let status = match random.below(9) {
                0 => TransactionStatus::Unknown,
                _ => transaction.status,
            };
            Sample::Transaction(Box::new(Transaction {
                status,
                unexplained: often(random).then_some(why),
                events_omitted: if often(random) { random.below(1 << 20) as u32 } else { 0 },
                blob: often(random).then(|| BlobGas { used: random.below(1 << 20), price }),
                rolled_back_by: often(random).then_some(cause),
                delegation: often(random).then(|| address(random)),
                ..*transaction
            }))
        }
        Sample::Finding(mut finding) => {
            if finding.client.process.is_none() {
                let reasons = UnknownPeer::ALL;
                finding.client.process_unknown = reasons.get(random.below(6) as usize).copied();
            }
            finding.kind = FindingKind::ALL[random.below(8) as usize];
            finding.block = often(random).then(|| random.below(1 << 40));
            Sample::Finding(finding)
        }
        other => other,
    }
}

/// A sample as the fourth version made them: no rollbacks, blobs, delegations, and nothing of why a
/// call, a reason or a client's process is not known.
pub fn any_fourth_sample(random: &mut Random, at: UnixMicros) -> Sample {
    let often = |random: &mut Random| random.below(3) == 0;
    match random.below(12) {
        0 => return Sample::Operation(Box::new(operation(random, at))),
        1 => return Sample::Breakdown(Box::new(breakdown(random, at))),
        2 => {
            let pattern = format!("/api/nfts/<int:token_{}>", random.below(9)).into();
            return Sample::Route(Box::new(LearnedRoute { at, pattern }));
        }
        _ => {}
    }
    match any_third_sample(random, at) {
        Sample::Call(call) => {
            let joined_by = often(random).then(|| Join::ALL[random.below(3) as usize]);
            Sample::Call(RpcCall { joined_by, ..call })
        }
        Sample::Finding(finding) => Sample::Finding(Box::new(Finding {
            kind: FindingKind::ALL[random.below(7) as usize],
            request: often(random).then(|| RequestRef {
                trace_id: trace(random).trace_id,
                method: HttpMethod::known("GET"),
                route: Route::known("/api/nfts"),
            }),
            query: often(random).then(|| "SELECT é FROM nfts WHERE id = ?".into()),
            ..*finding
        })),
        Sample::Host(reading) => {
            let databases = vec![("marketplace.db".into(), random.below(1 << 40))];
            Sample::Host(Box::new(HostReading { databases, ..*reading }))
        }
        other => other,
    }
}

fn operation(random: &mut Random, at: UnixMicros) -> Operation {
    let often = |random: &mut Random| random.below(3) == 0;
    let context = trace(random);
    Operation {
        at,
        duration: duration(random),
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent: (!often(random)).then(|| random.next() | 1),
        name: "SELECT é".into(),
        failed: often(random),
        work: match random.below(5) {
            0 => Work::Server,
            1 => Work::Client,
            2 => Work::Query(Query {
                system: DbSystem::known("sqlite"),
                operation: often(random).then(|| DbOperation::known("SELECT")),
                collection: often(random).then(|| DbCollection::known("nfts")),
                fingerprint: "SELECT * FROM nfts WHERE id = ?".into(),
            }),
            3 => Work::Function(AppFunction::known("mint")),
            _ => Work::Other,
        },
    }
}

fn breakdown(random: &mut Random, at: UnixMicros) -> Breakdown {
    let often = |random: &mut Random| random.below(3) == 0;
    Breakdown {
        at,
        trace_id: trace(random).trace_id,
        method: HttpMethod::known("POST"),
        route: Route::known("/api/nfts/{id}"),
        status: 200,
        told_by: ToldBy::ALL[random.below(3) as usize],
        joined_by: often(random).then(|| Join::ALL[random.below(3) as usize]),
        queries: often(random).then(|| random.below(99) as u32),
        rpc_calls: random.below(99) as u32,
        total: duration(random),
        database: duration(random),
        evm: duration(random),
        rpc: duration(random),
        proxy: duration(random),
        left_out: 0,
    }
}

/// A sample as the third version made them: nothing of what joins calls to requests.
pub fn any_third_sample(random: &mut Random, at: UnixMicros) -> Sample {
    let often = |random: &mut Random| random.below(3) == 0;
    match any_second_sample(random, at) {
        Sample::Request(request) => Sample::Request(HttpRequest {
            cache: CacheOutcome::ALL[random.below(6) as usize],
            flow: Flow::ALL[(random.below(12) / 5) as usize],
            app: often(random).then(|| {
                Box::new(AppTiming {
                    database: often(random).then(|| DatabaseTiming {
                        took: duration(random),
                        queries: often(random).then(|| random.below(50)),
                    }),
                    functions: (0..random.below(4))
                        .map(|_| {
                            let name = ["mint", "sync", "page"][random.below(3) as usize];
                            (AppFunction::known(name), duration(random))
                        })
                        .collect(),
                })
            }),
            ..request
        }),
        other => other,
    }
}

/// A sample as the second version made them: nothing of caches, streams and the API's own timing.
pub fn any_second_sample(random: &mut Random, at: UnixMicros) -> Sample {
    let often = |random: &mut Random| random.below(3) == 0;
    match random.below(12) {
        0 => return Sample::State(Box::new(state(random, at))),
        1 => return Sample::Finding(Box::new(finding(random, at))),
        _ => {}
    }
    match any_first_sample(random, at) {
        Sample::Call(call) => Sample::Call(RpcCall {
            detail: often(random).then(|| {
                Box::new(CallDetail {
                    selector: often(random).then(|| [1, 2, 3, random.below(256) as u8]),
                    reason: often(random).then(|| Reason::known("NotOwner")),
                    message: often(random).then(|| message(random)),
                    gas: often(random).then(|| random.below(30_000_000)),
                    inner: inner(random),
                    uninspected: None,
                    delegation: None,
                })
            }),
            ..call
        }),
        Sample::Transaction(transaction) => Sample::Transaction(Box::new(Transaction {
            status: TransactionStatus::ALL[random.below(6) as usize],
            message: often(random).then(|| message(random)),
            envelope: often(random).then(|| random.below(5) as u8),
            events: (0..random.below(4))
                .map(|_| EmittedEvents {
                    contract: target(random).contract,
                    event: EventName::known(["Transfer", "_unknown"][random.below(2) as usize]),
                    count: random.below(500) as u32,
                })
                .collect(),
            inner: inner(random),
            delegation: None,
            code_bytes: often(random).then(|| random.below(24_577) as u32),
            block_gas_limit: often(random).then_some(30_000_000),
            ..*transaction
        })),
        other => other,
    }
}

/// A sample as the first version made them; the same for the same seed, for its file to be compared
/// with.
pub fn any_first_sample(random: &mut Random, at: UnixMicros) -> Sample {
    let often = |random: &mut Random| random.below(3) == 0;
    match random.below(10) {
        0..4 => Sample::Call(RpcCall {
            at,
            method: Method::known(METHODS[random.below(12) as usize].0),
            transport: Transport::ALL[random.below(4) as usize],
            outcome: OUTCOMES[random.below(11) as usize],
            connection: ConnectionId(random.below(1 << 40)),
            batch: often(random).then(|| BatchPlace { index: random.below(9) as u32, size: 9 }),
            request_bytes: random.below(5_000),
            response_bytes: random.below(5_000_000),
            total: duration(random),
            upstream: duration(random),
            overhead: duration(random),
            target: often(random).then(|| target(random)),
            transaction: often(random).then(|| hash(random)),
            trace: often(random).then(|| trace(random)),
            joined_by: None,
            detail: None,
        }),
        4..7 => Sample::Request(HttpRequest {
            at,
            method: HttpMethod::known(["GET", "POST"][random.below(2) as usize]),
            route: Route::known(
                ["/api/nfts", "/api/nfts/{id}", "_OTHER"][random.below(3) as usize],
            ),
            path: format!("/api/nfts/{}é", random.below(1_000)).into(),
            status: [200, 201, 304, 404, 500, 502, 0][random.below(7) as usize],
            end: ENDS[random.below(5) as usize],
            connection: ConnectionId(random.below(100)),
            request_bytes: random.below(10_000),
            response_bytes: random.below(100_000),
            total: duration(random),
            upstream: duration(random),
            first_byte: duration(random),
            overhead: duration(random),
            trace: trace(random),
            cache: CacheOutcome::Unknown,
            flow: Flow::Response,
            app: None,
        }),
        7 => {
            let ContractCall { contract, function } = target(random);
            Sample::Transaction(Box::new(Transaction {
                at,
                hash: hash(random),
                kind: TransactionKind::ALL[random.below(3) as usize],
                status: TransactionStatus::ALL[random.below(4) as usize],
                from: often(random).then(|| hash(random)[..20].try_into().unwrap()),
                to: often(random).then(|| hash(random)[..20].try_into().unwrap()),
                created: often(random).then(|| hash(random)[..20].try_into().unwrap()),
                contract,
                function,
                selector: often(random).then(|| [1, 2, 3, random.below(256) as u8]),
                nonce: often(random).then(|| random.below(1_000)),
                value: hash(random).into(),
                gas_limit: often(random).then_some(30_000_000),
                gas_used: (!often(random)).then(|| 21_000 + random.below(400_000)),
                gas_price: often(random).then(|| u128::from(random.next()) << 20),
                block: often(random).then(|| random.below(1_000_000)),
                reason: often(random).then(|| Reason::known("NotOwner")),
                confirmation: (!often(random)).then(|| duration(random)),
                submission: often(random).then(|| duration(random)),
                trace: often(random).then(|| trace(random)),
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
            }))
        }
        8 => Sample::Block(Box::new(Block {
            at,
            number: random.below(1 << 30),
            hash: hash(random),
            parent: hash(random),
            timestamp: at.0 / 1_000_000,
            gas_used: random.below(30_000_000),
            gas_limit: 30_000_000,
            base_fee: often(random).then_some(7),
            transactions: random.below(200) as u32,
            interval: often(random).then(|| duration(random)),
        })),
        _ => Sample::Host(Box::new(HostReading {
            at,
            cpu: random.unit(),
            memory_used: random.next() >> 30,
            memory_available: random.next() >> 30,
            memory_total: 24 << 30,
            disks: vec![("vda".into(), Volume { read: random.below(1 << 40), written: 7 })],
            networks: vec![("lo".into(), Volume::default()), ("eth0".into(), Volume::default())],
            processes: vec![ProcessReading {
                role: Role::known("hardhat"),
                pid: 4_242,
                started: 1_700_000_000,
                cpu_seconds: random.unit() * 100.0,
                resident: 300 << 20,
                open_files: often(random).then_some(31),
                threads: often(random).then_some(11),
                disk: Volume { read: 1, written: random.below(1 << 30) },
            }],
            databases: Vec::new(),
        })),
    }
}
