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

  /** Returns the request for every object that has a prompt; an Error where none has. */
  request() {
    const objects = this.app.history.objects.filter(hasPrompt);
    if (!this.app.picture || objects.length === 0) {
      throw new Error("nothing to save yet: click an object, or drag a box around one");
    }
    const request = this.app.segmenter.requestFor(objects);
    const both = request.sides.length > 1; // the page compares: what is saved has GLE
    return { ...request, sides: both ? ["gle"] : request.sides };
  }

  async save(format) {
    try {
      const { blob, name, note } = await this.app.tab.ask((tab) => api.save(tab, this.request(), format));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      element("save-note").textContent = note ? `${name}: ${note}` : `saved ${name}`;
      element("save-note").hidden = false;
    } catch (error) {
      this.app.showError(error);
    }
  }

  async showCalls() {
    try {
      const { command, chosen, python } = await this.app.tab.ask((tab) => api.calls(tab, this.request()));
      element("command").value = command;
      element("chosen").textContent = chosen.length > 0 ? `The chosen masks are ${chosen.join(", ")}` : "";
      element("python").value = python;
      element("calls").showModal();
    } catch (error) {
      this.app.showError(error);
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
