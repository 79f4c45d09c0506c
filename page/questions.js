// What the page asks the API for a view; every number that is shown is the answer to one of these.

import { before, intervals, plus } from "/page/period.js";

export const DASHBOARD = "dashboard/campaign-analytics/";
export const STATUSES = ["ACTIVE", "PAUSED", "COMPLETED", "DRAFT", "ARCHIVED", "UNKNOWN"];

/** Return which workspace a view is about: an id, ALL, or nothing where there is none. */
export function workspace(view, me) {
  if (view.workspace) return view.workspace;
  if (me.current_workspace !== null) return String(me.current_workspace);
  return me.workspaces.length ? "ALL" : "";
}

/** Return what of a view narrows the numbers: workspace, period, status, campaign. */
export function filters(ctx, range = ctx.range) {
  const { view } = ctx;
  return {
    workspace_id: ctx.workspace, campaign_id: view.campaign, status: view.campaign ? "" : view.status,
    start_date: range?.start, end_date: range?.end, timezone: range ? ctx.zone : "", dated: view.dated, as_of: ctx.asOf,
  };
}

/** Return the same for the period before, nothing where there is none. */
export function filtersBefore(ctx) {
  const range = before(ctx.range);
  return range && filters(ctx, range);
}

/** Return the interval of a view's chart. */
export function interval(ctx) {
  const possible = intervals(ctx.range);
  return possible.includes(ctx.view.interval) ? ctx.view.interval : possible[0];
}

export function series(ctx, more = {}) {
  return { ...filters(ctx), timezone: ctx.zone, interval: interval(ctx), include: "extended", ...more };
}

/** Return the last day of a bucket of a series that begins on a day, where another one begins on `next` or none does. */
export function bucketEnd(day, next, interval, ctx) {
  if (next) return plus(next, -1);
  const end = interval === "week" ? plus(day, 6) : interval === "month" ? plus(`${plus(`${day.slice(0, 8)}01`, 31).slice(0, 8)}01`, -1) : day;
  return ctx.range && ctx.range.end < end ? ctx.range.end : end;
}
