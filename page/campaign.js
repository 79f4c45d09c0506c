// One campaign: its funnel, what it did by step, text, sender and channel, and how those contacted in each week fared.

import { inWords } from "/page/chance.js";
import { bars } from "/page/charts.js";
import { el } from "/page/dom.js";
import { NAMES, bucket, percent, shown, whole } from "/page/format.js";
import { chart, tiles } from "/page/overview.js";
import { button, choice, csv, given, number, section, table } from "/page/parts.js";
import { DASHBOARD, bucketEnd, filters } from "/page/questions.js";

const FUNNEL = ["amount_of_prospects", "amount_of_prospects_contacted", "amount_of_prospects_accepted", "amount_of_prospects_replied", "amount_of_interested", "amount_of_meetings_booked"];
const TOUCHES = ["amount_of_emails_sent", "amount_of_invites_sent", "amount_of_linkedin_messages_sent"];
const BREAKDOWN = [...TOUCHES, "amount_of_replies", "amount_of_prospects_replied", "amount_of_emails_opened", "amount_of_emails_bounced"];
const BY = { step: "Step", "step,variant": "Step and text", sender: "Sender", channel: "Channel" };
const COHORT = ["amount_of_prospects_contacted", "amount_of_prospects_accepted", "amount_of_prospects_replied", "reply_rate", "amount_of_interested", "amount_of_meetings_booked"];

export function campaign(ctx) {
  const { answers } = ctx;
  const entry = answers.need(DASHBOARD, { ...filters(ctx), include: "extended" });
  return [
    el("nav", { "data-key": "crumbs", "aria-label": "Where you are" }, button("← All campaigns", "back-to-all", {}, { class: "quiet" })),
    el("div", { "data-key": "campaign-name" }, given(entry, (data) => {
      const found = data.campaigns[0];
      return found ? el("h2", { class: "title", tabindex: "-1", id: "campaign-title" }, found.name, " ", el("span", { class: `status ${found.status.toLowerCase()}` }, found.status.toLowerCase()))
        : el("p", { class: "empty" }, "There is no such campaign in this workspace.");
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
      // Acceptances are a way of their own: who answers an e-mail need not have accepted an invitation.
      const from = metric === "amount_of_prospects_replied" ? 1 : at - 1;
      const note = at && values[from] ? ` ${percent(values[at] / values[from])} of ${NAMES[FUNNEL[from]].toLowerCase()}` : null;
      return { name: NAMES[metric], value: values[at], text: number(metric, values[at], about(ctx, { dated: ctx.view.dated })), note };
    }));
  }));
}

function breakdown(ctx) {
  const by = BY[ctx.view.part] ? ctx.view.part : "step";
  const question = { ...filters(ctx), by, include: "extended" };
  const entry = ctx.answers.need(`${DASHBOARD}breakdown/`, question);
  const tools = [choice("By", "part", by, Object.entries(BY)), csv(`${DASHBOARD}breakdown/`, question, "breakdown")];
  return section("breakdown", "What works", tools, given(entry, (data) => {
    if (!data.rows.length) return el("p", { class: "empty" }, "Nothing happened in this period.");
    const named = (value, key) => (value === null || value === undefined ? `no ${key}` : String(value));
    const rows = data.rows.map((row) => ({
      key: data.by.map((key) => named(row[key], key)).join(" / "),
      cells: [data.by.map((key) => (key === "step" && row[key] !== null ? `Step ${row[key]}` : named(row[key], key))).join(", "), ...BREAKDOWN.map((metric) => shown(metric, row.analytics[metric])), answered(row)],
    }));
    const columns = [{ name: BY[by] }, ...BREAKDOWN.map((metric) => ({ name: NAMES[metric], number: true })), { name: "Answered", number: true }];
    return [by === "step,variant" && el("ul", { class: "verdicts", "data-key": "verdicts" }, verdicts(data.rows).map((text) => el("li", {}, text))), table(`By ${BY[by].toLowerCase()}`, columns, rows)];
  }));
}

const touches = (row) => TOUCHES.reduce((sum, metric) => sum + (row.analytics[metric] || 0), 0);

function answered(row) {
  const tries = touches(row);
  return tries ? percent(row.analytics.amount_of_prospects_replied / tries) : "–";
}

/** Say of each step's texts which is answered more often, and whether that may be chance. */
export function verdicts(rows) {
  const steps = new Map();
  for (const row of rows) if (row.step !== null && row.variant !== null && touches(row)) steps.set(row.step, [...(steps.get(row.step) || []), row]);
  return [...steps].flatMap(([step, of]) => {
    if (of.length < 2) return [];
    const sides = of.map((row) => ({ name: row.variant, hits: row.analytics.amount_of_prospects_replied, tries: touches(row) }));
    sides.sort((one, other) => other.hits * one.tries - one.hits * other.tries);
    const text = inWords(sides[0], sides[1], percent);
    return text ? [`Step ${step}: ${text} (${sides.slice(0, 2).map((side) => `${side.name}: ${whole(side.hits)} of ${whole(side.tries)}`).join(", ")})`] : [];
  });
}

function cohorts(ctx) {
  const question = { ...filters(ctx), timezone: ctx.zone, dated: "first_touch", interval: "week", include: "extended" };
  const entry = ctx.answers.need(`${DASHBOARD}timeseries/`, question);
  return section("cohorts", "By week of first contact", [csv(`${DASHBOARD}timeseries/`, question, "cohorts")], given(entry, (data) => {
    if (!data.series.length) return el("p", { class: "empty" }, "Nobody has been contacted yet.");
    const rows = data.series.map((each, at) => {
      const day = each.start.slice(0, 10), end = bucketEnd(day, data.series[at + 1]?.start.slice(0, 10), "week", ctx);
      return { key: each.start, cells: [bucket(each.start, "week"), ...COHORT.map((metric) => number(metric, each.analytics[metric], about(ctx, { dated: "first_touch", from: day, to: end })))] };
    });
    return table("By week of first contact", [{ name: "First contacted in" }, ...COHORT.map((metric) => ({ name: NAMES[metric], number: true }))], rows);
  }));
}
