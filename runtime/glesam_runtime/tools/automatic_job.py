"""What glesam-run --auto does with its pictures: find every mask in each, write its files, go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..automatic.generator import AutomaticMasks, OnPoints
from ..automatic.options import AutomaticOptions
from ..automatic.overlay import draw_masks
from ..automatic.record import AutomaticMask
from ..errors import GlesamError
from ..image_io import png_bytes, read_image
from ..output import write_files
from ..predictor import Predictor
from ..preprocess import Size
from .job import Failed, check_not_an_input


@dataclass(frozen=True, eq=False)
class SegmentedAll:
    """One picture's masks, the largest first. `size` is the picture's (H, W).

    `files` maps each written path to its size [bytes]: the masks in order, then the overlay.
    """

    path: Path
    size: Size
    masks: Sequence[AutomaticMask]
    timings_ms: dict[str, float]
    files: dict[Path, int]


def run_automatic(
    predictor: Predictor,
    images: Sequence[Path],
    options: AutomaticOptions,
    out: Path,
    on_points: OnPoints = lambda _: None,
) -> Iterator[SegmentedAll | Failed]:
    """Find every mask in each picture; write OUT/<stem>.mask<i>.png and OUT/<stem>.overlay.png.

    A picture's files are written once all of them are made; a bad picture does not stop the rest.
    Nothing overlaps: reading and writing take a hundredth of what the decoder does.
    """
    inputs = {path.resolve() for path in images}
    automatic = AutomaticMasks(predictor, options)
    for path in images:
        try:
            yield _segment_all(automatic, path, out, inputs, on_points)
        except GlesamError as error:
            yield Failed(path, str(error))


def _segment_all(
    automatic: AutomaticMasks, path: Path, out: Path, inputs: set[Path], on_points: OnPoints
) -> SegmentedAll:
    image = read_image(path)
    masks = automatic.generate(image, on_points)
    files = {
        out / f"{path.stem}.mask{index}.png": png_bytes(Image.fromarray(mask.mask()))
        for index, mask in enumerate(masks)
    }
    overlay = draw_masks(image, (mask.mask() for mask in masks))
    files[out / f"{path.stem}.overlay.png"] = png_bytes(overlay)
    check_not_an_input(files, inputs)
    write_files(files)
    sizes = {file: len(content) for file, content in files.items()}
    return SegmentedAll(path, (image.shape[0], image.shape[1]), masks, automatic.timings, sizes)
