"""The pictures that int8 is calibrated with, clean and degraded, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir

from glesam_calib.observation.image_folder import picture_paths
from glesam_calib.observation.observe import GRAPHS, SAVE_EVERY, Sample, feeds_of
from glesam_calib.observation.table import CalibrationTable
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.quantize import Quantization
from glesam_calib.quantization.sensitivity import sensitivities
from glesam_runtime import Bundle, ImageError, read_image
from glesam_runtime.bundle.options import takes_auxiliary
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade
from glesam_runtime.engines import open_engine
from glesam_runtime.errors import CalibrationError
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import picture_tensors
from glesam_runtime.tools.progress import track

LEVELS = (0, *LEVEL_RATES)
"""0 is the picture as it is, then LQ-1 to LQ-3."""
LEAST = 4
"""Least number of samples: fewer say nothing about the largest value a tensor takes."""


class CalibrationPictures:
    """Up to `samples` pictures of a folder, evenly spread over its names, at one level each.

    Where there are fewer pictures than samples, they repeat at other levels. Iterating reads and degrades
    them one after the other; a degradation depends on a picture's position and level alone. A picture that
    cannot be read is named, and the next one of the folder that is still free replaces it.
    """

    def __init__(
        self, folder: Path, levels: Sequence[int], samples: int, report: Callable[[str], None]
    ) -> None:
        """Raises ImageError where there is no such folder, CalibrationError where it has too few pictures."""
        paths = picture_paths(folder, report)
        wanted = min(samples, len(paths))
        spread = [paths[i * len(paths) // wanted] for i in range(wanted)]
        turns = [(path, i + turn) for turn in range(len(levels)) for i, path in enumerate(spread)]
        self._plan = [(path, levels[shift % len(levels)]) for path, shift in turns[:samples]]
        self._folder, self._report = folder, report
        chosen = set(spread)
        self._spare = iter([path for path in paths if path not in chosen])
        self._instead: dict[Path, Path | None] = {}
        self._check(len(self._plan))

    def plan(self) -> list[str]:
        """The samples by name, content and level: a table may only be resumed with the same ones."""
        contents = {path: _content(path) for path, _ in self._plan}
        return [f"{self._name(path)} ({contents[path]}) at LQ-{level}" for path, level in self._plan]

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Sample]:
        """Raises CalibrationError at the end where too few could be read."""
        readable = 0
        for seed, (path, level) in enumerate(self._plan):
            named = self._read(path)
            if named is None:
                continue
            readable += 1
            name, picture = named
            if level:
                picture = degrade(picture, LEVEL_RATES[level], np.random.default_rng(seed))
            yield f"{name} at LQ-{level}", picture
        self._check(readable)

    def _read(self, path: Path | None) -> tuple[str, Pixels] | None:
        """Reads a picture, or the one that replaces it, with its name; None where no picture is left."""
        while path is not None:
            if path in self._instead:
                path = self._instead[path]
                continue
            try:
                return self._name(path), read_image(path)
            except ImageError as error:
                self._report(f"skipped {error}")
                self._instead[path] = next(self._spare, None)
        return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _check(self, count: int) -> None:
        if count < LEAST:
            raise CalibrationError(
                f"{self._folder}: {count} samples, expected at least {LEAST}; "
                "give more photographs like those the model will see, more levels, or a larger --samples"
            )


def _content(path: Path) -> str:
    try:
        return sha256_of(path)[:12]
    except OSError:
        return "unreadable"


def measure_sensitivity(
    bundle: Bundle,
    pictures: CalibrationPictures,
    count: int,
    table: CalibrationTable,
    options: Quantization,
    save_to: Path | None = None,
) -> None:
    """Measures on the first `count` pictures what each layer that may return to float costs, into `table`.

    Layers that the table has already are left out. The table is written to `save_to` every `SAVE_EVERY`
    layers.

    Raises:
        BackendError: a graph of the fp32 `bundle` does not run.
        CalibrationError: a layer makes the answer NaN.
    """
    manifest = bundle.manifest
    with_auxiliary = takes_auxiliary(manifest.graphs["gle"].spec)
    chosen = islice(pictures, min(count, len(pictures)))
    tensors = [picture_tensors(picture, manifest, with_auxiliary)[0] for _, picture in chosen]
    for graph in GRAPHS:
        path, spec = bundle.graph_path(graph), manifest.graphs[graph].spec
        feeds = [feeds_of(spec, one) for one in tensors]
        layers = [layer.name for layer in layers_of(ir.load(path).graph)]
        known = table.sensitivity.setdefault(graph, {})
        missing = [name for name in layers if options.policy.may_return(name) and name not in known]
        tried = track(missing, len(missing), f"layers of {graph} tried")
        errors = sensitivities(path, spec, table.tensors[graph], tried, feeds, options)
        for count, (name, error) in enumerate(errors, 1):
            known[name] = error
            if save_to is not None and (count % SAVE_EVERY == 0 or count == len(missing)):
                table.save(save_to)
        if graph == GRAPHS[0]:
            with closing(open_engine("onnxruntime", path, spec)) as engine:
                tensors = [given | engine(one) for given, one in zip(tensors, feeds, strict=True)]
