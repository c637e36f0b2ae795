"""What the page gets: masks as PNG of one bit, scores, IoU of the two sides, milliseconds of each stage."""

from __future__ import annotations

import base64
import io
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..preprocess import Floats
from ..tools.overlay import COLOURS
from ..tools.parity import mask_iou
from ..tools.records.schema import level_record
from .library import MOST_PIXELS, Library
from .requests import MOST_OBJECTS, MOST_POINTS, MOST_UPLOAD_BYTES, MaskRequest
from .tabs import SIDES, Tab
from .worker import OpenModel

Json = dict[str, Any]
Bools = npt.NDArray[np.bool_]


def start_document(model: OpenModel, library: Library) -> Json:
    """Returns what the page needs to begin: the model, the pictures, limits, colours of objects."""
    manifest = model.bundle.manifest
    return {
        "model": {
            "name": manifest.name,
            "precision": manifest.precision,
            "bundle": model.bundle.hash[:12],
            "backend": model.backend,
            "reason": model.reason,
            "multimask": manifest.multimask,
            "needs_gle": manifest.needs_gle,
        },
        "pictures": list(library.own),
        "left_out": library.left_out,
        "samples": list(library.samples),
        "degradation": None if can_degrade() else NO_DEGRADATION,
        "most_bytes": MOST_UPLOAD_BYTES,
        "most_pixels": MOST_PIXELS,
        "most_objects": MOST_OBJECTS,
        "most_points": MOST_POINTS,
        "colours": [list(colour) for colour in COLOURS],
    }


NO_DEGRADATION = "degrading needs OpenCV and SciPy: pip install 'glesam[degrade]'"


def can_degrade() -> bool:
    """Returns whether the extra [degrade] is installed; nothing is loaded."""
    return find_spec("cv2") is not None and find_spec("scipy") is not None


def picture_document(tab: Tab) -> Json:
    """Returns the picture of a tab; its size in pixels."""
    picture = tab.picture
    height, width = picture.pixels.shape[:2]
    return {
        "revision": tab.revision,
        "opened": tab.opened,
        "name": picture.name,
        "width": width,
        "height": height,
        "level": picture.level,
        "seed": picture.seed,
        "timings_ms": rounded(tab.timings),
    }


def encoded_document(tab: Tab) -> Json:
    """Returns the picture of a tab that GLE has seen, and how bad it is, where the model predicts that."""
    level = tab.predictor(enhance=True).degradation_level
    return {**picture_document(tab), **level_record(level)}


def mask_document(tab: Tab, request: MaskRequest) -> Json:
    """Segments the objects of a request and returns their masks, on each side that it names."""
    tab.check_request(request.revision, request.sides)
    masks, scores = {}, {}
    for side in request.sides:
        masks[side], scores[side] = _segmented(tab, request, SIDES[side])
    with tab.timed("png"):
        objects: list[Json] = [
            {side: _candidates(masks[side][i], scores[side][i]) for side in request.sides}
            for i in range(len(request.prompts))
        ]
    if len(request.sides) == len(SIDES):
        for i, each in enumerate(objects):
            pairs = zip(masks["gle"][i], masks["plain"][i], strict=True)
            each["ious"] = [round(mask_iou(a, b), 4) for a, b in pairs]
    return {"revision": tab.revision, "objects": objects, "timings_ms": rounded(tab.timings)}


def _segmented(tab: Tab, request: MaskRequest, enhance: bool) -> tuple[Bools, Floats]:
    """Returns masks bool [N,M,h,w] of the size that the browser gets, and scores [N,M]."""
    predictor = tab.predictor(enhance)
    low_res_masks, scores = predictor.decode(request.prompts, request.multimask)
    tab.timings["decode"] = predictor.timings["decode"]
    with tab.timed("masks"):
        resizer = tab.resizer(predictor.geometry)
        masks = resizer.masks(low_res_masks, predictor.manifest.mask_threshold)
    count, (height, width) = len(request.prompts), masks.shape[-2:]
    return masks.reshape(count, -1, height, width), scores.reshape(count, -1)


def _candidates(masks: Bools, scores: Floats) -> Json:
    """Returns the candidates of one object on one side; `shares` are parts of the picture's area."""
    return {
        "masks": [base64.b64encode(mask_png(mask)).decode("ascii") for mask in masks],
        "scores": [round(float(score), 4) for score in scores],
        "shares": [round(float(mask.mean()), 6) for mask in masks],
    }


def mask_png(mask: Bools) -> bytes:
    """Returns a mask, bool [h,w], as PNG of one bit, transparent where there is no object."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=1, transparency=0)
    return buffer.getvalue()


def rounded(timings: dict[str, float]) -> dict[str, float]:
    """Returns milliseconds with two decimals."""
    return {stage: round(ms, 2) for stage, ms in timings.items()}
