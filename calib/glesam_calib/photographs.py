"""The photographs that a new bundle's parity is measured on: clean, and degraded to LQ-3."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np

from glesam_calib.observation.image_folder import images_in
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import ImageSets
from glesam_runtime.tools.progress import track

LIMIT = 16
"""Largest number of pictures: parity must not take longer than the export."""
SHIPPED = Path(str(files("glesam_calib") / "photos"))
"""Four photographs inside the package."""


def parity_images(folder: Path | None, report: Callable[[str], None]) -> ImageSets:
    """Reads `folder`, or the shipped photographs, as the sets "clean" and "lq3".

    Pictures that cannot be read are named through `report` and skipped.

    Raises:
        ImageError: the folder is missing, or none of its pictures can be read.
    """
    clean = list(images_in(folder or SHIPPED, LIMIT, report).values())
    degraded = track(enumerate(clean), len(clean), "pictures degraded")
    return {"clean": clean, "lq3": [lq3(image, seed) for seed, image in degraded]}


def lq3(image: Pixels, seed: int) -> Pixels:
    """Degrades one picture to LQ-3; the same `seed` gives the same degradation."""
    return degrade(image, LEVEL_RATES[3], np.random.default_rng(seed))
