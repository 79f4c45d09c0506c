// Periods as days of a time zone, and the period before of equal length.

import { dates } from "./format.js";

export const PERIODS = {
	today: "Today", "7d": "Last 7 days", "30d": "Last 30 days", "90d": "Last 90 days",
	month: "This month", "last-month": "Last month", all: "All time", own: "Own …",
};

/** The browser's time zone. */
export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** Return the day of an instant in a zone, as YYYY-MM-DD. */
export const dayOf = (at, zone) => dates("sv", { timeZone: zone }).format(at); // as Swedes write it

export function plus(day, days) {
	const at = new Date(`${day}T00:00:00Z`);
	at.setUTCDate(at.getUTCDate() + days);
	return at.toISOString().slice(0, 10);
}

/** Return the first and last day of a view's period; nothing where it has none. */
export function days(view, now = new Date()) {
	const today = dayOf(now, view.zone || HERE);
	const first = `${today.slice(0, 8)}01`;
	switch (view.period) {
		case "today": return { start: today, end: today };
		case "7d": case "30d": case "90d": return { start: plus(today, 1 - parseInt(view.period, 10)), end: today };
		case "month": return { start: first, end: today };
		case "last-month": return { start: `${plus(first, -1).slice(0, 8)}01`, end: plus(first, -1) };
		case "own": return isDay(view.from) && isDay(view.to) && view.from <= view.to ? { start: view.from, end: view.to } : null;
		default: return null;
	}
}

/** Return the period before, of as many days. */
export function before(of) {
	if (!of) return null;
	const length = Math.round((Date.parse(of.end) - Date.parse(of.start)) / 86_400_000) + 1;
	return { start: plus(of.start, -length), end: plus(of.start, -1) };
}

/** Return intervals for a readable chart, the finest first. */
export function intervals(of) {
	if (!of) return ["week", "month", "day"];
	const length = (Date.parse(of.end) - Date.parse(of.start)) / 86_400_000 + 1;
	if (length <= 2) return ["hour"];
	if (length <= 31) return ["day", "week"];
	if (length <= 200) return ["day", "week", "month"];
	return ["week", "month"];
}

function isDay(text) {
	return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(Date.parse(text));
}
