// The token: taken from the end of the link by itself, or asked for.
//
// The page's document is fetched with the token and put in place here, without loading anew: where cookies do
// not stick, as in a notebook's frame, the token then lives on in memory, and nowhere else.

const form = document.querySelector("#login");
const field = document.querySelector("#token");
const error = document.querySelector("#login-error");
const button = document.querySelector("#login-go");

form.addEventListener("submit", (event) => {
	event.preventDefault();
	enter(field.value);
});

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
	history.replaceState(null, "", location.pathname + location.search);
	enter(given);
} else field.focus();

/** Show the token; what is pasted may be the whole link. */
async function enter(text) {
	const token = text.trim().replace(/^.*#token=/, "");
	error.textContent = "";
	button.disabled = true;
	try {
		const address = (path) => new URL(path, document.baseURI).href;
		const answer = await fetch(address("page/login"), {
			method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
		});
		if (!answer.ok) throw new Error(await reason(answer));
		const page = await fetch(location.pathname, { headers: { "X-Api-Key": token }, cache: "no-store" });
		if (!page.ok) throw new Error(await reason(page));
		await show(await page.text(), token);
	} catch (problem) {
		const lost = problem instanceof TypeError;
		error.textContent = lost ? "The server does not answer; is it still running?" : problem.message;
		button.disabled = false;
		field.select();
	}
}

async function reason(answer) {
	const { error: text } = await answer.json().catch(() => ({}));
	if (!text) return `The server did not let this in (${answer.status}).`;
	return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Put the page in place of this one. Scripts of a parsed document do not run: it is begun by hand. */
async function show(text, token) {
	const page = new DOMParser().parseFromString(text, "text/html");
	const app = page.querySelector("#app");
	if (!app) throw new Error("The server did not take this token.");
	for (const sheet of page.querySelectorAll("link[rel=stylesheet]")) document.head.append(document.adoptNode(sheet));
	const { start } = await import(`./${app.dataset.script ?? "app.js"}`);
	document.title = page.title;
	document.body.replaceWith(document.adoptNode(page.body));
	await start(token);
}
