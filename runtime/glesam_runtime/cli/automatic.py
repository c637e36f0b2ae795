"""The options of glesam-run that only mean something beside --auto."""

from __future__ import annotations

from typing import Annotated

import typer

from ..automatic import AutomaticOptions
from ..errors import PromptError

_DEFAULT = AutomaticOptions()

PointsPerSide = Annotated[
    int | None,
    typer.Option(
        metavar="N", help=f"Points along each side of the grid. Default: {_DEFAULT.points_per_side}."
    ),
]
PredIouThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F", help=f"Least quality by the model's own estimate. Default: {_DEFAULT.pred_iou_thresh:g}."
    ),
]
StabilityScoreThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help=f"Least stability when the mask threshold moves. Default: {_DEFAULT.stability_score_thresh:g}.",
    ),
]
BoxNmsThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F", help=f"Two boxes of higher IoU are one object. Default: {_DEFAULT.box_nms_thresh:g}."
    ),
]
CropLayers = Annotated[
    int | None,
    typer.Option(
        metavar="N", help=f"Search 4 crops too, 16 more, and so on. Default: {_DEFAULT.crop_n_layers}."
    ),
]
MinMaskRegionArea = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Remove islands and holes of fewer pixels. Default: {_DEFAULT.min_mask_region_area}.",
    ),
]


def automatic_options(auto: bool, prompted: bool, **given: float | None) -> AutomaticOptions | None:
    """What --auto is to do; None without it. `given`: its other options, None where left out.

    Raises PromptError where --auto comes with prompts, its options without it, or a number is out of range.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if not auto and chosen:
        raise PromptError(f"{_flag(next(iter(chosen)))} is an option of --auto; add --auto or leave it out")
    if not auto:
        return None
    if prompted:
        raise PromptError(
            "--auto finds every mask by itself, so it takes no --box, --point, --background-point, "
            "--mask-input or --multimask; leave them out, or leave --auto out"
        )
    return AutomaticOptions(**chosen)  # type: ignore[arg-type]


def _flag(name: str) -> str:
    return "--" + name.replace("crop_n_layers", "crop_layers").replace("_", "-")
