"""What glesam-run says: lines for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from ..automatic.rle import rle_from_mask
from ..bundle.reader import Bundle
from .automatic_job import SegmentedAll
from .automatic_report import automatic_json, automatic_lines
from .job import Failed, Segmented

Json = dict[str, object]


def model_line(bundle: Bundle, backend: str) -> str:
    """Which model runs on what."""
    model = bundle.manifest
    return f"{model.name} {model.precision}, bundle {bundle.hash[:12]}, backend {backend}"


def picture_lines(result: Segmented | SegmentedAll) -> list[str]:
    """Size, one line per mask (score, area, file), the overlay, milliseconds per stage."""
    if isinstance(result, SegmentedAll):
        return automatic_lines(result)
    height, width = result.masks.shape[1:]
    *mask_files, overlay = result.files
    lines = [f"{result.path}  {width} x {height} pixels"]
    for mask, score, file in zip(result.masks, result.scores, mask_files, strict=True):
        area = int(mask.sum())
        share = 100 * area / mask.size
        lines.append(f"  score {score:.3f}  area {area} px ({share:.1f} %)  {file}")
    stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in result.timings_ms.items())
    return [*lines, f"  overlay  {overlay}", f"  milliseconds  {stages}"]


def closing_line(written: Sequence[Mapping[Path, int]]) -> str:
    """What was written for each picture, how large [bytes], and the next command."""
    sizes = [size for files in written for size in files.values()]
    overlay = list(written[-1])[-1]
    written_to = f"wrote {len(sizes)} files to {overlay.parent}, {sum(sizes) / 1000:.1f} kB"
    return f"{written_to}; next: xdg-open {quote(str(overlay))}"


def json_document(
    bundle: Bundle, backend: str, enhance: bool, pictures: Sequence[Json], failures: Sequence[Failed]
) -> Json:
    """Everything as one object, with a picture_json() of each picture."""
    return {
        "model": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "bundle_sha256": bundle.hash,
        "backend": backend,
        "enhance": enhance,
        "images": pictures,
        "failures": [{"image": str(failed.path), "error": failed.reason} for failed in failures],
    }


def picture_json(result: Segmented | SegmentedAll) -> Json:
    """One picture's results; masks as COCO RLE. Sizes in pixels, times in milliseconds."""
    if isinstance(result, SegmentedAll):
        return automatic_json(result)
    *mask_files, overlay = result.files
    height, width = result.masks.shape[1:]
    masks = [
        {
            "prompt": index // result.candidates,
            "iou_prediction": round(float(score), 6),
            "area": int(mask.sum()),
            "segmentation": rle_from_mask(mask),
            "file": str(file),
        }
        for index, (mask, score, file) in enumerate(zip(result.masks, result.scores, mask_files, strict=True))
    ]
    return {
        "image": str(result.path),
        "width": width,
        "height": height,
        "masks": masks,
        "overlay": str(overlay),
        "timings_ms": {stage: round(ms, 3) for stage, ms in result.timings_ms.items()},
    }
