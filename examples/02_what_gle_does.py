"""Shows three labelled panels side by side: degraded input, mask without GLE, mask with GLE.

python examples/02_what_gle_does.py photo.jpg 20 5 470 510 out/what_gle_does.png
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glesam_runtime import Predictor, Prompt, draw_overlay, read_image

LABELS = ("degraded input", "mask without GLE", "mask with GLE")
FONT_PX, HEADER_PX, GAP_PX = 26, 44, 8

path, *box, out = sys.argv[1:]
x0, y0, x1, y1 = map(float, box)
image = read_image(path)
prompt = Prompt(box=(x0, y0, x1, y1))

panels = [Image.fromarray(image)]
for enhance in (False, True):
    with Predictor.from_bundle(enhance=enhance) as predictor:
        predictor.set_image(image)
        prediction = predictor.predict(prompts=[prompt])
    panels.append(draw_overlay(image, prediction.masks, [prompt]))
    print(f"{'with' if enhance else 'without'} GLE: score {prediction.iou_predictions[0]:.3f}")

height, width = image.shape[:2]
sheet = Image.new("RGB", (3 * width + 2 * GAP_PX, HEADER_PX + height), "white")
draw = ImageDraw.Draw(sheet)
for column, (label, panel) in enumerate(zip(LABELS, panels, strict=True)):
    left = column * (width + GAP_PX)
    sheet.paste(panel, (left, HEADER_PX))
    centre = (left + width / 2, HEADER_PX / 2)
    draw.text(centre, label, "black", ImageFont.load_default(FONT_PX), anchor="mm")

Path(out).parent.mkdir(parents=True, exist_ok=True)
sheet.save(out)
print(f"wrote {out}")
