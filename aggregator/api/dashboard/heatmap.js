// A job's shards as a field of cells: one each, or one for a run of neighbours where there are too many to see.

import { h } from "./dom.js";

/** What a shard can be, the one to look at first before the others. */
export const PHASES = [
  ["failed", "×", "the job ended without it"],
  ["undecided", "!", "answers did not agree; more were asked for"],
  ["contested", "≠", "accepted; a replica is out of line"],
  ["waiting", "·", "nobody executes it"],
  ["working", "…", "somebody executes it"],
  ["answered", "=", "answers are compared"],
  ["accepted", "✓", "accepted with one voice"],
];

/** Cells beyond which each is only a colour. */
const ROOMY = 400;

const size = (cell) => PHASES.reduce((all, [phase]) => all + cell[phase], 0);

/** What stands out in a cell. */
const worst = (cell) => PHASES.find(([phase]) => cell[phase] > 0) ?? PHASES[3];

function label(cell) {
  const shards = size(cell);
  const name = shards === 1 ? `shard ${cell.first}` : `shards ${cell.first} to ${cell.first + shards - 1}`;
  const parts = PHASES.filter(([phase]) => cell[phase] > 0);
  const words = parts.map(([phase]) => (shards === 1 ? phase : `${cell[phase]} ${phase}`));
  return `${name}: ${words.join(", ")}`;
}

/** The field. Arrow keys move in it, Enter chooses. `chosen` is the first shard of the chosen cell. */
export function heatmap(map, chosen, choose) {
  const dense = map.cells.length > ROOMY;
  const reachable = map.cells.some((cell) => cell.first === chosen) ? chosen : map.cells[0]?.first;
  const buttons = map.cells.map((cell) => {
    const [phase, glyph] = worst(cell);
    return h("button", {
      type: "button", class: phase, title: label(cell), "aria-label": label(cell), "data-key": `shard-${cell.first}`,
      "aria-pressed": cell.first === chosen ? "true" : "false",
      // One stop for the tabulator; arrows do the rest.
      tabindex: cell.first === reachable ? "0" : "-1",
      onclick: () => choose(cell.first),
    }, dense ? "" : glyph);
  });
  const field = h("div", { class: dense ? "map dense" : "map", role: "group", "aria-label": `${map.shards} shards` }, buttons);
  field.addEventListener("keydown", (event) => move(event, field, buttons));
  return field;
}

function move(event, field, buttons) {
  const at = buttons.indexOf(document.activeElement);
  if (at < 0) return;
  const columns = getComputedStyle(field).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: buttons.length - 1 - at };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)];
  buttons[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** What the colours mean, and how many shards have each. */
export function legend(map) {
  const counts = PHASES.map(([phase, glyph, meaning]) => {
    const count = map.cells.reduce((all, cell) => all + cell[phase], 0);
    return h("li", { title: meaning }, h("i", { class: phase, "aria-hidden": "true" }, glyph), `${count} ${phase}`);
  });
  return h("ul", { class: "legend", "aria-label": "Shards by state" }, counts);
}
