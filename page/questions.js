// What the page asks the API for a view; every number that is shown is the answer to one of these.

import { before, days, intervals } from "/page/period.js";

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

/** Return the last day of a bucket that begins on a day, within the period. */
export function bucketEnd(day, next, ctx) {
  if (next) return days({ period: "own", from: day, to: minusOne(next) }) ? minusOne(next) : day;
  return ctx.range?.end ?? null;
}

function minusOne(day) {
  const at = new Date(`${day}T00:00:00Z`);
  at.setUTCDate(at.getUTCDate() - 1);
  return at.toISOString().slice(0, 10);
}
