// A small trend for each campaign in view: 25 a request, so that sorting asks nothing.

import { NAMES } from "./format.js";
import { keyOf } from "./parts.js";
import { intervals, plus } from "./period.js";
import { filters, period } from "./questions.js";

const MOST = 25, NINE = 8; // of the nine numbers, the first names are the counts
const seen = new Set();
let asked = "", batches = [], placed = new Set();

/** Note which rows come into view; `changed` is called for new ones. */
export function watch(root, changed) {
	const observer = new IntersectionObserver((entries) => {
		const before = seen.size;
		for (const { isIntersecting, target } of entries) if (isIntersecting) seen.add(target.getAttribute("data-key"));
		if (seen.size > before) changed();
	}, { rootMargin: "300px" });
	return () => {
		for (const row of root.querySelectorAll(".campaigns tbody tr")) observer.observe(row);
	};
}

/** Return what is known of campaigns' trends, by their keys. */
export function trends(ctx, campaigns, metric) {
	const range = period(ctx), found = new Map();
	if (!range) return found;
	const interval = intervals(range).find((each) => each !== "day" || range.end < plus(range.start, 31));
	const question = { ...filters(ctx, range), status: "", timezone: ctx.zone, interval, per: "campaign", include: Object.keys(NAMES).indexOf(metric) < NINE ? "" : "extended" };
	if (asked !== JSON.stringify(question)) asked = JSON.stringify(question), batches = [], placed = new Set();
	const fresh = campaigns.map((each) => [keyOf(each), each.id]).filter(([id]) => seen.has(id) && !placed.has(id));
	for (let at = 0; at < fresh.length; at += MOST) batches.push([...new Set(fresh.slice(at, at + MOST).map(([, id]) => id))]);
	for (const [id] of fresh) placed.add(id);
	for (const batch of batches) {
		const entry = ctx.answers.need("timeseries/", { ...question, campaign_id: batch });
		for (const each of entry.data?.campaigns ?? []) found.set(keyOf(each), each.series);
	}
	return found;
}
