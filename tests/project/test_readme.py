"""The commands and the Python of the README and of the other pages run as they are written.

Commands inside sentences have tests of their own, as those of Polygraphy and of --follow.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
PAGES = ["README.md", *DOCS, "SECURITY.md", "CONTRIBUTING.md", "docker/README.md"]
RUN_PAGES = ("README.md", "docs/quickstart.md", "docs/export.md", "docs/training.md", "SECURITY.md")
"""Pages with commands that run; a command of another page is listed below, or one of these has it too."""
PYTHON_PAGES = ("README.md", "docs/python.md", "docs/quickstart.md")
"""Those whose Python runs; the blocks of a page share their variables."""
NO_COMMANDS = {"", "cmake", "cpp", "json", "mermaid", "python", "text", "yaml"}
"""Languages of blocks without commands; the C++ is compiled by the tests in tests/cpp."""
NOT_RUN = {
    "make ": "set-up and tests: .ci/run goes through them",
    "pip ": "set-up: tests/project/test_wheel.py installs the wheel",
    "python3 -m venv ": "set-up",
    "cmake ": "tests/runtime/test_native.py builds the C++",
    "docker ": "needs docker",
    "jetson-containers ": "needs docker on a Jetson",
    "glesam-cpp ": "tests/runtime/test_cpp.py runs it",
    "glesam-view ": "runs until Ctrl-C: tests/view has it in a browser",
    "glesam-train ": "an hour of training",
    "accelerate launch ": "days of training on GPUs",
    "glesam-convert ": "files that are not ours to ship; tests/glesam/test_official_build.py has tiny ones",
    "glesam-eval ": "labelled pictures; tests/glesam/test_glesam_eval.py has tiny ones",
    "glesam-calibrate ": "minutes, a layer at a time; tests/calib/test_glesam_calibrate.py has tiny models",
    "glesam-quantize out/mine ": "another model than ours; README's runs for nano",
    "glesam-export CHECKPOINT ": "another model than ours; README's runs for nano",
    "glesam-export out/vit_l ": "another model than ours",
    "glesam-export runs/decoder/model ": "the model that training makes",
    "glesam-export --precision fp16 --out runtime/": "replaces the shipped model; docs/export.md's runs",
}
"""Start of a command -> why it is not run."""


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands(page: str) -> list[str]:
    """The commands of a page's blocks, in order: lines of bash, and what follows a prompt in console."""
    found = []
    text = (ROOT / page).read_text().replace("\\\n", " ")
    for language, block in re.findall(r"^```(bash|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = [line.strip() for line in block.splitlines()]
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += [line for line in lines if line and not line.startswith("#")]
    return found


def without_comment(command: str) -> str:
    return " ".join(re.sub(r"\s+# .*", "", command).split())


def runs(command: str) -> bool:
    return not f"{without_comment(command)} ".startswith(tuple(NOT_RUN))


def test_a_command_on_any_page_is_run_or_listed_with_the_reason() -> None:
    run_here = {without_comment(each) for page in RUN_PAGES for each in commands(page) if runs(each)}
    others = {without_comment(each): page for page in PAGES for each in commands(page) if runs(each)}
    assert {each: page for each, page in others.items() if each not in run_here} == {}
    everything = [f"{without_comment(each)} " for page in PAGES for each in commands(page)]
    unused = [start for start in NOT_RUN if not any(each.startswith(start) for each in everything)]
    assert unused == []


def test_a_block_of_any_page_is_in_a_language_that_is_read_here() -> None:
    for page in PAGES:
        languages = re.findall(r"^```(.*)\n(?:.*\n)*?```$", (ROOT / page).read_text(), re.MULTILINE)
        assert set(languages) <= NO_COMMANDS | {"bash", "console"}, page
        assert page in PYTHON_PAGES or "python" not in languages or page == "docs/nvidia.md", page


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone to the README's commands, which write into it in turn."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples/photos/astronaut_lq3.jpg", folder / "photo.jpg")
    for bundle in ("BUNDLE", "out/nano-fp16"):
        shutil.copytree(ROOT / "runtime/glesam_runtime/models/nano", folder / bundle)
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


@pytest.mark.parametrize("page", RUN_PAGES)
def test_a_pages_commands_run_in_their_order(page: str, workplace: Path) -> None:
    wanted = [command for command in commands(page) if runs(command)]
    assert wanted
    for command in wanted:
        run(command, workplace)
    if page in ("README.md", "docs/quickstart.md"):
        assert list(workplace.glob("out/*.overlay.jpg"))


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_a_pages_python_runs(page: str, workplace: Path) -> None:
    assert blocks("python", page)
    run([sys.executable, "-c", "\n".join(blocks("python", page))], workplace)


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/view.md"])
def test_a_page_that_names_glesam_view_installs_its_slider_too(page: str) -> None:
    """Without [degrade] the page opens, and its slider does nothing."""
    text = (ROOT / page).read_text()
    assert "glesam-view" in text and "'.[view,degrade]'" in text and "'.[view]'" not in text
