//! The one list of settings: a new setting is a field and an entry here.

use super::{Config, Setting};

/// A setting: its place in the file, its explanation, its field.
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    /// What it does, its unit and its accepted form, for the file and for `dappscope check`.
    pub help: &'static str,
    pub field: fn(&mut Config) -> &mut dyn Setting,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    field: fn(&mut Config) -> &mut dyn Setting,
    help: &'static str,
) -> Key {
    Key { section, name, help, field }
}

/// Every setting, in the order of the file.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("rpc", "listen", |c| &mut c.rpc.listen,
        "Where wallets, the frontend and the API send their JSON-RPC calls: address and port."),
    key("rpc", "upstream", |c| &mut c.rpc.upstream,
        "The node (Hardhat, Anvil): a plain HTTP address. WebSockets go to the same port."),
    key("rpc", "threads", |c| &mut c.rpc.threads,
        "Relay threads, each with its own share of the connections. One carries some 50,000 calls/s."),
    key("rpc", "allow_any_origin", |c| &mut c.rpc.allow_any_origin,
        "true lets every web page and host name through, as Hardhat itself does. false protects the\n\
         node from web pages that are not yours (DNS rebinding, drive-by requests)."),
    key("rpc", "allowed_hosts", |c| &mut c.rpc.allowed_hosts,
        "Host names, besides localhost and IP addresses, by which the relay may be called."),
    key("rpc", "allowed_origins", |c| &mut c.rpc.allowed_origins,
        "Origins of web pages, besides loopback and browser extensions, that may call: \"https://dapp.example\"."),
    key("rpc", "connect_timeout_ms", |c| &mut c.rpc.connect_timeout_ms,
        "How long to wait for a connection to the node, in milliseconds."),
    key("rpc", "capture_bytes", |c| &mut c.rpc.capture_bytes,
        "How much of a request or an answer is read, in bytes, as it came and once it is decompressed. Larger\n\
         ones pass intact; what is beyond counts as not read (rpc_server_calls_uninspected_total)."),

    key("api", "enabled", |c| &mut c.api.enabled,
        "false leaves the reverse proxy out, for a dapp without an API."),
    key("api", "listen", |c| &mut c.api.listen,
        "Where browsers send their requests to the API: address and port."),
    key("api", "upstream", |c| &mut c.api.upstream,
        "The API (Flask): a plain HTTP address."),
    key("api", "allow_any_origin", |c| &mut c.api.allow_any_origin,
        "As for [rpc]."),
    key("api", "allowed_hosts", |c| &mut c.api.allowed_hosts,
        "As for [rpc]."),
    key("api", "allowed_origins", |c| &mut c.api.allowed_origins,
        "As for [rpc]."),
    key("api", "connect_timeout_ms", |c| &mut c.api.connect_timeout_ms,
        "How long to wait for a connection to the API, in milliseconds."),
    key("api", "response_timeout_ms", |c| &mut c.api.response_timeout_ms,
        "How long to wait for a response to begin, in milliseconds; 0 waits for ever."),
    key("api", "server_timing", |c| &mut c.api.server_timing,
        "Adds a Server-Timing header with the proxy's own time, for the browser's tools."),
    key("api", "routes", |c| &mut c.api.routes,
        "Routes by which requests are grouped: [\"/api/nfts/{id}\"]. Those that the API tells in\n\
         its spans come first; without any, ids, hashes and addresses in paths are recognised."),
    key("api", "openapi", |c| &mut c.api.openapi,
        "A file with the API's OpenAPI document in JSON, whose paths are routes; empty without one."),
    key("api", "flask_routes", |c| &mut c.api.flask_routes,
        "A file with what `flask routes` printed, whose rules are routes; empty without one."),
    key("api", "exclude", |c| &mut c.api.exclude,
        "Paths whose requests pass as all others and are in no figure of requests, as health checks and\n\
         static files: [\"/healthz\", \"/static/{file...}\"]. How many they were is counted, and so are\n\
         their queries and calls to the node."),
    key("api", "long_poll", |c| &mut c.api.long_poll,
        "Paths on which the API answers when it has something to say: their times are counted as\n\
         those of streams, apart from latencies. Socket.IO's are known."),
    key("api", "custom", |c| &mut c.api.custom,
        "Numbers that the API tells of itself, as name:type or name:type:unit: [\"cart_items:gauge\",\n\
         \"render:histogram:seconds\", \"coins_minted:counter\"]. Each becomes a family app_custom_*."),

    key("otlp", "enabled", |c| &mut c.otlp.enabled,
        "Whether spans are received from OpenTelemetry in the API: its queries and functions."),
    key("otlp", "listen", |c| &mut c.otlp.listen,
        "Where the API sends them, as OTLP over HTTP: address and port. OTEL_EXPORTER_OTLP_ENDPOINT is\n\
         http:// and this, OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf."),

    key("page", "listen", |c| &mut c.page.listen,
        "The page, its JSON-RPC API (/rpc), /metrics and /healthz: address and port."),
    key("page", "token", |c| &mut c.page.token,
        "Needed to open the page from other machines, at least 16 characters; empty on loopback."),
    key("page", "allowed_hosts", |c| &mut c.page.allowed_hosts,
        "Host names, besides localhost and IP addresses, by which the page may be called."),
    key("page", "allowed_origins", |c| &mut c.page.allowed_origins,
        "Origins of web pages, besides loopback, that may open the page's WebSocket."),

    key("chain", "artifacts", |c| &mut c.chain.artifacts,
        "Directories with compiled contracts: Hardhat's artifacts, Foundry's out. They are looked at\n\
         again while running, and may come to be later."),
    key("chain", "max_artifacts", |c| &mut c.chain.max_artifacts,
        "Contracts that are read from them, at most; of more the others have no names, and the log says\n\
         how many. 10,000 take some hundred MiB of memory."),
    key("chain", "state_changes", |c| &mut c.chain.state_changes,
        "Of which transactions the node is asked (debug_traceTransaction, one at a time) what storage\n\
         they changed: \"off\", \"sampled\" (one of each function in state_changes_every_ms) or \"all\"."),
    key("chain", "state_changes_every_ms", |c| &mut c.chain.state_changes_every_ms,
        "How far apart traces of one function are at least when they are sampled, in milliseconds."),
    key("chain", "trace_max_gas", |c| &mut c.chain.trace_max_gas,
        "Transactions that used more gas are not traced: the node executes them again, and answers\n\
         no client meanwhile. 2,000,000 take Hardhat 3 some 20 ms, Anvil 4 ms."),
    key("chain", "struct_logs", |c| &mut c.chain.struct_logs,
        "true has Hardhat 2, which knows no other trace, write down every step of a transaction. That\n\
         is slow: 20 ms for a mint, a second for 400,000 gas of loops; and it ends the node where the\n\
         bound below is too high. false: Hardhat 2 is asked for no trace."),
    key("chain", "struct_logs_max_gas", |c| &mut c.chain.struct_logs_max_gas,
        "With struct_logs, transactions that used more gas are not traced. 40,000 keep Hardhat 2 busy\n\
         for 50 ms at most; 150,000 reach most mints and sales, and can take 300 ms."),
    key("chain", "replay_max_gas", |c| &mut c.chain.replay_max_gas,
        "Reverted transactions that used more gas are not run again (eth_call) to learn why. 300,000\n\
         take Hardhat some 20 ms; 0 has none run again."),

    key("money", "eth_price", |c| &mut c.money.eth_price,
        "Price of one ETH in the currency below, for fees in money; 0 when it is not known."),
    key("money", "currency", |c| &mut c.money.currency,
        "The currency's name, as fees are to be told with it."),

    key("store", "dir", |c| &mut c.store.dir,
        "Where samples are kept; made if it is missing, readable by you alone."),
    key("store", "retention_days", |c| &mut c.store.retention_days,
        "Days that samples are kept; 0 keeps them for ever."),
    key("store", "commit_every_ms", |c| &mut c.store.commit_every_ms,
        "Fresh samples are written durably this often, in milliseconds: what a crash can cost."),
    key("store", "cache_mib", |c| &mut c.store.cache_mib,
        "Memory for the store's page cache, in MiB."),

    key("queue", "entries", |c| &mut c.queue.entries,
        "Observations waiting to be recorded; beyond it they are dropped and counted."),
    key("queue", "mib", |c| &mut c.queue.mib,
        "Captured bytes waiting to be recorded, in MiB; beyond it observations are dropped and counted."),

    key("host", "every_ms", |c| &mut c.host.every_ms,
        "How often CPU, memory, disks, networks and processes are read, in milliseconds."),
    key("host", "databases", |c| &mut c.host.databases,
        "The dapp's database files, whose size is told: [\"instance/marketplace.db\"]."),

    key("log", "filter", |c| &mut c.log.filter,
        "What is logged: off, error, warn, info, debug or trace, or by module, \"info,dappscope::wire=debug\"."),
    key("log", "format", |c| &mut c.log.format,
        "\"text\" for people, \"json\" for log collectors."),
];
