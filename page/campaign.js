// One campaign: its funnel, what it did by step, text, sender and channel, and by week of contact.

import { inWords } from "./chance.js";
import { bars } from "./charts.js";
import { el } from "./dom.js";
import { NAMES, bucket, ids, percent, whole } from "./format.js";
import { chart, tiles } from "./overview.js";
import { QUIET, badge, button, choice, count, csv, empty, given, number, section, table } from "./parts.js";
import { TOUCHES, bucketEnd, filters, touches } from "./questions.js";

const FUNNEL = ids("prospects prospects_contacted prospects_accepted prospects_replied interested meetings_booked");
const BREAKDOWN = [...TOUCHES, ...ids("replies prospects_replied emails_opened emails_bounced")];
const COHORT = FUNNEL.slice(1).toSpliced(3, 0, "reply_rate");
export const BY = { step: "Step", "step,variant": "Step and text", sender: "Sender", channel: "Channel" };

export function campaign(ctx) {
	const { answers } = ctx;
	const entry = answers.need("", { ...filters(ctx), include: "extended" });
	return [
		el("nav", { key: "crumbs", "aria-label": "Where you are" }, button("← All campaigns", "back-to-all", {}, QUIET)),
		el("div", { key: "campaign-name" }, given(entry, (data) => {
			const found = data.campaigns[0];
			return found ? el("h2.title", found.name, " ", badge(found.status))
				: empty("There is no such campaign in this workspace.");
		})),
		tiles(ctx), funnel(ctx, entry), chart(ctx), breakdown(ctx), cohorts(ctx),
	];
}

const about = (ctx, more = {}) => ({ campaign: ctx.view.campaign, workspace: ctx.workspace, ...more });

function funnel(ctx, entry) {
	const tools = [choice("Dated", "dated", ctx.view.dated, [["", "when it happened"], ["first_touch", "by first contact"]])];
	return section("funnel", "Funnel", tools, given(entry, (data) => {
		const found = data.campaigns[0];
		if (!found) return null;
		const values = FUNNEL.map((metric) => found.analytics[metric]);
		return bars(FUNNEL.map((metric, at) => {
			const from = metric === "amount_of_prospects_replied" ? 1 : at - 1;
			const note = at && values[from] ? ` ${percent(values[at] / values[from])} of ${NAMES[FUNNEL[from]].toLowerCase()}` : null;
			return { name: NAMES[metric], value: values[at], text: number(metric, values[at], about(ctx, { dated: ctx.view.dated })), note };
		}));
	}));
}

function breakdown(ctx) {
	const by = BY[ctx.view.part] ? ctx.view.part : "step";
	const question = { ...filters(ctx), by, include: "extended" };
	const entry = ctx.answers.need("breakdown/", question);
	const tools = [choice("By", "part", by, Object.entries(BY)), csv("breakdown/", question, "breakdown")];
	return section("breakdown", "What works", tools, given(entry, (data) => {
		if (!data.rows.length) return empty("Nothing happened in this period.");
		const rows = data.rows.map((row) => {
			const key = JSON.stringify(data.by.map((each) => row[each])), of = about(ctx, { dated: ctx.view.dated, part: `row:${key}` });
			return { key, cells: [rowName(data.by, row), ...BREAKDOWN.map((metric) => number(metric, row.analytics[metric], of)), number("amount_of_prospects_replied", touches(row.analytics) || null, of, answered(row))] };
		});
		const columns = [BY[by], ...BREAKDOWN.map((metric) => count(NAMES[metric])), count("Answered")];
		return [by === "step,variant" && el("ul.verdicts", { key: "verdicts" }, verdicts(data.rows).map((text) => el("li", text))), table(`By ${BY[by].toLowerCase()}`, columns, rows)];
	}));
}

/** Return how a row of a breakdown is called. */
export const rowName = (by, row) => by.map((key) => (row[key] === null ? `no ${key}` : key === "step" ? `Step ${row[key]}` : row[key])).join(", ");

const answered = (row) => (touches(row.analytics) ? percent(row.analytics.amount_of_prospects_replied / touches(row.analytics)) : "–");

/** Say which of a step's texts is answered more often, and whether by chance. */
export function verdicts(rows) {
	const steps = new Map();
	for (const row of rows) if (row.step !== null && row.variant !== null && touches(row.analytics)) steps.set(row.step, [...(steps.get(row.step) || []), row]);
	return [...steps].flatMap(([step, of]) => {
		if (of.length < 2) return [];
		const sides = of.map((row) => ({ name: row.variant, hits: row.analytics.amount_of_prospects_replied, tries: touches(row.analytics) }));
		sides.sort((one, other) => other.hits * one.tries - one.hits * other.tries);
		const text = inWords(sides[0], sides[1], percent);
		return text ? [`Step ${step}: ${text} (${sides.slice(0, 2).map((side) => `${side.name}: ${whole(side.hits)} of ${whole(side.tries)}`).join(", ")})`] : [];
	});
}

function cohorts(ctx) {
	const question = { ...filters(ctx), timezone: ctx.zone, dated: "first_touch", interval: "week", include: "extended" };
	const entry = ctx.answers.need("timeseries/", question);
	return section("cohorts", "By week of first contact", [csv("timeseries/", question, "cohorts")], given(entry, (data) => {
		if (!data.series.length) return empty("Nobody has been contacted yet.");
		const rows = data.series.map((each, at) => {
			const day = each.start.slice(0, 10), end = bucketEnd(day, data.series[at + 1]?.start.slice(0, 10), "week", ctx);
			return { key: each.start, cells: [bucket(each.start, "week"), ...COHORT.map((metric) => number(metric, each.analytics[metric], about(ctx, { dated: "first_touch", from: day, to: end })))] };
		});
		return table("By week of first contact", ["First contacted in", ...COHORT.map((metric) => count(NAMES[metric]))], rows);
	}));
}
