"""Descriptions of data sets: how a folder is to be read, and which of its pictures are for training.

A JSON file holds a list of them. `sets.json` beside this file describes the data sets that nano was trained
on, and others that it is evaluated on. Frames of one camvid sequence resemble each other, so whole sequences
are held out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from glesam_runtime.errors import InputError

Kind = Literal["label_maps", "pairs", "coco"]
Dev = Literal["tenth", "all", "none"]

DEV_SHARE = 10
"""One picture in this many belongs to the development split."""
EXPECTED = {
    "name": "a name",
    "kind": f"one of {', '.join(get_args(Kind))}",
    "path": "a folder, relative to the data's",
    "images": "a folder within path",
    "masks": "a folder within path",
    "mask_suffix": 'what follows the picture\'s stem, as in "_mask"',
    "annotations": "a COCO or LVIS file, relative to the data's folder",
    "ignored_labels": "a list of numbers",
    "dev": f"one of {', '.join(get_args(Dev))}",
    "dev_sequences": "a list of parts of names",
    "weight": "a number above 0",
}
"""Keys of a description, and what each must hold."""


@dataclass(frozen=True)
class DatasetDescription:
    """How to read one data set.

    `kind`: "label_maps" (a number per pixel, every connected part of a number is an object), "pairs"
    (a black and white mask per picture, white is one object) or "coco" (`annotations` in the format of
    COCO or LVIS). `path` is the data set's folder, by default its `name`; `images` and `masks` are folders
    within it. `ignored_labels` are never objects (background, "ignore").

    `dev` selects the pictures for development, which are never trained on: a tenth by the hash of their
    name, all, or none. `dev_sequences` instead selects those whose name contains one of these.
    """

    name: str
    kind: Kind = "label_maps"
    path: str = ""
    images: str = ""
    masks: str = ""
    mask_suffix: str = ""
    annotations: str = ""
    ignored_labels: tuple[int, ...] = (0,)
    dev: Dev = "tenth"
    dev_sequences: tuple[str, ...] = ()
    weight: float = 1.0

    def is_dev(self, name: str) -> bool:
        """True where the picture `name` is for development."""
        if self.dev_sequences:
            return any(sequence in name for sequence in self.dev_sequences)
        if self.dev != "tenth":
            return self.dev == "all"
        key = f"{self.name}/{name}".encode("utf-8", "surrogatepass")  # any bytes are a file's name
        return int(hashlib.sha256(key).hexdigest(), 16) % DEV_SHARE == 0

    def folder(self, data: Path) -> Path:
        """The data set's folder within `data`."""
        return data / (self.path or self.name)


def shipped_descriptions() -> tuple[DatasetDescription, ...]:
    """Descriptions of nano's training sets, and of sets that it is evaluated on."""
    text = (files("glesam.data") / "sets.json").read_text("utf-8")
    return parse_descriptions(text, "sets.json")


def read_descriptions(path: Path) -> tuple[DatasetDescription, ...]:
    """Reads a JSON list of descriptions.

    Raises:
        InputError: it is not such a list, or a key is unknown, missing, or holds a wrong value.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected JSON in UTF-8: {error}") from error
    return parse_descriptions(text, str(path))


def parse_descriptions(text: str, source: str) -> tuple[DatasetDescription, ...]:
    """Parses a JSON list of descriptions; `source` names the text in errors."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InputError(f"{source}: expected JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{source}: expected a list of sets, [{{"name": ..., "kind": ...}}, ...]')
    described = tuple(_parse(entry, f"{source}: set {i}") for i, entry in enumerate(entries, start=1))
    names = [description.name for description in described]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{source}: {repeated[0]} is described twice; give every set a name of its own")
    return described


def _parse(entry: object, source: str) -> DatasetDescription:
    if not isinstance(entry, dict):
        raise InputError(f'{source}: expected {{"name": ..., "kind": ...}}, found {json.dumps(entry)}')
    source = f"{source} ({entry['name']})" if "name" in entry else source
    if unknown := sorted(set(entry) - set(EXPECTED)):
        raise InputError(f"{source}: unknown key {unknown[0]!r}; expected {', '.join(EXPECTED)}")
    if missing := [key for key in ("name", "kind") if key not in entry]:
        raise InputError(f"{source}: {missing[0]!r} is missing; expected {EXPECTED[missing[0]]}")
    for key, value in entry.items():
        if not _fits(key, value):
            raise InputError(f"{source}: {key} is {json.dumps(value)}; expected {EXPECTED[key]}")
    if entry["kind"] == "coco" and not entry.get("annotations"):
        raise InputError(f"{source}: a coco set needs 'annotations': {EXPECTED['annotations']}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return DatasetDescription(**values)


def _fits(key: str, value: Any) -> bool:  # noqa: ANN401
    """True where a value of a JSON file is valid for this field."""
    if key == "kind":
        return value in get_args(Kind)
    if key == "dev":
        return value in get_args(Dev)
    if key == "weight":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    if key in ("ignored_labels", "dev_sequences"):
        element = int if key == "ignored_labels" else str
        return isinstance(value, list) and all(type(v) is element for v in value)
    return isinstance(value, str) and (key != "name" or bool(value))
