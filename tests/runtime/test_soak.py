"""Two threads share one Predictor's engines for 2,000 pictures: the answers and the memory stay the same."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from glesam_runtime import Predictor
from glesam_runtime.preprocess import Pixels

IMAGES = 2_000
WARM_UP = 200
GROWTH = 16 * 2**20
"""Bytes, 9 KiB a picture. An embedding that is kept would be 16 KiB of the tiny model's, 1 MiB of nano's."""


def picture(index: int) -> Pixels:
    """Returns uint8 [H,W,3] with content and size of its own for each `index`."""
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (64 + index % 37, 64 + index % 53, 3), np.uint8)


def answer(predictor: Predictor, index: int) -> bytes:
    """Returns a hash of all results for two prompts on picture `index`."""
    predictor.set_image(picture(index))
    one = predictor.predict(box=(4, 6, 50, 40 + index % 20))
    several = predictor.predict(points=[(30, 30)], background_points=[(5, 60)], multimask=True)
    arrays = [a for p in (one, several) for a in (p.masks, p.iou_predictions, p.low_res_masks)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).digest()


def answers(predictor: Predictor, indices: Sequence[int]) -> dict[int, bytes]:
    return {index: answer(predictor, index) for index in indices}


def resident() -> int:
    """This process's memory, bytes, but for what malloc has been given back and keeps.

    With nano glibc kept 17 to 28 MiB in its pools, while what is in use stayed at 91.4 MiB from the 100th to
    the 1,200th picture.
    """
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak(bundle: Path | None, images: int) -> int:
    """Compares the answers of two threads with those of one; returns the growth of memory [bytes]."""
    with Predictor.from_bundle(bundle, "onnxruntime") as predictor:
        alone = answers(predictor, range(images))
        sessions = [predictor.new_session(), predictor.new_session()]

        def both(first: int, last: int) -> dict[int, bytes]:
            with ThreadPoolExecutor(2) as pool:
                halves = pool.map(answers, sessions, (range(first, last, 2), range(first + 1, last, 2)))
                return {index: value for half in halves for index, value in half.items()}

        together = both(0, WARM_UP)
        before = resident()
        together |= both(WARM_UP, images)
        growth = resident() - before
    assert together == alone
    return growth


on_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="memory is read from /proc, and glibc's pools are trimmed"
)


@on_glibc
def test_two_threads_answer_as_one_and_memory_stays_flat(bundle_path: Path) -> None:
    assert soak(bundle_path, IMAGES) < GROWTH


LOADING = """
import ctypes, sys
from glesam_runtime import Predictor
from glesam_runtime.tools.machine import host_memory
with Predictor("nano", backend=sys.argv[1]):
    loaded = host_memory().now
    ctypes.CDLL(None).malloc_trim(0)
    print(loaded - host_memory().now)
"""


@on_glibc
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_loading_used_is_given_back(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING, backend], stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(done.stdout) < 8 << 20


@pytest.mark.slow
@on_glibc
def test_nano_on_two_threads_answers_as_one_and_memory_stays_flat() -> None:
    growth = soak(None, IMAGES)
    print(f"memory grew by {growth / 2**20:.1f} MiB over {IMAGES - WARM_UP} pictures")
    assert growth < GROWTH
