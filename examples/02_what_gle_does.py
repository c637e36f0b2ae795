"""Shows photographs in rows of three panels: degraded input, mask without GLE, mask with GLE.

python examples/02_what_gle_does.py photo.jpg 20 5 470 510 [PHOTO X0 Y0 X1 Y1 ...] out/what_gle_does.png
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glesam_runtime import Predictor, Prompt, draw_overlay, read_image

LABELS = ("degraded input", "mask without GLE", "mask with GLE")
FONT_PX, HEADER_PX, GAP_PX, ROW_PX = 22, 36, 8, 240

try:
    *rest, out = sys.argv[1:]
    photos = [(path, tuple(map(float, box))) for path, *box in zip(*[iter(rest)] * 5, strict=True)]
    if not photos:
        raise ValueError
except ValueError:
    usage = "python examples/02_what_gle_does.py PHOTO X0 Y0 X1 Y1 [PHOTO X0 Y0 X1 Y1 ...] OUT"
    print(f"usage: {usage}", file=sys.stderr)
    sys.exit(2)
rows = []
with Predictor.from_bundle(enhance=False) as plain, Predictor.from_bundle() as enhanced:
    for path, (x0, y0, x1, y1) in photos:
        image, prompt = read_image(path), Prompt(box=(x0, y0, x1, y1))
        panels = [draw_overlay(image, [], [prompt])]
        for name, predictor in (("without", plain), ("with", enhanced)):
            predictor.set_image(image)
            prediction = predictor.predict(prompts=[prompt])
            panels.append(draw_overlay(image, prediction.masks, [prompt]))
            print(f"{path} {name} GLE: score {prediction.iou_predictions[0]:.3f}")
        width = round(ROW_PX * image.shape[1] / image.shape[0])
        rows.append([panel.resize((width, ROW_PX)) for panel in panels])

width = max(panels[0].width for panels in rows)
size = (3 * width + 2 * GAP_PX, HEADER_PX + len(rows) * (ROW_PX + GAP_PX) - GAP_PX)
sheet = Image.new("RGB", size, "white")
draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
for column, label in enumerate(LABELS):
    left = column * (width + GAP_PX)
    draw.text((left + width / 2, HEADER_PX / 2), label, "black", font, anchor="mm")
    for row, panels in enumerate(rows):
        indent = (width - panels[column].width) // 2
        sheet.paste(panels[column], (left + indent, HEADER_PX + row * (ROW_PX + GAP_PX)))

Path(out).parent.mkdir(parents=True, exist_ok=True)
sheet.save(out)
print(f"wrote {out}")
