"""Hostile pictures end in one line, or in what a viewer shows, within limits of time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import native
import numpy as np
import pytest
from answers import SECONDS, answers_of
from hostile_pictures import READ, RED, REFUSED, saved

from glesam_runtime.image_io.jpeg_scans import MOST_SCANS

KINDS = ("pictures", "masks")
TOOL = native.LIBRARY.parents[1] / "tests/cpp/picture_tool"
MEMORY_BYTES = 1 << 30


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the file of every attack by its name, after a sound one."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = {name: folder / name for name in ("sound", *REFUSED, *READ)}
    paths["sound"].write_bytes(saved("PNG"))
    for name, write in {**REFUSED, **READ}.items():
        write(paths[name])
    return paths


@pytest.fixture(scope="session", params=KINDS)
def answers(request: pytest.FixtureRequest, pictures: dict[str, Path]) -> dict[str, dict[str, object]]:
    """Returns what the reader of pictures, or of masks, says to each: one process reads them all."""
    return answers_of("attempt_files.py", request.param, pictures.values())


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(answers: dict[str, dict[str, object]], name: str) -> None:
    answer = answers[name]
    assert answer["kind"] == "ImageError"
    assert str(answer["error"]).isprintable()
    assert len(str(answer["error"])) < 1000
    assert float(str(answer["seconds"])) < SECONDS


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_a_viewer_shows_it(answers: dict[str, dict[str, object]], name: str) -> None:
    answer = answers[name]
    assert answer["kind"] in ("", "ImageError")  # red is no mask
    if isinstance(answer["answer"], list) and len(answer["answer"]) > 2:
        assert np.abs(np.subtract(answer["answer"], [RED.height, RED.width, 255, 0, 0])).max() < 3
    else:
        assert "expected a black and white mask" in str(answer["error"])
    assert float(str(answer["seconds"])) < SECONDS


@pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built: make cpp")
@pytest.mark.parametrize("name", [*REFUSED, *READ])
def test_the_cpp_command_refuses_it_or_reads_the_same(pictures: dict[str, Path], name: str) -> None:
    done = subprocess.run(
        [TOOL, pictures[name]], capture_output=True, timeout=30, preexec_fn=limit_memory, check=True
    )
    head, _, pixels = done.stdout.partition(b"\n")
    if head.startswith(b"error: "):
        assert head.decode().isprintable()
        assert len(head) < 1000
        assert (name == "jpeg_of_thousands_of_scans") == (f"at most {MOST_SCANS} scans" in head.decode())
    else:  # libpng leaves out what Pillow refuses, such as endless text
        colours = np.frombuffer(pixels, np.uint8).reshape(RED.height, RED.width, 3)
        assert np.abs(colours.astype(int) - (255, 0, 0)).max() < 3


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))


def test_a_command_says_one_line_and_ends_with_status_2(pictures: dict[str, Path]) -> None:
    """No other library speaks beside it."""
    code = "from glesam_runtime.cli.run import main; main()"
    for name in ("tiff_of_thousands_of_channels", "jpeg_of_thousands_of_scans", "pipe_without_a_writer"):
        command = [sys.executable, "-c", code, str(pictures[name]), "--box", "1", "1", "9", "9"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
        assert done.returncode == 2
        *about_the_model, error = done.stderr.splitlines()
        assert error.startswith("error: ")
        assert [line for line in about_the_model if not line.startswith("nano ")] == []
