/** Keys; index.html lists them. A field that is typed in, a button and a dialog keep their own. */

const STEP_PX = 4; // of the screen
const LARGE_STEPS = 10;
const ZOOM = 1.25;

export function listenToKeys(app) {
  document.addEventListener("keydown", (event) => {
    if (!belongsToPage(event)) return;
    const action = withControl(event) ? controlKeys(app)[event.key.toLowerCase()] : keys(app, event)[event.key];
    if (!action || event.altKey) return;
    event.preventDefault();
    action(event);
  });
  document.addEventListener("keydown", (event) => { app.isSpaceHeld ||= event.code === "Space"; });
  document.addEventListener("keyup", (event) => { app.isSpaceHeld &&= event.code !== "Space"; });
  window.addEventListener("blur", () => { app.isSpaceHeld = false; });
}

const withControl = (event) => event.ctrlKey || event.metaKey;

function belongsToPage({ target, key }) {
  if (document.querySelector("dialog[open]")) return false;
  if (target.matches("textarea, select, input[type=number]")) return false;
  if (target.matches("input") && (key.startsWith("Arrow") || key === " ")) return false;
  return !(target.matches("button, summary") && (key === "Enter" || key === " "));
}

function controlKeys(app) {
  return {
    z: (event) => app.edit((history) => (event.shiftKey ? history.redo() : history.undo())),
    y: () => app.edit((history) => history.redo()),
  };
}

function keys(app, event) {
  const { stage } = app;
  const edit = (change) => () => app.edit(change, event.timeStamp);
  const step = STEP_PX * (event.shiftKey ? LARGE_STEPS : 1);
  const choose = (candidate) => () => app.choose(candidate);
  return {
    Enter: edit((history) => history.next()),
    n: edit((history) => history.next()),
    Escape: () => app.cancel(),
    Delete: edit((history) => history.removeLast()),
    Backspace: edit((history) => history.removeLast()),
    ArrowLeft: () => moveCross(app, -step, 0),
    ArrowRight: () => moveCross(app, step, 0),
    ArrowUp: () => moveCross(app, 0, -step),
    ArrowDown: () => moveCross(app, 0, step),
    p: () => markAtCross(app, true, event.timeStamp),
    b: () => markAtCross(app, false, event.timeStamp),
    x: () => cornerAtCross(app, event.timeStamp),
    1: choose(0),
    2: choose(1),
    3: choose(2),
    t: () => app.setThree(!app.three),
    g: () => app.nextMode(),
    "+": () => stage.zoom(ZOOM),
    "=": () => stage.zoom(ZOOM),
    "-": () => stage.zoom(1 / ZOOM),
    0: () => stage.fit(),
    "[": () => app.pictures.step(-1),
    "]": () => app.pictures.step(1),
    o: () => app.pictures.choose(),
    s: () => app.saving.save("png"),
    "?": () => document.getElementById("help").showModal(),
  };
}

/** Moves the cross by pixels of the screen; it appears in the middle, and the view follows it. */
function moveCross(app, dx, dy) {
  const { stage, picture } = app;
  if (!picture) return;
  const { viewport, size } = stage;
  const middle = viewport.toPicture({ x: size.width / 2, y: size.height / 2 });
  const { x, y } = stage.cross ?? middle;
  const limited = (value, most) => Math.min(most - 0.1, Math.max(0, Math.round(value * 10) / 10));
  stage.cross = {
    x: limited(x + dx / viewport.scale, picture.width),
    y: limited(y + dy / viewport.scale, picture.height),
  };
  const at = viewport.toPane(stage.cross);
  const outside = (value, most) => Math.min(0, value) + Math.max(0, value - most);
  if (outside(at.x, size.width) || outside(at.y, size.height)) {
    viewport.pan(-outside(at.x, size.width), -outside(at.y, size.height));
  }
  extendDraft(app);
  stage.requestDraw();
}

function markAtCross(app, on, time) {
  if (!app.stage.cross) return moveCross(app, 0, 0);
  const { x, y } = app.stage.cross;
  return app.edit((history) => history.addPoint(x, y, on), time);
}

/** Sets the first corner of a box, then the second one. */
function cornerAtCross(app, time) {
  const { stage } = app;
  if (!stage.cross) return moveCross(app, 0, 0);
  const box = stage.draft;
  if (stage.corner && box) {
    app.edit((history) => history.setBox(box), time);
  }
  stage.draft = null;
  stage.corner = stage.corner ? null : stage.cross;
  return stage.requestDraw();
}

function extendDraft({ stage }) {
  if (!stage.corner) return;
  const { corner, cross } = stage;
  const box = [
    Math.min(corner.x, cross.x), Math.min(corner.y, cross.y),
    Math.max(corner.x, cross.x), Math.max(corner.y, cross.y),
  ];
  stage.draft = box[2] - box[0] < 1 || box[3] - box[1] < 1 ? null : box;
}
