/** Mouse, pen and fingers on a canvas: points, boxes, moving and zooming. */

const MOVED_PX = 5; // a click with less movement is no drag
const HIT_PX = { mouse: 9, pen: 12, touch: 18 };
const ZOOM_PER_PX = 0.0016;

export class Pointer {
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    this.pressed = new Map(); // position of every finger by its id
    this.drag = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => app.segmenter.hover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  get viewport() {
    return this.app.stage.viewport;
  }

  position(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  down(event) {
    if (!this.app.picture) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.position(event);
    this.pressed.set(event.pointerId, at);
    this.app.stage.cross = null;
    this.app.segmenter.hover(null);
    const isFirst = this.pressed.size === 1;
    this.drag = isFirst ? { kind: this.kindOf(event), start: at, last: at, hasMoved: false } : null;
    this.setDraft(null);
  }

  kindOf(event) {
    if (event.button === 1 || this.app.isSpaceHeld || this.app.tool === "pan") return "pan";
    if (event.button === 2) return "background";
    return event.pointerType === "touch" && this.app.tool !== "box" ? "tap" : "mark";
  }

  move(event) {
    const at = this.position(event);
    if (this.pressed.size === 2 && this.pressed.has(event.pointerId)) {
      this.pinch(event.pointerId, at);
    } else if (this.drag) {
      this.dragTo(at);
    } else if (event.pointerType === "mouse" && this.pressed.size === 0) {
      this.app.segmenter.hover(this.inside(this.viewport.toPicture(at)));
    }
  }

  dragTo(at) {
    const { drag } = this;
    drag.hasMoved ||= Math.hypot(at.x - drag.start.x, at.y - drag.start.y) > MOVED_PX;
    if (drag.hasMoved && (drag.kind === "pan" || drag.kind === "tap")) {
      this.viewport.pan(at.x - drag.last.x, at.y - drag.last.y);
      this.app.stage.requestDraw();
    }
    if (drag.hasMoved && drag.kind === "mark") this.setDraft(this.boxTo(at));
    drag.last = at;
  }

  up(event) {
    this.pressed.delete(event.pointerId);
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    const box = this.app.stage.draft;
    this.setDraft(null);
    if (drag.hasMoved && drag.kind === "mark" && box) {
      this.app.edit((history) => history.setBox(box), event.timeStamp);
    } else if (!drag.hasMoved && drag.kind !== "pan") {
      this.click(drag, event);
    }
  }

  click(drag, event) {
    const point = this.inside(this.viewport.toPicture(drag.start));
    const hit = this.pointAt(drag.start, HIT_PX[event.pointerType] ?? HIT_PX.mouse);
    if (hit >= 0) {
      this.app.edit((history) => history.removePoint(hit), event.timeStamp);
    } else if (point && (drag.kind === "background" || this.app.tool !== "box")) {
      const on = drag.kind !== "background" && this.app.tool !== "background";
      this.app.edit((history) => history.addPoint(point.x, point.y, on), event.timeStamp);
    }
  }

  cancel(event) {
    this.pressed.delete(event.pointerId);
    this.abort();
  }

  /** Forgets a drag that is under way; returns whether there was one. */
  abort() {
    const wasDragging = this.drag !== null;
    this.drag = null;
    this.setDraft(null);
    return wasDragging;
  }

  pinch(id, at) {
    const before = this.pressed.get(id);
    const [other] = [...this.pressed].filter(([key]) => key !== id).map(([, position]) => position);
    const distance = (position) => Math.max(1, Math.hypot(position.x - other.x, position.y - other.y));
    const middle = { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 };
    this.viewport.zoomAt(distance(at) / distance(before), middle);
    this.viewport.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    this.pressed.set(id, at);
    this.app.stage.requestDraw();
  }

  wheel(event) {
    if (!this.app.picture) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    this.viewport.zoomAt(Math.exp(-pixels * ZOOM_PER_PX), this.position(event));
    this.app.stage.requestDraw();
  }

  /** Returns the box from where the drag began to a point of the pane, cut to the picture; or null. */
  boxTo(at) {
    const { width, height } = this.app.picture;
    const corners = [this.drag.start, at].map((corner) => this.viewport.toPicture(corner));
    const limited = (value, most) => rounded(Math.min(most, Math.max(0, value)));
    const xs = corners.map(({ x }) => limited(x, width)).sort((a, b) => a - b);
    const ys = corners.map(({ y }) => limited(y, height)).sort((a, b) => a - b);
    return xs[1] - xs[0] < 1 || ys[1] - ys[0] < 1 ? null : [xs[0], ys[0], xs[1], ys[1]];
  }

  /** Returns the index of the active object's point within `radius` of a point of the pane, or -1. */
  pointAt(at, radius) {
    return this.app.history.active.points.findIndex((point) => {
      const { x, y } = this.viewport.toPane(point);
      return Math.hypot(x - at.x, y - at.y) <= radius;
    });
  }

  /** Returns a point of the picture to a tenth of a pixel, or null outside it. */
  inside({ x, y }) {
    const { width, height } = this.app.picture ?? { width: 0, height: 0 };
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    return { x: Math.min(rounded(x), width - 0.1), y: Math.min(rounded(y), height - 0.1) };
  }

  setDraft(box) {
    if (this.app.stage.draft === box) return;
    this.app.stage.draft = box;
    this.app.stage.requestDraw();
  }
}

function rounded(value) {
  return Math.round(value * 10) / 10;
}
