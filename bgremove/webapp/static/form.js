// Settings as a form, built from what the server says of them.

import { icon, make } from "./dom.js";

let numbers = 0;

/** One setting: a label, its control, its help, and a way back to the default. */
class Field {
	constructor(setting, onChange) {
		this.setting = setting;
		this.id = `f${++numbers}`;
		this.tell = onChange;
		this.node = this.#build();
		this.value = setting.default;
	}

	get changed() {
		return !same(this.value, this.setting.default);
	}

	#build() {
		const { kind, help, label } = this.setting;
		const helpId = `${this.id}-help`;
		this.back = make("button", {
			class: "back", title: "Back to the default", "aria-label": `${label}: back to the default`,
			onclick: () => {
				this.value = this.setting.default;
				this.#changed();
			},
		}, icon("reset"));
		const name = make("label", { class: "field-label", for: this.id }, label);
		const control = this.#control();
		const node = make("div", { class: `field ${kind}` },
			make("div", { class: "field-top" }, name, this.back, kind === "bool" ? control : null),
			kind === "bool" ? null : control,
			help ? make("p", { class: "help", id: helpId }, help) : null);
		if (help) this.input.setAttribute("aria-describedby", helpId);
		return node;
	}

	#control() {
		const { kind, choices, minimum, maximum, default: start, count } = this.setting;
		const ranged = minimum !== null && maximum !== null && start !== null;
		const common = { id: this.id, onchange: () => this.#changed() };
		if (kind === "bool") {
			this.input = make("input", { ...common, type: "checkbox", role: "switch", class: "switch" });
			this.read = () => this.input.checked;
			this.write = (value) => (this.input.checked = Boolean(value));
			return this.input;
		}
		if (kind === "choice") {
			this.input = make("select", common, ...choices.map((one) => make("option", { value: String(one) }, String(one))));
			this.read = () => choices.find((one) => String(one) === this.input.value);
			this.write = (value) => (this.input.value = String(value));
			return this.input;
		}
		if ((kind === "int" || kind === "float") && ranged) return this.#slider(common);
		this.input = make("input", { ...common, type: "text", autocomplete: "off", spellcheck: false });
		this.input.placeholder = start === null ? "automatic" : "";
		if (kind === "int" || kind === "float") this.input.inputMode = "decimal";
		const plain = (text) => (text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text));
		if (kind === "numbers") {
			this.read = () => {
				const text = this.input.value.trim();
				const parts = text.split(/[\s,;]+/).map(Number);
				return text === "" ? null : parts.length === count && parts.every(Number.isFinite) ? parts : text;
			};
			this.write = (value) => (this.input.value = Array.isArray(value) ? value.join(", ") : (value ?? ""));
		} else if (kind === "text" || kind === "choices") {
			this.read = () => this.input.value.trim() || (start === null ? null : "");
			this.write = (value) => (this.input.value = value ?? ""); // several choices with commas between them
		} else {
			this.read = () => plain(this.input.value.trim().replace(",", "."));
			this.write = (value) => (this.input.value = value ?? "");
		}
		return this.input;
	}

	/** A slider and its number, which is exact. */
	#slider(common) {
		const { kind, minimum, maximum, logarithmic, label } = this.setting;
		const whole = kind === "int";
		const steps = whole ? maximum - minimum : 200;
		const power = Math.log(maximum / (minimum || 1));
		const to = (value) => (logarithmic ? (Math.log(value / minimum) / power) * steps : ((value - minimum) / (maximum - minimum)) * steps);
		const from = (at) => {
			const value = logarithmic ? minimum * Math.exp((at / steps) * power) : minimum + (at / steps) * (maximum - minimum);
			return whole ? Math.round(value) : Number(value.toPrecision(3));
		};
		const range = make("input", { id: this.id, type: "range", min: 0, max: steps, step: logarithmic ? "any" : 1 });
		const number = make("input", { type: "number", step: "any", min: minimum, max: maximum, "aria-label": `${label}, exactly`, class: "number" });
		if (whole) number.step = 1;
		range.addEventListener("input", () => {
			number.value = from(Number(range.value));
			range.setAttribute("aria-valuetext", number.value);
			fill(range);
		});
		range.addEventListener("change", common.onchange);
		number.addEventListener("change", () => {
			this.write(this.read());
			common.onchange();
		});
		this.input = range;
		this.read = () => (number.value === "" ? this.setting.default : Math.min(maximum, Math.max(minimum, whole ? Math.round(Number(number.value)) : Number(number.value))));
		this.write = (value) => {
			number.value = value;
			range.value = to(value);
			range.setAttribute("aria-valuetext", number.value);
			fill(range);
		};
		return make("div", { class: "slider" }, range, number);
	}

	get value() {
		return this.read();
	}

	set value(value) {
		this.write(value);
		this.#mark();
	}

	#mark() {
		this.node.classList.toggle("changed", this.changed);
		this.back.tabIndex = this.changed ? 0 : -1;
	}

	#changed() {
		this.#mark();
		this.tell();
	}
}

/** A slider with a label and its value in words: {node, range, say}. */
export function ranged(id, title, range, words, onInput) {
	range = make("input", { type: "range", id, min: 0, ...range });
	const text = make("output", { class: "value" });
	const say = () => {
		text.textContent = words(Number(range.value));
		fill(range);
	};
	range.addEventListener("input", () => {
		onInput(Number(range.value));
		say();
	});
	say();
	const node = make("div", { class: "field" },
		make("div", { class: "field-top" }, make("label", { for: id, class: "field-label" }, title), text), range);
	return { node, range, say };
}

/** The part of a slider before its knob is coloured. */
export function fill(range) {
	const [min, max] = [Number(range.min || 0), Number(range.max || 100)];
	range.style.setProperty("--at", `${((Number(range.value) - min) / (max - min || 1)) * 100}%`);
}

/** A group of settings under a title that folds, with its presets. */
export class Group {
	constructor(description, onChange, { open = false } = {}) {
		this.fields = new Map();
		this.presets = description.presets;
		this.tell = () => {
			this.#mark();
			onChange();
		};
		for (const setting of description.fields) this.fields.set(setting.name, new Field(setting, this.tell));
		const all = [...this.fields.values()];
		const advanced = all.filter((field) => field.setting.advanced);
		this.count = make("span", { class: "count" });
		this.node = make("details", { class: "fold", open },
			make("summary", {}, make("span", {}, description.title), this.count),
			this.#presetRow(),
			...all.filter((field) => !field.setting.advanced).map((field) => field.node),
			advanced.length ? make("details", { class: "fold inner" }, make("summary", {}, "Advanced"), ...advanced.map((field) => field.node)) : null);
		this.#mark();
	}

	/** What differs from the defaults, by name. */
	get values() {
		return Object.fromEntries([...this.fields].filter(([, field]) => field.changed).map(([name, field]) => [name, field.value]));
	}

	set values(values) {
		for (const [name, field] of this.fields) field.value = values[name] ?? field.setting.default;
		this.#mark();
	}

	#presetRow() {
		if (!this.presets.length) return null;
		const all = [{ name: "", title: "Default", values: {} }, ...this.presets];
		this.chips = all.map((preset) => {
			const chip = make("button", { class: "chip", "aria-pressed": false }, preset.title);
			chip.addEventListener("click", () => {
				this.values = preset.values;
				this.tell();
			});
			return { chip, preset };
		});
		return make("div", { class: "chips", role: "group", "aria-label": "Presets" }, ...this.chips.map((one) => one.chip));
	}

	#mark() {
		const changed = Object.keys(this.values).length;
		this.count.textContent = changed ? String(changed) : "";
		if (changed) this.count.setAttribute("aria-label", `${changed} changed`);
		else this.count.removeAttribute("aria-label");
		for (const { chip, preset } of this.chips ?? []) {
			const fits = [...this.fields].every(([name, field]) => same(field.value, preset.values[name] ?? field.setting.default));
			chip.setAttribute("aria-pressed", fits);
		}
	}
}

export function same(one, other) {
	return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}
