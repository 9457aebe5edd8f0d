// SPDX-License-Identifier: MIT OR Apache-2.0
// All entries as a table, a part at a time; and what finds one by its words.

const PART = 60;
// Most entries that are looked at for words between two frames.
const BATCH = 40000;

function makeTable(data, onSelect) {
  const body = document.querySelector("#rows tbody");
  let from = 0, selected = NONE;

  function draw() {
    const to = Math.min(from + PART, data.count);
    const rows = [];
    for (let index = from; index < to; index++) {
      const wrong = data.wrong.get(index) ?? [];
      const said = words(data, index) + wrong.map((one) => ` ← ${one.hint ? "hint" : "violation"} ${one.number}: ${one.title}`).join("");
      rows.push(element("tr", { "aria-selected": index === selected ? "true" : "false", class: wrong.some((one) => !one.hint) ? "bad" : null, tabindex: 0, "data-index": index },
        element("td", { class: "number" }, `#${data.sequence[index]}`), element("td", { class: "number" }, moment(data.time[index])),
        element("td", {}, who(data, index)), element("td", {}, said)));
    }
    body.replaceChildren(...rows);
    const text = data.count ? `${(from + 1).toLocaleString("en")} to ${to.toLocaleString("en")} of ${data.count.toLocaleString("en")}` : "there are none";
    document.getElementById("page-range").textContent = text;
  }

  function show(index) {
    selected = index;
    if (index !== NONE && (index < from || index >= from + PART)) from = Math.max(0, Math.min(index - PART / 3 | 0, data.count - PART));
    draw();
    const row = body.querySelector('[aria-selected="true"]');
    // Within the table alone: the page stays where it is.
    if (row) {
      const box = row.closest(".scroll");
      box.scrollTop = Math.max(0, row.offsetTop - box.clientHeight / 2);
    }
  }

  const turn = (by) => {
    from = Math.max(0, Math.min(from + by * PART, data.count - PART));
    draw();
    body.closest(".scroll").scrollTop = 0;
  };
  const chosen = (event) => {
    const row = event.target.closest("tr[data-index]");
    if (row) onSelect(Number(row.dataset.index));
  };
  body.addEventListener("click", chosen);
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter") chosen(event);
    const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (next && event.target[next]) { event.preventDefault(); event.target[next].focus(); }
  });
  document.getElementById("page-before").addEventListener("click", () => turn(-1));
  document.getElementById("page-after").addEventListener("click", () => turn(1));

  // Goes to the next entry that has these words, from the selected one on, around the end.
  let searching = 0;
  async function find() {
    const wanted = document.getElementById("find").value.trim().toLowerCase();
    const mine = ++searching;
    if (!wanted || !data.count) return;
    const status = document.getElementById("page-range");
    const start = selected === NONE ? 0 : selected + 1;
    const number = /^#(\d+)$/.exec(wanted);
    if (number) {
      const place = lowerBound(data.count, Number(number[1]), (index) => data.sequence[index]);
      onSelect(Math.min(place, data.count - 1));
      return;
    }
    for (let step = 0; step < data.count; step++) {
      const index = (start + step) % data.count;
      if (`${who(data, index)} ${words(data, index)}`.toLowerCase().includes(wanted)) { onSelect(index); return; }
      if (step % BATCH === BATCH - 1) {
        status.textContent = `looking at ${index.toLocaleString("en")}…`;
        await new Promise((done) => setTimeout(done));
        if (mine !== searching) return;
      }
    }
    status.textContent = "no entry says so";
  }
  document.getElementById("find-next").addEventListener("click", find);
  document.getElementById("find").addEventListener("keydown", (event) => { if (event.key === "Enter") find(); });
  return { show, draw };
}
