// The view as the address holds it, so that what is shared or reloaded shows the same.

export const DEFAULTS = {
	workspace: "", period: "30d", from: "", to: "", zone: "", status: "", search: "", sort: "-amount_of_prospects_contacted",
	rows: "", metric: "amount_of_prospects_contacted", second: "amount_of_replies", interval: "", campaign: "", dated: "",
	why: "", why_campaign: "", why_workspace: "", why_from: "", why_to: "", why_dated: "", why_part: "", as_of: "", part: "",
};

export function read() {
	const given = new URLSearchParams(location.search);
	const view = { ...DEFAULTS };
	for (const name of Object.keys(view)) view[name] = given.get(name) ?? view[name];
	return view;
}

/** Show a view in the address; `step`: one can go back from it. */
export function write(view, step) {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries(view)) if (value !== DEFAULTS[name]) query.set(name, value);
	const address = location.pathname + (query.size ? `?${query}` : "");
	if (address === location.pathname + location.search) return;
	if (step) history.pushState(null, "", address);
	else history.replaceState(null, "", address);
}
