// Who executes.

import { get } from "./api.js";
import { badge, facts, h, table } from "./dom.js";
import { money, percent, short } from "./format.js";

const agreement = (provider) => {
  const judged = provider.agreements + provider.disagreements;
  return judged ? provider.agreements / judged : -1;
};

function standing(provider) {
  if (provider.banned) return badge("banned", "bad");
  if (!provider.eligible) return badge("demoted", "warn");
  return provider.online ? badge("online", "good") : badge("offline");
}

const COLUMNS = [
  { head: "Provider", sort: (provider) => provider.id, cell: (provider) =>
    h("a", { class: "mono", href: `#/providers/${provider.id}`, "data-key": `provider-${provider.id}` }, short(provider.id)) },
  { head: "Standing", sort: (provider) => [!provider.banned, provider.eligible, provider.online].join(), cell: standing },
  { head: "Device", sort: (provider) => provider.device.name, cell: (provider) => provider.device.name },
  { head: "Per 10⁹ fuel", number: true, sort: (provider) => Number(provider.price.per_gfuel), cell: (provider) => money(provider.price.per_gfuel) },
  { head: "Per device second", number: true, sort: (provider) => Number(provider.price.per_device_second), cell: (provider) => money(provider.price.per_device_second) },
  { head: "Reputation", number: true, sort: (provider) => provider.reputation_ppm, cell: (provider) => (provider.reputation_ppm / 1e6).toFixed(3) },
  { head: "Agreement", number: true, sort: agreement, cell: (provider) => percent(provider.agreements, provider.agreements + provider.disagreements) },
  { head: "Working on", number: true, sort: (provider) => provider.in_flight, cell: (provider) => String(provider.in_flight) },
  { head: "Failures", number: true, sort: (provider) => provider.failures, cell: (provider) => String(provider.failures) },
];

export async function providers(_, state) {
  const all = await get("/providers");
  const order = state.order ?? { at: 5, down: true };
  const key = COLUMNS[order.at].sort;
  const sign = order.down ? -1 : 1;
  const rows = [...all].sort((left, right) => (key(left) < key(right) ? -sign : key(left) > key(right) ? sign : 0));
  return [
    h("h1", {}, "Providers"),
    table({
      caption: `${all.length} providers, ${all.filter((provider) => provider.online).length} online`,
      empty: "No provider has announced itself. `assay provider start` makes one.", columns: COLUMNS, rows, order,
      onorder: (at) => state.set({ order: { at, down: order.at === at ? !order.down : true } }),
    }),
  ];
}

export async function provider(id) {
  const all = await get("/providers");
  const found = all.find((each) => each.id === id);
  if (!found) throw new Error(`the aggregator knows no provider ${id}`);
  return [
    h("h1", {}, "Provider ", h("span", { class: "mono" }, short(id)), " ", standing(found)),
    found.banned ? h("p", { class: "problem" }, `Banned: ${found.banned}`) : null,
    facts([
      ["Key", h("code", {}, found.id)],
      ["Operator", found.operator === found.id ? "itself" : h("code", {}, found.operator)],
      ["Network", h("code", {}, found.prefix)],
      ["Device", `${found.device.name} (${found.device.kind})`],
      ["Asks", `${money(found.price.per_gfuel)} for 10⁹ fuel, ${money(found.price.per_device_second)} for a second of the device`],
      ["Reputation", (found.reputation_ppm / 1e6).toFixed(6)],
      ["Answers", `${found.agreements} agreed, ${found.disagreements} out of line (${percent(found.agreements, found.agreements + found.disagreements)} agreement)`],
      ["Failures", String(found.failures)],
      ["Working on", `${found.in_flight} shards`],
      ["Audited", `${(found.audit_rate_ppb / 1e7).toFixed(1)} % of its answers; ${found.checks_passed} checks passed`],
      found.held_answers ? ["Held back", `${found.held_answers} answers, at most ${money(found.held_at_most)}`] : null,
      found.game_points === null ? null : ["Game", `${found.game_points} of 10,000 points in epoch ${found.game_epoch}; ${money(found.rewarded)} in rewards`],
      ["Execution class", h("code", {}, found.fingerprint)],
    ]),
  ];
}
