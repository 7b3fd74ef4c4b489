// A video: sent, looked at frame by frame, cut out as a whole, played and saved. Loaded with the first one.

import { ask } from "./app.js";
import { $, announce, icon, kept, make, saveFile, segmented, sentence, sleep, toast } from "./dom.js";
import { Composer } from "./compose.js";
import { fill, Group } from "./form.js";

const POLL = 600; // milliseconds
const SIZES = [1920, 1280, 854, 640, 480];
const SILENT = "no sound";

let view = null;

/** The one view of videos, made when it is first asked for. */
export function videoView(page) {
	view ??= new VideoView(page);
	return view;
}

class VideoView {
	#composer = new Composer();
	#still = null; // {photo, cutout} as bitmaps, of the moment that is looked at
	#stop = new AbortController();
	#urls = [];
	#asked = 0;
	#played = "";

	constructor(page) {
		this.page = page;
		this.api = page.api;
		this.config = page.config.video;
		this.limits = this.config;
		this.state = null; // what the server says of the video
		this.file = null;
		page.watcher = this;
		this.options = { format: "webm", size: "", sound: true };
		try {
			Object.assign(this.options, JSON.parse(kept.get("video-options", true) || "{}"));
		} catch {
			// Then the defaults it is.
		}
	}

	/** Take a video file; without one, find the video again that was here before a reload. */
	async open(file) {
		if (!this.config) return toast("This server takes no videos, only pictures.", "bad");
		await this.#build();
		if (!file) return this.#restore();
		if (this.busy && !(await this.#leave())) return;
		if (this.state) await this.#forget();
		this.file = file;
		this.#show();
		this.#renew();
		this.title.textContent = file.name;
		if (file.size > this.limits.megabytes * 1e6) {
			return this.#fail(`this video has ${Math.round(file.size / 1e6)} MB; this server takes up to ${this.limits.megabytes} MB`, false);
		}
		if (!file.size) return this.#fail("this file is empty", false);
		await this.#send(file);
	}

	/** Whether the view is open. */
	get shown() {
		return this.node?.hidden === false;
	}

	#leave() {
		return ask("Leave this video?", "It is in work. What was made of it so far goes, too.", "Go on with it", "Leave it");
	}

	get busy() {
		return ["waiting", "working"].includes(this.state?.state) || this.sending;
	}

	// What is there to see

	async #build() {
		if (this.node) return;
		await new Promise((done) => {
			const sheet = make("link", { rel: "stylesheet", href: new URL("static/video.css", document.baseURI).href, onload: done, onerror: done });
			document.head.append(sheet);
		});
		this.title = make("p", { class: "title" });
		const close = make("button", { class: "quiet small", id: "video-close", onclick: () => this.close() }, icon("close"), make("span", {}, "Close"));
		this.canvas = make("canvas", { role: "img", "aria-label": "A frame of the video, cut out" });
		this.player = make("div", { hidden: true });
		this.frame = make("div", { class: "reel-frame checker" }, this.canvas, this.player);
		this.pillText = make("span");
		this.pill = make("div", { class: "pill", hidden: true }, make("span", { class: "spinner" }), this.pillText);
		this.troubleText = make("p", { class: "trouble-text" });
		this.again = make("button", { class: "secondary small", onclick: () => this.#again() }, "Try again");
		this.trouble = make("div", { class: "trouble", role: "alert", hidden: true }, icon("warn"), this.troubleText,
			make("div", { class: "row" }, this.again, make("button", { class: "secondary small", id: "video-trouble-close", onclick: () => this.close() }, "Close it")));
		const stage = make("div", { class: "reel-stage", id: "video-stage" }, this.frame, this.pill, this.trouble);
		this.time = make("input", { type: "range", id: "video-time", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Moment of the video" });
		this.clock = make("output", {});
		this.time.addEventListener("input", () => this.#moved());
		this.timeline = make("div", { class: "reel-time" }, this.time, this.clock);
		this.node = make("main", { class: "reel", id: "video", tabIndex: -1 },
			make("h1", { class: "sr" }, "A video without its background"),
			make("section", { class: "view", "aria-label": "The video" }, make("div", { class: "view-top" }, this.title, close), stage, this.timeline),
			make("aside", { class: "panel", "aria-label": "What to make of it" },
				make("div", { class: "sheets" }, make("div", { class: "sheet" }, ...this.#form(), this.#foot()))));
		$("#work").after(this.node);
		this.node.hidden = true;
	}

	/** What can be chosen before the work. */
	#form() {
		const { formats, groups } = this.config;
		const row = (label, node, id) => make("div", { class: "field" }, make(id ? "label" : "p", { class: "field-label", for: id }, label), node);
		const changed = () => {
			kept.set("video-options", JSON.stringify(this.options), true);
			this.#update();
		};
		const list = make("div", { class: "segmented wide", id: "video-formats", "aria-label": "File" });
		const pick = segmented(list, formats.map(({ name, title }) => ({ value: name, title })), (name) => {
			this.options.format = name;
			changed();
		});
		if (!formats.some((one) => one.name === this.options.format)) this.options.format = formats[0].name;
		pick(this.options.format);
		this.formatHelp = make("p", { class: "help" });
		this.sizes = make("select", { id: "video-size", onchange: () => {
			this.options.size = this.sizes.value;
			changed();
		} });
		const second = (id, label) => make("label", {}, label, make("input", { type: "text", id, inputMode: "decimal", autocomplete: "off", onchange: () => this.#update() }));
		this.part = make("div", { class: "reel-part" }, second("video-from", "From"), second("video-to", "To"));
		this.partHelp = make("p", { class: "help" });
		this.sound = make("input", { type: "checkbox", role: "switch", class: "switch", id: "video-sound", checked: this.options.sound, onchange: () => {
			this.options.sound = this.sound.checked;
			changed();
		} });
		this.soundRow = make("div", { class: "field bool" }, make("div", { class: "field-top" }, make("label", { class: "field-label", for: "video-sound" }, "Sound"), this.sound));
		const models = this.page.config.models.filter((group) => group.models.length);
		this.model = make("select", { id: "video-model", onchange: () => this.#moved(true) },
			...models.map((group) => {
				const options = make("optgroup", { label: group.title });
				options.append(...group.models.map((one) => make("option", { value: one.name, disabled: !one.available }, one.name)));
				return options;
			}));
		this.model.value = this.page.config.model;
		this.groups = [...groups, ...this.page.config.common].map((group) => new Group(group, () => {}));
		this.place = make("div", { class: "stack" });
		this.before = make("div", { class: "stack" },
			make("div", { class: "field" }, make("p", { class: "field-label" }, "Background"), this.place),
			row("File", list), this.formatHelp, row("Size", this.sizes, "video-size"),
			make("div", { class: "field" }, make("p", { class: "field-label" }, "Part, in seconds"), this.part, this.partHelp),
			this.soundRow, row("Model", this.model, "video-model"), ...this.groups.map((one) => one.node));
		return [this.before];
	}

	/** The buttons, and how far it is. */
	#foot() {
		this.go = make("button", { class: "primary wide", id: "video-go", onclick: () => this.#cut() }, "Cut out the video");
		this.error = make("p", { class: "sentence", role: "alert" });
		this.doing = make("span");
		this.left = make("span", { class: "muted" });
		this.bar = make("div", { class: "reel-bar", role: "progressbar", "aria-label": "Frames done", "aria-valuemin": 0, "aria-valuemax": 100 }, make("span"));
		this.halt = make("button", { class: "secondary wide", id: "video-stop", onclick: () => this.#halt() }, "Stop");
		this.progress = make("div", { class: "reel-doing", hidden: true }, make("p", {}, this.doing, this.left), this.bar, make("div", { class: "row" }, this.halt));
		this.readyName = make("strong");
		this.readyFacts = make("span");
		this.save = make("button", { class: "primary wide", id: "video-save", onclick: () => this.#save() }, icon("down"), make("span", {}, "Download"));
		this.anew = make("button", { class: "secondary wide", id: "video-anew", onclick: () => this.#anew() }, "Change and make anew");
		this.ready = make("div", { class: "stack", hidden: true }, make("div", { class: "reel-ready" }, this.readyName, this.readyFacts), make("div", { class: "row" }, this.save), make("div", { class: "row" }, this.anew));
		return make("div", { class: "apply" }, this.error, make("div", { class: "row" }, this.go), this.progress, this.ready);
	}

	#show() {
		const { page } = this;
		if (!this.node.hidden) return;
		this.node.hidden = false;
		$("#app").dataset.view = "video";
		const sheet = page.panel.sheets.background;
		this.home = sheet.node.parentNode;
		this.place.append(sheet.node); // the same choice of a background as for pictures
		this.wasHidden = sheet.node.hidden;
		sheet.node.hidden = false;
		sheet.node.classList.remove("sheet");
		sheet.node.classList.add("stack");
		sheet.node.lastElementChild.hidden = true;
		sheet.hint.hidden = true;
		this.node.focus({ preventScroll: true });
	}

	/** Back to the pictures; the video goes. */
	async close() {
		if (this.busy && !(await this.#leave())) return;
		this.#stop.abort();
		const sheet = this.page.panel.sheets.background;
		sheet.node.classList.add("sheet");
		sheet.node.classList.remove("stack");
		sheet.node.hidden = this.wasHidden;
		sheet.node.lastElementChild.hidden = false;
		this.home.prepend(sheet.node);
		sheet.update();
		this.node.hidden = true;
		await this.#forget();
		this.page.list();
		$(this.page.album.pictures.length ? "#stage" : "#choose").focus();
	}

	/** Another video: nothing of the one before is left. */
	#renew() {
		this.#stop.abort();
		this.#stop = new AbortController();
		this.#clearPlayer();
		this.#still = null;
		this.sending = false;
		this.hopeless = false;
		this.failed = "";
		this.changing = false;
		this.state = null;
		this.canvas.width = this.canvas.height = 1;
		this.frame.style.setProperty("--ratio", 16 / 9);
		this.#update();
	}

	async #forget() {
		const { id } = this.state ?? {};
		this.state = this.file = null;
		kept.set("video", null);
		this.#clearPlayer();
		if (id) await this.api.json("DELETE", `page/videos/${id}`).catch(() => {});
	}

	// Sending

	async #send(file) {
		const { signal } = this.#stop;
		this.sending = true;
		this.#local(file, signal);
		this.#say("Uploading");
		this.#update();
		try {
			await this.api.enter();
			const path = `page/videos?name=${encodeURIComponent(file.name)}`;
			const onWait = (seconds) => this.#say(`The server is busy, again in ${Math.ceil(seconds)} s`);
			const options = { signal, raw: true, onWait, onProgress: (share) => this.#say(share < 1 ? `Uploading ${Math.round(share * 100)} %` : "Looking at it") };
			let known;
			try {
				known = await this.api.upload(path, file, file.name, options);
			} catch (error) {
				if (!error.unknown) throw error;
				this.api.forget(); // the server has forgotten who we are
				await this.api.enter();
				known = await this.api.upload(path, file, file.name, options);
			}
			this.sending = false;
			this.#found(known);
		} catch (error) {
			if (signal.aborted) return;
			this.sending = false;
			this.#fail(error.message, ![400, 413].includes(error.status));
		}
	}

	async #restore() {
		const id = kept.get("video");
		if (!id) return;
		try {
			const known = await this.api.json("GET", `page/videos/${id}`);
			this.#show();
			this.#renew();
			this.#found(known);
			if (this.busy) this.#watch();
			else if (known.result) await this.#play();
		} catch {
			kept.set("video", null);
		}
	}

	/** While it is sent, its first frame as the browser shows it, if it can. */
	#local(file, signal) {
		const video = make("video", { muted: true, playsInline: true, preload: "auto", src: this.#url(file) });
		video.addEventListener("loadeddata", () => {
			if (signal.aborted || this.#still || !video.videoWidth) return;
			this.canvas.width = video.videoWidth;
			this.canvas.height = video.videoHeight;
			this.frame.style.setProperty("--ratio", video.videoWidth / video.videoHeight);
			this.canvas.getContext("2d").drawImage(video, 0, 0);
			this.#update();
		});
	}

	/** The server knows it. */
	#found(known) {
		this.state = known;
		kept.set("video", known.id);
		this.title.textContent = known.name;
		this.frame.style.setProperty("--ratio", known.width / known.height);
		this.frame.style.setProperty("--wide", `${Math.max(480, known.width)}px`);
		const length = known.seconds ?? this.limits.seconds;
		this.time.max = Math.max(0.01, length - 0.5 / (known.fps || 25));
		this.time.value = 0;
		$("#video-from").value = "0";
		$("#video-to").value = String(Math.floor(Math.min(length, this.limits.seconds) * 100) / 100);
		this.sizes.replaceChildren(make("option", { value: "" }, `Full size, ${known.width} × ${known.height} px`),
			...SIZES.filter((one) => one < Math.max(known.width, known.height)).map((one) => make("option", { value: String(one) }, `Longest side ${one} px`)));
		this.sizes.value = this.options.size;
		if (this.sizes.selectedIndex < 0) this.sizes.value = this.options.size = "";
		this.#update();
		if (known.state === "new" || known.state === "failed") this.#moved(true);
	}

	// One frame

	#moved(now = false) {
		const at = Number(this.time.value);
		fill(this.time);
		this.clock.textContent = `${clock(at, 1)} of ${clock(this.state?.seconds ?? 0, 1)}`;
		this.time.setAttribute("aria-valuetext", this.clock.textContent);
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#look(at), now ? 0 : 140);
	}

	async #look(at) {
		const { id } = this.state ?? {};
		if (!id) return;
		const ticket = ++this.#asked;
		const { signal } = this.#stop;
		this.#say("Cutting out a frame");
		try {
			const model = this.page.album.value(this.model.value);
			const query = `t=${at.toFixed(3)}${model ? `&model=${encodeURIComponent(model)}` : ""}`;
			const cutout = await this.api.blob("GET", `page/videos/${id}/still.png?${query}`, undefined, { signal });
			const photo = await this.api.blob("GET", `page/videos/${id}/still.jpg?${query}`, undefined, { signal });
			const [one, other] = await Promise.all([createImageBitmap(photo), createImageBitmap(cutout)]);
			if (ticket !== this.#asked || signal.aborted) return;
			this.#still = { photo: one, cutout: other };
			this.#say("");
			this.#paint();
		} catch (error) {
			if (ticket !== this.#asked || signal.aborted) return;
			this.#say("");
			if (error.unknown) return this.#lost();
			this.error.textContent = sentence(error.message);
		}
	}

	/** After another background was chosen, for whatever is shown. */
	painted() {
		if (!this.shown) return;
		this.page.panel.sheets.background.hint.hidden = true;
		this.#paint();
		this.#update();
	}

	#paint() {
		const { backdrop } = this.page;
		const white = this.opaque && backdrop.transparent ? { kind: "colour", colour: "#ffffff" } : backdrop;
		this.frame.classList.toggle("checker", white === backdrop && backdrop.transparent);
		if (!this.#still || this.state?.state === "working" || !this.player.hidden) return;
		const { photo, cutout } = this.#still;
		this.#composer.draw(this.canvas, photo, cutout, white, { grey: false, subject: cutout });
	}

	get opaque() {
		return !this.config.formats.find((one) => one.name === this.options.format).alpha;
	}

	// The work

	async #cut() {
		const body = this.#body();
		if (!body) return;
		this.error.textContent = "";
		this.go.disabled = true;
		const { id } = this.state;
		try {
			const onWait = (seconds, why) => this.#say(why.includes("being downloaded") ? why.split(",")[0] : `The server is busy, again in ${Math.ceil(seconds)} s`);
			this.state = await this.api.json("POST", `page/videos/${id}/cut`, body, { signal: this.#stop.signal, onWait });
			this.changing = false;
			this.failed = "";
			this.#clearPlayer();
			announce("The video is being cut out.");
			this.#watch();
		} catch (error) {
			if (error.name === "AbortError") return;
			if (error.unknown) return this.#lost();
			this.error.textContent = sentence(error.message);
		} finally {
			this.go.disabled = false;
			this.#update();
		}
	}

	/** What the form says; null if something in it is wrong, which is said. */
	#body() {
		const { options, state, page } = this;
		const from = number($("#video-from").value);
		const to = number($("#video-to").value);
		const most = this.limits.seconds;
		let wrong = "";
		if (from === null || to === null) wrong = "From and To are seconds, as 2.5";
		else if (to <= from) wrong = "To must be later than From";
		else if (state.seconds && from >= state.seconds) wrong = `the video has ${state.seconds.toFixed(1)} s`;
		else if (to - from > most + 0.5) wrong = `that is ${(to - from).toFixed(1)} s, and ${most} s is the most that is cut out here`;
		this.error.textContent = sentence(wrong);
		if (wrong) return null;
		const { background, ...fields } = page.backdrop.fields(Math.max(state.width, state.height) * this.#shrink());
		const settings = Object.assign({}, ...this.groups.map((group) => group.values), fields);
		if (from > 0) settings.start = String(from);
		if (!state.seconds || to < state.seconds - 0.01) settings.end = String(to);
		if (options.size) settings.size = options.size;
		if (!options.sound) settings.sound = false;
		const model = page.album.value(this.model.value);
		return { ...(model ? { model } : {}), format: options.format, background, settings };
	}

	#shrink() {
		const side = Math.max(this.state.width, this.state.height);
		return this.options.size ? Math.min(1, Number(this.options.size) / side) : 1;
	}

	/** Ask how far it is until it is done. */
	async #watch() {
		const { signal } = this.#stop;
		let shown = 0;
		this.#say("");
		while (!signal.aborted && this.state) {
			this.#update();
			if (!this.busy) break;
			await sleep(POLL);
			try {
				const known = await this.api.json("GET", `page/videos/${this.state.id}`, undefined, { signal });
				if (signal.aborted) return;
				this.state = known;
				if (known.frame > shown) {
					shown = known.frame;
					await this.#passing(signal);
				}
			} catch (error) {
				if (signal.aborted) return;
				if (error.unknown) return this.#lost();
				this.error.textContent = sentence(error.message);
				await sleep(2000);
			}
		}
		if (!signal.aborted && this.state) this.#over();
	}

	/** A frame as it was just made. */
	async #passing(signal) {
		const blob = await this.api.blob("GET", `page/videos/${this.state.id}/frame.webp`, undefined, { signal }).catch(() => null);
		const bitmap = blob && (await createImageBitmap(blob).catch(() => null));
		if (!bitmap || signal.aborted) return;
		this.canvas.width = bitmap.width;
		this.canvas.height = bitmap.height;
		this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
		bitmap.close();
	}

	async #over() {
		const { state, error, result } = this.state;
		if (state === "failed") return this.#fail(error);
		if (!result) {
			announce("The video was stopped.");
			return this.#moved(true);
		}
		announce(state === "done" ? "The video is cut out." : "The video was stopped; what there is can be saved.");
		await this.#play();
	}

	async #halt() {
		this.halt.disabled = true;
		try {
			this.state = await this.api.json("POST", `page/videos/${this.state.id}/stop`, undefined, { signal: this.#stop.signal });
		} catch (error) {
			this.error.textContent = sentence(error.message);
		} finally {
			this.halt.disabled = false;
			this.#update();
		}
	}

	/** Fetch what was made, once, and play it where the browser can. */
	async #result() {
		const { id, result } = this.state;
		const key = `${id} ${result.run}`;
		if (this.#played !== key) {
			this.blob = await this.api.blob("GET", `page/videos/${id}/result`, undefined, { signal: this.#stop.signal });
			this.#played = key;
		}
		return this.blob;
	}

	async #play() {
		const { result } = this.state;
		this.#say("Loading it");
		try {
			const blob = await this.#result();
			const url = this.#url(blob);
			const picture = result.type.startsWith("image/");
			const node = picture
				? make("img", { src: url, alt: "The video without its background" })
				: make("video", { src: url, controls: true, loop: true, autoplay: true, muted: true, playsInline: true, "aria-label": "The video without its background" });
			node.addEventListener("error", () => this.player.replaceChildren(this.#cannot()), { once: true });
			node.className = "reel-playing";
			this.player.replaceChildren(node);
			this.player.hidden = false;
		} catch (error) {
			if (error.name === "AbortError") return;
			if (error.unknown) return this.#lost();
			this.error.textContent = sentence(error.message);
		} finally {
			this.#say("");
			this.#update();
		}
	}

	#cannot() {
		return make("div", { class: "reel-cannot" }, icon("check"), make("p", {}, "It is made. This browser cannot play this kind of file; download it."));
	}

	async #save() {
		this.save.classList.add("working");
		try {
			saveFile(await this.#result(), this.state.result.name);
			toast("The video is in your downloads.");
		} catch (error) {
			if (error.unknown) return this.#lost();
			toast(sentence(error.message), "bad");
		} finally {
			this.save.classList.remove("working");
		}
	}

	/** Back to the choices, with the same video. */
	#anew() {
		this.changing = true;
		this.#clearPlayer();
		this.#update();
		this.#moved(true);
	}

	// Trouble

	#again() {
		this.failed = "";
		if (this.state) {
			this.changing = true;
			this.#update();
			this.#moved(true);
		} else if (this.file) {
			this.#renew();
			this.#send(this.file);
		}
	}

	#fail(text, again = true) {
		this.failed = sentence(text);
		this.hopeless = !again;
		this.#say("");
		this.#update();
		announce(this.failed);
	}

	#lost() {
		kept.set("video", null);
		this.state = null;
		this.#fail("the server has removed this video, as it does after a while; send it again", Boolean(this.file));
	}

	// Bringing everything up to date

	#say(text) {
		this.pill.hidden = !text;
		this.pillText.textContent = text;
	}

	#update() {
		const { state, options, config } = this;
		const format = config.formats.find((one) => one.name === options.format);
		this.formatHelp.textContent = format.help + (this.opaque && this.page.backdrop.transparent ? " Without a background it becomes white." : "");
		const busy = ["waiting", "working"].includes(state?.state);
		const made = Boolean(state?.result) && !busy && !this.changing;
		const silent = !format.sound;
		this.soundRow.hidden = !state?.sound;
		this.sound.disabled = silent;
		this.sound.checked = options.sound && !silent;
		this.soundRow.classList.toggle("off", silent);
		this.soundRow.title = silent ? SILENT : "";
		this.trouble.hidden = !this.failed;
		this.troubleText.textContent = this.failed;
		this.again.hidden = this.hopeless;
		this.before.inert = busy || this.sending || !state;
		this.before.classList.toggle("off", this.before.inert);
		this.before.hidden = made;
		this.go.parentNode.hidden = busy || made;
		this.go.disabled = !state || this.sending;
		this.progress.hidden = !busy;
		this.ready.hidden = !made;
		this.timeline.hidden = made || !state;
		this.canvas.hidden = !this.player.hidden;
		this.node.dataset.state = made ? "made" : this.failed && !state ? "lost" : "";
		this.time.disabled = !state || busy;
		this.#partSays();
		if (busy) this.#progressSays();
		if (made) this.#madeSays();
		$("#app").dataset.video = this.failed ? "failed" : this.sending ? "sending" : made ? state.state : busy ? state.state : state ? "new" : "";
		this.#paint();
	}

	#partSays() {
		const { state, limits } = this;
		const length = state?.seconds;
		const facts = [];
		if (length) facts.push(`It has ${length.toFixed(1)} s`);
		if (!length || length > limits.seconds) facts.push(`up to ${limits.seconds} s are cut out here`);
		this.partHelp.textContent = [sentence(facts.join("; ")), state?.note].filter(Boolean).join(" ");
	}

	#progressSays() {
		const { state } = this;
		const { done = 0, total = null, fps = 0, left = null } = state.progress ?? {};
		const share = total ? done / total : 0;
		if (state.state === "waiting") {
			const before = (state.place ?? 1) - 1;
			this.doing.textContent = before > 0 ? `In line, ${before} before it` : "In line";
			this.left.textContent = "";
		} else {
			this.doing.textContent = total ? `${Math.floor(share * 100)} %` : done ? `Frame ${done}` : "Beginning";
			const rest = left === null ? "" : left < 1 ? "almost done" : `${clock(Math.ceil(left))} left`;
			this.left.textContent = [done && total ? `frame ${done} of ${total}` : "", fps ? `${fps >= 10 ? Math.round(fps) : fps} fps` : "", rest].filter(Boolean).join(" · ");
		}
		this.bar.classList.toggle("unknown", !total);
		this.bar.style.setProperty("--share", share);
		if (total) this.bar.setAttribute("aria-valuenow", Math.round(share * 100));
		else this.bar.removeAttribute("aria-valuenow");
	}

	#madeSays() {
		const { result } = this.state;
		const stopped = result.complete ? "" : "Stopped early. ";
		const empty = result.empty === result.frames ? "No subject was found. " : result.empty ? `No subject in ${result.empty} of ${result.frames} frames. ` : "";
		this.readyName.textContent = result.name;
		this.readyFacts.textContent = `${stopped}${empty}${result.seconds.toFixed(1)} s, ${size(result.bytes)}, made in ${result.took < 90 ? `${Math.max(1, Math.round(result.took))} s` : clock(Math.round(result.took))}. ${result.note}`.trim();
		const format = this.config.formats.find((one) => result.name.endsWith(`.${one.name}`));
		$("span", this.save).textContent = `Download ${format?.title ?? "it"}`;
	}

	#url(blob) {
		const url = URL.createObjectURL(blob);
		this.#urls.push(url);
		return url;
	}

	#clearPlayer() {
		this.player?.replaceChildren();
		if (this.player) this.player.hidden = true;
		for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
		this.blob = null;
		this.#played = "";
	}
}

/** 62.5 as 1:02 or 1:02.5. */
function clock(seconds, digits = 0) {
	const scale = 10 ** digits;
	const all = Math.floor(seconds * scale + 1e-6) / scale;
	const minutes = Math.floor(all / 60);
	return `${minutes}:${(all - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
}

function size(bytes) {
	return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Seconds from 2.5, 2,5 or 1:02.5; null if it is none of these. */
function number(text) {
	const parts = text.trim().replace(",", ".").split(":");
	if (parts.length > 3 || parts.some((one) => !/^\d+(\.\d*)?$/.test(one))) return null;
	return parts.reduce((sum, one) => sum * 60 + Number(one), 0);
}
