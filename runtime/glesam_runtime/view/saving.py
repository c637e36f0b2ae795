"""Masks at the picture's full size as files: black and white PNG, COCO RLE, polygons.

They are those of Predictor.predict with the same prompts; the page's own masks may be smaller.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..automatic.rle import rle_from_mask
from ..errors import InputError
from ..image_io import png_bytes
from ..tools.records.polygons import closes_holes, outlines
from ..tools.records.schema import Json, mask_measures
from .requests import MaskRequest
from .tabs import SIDES, Tab

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Saved:
    """A file for the browser to save. `note`: what its reader should know, or ""."""

    name: str
    content: bytes
    media_type: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The chosen mask of each object at full size, bool [H,W], its score, and the picture's name."""

    picture: str
    masks: Sequence[Bools]
    scores: Sequence[float]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.picture).stem


def saved(tab: Tab, request: MaskRequest, kind: object) -> Saved:
    """Returns the file of a `kind` in KINDS. Raises InputError for another, PromptError as predict does."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"format: expected {', '.join(KINDS)}, found {kind!r}")
    tab.check_request(request.revision, request.sides)
    return KINDS[kind](_chosen(tab, request))


def _chosen(tab: Tab, request: MaskRequest) -> _Chosen:
    """Segments the objects of a request at full size, on the first side that it names."""
    predictor = tab.predictor(SIDES[request.sides[0]])
    prediction = predictor.predict(prompts=request.prompts, multimask=request.multimask)
    rows = range(len(request.prompts))
    masks = prediction.masks.reshape(len(rows), -1, *prediction.masks.shape[-2:])
    scores = prediction.iou_predictions.reshape(len(rows), -1)
    picked = list(zip(rows, request.choices, strict=True))
    return _Chosen(
        tab.picture.name, [masks[i, k] for i, k in picked], [float(scores[i, k]) for i, k in picked]
    )


def _as_png(chosen: _Chosen) -> Saved:
    """Returns one PNG, or several in a ZIP file."""
    files = [png_bytes(Image.fromarray(mask)) for mask in chosen.masks]
    if len(files) == 1:
        return Saved(f"{chosen.stem}.mask0.png", files[0], "image/png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, content in enumerate(files):
            archive.writestr(f"{chosen.stem}.mask{index}.png", content)
    return Saved(f"{chosen.stem}.masks.zip", buffer.getvalue(), "application/zip")


def _as_rle(chosen: _Chosen) -> Saved:
    return _document(chosen, [rle_from_mask(mask) for mask in chosen.masks], "rle")


def _as_polygons(chosen: _Chosen) -> Saved:
    polygons = [outlines(mask) for mask in chosen.masks]
    closed = sum(closes_holes(each, mask) for each, mask in zip(polygons, chosen.masks, strict=True))
    note = f"objects whose holes are closed: {closed}; COCO's polygons have no holes, its RLE has"
    return _document(chosen, polygons, "polygons", note if closed else "")


def _document(chosen: _Chosen, segmentations: Sequence[object], kind: str, note: str = "") -> Saved:
    """Returns a COCO document of one picture, with SAM's predicted_iou."""
    height, width = chosen.masks[0].shape
    annotations = [
        {
            "id": index + 1,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": segmentation,
            **mask_measures(mask, score),
        }
        for index, (segmentation, mask, score) in enumerate(
            zip(segmentations, chosen.masks, chosen.scores, strict=True)
        )
    ]
    document: Json = {
        "images": [{"id": 1, "file_name": chosen.picture, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": annotations,
    }
    content = json.dumps(document, indent=1).encode()
    return Saved(f"{chosen.stem}.{kind}.json", content, "application/json", note)


KINDS: dict[str, Callable[[_Chosen], Saved]] = {"png": _as_png, "rle": _as_rle, "polygons": _as_polygons}
"""Formats of files by the names that the page uses."""
