"""Fuzzes both readers with the same damaged files: a refusal is one line, the same in both.

The same files are tried in every run; GLESAM_FUZZ_EXAMPLES=100000 tries others, and as many for each test.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import native
import numpy as np
import onnx
import pytest
from answers import SECONDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from tiny_bundle import GRAPHS, manifest, model_of, write_bundle, write_manifest

from glesam_runtime import Bundle, BundleError
from glesam_runtime.bundle.graph_rules import INTEGER_ATTRIBUTES, OPERATORS, check_graph_file
from glesam_runtime.bundle.protobuf import Damaged
from glesam_runtime.bundle.spec import bundle_contract

GLE = bundle_contract(64)["gle"]
EXAMPLES = os.environ.get("GLESAM_FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(EXAMPLES or 150),
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Pieces that lie near what a reader accepts: tags, lengths, long numbers, and names of fields.
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b"\x0a\x00", b"\x3a\x02\x0a\x00", b"\xff" * 9 + b"\x01", b"\x08\x0a", b"\x42\x04\x0a\x00\x10\x12"]
    ),
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 8), PIECES), min_size=1, max_size=6
)


def changed(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Returns `content` with pieces cut out and others put in their place."""
    for where, cut, piece in changes:
        position = int(where * len(content))
        content = content[:position] + piece + content[position + cut :]
    return content


def refusal_of(root: Path) -> str:
    """Returns the reader's refusal, "" where it takes the bundle; any other error is a finding."""
    start = time.process_time()
    try:
        Bundle.open(root)
        line = ""
    except BundleError as error:
        line = str(error)
        assert line.isprintable()
    assert time.process_time() - start < SECONDS
    return line


def check_cpp_says_the_same(root: Path, line: str) -> None:
    if not native.LIBRARY.exists():
        return
    try:
        native.open_bundle(root)
        cpp = ""
    except BundleError as error:
        cpp = str(error)
    if "is not JSON (" in cpp:  # each quotes its own parser
        assert "is not JSON (" in line
    else:
        assert cpp == line


@contextmanager
def own(bundle: Path) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(shutil.copytree(bundle, Path(folder) / "bundle"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("fuzz") / "bundle")


@FUZZ
@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_graph_are_refused(content: bytes) -> None:
    with pytest.raises(Damaged):
        check_graph_file(content, GLE, "gle.onnx", {})


@FUZZ
@given(changes=CHANGES)
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_damaged_graph_is_refused_or_read_alike(
    bundle: Path, name: str, changes: list[tuple[float, int, bytes]]
) -> None:
    with own(bundle) as root:
        path = root / f"{name}.onnx"
        path.write_bytes(changed(path.read_bytes(), changes))
        write_manifest(root, manifest(root))
        check_cpp_says_the_same(root, refusal_of(root))


# Numbers at which a rule changes its mind: axes, sizes of the tiny graphs, and the ends of ranges.
NUMBERS = st.sampled_from(
    [-9, -2, -1, 0, 1, 2, 3, 4, 16, 64, 256, 1 << 20, 1 << 31, (1 << 63) - 1, -(1 << 63)]
)
INTEGERS = st.lists(NUMBERS, max_size=5)
FLOATS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e9, -1.0, float("nan"), float("inf")]), max_size=5)


@st.composite
def constants(draw: st.DrawFn) -> np.ndarray:
    """A shape, an axis, scales, or zeros of any shape."""
    kind = draw(st.sampled_from(["numbers", "number", "scales", "zeros"]))
    if kind == "numbers":
        return np.array(draw(INTEGERS), np.int64)
    if kind == "number":
        return np.array(draw(NUMBERS), np.int64)
    if kind == "scales":
        return np.array(draw(FLOATS), np.float32)
    return np.zeros(draw(st.lists(st.sampled_from([0, 1, 2, 4, 16, 256]), max_size=3)), np.float32)


@st.composite
def attributes(draw: st.DrawFn) -> list[onnx.AttributeProto]:
    names = draw(st.lists(st.sampled_from(sorted(INTEGER_ATTRIBUTES)), max_size=4, unique=True))
    kinds = {name: INTEGER_ATTRIBUTES[name][0] for name in names}
    return [
        onnx.AttributeProto(name=name, type=kind, i=draw(NUMBERS))
        if kind == onnx.AttributeProto.INT
        else onnx.AttributeProto(name=name, type=kind, ints=draw(INTEGERS))
        for name, kind in kinds.items()
    ]


@st.composite
def graphs(draw: st.DrawFn, name: str) -> onnx.ModelProto:
    """One of the tiny graphs with some more nodes, whose inputs are any tensors before them."""
    model = model_of(GRAPHS[name])
    graph = model.graph
    known = ["", *(x.name for x in graph.input), *(name for node in graph.node for name in node.output)]
    for index in range(draw(st.integers(1, 5))):
        for number, value in enumerate(draw(st.lists(constants(), max_size=3))):
            graph.initializer.append(numpy_helper.from_array(value, f"c{index}.{number}"))
            known.append(f"c{index}.{number}")
        inputs = draw(st.lists(st.sampled_from(known[::-1]), max_size=4))
        outputs = [f"o{index}.{number}" for number in range(draw(st.integers(1, 3)))]
        op_type = draw(st.sampled_from(sorted(OPERATORS)))
        graph.node.add(op_type=op_type, input=inputs, output=outputs, attribute=draw(attributes()))
        known += outputs
    return model


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_any_nodes_in_a_graph_are_refused_or_read_alike(bundle: Path, name: str, data: st.DataObject) -> None:
    with own(bundle) as root:
        (root / f"{name}.onnx").write_bytes(data.draw(graphs(name)).SerializeToString())
        write_manifest(root, manifest(root))
        check_cpp_says_the_same(root, refusal_of(root))


@FUZZ
@given(changes=CHANGES)
def test_a_damaged_manifest_is_refused_or_read_alike(
    bundle: Path, changes: list[tuple[float, int, bytes]]
) -> None:
    with own(bundle) as root:
        text = changed((root / "bundle.json").read_bytes(), changes)
        (root / "bundle.json").write_bytes(text)
        line = refusal_of(root)
        assert line.startswith("bundle.json.sha256 says") or text == (bundle / "bundle.json").read_bytes()
        check_cpp_says_the_same(root, line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(data=st.data(), value=JSON)
def test_any_value_in_any_field_is_refused_or_read_alike(
    bundle: Path, data: st.DataObject, value: object
) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    place = content
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    with own(bundle) as root:
        write_manifest(root, content)
        check_cpp_says_the_same(root, refusal_of(root))
