/** Joins the parts of the page, and holds what they share. */

import * as api from "./api.js";
import { History } from "./history.js";
import { listenToKeys } from "./keyboard.js";
import { updatePanel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { Pointer } from "./pointer.js";
import { Saving } from "./saving.js";
import { Segmenter } from "./segmenter.js";
import { Stage } from "./stage.js";
import { ServerTab } from "./tab.js";

const ZOOM = 1.4;

const element = (id) => document.getElementById(id);
const modeInputs = () => [...element("modes").querySelectorAll("input")];

class App {
  constructor() {
    this.picture = null; // as the server describes it, with `bitmap`
    this.timings = {}; // milliseconds by stage
    this.seenLevel = null; // the picture's degradation level as GLE sees it
    this.mode = "gle"; // or plain, side, swipe
    this.tool = "object"; // or background, box, pan
    this.three = false;
    this.opacity = 0.45;
    this.preview = true;
    this.isSpaceHeld = false;
    this.error = null; // the one that is shown
    this.history = new History();
    this.segmenter = new Segmenter(this);
    this.stage = new Stage(this);
    this.pointers = this.stage.canvases.map((canvas) => new Pointer(canvas, this));
    this.tab = new ServerTab(this);
    this.pictures = new Pictures(this);
    this.saving = new Saving(this);
    listenToKeys(this);
    this.listen();
  }

  /** Asks the server what there is, and opens the first picture. */
  async begin() {
    try {
      this.start = await api.start();
      await this.tab.open();
    } catch (error) {
      this.showError(error);
      return;
    }
    const { name, precision, backend, reason, bundle, multimask, needs_gle: needsGle } = this.start.model;
    element("model").textContent = `${name} ${precision}, backend ${backend}`;
    element("model").title = `${reason}; bundle ${bundle}`;
    element("three").disabled = !multimask;
    for (const input of modeInputs()) input.disabled = needsGle && input.value !== "gle";
    this.history.mostObjects = this.start.most_objects;
    this.history.mostPoints = this.start.most_points;
    this.setMode(this.mode);
    this.pictures.begin(this.start);
    document.body.dataset.ready = "true";
  }

  listen() {
    const onClick = (id, action) => element(id).addEventListener("click", action);
    onClick("undo", () => this.edit((history) => history.undo()));
    onClick("redo", () => this.edit((history) => history.redo()));
    onClick("delete", () => this.edit((history) => history.removeLast()));
    onClick("accept", () => this.edit((history) => history.next()));
    onClick("clear", () => this.edit((history) => history.clear()));
    onClick("zoom-in", () => this.stage.zoom(ZOOM));
    onClick("zoom-out", () => this.stage.zoom(1 / ZOOM));
    onClick("fit", () => this.stage.fit());
    onClick("show-help", () => element("help").showModal());
    element("error").querySelector("button").addEventListener("click", () => this.hideError());
    element("tools").addEventListener("change", (event) => { this.tool = event.target.value; });
    element("modes").addEventListener("change", (event) => this.setMode(event.target.value));
    element("three").addEventListener("change", (event) => this.setThree(event.target.checked));
    element("preview").addEventListener("change", (event) => { this.preview = event.target.checked; });
    element("opacity").addEventListener("input", (event) => {
      this.opacity = event.target.value / 100;
      this.stage.requestDraw();
    });
  }

  /** Changes the objects and segments what is new; `at` [ms] is when the click or the key came. */
  edit(change, at = null) {
    try {
      change(this.history);
    } catch (error) {
      this.showError(error, "edit");
      return;
    }
    this.worked(this.error, "edit");
    this.stage.corner = null;
    this.segmenter.preview = null;
    this.segmenter.forgetEmpty();
    this.update();
    this.segmenter.refresh(at);
  }

  choose(candidate) {
    if (this.three && candidate < 3) this.edit((history) => history.choose(candidate));
  }

  /** Cancels a drag, else removes the prompts of the active object. */
  cancel() {
    const isDragging = this.pointers.map((pointer) => pointer.abort()).some(Boolean) || this.stage.corner;
    this.stage.corner = null;
    if (!isDragging) this.edit((history) => history.emptyActive());
  }

  setMode(mode) {
    this.mode = mode;
    document.querySelector(`#modes [value=${mode}]`).checked = true;
    this.stage.setMode(mode);
    this.update();
    this.segmenter.refresh();
  }

  /** Takes the next mode that the model has. */
  nextMode() {
    const modes = modeInputs().filter((input) => !input.disabled).map((input) => input.value);
    this.setMode(modes[(modes.indexOf(this.mode) + 1) % modes.length]);
  }

  setThree(three) {
    this.three = three && Boolean(this.start?.model.multimask);
    element("three").checked = this.three;
    this.update();
    this.segmenter.refresh();
  }

  colourOf(object) {
    const { colours } = this.start;
    return `rgb(${colours[(object.id - 1) % colours.length].join(" ")})`;
  }

  update() {
    if (this.start) updatePanel(this);
    this.stage.requestDraw();
  }

  /** Draws, and returns once the drawn frame is on its way to the screen. */
  drawn() {
    this.update();
    return new Promise((resolve) => requestAnimationFrame(resolve));
  }

  noteLatency(clickedAt) {
    const measure = performance.measure("click-to-mask", { start: clickedAt, end: performance.now() });
    this.timings = { ...this.timings, click: measure.duration };
    element("latency").textContent = `click to mask ${Math.round(measure.duration)} ms`;
    this.update();
  }

  setBusy(text) {
    element("status").textContent = text;
    document.body.classList.toggle("busy", text !== "");
  }

  /** Shows an error until somebody closes it, there is another picture, or one of `cures` works. */
  showError(error, ...cures) {
    this.error = { cures: ["picture", ...cures, ...(error instanceof api.Unavailable ? ["answer"] : [])] };
    element("error").firstElementChild.textContent = error.message;
    element("error").hidden = false;
  }

  /** Hides `error`, if it was shown before what has worked began and is still shown, and that cures it. */
  worked(error, ...what) {
    if (error !== null && error === this.error && what.some((each) => error.cures.includes(each))) this.hideError();
  }

  hideError() {
    this.error = null;
    element("error").hidden = true;
  }
}

new App().begin();
