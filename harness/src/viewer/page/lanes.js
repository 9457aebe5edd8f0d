// SPDX-License-Identifier: MIT OR Apache-2.0
// Entries in lanes, from left to right: one by one where there is room, as columns where there is none.

const LANES = [
  { name: "driver and device", sorts: [LIFE] },
  { name: "register writes", sorts: [REGISTER, NO_REGISTER] },
  { name: "jobs", sorts: [ACCEPTED, BEGUN, DONE, RELEASED, TOLD], bars: "jobs" },
  { name: "card's accesses", sorts: [WRITES, READS, REFUSED] },
  { name: "interrupts", sorts: [IRQ, HELD] },
  { name: "CPU's accesses", sorts: [LOADS, STORES] },
  { name: "DMA calls, lends", sorts: [LENDS, TAKES, FOR_CPU, FOR_DEVICE], bars: "lends" },
];
const RULER = 20, LANE = 27, BAR = 13, GAP = 5;
// Most entries in sight of which all arrows are drawn.
const ARROWS = 90;

const palette = { known: new Map() };
function colour(name) {
  if (!palette.known.has(name)) {
    palette.known.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return palette.known.get(name);
}

// A canvas as large as it is shown, and its pen in pixels of the page.
function pen(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(canvas.clientWidth, 40);
  canvas.style.height = `${height}px`;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
  context.textBaseline = "middle";
  return { context, width };
}

// A step of 1, 2 or 5 times a power of ten, of which about `count` fit.
function step(span, count) {
  const raw = span / Math.max(count, 1);
  const ten = 10 ** Math.floor(Math.log10(Math.max(raw, 1e-9)));
  return [1, 2, 5, 10].map((times) => times * ten).find((size) => size >= raw);
}

// A text that fits into so many pixels; empty if hardly anything does.
function fit(context, text, room) {
  if (room < 18) return "";
  if (context.measureText(text).width <= room) return text;
  let length = Math.floor(text.length * room / context.measureText(text).width);
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return length > 2 ? `${text.slice(0, length)}…` : "";
}

function makeTimeline(data, onSelect) {
  const canvas = document.getElementById("lanes"), overview = document.getElementById("overview");
  const lanes = LANES.filter((lane) => lane.sorts.some((sort) => data.series[sort].length));
  const laneOf = new Map(lanes.flatMap((lane) => lane.sorts.map((sort) => [sort, lane])));
  const state = { order: true, from: 0, to: Math.max(data.count, 1), selected: NONE };
  let gutter = 0, plot = 1, height = 0, stale = true, counted = null;

  const position = (index) => state.order ? index + 0.5 : data.time[index];
  const whole = () => state.order ? [0, Math.max(data.count, 1)] : [0, Math.max(data.count ? data.time[data.count - 1] : 0, 1)];
  const least = () => state.order ? Math.min(6, whole()[1]) : 40;
  const x = (at) => gutter + (at - state.from) / (state.to - state.from) * plot;
  const at = (left) => state.from + (left - gutter) / plot * (state.to - state.from);
  const first = (bound) => state.order ? Math.max(0, Math.min(data.count, Math.ceil(bound - 0.5)))
    : lowerBound(data.count, bound, (place) => data.time[place]);

  function layout(width) {
    gutter = width >= 640 ? 118 : 0;
    plot = Math.max(width - gutter - 2, 10);
    height = RULER;
    for (const lane of lanes) {
      lane.top = height + (gutter ? 0 : 14);
      lane.rows = lane.bars ? data[lane.bars].rows.length : 0;
      lane.height = LANE + lane.rows * BAR;
      height = lane.top + lane.height + GAP;
    }
  }

  // How many entries of a list are at each pixel, between two positions.
  function count(list, from, to, columns) {
    const counts = new Uint32Array(columns);
    const value = (place) => position(list[place]);
    let place = lowerBound(list.length, from, value);
    const last = lowerBound(list.length, to, value, place);
    const total = last - place;
    for (let column = 0; column < columns && place < last; column++) {
      const bound = from + (column + 1) / columns * (to - from);
      if (value(place) >= bound) {
        // What is empty is passed over.
        const there = Math.max(column + 1, Math.floor((value(place) - from) / (to - from) * columns));
        if (there >= columns) { counts[columns - 1] += last - place; break; }
        column = there - 1;
        continue;
      }
      let reach = 1;
      while (place + reach < last && value(place + reach) < bound) reach *= 2;
      const next = lowerBound(Math.min(place + reach, last), bound, value, place);
      counts[column] = next - place;
      place = next;
    }
    return { counts, total };
  }

  function drawRuler(context, width) {
    const span = state.to - state.from;
    const each = Math.max(step(span, plot / 110), state.order ? 1 : 1e-9);
    context.fillStyle = colour("dim");
    context.strokeStyle = colour("rule");
    context.lineWidth = 1;
    context.beginPath();
    for (let tick = Math.ceil(state.from / each) * each; tick <= state.to; tick += each) {
      const left = Math.round(x(state.order ? tick + 0.5 : tick)) + 0.5;
      if (left > width) break;
      const index = Math.min(Math.round(tick), data.count - 1);
      const text = state.order ? `#${data.sequence[index] ?? 0}` : duration(tick);
      context.moveTo(left, RULER - 4);
      context.lineTo(left, height);
      if (left > gutter - 2 && left + context.measureText(text).width / 2 < width) {
        context.textAlign = "center";
        context.fillText(text, Math.max(left, gutter + context.measureText(text).width / 2), 9);
      }
    }
    context.stroke();
  }

  function drawDense(context, lane, counts) {
    let most = 1;
    const columns = counts[0].counts.length;
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (const one of counts) sum += one.counts[column];
      if (sum > most) most = sum;
    }
    const heights = new Float32Array(columns);
    const scale = (LANE - 7) / Math.log2(1 + most);
    lane.sorts.forEach((sort, place) => {
      context.fillStyle = colour(SORTS[sort][1]);
      const own = counts[place].counts;
      for (let column = 0; column < columns; column++) {
        if (!own[column]) continue;
        let sum = 0;
        for (const one of counts) sum += one.counts[column];
        const tall = (3 + scale * Math.log2(1 + sum)) * own[column] / sum;
        heights[column] += tall;
        context.fillRect(gutter + column, lane.top + LANE - 2 - heights[column], 1, tall);
      }
    });
  }

  function drawSparse(context, lane) {
    const here = [];
    for (const sort of lane.sorts) {
      const list = data.series[sort];
      const value = (place) => position(list[place]);
      for (let place = lowerBound(list.length, state.from, value); place < list.length && value(place) <= state.to; place++) here.push(list[place]);
    }
    here.sort((one, other) => one - other);
    here.forEach((index, place) => {
      const left = x(position(index));
      const room = (place + 1 < here.length ? x(position(here[place + 1])) : gutter + plot + 2) - left;
      const bad = data.wrong.get(index)?.some((one) => !one.hint);
      const ink = bad ? colour("wrong") : colour(SORTS[data.sort[index]][1]);
      context.fillStyle = ink;
      context.beginPath();
      if (data.sort[index] === IRQ || data.sort[index] === HELD) {
        context.moveTo(left, lane.top + 4);
        context.lineTo(left + 6, lane.top + LANE - 8);
        context.lineTo(left - 6, lane.top + LANE - 8);
      } else {
        const wide = Math.max(3, Math.min(7, room - 1));
        context.roundRect(left - wide / 2, lane.top + 4, wide, LANE - 10, 2);
      }
      context.fill();
      if (index === state.selected) {
        context.strokeStyle = colour("ink");
        context.lineWidth = 2;
        context.stroke();
      }
      const text = fit(context, label(data, index), room - 16);
      if (text) {
        context.textAlign = "left";
        context.fillStyle = bad ? ink : colour("ink");
        context.fillText(text, left + 9, lane.top + LANE / 2);
      }
    });
  }

  function drawBars(context, lane) {
    const font = context.font;
    context.font = font.replace("12px", "11px");
    const { rows } = data[lane.bars];
    const paper = colour(lane.bars === "lends" ? "lend-bar" : "job-bar");
    const edge = colour(lane.bars === "lends" ? "lends" : "job");
    rows.forEach(({ from, to }, row) => {
      const top = lane.top + LANE + row * BAR;
      let place = lowerBound(to.length, state.from, (one) => position(to[one]));
      while (place < from.length && position(from[place]) < state.to) {
        const left = Math.max(x(position(from[place])), gutter);
        let right = Math.min(x(position(to[place])), gutter + plot);
        const narrow = right - left < 2;
        if (narrow) right = left + 1;
        context.fillStyle = narrow ? edge : paper;
        context.fillRect(left, top + 1, right - left, BAR - 3);
        if (!narrow) {
          context.fillStyle = edge;
          context.fillRect(left, top + 1, 2, BAR - 3);
          const index = from[place];
          const text = lane.bars === "lends" ? `${hexAddress(big(data.address, index))}, ${size(data.length[index])}` : `job ${data.job[index]}`;
          const shown = fit(context, text, right - left - 10);
          if (shown) {
            context.textAlign = "left";
            context.fillStyle = colour("ink");
            context.fillText(shown, left + 6, top + BAR / 2);
          }
        }
        // Of those that are at the same pixel one is drawn.
        const beyond = at(Math.ceil(right + (narrow ? 0.5 : 0)));
        place++;
        if (narrow && place < from.length && position(from[place]) < beyond) {
          place = lowerBound(from.length, beyond, (one) => position(from[one]), place);
        }
      }
    });
    context.font = font;
  }

  const middle = (index) => {
    const lane = laneOf.get(data.sort[index]);
    return lane.top + LANE / 2;
  };

  function arrow(context, from, to) {
    const [x1, y1, x2, y2] = [x(position(from)), middle(from), x(position(to)), middle(to)];
    if (Math.max(x1, x2) < gutter || Math.min(x1, x2) > gutter + plot) return;
    const down = y2 >= y1 ? 1 : -1;
    const [a, b] = y1 === y2 ? [y1 - 9, y2 - 9] : [y1 + 8 * down, y2 - 10 * down];
    const bend = Math.max(14, Math.abs(b - a) / 2) * (y1 === y2 ? -0.6 : down);
    context.beginPath();
    context.moveTo(x1, a);
    context.bezierCurveTo(x1, a + bend, x2, b - (y1 === y2 ? -bend : bend), x2, b);
    context.stroke();
    const tip = y1 === y2 ? 1 : down;
    context.beginPath();
    context.moveTo(x2, b + 3 * tip);
    context.lineTo(x2 - 3.5, b - 4 * tip);
    context.lineTo(x2 + 3.5, b - 4 * tip);
    context.fill();
  }

  function drawArrows(context) {
    context.save();
    context.beginPath();
    context.rect(gutter, 0, plot + 2, height);
    context.clip();
    const [from, to] = [first(state.from), first(state.to)];
    context.lineWidth = 1;
    if (to - from <= ARROWS) {
      context.globalAlpha = 0.4;
      context.strokeStyle = context.fillStyle = colour("dim");
      for (let index = from; index < to; index++) {
        if (data.cause[index] !== NONE) arrow(context, data.cause[index], index);
      }
    }
    context.globalAlpha = 1;
    context.lineWidth = 1.8;
    context.strokeStyle = context.fillStyle = colour("accent");
    for (const index of chain(data, state.selected)) {
      if (data.cause[index] !== NONE) arrow(context, data.cause[index], index);
    }
    context.restore();
  }

  function drawMarks(context) {
    const right = gutter + plot;
    let last = -99;
    for (const violation of data.meta.violations) {
      if (violation.entry === null) continue;
      const left = x(position(violation.entry));
      if (left < gutter || left > right || Math.abs(left - last) < 1) continue;
      last = left;
      const ink = colour(violation.hint ? "maybe" : "wrong");
      context.strokeStyle = context.fillStyle = ink;
      context.globalAlpha = 0.55;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(left, RULER);
      context.lineTo(left, height);
      context.stroke();
      context.globalAlpha = 1;
      context.beginPath();
      context.arc(left, 9, 8, 0, 7);
      context.fill();
      context.fillStyle = colour("panel");
      context.textAlign = "center";
      context.fillText(violation.number > 99 ? "!" : String(violation.number), left, 9.5);
    }
  }

  function draw() {
    const width = Math.max(canvas.clientWidth, 40);
    layout(width);
    const { context } = pen(canvas, height);
    context.fillStyle = colour("faint");
    for (const lane of lanes) context.fillRect(gutter, lane.top, plot + 2, lane.height);
    if (data.count) {
      drawRuler(context, width);
      context.save();
      context.beginPath();
      context.rect(gutter - 4, 0, plot + 8, height);
      context.clip();
      const columns = Math.floor(plot);
      for (const lane of lanes) {
        if (lane.bars) drawBars(context, lane);
        const counts = lane.sorts.map((sort) => count(data.series[sort], state.from, state.to, columns));
        const total = counts.reduce((sum, one) => sum + one.total, 0);
        if (total * 5 > plot) drawDense(context, lane, counts);
        else drawSparse(context, lane);
      }
      context.restore();
      drawArrows(context);
      if (state.selected !== NONE) {
        const left = Math.round(x(position(state.selected))) + 0.5;
        if (left >= gutter) {
          context.strokeStyle = colour("ink");
          context.globalAlpha = 0.7;
          context.lineWidth = 1;
          context.setLineDash([3, 3]);
          context.beginPath();
          context.moveTo(left, RULER);
          context.lineTo(left, height);
          context.stroke();
          context.setLineDash([]);
          context.globalAlpha = 1;
        }
      }
      drawMarks(context);
    }
    context.textAlign = "left";
    context.fillStyle = colour("dim");
    for (const lane of lanes) {
      if (gutter) context.fillText(lane.name, 0, lane.top + LANE / 2);
      else context.fillText(lane.name, 0, lane.top - 7);
    }
    drawOverview();
    const [from, to] = [first(state.from), first(state.to)];
    const shown = Math.max(0, to - from);
    const span = state.order ? `${shown.toLocaleString("en")} of ${data.count.toLocaleString("en")} entries`
      : `${moment(state.from)} to ${moment(state.to)}, ${shown.toLocaleString("en")} entries`;
    const status = document.getElementById("range");
    if (status.textContent !== span) status.textContent = span;
  }

  function drawOverview() {
    const tall = 30;
    const { context, width } = pen(overview, tall);
    const [low, high] = whole();
    context.fillStyle = colour("faint");
    context.fillRect(0, 0, width, tall);
    const columns = Math.floor(width);
    if (stale || !counted || counted.columns !== columns) {
      counted = { columns, lists: SORTS.map((_, sort) => count(data.series[sort], low, high, columns).counts) };
      counted.most = 1;
      for (let column = 0; column < columns; column++) {
        let sum = 0;
        for (const list of counted.lists) sum += list[column];
        counted.most = Math.max(counted.most, sum);
      }
      stale = false;
    }
    const scale = (tall - 8) / Math.log2(1 + counted.most);
    const base = new Float32Array(columns);
    const sums = new Float64Array(columns);
    for (const list of counted.lists) for (let column = 0; column < columns; column++) sums[column] += list[column];
    counted.lists.forEach((list, sort) => {
      context.fillStyle = colour(SORTS[sort][1]);
      for (let column = 0; column < columns; column++) {
        if (!list[column]) continue;
        const part = (2 + scale * Math.log2(1 + sums[column])) * list[column] / sums[column];
        base[column] += part;
        context.fillRect(column, tall - base[column], 1, part);
      }
    });
    const spot = (one) => (one - low) / (high - low) * width;
    for (const violation of data.meta.violations) {
      if (violation.entry === null) continue;
      context.fillStyle = colour(violation.hint ? "maybe" : "wrong");
      context.fillRect(spot(position(violation.entry)) - 1, 0, 2, tall);
    }
    const [left, right] = [spot(state.from), spot(state.to)];
    context.fillStyle = colour("paper");
    context.globalAlpha = 0.6;
    context.fillRect(0, 0, left, tall);
    context.fillRect(right, 0, width - right, tall);
    context.globalAlpha = 1;
    context.strokeStyle = colour("accent");
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.75, 0.75, Math.max(right - left - 1.5, 3), tall - 1.5);
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function show(from, to) {
    const [low, high] = whole();
    const span = Math.min(Math.max(to - from, least()), high - low);
    const centre = (from + to) / 2;
    state.from = Math.max(low, Math.min(centre - span / 2, high - span));
    state.to = state.from + span;
    redraw();
  }

  function zoom(times, around = (state.from + state.to) / 2) {
    const span = Math.min(Math.max((state.to - state.from) / times, least()), whole()[1]);
    const share = (around - state.from) / (state.to - state.from);
    const from = around - share * span;
    show(from, from + span);
  }

  const pan = (share) => show(state.from + share * (state.to - state.from), state.to + share * (state.to - state.from));

  // What is around an entry: a few entries before and after it, however long that took.
  function reveal(index) {
    if (index === NONE) return;
    const few = Math.max(6, Math.min(16, Math.floor(plot / 40)));
    const [from, to] = [Math.max(0, index - few), Math.min(data.count - 1, index + few)];
    const here = position(index);
    if (state.order) return show(here - few, here + few);
    const half = Math.max(here - data.time[from], data.time[to] - here, 200);
    show(here - half * 1.05, here + half * 1.05);
  }

  function select(index, reach) {
    state.selected = index;
    const here = index === NONE ? state.from : position(index);
    if (reach || here < state.from || here > state.to) reveal(index);
    redraw();
  }

  // The entry under a point: the nearest of its lane, or the bar.
  function under(left, top, near) {
    const lane = lanes.find((one) => top >= one.top - 14 && top < one.top + one.height + GAP);
    if (!lane || left < gutter) return NONE;
    const spot = at(left);
    if (lane.bars && top >= lane.top + LANE) {
      const row = data[lane.bars].rows[Math.floor((top - lane.top - LANE) / BAR)];
      if (!row) return NONE;
      const place = lowerBound(row.to.length, spot, (one) => position(row.to[one]));
      return place < row.from.length && position(row.from[place]) <= at(left + 2) ? row.from[place] : NONE;
    }
    let best = NONE, distance = near;
    for (const sort of lane.sorts) {
      const list = data.series[sort];
      const place = lowerBound(list.length, spot, (one) => position(list[one]));
      for (const one of [place - 1, place]) {
        if (one < 0 || one >= list.length) continue;
        const far = Math.abs(x(position(list[one])) - left);
        if (far < distance) { distance = far; best = list[one]; }
      }
    }
    return best;
  }

  // The entry before or after the selected one; `lane`: that of the lane above or below.
  function neighbour(by, lane) {
    const from = state.selected === NONE ? first(state.from) : state.selected;
    if (state.selected === NONE) return from < data.count ? from : NONE;
    if (!lane) return Math.max(0, Math.min(data.count - 1, from + by));
    let place = lanes.indexOf(laneOf.get(data.sort[from])) + by;
    for (; lanes[place]; place += by) {
      const lists = lanes[place].sorts.map((sort) => data.series[sort]).filter((list) => list.length);
      const ends = lists.map((list) => list[Math.min(list.length - 1, lowerBound(list.length, from, (one) => list[one]))]);
      if (ends.length) return ends.reduce((best, one) => Math.abs(one - from) < Math.abs(best - from) ? one : best);
    }
    return from;
  }

  const restart = () => { stale = true; palette.known.clear(); redraw(); };
  const byAxis = (order) => {
    const [from, to] = [first(state.from), Math.max(first(state.to) - 1, 0)];
    state.order = order;
    stale = true;
    if (to > from) {
      const margin = order ? 0.5 : Math.max((data.time[to] - data.time[from]) * 0.04, 500);
      show(position(from) - margin, position(to) + margin);
    } else show(...whole());
    if (state.selected !== NONE) reveal(state.selected);
  };
  const mine = { state, draw, redraw, restart, select, reveal, show, zoom, pan, neighbour, under, byAxis, whole, at };
  pointer(canvas, mine, (left, top) => {
    const index = under(left, top, 24);
    if (index !== NONE) onSelect(index);
  }, (left, top) => {
    const index = under(left, top, 12);
    return index === NONE ? "" : `${moment(data.time[index])} · ${name(data, index)}`;
  });
  const jump = (event) => {
    const [low, high] = whole();
    const box = overview.getBoundingClientRect();
    const centre = low + (event.clientX - box.left) / box.width * (high - low), half = (state.to - state.from) / 2;
    show(centre - half, centre + half);
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); jump(event); });
  overview.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
  return mine;
}

// What led to an entry and what came of it, as far as it is a chain.
function chain(data, index) {
  if (index === NONE || index === undefined) return [];
  const all = [index];
  for (let at = data.cause[index], left = 16; at !== NONE && left; at = data.cause[at], left--) all.unshift(at);
  let ends = [index];
  for (let left = 8; ends.length && left; left--) {
    const next = [];
    for (const end of ends) {
      for (let at = data.effects.first[end]; at !== NONE && next.length < 6; at = data.effects.next[at]) next.push(at);
    }
    all.push(...next);
    ends = next;
    if (all.length > 40) break;
  }
  return all.sort((one, other) => one - other);
}

// Drag, wheel, pinch and hover of a drawing that can be moved and zoomed.
function pointer(canvas, drawing, onClick, onHover) {
  const tip = document.getElementById("tip");
  const fingers = new Map();
  let moved = 0, spread = 0;
  const left = (event) => event.clientX - canvas.getBoundingClientRect().left;
  const top = (event) => event.clientY - canvas.getBoundingClientRect().top;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    moved = 0;
    spread = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) {
      const text = onHover(left(event), top(event));
      tip.hidden = !text;
      tip.textContent = text;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - box.width - 6))}px`;
      tip.style.top = `${event.clientY + 18 + box.height > window.innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
      return;
    }
    tip.hidden = true;
    const by = event.clientX - before.clientX;
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      const [one, other] = [...fingers.values()];
      const apart = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (spread) drawing.zoom(apart / spread, drawing.at((left(one) + left(other)) / 2));
      spread = apart;
      moved = 99;
    } else {
      moved += Math.abs(by);
      if (moved > 4) drawing.pan(-by / canvas.clientWidth);
    }
  });
  const ended = (event) => {
    const was = fingers.delete(event.pointerId);
    if (was && moved <= 4 && event.type === "pointerup") onClick(left(event), top(event));
  };
  canvas.addEventListener("pointerup", ended);
  canvas.addEventListener("pointercancel", ended);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", (event) => drawing.zoom(4, drawing.at(left(event))));
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      drawing.zoom(Math.exp(-event.deltaY / (event.deltaMode ? 20 : 400)), drawing.at(left(event)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      drawing.pan((event.deltaX || event.deltaY) / canvas.clientWidth);
    }
  }, { passive: false });
}
