// The overview: all matching campaigns, over time, by hour of the week, and each of them.

import { bars, heat, hourOfWeek, lineWidth, lines, trend } from "./charts.js";
import { el, lazy, versionOf } from "./dom.js";
import { NAMES, bucket, change, duration, ids, isRate, isTime, shown, whole } from "./format.js";
import { absent, badge, button, choice, count, csv, empty, given, keyOf, number, scrolled, section, table, workspaceName } from "./parts.js";
import { before, intervals } from "./period.js";
import { bucketEnd, filters, interval, series, summary, touches } from "./questions.js";
import { trends } from "./trends.js";

export const COLUMNS = ids("prospects_contacted replies reply_rate interested meetings_booked average_reply_time");
const MORE = Object.keys(NAMES).filter((metric) => !COLUMNS.includes(metric) && !isTime(metric) && metric !== "touches");
const TILES = [...COLUMNS.slice(0, 5), "average_reply_time_seconds"];
const { compare } = new Intl.Collator("en");
const CHARTED = [...TILES, ...MORE];
const OPTIONS = CHARTED.map((metric) => [metric, NAMES[metric]]), SECOND = [["none", "nothing else"], ...OPTIONS];
export const FIRST_ROWS = 50; // and so many more each time: a browser lays out a thousand in a third of a second

export function overview(ctx) {
	return [tiles(ctx), chart(ctx), campaigns(ctx), hours(ctx), times(ctx)];
}

/** The most important numbers, with change and trend. */
export function tiles(ctx) {
	const { answers, view } = ctx;
	const now = answers.need("summary/", summary(ctx));
	const over = answers.need("timeseries/", series(ctx));
	const median = ctx.can("reply-times/") ? answers.need("reply-times/", filters(ctx)) : null;
	const medianBefore = median && ctx.range && answers.need("reply-times/", filters(ctx, before(ctx.range)));
	return el("section", { key: "tiles", "aria-labelledby": "h-tiles", class: "tiles" }, el("h2", { id: "h-tiles", class: "hidden" }, "At a glance"), given(now, (data) => TILES.map((metric) => {
		let value = data.analytics[metric], past = data.previous?.[metric], name = NAMES[metric];
		if (isTime(metric) && median?.data) [value, past, name] = [median.data.median_seconds, medianBefore?.data?.median_seconds, "Median reply time"];
		const differs = change(metric, value, past);
		const values = over.data?.series?.map((each) => each.analytics[metric]);
		return el("div.tile", { key: metric },
			el("h3", name),
			el("p.value", number(isTime(metric) ? "average_reply_time" : metric, value, { campaign: view.campaign, workspace: view.campaign && ctx.workspace }, shown(metric, value))),
			el("p", { class: `change ${differs?.way ?? ""}` }, differs ? [differs.text, el("small", " vs the period before")] : el("small", ctx.range ? "nothing to compare with" : "all time")),
			values && trend(values));
	})));
}

const metricOf = (view) => (CHARTED.includes(view.metric) ? view.metric : CHARTED[0]);

/** One or two numbers over time, as a chart and as a table. */
export function chart(ctx) {
	const { answers, view } = ctx;
	const question = series(ctx), entry = answers.need("timeseries/", question);
	const metrics = [metricOf(view), view.second].filter((metric, at, all) => CHARTED.includes(metric) && all.indexOf(metric) === at);
	const tools = [
		choice("Show", "metric", view.metric, OPTIONS), choice("and", "second", view.second, SECOND),
		choice("by", "interval", interval(ctx), intervals(ctx.range).map((each) => [each, each])), csv("timeseries/", question, "timeseries"),
	];
	return section("chart", "Over time", tools, given(entry, (data) => {
		if (!data.series.length) return empty("Nothing has happened yet.");
		return lazy("div", { key: "chart" }, [versionOf(data), metrics, lineWidth(), view.campaign, view.dated, ctx.zone], () => drawn(ctx, data, metrics));
	}));
}

function drawn(ctx, data, metrics) {
	const { view } = ctx;
	const labels = data.series.map((each) => bucket(each.start, data.interval)).map((long) => ({ long, short: long.replace(/^(Week from )?(\w{3}, )?| \d{4}$/g, "") }));
	const shares = metrics.map((metric) => {
		const whole = !isRate(metric) && !isTime(metric);
		return { name: NAMES[metric], values: data.series.map((each) => each.analytics[metric]), say: (value) => shown(metric, value !== null && whole ? Math.round(value * 100) / 100 : value), whole };
	});
	const legend = el("p.legend", shares.map((each, n) => el("span", { class: `key s${n}` }, each.name)));
	const rows = data.series.map((each, at) => {
		const day = each.start.slice(0, 10), end = bucketEnd(day, data.series[at + 1]?.start.slice(0, 10), data.interval, ctx);
		const about = { campaign: view.campaign, workspace: view.campaign && ctx.workspace, from: day, to: end, dated: view.dated, part: data.interval === "hour" ? `hour:${each.start}` : "" };
		return { key: each.start, cells: [labels[at].long, ...metrics.map((metric) => number(isTime(metric) ? "average_reply_time" : metric, each.analytics[metric], about, shown(metric, each.analytics[metric])))] };
	});
	return [legend, lines("lines", labels, shares), el("details", { key: "behind" }, el("summary", "The numbers behind it"), table("Over time", ["From", ...metrics.map((metric) => count(NAMES[metric]))], rows))];
}

/** When people are touched, and when they answer. */
function hours(ctx) {
	if (!ctx.can("breakdown/", "by", "weekday,hour")) return null;
	const question = { ...filters(ctx), timezone: ctx.zone, by: "weekday,hour" };
	const entry = ctx.answers.need("breakdown/", question);
	return section("hours", "When people answer", [csv("breakdown/", question, "hours")], given(entry, (data) => lazy("div", { class: "pair" }, versionOf(data), () => weeks(data))));
}

function weeks(data) {
	const cells = new Map(data.rows.map((row) => [`${row.weekday}/${row.hour}`, row.analytics]));
	const of = (name, count, metric, noun) => heat(name, (cell) => (cells.has(cell) ? count(cells.get(cell)) : 0), (cell, value) => number(metric, value, { part: `cell:${cell}` }, el("span.hidden", `${whole(value)} ${noun}`), { tabindex: -1, title: `${hourOfWeek(cell)} – ${whole(value)} ${noun}` }));
	return [of("Replies", (analytics) => analytics.amount_of_replies, "amount_of_replies", "replies"), of("Touches", touches, "touches", "touches")];
}

/** How long replies take. */
function times(ctx) {
	if (!ctx.can("reply-times/")) return null;
	const entry = ctx.answers.need("reply-times/", filters(ctx));
	if (absent(entry)) return null;
	return section("times", "How long replies take", [], given(entry, (data) => {
		if (!data.count) return empty("No reply has come yet.");
		let from = 0;
		const rows = data.histogram.map((each, at) => {
			const name = each.up_to_seconds === null ? `over ${duration(from)}` : `up to ${duration(each.up_to_seconds)}`;
			from = each.up_to_seconds ?? from;
			return { name, value: each.count, text: each.count ? number("average_reply_time", each.count, { part: `times:${at}` }, whole(each.count)) : "0" };
		});
		const facts = [["median", data.median_seconds], ["three of four within", data.p75_seconds], ["nine of ten within", data.p90_seconds], ["longest", data.longest_seconds]];
		return [el("p", facts.map(([name, value], at) => [at ? " · " : "", `${name} `, el("strong", number("average_reply_time", value, {}, duration(value)))])), bars(rows)];
	}));
}

/** Return a view's campaigns, sorted: ties by workspace and id, nothing last. */
export function chosen(campaigns, view) {
	const search = view.search.trim().toLocaleLowerCase();
	const by = view.sort.replace(/^-/, ""), way = view.sort.startsWith("-") ? -1 : 1;
	const metric = by === "average_reply_time" ? "average_reply_time_seconds" : by;
	const value = (each) => each[by] ?? each.analytics[metric], tie = (one, other) => one.workspace_id - other.workspace_id || one.id - other.id;
	return campaigns.filter((each) => !search || each.name.toLocaleLowerCase().includes(search)).sort((one, other) => {
		const [a, b] = [value(one), value(other)];
		if (a === null || b === null) return Number(a === null) - Number(b === null) || tie(one, other);
		return way * (typeof a === "string" ? compare(a, b) : a - b) || tie(one, other);
	});
}

/** Each campaign with its numbers. */
export function campaigns(ctx) {
	const { answers, view, me } = ctx;
	const question = { ...filters(ctx), include: "extended" };
	const entry = answers.need("", question);
	const columns = view.rows ? [...COLUMNS, ...MORE].filter((metric) => view.rows.split(",").includes(metric)) : COLUMNS;
	const several = ctx.workspace === "ALL" && me.workspaces.length > 1;
	const head = (name, text, right) => el("th", { scope: "col", class: right && "right", "aria-sort": { [name]: "ascending", [`-${name}`]: "descending" }[view.sort] }, button(text, "sort", { by: name, first: right ? "-" : "" }, { class: "sort" }));
	const tools = [
		el("label.choice", el("span", "Search"), el("input", { type: "search", "data-typed": "search", "data-value": view.search, value: view.search, placeholder: "part of a name" })),
		el("details.menu", { key: "columns" }, el("summary", "Columns"), el("fieldset", el("legend.hidden", "Columns"), [...COLUMNS, ...MORE].map((metric) => el("label", el("input", { type: "checkbox", "data-column": metric, checked: columns.includes(metric) }), NAMES[metric])))),
		csv("", question, "campaigns"),
	];
	return section("campaigns", "Campaigns", tools, given(entry, (data) => {
		if (!data.campaigns.length) return beginning(ctx);
		const found = chosen(data.campaigns, view);
		if (!found.length) return el("p.empty", `No campaign has “${view.search}” in its name. `, button("Show all", "set", { name: "search", value: "" }));
		const visible = found.slice(0, ctx.most), metric = metricOf(view), over = trends(ctx, visible, metric);
		return [
			scrolled("Campaigns", el("table.campaigns", el("caption.hidden", "Campaigns and their numbers"),
				el("thead", el("tr", head("name", "Campaign"), several && el("th", { scope: "col" }, "Workspace"), head("status", "Status"), el("th", { scope: "col" }, `Trend: ${NAMES[metric].toLowerCase()}`), columns.map((metric) => head(metric, NAMES[metric], true)))),
				el("tbody", visible.map((each) => [each, over.get(keyOf(each))]).map(([each, of]) => lazy("tr", { key: keyOf(each) }, [versionOf(each), columns, several, of ? versionOf(of) + metric : ""], () => [
					el("th", { scope: "row" }, button(each.name, "open", { campaign: each.id, workspace: each.workspace_id }, { class: "name" })),
					several && el("td", workspaceName(ctx, each.workspace_id)),
					el("td", badge(each.status)),
					el("td", of && trend(of.map((bucket) => bucket.analytics[metric]))),
					columns.map((metric) => el("td.right", number(metric, each.analytics[metric], { campaign: each.id, workspace: each.workspace_id }))),
				].filter(Boolean).flat()))))),
			found.length > visible.length && el("p", `The first ${whole(visible.length)} of ${whole(found.length)}. `, button(`Show ${FIRST_ROWS} more`, "more-rows")),
		];
	}));
}

/** What to do in a workspace where nothing has happened. */
function beginning(ctx) {
	if (ctx.view.status) return el("p.empty", "No campaign has this status. ", button("Show all", "set", { name: "status", value: "" }));
	const id = ctx.workspace === "ALL" ? ctx.me.workspaces[0]?.id ?? 1 : ctx.workspace;
	const line = `curl '${location.origin}/api/v1/events/?workspace_id=${id}' -H "X-API-Key: $KEY" -H 'Content-Type: application/json' -d '
	{"id": "e-1", "type": "EmailSent", "campaign_id": 123, "prospect_id": "p-1", "occurred_at": "${new Date().toISOString().slice(0, 16)}:00Z"}'`;
	return el("div.empty", el("p", "There is no campaign here yet. It appears with the first event that is posted about it, with a key that may write:"), el("pre", { tabindex: "0" }, line));
}
