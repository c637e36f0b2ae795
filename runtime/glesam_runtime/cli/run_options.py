"""The options of glesam-run, in titled groups, and what they mean together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..automatic import AutomaticOptions
from ..engines import BACKEND_HELP
from ..errors import PromptError
from ..preprocess import RESIZES
from ..prompts import Prompt
from ..tools.run.inputs import check_no_video
from ..tools.run.job import combine_prompts
from . import coordinates
from .command import option

_PROMPTS, _AUTOMATIC, _MODEL, _RESULTS = "Prompts", "Every object, without prompts", "Model", "Results"
_FOLLOW = "Objects through a video"
EXAMPLES = """\b
Examples:
  glesam-run photo.jpg --box 20 5 470 510
  glesam-run photos/ --auto --json
  glesam-run clip.mp4 --box 20 5 470 510 --follow"""
"""The end of the help; \\b keeps its lines."""


def _automatic_help(text: str, name: str) -> str:
    """Returns `text` with the default of a setting, and nano's where that differs."""
    nano, sam = getattr(AutomaticOptions.for_model("nano"), name), getattr(AutomaticOptions(), name)
    return f"{text} Default: {sam:g}{f', nano: {nano:g}' if nano != sam else ''}."


Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE",
        show_default=False,
        help="Pictures, or folders of them; with --follow one video, folder of frames or camera.",
    ),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X0 Y0 X1 Y1",
        rich_help_panel=_PROMPTS,
        help="A box around one object: top left, bottom right. Repeat it for more objects.",
    ),
]
PointsOnObject = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X Y",
        rich_help_panel=_PROMPTS,
        help="A point on the object. Repeatable: all points together are one prompt.",
    ),
]
BackgroundPoints = Annotated[
    list[str] | None,
    typer.Option(metavar="X Y", rich_help_panel=_PROMPTS, help="A point beside the object. Repeatable."),
]
MaskInput = Annotated[
    Path | None,
    typer.Option(
        metavar="PNG", rich_help_panel=_PROMPTS, help="A rough mask of the picture's size, white = object."
    ),
]
AuxiliaryOption = Annotated[
    Path | None,
    typer.Option(
        "--auxiliary",
        metavar="FILE",
        rich_help_panel=_MODEL,
        help="A grey picture of a second sensor, aligned and of the picture's size, if the bundle takes one.",
    ),
]
Multimask = Annotated[
    bool,
    typer.Option(
        "--multimask", rich_help_panel=_PROMPTS, help="Return three candidate masks for each prompt."
    ),
]
Auto = Annotated[
    bool,
    typer.Option("--auto", rich_help_panel=_AUTOMATIC, help="Find every object, from a grid of points."),
]
PointsPerSide = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Points along each side of the grid.", "points_per_side"),
    ),
]
PredIouThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Least score, the model's own estimate of quality.", "pred_iou_thresh"),
    ),
]
StabilityScoreThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Least stability when the mask threshold moves.", "stability_score_thresh"),
    ),
]
BoxNmsThresh = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Masks whose boxes have a higher IoU are one object.", "box_nms_thresh"),
    ),
]
CropLayers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Search crops too: 4 in the first layer, 16 in the next.", "crop_n_layers"),
    ),
]
MinMaskRegionArea = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=_AUTOMATIC,
        help=_automatic_help("Remove islands and holes of fewer pixels.", "min_mask_region_area"),
    ),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        rich_help_panel=_FOLLOW,
        help="Follow the objects of the prompts from the first frame on.",
    ),
]
MaxFrames = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        rich_help_panel=_FOLLOW,
        show_default=False,
        help="Stop after N frames; 0: at the end.",
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", rich_help_panel=_MODEL, help="A bundle's folder. Default: nano, shipped."),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        metavar="PATH",
        envvar="GLESAM_PUBLIC_KEY",
        rich_help_panel=_MODEL,
        help="Take only a bundle that glesam-sign signed with this key's other half.",
    ),
]
Backend = Annotated[
    str, typer.Option(metavar="NAME[:DEVICE[:HINT]]", rich_help_panel=_MODEL, help=BACKEND_HELP)
]
Threads = Annotated[
    int,
    option(
        _MODEL,
        "N",
        "Threads of the CPU. Default: one on each core that this process may use.",
        show_default=False,
    ),
]
NoEnhance = Annotated[
    bool, typer.Option("--no-enhance", rich_help_panel=_MODEL, help="Run plain SAM, without GLE.")
]
Resize = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_MODEL,
        help=f"How a picture is resized: {' or '.join(RESIZES)}; without it as the bundle says.",
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="DIR", rich_help_panel=_RESULTS, help="Folder for masks and overlays.")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        rich_help_panel=_RESULTS,
        help="Print one JSON object on stdout, masks in COCO RLE; with --follow one for each frame.",
    ),
]


def prompts(
    box: list[str] | None,
    point: list[str] | None,
    background_point: list[str] | None,
    mask_input: Path | None,
    follow: bool,
) -> list[Prompt]:
    """Returns the prompts of these options. Raises PromptError where there are none, or unclear ones."""
    if follow and not (box or point or background_point):
        raise PromptError("no prompt: give --box X0 Y0 X1 Y1 or --point X Y for the first frame of --follow")
    return combine_prompts(
        coordinates.boxes(box),
        coordinates.points("--point", point),
        coordinates.points("--background-point", background_point),
        mask_input,
    )


def automatic_settings(auto: bool, is_prompted: bool, **options: float | None) -> dict[str, float]:
    """Returns the chosen settings of --auto, for AutomaticOptions.for_model.

    `is_prompted`: whether there are prompts too. Raises PromptError where --auto comes with prompts, where
    its options come without it, or where a number is out of range.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    if not auto and chosen:
        raise PromptError(f"{_flag(next(iter(chosen)))} is an option of --auto; add --auto or leave it out")
    if auto and is_prompted:
        raise PromptError(
            "--auto finds every mask by itself, so it takes no --box, --point, --background-point, "
            "--mask-input or --multimask; leave them out, or leave --auto out"
        )
    AutomaticOptions.for_model("", **chosen)  # checks the numbers before a model is opened
    return chosen


def check_images(images: Sequence[Path], follow: bool) -> None:
    """Raises PromptError where numbers stand among the pictures, as of a box without its option.

    Raises ImageError for a video without --follow.
    """
    numbers = [path for path in images if _is_number(str(path)) and not path.exists()]
    if len(numbers) in (2, 4):
        option, found = "--box" if len(numbers) == 4 else "--point", " ".join(map(str, numbers))
        raise PromptError(f"found {found} among the pictures; write {option} {found}")
    for path in images:
        if not follow and not os.path.isdir(path):
            check_no_video(path)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_follow(follow: bool, max_frames: int, **others: object) -> None:
    """Raises PromptError for `others`, which --follow does not take, and for --max-frames without it."""
    if max_frames and not follow:
        raise PromptError("--max-frames is an option of --follow; add --follow or leave it out")
    given = [name for name, value in others.items() if value]
    if follow and given:
        raise PromptError(
            f"--follow takes --box and --point for its first frame, and no {_flag(given[0])}; leave it out"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("crop_n_layers", "crop_layers").replace("_", "-")
