/** Asks for the masks of all objects, keeps them, and previews the mask under the pointer. */

import * as api from "./api.js";
import { hasPrompt } from "./history.js";
import { layerOf } from "./layers.js";

const MOST_KEPT = 100;
const MOST_AT_ONCE = 16; // objects of a request: the server holds all their masks
const QUICK_MS = 100; // of the server for one mask; a slower preview would lag behind the pointer
const NEWEST_PART = 0.3;
const TRIED_AGAIN_MS = 2000; // after this time a slow preview may show whether it is quick by now

export const SIDES = { gle: ["gle"], plain: ["plain"], side: ["gle", "plain"], swipe: ["gle", "plain"] };

export class Segmenter {
  constructor(app) {
    this.app = app;
    this.clear();
  }

  /** Forgets all masks, for another picture. */
  clear() {
    this.results = new Map(); // by key(object)
    this.shownBefore = new Map(); // by an object's id: its last masks, shown until the next arrive
    this.preview = null;
    this.pointer = null;
  }

  key(object) {
    const { picture, three, mode } = this.app;
    return JSON.stringify([picture.revision, object.id, object.box, object.points, three, SIDES[mode]]);
  }

  /** Forgets the earlier masks of objects that are gone or empty, so that none appears with their next click. */
  forgetEmpty() {
    const marked = new Set(this.app.history.objects.filter(hasPrompt).map((object) => object.id));
    for (const id of this.shownBefore.keys()) if (!marked.has(id)) this.shownBefore.delete(id);
  }

  /** Returns the masks of an object, its earlier ones while new ones are under way, or null. */
  resultOf(object) {
    if (!this.app.picture || !hasPrompt(object)) return null;
    const result = this.results.get(this.key(object)) ?? this.shownBefore.get(object.id);
    return result && SIDES[this.app.mode].every((side) => side in result) ? result : null;
  }

  /** Returns the index of the candidate to show: the chosen one, or the one of the best score. */
  choiceOf(object, result) {
    const { scores } = result[SIDES[this.app.mode][0]];
    if (object.choice !== null && object.choice < scores.length) return object.choice;
    return scores.indexOf(Math.max(...scores));
  }

  /** Returns the request for some objects, as the server takes it. */
  requestFor(objects) {
    const choices = objects.map((object) => {
      const result = this.resultOf(object);
      return result && this.app.three ? this.choiceOf(object, result) : 0;
    });
    return {
      revision: this.app.picture.revision,
      objects: objects.map(promptOf),
      multimask: this.app.three,
      sides: SIDES[this.app.mode],
      choices,
    };
  }

  /** Asks for the masks that are missing; `clickedAt` [ms] is when a click or a key made them so. */
  async refresh(clickedAt = null) {
    this.clickedAt = this.clickedAt ?? clickedAt;
    this.isWanted = true;
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      while (this.isWanted) {
        this.isWanted = false;
        await this.fetchMissing();
      }
    } catch (error) {
      if (error instanceof api.Stale) this.app.pictures.catchUp();
      else this.app.showError(error, "masks");
    } finally {
      this.isBusy = false;
      this.clickedAt = null;
      this.app.update();
    }
  }

  async fetchMissing() {
    const { history, tab, picture } = this.app;
    if (!picture) return;
    const shownError = this.app.error;
    const marked = history.objects.filter(hasPrompt);
    const allMissing = marked.filter((x) => !this.results.has(this.key(x)));
    if (allMissing.length === 0) {
      this.app.worked(shownError, "masks", ...(marked.length > 0 ? ["marked"] : []));
      return;
    }
    const missing = allMissing.slice(0, MOST_AT_ONCE);
    this.isWanted = missing.length < allMissing.length;
    let keys;
    const answer = await tab.ask((key) => {
      keys = missing.map((object) => this.key(object));
      return api.masks(key, this.requestFor(missing));
    });
    const results = await Promise.all(answer.objects.map((each, i) => this.decoded(each, missing[i])));
    results.forEach((result, i) => this.keep(keys[i], missing[i].id, result));
    this.app.worked(shownError, "masks", "marked", "answer");
    this.measure(answer.timings_ms);
    await this.app.drawn();
    if (this.clickedAt !== null) this.app.noteLatency(this.clickedAt);
    this.clickedAt = null;
  }

  keep(key, id, result) {
    this.results.set(key, result);
    this.shownBefore.set(id, result);
    if (this.results.size > MOST_KEPT) this.results.delete(this.results.keys().next().value);
  }

  /** Returns the answer for one object, with layers in place of PNG files. */
  async decoded(answer, object) {
    const result = { ious: answer.ious ?? null };
    for (const side of ["gle", "plain"].filter((name) => name in answer)) {
      const layers = await Promise.all(answer[side].masks.map((png) => layerOf(png, this.app.colourOf(object))));
      result[side] = { layers, scores: answer[side].scores, shares: answer[side].shares };
    }
    return result;
  }

  measure(timings) {
    this.app.timings = { ...this.app.timings, ...timings };
    const ms = timings.decode + timings.masks + timings.png;
    const isSmoothed = this.serverMs !== undefined && this.isQuick;
    this.serverMs = isSmoothed ? (1 - NEWEST_PART) * this.serverMs + NEWEST_PART * ms : ms;
    this.measuredAt = performance.now();
  }

  get isQuick() {
    return this.serverMs === undefined || this.serverMs < QUICK_MS;
  }

  /** Previews the mask of a click at a point of the picture; null: the pointer has left. */
  async hover(point) {
    this.pointer = this.mayPreview(point) ? point : null;
    if (this.pointer === null && this.preview !== null) {
      this.preview = null;
      this.app.update();
    }
    if (this.isPreviewing) return;
    this.isPreviewing = true;
    try {
      for (let at = null; this.pointer !== null && this.pointer !== at; ) {
        at = this.pointer;
        await this.previewAt(at);
      }
    } catch {
      this.preview = null; // a click at the same point shows the error
    } finally {
      this.isPreviewing = false;
    }
  }

  mayPreview(point) {
    const { preview, picture, history } = this.app;
    const isDue = this.isQuick || performance.now() - this.measuredAt > TRIED_AGAIN_MS;
    return Boolean(point && preview && picture && isDue && !this.isBusy && !hasPrompt(history.active));
  }

  async previewAt(point) {
    const { app } = this;
    const object = { ...app.history.active, points: [{ ...point, on: true }] };
    const side = SIDES[app.mode][0];
    const only = { multimask: false, choices: [0], sides: [side] };
    const answer = await app.tab.ask((tab) => api.masks(tab, { ...this.requestFor([object]), ...only }));
    const layer = await layerOf(answer.objects[0][side].masks[0], app.colourOf(object), false);
    this.measure(answer.timings_ms);
    this.preview = this.pointer !== null && this.mayPreview(point) ? layer : null;
    app.update();
  }
}

function promptOf(object) {
  const coordinates = (on) => object.points.filter((p) => p.on === on).map((p) => [p.x, p.y]);
  return { box: object.box, points: coordinates(true), background_points: coordinates(false) };
}
