"""A process of its own that reads pictures or checkpoints: python attempt_files.py KIND PATH...

Prints one JSON object per file: its name, the error and its kind, an answer, and the processor's seconds. The
first file is a sound one; the memory is limited after it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from attempt import limit_memory

MEMORY_BYTES = 1 << 30
"""Most memory beyond what the process has when its libraries are loaded and the sound file is read."""


def picture(path: Path) -> object:
    """Returns height, width and mean colour of the picture as a command reads it."""
    from glesam_runtime.image_io import read_image

    pixels = read_image(path)
    return [*pixels.shape[:2], *pixels.mean((0, 1)).tolist()]


def mask(path: Path) -> object:
    from glesam_runtime.image_io import read_mask

    return list(read_mask(path).shape)


@cache
def tiny_model() -> Any:  # noqa: ANN401 - torch is loaded for checkpoints alone
    from glesam.config import tiny
    from glesam.model import GleSam

    return GleSam(tiny())


def checkpoint(path: Path) -> object:
    """Reads a checkpoint folder, a training state or a decoder's file, as its name says."""
    from training_state import checkpoint_at

    from glesam.model import GleSam
    from glesam.official.decoder import load_decoder

    if path.name.endswith("_folder"):
        GleSam.from_pretrained(path)
    elif path.name.endswith("_state"):
        checkpoint_at(path).load()
    else:
        load_decoder(tiny_model(), path)
    return "read"


READERS: dict[str, Callable[[Path], object]] = {
    "pictures": picture,
    "masks": mask,
    "checkpoints": checkpoint,
}


def attempts(read: Callable[[Path], object], paths: list[Path]) -> Iterator[dict[str, object]]:
    for index, path in enumerate(paths):
        start, error, kind, answer = time.process_time(), "", "", None
        try:
            answer = read(path)
        except Exception as caught:
            error, kind = str(caught), type(caught).__name__
        seconds = time.process_time() - start
        if index == 0:
            limit_memory(MEMORY_BYTES)
        yield {"name": path.name, "error": error, "kind": kind, "answer": answer, "seconds": seconds}


def main() -> None:
    kind, *paths = sys.argv[1:]
    for line in attempts(READERS[kind], list(map(Path, paths))):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
