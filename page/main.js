// The page: keeps the view, asks for what it needs, and shows that again whenever one of them has changed.

import { read, write, DEFAULTS } from "/page/address.js";
import { Answers, Refused, Unreachable, ask, address } from "/page/api.js";
import { campaign } from "/page/campaign.js";
import { listen } from "/page/charts.js";
import { el, morph } from "/page/dom.js";
import { denied, entry } from "/page/entry.js";
import { freshness, health } from "/page/health.js";
import * as key from "/page/key.js";
import { Live } from "/page/live.js";
import { COLUMNS, FIRST_ROWS, overview } from "/page/overview.js";
import { button, choice, problem } from "/page/parts.js";
import { HERE, PERIODS, dayOf, days } from "/page/period.js";
import { STATUSES, workspace } from "/page/questions.js";
import { more, why } from "/page/why.js";

key.takeFromAddress();

const root = document.getElementById("page"), dialog = /** @type {HTMLDialogElement} */ (document.getElementById("why")), spoken = document.getElementById("spoken");
const tip = document.body.appendChild(el("div", { class: "tip", hidden: true }));
const answers = new Answers(() => schedule());
const live = new Live({ moved: (first) => void renew(first), said: () => schedule(), ended: (error) => end(error) });
let view = read(), me = null, features = null, refused = null, unreachable = false, most = FIRST_ROWS, flash = false, endedAt = 0;

view.zone ||= HERE; // in the address, as a day is another one elsewhere

const MARKED_MS = 2_500;
const ZONES = [...new Set([HERE, "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])])];
const ZONE_CHOICES = ZONES.map((each) => [each, each.replaceAll("_", " ")]);

// What this version of the service can do, by its own description; what it can't is not shown.
function can(path, parameter = "", word = "") {
  const of = Object.entries(features?.paths ?? {}).find(([each]) => each.endsWith(`/${path}`))?.[1].get;
  if (!of || !parameter) return Boolean(of);
  const found = of.parameters.find((each) => each.name === parameter);
  return Boolean(found) && (!word || found.schema.enum?.includes(word));
}

// The instant at which a day of a zone ends.
function endOf(day, zone) {
  let at = Date.parse(`${day}T23:59:59.999Z`);
  for (let i = 0; i < 2; i += 1) {
    const parts = Object.fromEntries(new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(at).map((part) => [part.type, Number(part.value)]));
    const wall = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second, 999);
    at += Date.parse(`${day}T23:59:59.999Z`) - wall;
  }
  return new Date(at).toISOString();
}

function context() {
  const zone = ZONES.includes(view.zone) ? view.zone : HERE;
  const today = dayOf(new Date(), zone), asked = workspace(view, me);
  const asOf = view.as_of && view.as_of < today && asked !== "ALL" && can("summary/", "as_of") ? endOf(view.as_of, zone) : "";
  return { view, me, answers, live, zone, today, workspace: asked, range: days({ ...view, zone }), asOf, can, most, unreachable };
}

function page() {
  if (refused?.status === 401) return [entry(refused.message)];
  if (me === null) return [el("main", { id: "content", "data-key": "content" }, unreachable ? problem(new Unreachable("The service can't be reached.")) : el("p", { class: "loading" }, "Loading …"))];
  const ctx = context();
  const content = refused ? denied(me, ctx.workspace, refused.details)
    : !ctx.workspace ? denied(me, "", [])
    : view.period === "own" && !ctx.range ? el("p", { class: "empty", "data-key": "own" }, "Choose the first and the last day.")
    : view.campaign ? campaign(ctx) : [overview(ctx), health(ctx)];
  return [header(ctx), el("main", { id: "content", "data-key": "content", tabindex: "-1" }, content), el("footer", { "data-key": "footer" }, el("a", { href: "/docs/" }, "API"))];
}

function header(ctx) {
  const fresh = freshness(ctx);
  const workspaces = [...me.workspaces.map((each) => [String(each.id), each.name]), ...(me.workspaces.length > 1 ? [["ALL", "All workspaces"]] : [])];
  if (ctx.workspace && !workspaces.some(([id]) => id === ctx.workspace)) workspaces.push([ctx.workspace, `Workspace ${ctx.workspace}`]);
  return el("header", { "data-key": "header" },
    el("div", { class: "line" }, el("h1", {}, "Outreach"),
      el("p", { class: `fresh ${fresh.kind}`, id: "fresh" }, el("span", { class: "light", "aria-hidden": "true" }), fresh.text),
      el("p", { class: "who" }, el("span", { title: "Who you are" }, me.user), key.current() !== null && button("Sign out", "out", {}, { class: "quiet" }))),
    el("div", { class: "line controls", role: "group", "aria-label": "What is shown" },
      choice("Workspace", "workspace", ctx.workspace, workspaces),
      choice("Period", "period", view.period, Object.entries(PERIODS)),
      view.period === "own" && [["From", "from"], ["to", "to"]].map(([label, name]) => el("label", { class: "choice", "data-key": name }, el("span", {}, label), el("input", { type: "date", "data-set": name, "data-value": view[name], value: view[name], min: "1970-01-01", max: "2999-12-31" }))),
      choice("Time zone", "zone", ctx.zone, ZONE_CHOICES),
      !view.campaign && choice("Status", "status", view.status, [["", "Any status"], ...STATUSES.map((each) => [each, each.toLowerCase()])])));
}

let due = 0;
function schedule() {
  due ||= requestAnimationFrame(() => {
    due = 0;
    render();
  });
}

function render() {
  answers.begin();
  const marked = flash ? (element) => {
    element.setAttribute("data-changed", "");
    setTimeout(() => element.removeAttribute("data-changed"), MARKED_MS);
  } : null;
  morph(root, el("div", { id: "page" }, page()), marked);
  const asks = me !== null && !refused && view.why !== "";
  if (asks) {
    morph(dialog, el("dialog", { id: "why", "aria-labelledby": "why-title" }, why(context())), null);
    if (!dialog.open) dialog.showModal();
  } else {
    if (dialog.open) dialog.close();
    dialog.replaceChildren();
  }
  document.title = me === null || refused ? "Outreach" : `Outreach – ${me.workspaces.find((each) => String(each.id) === workspace(view, me))?.name ?? "all workspaces"}`;
  const wrong = [...answers.used].map((url) => answers.kept.get(url)?.error).find((error) => error instanceof Refused && (error.status === 401 || error.status === 403));
  if (wrong && !refused) end(wrong);
  const away = [...answers.used].some((url) => answers.kept.get(url)?.error instanceof Unreachable);
  if (me !== null && away !== unreachable) {
    unreachable = away;
    live.since = Date.now();
    schedule();
  }
}

// Asks everything that is shown again, one time after another however often something moves.
let renewing = false, again = false;
async function renew(quiet = false) {
  again = true;
  if (renewing || me === null || refused) return;
  renewing = true;
  while (again && !refused) {
    again = false;
    if (document.hidden) break;
    flash = !quiet;
    if (await answers.refresh()) {
      render();
      if (!quiet) spoken.textContent = "The numbers have changed.";
    }
    setTimeout(() => { flash = false; }, 0);
  }
  renewing = false;
}

// The service no longer lets this reader see what was asked: nothing of it stays on the page.
function end(error) {
  if (error.status !== 401 && error.status !== 403) return;
  const expired = ["Invalid API key", "Invalid session", "Session expired", "Authentication required"].includes(error.message);
  live.stop();
  answers.clear();
  if (expired) {
    refused = new Refused(401, error.message, [], 0);
    key.forget();
    me = null;
    view.why = "";
    schedule();
  } else void begin(error);
}

/** Learn who is asking; `wrong` is why that has to be learnt again. */
async function begin(wrong = null) {
  refused = null;
  unreachable = false;
  schedule();
  try {
    me = await (await ask(address("me/"))).json();
  } catch (error) {
    me = null;
    if (error instanceof Refused && error.status === 401) {
      refused = error;
      key.forget();
    } else if (error instanceof Unreachable) {
      unreachable = true;
      setTimeout(() => void (unreachable && begin()), 2_000);
    } else if (error instanceof Refused) refused = new Refused(401, error.message, error.details, 0);
    schedule();
    return;
  }
  const asked = workspace(view, me);
  view.workspace = asked; // so that the address shows the same to whoever it is shared with
  write(view, false);
  const mine = asked === "ALL" || me.workspaces.some((each) => String(each.id) === asked);
  const repeated = Date.now() - endedAt < 2_000;
  endedAt = wrong ? Date.now() : 0;
  if (wrong && (!mine || wrong.details.length || repeated)) refused = wrong;
  else if (asked) live.follow(asked);
  schedule();
  if (features === null) {
    try {
      features = await (await fetch("/openapi.json")).json();
    } catch {
      features = {}; // then only what every version has is shown
    }
    schedule();
  }
}

function set(changes, step = true) {
  Object.assign(view, changes);
  write(view, step);
  flash = false;
  follow();
}

/** Follow the workspace of the view; one that was denied may be another one by now. */
function follow() {
  if (me !== null) {
    if (refused && workspace(view, me) !== live.workspace) refused = null;
    const asked = workspace(view, me);
    if (asked && !refused) live.follow(asked);
  }
  schedule();
}

const DO = {
  set: ({ name, value }) => set({ [name]: value }),
  why: ({ why: metric, campaign: id, workspace: of, from, to, dated }) => set({ why: metric, why_campaign: id ?? "", why_workspace: of ?? "", why_from: from ?? "", why_to: to ?? "", why_dated: dated ?? "" }),
  "why-up": () => set({ why_campaign: "", why_workspace: "" }),
  close: () => set({ why: "", why_campaign: "", why_workspace: "", why_from: "", why_to: "", why_dated: "" }),
  open: ({ campaign: id, workspace: of }) => {
    set({ campaign: id, workspace: of });
    scrollTo(0, 0);
    root.querySelector("main")?.focus();
  },
  "back-to-all": () => set({ campaign: "", dated: "", part: "" }),
  sort: ({ by, first }) => (most = FIRST_ROWS) && set({ sort: view.sort.replace(/^-/, "") === by ? (view.sort.startsWith("-") ? by : `-${by}`) : first + by }),
  more: ({ id, cursor }) => {
    more(id, cursor);
    schedule();
  },
  "more-rows": () => {
    most += FIRST_ROWS;
    schedule();
  },
  again: () => {
    answers.clear();
    void begin();
  },
  out: () => {
    key.forget();
    live.stop();
    answers.clear();
    me = null;
    view = { ...DEFAULTS, zone: HERE };
    write(view, false);
    refused = new Refused(401, "You are signed out.", [], 0);
    schedule();
  },
  csv: async ({ path, query, name }) => {
    try {
      const response = await ask(address(path, { ...JSON.parse(query), format: "csv", bom: can(path.split("/").at(-2) + "/", "bom") ? "1" : "" }));
      const link = /** @type {HTMLAnchorElement} */ (el("a", { href: URL.createObjectURL(await response.blob()), download: `${name}.csv` }));
      link.click();
      URL.revokeObjectURL(link.href);
      spoken.textContent = "Saved.";
    } catch (error) {
      spoken.textContent = `Not saved: ${error.message}`;
    }
  },
};

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const at = /** @type {HTMLElement | null} */ (target.closest?.("[data-do]"));
  if (at) void DO[at.dataset.do]?.({ ...at.dataset });
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.removeAttribute("open");
});
document.addEventListener("change", (event) => {
  const target = /** @type {HTMLInputElement} */ (event.target);
  if (target.dataset.set) set({ [target.dataset.set]: target.value, ...(target.dataset.set === "workspace" ? { campaign: "" } : {}) });
  if (target.dataset.column) {
    const chosen = [...document.querySelectorAll("[data-column]:checked")].map((each) => each.getAttribute("data-column")).join(",");
    set({ rows: chosen === COLUMNS.join(",") ? "" : chosen });
  }
});
document.addEventListener("input", (event) => {
  const { dataset, value } = /** @type {HTMLInputElement} */ (event.target);
  if (dataset.typed) set({ [dataset.typed]: value }, false);
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target), given = String(new FormData(form).get("key")).trim();
  form.reset();
  key.keep(given);
  void begin();
});
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  DO.close();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) DO.close();
});
addEventListener("popstate", () => {
  view = read();
  follow();
});
addEventListener("hashchange", () => {
  const shown = key.current();
  key.takeFromAddress();
  if (key.current() !== shown) DO.again();
});
addEventListener("resize", () => schedule());
addEventListener("online", () => void renew(true));
setInterval(() => me !== null && schedule(), 5_000); // a day may end, and a state may last

listen(document, tip, (text) => { spoken.textContent = text; });
write(view, false);
void begin();
