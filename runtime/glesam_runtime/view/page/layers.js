/** Masks as canvases: a filled one and an outlined one, both in the colour of their object. */

const OUTLINE_PART = 1 / 300; // width of an outline, as a part of the longest side

/** Returns { fill, outline } of a mask that the server sent, a PNG that is transparent beside the object. */
export async function layerOf(base64, colour, withOutline = true) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const mask = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const fill = canvasLike(mask);
  const context = fill.getContext("2d");
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, fill.width, fill.height);
  const outline = withOutline ? outlineOf(fill) : null;
  mask.close();
  return { fill, outline };
}

/** Returns a ring around a filled mask: the mask moved to four sides, without the mask itself. */
function outlineOf(fill) {
  const outline = canvasLike(fill);
  const context = outline.getContext("2d");
  const width = Math.max(1, Math.round(Math.max(fill.width, fill.height) * OUTLINE_PART));
  for (const [x, y] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) context.drawImage(fill, x * width, y * width);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(fill, 0, 0);
  return outline;
}

function canvasLike(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  return canvas;
}
