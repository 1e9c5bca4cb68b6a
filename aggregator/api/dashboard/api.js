// What the aggregator serves, and when it has changed.

/** Longest silence before the page looks by itself, in milliseconds. */
const LOOK_EVERY = 5000;

/** Shortest time between two looks that events ask for, in milliseconds. */
const LOOK_APART = 500;

/** The interface's answer, or an error in its own words. */
export async function get(path) {
  const response = await ask(path);
  return response.json();
}

/** The bytes of an answer, of at most `most`. */
export async function bytes(path, most) {
  const response = await ask(path);
  const length = Number(response.headers.get("content-length"));
  if (length > most) throw new Error(`${length} bytes are more than the ${most} that this page reads`);
  return new Uint8Array(await response.arrayBuffer());
}

async function ask(path) {
  const response = await fetch(`/api/v1${path}`, { headers: { accept: "application/json" } });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the aggregator answered ${response.status}`);
}

/**
 * Calls `look` when something happened, and once in a while in any case; never twice at once. Returns what ends it.
 * `tell` hears whether the aggregator is there, and whether it tells its events.
 */
export function watch(look, tell) {
  let stopped = false, busy = false, again = false, last = 0, timer;
  const run = async () => {
    clearTimeout(timer);
    if (stopped) return;
    if (busy) { again = true; return; }
    busy = true;
    last = Date.now();
    try { await look(); tell({ here: true, live: events.readyState === EventSource.OPEN }); }
    catch (error) { tell({ here: false, error }); }
    busy = false;
    if (stopped) return;
    timer = setTimeout(run, again ? LOOK_APART : LOOK_EVERY);
    again = false;
  };
  const soon = () => {
    if (busy) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(0, last + LOOK_APART - Date.now()));
  };
  const events = new EventSource("/api/v1/events");
  // Every kind of event means the same here: look again.
  for (const kind of ["message", "job", "shard", "provider", "disagreement", "payment", "lost"]) events.addEventListener(kind, soon);
  events.addEventListener("error", () => {
    // An aggregator that serves no events is looked at by the clock.
    if (events.readyState === EventSource.CLOSED) events.close();
  });
  const seen = () => { if (!document.hidden) soon(); };
  document.addEventListener("visibilitychange", seen);
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
    events.close();
    document.removeEventListener("visibilitychange", seen);
  };
}
