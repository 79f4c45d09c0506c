// How ingestion is doing: how fresh the numbers are, what came in lately, what was rejected and why.

import { el } from "./dom.js";
import { instant, whole, words } from "./format.js";
import { empty, given, section, table } from "./parts.js";

const LATEST = 10, SHOWN = 20, STUCK_MS = 60_000;

/** Say how fresh the numbers are: {kind, text}. */
export function freshness(ctx) {
	const { live, zone } = ctx;
	const since = instant(new Date(live.since).toISOString(), zone).slice(-8);
	if (ctx.asOf) return { kind: "calm", text: `As it was known on ${ctx.view.as_of}` };
	if (ctx.unreachable) return { kind: "bad", text: `No connection since ${since}: what you see may be old` };
	if (ctx.answers.failing.length) return { kind: "bad", text: "Some numbers may be old: they are asked for again" };
	if (live.state === "connecting") return { kind: "calm", text: "Connecting …" };
	const stuck = [...live.positions.values()].filter((each) => each.behindSince && Date.now() - each.behindSince > STUCK_MS);
	if (stuck.length) return { kind: "bad", text: `Workspace ${stuck.map((each) => each.workspace_id).join(", ")} has not moved for a minute while events wait: tell whoever runs the service` };
	const behind = live.behind;
	if (live.state === "polling") return { kind: "warn", text: "No live connection: looking every 2 s" };
	return behind ? { kind: "warn", text: `Live, ${whole(behind)} events behind` } : { kind: "good", text: "Live, up to date" };
}

export function health(ctx) {
	if (ctx.workspace === "ALL") return section("health", "Ingestion", [], empty("Choose one workspace to see what came in lately and what was rejected."));
	const told = ctx.live.positions.get(Number(ctx.workspace));
	const rejected = ctx.answers.need("/events/rejections/", { workspace_id: ctx.workspace });
	const events = told && ctx.answers.need("/events/", { workspace_id: ctx.workspace, after: Math.max(0, told.head - LATEST), limit: LATEST });
	const behind = told ? told.head - told.position : 0;
	return section("health", "Ingestion", [],
		el("p", told ? [el("strong", whole(told.head)), " events in the log, ", behind ? `${whole(behind)} of them not yet in the numbers.` : "all of them in the numbers."] : "How many events there are is not known yet."),
		el("div.pair",
			el("div", el("h3", "Came in last"), events ? given(events, (data) => (data.events.length ? table("Events that came in last", ["Event", "About", "Came in"], data.events.slice().reverse().map((event) => ({ key: event.position, cells: [words(event.type ?? "?"), event.prospect_id ?? `campaign ${event.campaign_id ?? "?"}`, instant(event.recorded_at, ctx.zone)] }))) : empty("Nothing yet."))) : empty("–")),
			el("div", el("h3", "Rejected lately"), given(rejected, (data) => (data.rejections.length ? [
				el("p", `${data.rejections.length >= 1_000 ? "The latest " : ""}${whole(data.rejections.length)}: `, counts(data.rejections)),
				table("Rejected events", ["Event", "Why", "When"], data.rejections.slice(0, SHOWN).map((each) => ({ cells: [each.id ?? "?", each.error, instant(each.at, ctx.zone)] }))),
			] : empty("Nothing was rejected."))))));
}

function counts(rejections) {
	const of = new Map();
	for (const each of rejections) of.set(each.code, (of.get(each.code) || 0) + 1);
	return [...of].map(([code, count]) => `${whole(count)} × ${code.replaceAll("_", " ")}`).join("; ");
}
