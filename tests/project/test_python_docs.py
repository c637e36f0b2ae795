"""docs/python.md names what glesam_runtime exports, and shows the JSON that the commands print."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import glesam_runtime
from glesam_runtime import Bundle, GlesamError, Predictor
from glesam_runtime.tools.info import info, json_document
from glesam_runtime.tools.records.schema import json_schema

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/python.md").read_text()
BY_NAME = {"graphs", "files", "mask_iou", "fp32_islands", "checkpoint", "versions"}
"""The keys of maps whose own keys are names of graphs, files, sets, layers and packages."""


MACHINES = {"backends", "automatic_backend", "cached_engines", "timings_ms"}
"""Keys whose values differ between machines."""


def examples(parse_float: Callable[[str], Any] = float) -> list[Any]:
    blocks = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    return [json.loads(block, parse_float=parse_float) for block in blocks]


def differences(shown: Any, actual: Any, slack: float = 0, at: str = "") -> Iterator[str]:  # noqa: ANN401
    """What a page shows and a command does not print: keys, and values but for what ends or starts in "...".

    A number agrees in the digits that are shown. slack: how far numbers may differ besides, as a share.
    """
    if isinstance(shown, dict):
        for key in shown.keys() - MACHINES:
            missing = not isinstance(actual, dict) or key not in actual
            found = [f"{at}/{key}"] if missing else differences(shown[key], actual[key], slack, f"{at}/{key}")
            yield from found
    elif isinstance(shown, list):
        for index, each in enumerate(shown):
            yield from differences(each, actual[index], slack, f"{at}/{index}")
    elif not _agrees(shown, actual, slack):
        yield f"{at}: {shown}, and the command prints {actual}"


def _agrees(shown: Any, actual: Any, slack: float) -> bool:  # noqa: ANN401
    if isinstance(shown, str):
        start, cut, end = shown.partition("...")
        return str(actual).startswith(start) and str(actual).endswith(end) and (bool(cut) or shown == actual)
    if isinstance(shown, Decimal):
        unit = float(Decimal(1).scaleb(int(shown.as_tuple().exponent)))
        return bool(abs(actual - float(shown)) <= unit / 2 + slack * float(shown))
    if isinstance(shown, int) and slack and not isinstance(shown, bool):
        return bool(actual == pytest.approx(shown, rel=slack))
    return bool(shown == actual)


def keys(document: object, at: str = "") -> Iterator[str]:
    """Every key with those above it, such as "/graphs/*/size"; "*" is a name."""
    if isinstance(document, list):
        for each in document:
            yield from keys(each, at)
    elif isinstance(document, dict):
        for key, value in document.items():
            below = f"{at}/*" if at.rsplit("/", 1)[-1] in BY_NAME else f"{at}/{key}"
            yield below
            yield from keys(value, below)


def test_every_exported_name_is_explained() -> None:
    assert [name for name in glesam_runtime.__all__ if not re.search(rf"\b{name}\b", DOCS)] == []


def test_the_api_page_lists_every_exported_name() -> None:
    (members,) = re.findall(r"members: \[(.*?)\]", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    assert sorted(re.findall(r"\w+", members)) == sorted(glesam_runtime.__all__)


def test_every_part_of_a_predictor_and_every_argument_is_explained() -> None:
    methods = [name for name in vars(Predictor) if not name.startswith("_")]
    arguments = [
        name
        for method in (Predictor.from_bundle, Predictor.set_tensor, Predictor.predict)
        for name in inspect.signature(method).parameters
        if name != "self"
    ]
    code = " ".join(re.findall(r"`([^`\n]+)`", DOCS))
    assert [name for name in (*methods, *arguments) if not re.search(rf"\b{name}\b", code)] == []


def test_the_table_has_every_error() -> None:
    ours = [each for each in GlesamError.__subclasses__() if each.__module__ == GlesamError.__module__]
    assert len(ours) > 4
    assert [error for error in ours if f"| `{error.__name__}` |" not in DOCS] == []


def test_the_json_of_glesam_run_is_the_pages(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    command = [str(Path(sys.executable).with_name("glesam-run")), "bad.jpg", "--json"]
    command += [str(ROOT / "examples/photos/astronaut_lq3.jpg"), "--box", "20", "5", "470", "510"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    document = json.loads(done.stdout.replace(f"{ROOT}/", ""))
    assert set(keys(document)) == set(keys(examples()[0]))
    shown = examples(Decimal)[0]
    # The last bits, and with them a pixel at the border, depend on the CPU.
    for mask in shown["images"][0]["masks"]:
        del mask["segmentation"]["counts"]
    assert list(differences(shown, document, slack=0.01)) == []


def test_the_json_of_glesam_info_is_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path))
    document = json_document(info(Bundle.open()))
    assert set(keys(document)) == set(keys(examples()[1]))
    assert list(differences(examples(Decimal)[1], document)) == []


def test_a_page_that_went_stale_is_noticed() -> None:
    shown = json.loads('{"a": [{"b": 0.997}], "c": "12...", "d": 3}', parse_float=Decimal)
    assert list(differences(shown, {"a": [{"b": 0.99682}], "c": "1234", "d": 3})) == []
    stale = list(differences(shown, {"a": [{"b": 0.99649}], "c": "2234"}))
    assert sorted(each.split(":")[0] for each in stale) == ["/a/0/b", "/c", "/d"]


def test_the_example_of_glesam_run_obeys_the_schema() -> None:
    """The schema explains every key, and allows no other."""
    example = json.loads(json.dumps(examples()[0]).replace("9d8a38673dd3...", "0" * 64))
    jsonschema.validate(example, json_schema())


def test_every_key_of_glesam_infos_json_is_explained() -> None:
    named = {path.rsplit("/", 1)[-1] for path in keys(examples()[1])} - {"*"}
    prose = re.sub(r"```.*?```", "", DOCS, flags=re.DOTALL)
    assert [key for key in sorted(named) if f"`{key}`" not in prose] == []
