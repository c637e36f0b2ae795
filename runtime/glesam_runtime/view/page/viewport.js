/** Where the picture lies in a pane: a point of the picture is at scale * point + (x, y), in CSS pixels. */

const LARGEST_SCALE = 40;
const MARGIN_PX = 8;

export class Viewport {
  constructor() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.isFitted = true; // until somebody zooms or moves, the picture is fitted again when the pane changes
  }

  /** Shows the whole picture, `size` { width, height } [px], in the middle of a pane. */
  fit(size, paneWidth, paneHeight) {
    const free = (pane) => Math.max(1, pane - 2 * MARGIN_PX);
    this.scale = Math.min(free(paneWidth) / size.width, free(paneHeight) / size.height);
    this.smallest = this.scale / 2;
    this.x = (paneWidth - this.scale * size.width) / 2;
    this.y = (paneHeight - this.scale * size.height) / 2;
    this.isFitted = true;
  }

  /** Zooms by `factor` around a point of the pane, which keeps its place. */
  zoomAt(factor, at) {
    const scale = Math.min(LARGEST_SCALE, Math.max(this.smallest, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.isFitted = false;
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.isFitted = false;
  }

  /** Returns the point of the picture at a point of the pane. */
  toPicture(at) {
    return { x: (at.x - this.x) / this.scale, y: (at.y - this.y) / this.scale };
  }

  /** Returns the point of the pane at a point of the picture. */
  toPane(point) {
    return { x: point.x * this.scale + this.x, y: point.y * this.scale + this.y };
  }
}
