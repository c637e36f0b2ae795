"""What keeps the source readable: small rooms, short functions, few options, docstrings in plain English."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest
from source_tree import ROOT, modules, tree_of
from typer.main import get_command

ROOMS = ("runtime/glesam_runtime", "export/glesam_export")
MAX_ENTRIES = 16
MARKERS = {"__init__.py", "py.typed"}
"""Files that nobody opens to find something."""
MAX_FUNCTION_LINES = 60
MAX_LOOSE_OPTIONS = 14
PYTHON_FOLDERS = ("glesam", "export", "calib", "runtime", "benchmarks", "examples", "tests")
COMMANDS = {
    entry.name: entry.value.split(":")[0]
    for entry in distribution("glesam").entry_points
    if entry.group == "console_scripts"
}


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", pattern], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).exists()]


def python_files() -> list[Path]:
    return [path for folder in PYTHON_FOLDERS for path in tracked(f"{folder}/*.py")]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("room", ROOMS)
def test_a_packages_root_holds_few_things(room: str) -> None:
    inside = {path.relative_to(ROOT / room).parts[0] for path in tracked(f"{room}/*")}
    assert len(inside - MARKERS) <= MAX_ENTRIES, sorted(inside)


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files()
        for node in functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_docstrings_say_what_a_thing_is() -> None:
    """No docstring opens with "Of ..."; neither do strings below constants, which stand for docstrings."""
    opening = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for path in python_files()
        for node in strings_alone(path)
        if isinstance(node.value, str) and re.match(r"of\b", node.value.strip(), re.IGNORECASE)
    ]
    assert opening == []


def strings_alone(path: Path) -> Iterator[ast.Constant]:
    """The constants of `path` that are statements of their own: docstrings, and strings below constants."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_few_options_outside_titled_groups(command: str) -> None:
    click_command = get_command(import_module(COMMANDS[command]).app)
    loose = [
        name
        for parameter in click_command.params
        if not getattr(parameter, "rich_help_panel", None)
        and parameter.param_type_name == "option"
        and not getattr(parameter, "hidden", False)
        for name in parameter.opts[:1]
    ]
    assert len(loose) <= MAX_LOOSE_OPTIONS, loose


@pytest.mark.parametrize("module", [name for name in modules() if not name.endswith("__init__")])
def test_a_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree_of(modules()[module]))
