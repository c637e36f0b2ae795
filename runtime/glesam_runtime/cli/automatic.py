"""The options of glesam-run that only mean something beside --auto."""

from __future__ import annotations

from typing import Annotated

import typer

from ..automatic import AutomaticOptions
from ..errors import PromptError

_GROUP = "With --auto"


def _help(text: str, name: str) -> str:
    """`text` with the default of an option, and the shipped model's where that is another."""
    own, sams = getattr(AutomaticOptions.for_model("nano"), name), getattr(AutomaticOptions(), name)
    return f"{text} Default: {sams:g}{f', nano: {own:g}' if own != sams else ''}."


PointsPerSide = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_GROUP,
        help=_help("Points along each side of the grid.", "points_per_side"),
    ),
]
PredIouThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_GROUP,
        help=_help("Least quality by the model's own estimate.", "pred_iou_thresh"),
    ),
]
StabilityScoreThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_GROUP,
        help=_help("Least stability when the mask threshold moves.", "stability_score_thresh"),
    ),
]
BoxNmsThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_GROUP,
        help=_help("Two boxes of higher IoU are one object.", "box_nms_thresh"),
    ),
]
CropLayers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_GROUP,
        help=_help("Search 4 crops too, 16 more, and so on.", "crop_n_layers"),
    ),
]
MinMaskRegionArea = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_GROUP,
        help=_help("Remove islands and holes of fewer pixels.", "min_mask_region_area"),
    ),
]


def settings(auto: bool, prompted: bool, **given: float | None) -> dict[str, float]:
    """What was chosen beside --auto, for AutomaticOptions.for_model. `prompted`: so were prompts.

    Raises PromptError where --auto comes with prompts, its options without it, or a number is out of range.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if not auto and chosen:
        raise PromptError(f"{_flag(next(iter(chosen)))} is an option of --auto; add --auto or leave it out")
    if auto and prompted:
        raise PromptError(
            "--auto finds every mask by itself, so it takes no --box, --point, --background-point, "
            "--mask-input or --multimask; leave them out, or leave --auto out"
        )
    AutomaticOptions.for_model("", **chosen)  # numbers are checked before a model is opened
    return chosen


def _flag(name: str) -> str:
    return "--" + name.replace("crop_n_layers", "crop_layers").replace("_", "-")
