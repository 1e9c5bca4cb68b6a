// The page: which view the address names, and when it is drawn anew.

import { get, watch } from "./api.js";
import { h, put } from "./dom.js";
import { short } from "./format.js";
import { disagreements, job, jobs } from "./jobs.js";
import { money } from "./money.js";
import { overview } from "./overview.js";
import { provider, providers } from "./providers.js";

const ROUTES = [
  [/^#?\/?$/, overview, "Overview"],
  [/^#\/jobs$/, jobs, "Jobs"],
  [/^#\/jobs\/(blake3:[0-9a-f]{64})$/, job, "Job"],
  [/^#\/disagreements$/, disagreements, "Disagreements"],
  [/^#\/providers$/, providers, "Providers"],
  [/^#\/providers\/([0-9a-f]{64})$/, provider, "Provider"],
  [/^#\/money$/, money, "Money"],
];

const place = document.getElementById("view");
const link = document.getElementById("link");
let stop = () => {};

function open() {
  stop();
  const address = location.hash;
  const [pattern, view, title] = ROUTES.find(([each]) => each.test(address)) ?? [/^/, missing, "Not found"];
  const [, argument] = pattern.exec(address) ?? [];
  document.title = `${title} · Assay`;
  for (const each of document.querySelectorAll("nav a")) {
    const at = each.getAttribute("href");
    const here = at === "#/" ? title === "Overview" : address.startsWith(at);
    if (here) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  let live = true;
  // What a person chose in this view; it outlives drawing the view anew.
  const state = { set(change) { Object.assign(state, change); draw().catch(fail); } };
  const draw = async () => {
    const content = await view(argument, state);
    if (live) put(place, content);
  };
  const end = watch(draw, ({ here, live: told, error }) => {
    if (!live) return;
    link.className = here ? "" : "off";
    const words = here ? (told ? "live" : "looked at every 5 s") : error.message;
    if (link.textContent !== words) link.textContent = words;
    if (!here && !place.querySelector("h1")) fail(error);
  });
  stop = () => { live = false; end(); };
}

const fail = (error) => put(place, h("p", { class: "problem", role: "alert" }, error.message));

const missing = () => [h("h1", {}, "Not found"), h("p", {}, h("a", { href: "#/" }, "To the overview"))];

/** Light or dark: what was chosen here, else what the system prefers. */
function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const apply = () => {
    const chosen = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = chosen;
    button.textContent = chosen === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use the ${chosen === "dark" ? "light" : "dark"} theme`);
  };
  button.addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

theme();
addEventListener("hashchange", () => { open(); place.focus(); });
open();
get("/health").then((health) => {
  document.getElementById("about").textContent = `Aggregator ${short(health.aggregator)}, version ${health.version}, at ${health.p2p[0] ?? "no address"}`;
}).catch(() => {});
