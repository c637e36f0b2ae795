"""Segments one object of one picture: python examples/01_segment_a_photo.py photo.jpg 20 5 470 510"""

import sys

from glesam_runtime import Predictor, read_image

try:
    path, *box = sys.argv[1:]
    x0, y0, x1, y1 = map(float, box)
except ValueError:
    print("usage: python examples/01_segment_a_photo.py PHOTO X0 Y0 X1 Y1", file=sys.stderr)
    sys.exit(2)

with Predictor.from_bundle() as predictor:  # the shipped nano
    predictor.set_image(read_image(path))  # slow, once per picture
    prediction = predictor.predict(box=(x0, y0, x1, y1))  # fast, once per prompt

print(f"score {prediction.iou_predictions[0]:.3f}, {prediction.masks[0].sum()} px")
