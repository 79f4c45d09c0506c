// What the page asks the API for a view; every number shown answers one of these.

import { ids } from "./format.js";
import { intervals, plus } from "./period.js";

export const TOUCHES = ids("emails_sent invites_sent linkedin_messages_sent");
/** Return how many touches there are in some numbers. */
export const touches = (analytics) => TOUCHES.reduce((sum, each) => sum + (analytics[each] || 0), 0);
export const STATUSES = ["ACTIVE", "PAUSED", "COMPLETED", "DRAFT", "ARCHIVED", "UNKNOWN"];

/** Return a view's workspace: an id, ALL, or nothing. */
export function workspace(view, me) {
	if (view.workspace) return view.workspace;
	if (me.current_workspace !== null) return String(me.current_workspace);
	return me.workspaces.length ? "ALL" : "";
}

/** Return what of a view narrows the numbers. */
export function filters(ctx, range = ctx.range) {
	const { view } = ctx;
	return {
		workspace_id: ctx.workspace, campaign_id: view.campaign, status: view.campaign ? "" : view.status,
		start_date: range?.start, end_date: range?.end, timezone: range ? ctx.zone : "", dated: view.dated, as_of: ctx.asOf,
	};
}

/** Return the question of all campaigns as one, and of the period before. */
export function summary(ctx) {
	return { ...filters(ctx), include: "extended", compare: ctx.range && "previous" };
}

/** Return the interval of a view's chart. */
export function interval(ctx) {
	const possible = intervals(ctx.range);
	return possible.includes(ctx.view.interval) ? ctx.view.interval : possible[0];
}

export function series(ctx) {
	return { ...filters(ctx), timezone: ctx.zone, interval: interval(ctx), include: "extended" };
}

/** Return the last day of a bucket that begins on a day, the next one on `next`, if any. */
export function bucketEnd(day, next, interval, ctx) {
	if (next && interval !== "hour") return plus(next, -1);
	const end = interval === "week" ? plus(day, 6) : interval === "month" ? plus(`${plus(`${day.slice(0, 8)}01`, 31).slice(0, 8)}01`, -1) : day;
	return ctx.range && ctx.range.end < end ? ctx.range.end : end;
}

/** Return the period of a view, else of its chart; null where that is empty or not known yet. */
export function period(ctx) {
	if (ctx.range) return ctx.range;
	const found = ctx.answers.need("timeseries/", series(ctx)).data;
	if (!found?.series.length) return null;
	return { start: found.series[0].start.slice(0, 10), end: bucketEnd(found.series.at(-1).start.slice(0, 10), "", found.interval, ctx) };
}
