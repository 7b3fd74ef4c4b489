// Small helpers for the document.

/** The first element that fits a selector. */
export const $ = (selector, root = document) => root.querySelector(selector);

/** An element with properties and children. `class`, `data` and what begins with "aria-" or "role" are attributes. */
export function make(tag, properties = {}, ...children) {
	const node = document.createElement(tag);
	if (tag === "button") node.type = "button";
	for (const [name, value] of Object.entries(properties)) {
		if (value === undefined || value === null) continue;
		if (name === "class") node.className = value;
		else if (name === "data") Object.assign(node.dataset, value);
		else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
		else node[name] = value;
	}
	node.append(...children.filter((child) => child !== null && child !== undefined));
	return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function draw(tag, attributes = {}) {
	const node = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
	return node;
}

/** One of the page's icons. */
export function icon(name) {
	const node = draw("svg", { class: "i", "aria-hidden": "true" });
	node.append(draw("use", { href: `#i-${name}` }));
	return node;
}

export function setIcon(button, name) {
	button.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** A sentence as people write it: a capital first, unless it is a file's name, and a full stop. */
export function sentence(text) {
	const trimmed = String(text || "").trim();
	if (!trimmed) return "";
	const first = trimmed.split(/[\s:]/, 1)[0];
	const begun = /[._/\d]/.test(first) ? trimmed : trimmed[0].toUpperCase() + trimmed.slice(1);
	return /[.!?)]$/.test(begun) ? begun : `${begun}.`;
}

/** Tell a screen reader. */
export function announce(text) {
	const live = $("#live");
	if (!live) return;
	live.textContent = "";
	setTimeout(() => (live.textContent = text), 30);
}

/** Say something that needs no answer; it goes by itself. */
export function toast(text, kind = "") {
	const node = make("p", { class: `toast ${kind}` }, icon(kind === "bad" ? "warn" : "check"), text);
	$("#toasts").append(node);
	announce(text);
	setTimeout(() => node.classList.add("gone"), kind === "bad" ? 7000 : 3600);
	setTimeout(() => node.remove(), kind === "bad" ? 7400 : 4000);
}

/** A choice of one from a few, as a row of buttons with the keyboard's arrows. */
export function segmented(root, options, onChange) {
	const buttons = options.map(({ value, title, symbol }) => {
		const button = make("button", { role: "radio", data: { value } });
		if (symbol) button.append(icon(symbol));
		button.append(make("span", {}, title));
		button.addEventListener("click", () => choose(value, true));
		return button;
	});
	root.setAttribute("role", "radiogroup");
	root.replaceChildren(...buttons);
	function choose(value, tell = false) {
		for (const button of buttons) {
			const on = button.dataset.value === String(value);
			button.setAttribute("aria-checked", on);
			button.tabIndex = on ? 0 : -1;
		}
		if (tell) onChange(value);
	}
	rove(root, buttons, (button) => {
		button.focus();
		button.click();
	});
	return choose;
}

/** Arrow keys, Home and End go from one of the buttons to another. */
export function rove(root, buttons, go) {
	root.addEventListener("keydown", (event) => {
		const shown = buttons.filter((button) => !button.hidden && !button.disabled);
		const at = shown.indexOf(document.activeElement);
		if (at < 0) return;
		const last = shown.length - 1;
		const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
		if (to === undefined) return;
		event.preventDefault();
		event.stopPropagation();
		go(shown[(to + shown.length) % shown.length]);
	});
}

export function later(wait, work) {
	let timer = 0;
	return (...given) => {
		clearTimeout(timer);
		timer = setTimeout(() => work(...given), wait);
	};
}

const THEMES = { "": ["auto", "as the system"], light: ["light", "light"], dark: ["dark", "dark"] };

/** The button that chooses between light and dark. */
export function themes() {
	const root = document.documentElement;
	const show = () => {
		const [symbol, words] = THEMES[root.dataset.theme ?? ""];
		setIcon($("#theme"), symbol);
		$("#theme").setAttribute("aria-label", `Theme: ${words}`);
		$("#theme").title = `Theme: ${words}`;
	};
	$("#theme").addEventListener("click", () => {
		const names = Object.keys(THEMES);
		const next = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
		if (next) root.dataset.theme = next;
		else delete root.dataset.theme;
		kept.set("theme", next || null, true);
		show();
		announce($("#theme").title);
	});
	show();
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Let the browser save a file. */
export function saveFile(blob, name) {
	const address = URL.createObjectURL(blob);
	const link = make("a", { href: address, download: name });
	document.body.append(link);
	link.click();
	link.remove();
	setTimeout(() => URL.revokeObjectURL(address), 60000);
}

const place = (long) => (long ? localStorage : sessionStorage);

/** What was kept for this tab, or for long; nothing where storage is blocked, as in a notebook's frame. */
export const kept = {
	get(name, long = false) {
		try {
			return place(long).getItem(`bgremove-${name}`);
		} catch {
			return null;
		}
	},
	set(name, value, long = false) {
		try {
			if (value === null) place(long).removeItem(`bgremove-${name}`);
			else place(long).setItem(`bgremove-${name}`, value);
		} catch {
			// Then it lasts as long as the page.
		}
	},
};
