"use strict";
// Draws percentiles over time as SVG. A step without a point is a gap in the line, not a zero.

const Chart = (() => {
  const HEIGHT = 190, LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 20;

  function element(name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // The next of 1, 2, 5, 10, 20, 50 … that is not below the value.
  function above(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
  }

  function draw(into, series, label) {
    const WIDTH = Math.max(into.clientWidth, 200);
    const { points, until_ms: until, step_ms: step } = series;
    // Before the first sample there is nothing to see.
    const from = Math.max(series.from_ms, Math.min(points[0].at_ms, until - step));
    const top = above(Math.max(...points.map((point) => point.p99_us)));
    const x = (ms) => LEFT + ((ms - from) / (until - from)) * (WIDTH - LEFT - RIGHT);
    const y = (us) => TOP + (1 - us / top) * (HEIGHT - TOP - BOTTOM);
    const svg = element("svg", {
      class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img", "aria-label": "Latency percentiles over time; the table below holds the same",
    });
    for (const share of [0, 0.5, 1]) {
      const at = y(top * share);
      svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }));
      svg.append(element("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, label.value(top * share)));
    }
    for (const share of WIDTH < 520 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const ms = from + (until - from) * share;
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      svg.append(element("text", { x: x(ms), y: HEIGHT - 4, "text-anchor": anchor }, label.time(ms)));
    }
    for (const name of ["p50", "p95", "p99"]) {
      let path = "", before;
      points.forEach((point, i) => {
        const at = `${x(point.at_ms + step / 2).toFixed(1)} ${y(point[`${name}_us`]).toFixed(1)}`;
        const joined = before !== undefined && point.at_ms - before <= step * 1.5;
        path += `${joined ? "L" : "M"}${at}`;
        const next = points[i + 1];
        if (!joined && !(next && next.at_ms - point.at_ms <= step * 1.5)) {
          const [cx, cy] = at.split(" ");
          svg.append(element("circle", { class: name, cx, cy, r: 2.2 }));
        }
        before = point.at_ms;
      });
      svg.append(element("path", { class: name, d: path }));
    }
    into.replaceChildren(svg);
  }

  return { draw };
})();
