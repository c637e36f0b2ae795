"""The JSON of masks, in COCO's and SAM's names; results.schema.json beside this file describes it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from ...automatic.boxes import box_of, xywh
from ...automatic.rle import rle_from_mask

Json = dict[str, Any]
DECIMALS = 6
"""Digits after the point of a score."""


def json_schema() -> Json:
    """Returns the JSON Schema of results; `$defs` has "mask", "picture", "run" and "frame".

    glesam-run --json prints a "run", and with --follow one "frame" on each line; Prediction.to_json returns a
    "picture".
    """
    text = files("glesam_runtime.tools.records").joinpath("results.schema.json").read_text("utf-8")
    schema: Json = json.loads(text)
    return schema


def mask_record(mask: npt.NDArray[np.bool_], score: float, prompt: int) -> Json:
    """Returns one mask, bool [H,W], as JSON; `prompt` is the index of the prompt that it answers."""
    return {"prompt": prompt, **mask_measures(mask, score), "segmentation": rle_from_mask(mask)}


def mask_measures(mask: npt.NDArray[np.bool_], score: float) -> Json:
    """Returns what a record says of a mask, bool [H,W], besides its pixels."""
    return {
        "predicted_iou": round(score, DECIMALS),
        "area": int(np.count_nonzero(mask)),
        "bbox": list(xywh(box_of(mask))) if mask.any() else [0, 0, 0, 0],
    }


def level_record(level: float | None) -> Json:
    """Returns a picture's degradation level as its key; nothing where the bundle does not predict it."""
    return {} if level is None else {"degradation_level": round(level, 3)}
