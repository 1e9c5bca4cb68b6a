// Elements without a framework. Text is always text: nothing here parses markup, so that a job's name cannot be a script.

/** An element with attributes, listeners (`on…`) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A shape of a drawing. */
export function shape(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** Replaces what is in a place, and leaves the keyboard where it was if the same thing is there again. */
export function put(place, ...children) {
  const active = document.activeElement;
  const key = place.contains(active) ? active.dataset.key : undefined;
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (key) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/** A table whose columns are `{ head, cell(row), number?, sort?(row) }`. The first column heads its row. */
export function table({ caption, columns, rows, empty, order, onorder }) {
  if (rows.length === 0) return h("p", { class: "quiet" }, empty);
  const head = columns.map((column, at) => {
    const sorted = order && order.at === at ? (order.down ? "descending" : "ascending") : null;
    const label = column.sort && onorder
      ? h("button", { type: "button", "data-key": `sort-${at}`, onclick: () => onorder(at) }, column.head)
      : column.head;
    return h("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": sorted }, label);
  });
  const body = rows.map((row) => h("tr", {}, columns.map((column, at) => {
    const kind = at === 0 ? "th" : "td";
    return h(kind, { scope: at === 0 ? "row" : null, class: column.number ? "number" : null }, column.cell(row));
  })));
  // A table wider than the screen is scrolled by keyboard too.
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** Names and values. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** Figures at a glance. */
export function cards(pairs) {
  return h("div", { class: "cards" }, pairs.filter(Boolean).map(([name, value, note]) =>
    h("dl", { class: "card" }, h("dt", {}, name), h("dd", {}, value, note ? [" ", h("small", {}, note)] : null))));
}

/** A word with a colour that repeats what the word says. */
export function badge(word, mood = "") {
  return h("span", { class: `badge ${mood}` }, word);
}
