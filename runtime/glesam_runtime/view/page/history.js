/**
 * The objects that are marked, with undo and redo.
 *
 * An object is { id, box, points, choice }: box [x0, y0, x1, y1] or null, points { x, y, on } with `on` true on
 * the object and false beside it, all in pixels of the picture; choice is the candidate that was chosen, or
 * null for the one of the best score.
 */

const MOST_STEPS = 200;

const blank = (id) => ({ id, box: null, points: [], choice: null });

export const hasPrompt = (object) => object.box !== null || object.points.length > 0;

export class History {
  constructor() {
    this.mostObjects = this.mostPoints = Infinity; // until the server has said
    this.reset();
  }

  /** Forgets everything, for another picture. */
  reset() {
    this.now = { objects: [blank(1)], active: 0 };
    this.past = [];
    this.future = [];
  }

  get objects() {
    return this.now.objects;
  }

  get active() {
    return this.now.objects[this.now.active];
  }

  /** Applies `change` to a copy of the present, which undo brings back. An Error where it goes beyond a limit. */
  edit(change) {
    const next = structuredClone(this.now);
    change(next.objects[next.active], next);
    this.checkLimits(next);
    this.past.push(this.now);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.now = next;
  }

  checkLimits({ objects, active }) {
    if (objects.length > this.mostObjects) {
      const expected = `expected at most ${this.mostObjects} objects, found ${objects.length}`;
      throw new Error(`${expected}; save these, then clear or remove some`);
    }
    for (const on of [true, false]) {
      const count = objects[active].points.filter((point) => point.on === on).length;
      if (count <= this.mostPoints) continue;
      const kind = on ? "on" : "beside";
      throw new Error(`expected at most ${this.mostPoints} points ${kind} an object, found ${count}; remove some`);
    }
  }

  undo() {
    this.move(this.past, this.future);
  }

  redo() {
    this.move(this.future, this.past);
  }

  move(from, to) {
    if (from.length === 0) return;
    to.push(this.now);
    this.now = from.pop();
  }

  addPoint(x, y, on) {
    this.edit((object) => {
      object.points.push({ x, y, on });
      object.choice = null;
    });
  }

  setBox(box) {
    this.edit((object) => {
      object.box = box;
      object.choice = null;
    });
  }

  removePoint(index) {
    this.edit((object) => {
      object.points.splice(index, 1);
      object.choice = null;
    });
  }

  /** Removes what was added last to the active object. */
  removeLast() {
    if (this.active.points.length > 0) this.removePoint(this.active.points.length - 1);
    else if (this.active.box !== null) this.setBox(null);
  }

  /** Begins another object, unless the active one is still empty. */
  next() {
    if (!hasPrompt(this.active)) return;
    this.edit((_, now) => {
      const empty = now.objects.findIndex((object) => !hasPrompt(object));
      if (empty < 0) now.objects.push(blank(1 + Math.max(...now.objects.map((object) => object.id))));
      now.active = empty < 0 ? now.objects.length - 1 : empty;
    });
  }

  /** Makes another object the active one; that is no step to undo. */
  select(index) {
    this.now = { ...this.now, active: index };
  }

  choose(candidate) {
    this.edit((object) => { object.choice = candidate; });
  }

  removeObject(index) {
    this.edit((_, now) => {
      now.objects.splice(index, 1);
      if (now.objects.length === 0) now.objects.push(blank(1));
      now.active = Math.min(now.active, now.objects.length - 1);
    });
  }

  /** Removes the prompts of the active object. */
  emptyActive() {
    if (!hasPrompt(this.active)) return;
    this.edit((object) => Object.assign(object, blank(object.id)));
  }

  clear() {
    if (!this.objects.some(hasPrompt)) return;
    this.edit((_, now) => Object.assign(now, { objects: [blank(1)], active: 0 }));
  }
}
