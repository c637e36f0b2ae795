"""A small drawn data set, and runs of glesam-eval on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from glesam.cli.evaluate import app
from glesam_runtime.bundle.reader import default_bundle_path

SETS = [
    {"name": "squares", "kind": "label_maps", "dev": "all"},
    {"name": "bars", "kind": "label_maps", "dev": "all"},
]
Row = dict[str, str]
SHIPPED_BUNDLE = default_bundle_path()


def write_data(root: Path, pictures: int = 3) -> Path:
    """Writes two data sets of noisy pictures of two objects each, 72 x 64 px, and their descriptions."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for description in SETS:
        folder = root / str(description["name"])
        folder.mkdir()
        for index in range(pictures):
            write_picture(folder, str(index), 4 * index + 8, rng)
    (root / "sets.json").write_text(json.dumps(SETS))
    return root


def write_picture(folder: Path, stem: str, x: int, rng: np.random.Generator) -> None:
    labels = np.zeros((64, 72), np.uint8)
    labels[6:36, x : x + 24] = 1
    labels[40:60, 10:64] = 2
    colours = np.array([[20, 40, 150], [200, 60, 40], [60, 190, 60]])
    noisy = colours[labels] + rng.integers(0, 30, (64, 72, 3))
    Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{stem}.jpg", quality=95)
    Image.fromarray(labels).save(folder / f"{stem}.png")


def evaluated(data: Path, out: Path, *options: object) -> Result:
    """Runs glesam-eval, which has to succeed."""
    result = attempted(data, out, *options)
    assert result.exit_code == 0, result.output
    return result


def attempted(data: Path, out: Path, *options: object) -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "--out", str(out), *map(str, options)])


def rows_of(out: Path) -> list[Row]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def values(rows: list[Row], metric: str, **wanted: str) -> list[float]:
    """One metric of the rows that have the wanted cells, in the file's order."""
    return [float(row[metric]) for row in rows if all(row[key] == cell for key, cell in wanted.items())]
