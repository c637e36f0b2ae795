"""The commands and the Python of the README and of two pages run as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/python.md", "docs/quickstart.md")
"""Those whose Python runs; the blocks of a page share their variables."""
SKIPPED = ("make ", "pip ", "git ", "cd ", "glesam-train ", "glesam-convert ")
"""Set-up, which .ci/run goes through itself, an hour of training, and files that are not ours to ship."""


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands(page: str) -> list[str]:
    lines = [line.strip() for block in blocks("bash", page) for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", *SKIPPED))]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone to the README's commands, which write into it in turn."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def run(command: list[str] | str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        shell=isinstance(command, str),
        env={**os.environ, "PATH": path, "GLESAM_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_shows_the_two_commands_of_the_makefile() -> None:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    assert {"make demo", "make test"} <= set(lines)


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_a_pages_commands_run_in_their_order(page: str, workplace: Path) -> None:
    assert commands(page)
    for command in commands(page):
        run(command, workplace)
    assert list(workplace.glob("out/*.overlay.png"))


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_python_runs(page: str, workplace: Path) -> None:
    assert blocks("python", page)
    run([sys.executable, "-c", "\n".join(blocks("python", page))], workplace)
