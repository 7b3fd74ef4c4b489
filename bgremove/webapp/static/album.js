// The pictures: sending them, having them cut, what was done to each, and undoing it.

import { Problem } from "./api.js";
import { kept, sentence, sleep } from "./dom.js";
import { applied, maskOf, pixelsOf } from "./mask.js";

const AT_ONCE = 2; // pictures sent or cut at the same time
const REVISIONS = 8; // as many as the server keeps of a picture
const DECODED = 3; // pictures whose pixels are kept
const PREVIEW = 1600; // the server's previews' longer side
const LIGHT = 8e6; // bytes of a file that is shown before it is sent

let numbers = 0;

/** One picture. `state` is one of sending, queued, waiting, working, refining, done, failed. */
export class Picture {
	constructor(name, file = null) {
		this.key = `p${++numbers}`;
		this.name = name;
		this.file = file;
		this.id = null;
		this.width = this.height = 0;
		this.state = "sending";
		this.progress = 0;
		this.place = 0;
		this.error = "";
		this.note = "";
		this.choice = { model: "", settings: {} };
		this.steps = [];
		this.at = -1;
		this.original = null;
		this.fresh = false; // cut, but not seen yet
		this.stop = new AbortController();
		this.thumb = null;
		this.cutThumb = null;
	}

	/** What is shown: the last thing that was done and not undone. */
	get step() {
		return this.steps[this.at] ?? null;
	}

	get busy() {
		return ["sending", "queued", "waiting", "working", "refining"].includes(this.state);
	}

	get canUndo() {
		return this.at > 0 && !this.busy;
	}

	get canRedo() {
		return this.at < this.steps.length - 1 && !this.busy;
	}

	push(step) {
		this.steps = [...this.steps.slice(0, this.at + 1), step];
		// The server forgets old revisions: what stands on one cannot be gone back to.
		const known = [...new Set(this.steps.map((one) => one.revision))].slice(-REVISIONS);
		this.steps = this.steps.filter((one) => known.includes(one.revision));
		this.at = this.steps.length - 1;
	}

	/** What the server needs to know to make a file of this. */
	get recipe() {
		return { id: this.id, revision: this.step.revision, edits: this.step.edits };
	}

	get ready() {
		return Boolean(this.step) && !["sending", "queued"].includes(this.state);
	}
}

export class Album extends EventTarget {
	constructor(api, config) {
		super();
		this.api = api;
		this.config = config;
		this.pictures = [];
		this.selected = null;
		this.choice = { model: config.model, settings: {} };
		this.#decoded = new Map();
	}

	#decoded;
	#running = 0;
	#line = [];

	#tell(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }));
	}

	/** Take files in; what cannot be sent at all is kept with the reason. */
	add(files) {
		const { megabytes, pictures: most } = this.config.limits;
		const added = [];
		for (const file of files) {
			const picture = new Picture(file.name || "pasted.png", file);
			picture.choice = structuredClone(this.choice);
			this.pictures.push(picture);
			added.push(picture);
			if (this.pictures.length > most) this.#fail(picture, `this server keeps ${most} pictures at a time; remove one first`);
			else if (file.size > megabytes * 1e6) {
				const size = (file.size / 1e6).toFixed(1);
				this.#fail(picture, `this file has ${size} MB; this server takes up to ${megabytes} MB`, false);
			} else if (file.size === 0) this.#fail(picture, "this file is empty", false);
			else this.#start(picture);
		}
		this.#tell("list");
		if (added.length) this.select(added[0]);
		return added;
	}

	/** Find the pictures again that were here before the page was loaded anew. */
	async restore() {
		if (!this.api.known) return;
		let list;
		try {
			list = await this.api.json("GET", "page/pictures");
		} catch (error) {
			if (error instanceof Problem) this.api.forget();
			return;
		}
		const order = JSON.parse(kept.get("order") || "[]");
		list.pictures.sort((one, other) => order.indexOf(one.id) - order.indexOf(other.id));
		for (const known of list.pictures) {
			const picture = new Picture(known.name);
			Object.assign(picture, { id: known.id, width: known.width, height: known.height, note: known.note || "" });
			const choice = JSON.parse(kept.get(`choice-${known.id}`) || "null");
			picture.choice = choice ?? structuredClone(this.choice);
			picture.state = "queued";
			this.pictures.push(picture);
			this.#enqueue(picture, () => (known.cut ? this.#found(picture, known.cut) : this.#cut(picture)));
		}
		if (this.pictures.length) {
			this.#tell("list");
			this.select(this.pictures[0]);
		}
	}

	select(picture) {
		if (this.selected === picture) return;
		this.selected = picture;
		this.#tell("select", picture);
	}

	/** Cut anew with another model or other settings. */
	recut(picture, choice) {
		picture.choice = structuredClone(choice);
		picture.error = "";
		if (!picture.id) return this.retry(picture);
		picture.state = "queued";
		this.#tell("change", picture);
		this.#enqueue(picture, () => this.#cut(picture));
	}

	retry(picture) {
		picture.error = "";
		if (picture.id) this.recut(picture, picture.choice);
		else if (picture.file) this.#start(picture);
	}

	async remove(picture) {
		picture.stop.abort();
		const at = this.pictures.indexOf(picture);
		this.pictures = this.pictures.filter((one) => one !== picture);
		this.#decoded.delete(picture);
		this.#tell("list");
		if (this.selected === picture) this.select(this.pictures[Math.min(at, this.pictures.length - 1)] ?? null);
		if (!picture.id) return;
		kept.set(`choice-${picture.id}`, null);
		await this.api.json("DELETE", `page/pictures/${picture.id}`).catch(allow404);
	}

	/** Remove everything here and on the server; done when the server says that nothing is left. */
	async clear() {
		for (const picture of this.pictures) {
			picture.stop.abort();
			if (picture.id) kept.set(`choice-${picture.id}`, null);
		}
		this.pictures = [];
		this.#line = [];
		this.#decoded.clear();
		this.#tell("list");
		this.select(null);
		if (!this.api.known) return;
		try {
			await this.api.json("DELETE", "page/background");
			for (let left = 1; left; ) {
				await this.api.json("DELETE", "page/pictures");
				left = (await this.api.json("GET", "page/pictures")).pictures.length; // one may just have come in
			}
		} catch (error) {
			allow404(error); // forgotten already
		}
		this.api.forget();
	}

	/** Erase or restore along a stroke; nothing is asked of the server until a file is made. */
	edit(picture, edit) {
		const { step } = picture;
		picture.push({ ...step, edits: [...step.edits, edit], strokes: [...step.strokes, edit] });
		this.#tell("edited", picture);
	}

	/** Find the border anew under a stroke. */
	async refine(picture, edit) {
		const { step } = picture;
		picture.state = "refining";
		this.#tell("change", picture);
		try {
			const body = { revision: step.revision, edits: [...step.edits, edit] };
			const answer = await this.api.json("POST", `page/pictures/${picture.id}/refine`, body, this.#waits(picture));
			const files = await this.#files(picture, answer.revision);
			picture.push({ ...step, ...told(answer, step), ...files, edits: [], strokes: [...step.strokes, edit] });
			picture.error = "";
		} catch (error) {
			if (gone(error, picture)) return;
			this.#tell("problem", sentence(error.message));
		}
		picture.state = "done";
		this.#tell("edited", picture);
	}

	undo(picture, by = -1) {
		const to = picture.at + by;
		if (picture.busy || !picture.steps[to]) return;
		picture.at = to;
		picture.choice = structuredClone(picture.step.choice);
		this.#tell("edited", picture);
	}

	/** Take back every stroke, leaving the cut as it was. */
	unpaint(picture) {
		const cut = picture.steps.find((one) => one.choice === picture.step.choice);
		picture.push({ ...cut, edits: [], strokes: [] });
		this.#tell("edited", picture);
	}

	/** The pixels to show: {before, colours (both ImageData), mask, scale}. Decoded once, kept for a few. */
	async pixels(picture) {
		const { step } = picture;
		let known = this.#decoded.get(picture);
		known ??= {};
		this.#decoded.delete(picture);
		this.#decoded.set(picture, known);
		while (this.#decoded.size > DECODED) this.#decoded.delete(this.#decoded.keys().next().value);
		if (picture.original && known.from !== picture.original) {
			known.before = await pixelsOf(picture.original);
			known.from = picture.original;
		}
		if (!step) {
			// The file itself, until the server's preview comes; not every browser knows every kind.
			if (picture.file?.size < LIGHT) known.before ??= await pixelsOf(picture.file, PREVIEW).catch(() => null);
			return { before: known.before };
		}
		if (known.revision !== step.revision) {
			const [colours, base] = await Promise.all([pixelsOf(step.foreground), maskOf(step.alpha)]);
			Object.assign(known, { revision: step.revision, colours, base });
		}
		const scale = known.base.width / picture.width;
		return { before: known.before, colours: known.colours, mask: applied(known.base, step.edits, scale), scale };
	}

	#start(picture) {
		picture.state = "sending";
		picture.progress = 0;
		this.#tell("change", picture);
		this.#enqueue(picture, async () => {
			await this.#send(picture);
			await this.#cut(picture);
		});
	}

	/** A few at a time, the one that is looked at first. */
	#enqueue(picture, work) {
		this.#line.push({ picture, work });
		this.#next();
	}

	async #next() {
		if (this.#running >= AT_ONCE || !this.#line.length) return;
		const wanted = this.#line.findIndex((one) => one.picture === this.selected);
		const [{ picture, work }] = this.#line.splice(Math.max(0, wanted), 1);
		this.#running++;
		try {
			if (this.pictures.includes(picture)) await work();
		} catch (error) {
			if (!gone(error, picture)) await this.#went(picture, error);
		} finally {
			this.#running--;
			this.#next();
		}
		this.#next();
	}

	/** What to do about an error: a server that forgot us gets the file again, once. */
	async #went(picture, error) {
		const forgotten = error.unknown && !picture.again;
		if (!forgotten) return this.#fail(picture, error.message || String(error));
		picture.again = true;
		await this.#renew();
		picture.id = null;
		picture.carried = picture.step?.strokes;
		picture.steps = [];
		picture.at = -1;
		if (picture.file) return this.#start(picture);
		this.#fail(picture, "the server has removed this picture, as it does after a while; add it again", false);
	}

	/** Another visitor, if the server does not know this one any more. */
	async #renew() {
		try {
			await this.api.json("GET", "page/pictures");
		} catch {
			this.api.forget();
		}
	}

	#fail(picture, text, again = true) {
		picture.state = picture.step ? "done" : "failed";
		// The file's name stands beside it already.
		picture.error = sentence(text.startsWith(picture.name) ? `this file${text.slice(picture.name.length)}` : text);
		picture.hopeless = !again;
		this.#tell("change", picture);
		this.#tell("failed", picture);
	}

	async #send(picture) {
		await this.api.enter();
		const answer = await this.api.upload("page/pictures", picture.file, picture.name, {
			signal: picture.stop.signal,
			onProgress: (share) => {
				picture.progress = share;
				this.#tell("progress", picture);
			},
			onWait: (seconds) => this.#waitsFor(picture, seconds),
		});
		const { id, width, height, note } = answer;
		Object.assign(picture, { id, width, height, note: note || "", name: answer.name || picture.name });
		kept.set("order", JSON.stringify(this.pictures.map((one) => one.id)));
		this.#tell("change", picture);
	}

	async #cut(picture) {
		picture.state = "working";
		picture.place = 0;
		this.#tell("change", picture);
		const { choice } = picture;
		const body = { settings: choice.settings };
		const model = this.value(choice.model);
		if (model) body.model = model;
		const looking = new AbortController();
		this.#watch(picture, looking.signal);
		let answer;
		try {
			answer = await this.api.json("POST", `page/pictures/${picture.id}/cut`, body, this.#waits(picture));
		} finally {
			looking.abort();
		}
		const files = await this.#files(picture, answer.revision);
		const strokes = (picture.step?.strokes ?? picture.carried ?? []).filter((one) => one.mode !== "refine");
		picture.push({ ...told(answer), ...files, choice, edits: strokes, strokes });
		kept.set(`choice-${picture.id}`, JSON.stringify(choice));
		picture.state = "done";
		picture.again = false;
		picture.fresh = true;
		picture.error = "";
		this.#tell("edited", picture);
		this.#tell("cut", picture);
	}

	/** Take what the server still has of a picture. */
	async #found(picture, answer) {
		picture.state = "working";
		this.#tell("change", picture);
		const files = await this.#files(picture, answer.revision);
		picture.push({ ...told(answer), ...files, choice: picture.choice, edits: [], strokes: [] });
		picture.state = "done";
		this.#tell("edited", picture);
	}

	/** The model's name as the server has it; empty for the server's own. */
	value(name) {
		const all = this.config.models.flatMap((group) => group.models);
		return all.find((one) => one.name === name)?.value ?? name;
	}

	async #files(picture, revision) {
		const get = (name) => this.api.blob("GET", `page/pictures/${picture.id}/${name}`, undefined, this.#waits(picture));
		const [foreground, alpha, original] = await Promise.all([
			get(`foreground.jpg?r=${revision}`), get(`alpha.png?r=${revision}`), picture.original ?? get("original.jpg"),
		]);
		picture.original = original;
		return { foreground, alpha };
	}

	#waits(picture) {
		return { signal: picture.stop.signal, onWait: (seconds, why) => this.#waitsFor(picture, seconds, why) };
	}

	#waitsFor(picture, seconds, why = "") {
		picture.wait = Math.ceil(seconds);
		picture.fetching = why.includes("being downloaded") ? why.split(",")[0] : "";
		this.#tell("progress", picture);
		setTimeout(() => {
			picture.wait = 0;
			this.#tell("progress", picture);
		}, seconds * 1000);
	}

	/** Ask now and then which place in the line a picture has. */
	async #watch(picture, signal) {
		await sleep(900);
		while (!signal.aborted && !picture.stop.signal.aborted) {
			try {
				const { state, place } = await this.api.json("GET", `page/pictures/${picture.id}`, undefined, { signal });
				if (signal.aborted) return;
				picture.state = state === "waiting" ? "waiting" : "working";
				picture.place = place || 0;
				this.#tell("progress", picture);
			} catch {
				return; // the cut itself says what is wrong
			}
			await sleep(1200);
		}
	}
}

function told(answer, before = {}) {
	return {
		revision: answer.revision,
		seconds: answer.seconds,
		empty: Boolean(answer.empty),
		note: answer.note || "",
		segments: answer.segments?.length ? answer.segments : (before.segments ?? []),
	};
}

function gone(error, picture) {
	return error?.name === "AbortError" && picture.stop.signal.aborted;
}

function allow404(error) {
	if (!(error instanceof Problem) || !error.unknown) throw error;
}
