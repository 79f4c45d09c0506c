// The overview: how all matching campaigns are doing, over time, by hour of the week, and each of them.

import { bars, heat, lines, trend } from "/page/charts.js";
import { el, lazy, versionOf } from "/page/dom.js";
import { NAMES, bucket, change, duration, isRate, isTime, shown, whole } from "/page/format.js";
import { absent, button, choice, csv, given, number, section, table } from "/page/parts.js";
import { intervals } from "/page/period.js";
import { DASHBOARD, bucketEnd, filters, filtersBefore, interval, series } from "/page/questions.js";

const TILES = ["amount_of_prospects_contacted", "amount_of_replies", "reply_rate", "amount_of_interested", "amount_of_meetings_booked", "average_reply_time_seconds"];
const TOUCHES = ["amount_of_emails_sent", "amount_of_invites_sent", "amount_of_linkedin_messages_sent"];
export const CHARTED = [
  "amount_of_prospects_contacted", "amount_of_replies", "reply_rate", "amount_of_interested", "amount_of_meetings_booked", "amount_of_emails_sent",
  "amount_of_invites_sent", "amount_of_invites_accepted", "amount_of_linkedin_messages_sent", "amount_of_prospects", "amount_of_prospects_replied",
  "average_reply_time_seconds", "acceptance_rate", "interested_rate", "open_rate", "bounce_rate", "amount_of_emails_opened", "amount_of_prospects_unsubscribed",
];

export function overview(ctx) {
  return [tiles(ctx), chart(ctx), campaigns(ctx), hours(ctx), times(ctx)];
}

/** The most important numbers, each with its change against the period before and its trend. */
export function tiles(ctx) {
  const { answers, view } = ctx;
  const now = answers.need(`${DASHBOARD}summary/`, { ...filters(ctx), include: "extended" });
  const earlier = filtersBefore(ctx) && answers.need(`${DASHBOARD}summary/`, { ...filtersBefore(ctx), include: "extended" });
  const over = answers.need(`${DASHBOARD}timeseries/`, series(ctx));
  const median = ctx.can("reply-times/") ? answers.need(`${DASHBOARD}reply-times/`, filters(ctx)) : null;
  const medianBefore = median && filtersBefore(ctx) ? answers.need(`${DASHBOARD}reply-times/`, filtersBefore(ctx)) : null;
  return el("section", { "data-key": "tiles", "aria-labelledby": "h-tiles", class: "tiles" }, el("h2", { id: "h-tiles", class: "hidden" }, "At a glance"), given(now, (data) => TILES.map((metric) => {
    let value = data.analytics[metric], past = earlier?.data?.analytics[metric], name = NAMES[metric];
    if (isTime(metric) && median?.data) [value, past, name] = [median.data.median_seconds, medianBefore?.data?.median_seconds, "Median reply time"];
    const differs = change(metric, value, past);
    const values = over.data?.series?.map((each) => each.analytics[metric]);
    return el("div", { class: "tile", "data-key": metric },
      el("h3", {}, name),
      el("p", { class: "value" }, number(isTime(metric) ? "average_reply_time" : metric, value, { campaign: view.campaign, workspace: view.campaign && ctx.workspace }, shown(metric, value))),
      el("p", { class: `change ${differs?.way ?? ""}` }, differs ? [differs.text, el("small", {}, " vs the period before")] : earlier?.loading ? " " : el("small", {}, ctx.range ? "nothing to compare with" : "all time")),
      values && trend(values));
  })));
}

/** One or two numbers over time, as a chart and as a table. */
export function chart(ctx) {
  const { answers, view } = ctx;
  const question = series(ctx), entry = answers.need(`${DASHBOARD}timeseries/`, question);
  const metrics = [view.metric, view.second].filter((metric, at, all) => CHARTED.includes(metric) && all.indexOf(metric) === at);
  const options = CHARTED.map((metric) => [metric, NAMES[metric]]);
  const tools = [
    choice("Show", "metric", view.metric, options), choice("and", "second", view.second, [["none", "nothing else"], ...options]),
    choice("by", "interval", interval(ctx), intervals(ctx.range).map((each) => [each, each])), csv(`${DASHBOARD}timeseries/`, question, "timeseries"),
  ];
  return section("chart", "Over time", tools, given(entry, (data) => {
    if (!data.series.length) return el("p", { class: "empty" }, "Nothing has happened yet.");
    const labels = data.series.map((each) => ({ long: bucket(each.start, data.interval), short: bucket(each.start, data.interval).replace(/^Week from /, "").replace(/^\w{3}, /, "").replace(/ \d{4}$/, "") }));
    const drawn = metrics.map((metric) => ({ name: NAMES[metric], values: data.series.map((each) => each.analytics[metric]), say: (value) => shown(metric, value === null || isRate(metric) || isTime(metric) ? value : Math.round(value * 100) / 100), whole: !isRate(metric) && !isTime(metric) }));
    const legend = el("p", { class: "legend" }, drawn.map((each, n) => el("span", { class: `key s${n}` }, each.name)));
    const rows = data.series.map((each, at) => {
      const day = each.start.slice(0, 10), end = bucketEnd(day, data.series[at + 1]?.start.slice(0, 10), data.interval, ctx);
      const about = { campaign: view.campaign, workspace: view.campaign && ctx.workspace, from: day, to: end, dated: view.dated };
      return { key: each.start, cells: [labels[at].long, ...metrics.map((metric) => (data.interval === "hour" ? shown(metric, each.analytics[metric]) : number(isTime(metric) ? "average_reply_time" : metric, each.analytics[metric], about, shown(metric, each.analytics[metric]))))] };
    });
    return [legend, lines("lines", labels, drawn), el("details", { "data-key": "behind" }, el("summary", {}, "The numbers behind it"), table("Over time", [{ name: "From" }, ...metrics.map((metric) => ({ name: NAMES[metric], number: true }))], rows))];
  }));
}

/** When people are touched, and when they answer. */
function hours(ctx) {
  if (!ctx.can("breakdown/", "by", "weekday,hour")) return null;
  const question = { ...filters(ctx), timezone: ctx.zone, by: "weekday,hour" };
  const entry = ctx.answers.need(`${DASHBOARD}breakdown/`, question);
  return section("hours", "When people answer", [csv(`${DASHBOARD}breakdown/`, question, "hours")], given(entry, (data) => {
    return lazy("div", { class: "pair" }, versionOf(data), () => weeks(data));
  }));
}

function weeks(data) {
  const cells = new Map(data.rows.map((row) => [`${row.weekday}/${row.hour}`, row.analytics]));
  const touches = (day, hour) => TOUCHES.reduce((sum, each) => sum + (cells.get(`${day}/${hour}`)?.[each] || 0), 0);
  const replies = (day, hour) => cells.get(`${day}/${hour}`)?.amount_of_replies || 0;
  return [heat("Replies", replies, (value) => `${whole(value)} replies`), heat("Touches", touches, (value) => `${whole(value)} touches`)];
}

/** How long replies take. */
function times(ctx) {
  if (!ctx.can("reply-times/")) return null;
  const entry = ctx.answers.need(`${DASHBOARD}reply-times/`, filters(ctx));
  if (absent(entry)) return null;
  return section("times", "How long replies take", [], given(entry, (data) => {
    if (!data.count) return el("p", { class: "empty" }, "No reply has come yet.");
    let from = 0;
    const rows = data.histogram.map((each) => {
      const name = each.up_to_seconds === null ? `over ${duration(from)}` : `up to ${duration(each.up_to_seconds)}`;
      from = each.up_to_seconds ?? from;
      return { name, value: each.count, text: whole(each.count) };
    });
    const facts = [["median", data.median_seconds], ["three of four within", data.p75_seconds], ["nine of ten within", data.p90_seconds], ["longest", data.longest_seconds]];
    return [el("p", {}, facts.map(([name, value], at) => [at ? " · " : "", `${name} `, el("strong", {}, duration(value))])), bars(rows)];
  }));
}

export const COLUMNS = ["amount_of_prospects_contacted", "amount_of_replies", "reply_rate", "amount_of_interested", "amount_of_meetings_booked", "average_reply_time"];
const MORE = ["amount_of_prospects", "amount_of_emails_sent", "amount_of_invites_sent", "amount_of_invites_accepted", "amount_of_linkedin_messages_sent", "amount_of_prospects_replied", "amount_of_prospects_accepted", "acceptance_rate", "interested_rate", "open_rate", "bounce_rate", "amount_of_emails_opened", "amount_of_emails_clicked", "amount_of_emails_bounced", "amount_of_prospects_unsubscribed", "amount_of_not_interested"];
export const FIRST_ROWS = 100; // and so many more each time: a browser lays out a thousand in a third of a second

/** Return the campaigns that a view shows, sorted as it says: ties by workspace and id, nothing last. */
export function chosen(campaigns, view) {
  const search = view.search.trim().toLocaleLowerCase();
  const by = view.sort.replace(/^-/, ""), way = view.sort.startsWith("-") ? -1 : 1;
  const metric = by === "average_reply_time" ? "average_reply_time_seconds" : by;
  const value = (each) => (by === "name" || by === "status" || by === "id" ? each[by] : each.analytics[metric]);
  const found = campaigns.filter((each) => !search || each.name.toLocaleLowerCase().includes(search));
  const compare = new Intl.Collator("en").compare;
  return found.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null) || one.workspace_id - other.workspace_id || one.id - other.id;
    const order = typeof a === "string" ? compare(a, b) : a - b;
    return way * order || one.workspace_id - other.workspace_id || one.id - other.id;
  });
}

/** Each campaign with its numbers. */
export function campaigns(ctx) {
  const { answers, view, me } = ctx;
  const question = { ...filters(ctx), include: "extended" };
  const entry = answers.need(DASHBOARD, question);
  const columns = view.rows ? [...COLUMNS, ...MORE].filter((metric) => view.rows.split(",").includes(metric)) : COLUMNS;
  const several = ctx.workspace === "ALL" && me.workspaces.length > 1;
  const head = (name, text, right) => {
    const sorted = view.sort.replace(/^-/, "") === name, down = view.sort.startsWith("-");
    return el("th", { scope: "col", class: right ? "right" : null, "aria-sort": sorted ? (down ? "descending" : "ascending") : null }, button(text, "sort", { by: name, first: right ? "-" : "" }, { class: "sort" }));
  };
  const tools = [
    el("label", { class: "choice" }, el("span", {}, "Search"), el("input", { type: "search", "data-typed": "search", "data-value": view.search, value: view.search, placeholder: "part of a name" })),
    el("details", { class: "menu", "data-key": "columns" }, el("summary", {}, "Columns"), el("fieldset", {}, el("legend", { class: "hidden" }, "Columns"), [...COLUMNS, ...MORE].map((metric) => el("label", {}, el("input", { type: "checkbox", "data-column": metric, checked: columns.includes(metric) }), NAMES[metric])))),
    csv(DASHBOARD, question, "campaigns"),
  ];
  return section("campaigns", "Campaigns", tools, given(entry, (data) => {
    if (!data.campaigns.length) return empty(ctx);
    const found = chosen(data.campaigns, view);
    if (!found.length) return el("p", { class: "empty" }, `No campaign has “${view.search}” in its name. `, button("Show all", "set", { name: "search", value: "" }));
    const visible = found.slice(0, ctx.most);
    const names = new Map(me.workspaces.map((each) => [each.id, each.name]));
    return [
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Campaigns, table" }, el("table", { class: "campaigns" }, el("caption", { class: "hidden" }, "Campaigns and their numbers"),
        el("thead", {}, el("tr", {}, head("name", "Campaign"), several && el("th", { scope: "col" }, "Workspace"), head("status", "Status"), columns.map((metric) => head(metric, NAMES[metric], true)))),
        el("tbody", {}, visible.map((each) => lazy("tr", { "data-key": `${each.workspace_id}/${each.id}` }, `${versionOf(each)} ${columns} ${several}`, () => [
          el("th", { scope: "row" }, button(each.name, "open", { campaign: each.id, workspace: each.workspace_id }, { class: "name" })),
          several && el("td", {}, names.get(each.workspace_id) ?? each.workspace_id),
          el("td", {}, el("span", { class: `status ${each.status.toLowerCase()}` }, each.status.toLowerCase())),
          columns.map((metric) => el("td", { class: "right" }, number(metric, each.analytics[metric], { campaign: each.id, workspace: each.workspace_id }))),
        ].filter(Boolean).flat()))))),
      found.length > visible.length && el("p", {}, `The first ${whole(visible.length)} of ${whole(found.length)}. `, button(`Show ${FIRST_ROWS} more`, "more-rows")),
    ];
  }));
}

/** What to do in a workspace where nothing has happened. */
function empty(ctx) {
  if (ctx.view.status) return el("p", { class: "empty" }, "No campaign has this status. ", button("Show all", "set", { name: "status", value: "" }));
  const id = ctx.workspace === "ALL" ? ctx.me.workspaces[0]?.id ?? 1 : ctx.workspace;
  const line = `curl '${location.origin}/api/v1/events/?workspace_id=${id}' -H "X-API-Key: $KEY" -H 'Content-Type: application/json' -d '
  {"id": "e-1", "type": "EmailSent", "campaign_id": 123, "prospect_id": "p-1", "occurred_at": "${new Date(Math.floor(Date.now() / 60_000) * 60_000).toISOString()}"}'`;
  return el("div", { class: "empty" }, el("p", {}, "There is no campaign here yet. It appears with the first event that is posted about it, with a key that may write:"), el("pre", { tabindex: "0" }, line), el("p", {}, "This page shows it as soon as it has come."));
}
