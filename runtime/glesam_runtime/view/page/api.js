/** Requests to the server. Every failure is an Error whose message can be shown as it is. */

/** The tab shows another picture by now; whoever changed it segments again. */
export class Stale extends Error {}

/** The server has closed the tab. */
export class Closed extends Error {}

/** The server does not answer, or has no time now: whatever works later shows that this has passed. */
export class Unavailable extends Error {}

const KINDS = { 409: Stale, 410: Closed, 503: Unavailable };

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Unavailable("glesam-view does not answer; is it still running in its terminal?");
  }
  if (response.ok) return response;
  let message = `glesam-view answered with status ${response.status}`;
  try {
    message = (await response.json()).error ?? message;
  } catch {
    // The answer is no JSON: the status says what there is to say.
  }
  throw new (KINDS[response.status] ?? Error)(message);
}

function post(path, body = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

const json = async (response) => (await response).json();
const ofTab = (tab, action) => `api/tabs/${encodeURIComponent(tab)}/${action}`;

export const start = () => json(ask("api/start"));
export const openTab = async () => (await json(post("api/tabs"))).tab;

/** Closes a tab as its page goes: the request outlives the page. */
export const closeTab = (tab) => fetch(ofTab(tab, "close"), { method: "POST", keepalive: true }).catch(() => {});

export const openListed = (tab, name, sample) => json(post(ofTab(tab, "open"), { name, sample }));
export const degrade = (tab, level, seed) => json(post(ofTab(tab, "degrade"), { level, seed }));
export const encode = (tab) => json(post(ofTab(tab, "encode")));
export const masks = (tab, request) => json(post(ofTab(tab, "masks"), request));
export const calls = (tab, request) => json(post(ofTab(tab, "calls"), request));
export const thumbnail = (name) => `api/samples/${encodeURIComponent(name)}`;

export function upload(tab, file) {
  const headers = {
    "content-type": "application/octet-stream",
    "x-name": encodeURIComponent(file.name || "pasted.png"),
  };
  return json(ask(ofTab(tab, "upload"), { method: "POST", headers, body: file }));
}

/** Returns the picture that the tab shows, as an ImageBitmap. */
export async function picture(tab, revision) {
  const response = await ask(`${ofTab(tab, "picture")}?revision=${revision}`);
  return createImageBitmap(await response.blob());
}

/** Returns { blob, name, note } of a file of masks; `format`: png, rle or polygons. */
export async function save(tab, request, format) {
  const response = await post(ofTab(tab, "save"), { ...request, format });
  const header = (name) => decodeURIComponent(response.headers.get(name) ?? "");
  return { blob: await response.blob(), name: header("x-name"), note: header("x-note") };
}
