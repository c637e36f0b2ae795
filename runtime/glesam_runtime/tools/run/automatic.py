"""Segments pictures without prompts: finds every object in each and writes its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...automatic.generator import AutomaticMasks, OnPoints
from ...automatic.options import AutomaticOptions
from ...automatic.overlay import draw_masks
from ...automatic.record import AutomaticMask
from ...errors import GlesamError, naming
from ...image_io import png_bytes, read_image
from ...output import write_files
from ...predictor import Predictor
from ...preprocess import Size
from ..overlay import overlay_file
from .job import Failed, check_not_an_input


@dataclass(frozen=True, eq=False)
class SegmentedAll:
    """Results of one picture: its masks, the largest first; `size` is the picture's (H, W).

    files: written path -> size [bytes], the masks in order, then the overlay.
    """

    path: Path
    size: Size
    masks: Sequence[AutomaticMask]
    timings_ms: dict[str, float]
    files: dict[Path, int]
    degradation_level: float | None = None


def run_automatic(
    predictor: Predictor,
    images: Sequence[Path],
    options: AutomaticOptions,
    out: Path,
    on_points: OnPoints = lambda _: None,
) -> Iterator[SegmentedAll | Failed]:
    """Finds every object in each picture; writes OUT/<stem>.mask<i>.png and OUT/<stem>.overlay.jpg.

    The files of a picture are written together at its end; a bad picture does not stop the rest.
    Nothing overlaps: reading and writing take a hundredth of the decoder's time.
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
    with naming(str(path)):
        masks = automatic.generate(image, on_points)
    files = {
        out / f"{path.stem}.mask{index}.png": png_bytes(Image.fromarray(mask.mask()))
        for index, mask in enumerate(masks)
    }
    overlay, content = overlay_file(out, path.stem, draw_masks(image, (mask.mask() for mask in masks)))
    files[overlay] = content
    check_not_an_input(files, inputs)
    write_files(files)
    sizes = {file: len(content) for file, content in files.items()}
    size = image.shape[0], image.shape[1]
    return SegmentedAll(path, size, masks, automatic.timings, sizes, automatic.degradation_level)
