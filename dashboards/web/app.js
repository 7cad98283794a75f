"use strict";
// The overview: asks /rpc over HTTP for the numbers, follows dappscope_subscribe over a WebSocket,
// and falls back to asking for the lists too while there is none. What the dapp sent reaches the
// page only as text nodes.

const ROWS = 50;
const REFRESH_MS = 5000;
const RETRY_MS = 3000;
const byId = (id) => document.getElementById(id);
// The lists are due until they were asked for: what is followed only adds to them.
const state = { range: "15m", paused: false, socket: null, live: false, behind: 0, listsDue: true, lists: { findings: [], blocks: [], calls: [], transactions: [], requests: [] } };

// ---- Words for numbers ----------------------------------------------------------------------

const NONE = "–";
const whole = new Intl.NumberFormat("en");
const count = (n) => (n === null || n === undefined ? NONE : whole.format(n));
const micros = (us) => {
  if (us === null || us === undefined) return NONE;
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
};
const bytes = (n) => {
  if (n === null || n === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; unit += 1) n /= 1024;
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
};
const percent = (ratio) => {
  if (ratio === null || ratio === undefined) return NONE;
  // A few failures among very many are not none.
  if (ratio > 0 && ratio < 1e-4) return "< 0.01 %";
  return `${(100 * ratio).toFixed(ratio && ratio < 0.1 ? 2 : 1)} %`;
};
const rate = (n) => (n === undefined ? NONE : n >= 100 ? count(Math.round(n)) : n.toFixed(n < 1 ? 2 : 1));
const span = (ms) => {
  const [size, unit] = [[864e5, "d"], [36e5, "h"], [6e4, "min"]].find(([size]) => ms >= 2 * size) ?? [1e3, "s"];
  return `${Math.round(ms / size)} ${unit}`;
};
// Read from every sample, or to 1 % from roll-ups.
const about = (summary) => (summary && !summary.exact ? "≈ " : "");
const time = (ms) => new Date(ms).toLocaleTimeString("en-GB");
// Name and version; what follows them is in the tile's title.
const client = (node) => node.client.split("/").slice(0, 2).join(" ");
const short = (hash) => (hash ? `${hash.slice(0, 8)}…${hash.slice(-4)}` : NONE);
const named = (item) => (item.contract ? `${item.contract}.${item.function}` : NONE);

// ---- Building the page ----------------------------------------------------------------------

function cell(text, kind, title) {
  const td = document.createElement("td");
  // A long name breaks after a dot, a slash or an underscore and before a capital, nowhere else.
  const parts = kind === "long" ? text.split(/(?<=[._/])|(?<=[a-z0-9])(?=[A-Z])/) : [text];
  td.append(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
  if (kind) td.className = kind;
  if (title) td.title = title;
  return td;
}

// A row that says the same as before stays, so that no button is replaced under the pointer.
const said = new WeakMap();
function fill(id, items, row) {
  const body = byId(id);
  const old = new Map([...body.rows].map((tr) => [said.get(tr), tr]));
  const trs = items.map((item) => {
    const key = JSON.stringify(item);
    const kept = old.get(key);
    if (old.delete(key)) return kept;
    const tr = document.createElement("tr");
    tr.append(...row(item));
    said.set(tr, key);
    return tr;
  });
  for (const tr of [...body.rows]) if (!trs.includes(tr)) tr.remove();
  trs.forEach((tr, i) => { if (body.rows[i] !== tr) body.insertBefore(tr, body.rows[i] ?? null); });
  const empty = byId(`no-${id}`);
  if (!empty) return;
  empty.hidden = items.length > 0;
  body.closest("table").hidden = items.length === 0;
}

function numbers(entries) {
  byId("numbers").replaceChildren(...entries.map(([name, value, note, title]) => {
    const box = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    const small = document.createElement("small");
    dt.textContent = name;
    dd.textContent = value;
    small.textContent = note ?? "";
    if (title) small.title = title;
    dd.append(small);
    box.append(dt, dd);
    return box;
  }));
}

const outcome = (call) => {
  if (call.outcome === "error") return `✕ ${call.error_code}`;
  if (call.outcome === "http") return `✕ HTTP ${call.http_status}`;
  if (call.uninspected) return `${call.outcome === "success" ? "✓" : call.outcome} (not read: ${call.uninspected.replaceAll("_", " ")})`;
  return call.failed ? `✕ ${call.outcome}` : call.outcome === "success" ? "✓" : call.outcome;
};
// As in the routes' table: what the client got wrong is no failure of the API.
const broken = (r) => r.status >= 500 || (r.status === 0 && !["client_gone", "stopped"].includes(r.end)) || ["upstream_gone", "unreachable", "timed_out"].includes(r.end);
const answered = (r) => {
  if (broken(r)) return cell(`✕ ${r.status || r.end}`, "bad");
  if (r.status === 0) return cell(r.end === "stopped" ? "○ stopped" : "○ client left");
  return r.status < 400 ? cell(`✓ ${r.status}`, "good") : cell(`○ ${r.status}`);
};
const tree = (r) => {
  const td = cell("", "tree");
  if (!r.trace_id) return td;
  const button = document.createElement("button");
  button.textContent = "Tree";
  button.setAttribute("aria-label", `Tree of ${r.method ?? "the request"} ${r.path ?? r.route}`);
  button.addEventListener("click", () => Trace.open(r.trace_id, r.at_ms));
  td.append(button);
  return td;
};
const rows = {
  calls: (c) => [
    cell(time(c.at_ms)), cell(c.method), cell(named(c), "long"),
    cell(outcome(c), c.failed ? "bad" : "good"),
    cell(c.batch_size ? `${c.transport} ${c.batch_index + 1}/${c.batch_size}` : c.transport),
    cell(micros(c.total_us), "n"), cell(micros(c.overhead_us), "n"), cell(bytes(c.response_bytes), "n"),
  ],
  transactions: (t) => [
    cell(time(t.at_ms)), cell(named(t), "long"),
    cell(`${t.status === "success" ? "✓" : "✕"} ${t.status}`, t.status === "success" ? "good" : "bad"),
    cell(t.reason ?? "", "long", t.message), cell(count(t.gas_used), "n"), cell(micros(t.confirmation_us), "n"),
    cell(count(t.block), "n"), cell(short(t.hash), "", t.hash),
  ],
  findings: (f) => [
    cell(time(f.at_ms)), cell(f.alike ? `${f.text} And ${count(f.alike)} more like it.` : f.text, "wrap"),
    cell(f.advice, "wrap"), cell(f.who, "wrap"), tree({ trace_id: f.trace_id, at_ms: f.at_ms, route: f.route }),
  ],
  blocks: (b) => [
    cell(time(b.at_ms)), cell(count(b.number), "n"), cell(count(b.transactions), "n"),
    cell(count(b.gas_used), "n"), cell(percent(b.fullness), "n"),
    cell(b.base_fee_wei === null ? NONE : `${(Number(b.base_fee_wei) / 1e9).toPrecision(3)} gwei`, "n"),
    cell(micros(b.interval_us), "n"), cell(short(b.hash), "", b.hash),
  ],
  requests: (r) => [
    cell(time(r.at_ms)), cell(r.method), cell(r.path, "long", `${r.route} (${r.path})`),
    answered(r),
    cell(micros(r.total_us), "n"), cell(micros(r.first_byte_us), "n"), cell(bytes(r.response_bytes), "n"), tree(r),
  ],
};

// Findings that differ only in what their sentence does not say, as the parameters, are one row.
function alike(findings) {
  const rows = new Map();
  for (const finding of findings) {
    const key = [finding.text, finding.who, finding.trace_id].join("\n");
    const first = rows.get(key);
    if (first) first.alike += 1;
    else rows.set(key, { ...finding, alike: 0 });
  }
  return [...rows.values()];
}

function showLists() {
  const { findings, ...lists } = state.lists;
  fill("findings", alike(findings), rows.findings);
  for (const [name, items] of Object.entries(lists)) fill(name, items, rows[name]);
}

function showOverview(o) {
  const verdict = byId("verdict");
  // A status region is read out whenever it is written to.
  if (verdict.textContent !== o.verdict.text) verdict.textContent = o.verdict.text;
  verdict.className = `verdict ${o.verdict.level}`;
  const hint = byId("hint");
  const idle = o.verdict.level === "no_traffic";
  hint.hidden = !idle && o.hints.length === 0;
  hint.textContent = [
    ...o.hints,
    idle && o.endpoints.rpc && `Point your wallet, scripts and API at ${o.endpoints.rpc} instead of the node.`,
    idle && o.endpoints.api && `Open the API at ${o.endpoints.api}.`,
  ].filter(Boolean).join(" ");
  const { calls, requests, transactions: t, confirmation, block, node, monitor } = o;
  numbers([
    ["RPC calls", rate(calls?.per_second) + (calls ? " /s" : ""), calls ? `${count(calls.count)} in ${span(o.watched_ms)}` : ""],
    ["RPC calls failed", percent(calls?.error_ratio), calls ? `${count(calls.errors)} of ${count(calls.count - calls.unknown)}` : ""],
    ["RPC p50", micros(calls?.p50_us), calls ? `p95 ${micros(calls.p95_us)} · p99 ${micros(calls.p99_us)}` : ""],
    ["API requests", rate(requests?.per_second) + (requests ? " /s" : ""), requests ? `${count(requests.count)} in ${span(o.watched_ms)} · ${percent(requests.error_ratio)} failed` : ""],
    ["API p50", micros(requests?.p50_us), requests ? `p95 ${micros(requests.p95_us)} · p99 ${micros(requests.p99_us)}` : ""],
    ["Transactions", count(t.success + t.reverted), `${count(t.reverted)} reverted · ${count(t.rejected)} rejected · ${count(t.pending)} pending`],
    ["Confirmation p50", about(confirmation) + micros(confirmation?.p50_us), confirmation ? `p95 ${about(confirmation)}${micros(confirmation.p95_us)} · submitted to seen in a block` : ""],
    ["Gas", count(o.gas.length ? o.gas.reduce((sum, g) => sum + g.sum_gas, 0) : null), "used by mined transactions"],
    ["Block", count(block?.number ?? node?.head), block ? `${time(block.at_ms)} · ${percent(block.gas_used / block.gas_limit)} full` : "none mined since the start"],
    ["Node", node ? (node.up ? "✓ up" : "✕ down") : NONE, node?.client ? `${client(node)} · chain ${node.chain_id ?? "?"}` : "not heard of yet", node?.client],
    ["Time inside dappscope, median", micros(monitor.overhead?.p50_us), monitor.overhead ? `p99 ${micros(monitor.overhead.p99_us)} · of a call’s time` : ""],
    ["Samples lost", count(Object.values(monitor.dropped).reduce((a, b) => a + b, 0)), monitor.store.trouble ?? (monitor.store.recording ? "recording" : "not recording")],
  ]);
  const failed = (x) => cell(count(x.errors), x.errors ? "n bad" : "n");
  fill("methods", o.methods, (m) => [cell(m.method, "long"), cell(count(m.count), "n"), failed(m), cell(micros(m.p50_us), "n"), cell(micros(m.p99_us), "n")]);
  fill("routes", o.routes, (r) => [cell(`${r.method} ${r.route}`, "long"), cell(count(r.count), "n"), failed(r), cell(micros(r.p50_us), "n"), cell(micros(r.p99_us), "n")]);
  fill("gas", o.gas, (g) => [cell(named(g), "long"), cell(count(g.count), "n"), failed(g), cell(about(g) + count(g.p50_gas), "n"), cell(count(g.max_gas), "n")]);
  fill("processes", o.machine?.processes ?? [], (p) => [cell(p.process), cell(String(p.pid), "n"), cell(`${p.cpu_seconds.toFixed(1)} s`, "n"), cell(bytes(p.resident_bytes), "n"), cell(count(p.threads), "n")]);
  byId("footer").textContent = `dappscope ${o.version} · up ${count(o.uptime_s)} s · store ${bytes(monitor.store.bytes)} · queue ${count(monitor.queue_depth)} of ${count(monitor.queue_capacity)} · times by percentile and values marked ≈ are exact to 1 % · also /metrics, /healthz and JSON-RPC on /rpc`;
}

function showRoutes({ routes }) {
  const mean = (n) => (n === null ? NONE : n < 100 ? n.toFixed(1) : count(Math.round(n)));
  const part = (share, name, title) => cell(percent(share?.[name]), "n", title);
  fill("inside", routes.slice(0, ROWS), ({ share, per_request: per, ...r }) => [
    cell(`${r.method} ${r.route}`, "long"), cell(`${count(r.settled)} of ${count(r.requests?.count ?? 0)}`, "n"), cell(mean(per.queries), "n"), cell(mean(per.rpc_calls), "n"),
    cell(per.gas ? mean(per.gas) : NONE, "n"), part(share, "database"), part(share, "evm"),
    part(share, "rpc", "the node, with calls that run no contract"), part(share, "proxy"), part(share, "app"),
  ]);
}

const fees = (f) => (f.fee_money ? `${f.fee_money.toFixed(2)} ${f.currency}` : f.fee_eth === "0" ? NONE : `${Number(f.fee_eth).toPrecision(3)} ETH`);
function showContracts({ contracts }) {
  const all = contracts.flatMap((c) => c.functions.map((f) => ({ ...f, contract: c.contract })));
  all.sort((a, b) => (b.gas?.sum_gas ?? 0) - (a.gas?.sum_gas ?? 0) || (b.reads?.sum_us ?? 0) - (a.reads?.sum_us ?? 0));
  fill("functions", all.slice(0, ROWS), (f) => {
    const [worst] = f.reverts;
    const mined = f.transactions.success + f.transactions.reverted;
    return [
      cell(named(f), "long"), cell(count(f.reads?.count), "n"),
      cell(count(f.reads?.errors), f.reads?.errors ? "n bad" : "n"), cell(micros(f.reads?.p50_us), "n"),
      cell(mined ? count(mined) : NONE, "n"), cell(mined ? count(f.transactions.reverted) : NONE, f.transactions.reverted ? "n bad" : "n"),
      cell(worst ? `${worst.reason} (${count(worst.count)})` : "", "long"),
      cell(about(f.gas) + count(f.gas?.p50_gas), "n"), cell(count(f.gas?.max_gas), "n"),
      cell(about(f.confirmation) + micros(f.confirmation?.p50_us), "n"), cell(fees(f), "n", `${f.fee_eth} ETH`),
      cell(f.state ? (f.state.created_mean + f.state.updated_mean + f.state.cleared_mean).toFixed(1) : NONE, "n", f.state ? `on average of ${count(f.state.traced)} traced` : ""),
    ];
  });
  const deployed = contracts.flatMap((c) => c.deployments.map((d) => ({ ...d, contract: c.contract })));
  deployed.sort((a, b) => b.at_ms - a.at_ms);
  fill("deployments", deployed.slice(0, ROWS), (d) => [
    cell(time(d.at_ms)), cell(d.contract, "long"), cell(short(d.address), "", d.address),
    cell(`${d.status === "success" ? "✓" : "✕"} ${d.status}`, d.status === "success" ? "good" : "bad"),
    cell(count(d.gas_used), "n"), cell(percent(d.block_share), "n"), cell(bytes(d.code_bytes), "n"),
    cell(d.code_bytes === null ? NONE : percent(d.code_bytes / d.code_limit_bytes), "n"), cell(micros(d.duration_us), "n"),
  ]);
}

function showSeries(series) {
  const some = series.points.length > 0;
  byId("latency").hidden = !some;
  byId("no-series").hidden = some;
  if (!some) return;
  Chart.draw(byId("chart"), series, { value: micros, time: series.until_ms - series.from_ms > 864e5 ? (ms) => new Date(ms).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" }) : time });
  fill("series-rows", series.points, (p) => [cell(time(p.at_ms)), cell(count(p.count), "n"), cell(count(p.errors), "n"), cell(micros(p.p50_us), "n"), cell(micros(p.p95_us), "n"), cell(micros(p.p99_us), "n")]);
}

function showLink() {
  const link = byId("link");
  const lost = document.documentElement.classList.contains("stale");
  link.classList.toggle("lost", lost);
  link.textContent = lost ? "✕ no answer, trying again"
    : state.paused ? `❚❚ paused, ${count(state.behind)} new`
    : state.live ? "● live" : `○ every ${REFRESH_MS / 1000} s`;
}

// ---- Asking ---------------------------------------------------------------------------------

async function ask(method, params) {
  const response = await fetch("rpc", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: [params] }),
    signal: AbortSignal.timeout(15000),
  });
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error.message ?? answer.error);
  return answer.result;
}

let asking = false;
// While it is paused only a range that was chosen is looked at.
async function refresh({ chosen = false } = {}) {
  if (asking || (state.paused && !chosen)) return;
  asking = true;
  const last = state.range;
  const lists = state.listsDue || !state.live;
  state.listsDue = false;
  let failed = false;
  try {
    const wanted = [
      ask("dappscope_overview", { last }).then(showOverview),
      ask("dappscope_series", { measure: "call_duration", last, points: 200 }).then(showSeries),
      ask("dappscope_contracts", { last }).then(showContracts),
      ask("dappscope_routes", { last }).then(showRoutes),
    ];
    if (lists) {
      for (const name of Object.keys(state.lists)) {
        wanted.push(ask(`dappscope_${name}`, { last, limit: ROWS }).then((page) => { state.lists[name] = page[name]; }));
      }
    }
    await Promise.all(wanted);
    if (lists) showLists();
    document.documentElement.classList.remove("stale");
  } catch (error) {
    // The next refresh asks again, `REFRESH_MS` from now.
    failed = true;
    state.listsDue ||= lists;
    document.documentElement.classList.add("stale");
    byId("verdict").className = "verdict unknown";
    byId("verdict").textContent = `The monitor cannot tell: ${error.message}. What is shown below may be old.`;
  } finally {
    asking = false;
    showLink();
    // What was wanted meanwhile.
    if (last !== state.range || (state.listsDue && !failed)) refresh({ chosen: last !== state.range });
  }
}

// ---- Following ------------------------------------------------------------------------------

let drawing = false;
function receive({ events, missed }) {
  if (state.paused) {
    state.behind += events.length + missed;
    showLink();
    return;
  }
  for (const event of events) {
    const list = state.lists[`${event.kind}s`];
    if (!list) continue;
    list.unshift(event);
    if (list.length > ROWS) list.length = ROWS;
  }
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; showLists(); });
}

function follow() {
  const url = new URL("rpc", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  state.socket = socket;
  socket.onopen = () => socket.send(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "dappscope_subscribe", params: [{ kinds: ["call", "transaction", "request", "block", "finding"] }] }));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    // A subscription ends for a page that did not read for long, as one that was put to sleep.
    if (message.params?.error) return socket.close();
    if (message.method === "dappscope_event") return receive(message.params.result);
    state.live = message.result !== undefined;
    // What happened between the first look and the subscription.
    state.listsDue = true;
    refresh();
  };
  socket.onclose = () => {
    state.live = false;
    showLink();
    setTimeout(follow, RETRY_MS);
  };
}

// ---- Controls: the URL holds the range ------------------------------------------------------

function rangeFromUrl() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("last");
  const select = byId("range");
  if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
  state.range = select.value;
  state.listsDue = true;
  refresh({ chosen: true });
}

byId("range").addEventListener("change", (event) => { location.hash = `last=${event.target.value}`; });
addEventListener("hashchange", rangeFromUrl);
byId("pause").addEventListener("click", (event) => {
  state.paused = !state.paused;
  state.behind = 0;
  event.target.setAttribute("aria-pressed", String(state.paused));
  event.target.textContent = state.paused ? "Go on" : "Pause";
  state.listsDue = true;
  showLink();
  refresh();
});
setInterval(refresh, REFRESH_MS);
rangeFromUrl();
follow();
