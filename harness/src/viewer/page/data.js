// SPDX-License-Identifier: MIT OR Apache-2.0
// What the page shows: read from the packed data (`meta.rs`, `columns.rs`), and told in words (`report/words.rs`).

// Kinds of entries, as `Sort` numbers them: what each is called, and the style's name of its colour.
const SORTS = [
  ["driver and device", "life"], ["lends", "lends"], ["takes back", "takes"], ["syncs for the CPU", "for-cpu"],
  ["syncs for the card", "for-device"], ["register write", "register"], ["no register, or waits", "no-register"],
  ["hands a job over", "job"], ["begins a job", "job"], ["job is over", "job"], ["takes a job back", "job"],
  ["card tells", "told"], ["card writes", "writes"], ["card reads", "reads"], ["access refused", "refused"],
  ["interrupt", "irq"], ["interrupt held", "held"], ["CPU loads", "loads"], ["CPU stores", "stores"],
];
const [LIFE, LENDS, TAKES, FOR_CPU, FOR_DEVICE, REGISTER, NO_REGISTER, ACCEPTED, BEGUN, DONE, RELEASED, TOLD, WRITES, READS,
  REFUSED, IRQ, HELD, LOADS, STORES] = SORTS.keys();
const NONE = 0xffffffff;

function decode64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

// Numbers of varying length, as floats: exact below 2^53.
function numbers(bytes, count) {
  const values = new Float64Array(count);
  let at = 0;
  for (let index = 0; index < count; index++) {
    let byte = bytes[at++];
    let value = byte & 127, scale = 128;
    while (byte > 127) {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    }
    values[index] = value;
  }
  return values;
}

// The same as two halves of 32 bits. With `sorts` they are differences to the last of the same kind.
function halves(bytes, count, sorts) {
  const low = new Uint32Array(count), high = new Uint32Array(count);
  const lastLow = new Uint32Array(32), lastHigh = new Uint32Array(32);
  let at = 0;
  for (let index = 0; index < count; index++) {
    let lo = 0, hi = 0, shift = 0, byte;
    do {
      byte = bytes[at++];
      const digits = byte & 127;
      if (shift < 28) lo |= digits << shift;
      else if (shift === 28) { lo |= digits << 28; hi |= digits >>> 4; }
      else hi |= digits << (shift - 32);
      shift += 7;
    } while (byte > 127);
    if (sorts) {
      const flip = -(lo & 1), sort = sorts[index];
      lo = ((lo >>> 1 | hi << 31) ^ flip) >>> 0;
      hi = (hi >>> 1) ^ flip;
      const sum = lastLow[sort] + lo;
      lastLow[sort] = sum;
      lastHigh[sort] = lastHigh[sort] + hi + (sum > 0xffffffff ? 1 : 0);
      lo = lastLow[sort];
      hi = lastHigh[sort];
    }
    low[index] = lo;
    high[index] = hi;
  }
  return { low, high };
}

// Sums of differences; `signed`: their sign is in the lowest bit.
function sums(values, signed) {
  let sum = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    sum += !signed ? value : value % 2 ? -(value + 1) / 2 : value / 2;
    values[index] = sum;
  }
  return values;
}

// Places from how far back they are.
function places(values) {
  const list = new Uint32Array(values.length);
  for (let index = 0; index < values.length; index++) list[index] = values[index] ? index - values[index] : NONE;
  return list;
}

async function load() {
  const holder = document.getElementById("data");
  const packed = decode64(holder.textContent.trim());
  holder.textContent = "";
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const meta = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const columns = meta.columns.map((size) => bytes.subarray(at, at += size));
  const count = meta.entries;
  const kinds = columns[0];
  const sort = new Uint8Array(count);
  for (let index = 0; index < count; index++) sort[index] = kinds[index] & 31;
  const kept = meta.pages.length * 4096;
  const data = {
    meta, count, sort,
    hasJob: (index) => kinds[index] > 127,
    time: sums(numbers(columns[1], count), false),
    sequence: sums(numbers(columns[2], count), true),
    text: numbers(columns[3], count),
    address: halves(columns[4], count, sort),
    length: numbers(columns[5], count),
    job: sums(numbers(columns[6], count), true),
    others: [halves(columns[7], count, null), halves(columns[8], count, sort), halves(columns[9], count, sort)],
    owner: places(numbers(columns[10], count)),
    cause: places(numbers(columns[11], count)),
    pages: new Map(meta.pages.map(([address, known], number) => [address, {
      known,
      bytes: bytes.subarray(at + number * 4096, at + (number + 1) * 4096),
      expected: bytes.subarray(at + kept + number * 4096, at + kept + (number + 1) * 4096),
    }])),
  };
  data.small = new Map(meta.small);
  data.series = series(sort, count);
  data.wrong = new Map();
  meta.violations.forEach((violation, number) => {
    violation.number = number + 1;
    if (violation.entry === null) return;
    if (!data.wrong.has(violation.entry)) data.wrong.set(violation.entry, []);
    data.wrong.get(violation.entry).push(violation);
    // What its job does not tell, the ledger does.
    if (violation.write !== null && violation.write < violation.entry && data.cause[violation.entry] === NONE) data.cause[violation.entry] = violation.write;
  });
  data.effects = effects(data.cause, count);
  data.lends = bars(data, (index) => sort[index] === LENDS, (index) => sort[index] === TAKES, true);
  data.jobs = bars(data, (index) => sort[index] === ACCEPTED || (sort[index] === BEGUN && data.owner[index] === NONE),
    (index) => sort[index] === DONE || sort[index] === RELEASED, false);
  return data;
}

// Entries of each kind, in order.
function series(sort, count) {
  const counts = new Uint32Array(SORTS.length);
  for (let index = 0; index < count; index++) counts[sort[index]]++;
  const lists = Array.from(counts, (size) => new Uint32Array(size));
  counts.fill(0);
  for (let index = 0; index < count; index++) lists[sort[index]][counts[sort[index]]++] = index;
  return lists;
}

// The first entry that each led to, and the next that the same led to.
function effects(cause, count) {
  const first = new Uint32Array(count).fill(NONE), next = new Uint32Array(count).fill(NONE);
  for (let index = count - 1; index >= 0; index--) {
    const from = cause[index];
    if (from === NONE) continue;
    next[index] = first[from];
    first[from] = index;
  }
  return { first, next };
}

// What lasts from an entry to another, in rows in which none overlaps another, but for the last. With `innermost`, of what is the
// same memory, as a buffer of a pool that is mapped, only the innermost is drawn.
function bars(data, begins, ends, innermost) {
  const most = 8;
  const until = new Uint32Array(data.count).fill(NONE);
  let any = 0;
  for (let index = 0; index < data.count; index++) {
    if (begins(index)) any++;
    if (ends(index) && data.owner[index] !== NONE) until[data.owner[index]] = index;
  }
  const hidden = innermost && any ? outer(data, begins, until) : null;
  const rows = [];
  const free = [];
  if (any) {
    for (let index = 0; index < data.count; index++) {
      if (!begins(index) || hidden?.[index]) continue;
      let row = 0;
      while (row < most - 1 && row < rows.length && free[row] > index) row++;
      if (row === rows.length) { rows.push({ from: [], to: [] }); free.push(0); }
      const end = until[index] === NONE ? data.count - 1 : until[index];
      rows[row].from.push(index);
      rows[row].to.push(end);
      free[row] = Math.max(free[row], end);
    }
  }
  return { rows, until };
}

// What has another of the same memory within it.
function outer(data, begins, until) {
  const hidden = new Uint8Array(data.count);
  const later = new Map();
  for (let index = data.count - 1; index >= 0; index--) {
    if (!begins(index)) continue;
    const key = data.address.low[index] + data.address.high[index] * 2 ** 32;
    const next = later.get(key);
    if (next !== undefined && next < until[index] && data.length[next] === data.length[index]) hidden[index] = 1;
    else later.set(key, index);
  }
  return hidden;
}

function big(half, index) {
  return BigInt(half.high[index]) << 32n | BigInt(half.low[index]);
}

// As the harness writes them: in groups of four digits.
function hexAddress(value) {
  const digits = BigInt.asUintN(64, BigInt(value)).toString(16).padStart(8, "0");
  const low = digits.slice(-4), middle = digits.slice(-8, -4), high = digits.slice(0, -8);
  return `0x${high ? high + "_" : ""}${middle}_${low}`;
}

function byteCount(length) {
  return length === 1 ? "1 byte" : `${length} bytes`;
}

function size(bytes) {
  for (const [unit, one] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]]) {
    if (bytes >= one) return `${Math.floor(bytes * 10 / one) / 10} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

function duration(ns) {
  const sign = ns < 0 ? "-" : "";
  ns = Math.abs(ns);
  if (ns >= 1e9) return `${sign}${(ns / 1e9).toFixed(3)} s`;
  if (ns >= 1e6) return `${sign}${(ns / 1e6).toFixed(3)} ms`;
  if (ns >= 1e3) return `${sign}${(ns / 1e3).toFixed(2)} µs`;
  return `${sign}${Math.round(ns)} ns`;
}

// A moment, always in milliseconds: columns of them are compared.
function moment(ns) {
  return `${Math.floor(ns / 1e6)}.${String(Math.floor(ns / 1e3) % 1000).padStart(3, "0")} ms`;
}

// The words of an entry, with its numbers.
function words(data, index) {
  const [, text] = data.meta.texts[data.text[index]] || ["", ""];
  return text.replace(/[\ue000-\ue02f]/g, (mark) => {
    const code = mark.charCodeAt(0);
    if (code === 0xe000) {
      const start = big(data.address, index), bytes = data.length[index];
      return bytes <= 1 ? hexAddress(start) : `${hexAddress(start)} - ${hexAddress(start + BigInt(bytes) - 1n)}`;
    }
    if (code === 0xe001) return byteCount(data.length[index]);
    if (code === 0xe002) return hexAddress(big(data.address, index));
    if (code === 0xe003) return String(data.job[index]);
    const other = data.others[code & 15];
    if (!other) return "";
    return code < 0xe020 ? String(big(other, index)) : `0x${big(other, index).toString(16)}`;
  });
}

// The words, short enough for a label: what is most of an entry's own.
function label(data, index) {
  const sort = data.sort[index];
  if (sort === WRITES || sort === READS || sort === REFUSED) return `${sort === READS ? "read" : sort === WRITES ? "write" : "refused"} ${size(data.length[index])}`;
  if (sort >= ACCEPTED && sort <= RELEASED) return `${["job", "begin", "done", "back"][sort - ACCEPTED]} ${data.job[index]}`;
  if (sort === IRQ || sort === HELD) return `vector ${big(data.others[0], index)}`;
  const said = words(data, index);
  const end = said.indexOf(sort >= LENDS && sort <= FOR_DEVICE ? ":" : ",");
  return end > 0 ? said.slice(0, end) : said;
}

function who(data, index) {
  const [name] = data.meta.texts[data.text[index]] || [""];
  return name;
}

// What an access, a call or a job is called elsewhere on the page.
function name(data, index) {
  return `#${data.sequence[index]} ${who(data, index)} ${words(data, index)}`;
}

// The first place in a list at which `value(place)` is at least `bound`.
function lowerBound(length, bound, value, from = 0) {
  let low = from, high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (value(middle) < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
