// The money, and whether it adds up.

import { get } from "./api.js";
import { badge, cards, facts, h, put, table } from "./dom.js";
import { micros, money as amount, short } from "./format.js";

const KINDS = {
  client: "Clients' free money", escrow: "In escrow", provider: "Providers' earnings", stake: "Stakes",
  fee: "Fees", slashed: "Slashed", rewards: "Pot for rewards", outside: "Outside",
};

const kind = (balance) => balance.account.split(":")[0];

const posted = (balance) => micros(balance.credits) - micros(balance.debits);

const total = (balances, name, of) => balances.filter((balance) => kind(balance) === name).reduce((all, balance) => all + of(balance), 0n);

/** Sums that the overview shows. */
export function figures(balances) {
  return {
    escrow: amount(total(balances, "escrow", posted)),
    released: amount(total(balances, "provider", (balance) => micros(balance.credits))),
    fees: amount(total(balances, "fee", posted)),
    slashed: amount(total(balances, "slashed", posted)),
  };
}

/** Whether every credit has its debit, and no account but the outside is below zero. */
export function holds(balances) {
  const debits = balances.reduce((all, balance) => all + micros(balance.debits), 0n);
  const credits = balances.reduce((all, balance) => all + micros(balance.credits), 0n);
  return debits === credits && balances.every((balance) => kind(balance) === "outside" || posted(balance) >= micros(balance.pending));
}

/** An account's name with a short id. */
function name({ account }) {
  const [of, ...id] = account.split(":");
  return id.length ? [`${of} `, h("span", { class: "mono", title: id.join(":") }, short(id.join(":")))] : of;
}

const signed = (value) => (value < 0n ? `−${amount(-value)}` : amount(value));

export async function money(_, state) {
  const balances = await get("/ledger/balances");
  const debits = balances.reduce((all, balance) => all + micros(balance.debits), 0n);
  const only = state.kind ?? "";
  const shown = balances.filter((balance) => !only || kind(balance) === only);
  const report = h("div", { role: "status" }, state.report ?? null);
  const audit = async () => {
    put(report, h("p", { class: "quiet" }, "The whole journal is read."));
    try {
      const found = await get("/ledger/audit");
      state.report = [h("p", {}, found.clean ? badge("the journal is clean", "good") : badge("the journal does NOT hold", "bad")),
        facts([
          ["Entries read", String(found.entries)], ["Accounts", String(found.accounts)],
          ["Debits = credits", `${amount(found.debits_posted)} = ${amount(found.credits_posted)}`],
          ["Came in, went out", `${amount(found.deposited)}, ${amount(found.withdrawn)}`],
          ["Reserved", `${amount(found.reserved)} in ${found.open_pendings} reservations`],
          ["The chain ends at", h("code", {}, `${found.derived_head.seq} ${found.derived_head.hash}`)],
        ]),
        found.findings.map((finding) => h("p", { class: "problem" }, JSON.stringify(finding)))];
    } catch (error) { state.report = h("p", { class: "problem" }, error.message); }
    put(report, state.report);
  };
  const choice = h("select", { id: "kind", "data-key": "kind", onchange: (event) => state.set({ kind: event.target.value }) },
    ["", ...Object.keys(KINDS)].map((each) => h("option", { value: each, selected: each === only }, each || "all")));
  return [
    h("h1", {}, "Money"),
    cards([
      ...Object.entries(KINDS).map(([each, words]) => [words, signed(total(balances, each, posted))]),
      ["Conservation", holds(balances) ? badge("debits = credits", "good") : badge("DOES NOT HOLD", "bad"), amount(debits)],
    ]),
    h("h2", {}, "Journal"),
    h("div", { class: "panel" },
      h("p", {}, "The sums above are added up in this page. The audit reads the journal's hash chain from its first entry and derives every balance anew."),
      h("button", { type: "button", "data-key": "audit", onclick: audit }, "Audit the journal"), report),
    h("h2", {}, "Accounts"),
    h("div", { class: "tools" }, h("label", { for: "kind" }, "Show"), choice),
    table({
      caption: `${shown.length} accounts`, rows: shown, empty: "No account was ever touched.",
      columns: [
        { head: "Account", cell: name },
        { head: "Balance", number: true, cell: (balance) => signed(posted(balance)) },
        { head: "Reserved", number: true, cell: (balance) => amount(balance.pending) },
        { head: "Credits", number: true, cell: (balance) => amount(balance.credits) },
        { head: "Debits", number: true, cell: (balance) => amount(balance.debits) },
      ],
    }),
  ];
}
