// Why a number is what it is: the campaigns that make it, then the prospects and events, adding up before one's eyes.

import { el } from "/page/dom.js";
import { NAMES, RATES, duration, instant, isRate, shown, whole, words } from "/page/format.js";
import { absent, button, given, number, problem } from "/page/parts.js";
import { DASHBOARD, filters } from "/page/questions.js";

const PAGE = 100;
const pages = new Map(); // by question, the cursors of the pages that are shown

/** Return the dialog's content for the number that a view asks about. */
export function why(ctx) {
  const { view } = ctx;
  const metric = view.why;
  const range = view.why_from ? { start: view.why_from, end: view.why_to } : ctx.range;
  const inside = { ...ctx, range, asOf: ctx.asOf, view: { ...view, campaign: view.why_campaign || view.campaign, dated: view.why_dated || (view.why_from ? "" : view.dated) }, workspace: view.why_workspace || ctx.workspace };
  const name = NAMES[metric] ?? metric;
  return [
    el("div", { class: "head" }, el("h2", { id: "why-title" }, `${name}: why?`), button("Close", "close", {}, { class: "quiet", autofocus: true })),
    el("p", { class: "when" }, range ? `${range.start} to ${range.end}, ${ctx.zone}` : "All time", inside.view.dated === "first_touch" && ", dated by first contact", ctx.asOf && `, as it was known on ${ctx.view.as_of}`),
    ctx.can("explain/", "as_of") && el("label", { class: "choice" }, el("span", {}, "As of"), el("input", { type: "date", "data-set": "as_of", "data-value": view.as_of, value: view.as_of, max: ctx.today })),
    view.why_campaign && !view.campaign && el("p", {}, button("← All campaigns", "why-up", {}, { class: "quiet" }), el("strong", {}, ` ${named(ctx)}`)),
    isRate(metric) ? rate(inside, metric) : inside.view.campaign ? contributions(inside, metric) : byCampaign(inside, metric),
    view.as_of && inside.view.campaign && ctx.can("changes/") && changes(inside),
  ];
}

const about = (ctx, campaign, workspace) => ({ campaign, workspace, from: ctx.view.why_from, to: ctx.view.why_to, dated: ctx.view.why_dated });

function named({ answers, view, workspace }) {
  const entry = answers.need("campaigns/", { workspace_id: view.why_workspace || workspace, campaign_id: view.why_campaign });
  return entry.data?.campaigns[0]?.name ?? "";
}

function rate(ctx, metric) {
  const [part, all] = RATES[metric];
  const entry = ctx.answers.need(`${DASHBOARD}summary/`, { ...filters(ctx), include: "extended" });
  return given(entry, ({ analytics }) => [
    el("p", { class: "sum" }, `${NAMES[metric]} `, el("strong", {}, shown(metric, analytics[metric])), " = ", number(part, analytics[part], about(ctx, ctx.view.campaign, ctx.view.campaign && ctx.workspace)), ` ${NAMES[part].toLowerCase()} of `, number(all, analytics[all], about(ctx, ctx.view.campaign, ctx.view.campaign && ctx.workspace)), ` ${NAMES[all].toLowerCase()}`),
    el("p", {}, "Each of the two can be asked why."),
  ]);
}

/** The campaigns that make a number of several. */
function byCampaign(ctx, metric) {
  const { answers } = ctx;
  const counted = metric === "average_reply_time" ? "amount_of_timed_replies" : metric;
  const question = { ...filters(ctx), include: "extended" };
  const total = answers.need(`${DASHBOARD}summary/`, question), each = answers.need(DASHBOARD, question);
  return given(total, (summary) => given(each, (data) => {
    const value = summary.analytics[counted];
    const parts = data.campaigns.filter((campaign) => campaign.analytics[counted]);
    parts.sort((one, other) => other.analytics[counted] - one.analytics[counted]);
    let sum = 0;
    const names = new Map(ctx.me.workspaces.map((workspace) => [workspace.id, workspace.name]));
    const rows = parts.map((campaign) => {
      sum += campaign.analytics[counted];
      return el("tr", { "data-key": `${campaign.workspace_id}/${campaign.id}` }, el("th", { scope: "row" }, campaign.name, ctx.workspace === "ALL" && el("small", {}, ` ${names.get(campaign.workspace_id) ?? campaign.workspace_id}`)),
        metric === "average_reply_time" && el("td", { class: "right" }, shown(metric, campaign.analytics[metric])),
        el("td", { class: "right" }, number(metric, campaign.analytics[counted], about(ctx, campaign.id, campaign.workspace_id), whole(campaign.analytics[counted]))), el("td", { class: "right" }, whole(sum)));
    });
    return [
      el("p", { class: "sum", "data-sum": sum, "data-of": value }, el("strong", {}, whole(value)), ` ${NAMES[counted].toLowerCase()}`, metric === "average_reply_time" && [" that took ", el("strong", {}, shown(metric, summary.analytics[metric])), " on average"], parts.length > 1 && ` = ${parts.slice(0, 8).map((part) => whole(part.analytics[counted])).join(" + ")}${parts.length > 8 ? " + …" : ""}`, adding(sum, value)),
      rows.length ? el("table", {}, el("caption", { class: "hidden" }, "The campaigns that make it"), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Campaign"), metric === "average_reply_time" && el("th", { scope: "col", class: "right" }, "Mean"), el("th", { scope: "col", class: "right" }, "Its part"), el("th", { scope: "col", class: "right" }, "Sum so far"))), el("tbody", {}, rows)) : el("p", { class: "empty" }, "Nothing counts towards it."),
    ];
  }));
}

function adding(sum, value) {
  return el("span", { class: sum === value ? "adds" : "differs" }, sum === value ? " ✓ adds up" : " – being brought up to date");
}

/** The prospects and events of one campaign, a page at a time. */
function contributions(ctx, metric) {
  const { answers, zone } = ctx;
  const { campaign_id: campaign, status, ...of } = filters(ctx);
  const path = `${DASHBOARD}${campaign}/explain/`, question = { ...of, metric, limit: PAGE };
  const id = JSON.stringify([path, question]);
  if (!pages.has(id)) pages.clear(), pages.set(id, []);
  const cursors = pages.get(id);
  const entries = [answers.need(path, question), ...cursors.map((cursor) => answers.need(path, { ...question, cursor }))];
  if (entries.length > 1 && entries.at(-1).data === null && !entries.at(-1).loading) pages.set(id, []); // a cursor that no longer holds
  return given(entries[0], (first) => {
    const time = metric === "average_reply_time", say = (value) => (time ? duration(value / 1_000) : whole(value));
    const known = entries.filter((entry) => entry.data).map((entry) => entry.data);
    const listed = known.flatMap((page) => page.contributions), next = known.at(-1).next;
    let sum = 0;
    const rows = listed.map((each) => {
      sum += each.value;
      return el("tr", {}, el("td", { class: "right" }, say(sum)), el("th", { scope: "row" }, each.prospect_id), el("td", {}, instant(each.at, zone)), time && el("td", { class: "right" }, say(each.value)),
        el("td", {}, el("ul", {}, each.events.map((event) => el("li", {}, words(event.type), time && ` ${instant(event.occurred_at, zone)}`, el("small", {}, ` ${event.id}${event.source ? ` from ${event.source}` : ""}, no. ${whole(event.position)} of the log`))))));
    });
    const whole_ = time && first.value ? el("span", {}, ` (${whole(listed.length)}${next ? " of more" : ""} turns${next ? "" : `, ${duration(sum / 1_000 / listed.length)} on average`})`) : null;
    return [
      el("p", { class: "sum", "data-sum": sum, "data-of": first.value, "data-whole": !next }, el("strong", {}, say(first.value)), whole_, next ? ` – ${say(sum)} of it so far` : adding(sum, first.value)),
      rows.length ? el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The prospects and events" }, el("table", { class: "wide" }, el("caption", { class: "hidden" }, "The prospects and events that make it"), el("thead", {}, el("tr", {}, ["Sum so far", "Prospect", "When", ...(time ? ["Took"] : []), "Because of"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows))) : el("p", { class: "empty" }, "Nothing counts towards it."),
      next && el("p", {}, button(`Show ${PAGE} more`, "more", { id, cursor: next })),
      entries.at(-1).error && problem(entries.at(-1).error),
    ];
  });
}

/** Show another page of an explanation. */
export function more(id, cursor) {
  const cursors = pages.get(id);
  if (cursors && !cursors.includes(cursor)) cursors.push(cursor);
}

/** What has changed since the day that a view looks at. */
function changes(ctx) {
  const entry = ctx.answers.need(`${DASHBOARD}changes/`, { workspace_id: ctx.workspace, from: ctx.asOf });
  if (absent(entry)) return null;
  return el("section", {}, el("h3", {}, "What has changed since"), given(entry, (data) => {
    const of = data.campaigns.filter((campaign) => String(campaign.id) === String(ctx.view.campaign)).flatMap((campaign) => campaign.changes);
    return of.length ? el("ul", {}, of.map((each) => el("li", {}, `${NAMES[each.metric] ?? each.metric}: ${shown(each.metric, each.before)} → ${shown(each.metric, each.after)}`))) : el("p", {}, "Nothing.");
  }));
}

