"""Masks at the picture's full size as files: black and white PNG, COCO RLE, polygons.

They are those of Predictor.predict with the same prompts; the page's own masks may be smaller.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..automatic.rle import rle_from_mask
from ..errors import InputError
from ..image_io import png_bytes
from ..preprocess import Size
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
    """The chosen mask of each object at full size, bool [H,W], with its score; the picture's name and size.

    A mask is made when it is asked for, so that one after the other is in memory.
    """

    picture: str
    size: Size
    objects: Iterator[tuple[Bools, float]]

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
    """Returns the objects of a request, on the first side that it names."""
    predictor = tab.predictor(SIDES[request.sides[0]])

    def each() -> Iterator[tuple[Bools, float]]:
        for prompt, choice in zip(request.prompts, request.choices, strict=True):
            low_res_masks, scores = predictor.decode([prompt], request.multimask)
            low_res_mask = low_res_masks.reshape(-1, *low_res_masks.shape[-2:])[choice]
            mask = predictor.mask_resizer.masks(low_res_mask[None], predictor.manifest.mask_threshold)[0]
            yield mask, float(scores.reshape(-1)[choice])

    height, width = tab.picture.pixels.shape[:2]
    return _Chosen(tab.picture.name, (height, width), each())


def _as_png(chosen: _Chosen) -> Saved:
    """Returns one PNG, or several in a ZIP file."""
    files = [png_bytes(Image.fromarray(mask)) for mask, _ in chosen.objects]
    if len(files) == 1:
        return Saved(f"{chosen.stem}.mask0.png", files[0], "image/png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, content in enumerate(files):
            archive.writestr(f"{chosen.stem}.mask{index}.png", content)
    return Saved(f"{chosen.stem}.masks.zip", buffer.getvalue(), "application/zip")


def _as_rle(chosen: _Chosen) -> Saved:
    annotations = [
        {"segmentation": rle_from_mask(x), **mask_measures(x, score)} for x, score in chosen.objects
    ]
    return _document(chosen, annotations, "rle")


def _as_polygons(chosen: _Chosen) -> Saved:
    annotations, closed = [], 0
    for mask, score in chosen.objects:
        polygons = outlines(mask)
        closed += closes_holes(polygons, mask)
        annotations.append({"segmentation": polygons, **mask_measures(mask, score)})
    note = f"objects whose holes are closed: {closed}; COCO's polygons have no holes, its RLE has"
    return _document(chosen, annotations, "polygons", note if closed else "")


def _document(chosen: _Chosen, annotations: Sequence[Json], kind: str, note: str = "") -> Saved:
    """Returns a COCO document of one picture, with SAM's predicted_iou."""
    height, width = chosen.size
    document: Json = {
        "images": [{"id": 1, "file_name": chosen.picture, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {"id": index + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **annotation}
            for index, annotation in enumerate(annotations)
        ],
    }
    content = json.dumps(document, indent=1).encode()
    return Saved(f"{chosen.stem}.{kind}.json", content, "application/json", note)


KINDS: dict[str, Callable[[_Chosen], Saved]] = {"png": _as_png, "rle": _as_rle, "polygons": _as_polygons}
"""Formats of files by the names that the page uses."""
