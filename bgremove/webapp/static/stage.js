// The picture on the page: before and after, zoom and pan, the brush, and the outlines of what was found.

import { $, clamp, draw } from "./dom.js";
import { drawPicture } from "./backdrop.js";
import { Stroke } from "./mask.js";

const MARGIN = 20; // around the picture, CSS pixels
const MOST = 16; // zoom, of what fits
const HUES = [162, 28, 265, 205, 340, 90, 48, 300, 230, 10, 180, 130];

/** The colour of a segment, by its number. */
export const hue = (number) => HUES[number % HUES.length];

export class Stage extends EventTarget {
	#root = $("#stage");
	#frame = $("#frame");
	#backing = $("#backing");
	#back = $("#layer-backdrop");
	#before = $("#layer-before");
	#cut = $("#layer-cut");
	#marks = $("#layer-marks");
	#divider = $("#divider");
	#cursor = $("#cursor");
	#zoom = 1;
	#offset = [0, 0]; // of the picture's middle from the stage's, CSS pixels
	#split = 0.5;
	#view = "compare";
	#tool = null;
	#pointers = new Map();
	#drag = null;
	#space = false;
	#drawn = null; // {picture, mask, colours, before, scale, image}
	#size = null; // of the preview: {width, height}
	#ticket = 0;

	constructor(backdrop) {
		super();
		this.backdrop = backdrop;
		this.picture = null;
		this.touched = false; // the slider was moved by hand
		this.marking = false;
		new ResizeObserver(() => this.#place()).observe(this.#root);
		this.#listen();
	}

	get view() {
		return this.#view;
	}

	/** Which of compare, result and original is shown. */
	setView(view) {
		this.#view = view;
		this.#arrange();
	}

	/** The brush {mode, size (CSS pixels), softness}, or null for none. */
	setTool(tool) {
		this.#tool = tool;
		this.#arrange();
		if (!tool) this.#cursor.hidden = true;
		else this.#cursor.style.width = this.#cursor.style.height = `${tool.size}px`;
	}

	/** Whether the outlines of what was found are shown. */
	mark(on) {
		this.marking = on;
		this.#drawMarks();
	}

	highlight(number) {
		for (const path of this.#marks.querySelectorAll("path")) path.classList.toggle("lit", path.dataset.number === String(number));
	}

	/** Show a picture, or what is known of it by now. */
	async show(picture, pixels, { reveal = false } = {}) {
		const other = this.picture !== picture;
		this.picture = picture;
		if (other) this.reset();
		const ticket = ++this.#ticket;
		if (!picture) {
			this.#drawn = null;
			this.#frame.hidden = true;
			this.#arrange();
			return;
		}
		if (other) this.#frame.hidden = true;
		const known = await pixels;
		if (ticket !== this.#ticket) return;
		if (!known?.before) {
			this.#frame.hidden = true;
			this.#drawn = null;
			this.#arrange();
			return;
		}
		this.#drawn = { picture, ...known };
		const { width, height } = known.before;
		this.#size = { width, height };
		for (const canvas of [this.#before, this.#cut, this.#back]) {
			if (canvas.width !== width || canvas.height !== height) {
				canvas.width = width;
				canvas.height = height;
			}
		}
		this.#before.getContext("2d").putImageData(known.before, 0, 0);
		if (known.mask) this.#drawCut();
		this.#frame.hidden = false;
		this.#drawMarks();
		this.paintBackdrop();
		this.#arrange();
		this.#place();
		if (reveal && this.#view === "compare") this.#reveal();
	}

	/** The background, behind what is cut out. */
	paintBackdrop() {
		const { kind, colour, picture, fit, blur } = this.backdrop;
		const { transparent } = this.backdrop;
		this.#backing.classList.toggle("checker", transparent);
		this.#backing.style.backgroundColor = kind === "colour" ? colour : "";
		const drawn = this.#drawn;
		this.#back.hidden = true;
		if (!drawn?.mask || transparent || kind === "colour") return;
		if (kind === "blur") return void this.#paintBlur(drawn, blur);
		drawPicture(this.#back, picture.bitmap, fit, drawn.scale);
		this.#back.hidden = false;
	}

	async #paintBlur(drawn, blur) {
		const { drawBlur } = await import("./blur.js");
		if (drawn !== this.#drawn || this.backdrop.kind !== "blur") return;
		drawBlur(this.#back, drawn.before, drawn.mask, blur);
		this.#back.hidden = false;
	}

	/** What is cut out, over nothing, as a small picture into `canvas`. */
	thumbnail(canvas, pixels) {
		const { mask, before } = pixels;
		const source = document.createElement("canvas");
		const from = mask ? cutImage(pixels) : before;
		source.width = from.width;
		source.height = from.height;
		source.getContext("2d").putImageData(from, 0, 0);
		const scale = Math.min(canvas.width / from.width, canvas.height / from.height);
		const [w, h] = [from.width * scale, from.height * scale];
		const context = canvas.getContext("2d");
		context.clearRect(0, 0, canvas.width, canvas.height);
		context.imageSmoothingQuality = "high";
		context.drawImage(source, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
	}

	reset() {
		this.#zoom = 1;
		this.#offset = [0, 0];
		this.#place();
	}

	/** Zoom by a factor, keeping the point (CSS pixels from the stage's corner) where it is. */
	zoomBy(factor, point) {
		const { width, height } = this.#root.getBoundingClientRect();
		const [x, y] = point ?? [width / 2, height / 2];
		const zoom = clamp(this.#zoom * factor, 1, MOST);
		const ratio = zoom / this.#zoom;
		const [ox, oy] = this.#offset;
		const [cx, cy] = [x - width / 2, y - height / 2];
		this.#offset = [cx - (cx - ox) * ratio, cy - (cy - oy) * ratio];
		this.#zoom = zoom;
		this.#place();
	}

	// How it is laid out

	#box() {
		const { width, height } = this.#root.getBoundingClientRect();
		const size = this.#size ?? { width: 4, height: 3 };
		const margin = Math.min(MARGIN, width * 0.04);
		const fit = Math.min((width - 2 * margin) / size.width, (height - 2 * margin) / size.height);
		const scale = Math.max(0.01, Math.min(fit, 2)) * this.#zoom;
		const [w, h] = [size.width * scale, size.height * scale];
		const roomX = Math.max(0, (w - width) / 2 + margin);
		const roomY = Math.max(0, (h - height) / 2 + margin);
		this.#offset = this.#zoom === 1 ? [0, 0] : [clamp(this.#offset[0], -roomX, roomX), clamp(this.#offset[1], -roomY, roomY)];
		const left = (width - w) / 2 + this.#offset[0];
		const top = (height - h) / 2 + this.#offset[1];
		return { left, top, width: w, height: h, scale, stage: { width, height } };
	}

	#place() {
		const box = this.#box();
		const { style } = this.#frame;
		style.left = `${box.left}px`;
		style.top = `${box.top}px`;
		style.width = `${box.width}px`;
		style.height = `${box.height}px`;
		this.#placeDivider(box);
		if (this.#size && this.picture?.width) {
			const percent = (box.scale * this.#size.width * 100) / this.picture.width;
			$("#zoom-text").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)}%`;
		}
		$("#zoom-out").disabled = this.#zoom <= 1;
		$("#zoom-in").disabled = this.#zoom >= MOST;
	}

	#placeDivider(box = this.#box()) {
		const shown = this.#comparing;
		this.#divider.hidden = !shown;
		const labels = [$("#tag-before"), $("#tag-after")];
		for (const label of labels) label.hidden = !shown;
		const clip = shown ? `inset(0 ${(1 - this.#split) * 100}% 0 0)` : "";
		this.#before.style.clipPath = clip;
		if (!shown) return;
		const x = box.left + this.#split * box.width;
		this.#divider.style.left = `${clamp(x, 2, box.stage.width - 2)}px`;
		const top = Math.max(0, box.top);
		const height = Math.min(box.stage.height, box.top + box.height) - top;
		this.#divider.style.top = `${top}px`;
		this.#divider.style.height = `${Math.max(0, height)}px`;
		const percent = Math.round(this.#split * 100);
		this.#divider.setAttribute("aria-valuenow", percent);
		this.#divider.setAttribute("aria-valuetext", `${percent} per cent before, ${100 - percent} after`);
		labels[0].style.left = `${Math.max(8, box.left + 10)}px`;
		labels[1].style.right = `${Math.max(8, box.stage.width - box.left - box.width + 10)}px`;
		for (const label of labels) label.style.top = `${top + 10}px`;
		labels[0].classList.toggle("faint", x - box.left < 84);
		labels[1].classList.toggle("faint", box.left + box.width - x < 84);
	}

	get #comparing() {
		return this.#view === "compare" && !this.#tool && !this.marking && Boolean(this.#drawn?.mask);
	}

	/** Which layers are seen. */
	#arrange() {
		const cut = Boolean(this.#drawn?.mask);
		const original = cut && this.#view === "original" && !this.#tool && !this.marking;
		this.#cut.hidden = !cut;
		const ghost = cut && Boolean(this.#tool) && this.#tool.mode !== "erase"; // what could come back
		this.#before.hidden = cut && !original && !this.#comparing && !ghost && !this.marking;
		this.#before.classList.toggle("ghost", ghost);
		this.#before.classList.toggle("under", cut && this.marking);
		this.#root.classList.toggle("brushing", Boolean(this.#tool) && cut);
		this.#root.classList.toggle("zoomed", this.#zoom > 1);
		this.#cut.setAttribute("aria-label", this.picture ? `${this.picture.name} without its background` : "");
		this.#placeDivider();
	}

	#reveal() {
		if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
		const from = performance.now();
		const target = this.#split;
		const picture = this.picture;
		const step = (now) => {
			const t = Math.min(1, (now - from) / 620);
			if (this.picture !== picture || this.#drag) return;
			this.#split = 1 + (target - 1) * (1 - (1 - t) ** 3);
			this.#placeDivider();
			if (t < 1) requestAnimationFrame(step);
			else this.#split = target;
		};
		requestAnimationFrame(step);
	}

	#drawCut() {
		this.#drawn.image = cutImage(this.#drawn);
		this.#cut.getContext("2d").putImageData(this.#drawn.image, 0, 0);
	}

	#drawMarks() {
		const { width, height } = this.#size ?? { width: 1, height: 1 };
		this.#marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
		const segments = (this.marking && this.picture?.step?.segments) || [];
		this.#marks.replaceChildren(
			...segments.map((one, number) => {
				const outline = one.outline.map((ring) => `M${ring.map((point) => point.join(" ")).join("L")}Z`).join("");
				const path = draw("path", { d: outline, "fill-rule": "evenodd", class: one.chosen ? "chosen" : "" });
				path.style.setProperty("--hue", hue(number));
				path.dataset.number = one.index;
				const title = draw("title");
				title.textContent = nameOf(one);
				path.append(title);
				path.addEventListener("click", () => this.#drag?.moved || this.dispatchEvent(new CustomEvent("segment", { detail: one.index })));
				return path;
			}),
		);
		this.#root.classList.toggle("marking", this.marking && segments.length > 0);
		this.#arrange();
	}

	// Hands on it

	#listen() {
		const root = this.#root;
		root.addEventListener("pointerdown", (event) => this.#down(event));
		root.addEventListener("pointermove", (event) => this.#move(event));
		for (const type of ["pointerup", "pointercancel"]) root.addEventListener(type, (event) => this.#up(event));
		root.addEventListener("pointerleave", () => (this.#cursor.hidden = true));
		root.addEventListener("dblclick", (event) => {
			if (this.#tool || event.target.closest("button, .divider")) return;
			if (this.#zoom > 1) this.reset();
			else this.zoomBy(3, this.#at(event));
		});
		root.addEventListener("wheel", (event) => {
			if (!this.#drawn) return;
			event.preventDefault();
			const lines = event.deltaMode === 1 ? 16 : 1;
			this.zoomBy(Math.exp((-event.deltaY * lines) / (event.ctrlKey ? 120 : 420)), this.#at(event));
		}, { passive: false });
		root.addEventListener("keydown", (event) => this.#key(event));
		addEventListener("keydown", (event) => this.#holdSpace(event, true));
		addEventListener("keyup", (event) => this.#holdSpace(event, false));
		this.#divider.addEventListener("keydown", (event) => {
			const by = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05, PageDown: -0.2, PageUp: 0.2, Home: -1, End: 1 }[event.key];
			if (by === undefined) return;
			event.preventDefault();
			event.stopPropagation();
			this.#splitTo(this.#split + by);
		});
	}

	#holdSpace(event, down) {
		if (event.code !== "Space" || event.target.closest?.("button, input, select, summary, a, [role=slider]")) return;
		this.#space = down && Boolean(this.#tool);
		if (this.#space) event.preventDefault();
		this.#root.classList.toggle("panning", this.#space);
	}

	#key(event) {
		if (event.target !== this.#root || event.ctrlKey || event.metaKey || event.altKey) return;
		const step = 60;
		const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
		if (event.key === "+" || event.key === "=") this.zoomBy(1.25);
		else if (event.key === "-") this.zoomBy(0.8);
		else if (event.key === "0") this.reset();
		else if (moves[event.key]) {
			this.#offset = this.#offset.map((value, at) => value + moves[event.key][at]);
			this.#place();
		} else return;
		event.preventDefault();
	}

	#at(event) {
		const { left, top } = this.#root.getBoundingClientRect();
		return [event.clientX - left, event.clientY - top];
	}

	/** A point of the stage in pixels of the photo. */
	#photo([x, y]) {
		const box = this.#box();
		const scale = this.#drawn.scale * box.scale;
		return [(x - box.left) / scale, (y - box.top) / scale].map((value) => Math.round(value * 100) / 100);
	}

	#down(event) {
		if (!this.#drawn || event.target.closest("button")) return;
		const at = this.#at(event);
		this.#pointers.set(event.pointerId, at);
		if (this.#pointers.size === 2) return this.#pinchBegins();
		if (this.#pointers.size > 2) return;
		const divider = event.target.closest(".divider");
		const tool = this.#tool && this.#drawn.mask && !this.#space && event.button === 0;
		if (tool && this.picture.busy) return;
		if (event.button > 1) return;
		if (!event.target.closest("path")) capture(this.#root, event.pointerId);
		if (tool) this.#strokeBegins(at);
		else if (divider || (this.#comparing && this.#zoom === 1)) {
			this.#drag = { kind: "split", moved: false };
			this.#splitTo(this.#fraction(at), true);
		} else this.#drag = { kind: "pan", from: at, offset: this.#offset, moved: false };
		event.preventDefault();
		(divider ?? this.#root).focus({ preventScroll: true });
	}

	#move(event) {
		const at = this.#at(event);
		if (this.#tool && this.#drawn?.mask && event.pointerType !== "touch") this.#showCursor(at);
		if (!this.#pointers.has(event.pointerId)) return;
		this.#pointers.set(event.pointerId, at);
		if (this.#drag?.kind === "pinch") return this.#pinch();
		if (this.#drag?.kind === "split") this.#splitTo(this.#fraction(at), true);
		if (this.#drag?.kind === "pan") {
			const [dx, dy] = [at[0] - this.#drag.from[0], at[1] - this.#drag.from[1]];
			if (Math.hypot(dx, dy) > 4) this.#drag.moved = true;
			this.#offset = [this.#drag.offset[0] + dx, this.#drag.offset[1] + dy];
			this.#place();
		}
		if (this.#drag?.kind === "stroke") {
			const all = event.getCoalescedEvents?.() ?? [];
			for (const one of all.length ? all : [event]) this.#strokeGoes(this.#at(one));
			if (event.pointerType === "touch") this.#showCursor(at);
		}
	}

	#up(event) {
		if (!this.#pointers.delete(event.pointerId)) return;
		if (this.#drag?.kind === "stroke") this.#strokeEnds(event.type === "pointercancel");
		if (this.#drag?.kind === "pinch" && this.#pointers.size) return;
		const drag = this.#drag;
		setTimeout(() => this.#drag === drag && (this.#drag = null)); // a click comes after this
		if (event.pointerType === "touch") this.#cursor.hidden = true;
	}

	#fraction([x]) {
		const box = this.#box();
		return (x - box.left) / box.width;
	}

	#splitTo(split, byHand = true) {
		this.#split = clamp(split, 0, 1);
		this.touched ||= byHand;
		this.#placeDivider();
	}

	#pinchBegins() {
		if (this.#drag?.kind === "stroke") this.#strokeEnds(true);
		this.#drag = { kind: "pinch", before: this.#two() };
	}

	#pinch() {
		const [before, now] = [this.#drag.before, this.#two()];
		this.#offset = this.#offset.map((value, at) => value + now.middle[at] - before.middle[at]);
		this.zoomBy(now.distance / before.distance, now.middle);
		this.#drag.before = now;
	}

	#two() {
		const [a, b] = [...this.#pointers.values()];
		return { middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], distance: Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])) };
	}

	#showCursor([x, y]) {
		this.#cursor.hidden = false;
		this.#cursor.style.left = `${x}px`;
		this.#cursor.style.top = `${y}px`;
	}

	// A stroke

	#strokeBegins(at) {
		const { mode, size, softness } = this.#tool;
		const photo = this.#drawn.scale * this.#box().scale; // CSS pixels per pixel of the photo
		const edit = { mode, size: Math.max(1, Math.round((size / photo) * 100) / 100), softness, points: [] };
		const stroke = mode === "refine" ? null : new Stroke(this.#drawn.mask, edit, this.#drawn.scale);
		this.#drag = { kind: "stroke", edit, stroke };
		if (mode === "refine") {
			const width = edit.size * this.#drawn.scale;
			this.#drag.line = draw("polyline", { class: "stroke", "stroke-width": width });
			this.#marks.append(this.#drag.line);
		}
		this.#strokeGoes(at);
	}

	#strokeGoes(at) {
		const { edit, stroke, line } = this.#drag;
		const point = this.#photo(at);
		const last = edit.points.at(-1);
		if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < Math.max(0.5, edit.size * 0.03)) return;
		edit.points.push(point);
		if (line) {
			const points = edit.points.length === 1 ? [point, [point[0] + 0.01, point[1]]] : edit.points;
			line.setAttribute("points", points.map((one) => one.map((value) => value * this.#drawn.scale).join(",")).join(" "));
			return;
		}
		const box = stroke.draw();
		if (box) this.#update(box);
	}

	#strokeEnds(dropped) {
		const { edit, stroke, line } = this.#drag;
		this.#drag = null;
		if (dropped) {
			line?.remove();
			if (stroke) {
				this.#drawn.mask.alpha.set(stroke.before);
				this.#drawCut();
			}
			return;
		}
		this.dispatchEvent(new CustomEvent("stroke", { detail: edit }));
	}

	/** Bring the part of the cut-out up to date that a stroke has changed. */
	#update({ left, top, right, bottom }) {
		const { image, mask } = this.#drawn;
		for (let y = top; y < bottom; y++) {
			for (let x = left; x < right; x++) image.data[(y * mask.width + x) * 4 + 3] = mask.alpha[y * mask.width + x];
		}
		this.#cut.getContext("2d").putImageData(image, 0, 0, left, top, right - left, bottom - top);
	}
}

function capture(root, pointer) {
	try {
		root.setPointerCapture(pointer);
	} catch {
		// The pointer is gone already.
	}
}

function cutImage({ colours, mask }) {
	const image = new ImageData(new Uint8ClampedArray(colours.data), colours.width, colours.height);
	for (let at = 0; at < mask.alpha.length; at++) image.data[at * 4 + 3] = mask.alpha[at];
	return image;
}

/** What a segment is called: its label and how sure the model is. */
export function nameOf({ label, score }) {
	return score === null || score === undefined ? label : `${label}, ${Math.round(score * 100)} %`;
}
