// SPDX-License-Identifier: MIT OR Apache-2.0
// All that is known of what is selected: its words, what led to it, bytes, the picture, the console then.

const STAMP = /^(?:<\d+>)?\[\s*(\d+\.\d+)\]/;

function makeDetail(data, onSelect) {
  const body = document.getElementById("detail-body");
  const logs = data.meta.logs.map(([name, text]) => {
    const lines = text.split("\n");
    return { name, lines, stamps: lines.map((line) => { const found = STAMP.exec(line); return found ? Number(found[1]) * 1e9 : null; }) };
  });
  const link = (index, text) => element("button", { type: "button", class: "link", onclick: () => onSelect(index) }, text);
  const head = (text) => element("h3", {}, text);

  function pair(list, term, ...what) {
    list.append(element("dt", {}, term), element("dd", {}, ...what));
  }

  function chainOf(index) {
    const all = chain(data, index);
    if (all.length < 2) return [];
    const list = element("ol", { class: "chain" }, ...all.map((one) => {
      const item = element("li", { class: one === index ? "here" : null }, one === index ? name(data, one) : link(one, name(data, one)));
      item.style.setProperty("--dot", `var(--${SORTS[data.sort[one]][1]})`);
      return item;
    }));
    return [head("What led to it, and what came of it"), list];
  }

  // Rows of bytes, with what should be there below those that differ.
  function bytesOf(start, length) {
    if (!data.pages.size || !(start < EXACT)) return [];
    const first = start - start % 16;
    const rows = [];
    for (let at = Math.max(0, first - 32); at < first + 64; at += 16) rows.push(at);
    const last = start + Math.max(length, 1) - 1, end = last - last % 16;
    if (end >= first + 64) for (let at = Math.max(first + 64, end - 16); at <= end + 32; at += 16) rows.push(at);
    const table = element("table", { class: "hex" }, element("caption", {}, "as found; red is not what it should be, which is below it"));
    let label = null, before = null;
    for (const at of rows) {
      const page = data.pages.get(at - at % PAGE);
      if (!page) continue;
      if (before !== null && at !== before + 16) table.append(element("tr", {}, element("th", {}, "…")));
      before = at;
      const cells = Array.from({ length: 16 }, (_, one) => byteAt(page, at % PAGE + one));
      const bad = (cell) => cell.wanted !== null && cell.wanted !== cell.found;
      const inside = (one) => at + one >= start && at + one < start + length;
      const what = cells[0].what || "not known";
      if (what !== label) table.append(element("tr", {}, element("th"), element("td", { class: "what", colspan: 16 }, what)));
      table.append(element("tr", { class: at % CACHE_LINE ? null : "line" }, element("th", { scope: "row" }, hexAddress(at)),
        ...cells.map((cell, one) => element("td", { class: bad(cell) ? "bad" : inside(one) ? "mark" : null }, cell.found.toString(16).padStart(2, "0")))));
      label = what;
      if (cells.some(bad)) {
        table.append(element("tr", { class: "want" }, element("th", { scope: "row" }, "should be"),
          ...cells.map((cell) => element("td", {}, bad(cell) ? cell.wanted.toString(16).padStart(2, "0") : ""))));
      }
    }
    return before === null ? [] : [head("Memory, as it was when this was seen"), element("div", { class: "scroll" }, table)];
  }

  // The frame that lies nearest, as far as its memory was kept: what was found, and red where that is wrong.
  function pictureOf(violation) {
    const captures = data.meta.captures.filter((_, place) => violation.capture === null || place + 1 === violation.capture);
    for (const capture of captures) {
      const depth = { yuyv: 2, grey: 1, rgb24: 3 }[capture.format];
      const near = (buffer) => violation.at >= buffer[0] - PAGE && violation.at <= buffer[0] + buffer[1] + PAGE;
      const place = capture.buffers.findIndex((buffer, slot) => violation.slot === null ? near(buffer) : slot === violation.slot);
      const buffer = capture.buffers[place];
      if (!depth || !buffer || !capture.width || capture.width * capture.height > 1e9) continue;
      // Lines of which something was kept.
      let [top, bottom, shown] = [capture.height, -1, 0];
      const wrong = new Set();
      const each = (does) => {
        for (const [base, page] of data.pages) {
          for (let offset = 0; offset < PAGE; offset++) {
            const into = base + offset - buffer[0];
            const line = Math.floor(into / capture.stride), column = Math.floor(into % capture.stride / depth);
            if (into >= 0 && into < buffer[1] && line < capture.height && column < capture.width) does(line, column, into % capture.stride % depth, byteAt(page, offset));
          }
        }
      };
      each((line, column, _, { found, wanted }) => {
        [top, bottom, shown] = [Math.min(top, line), Math.max(bottom, line), shown + 1];
        if (wanted !== null && wanted !== found) wrong.add(line * capture.width + column);
      });
      if (!shown) continue;
      const kept = `${capture.width}x${capture.height} ${capture.format}, buffer ${place}: ${byteCount(shown)} of it were kept`;
      if (!wrong.size && shown * 4 < buffer[1]) return [head("The frame"), element("p", { class: "dim" }, `${kept}, and none differs.`)];
      const high = Math.min(bottom - top + 1, 600), shrink = Math.ceil(capture.width / 960), wide = Math.ceil(capture.width / shrink);
      const image = new ImageData(wide, high);
      each((line, column, byte, { found }) => {
        if (line - top >= high) return;
        const spot = ((line - top) * wide + Math.floor(column / shrink)) * 4;
        if (depth === 3) image.data[spot + byte] = found;
        else if (byte === 0) image.data.fill(found, spot, spot + 3);
        image.data[spot + 3] = 255;
      });
      for (const pixel of wrong) {
        const line = Math.floor(pixel / capture.width) - top;
        if (line < high) image.data.set([230, 30, 50, 255], (line * wide + Math.floor(pixel % capture.width / shrink)) * 4);
      }
      const text = `${kept}; lines ${top} to ${bottom}; ${wrong.size} pixels differ (red).`;
      const canvas = element("canvas", { class: "picture", width: wide, height: high, role: "img", "aria-label": text });
      canvas.getContext("2d").putImageData(image, 0, 0);
      const times = Math.max(1, Math.floor(420 / wide));
      canvas.style.width = "100%";
      canvas.style.maxWidth = `${wide * times}px`;
      canvas.style.height = high < 8 ? `${high * 8}px` : "auto";
      return [head("The frame"), canvas, element("p", { class: "dim" }, wrong.size ? text : `${kept}; none differs.`)];
    }
    return [];
  }

  // What the guest's kernel said around a moment.
  function consoleAt(index) {
    if (data.meta.guest_ns === null || index === NONE) return [];
    const now = data.time[index] + data.meta.guest_ns;
    for (const log of [...logs].sort((one, other) => Number(other.name === "kernel.log") - Number(one.name === "kernel.log"))) {
      const after = log.stamps.findIndex((stamp) => stamp !== null && stamp > now);
      if (!log.stamps.some((stamp) => stamp !== null)) continue;
      const middle = after < 0 ? log.lines.length : after;
      const text = element("pre", { class: "log" });
      const lines = log.lines.slice(Math.max(0, middle - 5), middle).join("\n").trimEnd();
      const later = log.lines.slice(middle, middle + 3).join("\n").trimEnd();
      text.append(lines, "\n", element("span", { class: "now" }, `[${(now / 1e9).toFixed(6).padStart(12)}] here, about`), later ? `\n${later}` : "");
      return [head(`The guest's console then (${log.name})`), text];
    }
    return [];
  }

  function entry(index) {
    const list = element("dl");
    pair(list, "entry", `#${data.sequence[index]} of the journal`);
    pair(list, "time", moment(data.time[index]), data.meta.guest_ns === null ? "" : `, ${((data.time[index] + data.meta.guest_ns) / 1e9).toFixed(6)} s of the guest's clock`);
    pair(list, "kind", SORTS[data.sort[index]][0]);
    if (data.hasJob(index)) pair(list, "job", String(data.job[index]));
    const bytes = data.small.get(index);
    if (bytes) pair(list, "bytes", element("code", {}, bytes.match(/../g).join(" ")));
    const owner = data.owner[index];
    if (owner !== NONE) pair(list, data.sort[owner] === LENDS ? "lend" : "of", link(owner, name(data, owner)));
    const until = data.sort[index] === LENDS ? data.lends.until[index] : NONE;
    if (until !== NONE) pair(list, "until", link(until, name(data, until)));
    else if (data.sort[index] === LENDS) pair(list, "until", "the end: it was not taken back");
    return list;
  }

  function show(index, violation) {
    const wrong = violation ? [violation] : data.wrong.get(index) ?? [];
    const parts = [];
    for (const one of wrong) {
      const list = element("dl");
      for (const [term, what] of one.lines) pair(list, term, what);
      if (one.write !== null) pair(list, "", link(one.write, `to the register write, #${data.sequence[one.write]}`));
      parts.push(element("p", { class: `say ${one.hint ? "maybe-text" : "wrong-text"}` }, `${one.hint ? "Hint" : "Violation"} ${one.number}: ${one.title}`), list);
      if (one.address !== null) parts.push(...bytesOf(one.at, one.length), ...pictureOf(one));
    }
    if (index !== NONE) {
      parts.push(...wrong.length ? [head("Its first entry")] : [],
        element("p", { class: "say" }, `${who(data, index)} ${words(data, index)}`), entry(index), ...chainOf(index));
      const start = Number(big(data.address, index));
      if (!wrong.length && data.length[index]) parts.push(...bytesOf(start, data.length[index]));
      parts.push(...consoleAt(index));
    }
    body.replaceChildren(...parts);
    document.getElementById("detail").scrollTop = 0;
  }

  function nothing() {
    body.replaceChildren(element("p", { class: "dim" }, "Nothing yet. Choose a violation, an entry in its lane, a range of memory, or a row of the table."));
  }

  const holder = document.getElementById("logs");
  for (const log of logs) {
    holder.append(element("details", {}, element("summary", {}, `${log.name}, ${log.lines.length - 1} lines`), element("pre", { class: "log", tabindex: 0 }, log.lines.join("\n"))));
  }
  document.getElementById("console").hidden = !logs.length;
  return { show, nothing };
}
