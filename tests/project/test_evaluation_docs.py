"""docs/evaluation.md names options, files and columns that glesam-eval has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from glesam.cli.evaluate import app
from glesam.evaluation.methods import BASELINES
from glesam.evaluation.results import COLUMNS
from glesam.evaluation.score import METHODS

DOCS = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", DOCS, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_there_are_commands() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_glesam_eval_understands(command: str) -> None:
    name, *options = shlex.split(command, comments=True)
    assert name == "glesam-eval"
    get_command(app).make_context(name, options)


def test_the_columns_are_those_of_the_csv() -> None:
    assert f"`{', '.join(COLUMNS)}`" in DOCS


def test_every_method_is_explained() -> None:
    assert set(BASELINES) < set(METHODS)
    assert [name for name in METHODS if f"| `{name}` |" not in DOCS] == []
