"""The side-by-side picture: degraded input, mask without GLE, mask with GLE.

python examples/02_what_gle_does.py photo.jpg 20 5 470 510 out/what_gle_does.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from glesam_runtime import Predictor, Prompt, draw_overlay, read_image

path, *box, out = sys.argv[1:]
x0, y0, x1, y1 = map(float, box)
image = read_image(path)
prompt = Prompt(box=(x0, y0, x1, y1))

panels = [image]
for enhance in (False, True):
    with Predictor.from_bundle(enhance=enhance) as predictor:
        predictor.set_image(image)
        prediction = predictor.predict(prompts=[prompt])
    panels.append(np.asarray(draw_overlay(image, prediction.masks, [prompt])))
    print(f"{'with' if enhance else 'without'} GLE: score {prediction.iou_predictions[0]:.3f}")

Path(out).parent.mkdir(parents=True, exist_ok=True)
Image.fromarray(np.hstack(panels)).save(out)
print(f"wrote {out}")
