"""What every command has in common: a help that reads well, -h, --version and completion."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
from typer.testing import CliRunner

from glesam_runtime.cli.umbrella import COMMANDS


def output_of(name: str, *arguments: str) -> str:
    app = import_module(COMMANDS[name][0]).app
    result = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_plain_text_of_80_columns_by_both_names(name: str) -> None:
    text = output_of(name, "--help")
    assert output_of(name, "-h") == text
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_in_titled_groups(name: str) -> None:
    groups = re.findall(r"^(\w[^\n]*):\n((?:  [^\n]*\n)+)", output_of(name, "-h"), re.MULTILINE)
    counts = {title: len(re.findall(r"^  -", lines, re.MULTILINE)) for title, lines in groups}
    assert "Options" not in counts
    assert counts["Help"] == 4  # --version, -h and two for completion


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_version(name: str) -> None:
    assert output_of(name, "--version").startswith("glesam")


@pytest.mark.parametrize("name", COMMANDS)
def test_completion_is_offered_to_the_shell(name: str) -> None:
    app = import_module(COMMANDS[name][0]).app
    shell = {"_GLESAM_COMPLETE": "complete_bash", "COMP_WORDS": "glesam --vers", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], env=shell, prog_name="glesam")
    assert result.stdout.split() == ["--version"]
