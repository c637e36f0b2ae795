"""What glesam-run --auto says of one picture: a few lines for people, all of it for programs."""

from __future__ import annotations

from pathlib import Path

from ..automatic.record import AutomaticMask
from .automatic_job import SegmentedAll

_SHOWN = 5


def automatic_lines(result: SegmentedAll) -> list[str]:
    """Size and count, the largest masks, the overlay, milliseconds per stage."""
    height, width = result.size
    *files, overlay = result.files
    shown = [_line(mask, file) for mask, file in zip(result.masks, files[:_SHOWN], strict=False)]
    if len(files) > _SHOWN:
        shown.append(f"  and {len(files) - _SHOWN} more, up to {files[-1]}")
    stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in result.timings_ms.items())
    return [
        f"{result.path}  {width} x {height} pixels, {len(files)} masks",
        *shown,
        f"  overlay  {overlay}",
        f"  milliseconds  {stages}",
    ]


def automatic_json(result: SegmentedAll) -> dict[str, object]:
    """SAM's records, with each mask's file. Coordinates in pixels, times in milliseconds."""
    height, width = result.size
    *files, overlay = result.files
    return {
        "image": str(result.path),
        "width": width,
        "height": height,
        "masks": [_record(mask, file) for mask, file in zip(result.masks, files, strict=True)],
        "overlay": str(overlay),
        "timings_ms": {stage: round(ms, 3) for stage, ms in result.timings_ms.items()},
    }


def _line(mask: AutomaticMask, file: Path) -> str:
    height, width = mask.segmentation["size"]
    share = 100 * mask.area / (height * width)
    return (
        f"  score {mask.predicted_iou:.3f}  stability {mask.stability_score:.3f}  "
        f"area {mask.area} px ({share:.1f} %)  {file}"
    )


def _record(mask: AutomaticMask, file: Path) -> dict[str, object]:
    return {
        "segmentation": mask.segmentation,
        "area": mask.area,
        "bbox": mask.bbox,
        "predicted_iou": round(mask.predicted_iou, 6),
        "point_coords": [mask.point_coords],
        "stability_score": round(mask.stability_score, 6),
        "crop_box": mask.crop_box,
        "file": str(file),
    }
