/** Which picture is shown: dropped, pasted, opened, a sample, one of the folder; and how it is degraded. */

import * as api from "./api.js";

const LEVELS = ["off", "LQ-1", "LQ-2", "LQ-3"];
const SETTLED_MS = 250; // after the slider's last movement

const element = (id) => document.getElementById(id);

export class Pictures {
  constructor(app) {
    this.app = app;
    this.turn = 0; // counts changes of the picture, so that an answer to an earlier one is dropped
    this.isMoved = false; // the slider or the seed, and the picture has not followed yet
    this.file = element("file");
    this.list = element("pictures");
    this.tried = -1; // index in the list of the picture that was last asked for
    this.listen();
  }

  /** Fills the lists once the server has said what there is. */
  begin({ pictures, left_out: leftOut, samples, degradation }) {
    element("folder").hidden = pictures.length < 2;
    this.list.replaceChildren(...pictures.map((name) => new Option(name, name)));
    element("left-out").hidden = leftOut.length === 0;
    element("left-out").textContent = leftOut.join("; ");
    for (const place of document.querySelectorAll(".samples")) {
      place.replaceChildren(...samples.map((name) => this.sampleButton(name)));
    }
    element("level").disabled = element("seed").disabled = degradation !== null;
    element("no-degradation").hidden = degradation === null;
    element("no-degradation").textContent = degradation ?? "";
    if (pictures.length > 0) this.openListed(pictures[0], false);
  }

  sampleButton(name) {
    const button = document.createElement("button");
    const image = new Image();
    image.src = api.thumbnail(name);
    image.alt = name.replace(/\.\w+$/, "").replaceAll("_", " ");
    button.title = image.alt;
    button.className = "sample";
    button.append(image);
    button.addEventListener("click", () => this.openListed(name, true));
    return button;
  }

  listen() {
    for (const button of document.querySelectorAll(".open")) {
      button.addEventListener("click", () => this.choose());
    }
    this.file.addEventListener("change", () => {
      this.take(this.file);
      this.file.value = ""; // so that the same file can be chosen again
    });
    this.list.addEventListener("change", () => this.openListed(this.list.value, false));
    element("previous").addEventListener("click", () => this.step(-1));
    element("next").addEventListener("click", () => this.step(1));
    document.addEventListener("paste", (event) => {
      if (!event.target.matches("input, textarea")) this.take(event.clipboardData);
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) document.body.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      this.take(event.dataTransfer);
    });
    this.listenToDegradation();
  }

  listenToDegradation() {
    const level = element("level");
    const changed = () => {
      element("level-name").value = LEVELS[level.value];
      this.isMoved = true;
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.degrade(), SETTLED_MS);
    };
    level.addEventListener("input", changed);
    element("seed").addEventListener("input", changed);
  }

  choose() {
    this.file.click();
  }

  /** Opens the first of `files`; what is no file, as a link or a text, is refused. */
  take({ files, types = [] }) {
    const { app } = this;
    if (!app.start) return; // the page says why
    if (files.length > 0) this.upload(files[0]);
    else if (types.length > 0) {
      app.showError(new Error("expected a picture file, found a link or a text; save the picture to a file first"));
    }
    element("others").hidden = files.length < 2;
    element("others").textContent = `the first of ${files.length} files; the others are not opened`;
  }

  upload(file) {
    const most = this.app.start.most_bytes;
    if (file.size > most) {
      const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
      const message = `${file.name}: expected at most ${mebibytes(most)}, found ${mebibytes(file.size)}`;
      this.app.showError(new Error(`${message}; make the file smaller`));
      return;
    }
    this.open((tab) => api.upload(tab, file), "");
  }

  openListed(name, isSample) {
    element("others").hidden = true;
    return this.open((tab) => api.openListed(tab, name, isSample), isSample ? "" : name);
  }

  /** Opens the next picture of the folder, or the previous one; one that was refused is stepped over. */
  step(by) {
    const next = this.list.options[this.tried + by];
    if (next) this.openListed(next.value, false);
  }

  /** Shows another picture, `listed` in the list or ""; a slider that is moved meanwhile degrades that one. */
  open(request, listed) {
    this.isOpening = true;
    this.list.value = listed;
    this.tried = this.list.selectedIndex;
    const send = async (tab) => {
      const picture = await request(tab);
      this.sent = { send: request, listed };
      return picture;
    };
    return this.show(send, "reading the picture");
  }

  /** Degrades the picture as slider and seed say, once it is there. */
  degrade() {
    clearTimeout(this.settling);
    if (!this.app.picture || this.isOpening) return;
    this.isMoved = false;
    const seed = element("seed");
    if (!seed.checkValidity() || seed.value === "") {
      const found = seed.value === "" ? "none" : seed.value;
      this.app.showError(new Error(`seed: expected a whole number from 0 to ${seed.max}, found ${found}`));
      return;
    }
    const level = Number(element("level").value);
    this.show((tab) => api.degrade(tab, level, Number(seed.value)), "degrading the picture");
  }

  /** Shows what the server has, where it is ahead of the page: an answer was dropped for one that failed. */
  catchUp() {
    if (!this.isChanging) this.show(api.encode, "reading the picture");
  }

  /** Shows the picture of an answer, lets the server encode it, and segments its objects. */
  async show(request, status) {
    const { app } = this;
    const turn = ++this.turn;
    const isCurrent = () => turn === this.turn;
    const shownError = app.error;
    let cure = "picture";
    this.isChanging = true;
    app.setBusy(status);
    try {
      const picture = await app.tab.ask(request);
      if (!isCurrent()) return;
      const bitmap = await api.picture(app.tab.key, picture.revision);
      if (!isCurrent()) return;
      const wasOpening = this.isOpening;
      this.adopt({ ...picture, bitmap });
      app.worked(shownError, cure);
      cure = "masks"; // they are of an encoded picture
      if (wasOpening && this.isMoved) {
        this.degrade();
        return;
      }
      app.setBusy("encoding the picture");
      const encoded = await app.tab.ask(api.encode);
      if (!isCurrent()) return;
      app.timings = encoded.timings_ms;
      app.seenLevel = encoded.degradation_level ?? null;
      this.isChanging = false;
      await app.segmenter.refresh();
    } catch (error) {
      if (isCurrent()) this.refuse(error, cure);
    } finally {
      if (isCurrent()) {
        this.isChanging = this.isOpening = false;
        app.setBusy("");
      }
    }
  }

  /** Takes a picture; one that the page has not shown yet starts without objects, whichever answer brings it. */
  adopt(picture) {
    const { app } = this;
    const isNew = picture.opened !== app.picture?.opened;
    app.picture?.bitmap.close();
    app.picture = picture;
    app.seenLevel = null; // GLE has not seen this one yet
    this.isOpening = false;
    if (isNew) {
      this.source = this.sent; // for another tab
      app.history.reset();
      app.segmenter.clear();
      app.stage.cross = null;
      this.list.value = this.source.listed.endsWith(picture.name) ? this.source.listed : "";
    }
    if (!this.isMoved) this.showLevel(picture.level);
    element("picture").textContent = `${picture.name}, ${picture.width} × ${picture.height} pixels`;
    element("welcome").hidden = true;
    if (isNew) app.stage.fit();
    app.update();
  }

  /** Shows why the picture stays as it is, its own name in the list, and its own level. */
  refuse(error, cure) {
    this.app.showError(error, cure);
    this.list.value = this.source?.listed ?? "";
    if (this.tried < 0) this.tried = this.list.selectedIndex;
    if (this.isOpening) {
      clearTimeout(this.settling);
      this.isMoved = false;
    }
    if (!this.isMoved) this.showLevel(this.app.picture?.level ?? 0);
  }

  showLevel(level) {
    element("level").value = level;
    element("level-name").value = LEVELS[level];
  }
}
