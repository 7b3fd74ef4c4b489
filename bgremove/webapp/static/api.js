// Talking to the server: who we are, waiting for a turn, and a server that does not answer.

import { kept, sleep } from "./dom.js";

const GIVE_UP = 15 * 60 * 1000; // milliseconds of being told to come again

/** Something went wrong; the message is a sentence for the user. */
export class Problem extends Error {
	constructor(sentence, status = 0) {
		super(sentence);
		this.status = status;
	}
	/** The server does not know the picture or the visitor (any more). */
	get unknown() {
		return this.status === 404 || this.status === 410;
	}
}

export class Api extends EventTarget {
	#token;
	#visitor = kept.get("visitor");
	#asking = null;
	#lost = null;

	constructor(token = "") {
		super();
		this.#token = token;
	}

	/** Addresses are relative to the page's own: it may lie behind a prefix. */
	url(path) {
		return new URL(path, document.baseURI).href;
	}

	get known() {
		return Boolean(this.#visitor);
	}

	/** Make sure that the server knows us. */
	async enter() {
		if (this.#visitor) return;
		this.#asking ??= this.json("POST", "page/visitors", undefined, { visitor: false }).finally(() => (this.#asking = null));
		this.#visitor = (await this.#asking).visitor;
		kept.set("visitor", this.#visitor);
	}

	forget() {
		this.#visitor = null;
		kept.set("visitor", null);
	}

	async json(method, path, body, options = {}) {
		const response = await this.request(method, path, body, options);
		return response.status === 204 ? null : response.json();
	}

	async blob(method, path, body, options = {}) {
		return (await this.request(method, path, body, options)).blob();
	}

	/** One request; waits where the server asks to, and until it is back where it does not answer. */
	async request(method, path, body, { signal, onWait, visitor = true, keepalive = false } = {}) {
		const started = Date.now();
		const json = body !== undefined && !(body instanceof FormData);
		for (let broken = 0; ; ) {
			const headers = this.#headers(visitor);
			if (json) headers["Content-Type"] = "application/json";
			let response;
			try {
				response = await fetch(this.url(path), {
					method, headers, signal, keepalive, cache: "no-store",
					body: json ? JSON.stringify(body) : body,
				});
			} catch (error) {
				if (signal?.aborted) throw error;
				broken = await this.#again(broken);
				continue;
			}
			if (response.ok) return response;
			if (response.status === 429 && Date.now() - started < GIVE_UP) {
				const seconds = waiting(response.headers.get("Retry-After"));
				onWait?.(seconds, this.#problem(429, await response.text()).message);
				await sleep(seconds * 1000);
				if (signal?.aborted) throw new DOMException("stopped", "AbortError");
				continue;
			}
			if (response.status === 502 || response.status === 530) {
				broken = await this.#again(broken); // a tunnel that has nobody behind it
				continue;
			}
			throw this.#problem(response.status, await response.text());
		}
	}

	/** One request with a body as it is, which is not tried again. */
	async post(path, body, type) {
		const headers = { ...this.#headers(true), "Content-Type": type };
		const response = await fetch(this.url(path), { method: "POST", headers, body, cache: "no-store" });
		if (!response.ok) throw this.#problem(response.status, await response.text());
		return response;
	}

	/** Send a file, telling how far it is (0 to 1). */
	async upload(path, file, name, { onProgress, onWait, signal, raw = false } = {}) {
		for (let broken = 0; ; ) {
			const answer = await this.#send(path, file, name, onProgress, signal, raw);
			if (answer.status === 0) {
				broken = await this.#again(broken);
			} else if (answer.status === 429) {
				const seconds = waiting(answer.retry);
				onWait?.(seconds);
				await sleep(seconds * 1000);
			} else if (answer.status >= 200 && answer.status < 300) {
				return JSON.parse(answer.text);
			} else {
				throw this.#problem(answer.status, answer.text);
			}
			if (signal?.aborted) throw new DOMException("stopped", "AbortError");
		}
	}

	/** Ask at once whether the server is back. */
	retry() {
		this.#lost?.wake();
	}

	#headers(visitor) {
		const headers = {};
		if (this.#token) headers["X-Api-Key"] = this.#token;
		if (visitor && this.#visitor) headers["X-Visitor"] = this.#visitor;
		return headers;
	}

	#send(path, file, name, onProgress, signal, raw) {
		return new Promise((done, fail) => {
			const request = new XMLHttpRequest();
			let form = file; // as it is
			if (!raw) (form = new FormData()).append("file", file, name);
			request.open("POST", this.url(path));
			for (const [header, value] of Object.entries(this.#headers(true))) request.setRequestHeader(header, value);
			request.upload.onprogress = (event) => event.lengthComputable && onProgress?.(event.loaded / event.total);
			request.onload = () =>
				done({ status: request.status, text: request.responseText, retry: request.getResponseHeader("Retry-After") });
			request.onerror = () => done({ status: 0, text: "" });
			request.onabort = () => fail(new DOMException("stopped", "AbortError"));
			signal?.addEventListener("abort", () => request.abort());
			request.send(form);
		});
	}

	/** After a request that broke off: is the server there at all? Waits until it is. */
	async #again(broken) {
		if (await this.#answers()) {
			if (broken >= 2) throw new Problem("the connection broke off several times; try it again");
			await sleep(400);
			return broken + 1;
		}
		await this.#back();
		return 0;
	}

	async #answers() {
		try {
			const response = await fetch(this.url("healthz"), { cache: "no-store" });
			return response.status !== 502 && response.status !== 530 && response.status !== 404;
		} catch {
			return false;
		}
	}

	/** Wait until the server answers; all that is under way waits for the same. */
	#back() {
		this.#lost ??= this.#wait();
		return this.#lost.over;
	}

	#wait() {
		let wake = () => {};
		const over = (async () => {
			for (let pause = 2; ; pause = Math.min(30, pause * 1.6)) {
				this.#tell(Math.round(pause));
				await Promise.race([sleep(pause * 1000), new Promise((done) => (wake = done))]);
				if (await this.#answers()) break;
			}
			this.#lost = null;
			this.#tell(0);
		})();
		return { over, wake: () => wake() };
	}

	#tell(seconds) {
		this.dispatchEvent(new CustomEvent("lost", { detail: seconds }));
	}

	#problem(status, text) {
		let sentence = "";
		try {
			sentence = JSON.parse(text).error;
		} catch {
			// Not of our server's making.
		}
		if (status === 401 || status === 403) this.dispatchEvent(new Event("refused"));
		return new Problem(typeof sentence === "string" && sentence ? sentence : known(status), status);
	}
}

function waiting(header) {
	const seconds = Number.parseFloat(header ?? "");
	return Math.min(60, Number.isFinite(seconds) ? Math.max(0.5, seconds) : 2) + Math.random() * 0.5;
}

function known(status) {
	if (status === 413) return "this file is larger than the server takes";
	if (status === 404) return "the server does not know this (any more)";
	if (status === 503 || status === 504) return "the server took too long over this; try it again";
	return `the server could not do this (${status}); try it again`;
}
