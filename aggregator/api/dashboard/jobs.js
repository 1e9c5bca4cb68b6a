// Jobs, and one job with its shards, its money and its record.

import { bytes, get } from "./api.js";
import { badge, facts, h, put, shape, table } from "./dom.js";
import { micros, money, percent, short, span, sum, time } from "./format.js";
import { heatmap, legend } from "./heatmap.js";
import { able, verify } from "./verify.js";

/** Jobs in a list. */
const LISTED = 500;

/** Largest result that the page fetches to check it, in bytes. */
const RESULT_MAX = 64 * 1024 * 1024;

/** Largest record that the page fetches, in bytes. */
const RECORD_MAX = 64 * 1024 * 1024;

const MOODS = { done: "good", failed: "bad", provisional: "warn", running: "busy", merging: "busy", waiting: "" };

const phase = (job) => badge(job.phase, MOODS[job.phase]);

const link = (job) => h("a", { href: `#/jobs/${job.id}`, "data-key": `job-${job.id}` }, job.name || "unnamed", " ",
  h("span", { class: "quiet mono" }, short(job.id)));

/** A list of jobs. */
export function jobsTable(jobs, caption) {
  return table({
    caption, rows: jobs, empty: "There is no job yet. `assay job submit` makes one.",
    columns: [
      { head: "Job", cell: link },
      { head: "Phase", cell: phase },
      { head: "Shards accepted", cell: (job) => [
        h("progress", { max: job.shards || 1, value: job.shards_accepted, "aria-label": `${job.shards_accepted} of ${job.shards} shards` }),
        ` ${job.shards_accepted}/${job.shards}`] },
      { head: "Agreed", number: true, cell: (job) => String(job.agreements) },
      { head: "Out of line", number: true, cell: (job) => (job.disagreements ? badge(String(job.disagreements), "bad") : "0") },
      { head: "Escrowed", number: true, cell: (job) => money(job.escrowed) },
      { head: "Paid", number: true, cell: (job) => money(sum(job.paid.map(([, amount]) => amount))) },
      { head: "Submitted", cell: (job) => time(job.submitted) },
    ],
  });
}

export async function jobs(_, state) {
  const all = await get(`/jobs?limit=${LISTED}`);
  const only = state.phase ?? "";
  const shown = only ? all.filter((job) => job.phase === only) : all;
  const choice = h("select", { id: "phase", "data-key": "phase", onchange: (event) => state.set({ phase: event.target.value }) },
    ["", ...Object.keys(MOODS)].map((name) => h("option", { value: name, selected: name === only }, name || "all")));
  return [
    h("h1", {}, "Jobs"),
    h("div", { class: "tools" }, h("label", { for: "phase" }, "Show"), choice, h("span", { class: "quiet" }, `${shown.length} of the newest ${all.length}`)),
    jobsTable(shown, "Jobs, the newest first"),
  ];
}

export async function disagreements() {
  const all = await get(`/jobs?limit=${LISTED}`);
  const disputed = all.filter((job) => job.disagreements > 0);
  return [
    h("h1", {}, "Disagreements"),
    h("p", { class: "quiet" }, "Jobs in which a replica answered otherwise than those that agreed. It is not paid and loses reputation. ",
      "A job's page shows which shards, and who, once it has ended."),
    disputed.length ? jobsTable(disputed, `Jobs with disagreements among the newest ${all.length}`)
      : h("p", {}, badge("none", "good"), ` Every replica of the newest ${all.length} jobs agreed.`),
  ];
}

export async function job(id, state) {
  const [view, map] = await Promise.all([get(`/jobs/${id}`), get(`/jobs/${id}/shards`).catch(() => null)]);
  const chosen = state.shard;
  const shard = map && chosen !== undefined ? await get(`/jobs/${id}/shards/${chosen}`) : null;
  return [
    h("h1", {}, view.name || "Job", " ", phase(view)),
    view.reason ? h("p", { class: "problem" }, view.reason) : null,
    facts([
      ["Job", h("code", {}, view.id)],
      ["Client", h("code", {}, view.client)],
      ["Input", `${view.items} items in ${view.shards} shards`],
      ["Submitted", time(view.submitted)],
      view.finished ? ["Took", span(view.finished - view.submitted)] : null,
      ["Replicas", `${view.assignments} assigned, ${view.replicas} answered, ${view.agreements} agreed, ${view.disagreements} out of line (${percent(view.disagreements, view.agreements + view.disagreements)})`],
    ]),
    h("h2", {}, "Shards"),
    map ? h("div", { class: "split" },
      h("div", {}, heatmap(map, chosen, (first) => state.set({ shard: first })), legend(map)),
      shard ? detail(shard) : h("p", { class: "quiet" }, "Choose a shard to see its replicas."))
      : h("p", { class: "quiet" }, "This job ended long ago: what is left of it is its record."),
    h("h2", {}, "Money"),
    purse(view),
    view.phase === "done" ? proof(view, state) : null,
  ];
}

function detail(shard) {
  const replicas = table({
    caption: `Replicas of shard ${shard.index}`, rows: shard.replicas, empty: "Nobody was asked yet.",
    columns: [
      { head: "Provider", cell: ({ provider, check }) => [
        provider ? h("a", { class: "mono", href: `#/providers/${provider}` }, short(provider)) : h("span", { class: "quiet" }, "shown at the end"),
        check ? " (check)" : ""] },
      { head: "State", cell: ({ state, standing }) => badge(standing ?? state, standing === "agreed" ? "good" : standing === "outvoted" || standing === "failed" ? "bad" : "") },
      { head: "Why", cell: ({ reason }) => reason ?? "" },
      { head: "Committed after", number: true, cell: ({ dispatched, committed }) => (committed ? span(committed - dispatched) : "–") },
      { head: "Paid", number: true, cell: ({ paid }) => (paid === null ? "–" : money(paid)) },
    ],
  });
  return h("section", { class: "panel", "aria-live": "polite" }, h("h3", {}, `Shard ${shard.index}: ${shard.phase}`),
    h("p", { class: "quiet" }, `items ${shard.first_item} to ${shard.first_item + shard.items - 1}`), replicas);
}

/** Where a job's escrow went. */
function purse(view) {
  const paid = sum(view.paid.map(([, amount]) => amount));
  const parts = [
    ["paid", "to providers", paid], ["fee", "fee", micros(view.fee)],
    ["returned", "returned", micros(view.returned)], ["held", "in escrow now", micros(view.escrow_left)],
  ];
  const whole = micros(view.escrowed);
  let at = 0;
  const fills = parts.map(([name, , amount]) => {
    const width = whole ? Number((amount * 100_000n) / whole) / 1000 : 0;
    at += width;
    return shape("rect", { class: `fill-${name}`, x: String(at - width), width: String(width), height: "10" });
  });
  const words = parts.filter(([, , amount]) => amount > 0n).map(([, word, amount]) => `${money(amount)} ${word}`);
  return h("div", { class: "panel" },
    h("div", { class: "bar", role: "img", "aria-label": `Of ${money(whole)} escrowed: ${words.join(", ")}` },
      shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" }, ...fills)),
    h("p", {}, `Of ${money(whole)} escrowed: ${words.join(", ")}.`),
    facts(view.paid.map(([provider, amount]) => [h("a", { class: "mono", href: `#/providers/${provider}` }, short(provider)), money(amount)])));
}

/** The record, and a button that checks it here. What it found, and finds, stays where it is while the rest is renewed. */
function proof(view, state) {
  state.proof ??= { list: h("ul", { class: "checks" }), verdict: h("p", { class: "verdict", role: "status" }) };
  const { list, verdict } = state.proof;
  const show = ({ what, holds, why }) =>
    list.append(h("li", { class: holds === null ? "unknown" : holds ? "holds" : "fails" }, what, why ? h("span", { class: "quiet" }, ` (${why})`) : null));
  const judge = (sound) => {
    verdict.className = `verdict ${sound ? "good" : "bad"}`;
    verdict.textContent = sound ? "This record checks out." : "This record does NOT check out.";
  };
  const run = async () => {
    list.replaceChildren();
    verdict.textContent = "";
    const unable = await able();
    if (unable) return show({ what: "Nothing was checked", holds: null, why: unable });
    try {
      const record = JSON.parse(new TextDecoder().decode(await bytes(`/jobs/${view.id}/record`, RECORD_MAX)));
      judge(await verify(record, view.id, () => bytes(`/jobs/${view.id}/result`, RESULT_MAX), show));
    } catch (error) {
      show({ what: "The record can be read", holds: false, why: error.message });
      judge(false);
    }
  };
  return [
    h("h2", {}, "Record"),
    h("div", { class: "panel" },
      h("p", {}, "The signed record of what ran, who agreed and who was paid. ",
        h("a", { href: `/api/v1/jobs/${view.id}/record`, download: `record-${short(view.id)}.json` }, "Download the record"), ", ",
        h("a", { href: `/api/v1/jobs/${view.id}/result`, download: `result-${short(view.id)}` }, "the result"), "."),
      h("button", { type: "button", "data-key": "verify", onclick: run }, "Verify in this page"), verdict, list,
      h("p", { class: "quiet" }, "A page that the aggregator serves is the aggregator's word in the end. ",
        h("code", {}, "assay job results"), " and ", h("code", {}, "assay receipt verify"),
        " check the same with a program of your own, and also every replica's outputs and the audits that were drawn.")),
  ];
}
