// Why a number is what it is: the campaigns, then the prospects and events that make it.

import { el } from "./dom.js";
import { NAMES, RATES, duration, instant, isRate, shown, whole, words } from "./format.js";
import { cell, partOf, row } from "./part.js";
import { QUIET, absent, adding, button, count, empty, given, keyOf, number, problem, table, workspaceName } from "./parts.js";
import { filters, summary } from "./questions.js";

const PAGE = 100, SEARCHED = 1_000; // contributions at a time, and where only some of them are asked for
const TIME = "average_reply_time", SO_FAR = count("Sum so far");
const pages = new Map(); // by question, the cursors of the pages that are shown

/** Return the dialog's content for the number that a view asks about. */
export function why(ctx) {
	const { view } = ctx, metric = view.why, [kind, ...at] = view.why_part.split(":");
	const range = view.why_from ? { start: view.why_from, end: view.why_to } : ctx.range;
	const inside = { ...ctx, range, kind, at: at.join(":"), view: { ...view, campaign: view.why_campaign || view.campaign, dated: view.why_dated || (view.why_from ? "" : view.dated) }, workspace: view.why_workspace || ctx.workspace };
	const counted = metric === TIME ? "amount_of_timed_replies" : metric, part = partOf(inside, counted), whole = { ...inside, part, counted };
	return [
		el("div.head", el("h2", { id: "why-title" }, `${NAMES[metric] ?? metric}: why?`), button("Close", "close", {}, { ...QUIET, autofocus: true })),
		el("p.when", range ? `${range.start} to ${range.end}, ${ctx.zone}` : "All time", part && `, ${part.said}`, inside.view.dated === "first_touch" && ", dated by first contact", ctx.asOf && `, as it was known on ${view.as_of}`),
		ctx.can("explain/", "as_of") && el("label.choice", el("span", "As of"), el("input", { type: "date", "data-set": "as_of", "data-value": view.as_of, value: view.as_of, max: ctx.today })),
		view.why_campaign && !view.campaign && el("p", button("← All campaigns", "why-up", {}, QUIET), el("strong", ` ${named(ctx)}`)),
		kind === "cell" ? cell(inside, metric) : [kind === "row" && row(inside, metric), isRate(metric) ? rate(whole, metric) : inside.view.campaign ? contributions(whole, metric) : byCampaign(whole, metric)],
		view.as_of && inside.view.campaign && ctx.can("changes/") && changes(inside),
	];
}

const about = ({ view }, campaign, workspace) => ({ campaign, workspace, from: view.why_from, to: view.why_to, dated: view.why_dated, part: view.why_part });

function named({ answers, view, workspace }) {
	const entry = answers.need("/campaigns/", { workspace_id: view.why_workspace || workspace, campaign_id: view.why_campaign });
	return entry.data?.campaigns[0]?.name ?? "";
}

function rate(ctx, metric) {
	return given(ctx.part?.one ?? ctx.answers.need("summary/", summary(ctx)), (data) => {
		const analytics = ctx.part ? ctx.part.all(data) : data.analytics;
		const [part, all] = RATES[metric].map((each) => [number(each, analytics[each], about(ctx, ctx.view.campaign, ctx.view.campaign && ctx.workspace)), ` ${NAMES[each].toLowerCase()}`]);
		return [el("p.sum", `${NAMES[metric]} `, el("strong", shown(metric, analytics[metric])), " = ", part, " of ", all)];
	});
}

/** The campaigns that make a number of several. */
function byCampaign(ctx, metric) {
	const { counted } = ctx, of = ctx.part ?? { one: ctx.answers.need("summary/", summary(ctx)), of: (data) => data.analytics[counted], each: () => ctx.answers.need("", { ...filters(ctx), include: "extended" }), parts: (data) => data.campaigns.map((each) => [each, each.analytics[counted]]) };
	const mean = metric === TIME && !ctx.part;
	return given(of.one, (data) => given(of.each(), (each) => {
		const value = of.of(data), parts = of.parts(each).filter(([, part]) => part).sort((one, other) => other[1] - one[1]);
		let sum = 0;
		const rows = parts.map(([campaign, part]) => {
			sum += part;
			return { key: keyOf(campaign), cells: [[campaign.name, ctx.workspace === "ALL" && el("small", ` ${workspaceName(ctx, campaign.workspace_id)}`)], ...(mean ? [shown(metric, campaign.analytics[metric])] : []), number(metric, part, about(ctx, campaign.id, campaign.workspace_id), whole(part)), whole(sum)] };
		});
		return [
			el("p.sum", { "data-sum": sum, "data-of": value }, el("strong", whole(value)), ` ${NAMES[counted].toLowerCase()}`, mean && [" that took ", el("strong", shown(metric, data.analytics[metric])), " on average"], parts.length > 1 && ` = ${parts.slice(0, 8).map(([, part]) => whole(part)).join(" + ")}${parts.length > 8 ? " + …" : ""}`, adding(sum, value)),
			rows.length ? table("The campaigns that make it", ["Campaign", ...(mean ? [count("Mean")] : []), count("Its part"), SO_FAR], rows) : empty("Nothing counts towards it."),
		];
	}));
}

/** The prospects and events of a campaign, or of a part of it, a page at a time. */
function contributions(ctx, metric) {
	const { answers, zone, part } = ctx, time = metric === TIME, limit = part ? SEARCHED : PAGE;
	const { campaign_id: campaign, status, ...of } = filters(ctx);
	const path = `${campaign}/explain/`, question = { ...of, metric, limit };
	const id = JSON.stringify([path, question]);
	if (!pages.has(id)) pages.clear(), pages.set(id, []);
	const cursors = pages.get(id);
	const entries = [answers.need(path, question), ...cursors.map((cursor) => answers.need(path, { ...question, cursor }))];
	if (entries.some(({ data }) => data && data.value !== entries[0].data?.value)) pages.set(id, []), (entries.length = 1); // another state
	else if (entries.length > 1 && entries.at(-1).data === null && !entries.at(-1).loading) pages.set(id, []); // does not hold
	return given(entries[0], (first) => given(part?.one ?? entries[0], (data) => {
		const took = (ms) => duration(ms / 1_000), say = time && !part ? took : whole, value = part ? part.of(data) ?? 0 : first.value;
		const known = entries.filter((entry) => entry.data).map((entry) => entry.data);
		const listed = known.flatMap((page) => page.contributions).filter(part?.has ?? (() => true)), next = known.at(-1).next;
		let sum = 0;
		const rows = listed.map((each) => {
			sum += part ? 1 : each.value;
			return { cells: [each.prospect_id, instant(each.at, zone), ...(time ? [took(each.value)] : []),
				el("ul", each.events.map((event) => el("li", words(event.type), time && ` ${instant(event.occurred_at, zone)}`, el("small", ` ${event.id}${event.source ? ` from ${event.source}` : ""}, no. ${whole(event.position)} of the log`)))), say(sum)] };
		});
		const open = next && !(part && sum === value), turns = time && !part && value > 0 && ` (${whole(listed.length)}${next ? " of more" : ""} turns${next ? "" : `, ${took(sum / listed.length)} on average`})`;
		return [
			el("p.sum", { "data-sum": sum, "data-of": value, "data-whole": !open }, el("strong", say(value)), turns, open ? ` – ${say(sum)} of it so far` : adding(sum, value)),
			rows.length ? table("The prospects and events that make it", ["Prospect", "When", ...(time ? [count("Took")] : []), "Because of", SO_FAR], rows, { class: "wide" }) : !open && empty("Nothing counts towards it."),
			open && el("p", button(`${part ? "Look through" : "Show"} ${whole(limit)} more`, "more", { id, cursor: next })),
			entries.at(-1).error && problem(entries.at(-1).error),
		];
	}));
}

/** Show another page of an explanation. */
export function more(id, cursor) {
	const cursors = pages.get(id);
	if (cursors && !cursors.includes(cursor)) cursors.push(cursor);
}

/** What has changed since the view's day. */
function changes(ctx) {
	const entry = ctx.answers.need("changes/", { workspace_id: ctx.workspace, from: ctx.asOf });
	if (absent(entry)) return null;
	return el("section", el("h3", "What has changed since"), given(entry, (data) => {
		const of = data.campaigns.filter((campaign) => String(campaign.id) === String(ctx.view.campaign)).flatMap((campaign) => campaign.changes);
		return of.length ? el("ul", of.map((each) => el("li", `${NAMES[each.metric] ?? each.metric}: ${shown(each.metric, each.before)} → ${shown(each.metric, each.after)}`))) : el("p", "Nothing.");
	}));
}
