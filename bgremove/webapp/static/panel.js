// The tools beside the picture: background, touch-up, what was found, model and settings.

import { $, announce, icon, make, rove, segmented, sentence, toast } from "./dom.js";
import { Group, ranged, same } from "./form.js";
import { hue, nameOf } from "./stage.js";

const SWATCHES = [
	["#ffffff", "White"], ["#f2f2ef", "Paper"], ["#c9cdd2", "Silver"], ["#1d1f21", "Black"],
	["#f6d7c3", "Peach"], ["#f2c14e", "Yellow"], ["#e4572e", "Vermilion"], ["#c2255c", "Raspberry"],
	["#8ecae6", "Sky"], ["#2f6fde", "Blue"], ["#2a9d8f", "Teal"], ["#5b8c3e", "Leaf"],
];
const FITS = { cover: "Fill", contain: "Whole", stretch: "Stretch", tile: "Tile" };
const CLICK_PAUSE = 450; // milliseconds after a click on an outline, in case another follows

/** The tabs, and the sheets below them. */
export class Panel {
	constructor(shell) {
		this.shell = shell; // {album, stage, backdrop, config, refresh, painted}
		this.sheets = {
			background: new BackgroundSheet(shell),
			touch: new TouchSheet(shell),
			subjects: new SubjectsSheet(shell),
			model: new ModelSheet(shell),
		};
		this.now = "background";
		const titles = { background: ["Background", "backdrop"], touch: ["Touch up", "brush"], subjects: ["Subjects", "subjects"], model: ["Model", "model"] };
		this.tabs = Object.entries(titles).map(([name, [title, symbol]]) =>
			make("button", { role: "tab", id: `tab-${name}`, "aria-controls": `sheet-${name}`, data: { name }, onclick: () => this.open(name) },
				icon(symbol), make("span", {}, title)));
		$("#tabs").replaceChildren(...this.tabs);
		rove($("#tabs"), this.tabs, (tab) => {
			tab.focus();
			tab.click();
		});
		$("#sheets").replaceChildren(
			...Object.entries(this.sheets).map(([name, sheet]) => {
				sheet.node = make("div", { class: "sheet", role: "tabpanel", id: `sheet-${name}`, "aria-labelledby": `tab-${name}`, tabIndex: -1 }, ...sheet.build());
				return sheet.node;
			}),
		);
		this.open(this.now);
	}

	open(name) {
		this.now = name;
		for (const tab of this.tabs) {
			const on = tab.dataset.name === name;
			tab.setAttribute("aria-selected", on);
			tab.tabIndex = on ? 0 : -1;
		}
		for (const [one, sheet] of Object.entries(this.sheets)) sheet.node.hidden = one !== name;
		this.update();
		this.shell.opened?.(name);
	}

	/** Bring everything up to date with the selected picture. */
	update() {
		const picture = this.shell.album.selected;
		const tab = this.tabs.find((one) => one.dataset.name === "subjects");
		const none = !(picture?.step?.segments.length > 0);
		tab.hidden = none;
		if (none && this.now === "subjects") return this.open("model");
		for (const sheet of Object.values(this.sheets)) sheet.update(picture);
		const touching = this.now === "touch" && picture?.step;
		this.shell.stage.setTool(touching ? this.sheets.touch.tool : null);
		this.shell.stage.mark(this.now === "subjects");
	}
}

export class BackgroundSheet {
	constructor(shell) {
		this.shell = shell;
	}

	build() {
		const { backdrop } = this.shell;
		const kinds = [["transparent", "None"], ["colour", "Colour"], ["picture", "Picture"], ["blur", "Blur"]];
		this.tiles = kinds.map(([kind, title]) =>
			make("button", { role: "radio", class: "tile", data: { kind }, onclick: () => this.choose(kind) },
				make("span", { class: `tile-face ${kind}` }, kind === "picture" ? icon("picture") : kind === "blur" ? icon("drop") : null),
				make("span", {}, title)));
		const row = make("div", { class: "tiles", role: "radiogroup", "aria-label": "Background" }, ...this.tiles);
		rove(row, this.tiles, (tile) => {
			tile.focus();
			if (tile.dataset.kind !== "picture" || backdrop.picture) tile.click();
		});
		this.parts = { colour: this.#colours(), picture: this.#pictures(), blur: this.#blurs() };
		this.hint = make("p", { class: "help" }, "Nothing behind the subject: PNG and WebP keep it see-through.");
		return [row, this.hint, ...Object.values(this.parts), make("p", { class: "help foot" }, "The background is the same for all pictures.")];
	}

	#colours() {
		const { backdrop } = this.shell;
		this.swatches = SWATCHES.map(([value, name]) => {
			const swatch = make("button", { class: "swatch", title: name, "aria-label": name, data: { value }, onclick: () => this.colour(value) });
			swatch.style.setProperty("--colour", value);
			return swatch;
		});
		this.picker = make("input", { type: "color", id: "colour", value: backdrop.colour, "aria-label": "Any colour", oninput: () => this.colour(this.picker.value, false) });
		this.picker.addEventListener("change", () => this.colour(this.picker.value));
		this.hex = make("input", { type: "text", id: "hex", class: "hex", value: backdrop.colour, spellcheck: false, autocomplete: "off", "aria-label": "Colour as #rrggbb", maxLength: 7 });
		this.hex.addEventListener("change", () => {
			const found = this.hex.value.trim().match(/^#?([0-9a-f]{6}|[0-9a-f]{3})$/i);
			if (!found) return (this.hex.value = backdrop.colour);
			const digits = found[1].length === 3 ? [...found[1]].map((one) => one + one).join("") : found[1];
			this.colour(`#${digits.toLowerCase()}`);
		});
		return make("div", {}, make("div", { class: "swatches", role: "group", "aria-label": "Colours" }, ...this.swatches),
			make("div", { class: "row" }, make("label", { class: "picker" }, this.picker, make("span", {}, "Any colour")), this.hex));
	}

	#pictures() {
		this.chosen = make("span", { class: "muted small clip" });
		this.preview = make("canvas", { class: "backdrop-thumb", width: 112, height: 84 });
		const fits = make("div", { class: "segmented wide", "aria-label": "How it fills the frame" });
		const options = this.shell.config.result.find((field) => field.name === "background_fit").choices;
		this.fit = segmented(fits, options.map((value) => ({ value, title: FITS[value] ?? value })), (value) => {
			this.shell.backdrop.fit = value;
			this.shell.painted();
		});
		this.fit(this.shell.backdrop.fit);
		return make("div", { class: "stack" },
			make("div", { class: "row" }, this.preview, make("div", { class: "stack tight" },
				make("button", { class: "secondary small", id: "choose-backdrop", onclick: () => $("#backdrop-file").click() }, "Choose another"), this.chosen)),
			make("div", {}, make("p", { class: "field-label" }, "Fit"), fits));
	}

	#blurs() {
		const { backdrop } = this.shell;
		const { node } = ranged("blur", "Strength", { min: 0.4, max: 6, step: 0.1, value: backdrop.blur }, (value) => `${value} %`, (value) => {
			backdrop.blur = value;
			this.shell.painted();
		});
		node.append(make("p", { class: "help" }, "The photo's own background out of focus; measured in per cent of the photo's longer side."));
		return node;
	}

	choose(kind) {
		const { backdrop } = this.shell;
		if (kind === "picture" && !backdrop.picture) return $("#backdrop-file").click();
		backdrop.kind = kind;
		this.update();
		this.shell.painted();
	}

	colour(value, whole = true) {
		const { backdrop } = this.shell;
		backdrop.kind = "colour";
		backdrop.colour = value;
		if (whole) this.picker.value = value;
		this.hex.value = value;
		this.update();
		this.shell.painted();
	}

	/** Take a picture as the background: here at once, and to the server for files. */
	async take(file) {
		const { backdrop, album, config } = this.shell;
		if (file.size > config.limits.megabytes * 1e6) return toast(`The background may have up to ${config.limits.megabytes} MB.`, "bad");
		try {
			const bitmap = await createImageBitmap(file).catch(() => null);
			if (!bitmap) throw new Error(`${file.name} is not a picture that this browser can show`);
			await album.api.enter();
			const form = new FormData();
			form.append("file", file, file.name);
			await album.api.request("PUT", "page/background", form);
			backdrop.picture = { bitmap, name: file.name };
			backdrop.kind = "picture";
			this.update();
			this.shell.painted();
			announce(`${file.name} is the background now.`);
		} catch (error) {
			toast(sentence(error.message), "bad");
		}
	}

	update() {
		const { backdrop } = this.shell;
		for (const tile of this.tiles) {
			const on = tile.dataset.kind === backdrop.kind;
			tile.setAttribute("aria-checked", on);
			tile.tabIndex = on ? 0 : -1;
		}
		for (const [kind, part] of Object.entries(this.parts)) part.hidden = kind !== backdrop.kind;
		this.hint.hidden = backdrop.kind !== "transparent";
		for (const swatch of this.swatches) swatch.setAttribute("aria-pressed", backdrop.kind === "colour" && swatch.dataset.value === backdrop.colour);
		if (backdrop.picture && this.chosen.textContent !== backdrop.picture.name) {
			const { bitmap, name } = backdrop.picture;
			this.chosen.textContent = name;
			const scale = Math.max(112 / bitmap.width, 84 / bitmap.height);
			const [w, h] = [bitmap.width * scale, bitmap.height * scale];
			this.preview.getContext("2d").drawImage(bitmap, (112 - w) / 2, (84 - h) / 2, w, h);
		}
	}
}

class TouchSheet {
	constructor(shell) {
		this.shell = shell;
		this.tool = { mode: "erase", size: 36, softness: 0.3 };
	}

	build() {
		const modes = make("div", { class: "segmented wide", id: "modes", "aria-label": "Brush" });
		const helps = {
			erase: "Paint over what is to go.",
			restore: "Paint over what is missing: it comes back from the photo.",
			refine: "Paint along hair, fur or a fuzzy border: the server looks for the true edge there.",
		};
		this.help = make("p", { class: "help" }, helps.erase);
		const pick = segmented(modes, [
			{ value: "erase", title: "Erase", symbol: "erase" },
			{ value: "restore", title: "Restore", symbol: "restore" },
			{ value: "refine", title: "Refine", symbol: "refine" },
		], (mode) => {
			this.tool = { ...this.tool, mode };
			this.help.textContent = helps[mode];
			this.soft.node.classList.toggle("off", mode === "refine");
			this.shell.stage.setTool(this.tool);
		});
		this.mode = (mode) => pick(mode, true);
		pick("erase");
		this.size = this.#range("brush-size", "Size", { min: 4, max: 200, value: this.tool.size }, "px", (size) => ({ size }));
		this.soft = this.#range("brush-soft", "Softness", { max: 100, value: this.tool.softness * 100 }, "%", (value) => ({ softness: value / 100 }));
		this.undo = make("button", { class: "secondary small", id: "undo", title: "Undo (Ctrl+Z)", onclick: () => this.shell.undo(-1) }, icon("undo"), "Undo");
		this.redo = make("button", { class: "secondary small", id: "redo", title: "Redo (Ctrl+Shift+Z)", onclick: () => this.shell.undo(1) }, icon("redo"), "Redo");
		this.none = make("button", { class: "quiet small", id: "unpaint", title: "Take back all strokes", onclick: () => this.shell.album.unpaint(this.shell.album.selected) }, "Reset");
		return [modes, this.help, this.size.node, this.soft.node,
			make("div", { class: "row" }, this.undo, this.redo, this.none),
			make("p", { class: "help foot fine-only" }, make("kbd", {}, "["), " ", make("kbd", {}, "]"), " size, ", make("kbd", {}, "Space"), " and drag to move, wheel to zoom"),
			make("p", { class: "help foot coarse-only" }, "Two fingers zoom and move the picture.")];
	}

	#range(id, title, range, unit, set) {
		return ranged(id, title, range, (value) => `${value} ${unit}`, (value) => {
			this.tool = { ...this.tool, ...set(value) };
			if (this.shell.panel.now === "touch") this.shell.stage.setTool(this.tool);
		});
	}

	/** Make the brush larger or smaller by a factor. */
	grow(factor) {
		const { range } = this.size;
		range.value = Math.round(Number(range.value) * factor + Math.sign(factor - 1));
		range.dispatchEvent(new Event("input"));
	}

	update(picture) {
		this.undo.disabled = !picture?.canUndo;
		this.redo.disabled = !picture?.canRedo;
		this.none.disabled = !picture?.step?.strokes.length || picture.busy;
	}
}

class SubjectsSheet {
	#timer = 0;

	constructor(shell) {
		this.shell = shell;
	}

	build() {
		this.list = make("div", { class: "subjects", role: "group", "aria-label": "What was found" });
		this.say = make("p", { class: "help" }, "Click what belongs to the subject, here or in the picture.");
		return [this.say, this.list];
	}

	update(picture) {
		const segments = picture?.step?.segments ?? [];
		if (this.shown === segments) return;
		this.shown = segments;
		this.list.replaceChildren(...segments.map((one, number) => {
			const button = make("button", { class: "subject", "aria-pressed": Boolean(one.chosen), data: { index: one.index }, onclick: () => this.toggle(one.index) },
				make("span", { class: "dot" }), make("span", {}, nameOf(one)), make("span", { class: "tick" }, icon("check")));
			button.style.setProperty("--hue", hue(number));
			for (const type of ["pointerenter", "focus"]) button.addEventListener(type, () => this.shell.stage.highlight(one.index));
			for (const type of ["pointerleave", "blur"]) button.addEventListener(type, () => this.shell.stage.highlight(null));
			return button;
		}));
	}

	toggle(index) {
		const picture = this.shell.album.selected;
		const segments = picture.step.segments;
		const one = segments.find((segment) => segment.index === index);
		if (!one) return;
		if (one.chosen && segments.filter((segment) => segment.chosen).length === 1) {
			return toast("At least one subject stays chosen.");
		}
		one.chosen = !one.chosen;
		for (const button of this.list.children) {
			if (button.dataset.index === String(index)) button.setAttribute("aria-pressed", one.chosen);
		}
		this.shell.stage.mark(true);
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => this.#apply(picture), CLICK_PAUSE);
	}

	#apply(picture) {
		const { album, config } = this.shell;
		const model = config.models.flatMap((group) => group.models).find((one) => one.name === picture.choice.model);
		const chooses = config.forms[model?.form]?.chooses ?? [];
		const settings = Object.fromEntries(Object.entries(picture.choice.settings).filter(([name]) => !chooses.includes(name)));
		settings.index = picture.step.segments.filter((one) => one.chosen).map((one) => one.index).join(",");
		album.recut(picture, { ...picture.choice, settings });
	}
}

class ModelSheet {
	constructor(shell) {
		this.shell = shell;
		this.models = shell.config.models.flatMap((group) => group.models);
		this.made = new Map();
	}

	build() {
		const { config } = this.shell;
		this.select = make("select", { id: "model", onchange: () => this.#modelChanged() },
			...config.models.filter((group) => group.models.length).map((group) => {
				const list = make("optgroup", { label: group.title });
				list.append(...group.models.map((one) => make("option", { value: one.name, disabled: !one.available }, one.name === config.model ? `${one.name} (default)` : one.name)));
				return list;
			}));
		this.summary = make("p", { class: "summary" });
		this.facts = make("p", { class: "help" });
		this.place = make("div");
		this.common = config.common.map((group) => new Group(group, () => this.#changed()));
		this.reset = make("button", { class: "quiet small", onclick: () => this.#reset() }, icon("reset"), "Reset all");
		this.apply = make("button", { class: "primary wide", id: "apply", onclick: () => this.#apply(false) }, "Apply");
		this.all = make("button", { class: "secondary", id: "apply-all", onclick: () => this.#apply(true) }, "Apply to all");
		this.error = make("p", { class: "sentence", role: "alert" });
		return [
			make("div", { class: "field" }, make("label", { for: "model", class: "field-label" }, "Model"), this.select),
			make("div", { class: "model-card" }, this.summary, this.facts),
			this.place, ...this.common.map((group) => group.node),
			make("div", { class: "row end" }, this.reset),
			make("div", { class: "apply" }, this.error, make("div", { class: "row" }, this.apply, this.all)),
		];
	}

	get model() {
		return this.models.find((one) => one.name === this.select.value);
	}

	/** What the form says: a model and the settings that differ from the defaults. */
	get choice() {
		const settings = Object.assign({}, this.form?.values, ...this.common.map((group) => group.values));
		return { model: this.select.value, settings };
	}

	set choice({ model, settings }) {
		this.select.value = model;
		this.#place();
		for (const group of [this.form, ...this.common]) group.values = settings;
		this.#changed();
	}

	update(picture) {
		const now = JSON.stringify(picture?.choice ?? null);
		if (picture && (this.shownFor !== picture || this.shownChoice !== now)) {
			this.shownFor = picture;
			this.shownChoice = now;
			this.choice = picture.choice;
		}
		this.error.textContent = picture?.step && picture.error ? picture.error : "";
		this.#changed();
	}

	#modelChanged() {
		this.#place();
		this.#changed();
	}

	#place() {
		const { model } = this;
		if (!model) return;
		this.summary.textContent = sentence(model.summary);
		this.facts.textContent = `${sentence(model.need)} ${sentence(`licence: ${model.license}`)}`;
		const known = this.made.get(model.form) ?? new Group(this.shell.config.forms[model.form], () => this.#changed(), { open: model.kind === "classical" });
		this.made.set(model.form, known);
		this.form = known;
		this.place.replaceChildren(known.node);
	}

	#reset() {
		this.choice = { model: this.shell.config.model, settings: {} };
	}

	#changed() {
		const picture = this.shell.album.selected;
		const { settings, model } = picture?.choice ?? {};
		const { index, ...rest } = settings ?? {};
		const different = picture && (model !== this.choice.model || !same(sorted(rest), sorted(this.choice.settings)));
		this.apply.disabled = !different || picture.busy;
		this.apply.textContent = different ? "Apply" : "Applied";
		this.all.hidden = this.shell.album.pictures.length < 2;
		this.all.disabled = this.shell.album.pictures.every((one) => one.choice.model === this.choice.model && same(sorted(one.choice.settings), sorted(this.choice.settings)));
	}

	#apply(all) {
		const { album } = this.shell;
		const { choice } = this;
		album.choice = structuredClone(choice);
		const targets = all ? album.pictures : [album.selected];
		for (const picture of targets) if (picture && !picture.hopeless) album.recut(picture, choice);
		this.shownChoice = JSON.stringify(album.selected?.choice ?? null);
		announce(all ? "Cutting all pictures anew." : "Cutting anew.");
	}
}

function sorted(values) {
	return Object.entries(values ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
}
