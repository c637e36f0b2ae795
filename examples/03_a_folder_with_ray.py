"""Segments every picture of a folder on a Ray cluster, or on this machine alone; writes JSON lines.

pip install 'glesam[ray]'
python examples/03_a_folder_with_ray.py FOLDER OUT [ACTORS]

The prompt is the middle of each picture. A cluster must see FOLDER and OUT under the same paths everywhere.
"""

import sys
from pathlib import Path

import ray

from glesam_runtime import GlesamError, Predictor, read_image
from glesam_runtime.automatic.rle import rle_from_mask

try:
    folder, out, *rest = sys.argv[1:]
    (actors,) = map(int, rest or ["1"])
except ValueError:
    print("usage: python examples/03_a_folder_with_ray.py FOLDER OUT [ACTORS]", file=sys.stderr)
    sys.exit(2)


class Segment:
    """A Ray actor: opens the model once and segments the pictures that Ray sends."""

    def __init__(self) -> None:
        self.predictor = Predictor.from_bundle()

    def __call__(self, batch: dict) -> dict:
        rows = [self.segment(path) for path in batch["path"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def segment(self, path: str) -> dict:
        row = {"path": path, "score": None, "size": None, "counts": None, "error": None}
        try:
            image = read_image(path)
            self.predictor.set_image(image)
            height, width = image.shape[:2]
            prediction = self.predictor.predict(points=[(width // 2, height // 2)])
        except GlesamError as error:  # a bad picture does not stop the rest
            return row | {"error": str(error)}
        score = round(float(prediction.iou_predictions[0]), 6)
        return row | {"score": score, **rle_from_mask(prediction.masks[0])}


paths = sorted(str(path.resolve()) for path in Path(folder).glob("*.jpg"))
segmented = ray.data.from_items([{"path": path} for path in paths]).map_batches(
    Segment,
    batch_size=8,
    compute=ray.data.ActorPoolStrategy(size=actors),
    num_cpus=1,  # for a GPU backend: num_gpus=1
)
segmented.write_json(Path(out).resolve().as_uri())
print(f"wrote {len(paths)} lines to {out}")
