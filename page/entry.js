// Coming in: what somebody sees whom the service does not know, or no longer.

import { el } from "./dom.js";

const AGAIN = "Sign in to the platform again, or use an API key.";
const WORDS = {
	"Authentication required": "Sign in to see how the outreach is doing.",
	"Invalid API key": "This API key does not hold: it is unknown, has expired or was revoked.",
	"Invalid session": `Your session does not hold. ${AGAIN}`,
	"Session expired": `Your session has expired. ${AGAIN}`,
};

/** Return the form that asks for a key, and why. */
export function entry(text) {
	return el("main", { id: "content", class: "entry", key: "entry" },
		el("h1", "Outreach"),
		el("p", { id: "why-entry", role: text === "Authentication required" ? null : "alert" }, WORDS[text] ?? text),
		el("form", { "data-form": "key", autocomplete: "off" },
			el("label", { for: "key" }, "API key"),
			el("input", { id: "key", name: "key", type: "password", required: true, pattern: "\\s*[A-Za-z0-9_]{1,64}\\.[!-~]+\\s*", title: "prefix.secret", autocomplete: "off", spellcheck: "false", "aria-describedby": "key-note" }),
			el("button", { type: "submit" }, "Come in")),
		el("p", { id: "key-note", class: "note" }, "It stays in this tab and is forgotten when you close it. Whoever runs the service issues it: ", el("code", "campaign-analytics access issue-key"), "."),
		el("p.note", "Signed in to the platform? ", el("button", { type: "button", class: "quiet", "data-do": "again" }, "Try again")));
}

/** Return what somebody sees who may see no workspace, or not this one. */
export function denied(me, workspace, details) {
	const lacking = details.find((each) => each.field === "scope");
	return el("div.problem", { role: "alert", key: "denied" },
		el("h2", "Access denied"),
		el("p", lacking ? `Your key may not do this: ${lacking.error}.` : me.workspaces.length ? `Workspace ${workspace} is not yours to see, or no longer. Choose another one above.` : "No workspace is linked to you. Whoever runs the platform can link one."),
		el("button", { type: "button", "data-do": "again" }, "Try again"));
}
