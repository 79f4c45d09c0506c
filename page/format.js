// Numbers, rates, durations and instants as people read them.

const WHOLE = new Intl.NumberFormat("en");
const SIGNED = new Intl.NumberFormat("en", { signDisplay: "exceptZero" });

export const NAMES = {
  amount_of_prospects: "Prospects", amount_of_prospects_contacted: "Contacted", amount_of_emails_sent: "E-mails",
  amount_of_invites_sent: "Invites", amount_of_invites_accepted: "Invites accepted", amount_of_linkedin_messages_sent: "LinkedIn messages",
  amount_of_replies: "Replies", amount_of_interested: "Interested", amount_of_not_interested: "Not interested",
  amount_of_meetings_booked: "Meetings", amount_of_prospects_replied: "Prospects who replied",
  amount_of_prospects_accepted: "Accepted", amount_of_emails_opened: "Opens", amount_of_emails_clicked: "Clicks",
  amount_of_emails_bounced: "Bounces", amount_of_automatic_replies: "Automatic replies", amount_of_prospects_opened: "Prospects who opened",
  amount_of_prospects_clicked: "Prospects who clicked", amount_of_prospects_unsubscribed: "Unsubscribed", amount_of_timed_replies: "Timed replies",
  average_reply_time: "Mean reply time", average_reply_time_seconds: "Mean reply time", acceptance_rate: "Acceptance rate",
  reply_rate: "Reply rate", interested_rate: "Interested rate", open_rate: "Open rate", bounce_rate: "Bounce rate",
};

/** What a rate is the share of, and of what; each of both can be explained. */
export const RATES = {
  acceptance_rate: ["amount_of_invites_accepted", "amount_of_invites_sent"],
  reply_rate: ["amount_of_prospects_replied", "amount_of_prospects_contacted"],
  interested_rate: ["amount_of_interested", "amount_of_prospects_replied"],
  open_rate: ["amount_of_prospects_opened", "amount_of_prospects_contacted"],
  bounce_rate: ["amount_of_emails_bounced", "amount_of_emails_sent"],
};

export const isRate = (metric) => metric in RATES;
export const isTime = (metric) => metric === "average_reply_time_seconds" || metric === "average_reply_time";

/** Return a metric's value in words. */
export function shown(metric, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (isRate(metric)) return percent(value);
  if (isTime(metric)) return duration(value);
  return WHOLE.format(value);
}

export const whole = (value) => WHOLE.format(value);
export const signed = (value) => SIGNED.format(value);

/** A share is exact to four decimals, so it is shown to a hundredth of a percent at most. */
export function percent(share) {
  return `${(Math.round(share * 10_000) / 100).toLocaleString("en", { maximumFractionDigits: 2 })} %`;
}

/** @param {number} seconds */
export function duration(seconds) {
  for (const [unit, length, most] of /** @type {[string, number, number][]} */ ([["s", 1, 60], ["min", 60, 3_600], ["h", 3_600, 172_800], ["d", 86_400, Infinity]])) {
    if (seconds < most) return `${(seconds / length).toLocaleString("en", { maximumFractionDigits: length > 1 ? 1 : 0 })} ${unit}`;
  }
  return "";
}

/** How a value differs from the one before, in words; null where there is nothing to compare. */
export function change(metric, now, before) {
  if (typeof now !== "number" || typeof before !== "number") return null;
  const by = now - before;
  const way = by === 0 ? "same" : by > 0 ? "up" : "down";
  const sign = by > 0 ? "+" : by < 0 ? "−" : "±";
  if (isRate(metric)) return { way, text: `${sign}${(Math.round(Math.abs(by) * 10_000) / 100).toLocaleString("en", { maximumFractionDigits: 2 })} points` };
  if (isTime(metric)) return { way, text: `${sign}${duration(Math.abs(by))}` };
  const share = before && Math.abs(by) < 10 * before ? ` (${sign}${Math.round((Math.abs(by) / before) * 100)} %)` : "";
  return { way, text: `${sign}${WHOLE.format(Math.abs(by))}${share}` };
}

/** An instant in a zone, to the minute. */
export function instant(text, zone) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(text));
}

/** A bucket of a series: its first instant, as its own text has it. */
export function bucket(start, interval) {
  const [day, time] = start.split("T");
  const [year, month, date] = day.split("-").map(Number);
  const at = new Date(Date.UTC(year, month - 1, date));
  const say = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(at);
  if (interval === "hour") return `${say({ day: "numeric", month: "short" })}, ${time.slice(0, 5)}`;
  if (interval === "month") return say({ month: "long", year: "numeric" });
  const text = say({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
  return interval === "week" ? `Week from ${text}` : text;
}

/** An event's type in words. */
export const words = (type) => type.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().replace("linked in", "LinkedIn").replace(/^./, (first) => first.toUpperCase());
