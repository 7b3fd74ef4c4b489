// What a brush does to a matte. The server does the same, by the same formula, at the photo's full size.
//
// A brush is 1 up to (1 - softness) of its radius and falls to 0 at its radius; a stroke is the most that the
// brush gives anywhere along it. Points and sizes are in pixels of the photo; pixel (i, j) is centred at
// (i + 0.5, j + 0.5). Erasing makes alpha * (1 - s), restoring alpha + (1 - alpha) * s.

/** A stroke being drawn onto `alpha` (8 bit, `width` x `height`), which is `scale` times the photo's size. */
export class Stroke {
	constructor(mask, edit, scale) {
		this.mask = mask;
		this.edit = edit;
		this.scale = scale;
		this.before = mask.alpha.slice();
		this.cover = new Float32Array(mask.alpha.length);
		this.done = 0;
	}

	/** Draw the points that came since; gives the box that changed, null if none did. */
	draw() {
		const { points } = this.edit;
		let box = null;
		for (let at = Math.max(0, this.done - 1); at < points.length; at++) {
			if (at + 1 === points.length && points.length > 1) break;
			box = around(box, this.#segment(points[at], points[at + 1] ?? points[at]));
		}
		this.done = points.length;
		return box;
	}

	#segment(from, to) {
		const { mask, scale, edit } = this;
		const { width, height } = mask;
		const radius = Math.max((edit.size / 2) * scale, 1e-6);
		const hard = (1 - edit.softness) * radius;
		const [ax, ay, bx, by] = [from[0] * scale, from[1] * scale, to[0] * scale, to[1] * scale];
		const box = {
			left: Math.max(0, Math.floor(Math.min(ax, bx) - radius)),
			top: Math.max(0, Math.floor(Math.min(ay, by) - radius)),
			right: Math.min(width, Math.ceil(Math.max(ax, bx) + radius) + 1),
			bottom: Math.min(height, Math.ceil(Math.max(ay, by) + radius) + 1),
		};
		const [dx, dy] = [bx - ax, by - ay];
		const length = dx * dx + dy * dy;
		const erase = edit.mode === "erase";
		for (let y = box.top; y < box.bottom; y++) {
			for (let x = box.left; x < box.right; x++) {
				const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
				const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
				const ex = px - along * dx;
				const ey = py - along * dy;
				const distance = Math.sqrt(ex * ex + ey * ey);
				if (distance >= radius) continue;
				const amount = distance <= hard ? 1 : (radius - distance) / (radius - hard);
				const at = y * width + x;
				if (amount <= this.cover[at]) continue;
				this.cover[at] = amount;
				const old = this.before[at];
				mask.alpha[at] = Math.round(erase ? old * (1 - amount) : old + (255 - old) * amount);
			}
		}
		return box.right > box.left && box.bottom > box.top ? box : null;
	}
}

/** A matte with `edits` drawn onto it. `mask` is {alpha, width, height}; a new one comes back. */
export function applied(mask, edits, scale) {
	const result = { ...mask, alpha: mask.alpha.slice() };
	for (const edit of edits) if (edit.mode !== "refine") new Stroke(result, edit, scale).draw();
	return result;
}

function around(one, other) {
	if (!one || !other) return one ?? other;
	return {
		left: Math.min(one.left, other.left),
		top: Math.min(one.top, other.top),
		right: Math.max(one.right, other.right),
		bottom: Math.max(one.bottom, other.bottom),
	};
}

/** The pixels of a picture file, its longer side at most `most`: {data (RGBA), width, height}. */
export async function pixelsOf(blob, most = Infinity) {
	const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none" });
	const scale = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
	const canvas = document.createElement("canvas");
	canvas.width = Math.max(1, Math.round(bitmap.width * scale));
	canvas.height = Math.max(1, Math.round(bitmap.height * scale));
	const context = canvas.getContext("2d", { willReadFrequently: true });
	context.imageSmoothingQuality = "high";
	context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
	bitmap.close();
	return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** An alpha.png as {alpha, width, height}. */
export async function maskOf(blob) {
	const { data, width, height } = await pixelsOf(blob);
	const alpha = new Uint8ClampedArray(width * height);
	for (let at = 0; at < alpha.length; at++) alpha[at] = data[at * 4];
	return { alpha, width, height };
}
