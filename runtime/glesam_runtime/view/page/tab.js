/** The server's side of this page: a tab there, with the picture that the page shows. */

import * as api from "./api.js";

export class ServerTab {
  constructor(app) {
    this.app = app;
    this.key = null;
    window.addEventListener("pagehide", () => this.key && api.closeTab(this.key));
  }

  async open() {
    this.key = await api.openTab();
  }

  /** Returns request(key). Where the server has closed the tab, another one gets the picture first. */
  async ask(request) {
    const { key } = this;
    try {
      return await request(key);
    } catch (error) {
      if (!(error instanceof api.Closed)) throw error;
      if (this.key === key) {
        this.reopening ??= this.reopen().finally(() => { this.reopening = null; });
      }
      await this.reopening;
      return request(this.key);
    }
  }

  async reopen() {
    const { picture, pictures } = this.app;
    const key = await api.openTab();
    if (picture) {
      let sent = await pictures.source.send(key);
      if (picture.level > 0) sent = await api.degrade(key, picture.level, picture.seed);
      picture.revision = sent.revision;
      picture.opened = sent.opened;
    }
    this.key = key;
  }
}
