// Asks the service's public API; answers are kept with their tags, so that unchanged ones are not sent again.

import * as key from "./key.js";

const ROOT = "/api/v1", DASHBOARD = "/dashboard/campaign-analytics/";
const MOST_KEPT = 120, LONGEST_MS = 30_000; // a request that takes longer has failed

/** What the service refuses, with its status and in its words. */
export class Refused extends Error {
	constructor(status, text, details, retry) {
		super(text);
		this.status = status;
		this.details = details || [];
		this.retry = retry;
	}
}

/** The service can't be reached. */
export class Unreachable extends Error {}

/** Whether it may be over with the next try. */
export const isAway = (error) => !(error instanceof Refused) || error.status >= 500 || error.status === 429;

/** Return the address of a question, of the dashboard unless its path begins with /; lists are repeated, empty values left out. */
export function address(path, query = {}) {
	const search = new URLSearchParams();
	for (const [name, value] of Object.entries(query)) {
		for (const each of Array.isArray(value) ? value : [value]) if (each != null && each !== "") search.append(name, each);
	}
	return ROOT + (path[0] === "/" ? path : DASHBOARD + path) + (search.size ? `?${search}` : "");
}

/** Ask, and return the response; raise Refused or Unreachable. */
export async function ask(url, more = {}, signal = null) {
	const shown = key.current();
	let response;
	try {
		response = await fetch(url, { headers: { ...(shown !== null && { "X-API-Key": shown }), ...more }, signal, cache: "no-store", credentials: "same-origin", redirect: "error" });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new Unreachable("The service can't be reached");
	}
	if (response.ok || response.status === 304) return response;
	const told = await response.json().catch(() => ({})); // a proxy's page, say
	throw new Refused(response.status, told.error || `The service answered ${response.status}`, told.details, Number(response.headers.get("Retry-After")) || 0);
}

/** By the address of a question: its data and tag, what went wrong, whether it is being asked for. */
export class Answers {
	constructor(changed) {
		this.changed = changed;
		this.kept = new Map();
		this.used = new Set();
		this.era = 0;
	}

	/** Return what is known of a question, and ask it if nothing is. */
	need(path, query) {
		const url = address(path, query);
		this.used.add(url);
		let entry = this.kept.get(url);
		if (!entry) {
			entry = { url, data: null, tag: null, error: null, loading: false, until: 0 };
			this.kept.set(url, entry);
			void this.load(entry);
		}
		return entry;
	}

	/** Return what is in use and may come later: the service was away, or busy. */
	get failing() {
		return [...this.used].map((url) => this.kept.get(url)).filter((entry) => entry?.error && isAway(entry.error));
	}

	/** Note anew what is used, and forget what has not been for long. */
	begin() {
		for (const url of this.used) {
			const entry = this.kept.get(url);
			this.kept.delete(url);
			if (entry) this.kept.set(url, entry);
		}
		for (const [url, entry] of this.kept) {
			if (this.kept.size <= MOST_KEPT) break;
			if (!this.used.has(url) && !entry.loading) this.kept.delete(url);
		}
		this.used = new Set();
	}

	/** Ask everything again that is in use. */
	async refresh() {
		for (const url of [...this.kept.keys()]) if (!this.used.has(url)) this.kept.delete(url);
		const [first, ...others] = this.kept.values();
		const found = first ? [await this.load(first)] : []; // the most important first
		return [...found, ...await Promise.all(others.map((entry) => this.load(entry)))].some(Boolean);
	}

	/** Forget all of it. */
	clear() {
		this.era += 1;
		this.kept.clear();
		this.used.clear();
	}

	async load(entry) {
		if (entry.loading) {
			entry.again = true;
			return false;
		}
		if (Date.now() < entry.until) return false; // the service has asked to be left alone so long
		entry.loading = true;
		const era = this.era;
		let news = false;
		try {
			const response = await ask(entry.url, entry.tag ? { "If-None-Match": entry.tag } : {}, AbortSignal.timeout(LONGEST_MS));
			if (response.status !== 304) {
				const data = await response.json();
				if (era !== this.era) return false;
				entry.data = data;
				entry.tag = response.headers.get("ETag");
				news = true;
			}
			news = news || entry.error !== null;
			entry.error = null;
		} catch (error) {
			entry.error = error instanceof Refused ? error : new Unreachable("The service can't be reached");
			entry.until = Date.now() + 1_000 * (error.retry || 0);
			news = true;
			if (!isAway(error)) entry.data = entry.tag = null;
		} finally {
			entry.loading = false;
		}
		if (era !== this.era) return false;
		if (news) this.changed(entry);
		if (entry.again) {
			entry.again = false;
			news = (await this.load(entry)) || news;
		}
		return news;
	}
}
