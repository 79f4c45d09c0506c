// Tells when the numbers move: by the service's stream, or where none gets through by asking every 2 s.

import { Refused, address, ask } from "./api.js";

const POLL_MS = 2_000;
const SILENT_MS = 40_000; // more than two of the stream's comments
const FIRST_MS = 6_000; // a proxy may hold messages back

export class Live {
	/** `moved` is called when numbers have moved (true: before one looked), `said` when the state has, `ended` when access has gone. */
	constructor({ moved, said, ended }) {
		this.moved = moved;
		this.said = said;
		this.ended = ended;
		this.state = "connecting"; // connecting, live or polling
		this.positions = new Map();
		this.since = Date.now(); // of the state
		this.heard = 0;
		this.failures = 0;
		this.stopping = null;
		// A browser has six connections to a service: a page that nobody sees keeps none.
		document.addEventListener("visibilitychange", () => {
			const { workspace, stopping } = this;
			if (document.hidden) stopping?.abort();
			else if (stopping) {
				this.stop();
				this.follow(workspace);
				this.moved();
			}
		});
		setInterval(() => {
			if (this.state !== "live" && this.stopping && !document.hidden) this.poll();
		}, POLL_MS);
	}

	/** Follow a workspace by its id, or ALL. */
	follow(workspace) {
		if (this.stopping && this.workspace === workspace) return;
		this.stop();
		this.workspace = workspace;
		this.positions.clear();
		const stopping = new AbortController();
		this.stopping = stopping;
		this.become("connecting");
		if (!document.hidden) void this.run(stopping.signal);
	}

	stop() {
		this.stopping?.abort();
		this.stopping = null;
	}

	/** How many events the logs hold that the numbers do not yet. */
	get behind() {
		return [...this.positions.values()].reduce((sum, { head, position }) => sum + head - position, 0);
	}

	become(state) {
		if (state !== this.state) {
			this.state = state;
			this.since = Date.now();
			this.said();
		}
	}

	poll() {
		this.positions.clear(); // of a stream that has ended
		this.become("polling");
		this.moved();
	}

	async run(stopped) {
		while (!stopped.aborted) {
			const began = Date.now();
			try {
				await this.listen(stopped);
			} catch (error) {
				if (stopped.aborted) return;
				if (error instanceof Refused) {
					this.ended(error);
					if (error.status === 401 || error.status === 403) return;
				}
			}
			if (stopped.aborted) return;
			this.failures = Date.now() - began > 10_000 ? 0 : this.failures + 1;
			this.poll();
			await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** this.failures, 30_000) * (0.5 + Math.random() / 2)));
		}
	}

	async listen(stopped) {
		const cut = new AbortController();
		const stop = () => cut.abort();
		stopped.addEventListener("abort", stop);
		let timer = setTimeout(stop, FIRST_MS);
		try {
			const response = await ask(address("stream/", { workspace_id: this.workspace }), { Accept: "text/event-stream" }, cut.signal);
			const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
			let text = "";
			for (;;) {
				const { done, value } = await reader.read();
				if (done) return;
				clearTimeout(timer);
				timer = setTimeout(stop, SILENT_MS);
				this.heard = Date.now();
				this.become("live");
				text += value;
				const messages = text.split("\n\n");
				text = messages.pop() || "";
				this.take(messages);
			}
		} finally {
			clearTimeout(timer);
			stopped.removeEventListener("abort", stop);
			cut.abort();
		}
	}

	take(messages) {
		let moved = false, first = true;
		for (const message of messages) {
			const of = Object.fromEntries(message.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
			if (of.event === "end") this.ended(new Refused(403, JSON.parse(of.data).error, [], 0));
			if (of.event !== "position") continue;
			const told = JSON.parse(of.data);
			const known = this.positions.get(told.workspace_id);
			told.behindSince = told.head > told.position ? known?.behindSince || Date.now() : 0;
			if (known?.position !== told.position) told.behindSince &&= Date.now();
			this.positions.set(told.workspace_id, told);
			first &&= !known;
			moved ||= !known || known.position !== told.position || known.generation !== told.generation || known.epoch !== told.epoch;
		}
		if (moved) this.moved(first);
		else this.said();
	}
}
