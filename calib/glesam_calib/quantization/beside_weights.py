"""Variants of a graph whose gigabytes of weights are not written again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def beside_weights(path: Path) -> Iterator[Path]:
    """Yields where a variant of the graph at `path` may be written: its external weights lie there too."""
    with TemporaryDirectory(prefix="glesam-") as folder:
        data = path.with_name(f"{path.name}.data")
        if data.exists():
            _bring(data, Path(folder) / data.name)
        yield Path(folder) / path.name


def _bring(data: Path, to: Path) -> None:
    """A second name for the file, or a copy where the file system has none."""
    try:
        os.link(data, to)
    except OSError:
        shutil.copyfile(data, to)
