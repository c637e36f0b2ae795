"""The results of glesam-run: lines for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from ...automatic.record import AutomaticMask
from ...bundle.reader import Bundle
from ..records.schema import DECIMALS, Json, level_record, mask_record
from .automatic import SegmentedAll
from .job import Failed, Segmented

_LISTED_MASKS = 5
"""Number of automatic masks with a line of their own; a photograph has a hundred."""


def picture_lines(result: Segmented | SegmentedAll) -> list[str]:
    """Returns one picture's size, masks (score, area, file), overlay and milliseconds per stage."""
    *mask_files, overlay = result.files
    if isinstance(result, SegmentedAll):
        head, masks = _automatic_lines(result, mask_files)
    else:
        head, masks = _prompted_lines(result, mask_files)
    level = result.degradation_level
    degraded = [] if level is None else [f"  degradation level  {level:.2f}  (0 clean, 3 as bad as LQ-3)"]
    stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in result.timings_ms.items())
    return [head, *masks, *degraded, f"  overlay  {overlay}", f"  milliseconds  {stages}"]


def picture_json(result: Segmented | SegmentedAll) -> Json:
    """Returns one picture's results; masks in COCO RLE, sizes in pixels, times in milliseconds."""
    *mask_files, overlay = result.files
    if isinstance(result, SegmentedAll):
        height, width = result.size
        masks = [_automatic_record(mask, file) for mask, file in zip(result.masks, mask_files, strict=True)]
    else:
        height, width = result.masks.shape[1:]
        masks = _prompted_records(result, mask_files)
    return {
        "image": str(result.path),
        "width": width,
        "height": height,
        **level_record(result.degradation_level),
        "masks": masks,
        "overlay": str(overlay),
        "timings_ms": {stage: round(ms, 3) for stage, ms in result.timings_ms.items()},
    }


def json_document(
    bundle: Bundle, backend: str, enhance: bool, pictures: Sequence[Json], failures: Sequence[Failed]
) -> Json:
    """Returns the whole run as one object, with a picture_json() for each picture."""
    return {
        "model": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "bundle_sha256": bundle.hash,
        "backend": backend,
        "enhance": enhance,
        "images": pictures,
        "failures": [{"image": str(failed.path), "error": failed.reason} for failed in failures],
    }


def closing_line(files: Sequence[Mapping[Path, int]]) -> str:
    """Returns what was written, how large it is, and the next command; `files`: sizes [bytes] per picture."""
    sizes = [size for of_picture in files for size in of_picture.values()]
    overlay = list(files[-1])[-1]
    written = f"wrote {len(sizes)} files to {overlay.parent}, {sum(sizes) / 1000:.1f} kB"
    return f"{written}; next: xdg-open {quote(str(overlay))}"


def _prompted_lines(result: Segmented, files: Sequence[Path]) -> tuple[str, list[str]]:
    height, width = result.masks.shape[1:]
    lines = []
    for mask, score, file in zip(result.masks, result.scores, files, strict=True):
        area = int(mask.sum())
        percent = 100 * area / mask.size
        lines.append(f"  score {score:.3f}  area {area} px ({percent:.1f} %)  {file}")
    return f"{result.path}  {width} x {height} pixels", lines


def _automatic_lines(result: SegmentedAll, files: Sequence[Path]) -> tuple[str, list[str]]:
    height, width = result.size
    largest = zip(result.masks, files[:_LISTED_MASKS], strict=False)
    lines = [_automatic_line(mask, file) for mask, file in largest]
    if len(files) > _LISTED_MASKS:
        lines.append(f"  and {len(files) - _LISTED_MASKS} more, up to {files[-1]}")
    return f"{result.path}  {width} x {height} pixels, {len(files)} mask{'s' * (len(files) != 1)}", lines


def _automatic_line(mask: AutomaticMask, file: Path) -> str:
    height, width = mask.segmentation["size"]
    percent = 100 * mask.area / (height * width)
    return (
        f"  score {mask.predicted_iou:.3f}  stability {mask.stability_score:.3f}  "
        f"area {mask.area} px ({percent:.1f} %)  {file}"
    )


def _prompted_records(result: Segmented, files: Sequence[Path]) -> list[Json]:
    return [
        mask_record(mask, float(score), index // result.candidates) | {"file": str(file)}
        for index, (mask, score, file) in enumerate(zip(result.masks, result.scores, files, strict=True))
    ]


def _automatic_record(mask: AutomaticMask, file: Path) -> Json:
    """Returns SAM's own record of a mask, with its file."""
    return {
        "segmentation": mask.segmentation,
        "area": mask.area,
        "bbox": mask.bbox,
        "predicted_iou": round(mask.predicted_iou, DECIMALS),
        "point_coords": [mask.point_coords],
        "stability_score": round(mask.stability_score, DECIMALS),
        "crop_box": mask.crop_box,
        "file": str(file),
    }
