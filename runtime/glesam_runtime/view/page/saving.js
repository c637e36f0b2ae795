/** Files of masks, and the same masks as a command line and as Python. */

import * as api from "./api.js";
import { hasPrompt } from "./history.js";

const element = (id) => document.getElementById(id);

export class Saving {
  constructor(app) {
    this.app = app;
    for (const button of document.querySelectorAll(".save")) {
      button.addEventListener("click", () => this.save(button.dataset.format));
    }
    element("show-calls").addEventListener("click", () => this.showCalls());
    for (const button of document.querySelectorAll(".copy")) {
      button.addEventListener("click", () => copy(element(button.dataset.of), button));
    }
  }

  /** Returns whether something is marked, and says so where nothing is. */
  isMarked() {
    const { app } = this;
    if (app.picture && app.history.objects.some(hasPrompt)) return true;
    app.showError(new Error("nothing to save yet: click an object, or drag a box around one"), "marked");
    return false;
  }

  /** Returns the request for every object that has a prompt. */
  request() {
    const request = this.app.segmenter.requestFor(this.app.history.objects.filter(hasPrompt));
    const both = request.sides.length > 1; // the page compares: what is saved has GLE
    return { ...request, sides: both ? ["gle"] : request.sides };
  }

  async save(format) {
    if (!this.isMarked()) return;
    const shownError = this.app.error;
    try {
      const { blob, name, note } = await this.app.tab.ask((tab) => api.save(tab, this.request(), format));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      element("save-note").textContent = note ? `${name}: ${note}` : `saved ${name}`;
      element("save-note").hidden = false;
      this.app.worked(shownError, "save", "marked", "answer");
    } catch (error) {
      this.app.showError(error, "save");
    }
  }

  async showCalls() {
    if (!this.isMarked()) return;
    const shownError = this.app.error;
    try {
      const { command, chosen, python } = await this.app.tab.ask((tab) => api.calls(tab, this.request()));
      element("command").value = command;
      element("chosen").textContent = chosen.length > 0 ? `The chosen masks are ${chosen.join(", ")}` : "";
      element("python").value = python;
      element("calls").showModal();
      this.app.worked(shownError, "calls", "marked", "answer");
    } catch (error) {
      this.app.showError(error, "calls");
    }
  }
}

/** Copies a text; without the browser's leave, as over plain HTTP, it is selected for Ctrl+C. */
async function copy(area, button) {
  area.select();
  try {
    await navigator.clipboard.writeText(area.value);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
  }
}
