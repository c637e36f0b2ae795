"""The README's commands and snippets, run as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SKIPPED = ("make ", "pip ", "git ", "cd ", "glesam-train ")
"""Set-up, which .ci/run goes through itself, and an hour of training."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.strip() for block in blocks("bash") for line in block.splitlines()]
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


def test_the_readmes_commands_run_in_their_order(workplace: Path) -> None:
    assert commands()
    for command in commands():
        run(command, workplace)
    assert list(workplace.glob("out/*.overlay.png"))


def test_the_readmes_python_runs(workplace: Path) -> None:
    assert blocks("python")
    for snippet in blocks("python"):
        run([sys.executable, "-c", snippet], workplace)


def test_the_readmes_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
