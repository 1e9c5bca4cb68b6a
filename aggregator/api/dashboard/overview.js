// The market at a glance.

import { get } from "./api.js";
import { badge, cards, h } from "./dom.js";
import { jobsTable } from "./jobs.js";
import { figures, holds } from "./money.js";

/** Jobs that are shown. */
const NEWEST = 12;

/** Jobs among which disagreements are looked for. */
const LOOKED_AT = 200;

export async function overview() {
  const [health, jobs, providers, balances] = await Promise.all([
    get("/health"), get(`/jobs?limit=${LOOKED_AT}`), get("/providers"), get("/ledger/balances"),
  ]);
  const online = providers.filter((provider) => provider.online);
  const banned = providers.filter((provider) => provider.banned);
  const disputed = jobs.filter((job) => job.disagreements > 0);
  const money = figures(balances);
  return [
    h("h1", {}, "Overview"),
    health.status === "ok" ? null : h("p", { class: "problem", role: "alert" }, health.status),
    cards([
      ["Open jobs", String(health.open_jobs)],
      ["Providers online", String(online.length), banned.length ? `${banned.length} banned` : `of ${providers.length}`],
      ["In escrow", money.escrow],
      ["Released to providers", money.released],
      ["Fees", money.fees],
      ["Slashed", money.slashed],
      ["Conservation", holds(balances) ? badge("debits = credits", "good") : badge("DOES NOT HOLD", "bad")],
      ["Jobs with disagreements", h("a", { href: "#/disagreements" }, String(disputed.length)), `of the newest ${jobs.length}`],
    ]),
    h("h2", {}, "Newest jobs"),
    jobsTable(jobs.slice(0, NEWEST), "The newest jobs"),
    jobs.length > NEWEST ? h("p", {}, h("a", { href: "#/jobs" }, "All jobs")) : null,
  ];
}
