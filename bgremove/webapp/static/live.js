// The live view: the camera's frames go to the server, their mattes come back, both are put together here.
//
// The frame that is shown is the one that its matte was made of, so that the edges fit whoever moves. At most
// two are on their way; while they are, the camera's frames are passed over: the newest wins, nothing queues.

import { Api, Problem } from "./api.js";
import { Backdrop } from "./backdrop.js";
import { Composer } from "./compose.js";
import { $, announce, icon, kept, make, saveFile, sentence, sleep, themes, toast } from "./dom.js";
import { BackgroundSheet } from "./panel.js";

const SENT = 640; // pixels, the longer side of what is sent
const SHOWN = 1280; // and of what is shown
const IN_FLIGHT = 2;
const QUALITY = 0.85;
const WINDOW = 2000; // milliseconds over which frames are counted
const FITS = ["cover", "contain", "stretch", "tile"];

/** Begin, when the page's document is there. */
export async function start(token = "") {
	if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname + location.search);
	themes();
	if (token) $("#go-pictures").hash = `token=${token}`;
	if (window.top !== window) $("#go-pictures").hidden = true; // a frame in a notebook shows this alone
	const view = new LiveView(new Api(token));
	view.begin();
}

class LiveView {
	#composer = new Composer();
	#canvas = $("#canvas");
	#video = $("#camera");
	#stream = null;
	#session = null;
	#number = 0;
	#shown = -1;
	#flying = 0;
	#times = [];
	#delay = 0;
	#free = [];
	#small = document.createElement("canvas");
	#last = null;

	constructor(api) {
		this.api = api;
		this.backdrop = new Backdrop();
		this.mirrored = true;
		try {
			Object.assign(this.backdrop, JSON.parse(kept.get("live", true) || "{}"));
		} catch {
			// Then it is transparent.
		}
	}

	begin() {
		const nothing = async () => {};
		const shell = {
			backdrop: this.backdrop, painted: () => this.#painted(),
			config: { result: [{ name: "background_fit", choices: FITS }], limits: { megabytes: 1000 } },
			album: { api: { enter: nothing, request: nothing } }, // the picture stays here
		};
		const sheet = new BackgroundSheet(shell);
		const parts = sheet.build().slice(0, -1);
		sheet.hint.textContent = "Nothing behind you: a saved picture is see-through.";
		sheet.parts.blur.querySelector(".help").textContent = "Your own background out of focus.";
		sheet.update();
		$("#backdrop-file").addEventListener("change", (event) => {
			const [file] = event.target.files;
			event.target.value = "";
			if (file) sheet.take(file);
		});
		this.mirror = make("input", { type: "checkbox", role: "switch", class: "switch", id: "mirror", checked: true, onchange: () => (this.mirrored = this.mirror.checked) });
		this.cameras = make("select", { id: "cameras", onchange: () => this.start(this.cameras.value) });
		this.chooser = make("div", { class: "field", hidden: true }, make("label", { class: "field-label", for: "cameras" }, "Camera"), this.cameras);
		$("#sheet").replaceChildren(make("p", { class: "field-label" }, "Background"), ...parts, this.chooser,
			make("div", { class: "field bool" }, make("div", { class: "field-top" }, make("label", { class: "field-label", for: "mirror" }, "As in a mirror"), this.mirror)));
		$("#start").addEventListener("click", () => this.start());
		$("#stop").addEventListener("click", () => this.stop());
		$("#snap").addEventListener("click", () => this.snap());
		addEventListener("pagehide", () => this.#leave());
		$("#app").dataset.ready = "";
	}

	/** Ask for the camera, and go on until it is stopped. */
	async start(device = "") {
		this.#halt();
		$("#start").disabled = true;
		try {
			if (!navigator.mediaDevices?.getUserMedia) {
				throw new Problem("browsers give cameras only to pages that come by https, or from this machine as http://127.0.0.1; open the page in one of these ways");
			}
			const wanted = device ? { deviceId: { exact: device } } : { facingMode: "user" };
			this.#stream = await navigator.mediaDevices.getUserMedia({
				audio: false, video: { ...wanted, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
			});
			await this.#enter();
			this.#video.srcObject = this.#stream;
			await this.#video.play();
			await this.#choices();
		} catch (error) {
			this.#halt();
			this.#refused(error);
			return;
		} finally {
			$("#start").disabled = false;
		}
		const [track] = this.#stream.getVideoTracks();
		track.addEventListener("ended", () => this.#stream?.getVideoTracks()[0] === track && this.stop("The camera was taken away."));
		$("#begin").hidden = true;
		$("#canvas").hidden = false;
		for (const id of ["stop", "snap"]) $(`#${id}`).disabled = false;
		announce("The camera is on.");
		this.#next(this.#stream);
	}

	stop(why = "") {
		this.#halt();
		this.#leave();
		this.#begin(why ? "The camera is off" : "See yourself without your background", why || "The camera is off, and nothing of it is kept.");
		announce(why || "The camera is off.");
	}

	/** Save what is shown. */
	snap() {
		this.#canvas.toBlob((blob) => {
			if (!blob) return;
			saveFile(blob, `live-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`);
			toast("The picture is in your downloads.");
		}, "image/png");
	}

	#painted() {
		const { kind, colour, blur } = this.backdrop;
		kept.set("live", JSON.stringify({ kind: kind === "picture" ? "transparent" : kind, colour, blur }), true);
		this.#paint();
	}

	async #enter() {
		this.#session ??= await this.api.json("POST", "page/live", undefined, { visitor: false });
		this.#number = 0;
		this.#shown = -1;
	}

	#leave() {
		if (!this.#session) return;
		const { id } = this.#session;
		this.#session = null;
		this.api.json("DELETE", `page/live/${id}`, undefined, { visitor: false, keepalive: true }).catch(() => {});
	}

	#halt() {
		for (const track of this.#stream?.getTracks() ?? []) track.stop();
		this.#stream = null;
		this.#video.srcObject = null;
		this.#times = [];
		$("#rate").hidden = true;
		$("#problem").hidden = true;
		for (const id of ["stop", "snap"]) $(`#${id}`).disabled = true;
	}

	#begin(title, text, bad = false) {
		$("#canvas").hidden = true;
		$("#begin").hidden = false;
		$("#begin").classList.toggle("bad", bad);
		$("#begin-title").textContent = title;
		$("#begin-text").textContent = text;
		$("#start").textContent = bad ? "Try again" : "Start the camera";
	}

	#refused(error) {
		const known = {
			NotAllowedError: "the browser does not let this page use the camera; allow it beside the address, then try again",
			NotFoundError: "no camera was found; connect one, then try again",
			OverconstrainedError: "this camera is not there any more; try again with another",
			NotReadableError: "the camera does not answer; another program may be using it",
		};
		const text = sentence(known[error.name] ?? error.message);
		this.#begin("No camera yet", text, true);
		announce(text);
	}

	/** The cameras there are; their names are known once one was allowed. */
	async #choices() {
		const found = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
		const now = this.#stream.getVideoTracks()[0].getSettings();
		this.cameras.replaceChildren(...found.map((one, at) => make("option", { value: one.deviceId }, one.label || `Camera ${at + 1}`)));
		if (now.deviceId) this.cameras.value = now.deviceId;
		this.chooser.hidden = found.length < 2;
		this.mirror.checked = this.mirrored = now.facingMode !== "environment";
	}

	/** For each frame of the camera: send it, if not too many are on their way. */
	#next(stream) {
		if (stream !== this.#stream) return;
		if (this.#flying < IN_FLIGHT && this.#session && this.#video.videoWidth) this.#send(stream);
		const again = () => this.#next(stream);
		if (this.#video.requestVideoFrameCallback) this.#video.requestVideoFrameCallback(again);
		else setTimeout(again, 33);
	}

	async #send(stream) {
		this.#flying++;
		const taken = performance.now();
		const frame = this.#grab();
		try {
			const blob = await this.#jpeg(frame);
			const number = this.#number++;
			const { id } = this.#session;
			const matte = await this.#ask(`page/live/${id}?n=${number}`, blob, stream);
			if (!matte || stream !== this.#stream || number < this.#shown) return;
			this.#shown = number;
			const grey = await createImageBitmap(matte);
			if (stream !== this.#stream) return;
			if (this.#last) {
				this.#free.push(this.#last.frame);
				this.#last.grey.close();
			}
			this.#last = { frame, grey };
			this.#paint();
			this.#count(performance.now() - taken);
			$("#problem").hidden = true;
		} catch (error) {
			if (stream === this.#stream) await this.#trouble(error);
		} finally {
			if (this.#last?.frame !== frame) this.#free.push(frame);
			this.#flying--;
		}
	}

	/** The camera's frame now, on a canvas that nobody else uses. */
	#grab() {
		const { videoWidth, videoHeight } = this.#video;
		const scale = Math.min(1, SHOWN / Math.max(videoWidth, videoHeight));
		const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
		const frame = this.#free.pop() ?? document.createElement("canvas");
		if (frame.width !== width || frame.height !== height) Object.assign(frame, { width, height });
		const context = frame.getContext("2d", { alpha: false });
		context.setTransform(this.mirrored ? -1 : 1, 0, 0, 1, this.mirrored ? width : 0, 0);
		context.drawImage(this.#video, 0, 0, width, height);
		return frame;
	}

	#jpeg(frame) {
		const scale = Math.min(1, SENT / Math.max(frame.width, frame.height));
		let from = frame;
		if (scale < 1) {
			from = this.#small;
			const [width, height] = [Math.round(frame.width * scale), Math.round(frame.height * scale)];
			if (from.width !== width || from.height !== height) Object.assign(from, { width, height });
			from.getContext("2d", { alpha: false }).drawImage(frame, 0, 0, width, height);
		}
		return new Promise((done, fail) => from.toBlob((blob) => (blob ? done(blob) : fail(new Problem("the browser could not pack a frame"))), "image/jpeg", QUALITY));
	}

	/** Ask for a frame's matte; null if a newer frame has overtaken it. */
	async #ask(path, blob, stream) {
		const response = await this.api.post(path, blob, "image/jpeg");
		if (stream !== this.#stream || response.status === 204) return null;
		return response.blob();
	}

	async #trouble(error) {
		if (error.unknown) {
			this.#session = null; // nothing was sent for a while, or the server began anew
			return this.#enter().catch((why) => this.stop(sentence(why.message)));
		}
		if (error.status === 401 || error.status === 403 || error.status === 400) return this.stop(sentence(error.message));
		$("#problem").textContent = sentence(error instanceof Problem ? error.message : "the server does not answer; trying again");
		$("#problem").hidden = false;
		await sleep(error.status === 429 ? 2000 : 1500);
	}

	#paint() {
		if (!this.#last || !this.#stream) return;
		const { frame, grey } = this.#last;
		this.#canvas.classList.toggle("checker", this.backdrop.transparent);
		this.#composer.draw(this.#canvas, frame, grey, this.backdrop);
		this.#canvas.style.setProperty("--ratio", frame.width / frame.height);
	}

	#count(delay) {
		const now = performance.now();
		this.#times.push(now);
		while (this.#times[0] < now - WINDOW) this.#times.shift();
		this.#delay += (delay - this.#delay) * (this.#delay ? 0.1 : 1);
		const span = now - this.#times[0];
		const rate = span > 300 ? ((this.#times.length - 1) * 1000) / span : 0;
		const text = rate ? `${rate.toFixed(0)} fps · ${Math.round(this.#delay)} ms behind` : "";
		$("#rate").hidden = !text;
		if ($("#rate").textContent !== text) $("#rate").textContent = text;
		$("#app").dataset.frames = Number($("#app").dataset.frames ?? 0) + 1;
	}
}

if (document.querySelector("script[data-start]")) start();
