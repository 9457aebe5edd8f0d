// SPDX-License-Identifier: MIT OR Apache-2.0
// Puts the parts of the page together.

function start(data) {
  const { meta } = data;
  const real = meta.violations.filter((one) => !one.hint);
  const byId = (id) => document.getElementById(id);
  byId("summary").className = real.length || meta.besides.length ? "wrong" : meta.not_judged.length || meta.violations.length ? "maybe" : "";
  const version = new Map(meta.versions);
  const facts = [["Landfall", version.get("landfall")], ["Linux", version.get("kernel")], ["QEMU", version.get("qemu")], ["seed", meta.seed],
    ["", `${data.count.toLocaleString("en")} entries`]];
  byId("facts").textContent = facts.filter(([, what]) => what !== undefined && what !== null).map(([what, is]) => `${what} ${is}`.trim()).join(" · ");

  let current = null;
  const timeline = makeTimeline(data, select);
  const memory = makeMemory(data, select, choose);
  const detail = makeDetail(data, select);
  const table = makeTable(data, select);

  const cards = meta.violations.map((violation) => {
    const what = violation.lines.find(([term]) => term === "what")?.[1] ?? "";
    return element("button", { type: "button", class: violation.hint ? "hint-one" : null, "aria-pressed": "false", onclick: () => choose(violation) },
      element("b", {}, `${violation.number} · ${violation.hint ? "hint: " : ""}${violation.title}`),
      element("span", {}, what), violation.address === null ? null : element("span", { class: "dim number" }, violation.address));
  });
  byId("violations").append(...cards.map((card) => element("li", {}, card)));
  const others = [...meta.not_judged.map((why) => `not judged: ${why}`), ...meta.besides];
  if (meta.untold) others.unshift(`${meta.untold} more violations are not on this page`);
  if (meta.partly) others.push("the card accessed more places than the map shows");
  byId("besides").append(...others.map((line) => element("li", {}, line)));
  byId("wrong").hidden = !cards.length && !others.length;
  if (!cards.length) byId("wrong-title").textContent = "What was said";

  function press(violation) {
    current = violation;
    cards.forEach((card, place) => card.setAttribute("aria-pressed", String(meta.violations[place] === violation)));
  }

  // Shows an entry everywhere.
  function select(index) {
    if (index === NONE || index >= data.count) return;
    press(data.wrong.get(index)?.[0] ?? null);
    timeline.select(index, false);
    detail.show(index, null);
    table.show(index);
    memory.moment(index);
    if (data.length[index] && (data.sort[index] <= FOR_DEVICE || data.sort[index] >= WRITES || data.sort[index] === BEGUN)) {
      memory.mark(Number(big(data.address, index)), data.length[index]);
    }
  }

  // Likewise a violation.
  function choose(violation) {
    const index = violation.entry ?? NONE;
    press(violation);
    timeline.select(index, true);
    detail.show(index, violation);
    table.show(index);
    memory.moment(index);
    if (violation.address !== null) {
      memory.mark(violation.at, Math.max(violation.length, 1));
      memory.around(violation.at, Math.max(violation.length * 4, 6 * PAGE));
    }
  }

  function next(by) {
    if (!meta.violations.length) return;
    const place = meta.violations.indexOf(current);
    const count = meta.violations.length;
    choose(meta.violations[place < 0 ? 0 : (place + by + count) % count]);
  }

  const axis = (order) => {
    byId("by-order").setAttribute("aria-pressed", String(order));
    byId("by-time").setAttribute("aria-pressed", String(!order));
    timeline.byAxis(order);
  };
  byId("by-order").addEventListener("click", () => axis(true));
  byId("by-time").addEventListener("click", () => axis(false));
  byId("time-in").addEventListener("click", () => timeline.zoom(2, middle()));
  byId("time-out").addEventListener("click", () => timeline.zoom(0.5, middle()));
  byId("time-all").addEventListener("click", () => timeline.show(...timeline.whole()));
  byId("time-here").addEventListener("click", () => timeline.reveal(timeline.state.selected));
  function middle() {
    const { state } = timeline;
    const here = state.selected === NONE ? NaN : state.order ? state.selected + 0.5 : data.time[state.selected];
    return here >= state.from && here <= state.to ? here : undefined;
  }
  const keys = {
    ArrowLeft: () => select(timeline.neighbour(-1, false)), ArrowRight: () => select(timeline.neighbour(1, false)),
    ArrowUp: () => select(timeline.neighbour(-1, true)), ArrowDown: () => select(timeline.neighbour(1, true)),
    "+": () => timeline.zoom(2, middle()), "=": () => timeline.zoom(2, middle()), "-": () => timeline.zoom(0.5, middle()),
    w: () => timeline.zoom(2, middle()), s: () => timeline.zoom(0.5, middle()), a: () => timeline.pan(-0.2), d: () => timeline.pan(0.2),
    0: () => timeline.show(...timeline.whole()), Home: () => select(0), End: () => select(data.count - 1),
    Enter: () => timeline.reveal(timeline.state.selected), n: () => next(1), p: () => next(-1),
  };
  byId("lanes").addEventListener("keydown", (event) => {
    const does = keys[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, #lanes");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "n" || event.key === "p") next(event.key === "n" ? 1 : -1);
  });

  const used = new Set(LANES.flatMap((lane) => lane.sorts).filter((sort) => data.series[sort].length));
  const inks = new Map();
  for (const sort of used) inks.set(SORTS[sort][1], [...inks.get(SORTS[sort][1]) ?? [], SORTS[sort][0]]);
  legend("legend", [...inks].map(([ink, names]) => [ink === "job" ? "jobs" : names.join(", "), ink]));

  const again = () => { timeline.restart(); memory.redraw(); };
  new ResizeObserver(again).observe(byId("main"));
  for (const query of ["(prefers-color-scheme: dark)", `(resolution: ${window.devicePixelRatio}dppx)`]) matchMedia(query).addEventListener("change", again);

  byId("main").hidden = false;
  detail.nothing();
  table.draw();
  timeline.draw();
  memory.draw();
  if (meta.iommu) byId("memory-title").textContent = "Memory, as the card sees it";
  if (meta.violations.length) choose(meta.violations[0]);
  else memory.lent();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

load().then(start).catch((error) => {
  const failed = document.getElementById("failed");
  failed.textContent = `This page cannot show its data: ${error}`;
  failed.hidden = false;
  throw error;
});
