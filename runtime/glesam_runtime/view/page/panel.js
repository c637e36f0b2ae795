/** The panel beside the picture: objects, their candidates, IoU of the two sides, milliseconds. */

import { hasPrompt } from "./history.js";
import { SIDES } from "./segmenter.js";

const STAGES = {
  degrade: "degrade",
  preprocess: "preprocess",
  encode: "image encoder",
  enhance: "GLE",
  decode: "mask decoder",
  masks: "resize masks",
  png: "encode PNG",
  click: "click to mask",
};
const THUMBNAIL_PX = 88;

const element = (id) => document.getElementById(id);

/** Returns a new element with attributes and children; `onclick` is a function. */
function make(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

export function updatePanel(app) {
  const { history } = app;
  element("undo").disabled = history.past.length === 0;
  element("redo").disabled = history.future.length === 0;
  element("delete").disabled = element("accept").disabled = !hasPrompt(history.active);
  element("objects").replaceChildren(...history.objects.map((object, index) => objectItem(app, object, index)));
  updateCandidates(app);
  updateIou(app);
  updateTimings(app);
  updateSeenLevel(app);
  const { isQuick, serverMs } = app.segmenter;
  element("preview-note").hidden = isQuick;
  element("preview-note").textContent = `off: a mask takes ${Math.round(serverMs)} ms here`;
}

function objectItem(app, object, index) {
  const result = app.segmenter.resultOf(object);
  const chip = make("span", { className: "chip" });
  chip.style.background = app.colourOf(object);
  const select = make("button", { className: "name", onclick: () => app.edit((h) => h.select(index)) });
  select.append(chip, `Object ${object.id}`, make("small", {}, result ? scoreText(app, object, result) : ""));
  const isActive = index === app.history.now.active;
  select.setAttribute("aria-pressed", isActive);
  const remove = (label, change) => {
    const button = make("button", { className: "remove", textContent: "×", onclick: () => app.edit(change) });
    button.setAttribute("aria-label", label);
    return button;
  };
  const item = make("li", { className: isActive ? "active" : "" }, select);
  if (hasPrompt(object) || app.history.objects.length > 1) {
    item.append(remove(`Remove object ${object.id}`, (h) => h.removeObject(index)));
  }
  if (isActive) item.append(promptChips(object, remove));
  return item;
}

function promptChips(object, remove) {
  const chips = make("ul", { className: "prompts" });
  const add = (text, kind, change) => {
    chips.append(make("li", { className: kind }, text, remove(`Remove ${text}`, change)));
  };
  if (object.box) add(`box ${object.box.map(Math.round).join(" ")}`, "box", (h) => h.setBox(null));
  object.points.forEach(({ x, y, on }, i) => {
    add(`${on ? "+" : "−"} ${Math.round(x)} ${Math.round(y)}`, on ? "on" : "beside", (h) => h.removePoint(i));
  });
  return chips;
}

function scoreText(app, object, result) {
  const side = SIDES[app.mode][0];
  const choice = app.segmenter.choiceOf(object, result);
  const percent = (100 * result[side].shares[choice]).toFixed(1);
  return ` score ${result[side].scores[choice].toFixed(3)}, ${percent} % of the picture`;
}

/** Shows the three masks of the active object as pictures to choose from. */
function updateCandidates(app) {
  const object = app.history.active;
  const result = app.segmenter.resultOf(object);
  const place = element("candidates");
  place.hidden = !app.three || result === null || result[SIDES[app.mode][0]].layers.length < 2;
  if (place.hidden) return;
  const { layers, scores } = result[SIDES[app.mode][0]];
  const chosen = app.segmenter.choiceOf(object, result);
  place.replaceChildren(...layers.map((layer, index) => {
    const button = make("button", { onclick: () => app.choose(index) }, thumbnail(app.picture, layer));
    button.append(`${index + 1}: ${scores[index].toFixed(3)}`);
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", index === chosen);
    return button;
  }));
}

function thumbnail(picture, layer) {
  const scale = THUMBNAIL_PX / Math.max(picture.width, picture.height);
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(picture.width * scale)),
    height: Math.max(1, Math.round(picture.height * scale)),
  });
  const context = canvas.getContext("2d");
  context.drawImage(picture.bitmap, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.6;
  context.drawImage(layer.fill, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function updateIou(app) {
  const lines = app.history.objects
    .map((object) => [object, app.segmenter.resultOf(object)])
    .filter(([, result]) => result?.ious && SIDES[app.mode].length > 1)
    .map(([object, result]) => {
      const iou = result.ious[app.segmenter.choiceOf(object, result)].toFixed(3);
      return `object ${object.id}: IoU of the two masks ${iou}`;
    });
  element("iou").textContent = lines.join("; ");
}

function updateSeenLevel(app) {
  element("seen-level").hidden = app.seenLevel === null;
  element("seen-level").textContent = `GLE sees level ${app.seenLevel?.toFixed(1)} of 3`;
}

function updateTimings(app) {
  const rows = Object.entries(STAGES)
    .filter(([stage]) => stage in app.timings)
    .map(([stage, name]) => make("tr", {}, make("th", {}, name), make("td", {}, app.timings[stage].toFixed(1))));
  element("timings").replaceChildren(...rows);
}
