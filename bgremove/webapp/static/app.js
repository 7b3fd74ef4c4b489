// The page: what is seen when, and what happens on drop, choose, paste, keys and buttons.

import { Album } from "./album.js";
import { Api } from "./api.js";
import { Backdrop } from "./backdrop.js";
import { $, announce, icon, kept, later, make, segmented, sentence, themes, toast } from "./dom.js";
import { Panel } from "./panel.js";
import { Saver } from "./save.js";
import { Stage } from "./stage.js";

const THUMB = 112; // CSS pixels are half of it

/** Begin, when the page's document is there. The token is only kept here where cookies do not stick. */
export async function start(token = "") {
	if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname + location.search); // let in already
	const api = new Api(token);
	if (token) $("#go-live").hash = `token=${token}`;
	themes();
	let config;
	listenToServer(api);
	try {
		config = await api.json("GET", "page/config", undefined, { visitor: false });
	} catch (error) {
		return banner(sentence(error.message), false);
	}
	const page = new Page(api, config);
	await page.begin();
}

class Page {
	#thumbs = Promise.resolve();

	constructor(api, config) {
		this.api = api;
		this.config = config;
		this.backdrop = new Backdrop();
		this.#remembered();
		this.album = new Album(api, config);
		this.stage = new Stage(this.backdrop);
		const shell = {
			config, album: this.album, stage: this.stage, backdrop: this.backdrop,
			painted: () => this.painted(), undo: (by) => this.album.undo(this.album.selected, by), opened: (name) => this.opened(name),
		};
		this.views = segmented($("#views"), [
			{ value: "compare", title: "Compare" }, { value: "result", title: "Result" }, { value: "original", title: "Original" },
		], (view) => this.setView(view));
		this.panel = shell.panel = new Panel(Object.assign(shell, { panel: { now: "background" } }));
		this.saver = new Saver(shell);
		this.blurLater = later(60, () => this.stage.paintBackdrop());
		this.#listen();
		this.setView("compare");
		this.#behind();
	}

	async begin() {
		const { minutes, megabytes, megapixels } = this.config.limits;
		const { video } = this.config;
		const long = minutes >= 1 ? `${Math.round(minutes)} minutes` : `${Math.round(minutes * 60)} seconds`;
		$("#promise").textContent = `Pictures go to this server only, are yours alone, and are deleted when you clear them or ${long} after you leave. Up to ${megabytes} MB and ${megapixels} megapixels each${video ? `; videos up to ${video.megabytes} MB, of which ${video.seconds} s are cut out` : ""}.`;
		this.#samples();
		await this.album.restore();
		this.list();
		$("#go-live").hidden = !this.config.live;
		if (kept.get("video")) await this.video();
		$("#app").dataset.ready = "";
	}

	// What is shown

	list() {
		const { pictures } = this.album;
		const any = pictures.length > 0;
		const here = $("#welcome").contains(document.activeElement);
		$("#work").hidden = !any;
		if (any && here) $("#stage").focus({ preventScroll: true });
		$("#welcome").hidden = any;
		$("#app").dataset.view = this.watcher?.shown ? "video" : any ? "work" : "welcome";
		$("#clear").hidden = !any;
		$("#save").hidden = !any;
		if (!any) this.saver.open(false);
		if (any) $("#cleared").hidden = true;
		const known = new Map([...$("#thumbs").children].map((node) => [node.dataset.key, node]));
		$("#thumbs").replaceChildren(...pictures.map((picture) => known.get(picture.key) ?? this.#thumb(picture)));
		for (const picture of pictures) this.state(picture);
		this.saver.update();
	}

	#thumb(picture) {
		const canvas = make("canvas", { width: THUMB, height: THUMB, "aria-hidden": "true" });
		const say = make("span", { class: "thumb-state" });
		const pick = make("button", { class: "thumb-pick", onclick: () => this.album.select(picture) },
			make("span", { class: "thumb-face checker" }, canvas, make("span", { class: "thumb-bar" }), make("span", { class: "thumb-mark" }, icon("warn"))),
			make("span", { class: "thumb-text" }, make("span", { class: "thumb-name", title: picture.name }, picture.name), say));
		const close = make("button", { class: "thumb-close", "aria-label": `Remove ${picture.name}`, title: "Remove it", onclick: () => this.remove(picture) }, icon("close"));
		const node = make("li", { class: "thumb", data: { key: picture.key } }, pick, close);
		// One after another: fifty large photos at once are too much for a phone.
		if (picture.file) this.#thumbs = this.#thumbs.then(() => this.#localThumb(picture, canvas));
		return node;
	}

	async #localThumb(picture, canvas) {
		if (picture.step) return;
		const bitmap = await createImageBitmap(picture.file, { resizeWidth: 2 * THUMB, resizeQuality: "medium" }).catch(() => null);
		if (!bitmap || picture.step) return;
		const scale = Math.min(THUMB / bitmap.width, THUMB / bitmap.height);
		const [w, h] = [bitmap.width * scale, bitmap.height * scale];
		canvas.getContext("2d").drawImage(bitmap, (THUMB - w) / 2, (THUMB - h) / 2, w, h);
		bitmap.close();
	}

	#node(picture) {
		return $(`#thumbs [data-key="${picture.key}"]`);
	}

	/** What a picture's thumbnail says, and the stage if it is that picture's. */
	state(picture) {
		const node = this.#node(picture);
		if (!node) return;
		const text = saying(picture);
		node.dataset.state = picture.state;
		node.classList.toggle("selected", picture === this.album.selected);
		node.classList.toggle("bad", Boolean(picture.error));
		const say = $(".thumb-state", node);
		if (say.textContent !== text) say.textContent = text;
		$(".thumb-bar", node).style.setProperty("--share", picture.state === "sending" ? picture.progress : picture.busy ? 1 : 0);
		const pick = $(".thumb-pick", node);
		pick.setAttribute("aria-label", `${picture.name}: ${text}`);
		if (picture === this.album.selected) pick.setAttribute("aria-current", "true");
		else pick.removeAttribute("aria-current");
		if (picture === this.album.selected) this.#stageState(picture);
		$("#work").setAttribute("aria-busy", this.album.pictures.some((one) => one.busy));
	}

	#stageState(picture) {
		const busy = picture.busy;
		const empty = !busy && picture.step?.empty && !picture.step.strokes.length;
		$("#pill").hidden = !busy && !empty;
		$("#pill").classList.toggle("still", !busy);
		if (busy) $("#pill-text").textContent = saying(picture);
		else if (empty) $("#pill-text").textContent = sentence(picture.step.note || "no subject was found; try another model");
		$("#scan").hidden = !busy;
		const failed = picture.state === "failed" || Boolean(picture.error && !picture.step);
		$("#trouble").hidden = !failed;
		$("#trouble-name").textContent = picture.name;
		$("#trouble-text").textContent = failed ? picture.error : "";
		$("#trouble-retry").hidden = Boolean(picture.hopeless);
		$("#title").textContent = picture.name;
		const { step } = picture;
		const facts = [];
		if (picture.width) facts.push(`${picture.width} × ${picture.height} px`);
		if (step?.seconds !== undefined && !busy) facts.push(`${step.seconds < 10 ? Number(step.seconds).toFixed(2) : Math.round(step.seconds)} s`);
		if (step && !busy) facts.push(step.choice.model);
		const notes = [picture.error && step ? picture.error : "", step?.empty ? "" : sentence(step?.note || picture.note)].filter(Boolean);
		$("#facts").textContent = [facts.join(" · "), ...notes].filter(Boolean).join(" · ");
		$("#facts").classList.toggle("noted", notes.length > 0);
		this.#offerViews();
	}

	async redraw(picture, { reveal = false } = {}) {
		if (!picture) return this.stage.show(null);
		const pixels = this.album.pixels(picture).catch(() => null); // then there is nothing to see
		if (picture === this.album.selected) await this.stage.show(picture, pixels, { reveal });
		const known = await pixels;
		const node = this.#node(picture);
		if (known?.before && node) this.stage.thumbnail($("canvas", node), known);
	}

	setView(view) {
		this.views(view);
		this.stage.setView(view);
	}

	opened() {
		this.#offerViews();
	}

	/** Before and after only go where no tool needs the result to be seen. */
	#offerViews() {
		const tools = ["touch", "subjects"].includes(this.panel?.now);
		const off = tools || !this.album.selected?.step;
		$("#views").classList.toggle("off", off);
		$("#views").inert = off;
	}

	/** After the background has changed. */
	painted() {
		this.watcher?.painted();
		const { kind, colour, blur } = this.backdrop;
		kept.set("backdrop", JSON.stringify({ kind: kind === "picture" ? "transparent" : kind, colour, blur }));
		if (kind === "blur") this.blurLater();
		else this.stage.paintBackdrop();
		// Half a picture on its new background says little.
		if (this.stage.view === "compare" && !this.stage.touched) this.setView("result");
		this.#behind();
		this.saver?.update();
	}

	/** Thumbnails stand on the colour, too. */
	#behind() {
		const { kind, colour } = this.backdrop;
		$("#thumbs").style.setProperty("--behind", kind === "colour" ? colour : "");
		$("#thumbs").classList.toggle("coloured", kind === "colour");
	}

	#remembered() {
		try {
			Object.assign(this.backdrop, JSON.parse(kept.get("backdrop") || "{}"));
		} catch {
			// Then it is transparent.
		}
	}

	// What happens

	take(files) {
		const [video, more] = [...files].filter((file) => file.type.startsWith("video/") || /\.(mp4|mov|m4v|webm|mkv|avi|3gp|mpe?g|ts|wmv|ogv)$/i.test(file.name));
		if (more) toast("One video at a time: the first one is taken.", "bad");
		if (video) return this.video(video);
		const pictures = [...files].filter((file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif)$/i.test(file.name));
		const others = files.length - pictures.length;
		if (others) toast(others === files.length ? "Only pictures can be added." : `${others} of ${files.length} files are no pictures and were left out.`, "bad");
		if (!pictures.length) return;
		this.album.add(pictures);
		if (this.watcher?.shown) toast("The pictures are behind this video: close it to see them.");
		announce(pictures.length === 1 ? `${pictures[0].name} is being cut out.` : `${pictures.length} pictures are being cut out.`);
	}

	/** Videos have a view of their own, which is loaded when it is needed. */
	async video(file) {
		const { videoView } = await import("./video.js");
		await videoView(this).open(file);
	}

	async remove(picture) {
		const [next] = [this.#node(picture)?.nextElementSibling ?? this.#node(picture)?.previousElementSibling];
		await this.album.remove(picture).catch((error) => toast(sentence(error.message), "bad"));
		announce(`${picture.name} was removed.`);
		if (this.album.pictures.length) next?.querySelector(".thumb-pick")?.focus();
		else $("#choose").focus();
	}

	async clear() {
		const count = this.album.pictures.length;
		if (!(await ask(count === 1 ? "Remove this picture?" : `Remove all ${count} pictures?`, "They go from this page and from the server. This cannot be undone."))) return;
		try {
			await this.album.clear();
			this.backdrop.picture = null;
			if (this.backdrop.kind === "picture") this.backdrop.kind = "transparent";
			this.panel.update();
			this.stage.touched = false;
			this.setView("compare");
			const when = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
			$("#cleared").replaceChildren(icon("check"), `Everything was removed from the server at ${when}.`);
			$("#cleared").hidden = false;
			announce("All pictures were removed from this page and from the server.");
			$("#choose").focus();
		} catch (error) {
			toast(sentence(`the server could not remove them: ${error.message}`), "bad");
		}
	}

	#listen() {
		const { album, stage, panel } = this;
		album.addEventListener("list", () => this.list());
		album.addEventListener("select", ({ detail: picture }) => {
			for (const one of album.pictures) this.state(one);
			panel.update();
			this.saver.update();
			const reveal = Boolean(picture?.fresh);
			if (picture) picture.fresh = false;
			this.redraw(picture, { reveal });
		});
		for (const type of ["change", "progress"]) {
			album.addEventListener(type, ({ detail: picture }) => {
				this.state(picture);
				if (type === "change" && picture === album.selected) {
					panel.update();
					this.saver.update();
				}
			});
		}
		album.addEventListener("edited", ({ detail: picture }) => {
			const reveal = picture.fresh && picture === album.selected && picture.at === 0;
			if (picture === album.selected) picture.fresh = false;
			this.redraw(picture, { reveal });
			this.state(picture);
			this.saver.update();
			if (picture === album.selected) panel.update();
		});
		album.addEventListener("cut", ({ detail: picture }) => {
			const { step } = picture;
			announce(step.empty ? `${picture.name}: ${sentence(step.note || "no subject was found")}` : `${picture.name} is cut out.`);
		});
		album.addEventListener("failed", ({ detail: picture }) => announce(`${picture.name}: ${picture.error}`));
		album.addEventListener("problem", ({ detail: text }) => toast(text, "bad"));
		stage.addEventListener("stroke", ({ detail: edit }) => {
			if (edit.mode === "refine") album.refine(album.selected, edit);
			else album.edit(album.selected, edit);
		});
		stage.addEventListener("segment", ({ detail: index }) => panel.sheets.subjects.toggle(index));
		this.#buttons();
		this.#files();
		addEventListener("keydown", (event) => this.#key(event));
	}

	#buttons() {
		const { album, stage } = this;
		for (const id of ["choose", "add"]) $(`#${id}`).addEventListener("click", () => $("#file").click());
		$("#shoot").addEventListener("click", () => $("#camera").click());
		$("#clear").addEventListener("click", () => this.clear());
		$("#zoom-in").addEventListener("click", () => stage.zoomBy(1.4));
		$("#zoom-out").addEventListener("click", () => stage.zoomBy(1 / 1.4));
		$("#zoom-fit").addEventListener("click", () => stage.reset());
		$("#trouble-retry").addEventListener("click", () => album.retry(album.selected));
		$("#trouble-remove").addEventListener("click", () => this.remove(album.selected));
		$("#drop").addEventListener("click", (event) => {
			if (!event.target.closest("button")) $("#file").click();
		});
	}

	#files() {
		for (const id of ["file", "camera"]) {
			$(`#${id}`).addEventListener("change", (event) => {
				this.take([...event.target.files]);
				event.target.value = "";
			});
		}
		$("#backdrop-file").addEventListener("change", (event) => {
			const [file] = event.target.files;
			event.target.value = "";
			if (file) this.panel.sheets.background.take(file);
		});
		let depth = 0;
		const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
		const over = (on) => ($("#dropping").hidden = !on);
		addEventListener("dragenter", (event) => carries(event) && (event.preventDefault(), over(++depth > 0)));
		addEventListener("dragover", (event) => carries(event) && event.preventDefault());
		addEventListener("dragleave", (event) => carries(event) && over(--depth > 0));
		addEventListener("drop", (event) => {
			if (!carries(event)) return;
			event.preventDefault();
			depth = 0;
			over(false);
			this.take([...event.dataTransfer.files]);
		});
		addEventListener("paste", (event) => {
			const files = [...(event.clipboardData?.files ?? [])];
			if (!files.length) return;
			event.preventDefault();
			this.take(files.map((file) => (file.name && file.name !== "image.png" ? file : new File([file], "pasted.png", { type: file.type }))));
		});
	}

	#key(event) {
		const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select");
		const picture = this.album.selected;
		if (typing || !picture || $("#ask").open || this.watcher?.shown) return;
		const command = event.ctrlKey || event.metaKey;
		const letter = event.key.toLowerCase();
		if (command && letter === "z") this.album.undo(picture, event.shiftKey ? 1 : -1);
		else if (command && letter === "y") this.album.undo(picture, 1);
		else if (command && letter === "s") this.saver.download();
		else if (!command && this.panel.now === "touch" && (event.key === "[" || event.key === "]")) {
			this.panel.sheets.touch.grow(event.key === "]" ? 1.2 : 1 / 1.2);
		} else return;
		event.preventDefault();
	}

	async #samples() {
		if (!this.config.samples.length) return;
		$("#sample-row").replaceChildren(...this.config.samples.map(({ name, title }) => {
			const picture = make("img", { alt: "", width: 132, height: 92 });
			const button = make("button", { class: "sample", "aria-label": `Try the sample ${title}`, data: { name }, onclick: () => this.#sample(name) }, picture);
			this.api.blob("GET", `page/samples/${name}`, undefined, { visitor: false }).then((blob) => {
				button.blob = blob;
				picture.src = URL.createObjectURL(blob);
			}, () => (button.hidden = true));
			return button;
		}));
		$("#samples").hidden = false;
	}

	#sample(name) {
		const { blob } = $(`.sample[data-name="${name}"]`);
		if (blob) this.take([new File([blob], `${name}.jpg`, { type: "image/jpeg" })]);
	}
}

/** What is happening with a picture, in a few words. */
function saying(picture) {
	if (picture.wait) return picture.fetching || `The server is busy, again in ${picture.wait} s`;
	switch (picture.state) {
		case "sending":
			return picture.progress > 0 && picture.progress < 1 ? `Uploading ${Math.round(picture.progress * 100)} %` : picture.progress >= 1 ? "Uploaded" : "In line";
		case "queued":
			return "In line";
		case "waiting":
			return picture.place ? `Waiting, place ${picture.place}` : "Waiting";
		case "working":
			return "Cutting out";
		case "refining":
			return "Refining";
		case "failed":
			return picture.error;
	}
	return picture.error || (picture.step?.empty ? "No subject found" : "Done");
}

function listenToServer(api) {
	let lost = false;
	api.addEventListener("lost", ({ detail: seconds }) => {
		if (seconds) banner(`The server does not answer. Nothing here is lost; trying again in ${seconds} s.`);
		else if (lost) {
			$("#banner").hidden = true;
			toast("The server is back.");
		}
		lost = seconds > 0;
	});
	api.addEventListener("refused", () => banner("The server asks for its token again: open the page by its link, or reload it.", false));
	$("#banner-retry").addEventListener("click", () => api.retry());
}

function banner(text, retry = true) {
	$("#banner-text").textContent = text;
	$("#banner-retry").hidden = !retry;
	$("#banner").hidden = false;
}

/** A question with two answers. */
export function ask(title, text, no = "Keep them", yes = "Remove") {
	const dialog = $("#ask");
	$("#ask-no").textContent = no;
	$("#ask-yes").textContent = yes;
	$("#ask-title").textContent = title;
	$("#ask-text").textContent = text;
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

if (document.querySelector("script[data-start]")) start();
