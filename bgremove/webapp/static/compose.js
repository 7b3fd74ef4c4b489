// One frame, its matte and what is behind it, put together on a canvas.

import { drawPicture } from "./backdrop.js";

const SMALLER = 6; // as wide as this, of the frame, is what is blurred

const scratch = (alpha = true, options = {}) => document.createElement("canvas").getContext("2d", { alpha, ...options });

function sized(context, width, height) {
	const { canvas } = context;
	if (canvas.width !== width || canvas.height !== height) {
		canvas.width = width;
		canvas.height = height;
	} else context.clearRect(0, 0, width, height);
	return context;
}

/** Draws frame after frame over the same kind of background. */
export class Composer {
	#read = scratch(true, { willReadFrequently: true });
	#mask = scratch();
	#subject = scratch();
	#behind = scratch();
	#blurred = scratch();
	#tiny = scratch();
	#fitted = { canvas: document.createElement("canvas"), for: "" };

	/**
	 * @param target a canvas, which gets the frame's size.
	 * @param frame what can be drawn, `width` x `height`.
	 * @param matte the matte as a grey picture of any size, or what can be drawn with its own transparency.
	 * @param backdrop the choice of a background (Backdrop).
	 * @param subject the subject in its own colours, already cut out; else it is cut out of the frame.
	 */
	draw(target, frame, matte, backdrop, { grey = true, subject = null } = {}) {
		const { width, height } = frame;
		const mask = grey ? this.#greyMask(matte) : matte;
		if (!subject) {
			const cut = sized(this.#subject, width, height);
			cut.globalCompositeOperation = "source-over";
			cut.drawImage(frame, 0, 0);
			cut.globalCompositeOperation = "destination-in";
			cut.imageSmoothingQuality = "high";
			cut.drawImage(mask, 0, 0, width, height);
			subject = cut.canvas;
		}
		const out = sized(target.getContext("2d"), width, height);
		const { kind } = backdrop;
		if (kind === "colour") {
			out.fillStyle = backdrop.colour;
			out.fillRect(0, 0, width, height);
		} else if (kind === "picture" && backdrop.picture) out.drawImage(this.#picture(backdrop, width, height), 0, 0);
		else if (kind === "blur") this.#blur(out, frame, mask, backdrop.blur);
		out.drawImage(subject, 0, 0);
	}

	/** A grey picture as a picture whose alpha it is. */
	#greyMask(grey) {
		const { width, height } = grey;
		const read = sized(this.#read, width, height);
		read.drawImage(grey, 0, 0);
		const image = read.getImageData(0, 0, width, height);
		const pixels = new Uint32Array(image.data.buffer);
		for (let at = 0; at < pixels.length; at++) pixels[at] <<= 24; // red becomes alpha
		const mask = sized(this.#mask, width, height);
		mask.putImageData(image, 0, 0);
		return mask.canvas;
	}

	#picture({ picture, fit }, width, height) {
		const key = `${picture.name} ${fit} ${width} ${height}`;
		if (this.#fitted.for !== key || this.#fitted.bitmap !== picture.bitmap) {
			Object.assign(this.#fitted.canvas, { width, height });
			drawPicture(this.#fitted.canvas, picture.bitmap, fit, 1);
			Object.assign(this.#fitted, { for: key, bitmap: picture.bitmap });
		}
		return this.#fitted.canvas;
	}

	/** The frame's own background out of focus: what is background only, so that nobody has a halo. */
	#blur(out, frame, mask, percent) {
		const { width, height } = out.canvas;
		const [w, h] = [Math.max(8, Math.round(width / SMALLER)), Math.max(8, Math.round(height / SMALLER))];
		const behind = sized(this.#behind, w, h);
		behind.globalCompositeOperation = "source-over";
		behind.imageSmoothingQuality = "medium";
		behind.drawImage(frame, 0, 0, w, h);
		behind.globalCompositeOperation = "destination-out";
		for (const [dx, dy] of [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) behind.drawImage(mask, dx, dy, w, h);
		const sigma = Math.max(1, ((percent / 100) * Math.max(width, height)) / SMALLER);
		const blurred = sized(this.#blurred, w, h);
		const tiny = sized(this.#tiny, 4, 3);
		tiny.drawImage(frame, 0, 0, 4, 3);
		blurred.imageSmoothingQuality = "high";
		blurred.drawImage(tiny.canvas, 0, 0, w, h); // where there is no background at all
		// Wide ones first: they fill what the narrow ones leave open. Each is drawn several times, which makes
		// it opaque wherever there is a little of it.
		for (const factor of [12, 4, 1]) {
			blurred.filter = `blur(${sigma * factor}px)`;
			for (let times = 0; times < 4; times++) blurred.drawImage(behind.canvas, 0, 0);
		}
		blurred.filter = "none";
		out.imageSmoothingEnabled = true;
		out.imageSmoothingQuality = "high";
		out.drawImage(blurred.canvas, 0, 0, width, height);
	}
}
