"""Fuzzes both readers with the same damaged files: a refusal is one line, the same in both."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import native
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import manifest, write_bundle, write_manifest

from glesam_runtime import Bundle, BundleError
from glesam_runtime.bundle.graph_rules import check_graph_file
from glesam_runtime.bundle.protobuf import Damaged
from glesam_runtime.bundle.spec import bundle_contract

GLE = bundle_contract(64)["gle"]
SECONDS = 2.0
FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
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
def test_a_damaged_graph_is_refused_or_read_alike(
    bundle: Path, changes: list[tuple[float, int, bytes]]
) -> None:
    with own(bundle) as root:
        path = root / "gle.onnx"
        path.write_bytes(changed(path.read_bytes(), changes))
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
