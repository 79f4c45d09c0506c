// The small things that several parts of the page are made of.

import { Refused } from "/page/api.js";
import { el, lazy, versionOf } from "/page/dom.js";
import { shown } from "/page/format.js";

/** Return a number that can be asked why; `about` is what the question is about beside the metric. */
export function number(metric, value, about = {}, text = shown(metric, value)) {
  if (value === null || value === undefined) return el("span", { "data-live": true }, text);
  const data = Object.fromEntries(Object.entries(about).filter(([, each]) => each !== "" && each !== null && each !== undefined).map(([name, each]) => [`data-${name.replaceAll("_", "-")}`, each]));
  return el("button", { class: "number", type: "button", title: "Why?", "data-do": "why", "data-why": metric, "data-live": true, ...data }, text);
}

export function button(text, does, data = {}, more = {}) {
  return el("button", { type: "button", "data-do": does, ...Object.fromEntries(Object.entries(data).map(([name, value]) => [`data-${name}`, value])), ...more }, text);
}

/** Return a choice of the view: [value, text] pairs; a change sets the field of that name. */
export function choice(label, name, value, options, more = {}) {
  return el("span", { class: "choice", "data-key": `choice-${name}` }, el("label", { for: `choose-${name}` }, label),
    lazy("select", { id: `choose-${name}`, "data-set": name, "data-value": value, ...more }, `${value} ${versionOf(options)}`, () => options.map(([each, text]) => el("option", { value: each, selected: each === value }, text))));
}

/** Return a section with a heading. */
export function section(key, title, tools, ...content) {
  return el("section", { "data-key": key, "aria-labelledby": `h-${key}` }, el("div", { class: "head" }, el("h2", { id: `h-${key}` }, title), el("div", { class: "tools" }, tools)), content);
}

/** Show an answer's data by a function; else say that it is being asked for, or what to do about what went wrong. */
export function given(entry, show) {
  if (entry.data !== null) return show(entry.data);
  if (entry.error) return problem(entry.error);
  return el("p", { class: "loading" }, "Loading …");
}

/** Say what went wrong, and what to do. */
export function problem(error) {
  const details = error instanceof Refused ? error.details.map((each) => `${each.field}: ${each.error}`).join("; ") : "";
  return el("div", { class: "problem", role: "alert" }, el("p", {}, error.message, details && ` – ${details}`), button("Try again", "again"));
}

/** Whether an endpoint is not there, in this version of the service. */
export function absent(entry) {
  return entry.error instanceof Refused && entry.error.status === 404;
}

/** Return a link-like button that saves what is shown as CSV; the API makes it. */
export function csv(path, query, name) {
  return button("CSV", "csv", { path, query: JSON.stringify(query), name }, { class: "quiet", title: "Save as CSV" });
}

/** Return a plain table: `columns` are {name, number}, rows lists of cells. */
export function table(caption, columns, rows, more = {}) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption}, table` }, el("table", more, el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col", class: column.number ? "right" : null }, column.name)))),
    el("tbody", {}, rows.map((row) => el("tr", { "data-key": row.key ?? null }, row.cells.map((cell, at) => (at ? el("td", { class: columns[at].number ? "right" : null }, cell) : el("th", { scope: "row" }, cell))))))));
}
