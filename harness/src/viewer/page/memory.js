// SPDX-License-Identifier: MIT OR Apache-2.0
// Guest memory, from all of it to one cache line: what there is, what was lent, what the card did, what is wrong.

const EXACT = 2 ** 53;
const CACHE_LINE = 64, PAGE = 4096;

// The ranges that are drawn, in rows.
function memoryRows(data) {
  const { meta } = data;
  const plain = (list, what) => list.filter(([start]) => start < EXACT).map(([start, bytes]) => ({ start, end: start + bytes, what }));
  const named = meta.named.map((one) => ({ start: one.address, end: one.address + one.length, what: one.label, index: one.from, until: one.to ?? NONE }));
  const known = new Set(named.map((one) => `${one.start}-${one.end}`));
  const told = meta.lent.map(([start, bytes, index]) => ({ start, end: start + bytes, what: words(data, index).split(":")[0], index, until: data.lends.until[index] }));
  const lent = [...named, ...told.filter((one) => !known.has(`${one.start}-${one.end}`))]
    .filter((one) => one.start < EXACT).sort((one, other) => one.start - other.start || other.end - one.end);
  const rows = [];
  for (const one of lent) {
    let row = rows.findIndex((list) => list.at(-1).end <= one.start);
    if (row < 0) row = rows.length < 3 ? rows.push([]) - 1 : 2;
    rows[row].push(one);
  }
  const wrong = meta.violations.filter((one) => one.address !== null && one.at < EXACT)
    .map((one) => ({ start: one.at, end: one.at + Math.max(one.length, 1), what: `${one.number}: ${one.title}`, violation: one }));
  const layers = [
    { name: "memory", tall: 18, ink: "ram", list: plain(meta.ram, "RAM") },
    { name: "", tall: 0, ink: "pool", list: plain(meta.pool, "pool"), over: true },
    ...rows.map((list, row) => ({ name: row ? "" : "lent", tall: 18, ink: "lend-bar", edge: "lends", list })),
    { name: "card wrote", tall: 13, ink: "writes", list: plain(meta.written, "written by the card") },
    { name: "card read", tall: 13, ink: "reads", list: plain(meta.read, "read by the card") },
    { name: "wrong", tall: 15, ink: "wrong", list: wrong },
  ];
  return layers.filter((layer) => layer.list.length || layer.name === "wrong");
}

function makeMemory(data, onSelect, onViolation) {
  const canvas = document.getElementById("map"), strip = document.getElementById("strip");
  const layers = memoryRows(data);
  const ends = layers.flatMap((layer) => layer.list.map((one) => one.end));
  const end = Math.max(PAGE, ...ends.length > 50000 ? [ends.reduce((most, one) => Math.max(most, one), 0)] : ends);
  const state = { from: 0, to: end, mark: null, moment: NONE };
  let gutter = 0, plot = 1, height = 0;

  const x = (address) => gutter + (address - state.from) / (state.to - state.from) * plot;
  const at = (left) => state.from + (left - gutter) / plot * (state.to - state.from);

  function box(context, one, top, tall, layer) {
    const left = Math.max(x(one.start), gutter), right = Math.min(x(one.end), gutter + plot);
    if (right < gutter || left > gutter + plot) return;
    const wide = Math.max(right - left, layer.ink === "wrong" ? 3 : 1);
    // What is not lent at the selected moment is faint.
    context.globalAlpha = layer.edge && state.moment !== NONE && !(one.index <= state.moment && state.moment <= one.until) ? 0.35 : 1;
    context.fillStyle = colour(layer.ink === "wrong" && one.violation?.hint ? "maybe" : layer.ink);
    context.fillRect(left, top, wide, tall);
    if (layer.edge && wide > 3) {
      context.fillStyle = colour(layer.edge);
      context.fillRect(left, top, 2, tall);
    }
    const room = wide - 10;
    if (tall >= 15 && room > 24) {
      context.textAlign = "left";
      context.fillStyle = layer.ink === "wrong" ? colour("panel") : colour("ink");
      context.fillText(fit(context, one.what, room), left + 6, top + tall / 2 + 0.5);
    }
    context.globalAlpha = 1;
  }

  // Bytes one by one, where they were kept.
  function drawBytes(context, top) {
    const each = plot / (state.to - state.from);
    const last = Math.min(Math.ceil(state.to), end + PAGE);
    context.textAlign = "center";
    for (let address = Math.floor(state.from); address < last; address++) {
      const page = data.pages.get(address - address % PAGE);
      const left = Math.max(x(address), gutter);
      if (!page || left >= gutter + plot) continue;
      const { found, wanted } = byteAt(page, address % PAGE);
      const bad = wanted !== null && wanted !== found;
      context.fillStyle = bad ? colour("wrong") : wanted === null ? colour("rule") : colour("lend-bar");
      context.fillRect(left, top, Math.max(each - (each > 5 ? 1 : 0), 0.6), 20);
      if (each >= 15) {
        context.fillStyle = bad ? colour("panel") : colour("ink");
        context.fillText(found.toString(16).padStart(2, "0"), left + each / 2 - 0.5, top + 10.5);
      }
    }
  }

  function draw() {
    const width = Math.max(canvas.clientWidth, 40);
    gutter = width >= 640 ? 118 : 0;
    plot = Math.max(width - gutter - 2, 10);
    const fine = state.to - state.from <= PAGE * 1.01 && data.pages.size > 0;
    height = 22;
    for (const layer of layers) {
      if (layer.over) { layer.top = layers[0].top; continue; }
      if (!gutter && layer.name) height += 13;
      layer.top = height;
      height += layer.tall + 3;
    }
    const bytes = height + (gutter ? 2 : 15);
    height = fine ? bytes + 24 : height + 2;
    const { context } = pen(canvas, height);
    drawAddresses(context, width);
    context.save();
    context.beginPath();
    context.rect(gutter, 0, plot + 2, height);
    context.clip();
    for (const layer of layers) {
      if (!layer.over) {
        context.fillStyle = colour("faint");
        context.fillRect(gutter, layer.top, plot + 2, layer.tall);
      }
      // Of what is at one pixel one is drawn.
      let last = -1;
      for (const one of layer.list) {
        if (one.end <= state.from || one.start >= state.to) continue;
        const right = Math.floor(x(one.end));
        if (right === last && layer.ink !== "wrong") continue;
        last = right;
        box(context, one, layer.top, layer.over ? 18 : layer.tall, layer);
      }
    }
    if (fine) drawBytes(context, bytes);
    if (state.mark) {
      const left = x(state.mark[0]), right = Math.max(x(state.mark[1]), left + 2);
      context.strokeStyle = colour("accent");
      context.lineWidth = 1.5;
      context.strokeRect(left - 1, 20, right - left + 2, height - 21);
    }
    context.restore();
    context.textAlign = "left";
    context.fillStyle = colour("dim");
    for (const layer of layers) {
      if (!layer.name) continue;
      if (gutter) context.fillText(layer.name, 0, layer.top + layer.tall / 2);
      else context.fillText(layer.name, 0, layer.top - 6);
    }
    if (fine) context.fillText("bytes", 0, gutter ? bytes + 10 : bytes - 6);
    drawStrip();
    const status = document.getElementById("memory-range");
    const text = `${hexAddress(Math.floor(state.from))} – ${hexAddress(Math.ceil(state.to) - 1)}, ${size(Math.ceil(state.to - state.from))}`;
    if (status.textContent !== text) status.textContent = text;
  }

  function drawAddresses(context) {
    const span = state.to - state.from;
    let each = 2 ** Math.ceil(Math.log2(span / Math.max(plot / 130, 1)));
    each = Math.max(each, 1);
    context.fillStyle = colour("dim");
    context.strokeStyle = colour("rule");
    context.lineWidth = 1;
    context.beginPath();
    for (let address = Math.ceil(state.from / each) * each; address <= state.to; address += each) {
      const left = Math.round(x(address)) + 0.5;
      context.moveTo(left, 17);
      context.lineTo(left, height);
      const text = hexAddress(address), wide = context.measureText(text).width;
      context.textAlign = "left";
      if (left + wide + 4 < gutter + plot) context.fillText(text, left + 3, 9);
    }
    context.stroke();
  }

  function drawStrip() {
    const tall = 22;
    const { context, width } = pen(strip, tall);
    const spot = (address) => address / end * width;
    context.fillStyle = colour("faint");
    context.fillRect(0, 0, width, tall);
    for (const layer of layers) {
      const [top, deep] = layer.ink === "wrong" ? [0, tall] : layer.ink === "writes" || layer.ink === "reads" ? [14, 8] : [0, layer.edge ? 14 : tall];
      context.fillStyle = colour(layer.edge ?? layer.ink);
      let last = -1;
      for (const one of layer.list) {
        const left = spot(one.start), right = Math.floor(spot(one.end));
        if (right === last) continue;
        last = right;
        context.fillRect(left, top, Math.max(spot(one.end) - left, layer.ink === "wrong" ? 2 : 1), deep);
      }
    }
    const [left, right] = [spot(state.from), spot(state.to)];
    context.strokeStyle = colour("accent");
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.75, 0.75, Math.max(right - left - 1.5, 4), tall - 1.5);
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function show(from, to) {
    const span = Math.min(Math.max(to - from, CACHE_LINE), end);
    const centre = (from + to) / 2;
    state.from = Math.max(0, Math.min(centre - span / 2, end - span));
    if (span <= PAGE) state.from = Math.floor(state.from);
    state.to = state.from + span;
    redraw();
  }

  function zoom(times, around = centre()) {
    const span = Math.min(Math.max((state.to - state.from) / times, CACHE_LINE), end);
    const share = (around - state.from) / (state.to - state.from);
    show(around - share * span, around + (1 - share) * span);
  }

  const pan = (share) => show(state.from + share * (state.to - state.from), state.to + share * (state.to - state.from));
  const centre = () => state.mark && state.mark[0] >= state.from && state.mark[0] <= state.to ? state.mark[0] : (state.from + state.to) / 2;

  // Marks a range, and brings it into sight.
  function mark(start, bytes) {
    state.mark = start < EXACT && bytes ? [start, start + bytes] : null;
    if (state.mark) {
      const seen = start >= state.from && start + bytes <= state.to && bytes / (state.to - state.from) * plot > 1.5;
      if (!seen) around(start, Math.max(bytes * 3, 4 * PAGE));
    }
    redraw();
  }

  function moment(index) {
    state.moment = index;
    redraw();
  }

  // All that was ever lent.
  function lent() {
    const lends = layers.filter((layer) => layer.edge).flatMap((layer) => layer.list);
    if (!lends.length) return;
    const first = Math.min(...lends.map((one) => one.start)), last = Math.max(...lends.map((one) => one.end));
    const margin = (last - first) / 20;
    show(first - margin, last + margin);
  }

  const around = (start, span) => show(start - span / 2, start + span / 2);
  const here = () => state.mark ? state.mark[0] : Math.floor((state.from + state.to) / 2);

  function find(left, top) {
    const layer = layers.findLast((one) => !one.over && top >= one.top && top < one.top + one.tall + 3);
    const spot = at(left), near = (state.to - state.from) / plot * 3;
    for (const one of [...layers].reverse()) {
      if (layer && one !== layer && !(one.over && layer === layers[0])) continue;
      const found = one.list.find((range) => spot >= range.start - near && spot < range.end + near);
      if (found) return found;
    }
    return null;
  }

  const buttons = {
    "memory-in": () => zoom(4), "memory-out": () => zoom(0.25), "memory-all": () => show(0, end),
    "memory-page": () => { const page = here() - here() % PAGE; show(page, page + PAGE); },
    "memory-line": () => { const line = here() - here() % CACHE_LINE; show(line, line + CACHE_LINE); },
    "memory-lend": () => {
      const spot = here();
      const lends = layers.filter((layer) => layer.edge).flatMap((layer) => layer.list);
      const far = (one) => spot < one.start ? one.start - spot : spot >= one.end ? spot - one.end + 1 : 0;
      const nearest = lends.reduce((best, one) => !best || far(one) < far(best) || (far(one) === far(best) && one.end - one.start < best.end - best.start) ? one : best, null);
      if (nearest) {
        const margin = (nearest.end - nearest.start) / 4;
        show(nearest.start - margin, nearest.end + margin);
      }
    },
  };
  for (const [id, does] of Object.entries(buttons)) document.getElementById(id).addEventListener("click", does);
  canvas.addEventListener("keydown", (event) => {
    const does = { ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => show(0, end), Home: () => show(0, end) }[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  });
  const mine = { state, draw, redraw, show, zoom, pan, at, mark, around, moment, lent };
  pointer(canvas, mine, (left, top) => {
    const found = find(left, top);
    if (found?.violation) onViolation(found.violation);
    else if (found?.index !== undefined && found.index < data.count) onSelect(found.index);
  }, (left, top) => {
    const found = find(left, top);
    return hexAddress(Math.max(0, Math.floor(at(left)))) + (found ? ` · ${found.what}: ${hexAddress(found.start)} - ${hexAddress(found.end - 1)}, ${size(found.end - found.start)}` : "");
  });
  strip.addEventListener("pointerdown", (event) => {
    const bounds = strip.getBoundingClientRect();
    around((event.clientX - bounds.left) / bounds.width * end, state.to - state.from === end ? end / 8 : state.to - state.from);
  });

  const body = document.querySelector("#ranges tbody");
  const all = layers.flatMap((layer) => layer.list).sort((one, other) => one.start - other.start).slice(0, 2000);
  body.append(...all.map((one) => element("tr", {}, element("td", {}, one.what), element("td", { class: "number" }, hexAddress(one.start)),
    element("td", { class: "number" }, hexAddress(one.end - 1)), element("td", { class: "number" }, String(one.end - one.start)))));
  legend("map-legend", [["RAM", "ram"], ["pool", "pool"], ["lent by the driver", "lends"], ["written by the card", "writes"], ["read by the card", "reads"], ["wrong", "wrong"]]
    .filter(([, ink]) => layers.some((layer) => layer.list.length && (layer.edge ?? layer.ink) === ink)));
  return mine;
}

// A byte of a page that was kept, and what should be there; null: not known.
function byteAt(page, offset) {
  const known = page.known.find((one) => offset >= one.offset && offset < one.offset + one.length);
  return { found: page.bytes[offset], wanted: known ? page.expected[offset] : null, what: known ? known.what : "" };
}

function legend(id, list) {
  document.getElementById(id).append(...list.map(([text, ink]) => {
    const key = element("i");
    key.style.background = `var(--${ink})`;
    return element("span", {}, key, text);
  }));
}
