// What the API does not explain by itself, picked out of what it does: an hour, an hour of the week, a row, replies that took so long.

import { BY, rowName } from "./campaign.js";
import { hourOfWeek } from "./charts.js";
import { el } from "./dom.js";
import { NAMES, bucket, duration, whole } from "./format.js";
import { adding, count, given, number, table } from "./parts.js";
import { plus } from "./period.js";
import { TOUCHES, filters, period, touches } from "./questions.js";

const DAYS = 40, ANSWERS = 20; // days of hours in an answer, and so many answers at most

/** Of an hour, or replies that took so long: the answer, its number, each campaign's, and which contributions it has; else null. */
export function partOf(ctx, metric) {
	const { answers, kind, at } = ctx;
	if (kind === "hour" && Date.parse(at)) {
		const ask = (more) => answers.need("timeseries/", { ...filters(ctx), timezone: ctx.zone, interval: "hour", include: "extended", ...more });
		const one = ask(), place = (data) => data.series.findIndex((each) => each.start === at), all = (data) => data.series[place(data)]?.analytics ?? {};
		return { said: `the hour from ${bucket(at, "hour")}`, one, all, of: (data) => all(data)[metric],
			each: () => ask({ per: "campaign" }), parts: (data) => data.campaigns.map((each) => [each, all(each)[metric]]),
			has: ({ at: when }) => Date.parse(when) >= Date.parse(at) && Date.parse(when) < (Date.parse(one.data.series[place(one.data) + 1]?.start) || Infinity) };
	}
	if (kind !== "times") return null;
	const ask = (more) => answers.need("reply-times/", { ...filters(ctx), ...more }), one = ask(), of = (data) => data?.histogram[at]?.count ?? 0;
	const [from, to] = [at - 1, at].map((place) => one.data?.histogram[place]?.up_to_seconds ?? null);
	const own = (each) => ask({ by: "campaign" }).data?.rows.find((row) => row.campaign === each.id && (row.workspace_id ?? each.workspace_id) === each.workspace_id);
	return { said: `replies that took ${from === null ? "" : `over ${duration(from)} `}${to === null ? "" : `up to ${duration(to)}`}`, one, of,
		each: () => answers.need("", { ...filters(ctx), include: "extended" }), parts: (data) => data.campaigns.map((each) => [each, of(own(each))]),
		has: ({ value }) => value > (from ?? -1) * 1_000 && value <= (to ?? Infinity) * 1_000 };
}

const sumOf = ({ view }, analytics) => el("p.sum", el("strong", whole(touches(analytics))), " touches = ", TOUCHES.map((each, at) => [at ? " + " : "", number(each, analytics[each], { part: view.why_part }), ` ${NAMES[each]}`]));

/** The days that make the number of an hour of the week. */
export function cell(ctx, metric) {
	const [weekday, hour] = ctx.at.split("/").map(Number), all = period(ctx), question = { ...filters(ctx), timezone: ctx.zone };
	const when = el("p", hourOfWeek(ctx.at));
	return [when, given(ctx.answers.need("breakdown/", { ...question, by: "weekday,hour" }), (data) => {
		const analytics = data.rows.find((row) => row.weekday === weekday && row.hour === hour)?.analytics ?? {};
		if (metric === "touches") return sumOf(ctx, analytics);
		const entries = [], value = analytics[metric] ?? 0;
		let end = all?.end, sum = 0;
		for (; end >= all?.start && entries.length < ANSWERS; end = plus(end, -DAYS)) {
			const first = plus(end, 1 - DAYS);
			entries.unshift(ctx.answers.need("timeseries/", { ...question, start_date: first > all.start ? first : all.start, end_date: end, interval: "hour" }));
		}
		const missing = entries.find((entry) => !entry.data);
		if (missing) return given(missing, null);
		const rows = entries.flatMap((entry) => entry.data.series).filter(({ start, analytics: of }) => of[metric] && Number(start.slice(11, 13)) === hour && (new Date(start.slice(0, 10)).getUTCDay() || 7) === weekday).map(({ start, analytics: of }) => {
			sum += of[metric];
			const day = start.slice(0, 10);
			return { key: start, cells: [bucket(day, "day"), number(metric, of[metric], { from: day, to: day, dated: ctx.view.dated, part: `hour:${start}` }), whole(sum)] };
		});
		return [el("p.sum", { "data-sum": sum, "data-of": value }, el("strong", whole(value)), end >= all?.start ? `, of which ${whole(sum)} after ${end}` : adding(sum, value)), table("The days that make it", ["Day", count(NAMES[metric]), count("Sum so far")], rows)];
	})];
}

/** The rows of a breakdown, which add up to the number of the campaign. */
export function row(ctx, metric) {
	const by = BY[ctx.view.part] ? ctx.view.part : "step";
	return given(ctx.answers.need("breakdown/", { ...filters(ctx), by, include: "extended" }), (data) => {
		let sum = 0;
		const rows = data.rows.filter((each) => each.analytics[metric]).map((each) => {
			sum += each.analytics[metric];
			return { cells: [el(JSON.stringify(data.by.map((key) => each[key])) === ctx.at ? "strong" : "span", rowName(data.by, each)), whole(each.analytics[metric]), whole(sum)] };
		});
		return [table("The rows that make it", [BY[by], count(NAMES[metric]), count("Sum so far")], rows), el("p", `The API explains all ${whole(sum)} at once, not by ${BY[by].toLowerCase()}:`)];
	});
}
