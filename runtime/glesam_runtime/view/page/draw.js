/** Draws one side of the scene on a canvas: the picture, masks, boxes, points and the cross. */

const SHARP_FROM = 3; // screen pixels for each pixel of the picture
const ON = "#28c850";
const BESIDE = "#e63232";

/**
 * scene: { picture, layers, preview, opacity, objects, active, draft, cross, colourOf }. layers: { fill, outline }
 * of every object on this side, in order.
 */
export function drawScene(context, viewport, scene) {
  const { picture } = scene;
  context.save();
  context.translate(viewport.x, viewport.y);
  context.scale(viewport.scale, viewport.scale);
  context.imageSmoothingEnabled = viewport.scale < SHARP_FROM;
  const place = (image) => context.drawImage(image, 0, 0, picture.width, picture.height);
  place(picture.bitmap);
  drawMasks(context, scene, place);
  context.restore();
  for (const [index, object] of scene.objects.entries()) {
    drawPrompts(context, viewport, object, scene.colourOf(object), index === scene.active);
  }
  if (scene.draft) drawBox(context, viewport, scene.draft, "#ffffff", true);
  if (scene.cross) drawCross(context, viewport.toPane(scene.cross));
}

function drawMasks(context, scene, place) {
  context.globalAlpha = scene.opacity;
  for (const layer of scene.layers) place(layer.fill);
  if (scene.preview) {
    context.globalAlpha = scene.opacity * 0.6;
    place(scene.preview.fill);
  }
  context.globalAlpha = 1;
  for (const layer of scene.layers) place(layer.outline);
}

function drawPrompts(context, viewport, object, colour, isActive) {
  context.globalAlpha = isActive ? 1 : 0.55;
  if (object.box) drawBox(context, viewport, object.box, colour, isActive);
  for (const point of object.points) drawPoint(context, viewport.toPane(point), point.on, isActive ? 7 : 5);
  context.globalAlpha = 1;
}

function drawBox(context, viewport, [x0, y0, x1, y1], colour, isActive) {
  const start = viewport.toPane({ x: x0, y: y0 });
  const size = [(x1 - x0) * viewport.scale, (y1 - y0) * viewport.scale];
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 60%)";
  context.strokeRect(start.x, start.y, ...size);
  context.lineWidth = 2;
  context.strokeStyle = colour;
  context.setLineDash(isActive ? [7, 4] : []);
  context.strokeRect(start.x, start.y, ...size);
  context.setLineDash([]);
}

/** A green disc with a plus, or a red one with a minus: colour is not the only difference. */
function drawPoint(context, { x, y }, on, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = on ? ON : BESIDE;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "#ffffff";
  context.stroke();
  const arm = radius - 3;
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (on) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.stroke();
}

function drawCross(context, { x, y }) {
  for (const [width, colour] of [[4, "#000000"], [2, "#ffffff"]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(x - 14, y);
    context.lineTo(x + 14, y);
    context.moveTo(x, y - 14);
    context.lineTo(x, y + 14);
    context.stroke();
  }
}
