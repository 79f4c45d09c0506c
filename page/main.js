// The page: keeps the view, asks for what it needs, and draws when one of them has changed.

import { read, write, DEFAULTS } from "./address.js";
import { Answers, Refused, Unreachable, address, ask, isAway } from "./api.js";
import { campaign } from "./campaign.js";
import { listen } from "./charts.js";
import { el, morph } from "./dom.js";
import { denied, entry } from "./entry.js";
import { NAMES, dates } from "./format.js";
import { freshness, health } from "./health.js";
import * as key from "./key.js";
import { Live } from "./live.js";
import { COLUMNS, FIRST_ROWS, overview } from "./overview.js";
import { QUIET, button, choice, problem } from "./parts.js";
import { HERE, PERIODS, dayOf, days } from "./period.js";
import { STATUSES, workspace } from "./questions.js";
import { watch } from "./trends.js";
import { more, why } from "./why.js";

key.takeFromAddress();

const root = document.getElementById("page"), dialog = /** @type {any} */ (document.getElementById("why")), spoken = document.getElementById("spoken");
const tip = document.body.appendChild(el("div.tip", { hidden: true }));
const answers = new Answers(() => schedule());
const live = new Live({ moved: (first) => void renew(first), said: () => schedule(), ended: (error) => end(error) });
let view = read(), me = null, features = null, refused = null, unreachable = false, most = FIRST_ROWS, flash = false, endedAt = 0;

view.zone ||= HERE; // a day is another one elsewhere

const observe = watch(root, () => schedule());
const ZONES = [...new Set([HERE, "UTC", ...Intl.supportedValuesOf("timeZone")])], ZONE_CHOICES = ZONES.map((each) => [each, each.replaceAll("_", " ")]);

// What this version of the service can do, by its own description.
function can(path, parameter = "", word = "") {
	const of = Object.entries(features?.paths ?? {}).find(([each]) => each.endsWith(`/${path}`))?.[1].get;
	if (!of || !parameter) return Boolean(of);
	const found = of.parameters.find((each) => each.name === parameter);
	return Boolean(found) && (!word || found.schema.enum?.includes(word));
}

// The instant at which a day of a zone ends, by the zone's offset then.
function endOf(day, zone) {
	let end = `${day}T23:59:59.999Z`;
	for (const _ of "12") end = `${end.slice(0, 23)}${dates("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(Date.parse(end)).at(-1).value.slice(3) || "Z"}`;
	return new Date(end).toISOString();
}

function context() {
	const zone = ZONES.includes(view.zone) ? view.zone : HERE;
	const today = dayOf(new Date(), zone), asked = workspace(view, me);
	const asOf = view.as_of && view.as_of < today && asked !== "ALL" && can("summary/", "as_of") ? endOf(view.as_of, zone) : "";
	return { view, me, answers, live, zone, today, workspace: asked, range: days({ ...view, zone }), asOf, can, most, unreachable };
}

function page() {
	if (refused?.status === 401) return [entry(refused.message)];
	if (me === null) return [el("main", { id: "content", key: "content" }, unreachable ? problem(new Unreachable("The service can't be reached.")) : el("p.loading", "Loading …"))];
	const ctx = context();
	const content = refused ? denied(me, ctx.workspace, refused.details)
		: !ctx.workspace ? denied(me, "", [])
		: view.period === "own" && !ctx.range ? el("p.empty", { key: "own" }, "Choose the first and the last day.")
		: view.campaign ? campaign(ctx) : [overview(ctx), health(ctx)];
	return [header(ctx), el("main", { id: "content", key: "content", tabindex: "-1" }, content), el("footer", { key: "footer" }, el("a", { href: "/docs/" }, "API"))];
}

function header(ctx) {
	const fresh = freshness(ctx);
	const workspaces = [...me.workspaces.map((each) => [String(each.id), each.name]), ...(me.workspaces.length > 1 ? [["ALL", "All workspaces"]] : [])];
	if (ctx.workspace && !workspaces.some(([id]) => id === ctx.workspace)) workspaces.push([ctx.workspace, `Workspace ${ctx.workspace}`]);
	const shows = [workspaces.find(([id]) => id === ctx.workspace)?.[1], ctx.range ? `${ctx.range.start} to ${ctx.range.end}` : "all time", ctx.zone, view.status.toLowerCase()].filter(Boolean).join(" · ");
	return el("header", { key: "header" },
		el("div.line", el("h1", "Outreach"), el("p.printed", shows),
			el("p", { class: `fresh ${fresh.kind}`, id: "fresh" }, el("span.light", { "aria-hidden": "true" }), fresh.text),
			el("p.who", el("span", { title: "Who you are" }, me.user), key.current() !== null && button("Sign out", "out", {}, QUIET))),
		el("div", { class: "line controls", role: "group", "aria-label": "What is shown" },
			choice("Workspace", "workspace", ctx.workspace, workspaces),
			choice("Period", "period", view.period, Object.entries(PERIODS)),
			view.period === "own" && [["From", "from"], ["to", "to"]].map(([label, name]) => el("label.choice", { key: name }, el("span", label), el("input", { type: "date", "data-set": name, "data-value": view[name], value: view[name], min: "1970-01-01", max: "2999-12-31" }))),
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
	const focused = /** @type {any} */ (document.activeElement);
	const marked = flash ? (element) => {
		element.setAttribute("data-changed", "");
		setTimeout(() => element.removeAttribute("data-changed"), 2_500);
	} : null;
	morph(root, el("div", { id: "page" }, page()), marked);
	observe();
	const asks = me !== null && !refused && Object.hasOwn(NAMES, view.why);
	if (asks) {
		morph(dialog, el("dialog", { id: "why", "aria-labelledby": "why-title" }, why(context())), null);
		if (!dialog.open) dialog.showModal();
	} else {
		if (dialog.open) dialog.close();
		dialog.replaceChildren();
	}
	if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true }); // it was moved
	document.title = me === null || refused ? "Outreach" : `Outreach – ${me.workspaces.find((each) => String(each.id) === workspace(view, me))?.name ?? "all workspaces"}`;
	const errors = [...answers.used].map((url) => answers.kept.get(url)?.error);
	const wrong = errors.find((error) => error instanceof Refused && (error.status === 401 || error.status === 403)), away = errors.some((error) => error instanceof Unreachable);
	if (wrong && !refused) end(wrong);
	if (me !== null && away !== unreachable) {
		unreachable = away;
		live.since = Date.now();
		schedule();
	}
}

// Asks everything that is shown again, one time after another.
let renewing = false, again = false;
async function renew(quiet = false) {
	again = true;
	if (renewing || me === null || refused) return;
	renewing = true;
	try {
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
	} finally {
		renewing = false;
	}
}

// This reader may no longer see what was asked: nothing of it stays.
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

/** Learn who is asking; `wrong`: why again. */
let begun = 0;
async function begin(wrong = null) {
	const own = (begun += 1);
	let found;
	refused = null;
	unreachable = false;
	schedule();
	try {
		found = await (await ask(address("/me/"))).json();
	} catch (error) {
		if (own !== begun) return; // somebody has come or gone meanwhile
		me = null;
		if (error instanceof Refused && error.status === 401) {
			refused = error;
			key.forget();
		} else if (isAway(error)) {
			unreachable = true;
			setTimeout(() => void (unreachable && begin()), 1_000 * (error.retry || 2));
		} else refused = new Refused(401, error.message, error.details, 0);
		schedule();
		return;
	}
	if (own !== begun) return;
	me = found;
	const asked = workspace(view, me);
	view.workspace = asked; // so that the address can be shared
	write(view, false);
	const mine = asked === "ALL" || me.workspaces.some((each) => String(each.id) === asked);
	const repeated = Date.now() - endedAt < 2_000;
	endedAt = wrong ? Date.now() : 0;
	if (wrong && (!mine || wrong.details.length || repeated)) refused = wrong;
	else if (asked) live.follow(asked);
	schedule();
	void describe();
}

async function describe() {
	if (features !== null) return;
	try {
		const answer = await fetch("/openapi.json");
		if (answer.ok) features = await answer.json();
	} catch {
		return; // asked again later
	}
	schedule();
}

function set(changes, step = true) {
	Object.assign(view, changes);
	write(view, step);
	flash = false;
	follow();
}

/** Follow the workspace of the view. */
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
	why: (asked) => set(Object.fromEntries([["why", asked.why ?? ""], ...["campaign", "workspace", "from", "to", "dated", "part"].map((name) => [`why_${name}`, asked[name] ?? ""])])),
	"why-up": () => set({ why_campaign: "", why_workspace: "" }),
	close: () => DO.why({}),
	open: ({ campaign: id, workspace: of }) => {
		set({ campaign: id, workspace: of });
		scrollTo(0, 0);
		root.querySelector("main")?.focus();
	},
	"back-to-all": () => set({ campaign: "", dated: "", part: "" }),
	sort: ({ by, first }) => (most = FIRST_ROWS) && set({ sort: view.sort === by ? `-${by}` : view.sort === `-${by}` ? by : first + by }),
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
		begun += 1;
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
			const response = await ask(address(path, { ...JSON.parse(query), format: "csv", bom: can(path || "campaign-analytics/", "bom") ? "1" : "" }));
			const link = /** @type {any} */ (el("a", { href: URL.createObjectURL(await response.blob()), download: `${name}.csv` }));
			link.click();
			URL.revokeObjectURL(link.href);
			spoken.textContent = "Saved.";
		} catch (error) {
			spoken.textContent = `Not saved: ${error.message}`;
		}
	},
};

const on = (target, name, does) => target.addEventListener(name, does);
on(document, "click", (event) => {
	const target = /** @type {any} */ (event.target);
	const at = target.closest?.("[data-do]");
	if (at) void DO[at.dataset.do]?.({ ...at.dataset });
	for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.removeAttribute("open");
});
on(document, "change", (event) => {
	const target = /** @type {any} */ (event.target);
	if (target.dataset.set) set({ [target.dataset.set]: target.value, ...(target.dataset.set === "workspace" ? { campaign: "" } : {}) });
	if (target.dataset.column) {
		const chosen = [...document.querySelectorAll("[data-column]:checked")].map((each) => each.getAttribute("data-column")).join(",");
		set({ rows: chosen === COLUMNS.join(",") ? "" : chosen });
	}
});
on(document, "input", (event) => {
	const { dataset, value } = /** @type {any} */ (event.target);
	if (dataset.typed) set({ [dataset.typed]: value }, false);
});
on(document, "submit", (event) => {
	event.preventDefault();
	const form = /** @type {any} */ (event.target), given = String(new FormData(form).get("key")).trim();
	form.reset();
	key.keep(given);
	void begin();
});
on(dialog, "cancel", (event) => {
	event.preventDefault();
	DO.close();
});
on(dialog, "click", (event) => {
	if (event.target === dialog) DO.close();
});
on(window, "popstate", () => {
	view = read();
	follow();
});
on(window, "hashchange", () => {
	const shown = key.current();
	key.takeFromAddress();
	if (key.current() !== shown) DO.again();
});
on(window, "resize", () => schedule());
on(window, "online", () => void renew(true));
setInterval(() => {
	if (me === null || document.hidden) return;
	void describe();
	if (answers.failing.length) void renew(true);
	for (const url of answers.used) if (url.includes("/rejections/")) void answers.load(answers.kept.get(url)); // these move nothing
	schedule(); // a day may end, and a state may last
}, 5_000);

listen(document, tip, (text) => { spoken.textContent = text; });
write(view, false);
void begin();
