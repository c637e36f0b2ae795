/** The panes with the picture: one, two side by side, or one that is divided by the swipe's border. */

import { drawScene } from "./draw.js";
import { hasPrompt } from "./history.js";
import { Viewport } from "./viewport.js";

const LABELS = { gle: "with GLE", plain: "without GLE" };
const LEFT_AND_RIGHT = ["plain", "gle"]; // of side by side, and of the swipe

export class Stage {
  constructor(app) {
    this.app = app;
    this.viewport = new Viewport();
    this.element = document.getElementById("stage");
    this.panes = [...this.element.querySelectorAll(".pane")];
    this.canvases = this.panes.map((pane) => pane.querySelector("canvas"));
    this.divider = document.getElementById("divider");
    this.dividedAt = 0.5;
    this.draft = null; // box that is being dragged
    this.cross = null; // of the keyboard
    new ResizeObserver(() => this.resized()).observe(this.element);
    this.listenToDivider();
  }

  /** Draws in the next frame, once for any number of calls. */
  requestDraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  get size() {
    return { width: this.panes[0].clientWidth, height: this.panes[0].clientHeight };
  }

  fit() {
    if (this.app.picture) this.viewport.fit(this.app.picture, this.size.width, this.size.height);
    this.requestDraw();
  }

  resized() {
    if (this.viewport.isFitted) this.fit();
    else this.requestDraw();
  }

  /** Zooms by `factor` around the middle of a pane. */
  zoom(factor) {
    this.viewport.zoomAt(factor, { x: this.size.width / 2, y: this.size.height / 2 });
    this.requestDraw();
  }

  setMode(mode) {
    this.element.dataset.mode = mode;
    const sides = { gle: ["gle"], plain: ["plain"], side: LEFT_AND_RIGHT, swipe: LEFT_AND_RIGHT }[mode];
    this.panes.forEach((pane, i) => {
      pane.querySelector(".label").textContent = LABELS[sides[i]] ?? "";
    });
    this.resized();
  }

  draw() {
    const { mode, picture } = this.app;
    this.divider.style.left = `${100 * this.dividedAt}%`;
    this.divider.setAttribute("aria-valuenow", Math.round(100 * this.dividedAt));
    const sides = mode === "side" ? LEFT_AND_RIGHT : [mode === "plain" ? "plain" : "gle"];
    sides.forEach((side, i) => {
      const context = this.prepared(this.canvases[i]);
      if (!picture) return;
      if (mode === "swipe") this.drawDivided(context);
      else drawScene(context, this.viewport, this.scene(side));
      this.canvases[i].dataset.masks = this.layers(side).length;
    });
  }

  drawDivided(context) {
    const { width, height } = this.size;
    const border = width * this.dividedAt;
    for (const [side, left, right] of [["plain", 0, border], ["gle", border, width]]) {
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left, height);
      context.clip();
      drawScene(context, this.viewport, this.scene(side));
      context.restore();
    }
  }

  /** Returns the context of a cleared canvas with as many pixels as the screen has there. */
  prepared(canvas) {
    const density = window.devicePixelRatio;
    const { clientWidth, clientHeight } = canvas;
    const [width, height] = [Math.round(clientWidth * density), Math.round(clientHeight * density)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, clientWidth, clientHeight);
    return context;
  }

  scene(side) {
    const { picture, history, segmenter, opacity } = this.app;
    return {
      picture,
      opacity,
      layers: this.layers(side),
      preview: hasPrompt(history.active) ? null : segmenter.preview,
      objects: history.objects,
      active: history.now.active,
      draft: this.draft,
      cross: this.cross,
      colourOf: (object) => this.app.colourOf(object),
    };
  }

  /** Returns the chosen mask of every object on a side. */
  layers(side) {
    const { history, segmenter } = this.app;
    const results = history.objects.map((object) => [object, segmenter.resultOf(object)]);
    return results
      .filter(([, result]) => result !== null && side in result)
      .map(([object, result]) => result[side].layers[segmenter.choiceOf(object, result)]);
  }

  listenToDivider() {
    const move = (event) => {
      const { left, width } = this.element.getBoundingClientRect();
      this.divide((event.clientX - left) / width);
    };
    this.divider.addEventListener("pointerdown", (event) => {
      this.divider.setPointerCapture(event.pointerId);
      this.divider.onpointermove = move;
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.divider.addEventListener(name, () => { this.divider.onpointermove = null; });
    }
    this.divider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation(); // these keys move the cross elsewhere
      this.divide(this.dividedAt + step);
    });
  }

  divide(part) {
    this.dividedAt = Math.min(1, Math.max(0, part));
    this.requestDraw();
  }
}
