"""The folders of runtime/src depend on each other in one order; vendor headers stay in their own files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "runtime/src"
ORDER = ("common", "bundle", "image", "engines", "predictor", "c_api")
"""Each folder includes headers of itself and of those before it."""
VENDORS = {
    "openvino/": "engines/openvino.cpp",
    "onnxruntime": "engines/onnxruntime.cpp",
    "NvInfer": "engines/tensorrt/",
    "cuda": "engines/tensorrt/",
    "nlohmann/": ("bundle/json_fields.hpp", "engines/tensorrt/cache.cpp"),
    "openssl/": ("bundle/sha256.cpp", "bundle/signature.cpp"),
}
"""The start of a foreign header's name, and the only files that include it."""


def includes(pattern: str) -> Iterator[tuple[str, str]]:
    """Every file below runtime/src, with each of the headers that it includes."""
    for path in sorted(SOURCES.rglob("*.?pp")):
        for header in re.findall(pattern, path.read_text(), re.MULTILINE):
            yield path.relative_to(SOURCES).as_posix(), header


def test_every_file_lies_in_a_folder_of_the_order() -> None:
    assert {path.name for path in SOURCES.iterdir()} == set(ORDER)


def test_a_folder_includes_only_those_before_it() -> None:
    ours = [
        (path, header) for path, header in includes(r'^#include "(.+)"') if not header.startswith("glesam/")
    ]
    assert len(ours) > 50
    assert [(path, header) for path, header in ours if not (SOURCES / header).is_file()] == []
    rank = {folder: number for number, folder in enumerate(ORDER)}
    upward = [(a, b) for a, b in ours if rank[b.split("/")[0]] > rank[a.split("/")[0]]]
    assert upward == []


def test_a_vendors_headers_are_included_by_its_own_files_only() -> None:
    foreign = list(includes(r"^#include <(.+)>"))
    for start, home in VENDORS.items():
        users = [path for path, header in foreign if header.startswith(start)]
        assert users, start
        assert [path for path in users if not path.startswith(home)] == []
