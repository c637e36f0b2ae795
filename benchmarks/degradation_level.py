"""How well an adaptive GLE's predicted degradation level follows the true one, on pictures it has not seen.

    python benchmarks/degradation_level.py BUNDLE DIR [--pictures 100] [--real FOLDER]... [--backend NAME]

DIR holds clean pictures: each is predicted as it is and at LQ-1 to LQ-3. `level` is the mean prediction, its
`deviation` over the pictures, and `zero` the share of pictures that are left exactly as they are. --real
names folders of pictures that are bad already, whose true level nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Annotated

import typer
from harness.options import NoteOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam_runtime import Predictor, read_image
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade_level
from glesam_runtime.image_io.folders import pictures_below
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.progress import track

SEED = 5


def main(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="One whose GLE predicts the level.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Clean pictures.")],
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many of a folder, evenly spread.")
    ] = 100,
    real: Annotated[list[Path] | None, typer.Option(metavar="FOLDER", help="Bad pictures.")] = None,
    backend: Annotated[str, typer.Option(metavar="NAME")] = "auto",
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("nano_quality", "Predicted degradation level of pictures by their true one")
    with Predictor.from_bundle(bundle, backend) as predictor:
        rows = [level_row(predictor, "clean", spread(folder, pictures), lambda image, _: image)]
        for level in LEVEL_RATES:
            degraded = degrader(level)
            rows.append(level_row(predictor, f"LQ-{level}", spread(folder, pictures), degraded))
        for other in real or ():
            rows.append(level_row(predictor, other.name, spread(other, pictures), lambda image, _: image))
    run.finish(rows, record, note)


def degrader(level: int) -> Callable[[Pixels, str], Pixels]:
    """A function that makes LQ-`level` of a picture and its name."""
    return lambda image, name: degrade_level(image, level, SEED, name)


def spread(folder: Path, count: int) -> Sequence[Path]:
    """At most `count` pictures of a folder, evenly spread. Raises typer.BadParameter where it has none."""
    paths = pictures_below(folder).to_read
    if not paths:
        raise typer.BadParameter(f"{folder}: expected pictures, found none")
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def level_row(
    predictor: Predictor, name: str, paths: Sequence[Path], change: Callable[[Pixels, str], Pixels]
) -> Row:
    """The predictions of pictures after a change of each."""
    levels = []
    for path in track(paths, len(paths), f"pictures, {name}"):
        predictor.set_image(change(read_image(path), path.name))
        level = predictor.degradation_level
        if level is None:
            raise typer.BadParameter("BUNDLE: its GLE predicts no degradation level; train one with adaptive")
        levels.append(level)
    zero = sum(level == 0 for level in levels) / len(levels)
    return {
        "pictures": name,
        "level": round(mean(levels), 3),
        "deviation": round(pstdev(levels), 3),
        "zero": round(zero, 3),
    }


if __name__ == "__main__":
    typer.run(main)
