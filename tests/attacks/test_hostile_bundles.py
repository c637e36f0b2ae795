"""Hostile bundles, hashed anew, are refused in one line, before an engine sees them, within two seconds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import costly_graphs  # noqa: F401 - registers its generators
import native
import onnx
import pytest
from answers import SECONDS, answers_of
from hostile_folders import FOLDERS
from hostile_graphs import GRAPHS
from tiny_bundle import manifest, write_bundle, write_manifest

ENGINES = ("onnxruntime", "openvino", "native")
Answers = dict[str, dict[str, dict[str, object]]]


def is_here(engine: str) -> bool:
    return native.LIBRARY.exists() if engine == "native" else find_spec(engine) is not None


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the folder of every attack by its name, and of a sound bundle."""
    folder = tmp_path_factory.mktemp("attacks")
    paths = {"sound": write_bundle(folder / "sound")}
    for name, change_graph in GRAPHS.items():
        paths[name] = write_bundle(folder / name)
        model = onnx.load(paths[name] / "gle.onnx")
        content = change_graph(model)
        (paths[name] / "gle.onnx").write_bytes(model.SerializeToString() if content is None else content)
        (paths[name] / "gle.onnx.data").write_bytes(bytes(4))  # which the manifest does not list
        write_manifest(paths[name], manifest(paths[name]))
    for name, change_folder in FOLDERS.items():
        paths[name] = write_bundle(folder / name)
        change_folder(paths[name])
    return paths


@pytest.fixture(scope="session")
def answers(bundles: dict[str, Path]) -> Answers:
    """Returns what each engine's process said to each attack: all bundles are opened by one process."""
    engines = filter(is_here, ENGINES)
    return {engine: answers_of("attempt.py", engine, bundles.values()) for engine in engines}


@pytest.mark.parametrize("name", [*GRAPHS, *FOLDERS])
@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_refused_in_one_line_within_two_seconds(answers: Answers, engine: str, name: str) -> None:
    if engine not in answers:
        pytest.skip(f"{engine} is not built or installed here")
    answer = answers[engine][name]
    assert answer["kind"] == "BundleError"
    assert str(answer["error"]).isprintable()
    assert len(str(answer["error"])) < 2000
    assert float(str(answer["seconds"])) < SECONDS


@pytest.mark.parametrize("name", [*GRAPHS, *FOLDERS])
def test_both_languages_refuse_with_the_same_words(answers: Answers, name: str) -> None:
    if "native" not in answers:
        pytest.skip("the C++ library is not built here")
    python, cpp = (str(answers[engine][name]["error"]) for engine in ("onnxruntime", "native"))
    if "is not JSON (" in cpp:  # each quotes its own parser
        assert "is not JSON (" in python
    else:
        assert python == cpp


def test_no_message_holds_bytes_of_another_file(answers: Answers) -> None:
    for lines in answers.values():
        assert not any("root:" in str(line.get("error")) for line in lines.values())
