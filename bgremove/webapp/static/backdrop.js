// What a subject is put over, drawn in the browser at the preview's size as the server draws it at full size.

/** The page's choice of a background; the same for all pictures. */
export class Backdrop {
	kind = "transparent"; // or colour, picture, blur
	colour = "#ffffff";
	fit = "cover";
	blur = 2; // sigma, per cent of the photo's longer side; 2 is what the server takes by itself
	picture = null; // {bitmap, name}

	/** What a request for a file says of it. `side` is the photo's longer side. */
	fields(side) {
		switch (this.kind) {
			case "colour":
				return { background: this.colour };
			case "picture":
				return this.picture ? { background: "picture", background_fit: this.fit } : { background: "transparent" };
			case "blur":
				return { background: "blur", blur_radius: this.blur === 2 ? 0 : Math.max(0.5, Math.min(500, (this.blur / 100) * side)) };
		}
		return { background: "transparent" };
	}

	get transparent() {
		return this.kind === "transparent" || (this.kind === "picture" && !this.picture);
	}
}

/** Draw a picture into a canvas as `fit` says. `scale` is preview pixels per pixel of the photo. */
export function drawPicture(canvas, bitmap, fit, scale) {
	const context = canvas.getContext("2d");
	const { width, height } = canvas;
	context.clearRect(0, 0, width, height);
	context.imageSmoothingQuality = "high";
	if (fit === "stretch") {
		context.drawImage(bitmap, 0, 0, width, height);
	} else if (fit === "tile") {
		const [w, h] = [Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale)];
		if ((width / w) * (height / h) > 20000) return drawPicture(canvas, bitmap, "cover", scale);
		for (let y = 0; y < height; y += h) for (let x = 0; x < width; x += w) context.drawImage(bitmap, x, y, w, h);
	} else {
		const ratios = [width / bitmap.width, height / bitmap.height];
		const ratio = fit === "cover" ? Math.max(...ratios) : Math.min(...ratios);
		if (fit === "contain") {
			context.fillStyle = borderColour(bitmap);
			context.fillRect(0, 0, width, height);
		}
		const [w, h] = [bitmap.width * ratio, bitmap.height * ratio];
		context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
	}
}

/** The mean colour of a picture's border, on which one that does not fill the frame stands. */
function borderColour(bitmap) {
	const side = 64;
	const canvas = document.createElement("canvas");
	canvas.width = canvas.height = side;
	const context = canvas.getContext("2d", { willReadFrequently: true });
	context.drawImage(bitmap, 0, 0, side, side);
	const { data } = context.getImageData(0, 0, side, side);
	const sum = [0, 0, 0];
	let count = 0;
	for (let y = 0; y < side; y++) {
		for (let x = 0; x < side; x++) {
			if (x && y && x < side - 1 && y < side - 1) continue;
			for (let c = 0; c < 3; c++) sum[c] += data[(y * side + x) * 4 + c];
			count++;
		}
	}
	return `rgb(${sum.map((value) => Math.round(value / count)).join(",")})`;
}
