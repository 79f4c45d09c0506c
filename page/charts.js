// Charts as SVG: lines over time, small trends, bars and heat maps; a table beside them shows the same.

import { el } from "./dom.js";

const HEIGHT = 260, LEFT = 44, RIGHT = 44, TOP = 12, BOTTOM = 26;

/** A round number that is at least so large. */
function round(value) {
	if (value <= 0) return 1;
	const unit = 10 ** Math.floor(Math.log10(value));
	return [1, 2, 2.5, 5, 10].map((each) => each * unit).find((each) => each >= value) || value;
}

function path(values, x, y) {
	let text = "", drawn = false;
	values.forEach((value, i) => {
		if (value === null) drawn = false;
		else {
			text += `${drawn ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
			drawn = true;
		}
	});
	return text;
}

/** Return the width of charts, so that their text has about the page's size. */
export const lineWidth = () => (innerWidth < 600 ? 400 : innerWidth < 1_000 ? 720 : 1_080);

/**
 * Return a chart of one or two series; each is {name, values, say, whole}, `labels` name the places. Each place says
 * what stands there, to the pointer and, by arrow keys, to the screen reader.
 */
export function lines(key, labels, series) {
	const WIDTH = lineWidth();
	const x = (i) => (labels.length < 2 ? WIDTH / 2 : LEFT + (i * (WIDTH - LEFT - RIGHT)) / (labels.length - 1));
	const tops = series.map((each) => {
		const top = round(Math.max(0, ...each.values.filter((value) => value !== null)));
		return each.whole && top < 4 ? 4 : top;
	});
	const ys = tops.map((top) => (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM));
	const step = labels.length > 1 ? x(1) - x(0) : WIDTH - LEFT - RIGHT;
	const named = Math.max(1, Math.ceil(labels.length / (WIDTH / 130)));
	const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
		const y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
		return [
			el("line.grid", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
			series.map((each, n) => el("text", { class: `scale s${n}`, x: n ? WIDTH - RIGHT + 6 : LEFT - 6, y: y + 4, "text-anchor": n ? "start" : "end" }, each.say(tops[n] * share))),
		];
	});
	return el("svg.lines", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0", key, "data-chart": true, "aria-label": `Chart of ${series.map((each) => each.name).join(" and ")}; walk along it by the arrow keys, or read the table below.` },
		grid,
		labels.map((label, i) => i % named === 0 && el("text.scale", { x: x(i), y: HEIGHT - 8, "text-anchor": i === 0 ? "start" : "middle" }, label.short)),
		series.map((each, n) => el("path", { class: `line s${n}`, d: path(each.values, x, ys[n]) })),
		series.map((each, n) => (labels.length < 62 ? each.values.map((value, i) => value !== null && el("circle", { class: `dot s${n}`, cx: x(i), cy: ys[n](value), r: 2.5 })) : null)),
		labels.map((label, i) => el("rect.place", { x: x(i) - step / 2, y: TOP, width: step, height: HEIGHT - TOP - BOTTOM, "data-say": [label.long, ...series.map((each) => `${each.name}: ${each.say(each.values[i])}`)].join("\n") })),
	);
}

/** Return a small trend, hidden from screen readers: the number beside it says the same. */
export function trend(values) {
	const known = values.map((value) => value ?? 0);
	if (known.length < 2) return null;
	const top = Math.max(...known, 1e-9);
	const d = path(known, (i) => (i * 100) / (known.length - 1), (value) => 27 - (value / top) * 25);
	return el("svg.trend", { viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" }, el("path", { class: "line s0", d }));
}

/** Return bars in a list: each is {name, value, text, note}. */
export function bars(rows) {
	const most = Math.max(1, ...rows.map((row) => row.value || 0));
	return el("ol.bars", rows.map((row) => el("li", { key: row.name },
		el("span", { class: "bar-name" }, row.name),
		el("svg.bar", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, el("rect.s0", { x: 0, y: 0, width: ((row.value || 0) * 100) / most, height: 10 })),
		el("span", { class: "bar-value" }, row.text, row.note && el("small", row.note)),
	)));
}

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/** Say an hour of the week: "3/14" is on Wednesdays after 14:00. */
export function hourOfWeek(cell) {
	const [day, hour] = cell.split("/");
	return `${DAYS[day - 1]}s, ${hour}:00 to ${hour}:59`;
}

/** Return a table of weekdays by hours; `of` is a value by "weekday/hour" (1 = Monday), `cell` a button for it. */
export function heat(name, of, cell) {
	const hours = [...Array(24).keys()];
	const most = Math.max(1, ...DAYS.flatMap((_, day) => hours.map((hour) => of(`${day + 1}/${hour}`))));
	const table = el("table.heat",
		el("caption", name),
		el("thead", el("tr", el("td"), hours.map((hour) => el("th", { scope: "col" }, hour % 3 ? el("span.hidden", hour) : hour)))),
		el("tbody", DAYS.map((day, at) => el("tr", el("th", { scope: "row" }, day.slice(0, 3)), hours.map((hour) => {
			const place = `${at + 1}/${hour}`, value = of(place);
			return el("td", { class: `h${value ? 1 + Math.floor((value / most) * 8.999) : 0}` }, value ? cell(place, value) : el("span.hidden", 0));
		})))));
	table.querySelector("button")?.setAttribute("tabindex", "0"); // the arrow keys lead to the others
	return table;
}

/** Make charts say what stands where the pointer or the arrow keys are. */
export function listen(root, tip, speak) {
	const hide = () => {
		tip.hidden = true;
		for (const each of root.querySelectorAll(".place.here")) each.classList.remove("here");
	};
	const show = (place, at) => {
		hide();
		place.classList.add("here");
		tip.textContent = place.dataset.say;
		tip.hidden = false;
		const box = place.getBoundingClientRect(), room = tip.getBoundingClientRect();
		const left = (at ?? box.left + box.width / 2) + 12;
		tip.style.left = `${Math.max(4, left + room.width > innerWidth ? left - room.width - 24 : left)}px`;
		tip.style.top = `${Math.max(4, box.top + 8)}px`;
	};
	root.addEventListener("pointermove", (event) => {
		const place = event.target.closest?.(".place");
		if (place) show(place, event.clientX);
		else hide();
	});
	root.addEventListener("pointerleave", hide);
	root.addEventListener("focusout", hide);
	root.addEventListener("keydown", (event) => {
		const chart = event.target.closest?.("[data-chart],.heat");
		const way = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
		if (event.key === "Escape") hide();
		if (!chart || !way) return;
		const places = [...chart.querySelectorAll(".place,button")];
		if (!places.length) return;
		const here = places.findIndex((place) => place === event.target || place.classList.contains("here")), last = places.length - 1;
		const place = places[Math.min(last, Math.max(0, here < 0 ? (way > 0 ? 0 : last) : here + way))];
		event.preventDefault();
		if (place.matches("button")) return place.focus();
		show(place, null);
		speak(place.dataset.say.replaceAll("\n", ", "));
	});
}
