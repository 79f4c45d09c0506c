// Numbers, rates, durations and instants as people read them.

const formats = new Map();

/** Return a format of instants, made once. */
export function dates(locale, options) {
	const id = locale + JSON.stringify(options);
	if (!formats.has(id)) formats.set(id, new Intl.DateTimeFormat(locale, options));
	return formats.get(id);
}

const WHOLE = new Intl.NumberFormat("en");
const HUNDREDTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Return metrics by their names without `amount_of_`. */
export const ids = (names) => names.split(" ").map((each) => (/^average|_rate$|^touches/.test(each) ? each : `amount_of_${each}`));

export const NAMES = Object.fromEntries(Object.entries({
	prospects: "Prospects", prospects_contacted: "Contacted", emails_sent: "E-mails",
	invites_sent: "Invites", invites_accepted: "Invites accepted", linkedin_messages_sent: "LinkedIn messages",
	replies: "Replies", interested: "Interested", not_interested: "Not interested",
	meetings_booked: "Meetings", prospects_replied: "Prospects who replied",
	prospects_accepted: "Accepted", emails_opened: "Opens", emails_clicked: "Clicks",
	emails_bounced: "Bounces", automatic_replies: "Automatic replies", prospects_opened: "Prospects who opened",
	prospects_clicked: "Prospects who clicked", prospects_unsubscribed: "Unsubscribed", timed_replies: "Timed replies",
	average_reply_time: "Mean reply time", average_reply_time_seconds: "Mean reply time", acceptance_rate: "Acceptance rate",
	reply_rate: "Reply rate", touches: "Touches", interested_rate: "Interested rate", open_rate: "Open rate", bounce_rate: "Bounce rate",
}).map(([each, name]) => [ids(each)[0], name]));

/** What a rate is the share of, and of what. */
export const RATES = {
	acceptance_rate: ids("invites_accepted invites_sent"),
	reply_rate: ids("prospects_replied prospects_contacted"),
	interested_rate: ids("interested prospects_replied"),
	open_rate: ids("prospects_opened prospects_contacted"),
	bounce_rate: ids("emails_bounced emails_sent"),
};

export const isRate = (metric) => Object.hasOwn(RATES, metric);
export const isTime = (metric) => metric === "average_reply_time_seconds" || metric === "average_reply_time";

/** Return a metric's value in words. */
export function shown(metric, value) {
	if (value == null) return "–";
	if (typeof value === "string") return value;
	if (isRate(metric)) return percent(value);
	if (isTime(metric)) return duration(value);
	return WHOLE.format(value);
}

export const whole = (value) => WHOLE.format(value);

/** A share is exact to four decimals, so shown to a hundredth of a percent. */
export function percent(share) {
	return `${HUNDREDTHS.format(Math.round(share * 10_000) / 100)} %`;
}

export function duration(seconds) {
	if (seconds < 60) return `${WHOLE.format(Math.round(seconds))} s`;
	const [unit, length] = seconds < 3_600 ? ["min", 60] : seconds < 172_800 ? ["h", 3_600] : ["d", 86_400];
	return `${TENTHS.format(seconds / Number(length))} ${unit}`;
}

/** How a value differs from the one before, in words, or null. */
export function change(metric, now, before) {
	if (typeof now !== "number" || typeof before !== "number") return null;
	const by = now - before;
	const way = by === 0 ? "same" : by > 0 ? "up" : "down";
	const sign = by > 0 ? "+" : by < 0 ? "−" : "±";
	if (isRate(metric)) return { way, text: `${sign}${HUNDREDTHS.format(Math.round(Math.abs(by) * 10_000) / 100)} points` };
	if (isTime(metric)) return { way, text: `${sign}${duration(Math.abs(by))}` };
	const share = before && Math.abs(by) < 10 * before ? ` (${sign}${Math.round((Math.abs(by) / before) * 100)} %)` : "";
	return { way, text: `${sign}${WHOLE.format(Math.abs(by))}${share}` };
}

/** An instant in a zone, to the minute. */
export function instant(text, zone) {
	return dates("en-GB", { timeZone: zone, day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(text));
}

/** A bucket of a series: its first instant, as its own text has it. */
export function bucket(start, interval) {
	const [day, time] = start.split("T");
	const [year, month, date] = day.split("-").map(Number);
	const at = new Date(Date.UTC(year, month - 1, date));
	const say = (options) => dates("en-GB", { timeZone: "UTC", ...options }).format(at);
	if (interval === "hour") return `${say({ day: "numeric", month: "short" })}, ${time.slice(0, 5)}`;
	if (interval === "month") return say({ month: "long", year: "numeric" });
	const text = say({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
	return interval === "week" ? `Week from ${text}` : text;
}

/** An event's type in words. */
export const words = (type) => type.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().replace("linked in", "LinkedIn").replace(/^./, (first) => first.toUpperCase());
