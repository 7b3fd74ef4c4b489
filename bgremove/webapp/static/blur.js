// The photo's own background out of focus; loaded when it is first chosen.

/**
 * The photo's own background out of focus, without the subject's colours bleeding into it: only what is
 * background counts, `blur(w * I) / blur(w)`; where there is none near, ever wider blurs fill in.
 */
export function drawBlur(canvas, before, mask, percent) {
	const { width, height } = before;
	const sigma = (percent / 100) * Math.max(width, height);
	const shrink = Math.max(1, sigma / 6);
	const [w, h] = [Math.max(1, Math.round(width / shrink)), Math.max(1, Math.round(height / shrink))];
	const small = shrunk(before, mask, w, h, Math.max(1, Math.round(shrink)));
	const out = new ImageData(w, h);
	const left = new Float32Array(w * h).fill(1);
	const sums = new Float32Array(w * h * 3);
	for (let wide = sigma / shrink; ; wide *= 2) {
		const [r, g, b, weight] = small.map((plane) => blurred(plane, w, h, wide));
		let most = 0;
		for (let at = 0; at < left.length; at++) {
			const trust = Math.min(1, weight[at] * 8);
			const share = (left[at] * trust) / Math.max(weight[at], 1e-6);
			sums[at * 3] += share * r[at];
			sums[at * 3 + 1] += share * g[at];
			sums[at * 3 + 2] += share * b[at];
			left[at] *= 1 - trust;
			if (left[at] > most) most = left[at];
		}
		if (most < 1e-3 || wide > Math.max(w, h)) break;
	}
	for (let at = 0; at < left.length; at++) {
		const known = Math.max(1e-3, 1 - left[at]);
		for (let c = 0; c < 3; c++) out.data[at * 4 + c] = sums[at * 3 + c] / known;
		out.data[at * 4 + 3] = 255;
	}
	const scratch = document.createElement("canvas");
	scratch.width = w;
	scratch.height = h;
	scratch.getContext("2d").putImageData(out, 0, 0);
	const context = canvas.getContext("2d");
	context.imageSmoothingEnabled = true;
	context.imageSmoothingQuality = "high";
	context.drawImage(scratch, 0, 0, width, height);
}

/** Red, green, blue (times weight) and weight of the background, as means over (w, h) cells. */
function shrunk(before, mask, w, h, reach) {
	const { data, width, height } = before;
	const planes = [0, 1, 2, 3].map(() => new Float32Array(w * h));
	const counts = new Float32Array(w * h);
	const near = spread(mask, reach);
	for (let y = 0; y < height; y++) {
		const row = Math.min(h - 1, Math.floor((y * h) / height)) * w;
		for (let x = 0; x < width; x++) {
			const cell = row + Math.min(w - 1, Math.floor((x * w) / width));
			const at = y * width + x;
			counts[cell]++;
			if (near[at] > 13) continue;
			for (let c = 0; c < 3; c++) planes[c][cell] += data[at * 4 + c];
			planes[3][cell]++;
		}
	}
	for (const plane of planes) for (let at = 0; at < plane.length; at++) plane[at] /= counts[at] || 1;
	return planes;
}

/** The largest alpha within `reach` pixels, across and down. */
function spread({ alpha, width, height }, reach) {
	const across = new Uint8ClampedArray(alpha.length);
	const result = new Uint8ClampedArray(alpha.length);
	const run = (from, to, start, step, count) => {
		for (let at = 0; at < count; at++) {
			let most = 0;
			const end = Math.min(count - 1, at + reach);
			for (let near = Math.max(0, at - reach); near <= end; near++) {
				const value = from[start + near * step];
				if (value > most) most = value;
			}
			to[start + at * step] = most;
		}
	};
	for (let y = 0; y < height; y++) run(alpha, across, y * width, 1, width);
	for (let x = 0; x < width; x++) run(across, result, x, width, height);
	return result;
}

/** A Gaussian blur, as three box blurs each way. */
function blurred(plane, w, h, sigma) {
	const radius = Math.max(1, Math.round(Math.sqrt(4 * sigma * sigma + 1) / 2 - 0.5));
	let [from, to] = [plane.slice(), new Float32Array(plane.length)];
	for (let pass = 0; pass < 3; pass++) {
		for (let y = 0; y < h; y++) box(from, to, y * w, 1, w, radius);
		for (let x = 0; x < w; x++) box(to, from, x, w, h, radius);
	}
	return from;
}

function box(from, to, start, step, count, radius) {
	const reach = Math.min(radius, count - 1);
	const at = (index) => from[start + mirrored(index, count) * step];
	let sum = 0;
	for (let index = -reach; index <= reach; index++) sum += at(index);
	for (let index = 0; index < count; index++) {
		to[start + index * step] = sum / (2 * reach + 1);
		sum += at(index + reach + 1) - at(index - reach);
	}
}

/** An index within `count`, reflected at both ends. */
function mirrored(index, count) {
	const inside = index < 0 ? -index : index;
	return inside < count ? inside : Math.max(0, 2 * count - 2 - inside);
}
