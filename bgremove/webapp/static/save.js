// Files: one picture, all of them as a zip, the clipboard.

import { $, announce, icon, kept, make, saveFile, segmented, sentence, toast } from "./dom.js";
import { ranged } from "./form.js";

const WHAT = [["picture", "Picture"], ["mask", "Mask"], ["alpha", "Soft alpha"]];

export class Saver {
	constructor(shell) {
		this.shell = shell;
		const quality = shell.config.result.find((field) => field.name === "quality");
		this.options = { what: "picture", format: "png", crop: false, padding: 5, quality: quality?.default ?? 90, size: "" };
		try {
			Object.assign(this.options, JSON.parse(kept.get("save", true) || "{}"));
		} catch {
			// Then the defaults it is.
		}
		this.menu = $("#save-menu");
		this.more = $("#save-more");
		this.menu.replaceChildren(...this.#build());
		$("#download").addEventListener("click", () => this.download());
		this.more.addEventListener("click", () => this.open(this.menu.hidden));
		document.addEventListener("pointerdown", (event) => {
			if (!this.menu.hidden && !event.target.closest("#save-menu, #save")) this.open(false);
		});
		this.menu.addEventListener("keydown", (event) => {
			if (event.key === "Escape") {
				this.open(false);
				this.more.focus();
			}
		});
		this.#changed();
	}

	open(on) {
		this.menu.hidden = !on;
		this.more.setAttribute("aria-expanded", on);
		if (!on) return;
		this.update();
		this.menu.querySelector("[tabindex='0'], button")?.focus();
	}

	/** Bring everything up to date with the selected picture. */
	update() {
		const { album, backdrop } = this.shell;
		const done = album.pictures.filter((one) => one.ready);
		const ready = Boolean(album.selected?.ready) && !album.selected.busy;
		$("#download").disabled = !ready;
		for (const button of [this.one, this.copyButton]) button.disabled = !ready;
		this.zip.hidden = album.pictures.length < 2;
		this.zip.disabled = done.length < 1;
		this.zip.lastChild.textContent = `All ${done.length} as a zip`;
		const opaque = this.options.format === "jpeg" && this.options.what === "picture" && backdrop.transparent;
		this.hint.textContent = opaque ? "JPEG has no transparency: the background becomes white." : "";
		this.#size(album.selected);
	}

	/** Make the file of the selected picture and let the browser save it. */
	async download() {
		const picture = this.shell.album.selected;
		if (!picture?.ready) return;
		await this.#busy($("#download"), async () => {
			const response = await this.shell.album.api.request("POST", `page/pictures/${picture.id}/result`, this.#request(picture));
			saveFile(await response.blob(), nameIn(response, `${stem(picture.name)}.${this.options.format}`));
			toast("The file is in your downloads.");
		});
	}

	async downloadAll() {
		const { album } = this.shell;
		const pictures = album.pictures.filter((one) => one.ready);
		if (!pictures.length) return;
		await this.#busy(this.zip, async () => {
			const items = pictures.map((one) => one.recipe);
			const longest = Math.max(...pictures.map((one) => Math.max(one.width, one.height)));
			const response = await album.api.request("POST", "page/zip", { items, ...this.#choices(longest) });
			saveFile(await response.blob(), nameIn(response, "bgremove.zip"));
			toast(`${pictures.length} pictures are in your downloads, as a zip.`);
		});
	}

	/** Put the selected picture on the clipboard, always as PNG, which is what clipboards take. */
	async copy() {
		const picture = this.shell.album.selected;
		if (!picture?.ready) return;
		if (!navigator.clipboard?.write || !globalThis.ClipboardItem) {
			return toast("This browser does not let the page copy pictures here; download it instead.", "bad");
		}
		await this.#busy(this.copyButton, async () => {
			const request = { ...this.#request(picture), format: "png" };
			const made = this.shell.album.api.blob("POST", `page/pictures/${picture.id}/result`, request);
			made.catch(() => {});
			try {
				await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
			} catch (error) {
				await made; // says what is wrong with the picture, if anything is
				throw new Error(error.name === "NotAllowedError" ? "the browser does not let this page copy pictures here; download it instead" : `copying did not work (${error.message})`);
			}
			toast("The picture is on the clipboard.");
		});
	}

	#request(picture) {
		const { revision, edits } = picture.recipe;
		return { revision, edits, ...this.#choices(Math.max(picture.width, picture.height)) };
	}

	#choices(side) {
		const { what, format, crop, padding, quality, size } = this.options;
		const { backdrop } = this.shell;
		let background = backdrop.fields(side);
		if (format === "jpeg" && what === "picture" && backdrop.transparent) background = { background: "#ffffff" };
		const output = what !== "picture" ? what : background.background === "transparent" ? "cutout" : "composite";
		const choices = { output, ...(what === "picture" ? background : { background: "transparent" }), crop, format, size };
		if (crop) choices.padding = `${padding}%`;
		if (format !== "png") choices.quality = quality;
		return choices;
	}

	#build() {
		const { options } = this;
		const set = (name) => (value) => {
			options[name] = value;
			this.#changed();
		};
		const row = (label, node, id) => make("div", { class: "field" }, make(id ? "label" : "p", { class: "field-label", for: id }, label), node);
		const what = make("div", { class: "segmented wide", "aria-label": "What to save" });
		segmented(what, WHAT.map(([value, title]) => ({ value, title })), set("what"))(options.what);
		const formats = make("div", { class: "segmented wide", id: "formats", "aria-label": "Format" });
		this.format = segmented(formats, this.shell.config.formats.map(({ name, title }) => ({ value: name, title })), set("format"));
		this.format(options.format);
		const lossless = () => options.format === "png" || (options.format === "webp" && options.quality === 100);
		this.quality = ranged("quality", "Quality", { min: 1, max: 100, value: options.quality }, (value) => (lossless() ? "lossless" : `${value}`), set("quality"));
		this.crop = make("input", { type: "checkbox", role: "switch", class: "switch", id: "crop", checked: options.crop, onchange: () => set("crop")(this.crop.checked) });
		this.padding = ranged("padding", "Room around it", { max: 40, value: options.padding }, (value) => `${value} %`, set("padding"));
		const sizes = [["", "Full size"], ["2048", "Longest side 2048 px"], ["1024", "Longest side 1024 px"], ["512", "Longest side 512 px"]];
		this.sizeSelect = make("select", { id: "size", onchange: () => set("size")(this.sizeSelect.value) },
			...sizes.map(([value, title]) => make("option", { value }, title)));
		this.sizeSelect.value = options.size;
		this.hint = make("p", { class: "help" });
		this.one = make("button", { class: "primary wide", id: "download-one", onclick: () => this.download() }, icon("down"), make("span", {}, "Download"));
		this.copyButton = make("button", { class: "secondary wide", id: "copy", onclick: () => this.copy() }, icon("copy"), make("span", {}, "Copy"));
		this.zip = make("button", { class: "secondary wide", id: "zip", onclick: () => this.downloadAll() }, icon("zip"), make("span", {}, "All as a zip"));
		return [
			row("Save", what), row("Format", formats), this.quality.node,
			make("div", { class: "field bool" }, make("div", { class: "field-top" }, make("label", { class: "field-label", for: "crop" }, "Crop to the subject"), this.crop)),
			this.padding.node, row("Size", this.sizeSelect, "size"), this.hint,
			make("div", { class: "row" }, this.one, this.copyButton), this.zip,
		];
	}

	#changed() {
		const { what, format, crop } = this.options;
		kept.set("save", JSON.stringify(this.options), true);
		for (const [slider, off] of [[this.quality, format === "png"], [this.padding, !crop]]) {
			slider.node.classList.toggle("off", off);
			slider.range.disabled = off;
			slider.say();
		}
		const title = this.shell.config.formats.find((one) => one.name === format)?.title ?? format;
		$("#download-text").textContent = what === "picture" ? title : WHAT.find(([name]) => name === what)[1];
		$("#download").setAttribute("aria-label", `Download as ${title}${what === "picture" ? "" : `, ${$("#download-text").textContent.toLowerCase()}`}`);
		this.update();
	}

	#size(picture) {
		const first = this.sizeSelect.options[0];
		first.textContent = picture?.width ? `Full size, ${picture.width} × ${picture.height} px` : "Full size";
	}

	async #busy(button, work) {
		button.classList.add("working");
		button.setAttribute("aria-busy", true);
		announce("Making the file.");
		try {
			await work();
		} catch (error) {
			const { album } = this.shell;
			if (!error.unknown) return toast(sentence(error.message), "bad");
			toast("The server has forgotten this, as it does after a while. It is sent again; then try once more.", "bad");
			for (const picture of button === this.zip ? album.pictures : [album.selected]) album.retry(picture);
		} finally {
			button.classList.remove("working");
			button.removeAttribute("aria-busy");
		}
	}
}

/** The name that the server gives a file. */
function nameIn(response, otherwise) {
	const header = response.headers.get("Content-Disposition") ?? "";
	const long = header.match(/filename\*=UTF-8''([^;]+)/i)?.[1];
	const short = header.match(/filename="?([^";]+)"?/i)?.[1];
	try {
		return long ? decodeURIComponent(long) : (short ?? otherwise);
	} catch {
		return short ?? otherwise;
	}
}

function stem(name) {
	return name.replace(/^.*[\\/]/, "").replace(/\.[^.]+$/, "") || "picture";
}

