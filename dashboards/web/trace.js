"use strict";
// One request as a waterfall, in a dialog: its operations, queries, calls and transactions, each at
// its place in time. What the dapp sent reaches the page only as text nodes.

const Trace = (() => {
  // How often a tree is asked for again that may still grow.
  const AGAIN_MS = 2000;
  let shown = null;
  const PARTS = { database: "database", evm: "EVM", rpc: "node (no contract)", proxy: "dappscope", app: "the API’s code" };
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // What a node is, in words that a table's cell has room for.
  function says(node) {
    if (node.kind === "query") return node.fingerprint || node.name;
    if (node.kind === "queries") return `${node.count ?? "some"} queries`;
    return node.name;
  }

  function notes(node) {
    const { call, transaction: t } = node;
    if (node.left_out_below) return `${count(node.left_out_below)} more below it`;
    if (t) {
      const gas = t.gas_used === null ? "" : `${count(t.gas_used)} gas`;
      const slots = node.state ? `${node.state.created + node.state.updated + node.state.cleared} slots` : "";
      return [`${t.status}${t.reason ? `: ${t.message ?? t.reason}` : ""}`, gas, slots].filter(Boolean).join(" · ");
    }
    if (call) return call.failed ? call.message ?? call.reason ?? call.outcome : "";
    return "";
  }

  function lines(node, depth, total, into) {
    const row = document.createElement("tr");
    const name = element("td", "wrap");
    const what = element("div", "what");
    what.append(element("span", "kind", node.kind), element("span", "", says(node)));
    what.style.paddingLeft = `${Math.min(depth, 12) * 0.9}rem`;
    name.append(what);
    const bar = element("td", "bar");
    if (node.start_us !== null) {
      const mark = element("span", `mark ${node.kind}${node.failed ? " failed" : ""}`);
      const share = (us) => Math.max(0, Math.min(100, (100 * us) / total));
      mark.style.marginLeft = `${share(node.start_us)}%`;
      mark.style.width = `${Math.max(0.4, share(node.duration_us))}%`;
      bar.append(mark);
    }
    row.append(
      name, element("td", "n", node.start_us === null ? NONE : micros(Math.max(0, node.start_us))),
      element("td", "n", micros(node.duration_us)), bar,
      element("td", node.failed ? "wrap bad" : "wrap", `${node.failed ? "✕ " : ""}${notes(node)}`),
    );
    into.push(row);
    for (const child of node.children) lines(child, depth + 1, total, into);
  }

  function summary(trace) {
    const more = Object.entries(trace.left_out).filter(([, n]) => n > 0).map(([kind, n]) => `${count(n)} ${kind}`);
    const all = [inside(trace), more.length ? `Not shown, for there are too many: ${more.join(", ")}.` : ""];
    return all.filter(Boolean).join(" ");
  }

  function inside(trace) {
    const b = trace.breakdown;
    if (!b) return trace.is_settled ? "Nothing is known of its inside: no call carried its trace, and nothing told of queries." : "Spans and calls may still come: it is asked for again every two seconds.";
    const parts = Object.entries(PARTS).map(([key, name]) => [name, b[`${key}_us`]]).filter(([, us]) => us > 0);
    parts.sort((x, y) => y[1] - x[1]);
    const counts = [`${b.queries === null ? "queries not told" : `${count(b.queries)} queries`}`, b.rpc_calls === null ? "RPC calls not known" : `${count(b.rpc_calls)} RPC calls`, trace.gas_used ? `${count(trace.gas_used)} gas` : ""];
    const unsure = trace.ambiguous.length ? ` ${count(trace.ambiguous.length)} calls may be its or another request’s: several were under way, or it was not known yet whose process made them.` : "";
    const less = b.left_out ? ` ${count(b.left_out)} of its trace’s parts are in none of these numbers, for there was no room.` : "";
    return `${parts.map(([name, us]) => `${name} ${micros(us)}`).join(" · ")}. ${counts.filter(Boolean).join(" · ")}.${less}${unsure}`;
  }

  function open(traceId, atMs) {
    byId("trace-title").textContent = "Asking …";
    byId("trace-summary").textContent = "";
    byId("trace-rows").replaceChildren();
    shown = traceId;
    const dialog = byId("trace");
    if (!dialog.open) dialog.showModal();
    return show(traceId, atMs);
  }

  // Its parts are told around the time of the request.
  async function show(traceId, atMs) {
    try {
      const trace = await ask("dappscope_trace", { trace_id: traceId, from_ms: atMs - 60_000, until_ms: atMs + 3_600_000 });
      if (shown !== traceId) return;
      if (!trace.is_settled) {
        setTimeout(() => shown === traceId && byId("trace").open && show(traceId, atMs), AGAIN_MS);
      }
      const rows = [];
      lines(trace.tree, 0, trace.tree.duration_us || 1, rows);
      byId("trace-title").textContent = `${trace.tree.name} ${trace.request ? `· ${trace.request.status || trace.request.end}` : ""} · ${micros(trace.tree.duration_us)}`;
      byId("trace-summary").textContent = summary(trace);
      byId("trace-rows").replaceChildren(...rows);
    } catch (error) {
      byId("trace-title").textContent = "No tree";
      byId("trace-summary").textContent = error.message;
    }
  }

  return { open };
})();
