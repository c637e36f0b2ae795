"""Bundle folders that a reader must refuse, each made from the tiny bundle, which the reader then opens."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from tiny_bundle import manifest, record, write_manifest

Generator = Callable[[Path], object]
FOLDERS: dict[str, Generator] = {}
"""Every generator by name."""


def hostile(generator: Generator) -> Generator:
    """Registers a generator."""
    FOLDERS[generator.__name__] = generator
    return generator


def _write_text(root: Path, text: bytes) -> None:
    (root / "bundle.json").write_bytes(text)
    (root / "bundle.json.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  bundle.json\n")


def _list(root: Path, name: str, size: int = 1) -> None:
    content = manifest(root)
    content["files"][name] = {"size": size, "sha256": "0" * 64}
    write_manifest(root, content)


@hostile
def manifest_is_a_pipe(root: Path) -> None:
    (root / "bundle.json").unlink()
    os.mkfifo(root / "bundle.json")


@hostile
def hash_is_a_pipe(root: Path) -> None:
    (root / "bundle.json.sha256").unlink()
    os.mkfifo(root / "bundle.json.sha256")


@hostile
def hash_is_a_link_to_a_secret(root: Path) -> None:
    (root / "bundle.json.sha256").unlink()
    (root / "bundle.json.sha256").symlink_to("/etc/passwd")


@hostile
def manifest_is_an_endless_device(root: Path) -> None:
    (root / "bundle.json").unlink()
    (root / "bundle.json").symlink_to("/dev/zero")


@hostile
def manifest_larger_than_the_limit(root: Path) -> None:
    _write_text(root, (root / "bundle.json").read_bytes() + b" " * (17 << 20))


@hostile
def manifest_of_open_brackets(root: Path) -> None:
    _write_text(root, b"[" * (15 << 20))


@hostile
def manifest_of_many_names(root: Path) -> None:
    names = ",".join(f'"n{i}":0' for i in range(1_000_000))
    _write_text(root, b"{" + names.encode() + b"}")


@hostile
def number_of_a_million_digits(root: Path) -> None:
    text = (root / "bundle.json").read_bytes()
    _write_text(root, text.replace(b'"timestep": 20', b'"timestep": ' + b"9" * 1_000_000))


@hostile
def name_used_twice(root: Path) -> None:
    text = (root / "bundle.json").read_bytes()
    _write_text(root, text.replace(b'"timestep": 20', b'"timestep": 20, "timestep": 21'))


@hostile
def nul_behind_the_object(root: Path) -> None:
    _write_text(root, (root / "bundle.json").read_bytes() + b"\0garbage")


@hostile
def byte_order_mark(root: Path) -> None:
    _write_text(root, b"\xef\xbb\xbf" + (root / "bundle.json").read_bytes())


@hostile
def text_in_utf_16(root: Path) -> None:
    _write_text(root, (root / "bundle.json").read_text().encode("utf-16"))


@hostile
def half_a_surrogate_pair_in_a_name(root: Path) -> None:
    text = (root / "bundle.json").read_bytes()
    _write_text(
        root,
        text.replace(b'"files": {', b'"files": {"\\ud800": {"size": 1, "sha256": "' + b"0" * 64 + b'"},'),
    )


@hostile
def escape_sequence_in_a_file_name(root: Path) -> None:
    _list(root, "\x1b]0;owned\x07\u009b31m\u202egnp.onnx")


@hostile
def listed_file_is_a_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")
    _list(root, "pipe")


@hostile
def listed_file_is_a_socket(root: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    with server:
        here = os.getcwd()
        os.chdir(root)  # a socket's path has at most 107 characters
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
    _list(root, "socket")


@hostile
def listed_file_is_a_link_inside(root: Path) -> None:
    (root / "link").symlink_to("gle.onnx")
    content = manifest(root)
    content["files"]["link"] = record(root / "gle.onnx")
    write_manifest(root, content)


@hostile
def listed_file_lies_behind_a_link(root: Path) -> None:
    (root / "golden").symlink_to("/etc")
    _list(root, "golden/passwd")


@hostile
def listed_file_is_a_device(root: Path) -> None:
    _list(root, "../../../../../../dev/zero")


@hostile
def files_of_an_exabyte(root: Path) -> None:
    _list(root, "large", 1 << 60)


@hostile
def file_of_a_gigabyte_as_a_graph(root: Path) -> None:
    with (root / "gle.onnx").open("ab") as file:
        file.truncate(1 << 30)  # sparse
    content = json.loads((root / "bundle.json").read_text())
    content["files"]["gle.onnx"]["size"] = 1 << 30
    write_manifest(root, content)
