// The small things that several parts of the page are made of.

import { Refused } from "./api.js";
import { el, lazy, versionOf } from "./dom.js";
import { shown } from "./format.js";

const data = (of) => Object.fromEntries(Object.entries(of).map(([name, value]) => [`data-${name}`, value]));

/** Return a number that can be asked why; `about` is the question beside the metric. */
export function number(metric, value, about = {}, text = /** @type {any} */ (shown(metric, value)), more = {}) {
	if (value == null) return el("span", { "data-live": true }, text);
	return el("button.number", { type: "button", title: "Why?", "data-do": "why", "data-why": metric, "data-live": true, ...data(about), ...more }, text);
}

/** Return what tells campaigns apart. */
export const keyOf = (campaign) => `${campaign.workspace_id}/${campaign.id}`;

export const workspaceName = (ctx, id) => ctx.me.workspaces.find((each) => each.id === id)?.name ?? id;

export const badge = (status) => el("span", { class: `status ${status.toLowerCase()}` }, status.toLowerCase());

/** Return what is scrolled sideways where the screen is narrow. */
export const scrolled = (name, table) => el("div.scroll", { tabindex: "0", role: "region", "aria-label": `${name}, table` }, table);

/** Say whether parts add up to the whole. */
export const adding = (sum, value) => el("span", { class: sum === value ? "adds" : "differs" }, sum === value ? " ✓ adds up" : " – being brought up to date");

export const QUIET = { class: "quiet" };
export const empty = (text) => el("p.empty", text);

export function button(text, does, asked = {}, more = {}) {
	return el("button", { type: "button", "data-do": does, ...data(asked), ...more }, text);
}

/** Return a choice of [value, text] pairs that sets the view's field of that name. */
export function choice(label, name, value, options, more = {}) {
	return el("span.choice", { key: `choice-${name}` }, el("label", { for: `choose-${name}` }, label),
		lazy("select", { id: `choose-${name}`, "data-set": name, "data-value": value, ...more }, `${value} ${versionOf(options)}`, () => options.map(([each, text]) => el("option", { value: each, selected: each === value }, text))));
}

/** Return a section with a heading. */
export function section(key, title, tools, ...content) {
	return el("section", { key, "aria-labelledby": `h-${key}` }, el("div.head", el("h2", { id: `h-${key}` }, title), el("div.tools", tools)), content);
}

/** Show an answer's data by a function; else that it is loading, or what went wrong. */
export function given(entry, show) {
	if (entry.data !== null) return show(entry.data);
	if (entry.error) return problem(entry.error);
	return el("p.loading", "Loading …");
}

/** Say what went wrong. */
export function problem(error) {
	const details = error instanceof Refused ? error.details.map((each) => `${each.field}: ${each.error}`).join("; ") : "";
	return el("div.problem", { role: "alert" }, el("p", error.message, details && ` – ${details}`), button("Try again", "again"));
}

/** Whether an endpoint is not there, in this version of the service. */
export const absent = (entry) => entry.error instanceof Refused && entry.error.status === 404;

/** Return a button that saves what is shown as CSV, made by the API. */
export function csv(path, query, name) {
	return button("CSV", "csv", { path, query: JSON.stringify(query), name }, { ...QUIET, title: "Save as CSV" });
}

/** A column of numbers. */
export const count = (name) => ({ name, number: true });

/** Return a table: columns are texts, or `count` of one; rows are {key, cells}. */
export function table(caption, columns, rows, more = {}) {
	return scrolled(caption, el("table", more, el("caption.hidden", caption),
		el("thead", el("tr", columns.map((column) => el("th", { scope: "col", class: column.number && "right" }, column.name ?? column)))),
		el("tbody", rows.map((row) => el("tr", { key: row.key }, row.cells.map((cell, at) => (at ? el("td", { class: columns[at].number && "right" }, cell) : el("th", { scope: "row" }, cell))))))));
}
