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

/** Returns a ring around a filled mask: the mask grown to all sides, without the mask itself. */
function outlineOf(fill) {
  const width = Math.max(1, Math.round(Math.max(fill.width, fill.height) * OUTLINE_PART));
  let grown = fill;
  for (let grownBy = 0; grownBy < width; ) {
    const step = Math.min(width - grownBy, 2 * grownBy + 1); // a longer one would leave gaps in small islands
    grown = grownOnce(grown, step);
    grownBy += step;
  }
  const context = grown.getContext("2d");
  context.globalCompositeOperation = "destination-out";
  context.drawImage(fill, 0, 0);
  return grown;
}

function grownOnce(mask, step) {
  const grown = canvasLike(mask);
  const context = grown.getContext("2d");
  for (const [x, y] of [[0, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]]) {
    context.drawImage(mask, x * step, y * step);
  }
  return grown;
}

function canvasLike(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  return canvas;
}
