// How things are written for people.

/** Micro-units in a unit. */
const UNIT = 1_000_000n;

/** An amount as the interface writes it (`"1.250000"`) in micro-units. */
export function micros(text) {
  const [whole, part = ""] = String(text).split(".");
  return BigInt(whole) * UNIT + BigInt((part + "000000").slice(0, 6));
}

/** Micro-units as a person reads them: no zeros at the end. */
export function money(amount) {
  const value = typeof amount === "bigint" ? amount : micros(amount);
  const part = (value % UNIT).toString().padStart(6, "0").replace(/0+$/, "");
  return (value / UNIT).toLocaleString("en") + (part ? `.${part}` : "");
}

/** The sum of amounts, in micro-units. */
export function sum(amounts) {
  return amounts.reduce((total, amount) => total + micros(amount), 0n);
}

/** The first digits of an id or digest, which are enough to tell two apart by eye. */
export function short(id) {
  return String(id).replace(/^blake3:/, "").slice(0, 10);
}

/** Milliseconds since 1970 as a local time. */
export function time(ms) {
  return ms ? new Date(Number(ms)).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "medium" }) : "–";
}

/** A span of milliseconds. */
export function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** A part of a whole. */
export function percent(part, whole) {
  return whole ? `${((100 * part) / whole).toFixed(1)} %` : "–";
}
