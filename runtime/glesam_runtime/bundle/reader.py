"""Opens a bundle folder and checks everything in it; docs/bundle.md is the specification."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from ..errors import BundleError, first_line
from .manifest import FileRecord, Manifest, parse_manifest

_CHUNK_BYTES = 1 << 20
Stamp = tuple[int, int]
"""Size of a file [bytes], and when it was last changed [ns]."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `hash` is the sha256 of bundle.json: the bundle's identity.

    stamps: size and time of every file when it was hashed.
    """

    root: Path
    hash: str
    manifest: Manifest
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Reads and verifies the bundle in the folder `path`; None is the one in this package.

        Every file is hashed once. Raises BundleError, whose one line names the file, what was expected,
        what was found and the cure.
        """
        root = default_bundle_path() if path is None else Path(path)
        _check_folder(root)
        text = _read(root, "bundle.json")
        digest = hashlib.sha256(text).hexdigest()
        _check_sidecar(_read(root, "bundle.json.sha256"), digest)
        manifest = parse_manifest(text)
        stamps = {name: _check_file(root, name, record) for name, record in manifest.files.items()}
        return cls(root, digest, manifest, stamps)

    def graph_path(self, name: str) -> Path:
        """Returns the path of the ONNX file of graph `name`.

        Raises BundleError where a file has changed since it was hashed.
        """
        for file, stamp in self.stamps.items():
            if _stamp(self.root / file) != stamp:
                raise BundleError(
                    f"bundle {self.root}: {file} was replaced after its hash was checked; "
                    "open the bundle again"
                )
        return self.root / self.manifest.graphs[name].file


def default_bundle_path() -> Path:
    """Returns the folder of the small model in this package. Raises BundleError where it is absent."""
    path = Path(str(files("glesam_runtime") / "models" / "nano"))
    if not path.is_dir():
        raise BundleError(
            f"this installation has no default bundle ({path} is missing); "
            "name one with --bundle PATH, or make one with glesam-export"
        )
    return path


def _check_folder(root: Path) -> None:
    if not os.path.isdir(root):  # unlike Path.is_dir, false for a name that is too long
        instead = "a file" if os.path.exists(root) else "nothing"
        raise BundleError(
            f"bundle {root}: expected a folder with bundle.json, found {instead}; "
            "give the folder that glesam-export wrote"
        )


def _read(root: Path, name: str) -> bytes:
    try:
        return (root / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"bundle {root}: cannot read {name} ({error.strerror}); give the folder that glesam-export wrote"
        ) from error


def _check_sidecar(sidecar: bytes, digest: str) -> None:
    if sidecar != f"{digest}  bundle.json\n".encode():
        recorded = sidecar[:64].decode("ascii", "replace").split("\n")[0]
        raise BundleError(
            f"bundle.json.sha256 says {recorded!r}, bundle.json hashes to {digest}; "
            "one of them was changed: copy or export the bundle again"
        )


def _check_file(root: Path, name: str, record: FileRecord) -> Stamp | None:
    """Checks a file's size and hash; returns its stamp, taken before the hash."""
    try:
        path = _inside(root, name)
        stamp = _stamp(path)
        if not path.is_file():
            raise _damaged(root, name, "a file", "a folder" if path.exists() else "nothing")
        size = path.stat().st_size
        sha256 = sha256_of(path) if size == record.size else ""
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a loop, before Python 3.13
        raise _damaged(root, name, "a readable file", first_line(error)) from error
    if size != record.size:
        raise _damaged(root, name, f"{record.size} bytes", f"{size} bytes")
    if sha256 != record.sha256:
        raise _damaged(root, name, f"sha256 {record.sha256}", sha256)
    return stamp


def _stamp(path: Path) -> Stamp | None:
    """Returns a file's stamp; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _inside(root: Path, name: str) -> Path:
    """Returns the path of a listed file, which must stay in the folder; so must the target of a link."""
    parts = name.split("/")
    if "\\" in name or ":" in name or "\0" in name or {"", ".", ".."} & set(parts):
        raise _leaves(root, name)
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise _leaves(root, name)
    return path


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file in lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _leaves(root: Path, name: str) -> BundleError:
    return BundleError(
        f"bundle {root}: files lists {name!r}, expected a relative path with / that stays in the "
        "folder, links included; do not use this bundle, or copy the real file into it"
    )


def _damaged(root: Path, name: str, expected: str, actual: str) -> BundleError:
    return BundleError(
        f"bundle {root}: {name}: expected {expected}, found {actual}; copy or export the bundle again"
    )
