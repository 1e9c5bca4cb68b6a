// What the aggregator serves, and when it has changed.

/** Longest silence before the page looks by itself, in milliseconds: where it is told of events, and where it is not. */
const LOOK_EVERY = { live: 30_000, deaf: 5_000 };

/** What happens, as the interface calls it. Every kind means the same here: look again. */
const EVENTS = [
  "job_phase", "shard_dispatched", "shard_committed", "shard_revealed", "shard_accepted", "shard_undecided", "disagreement",
  "payment", "provider_online", "provider_offline", "provider_banned", "lost",
];

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
    let live = events.readyState === EventSource.OPEN;
    try { await look(); tell({ here: true, live }); }
    catch (error) { live = false; tell({ here: false, error }); }
    busy = false;
    if (stopped) return;
    timer = setTimeout(run, again ? LOOK_APART : live ? LOOK_EVERY.live : LOOK_EVERY.deaf);
    again = false;
  };
  const soon = () => {
    if (busy) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(0, last + LOOK_APART - Date.now()));
  };
  const events = new EventSource("/api/v1/events");
  for (const kind of EVENTS) events.addEventListener(kind, soon);
  // Told or not, the page says so at once.
  for (const change of ["open", "error"]) events.addEventListener(change, soon);
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
