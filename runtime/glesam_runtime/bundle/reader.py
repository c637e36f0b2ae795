"""Opens a bundle folder and checks everything in it; docs/bundle.md is the specification."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

from ..errors import BundleError
from .files import CHUNK_BYTES, LinkError, NoFileError, Stamp, chunks, is_plain, opened, stamp_of, whole
from .graph_rules import MOST_GRAPH_BYTES, check_graph_file
from .manifest import FileRecord, Manifest, parse_manifest
from .protobuf import Damaged
from .signature import SIGNATURE, check_signature

SHIPPED = "nano"
"""Name of the model in this package."""
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")
"""Endings of official weights, which people give in place of a bundle."""
MOST_MANIFEST_BYTES = 16 << 20
"""Largest bundle.json."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `hash` is the sha256 of bundle.json: the bundle's identity.

    stamps: identity, size and time of every file when it was hashed.
    """

    root: Path
    hash: str
    manifest: Manifest
    stamps: Mapping[str, Stamp] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, public_key: str | os.PathLike[str] | None = None
    ) -> Bundle:
        """Reads and verifies the bundle in the folder `path`; None, or "nano", is the one in this package.

        Every file is hashed once, and every graph is checked against docs/bundle.md. Raises BundleError,
        whose one line names the file, what was expected, what was found and the cure.
        public_key: a PEM file with the Ed25519 key of whoever must have signed the bundle; InputError where
        it is none.
        """
        if not isinstance(path, (str, os.PathLike, type(None))):
            raise BundleError(
                f'model: expected "{SHIPPED}" or a bundle\'s folder, found {type(path).__name__}; '
                "give its path"
            )
        root = default_bundle_path() if path is None or _is_shipped(path) else Path(path)
        _check_folder(root)
        text = _read(root, "bundle.json")
        if public_key is not None:
            check_signature(root, text, _read(root, SIGNATURE), Path(public_key))
        digest = hashlib.sha256(text).hexdigest()
        _check_sidecar(_read(root, "bundle.json.sha256"), digest)
        manifest = parse_manifest(text)
        return cls(
            root, digest, manifest, {name: _check_file(root, name, manifest) for name in manifest.files}
        )

    def graph_path(self, name: str) -> Path:
        """Returns the path of the ONNX file of graph `name`.

        Raises BundleError where a file has changed since it was hashed.
        """
        for file, stamp in self.stamps.items():
            now = self._stamp(file)
            if now is None or not now.is_as(stamp):
                raise self._replaced(file)
        return self.root / self.manifest.graphs[name].file

    def graph_content(self, name: str) -> GraphContent:
        """Returns the bytes of graph `name`, hashed as they are, for an engine.

        Raises BundleError where a file has changed since the bundle was opened.
        """
        path, file = self.graph_path(name), self.manifest.graphs[name].file
        model = self.file_content(file)
        if f"{file}.data" not in self.manifest.files:
            return GraphContent(path, model)
        return self._with_weights(GraphContent(path, model), f"{file}.data")

    def file_content(self, file: str) -> bytes:
        """Returns the bytes of a listed file. Raises BundleError where their hash is not the manifest's."""
        try:
            with opened(self.root, file) as descriptor:
                if stamp_of(descriptor).size != self.manifest.files[file].size:
                    raise self._replaced(file)
                content = whole(descriptor)
        except OSError as error:
            raise self._replaced(file) from error
        if hashlib.sha256(content).hexdigest() != self.manifest.files[file].sha256:
            raise self._replaced(file)
        return content

    def _with_weights(self, content: GraphContent, file: str) -> GraphContent:
        """Returns `content` with a large file that is mapped and hashed: it is not copied into memory."""
        try:
            with opened(self.root, file) as descriptor:
                stamp = stamp_of(descriptor)
                weights = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if stamp.size else b""
        except OSError as error:
            raise self._replaced(file) from error
        if hashlib.sha256(weights).hexdigest() != self.manifest.files[file].sha256:
            raise self._replaced(file)

        def check() -> None:
            if self._stamp(file) != stamp:
                raise self._replaced(file)

        return replace(content, weights=weights, check=check)

    def _stamp(self, file: str) -> Stamp | None:
        """Returns a file's stamp; None where there is no such file."""
        try:
            with opened(self.root, file) as descriptor:
                return stamp_of(descriptor)
        except OSError:
            return None

    def _replaced(self, file: str) -> BundleError:
        return BundleError(
            f"bundle {self.root}: {file} was replaced after its hash was checked; open the bundle again"
        )


@dataclass(frozen=True, eq=False)
class GraphContent:
    """The bytes of one graph that were hashed. An engine takes these and reads no file again.

    path: for messages. weights: the content of the file `<path>.data`, mapped; None where there is none.
    check: to be called once an engine has read `weights`: what is mapped changes with the file. It raises
    BundleError where that has happened.
    """

    path: Path
    model: bytes
    weights: mmap.mmap | bytes | None = None
    check: Callable[[], None] = lambda: None


def default_bundle_path() -> Path:
    """Returns the folder of the small model in this package. Raises BundleError where it is absent."""
    path = Path(str(files("glesam_runtime") / "models" / SHIPPED))
    if not path.is_dir():
        raise BundleError(
            f"this installation has no default bundle ({path} is missing); "
            "name one with --bundle PATH, or make one with glesam-export"
        )
    return path


def _is_shipped(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` is the name of the model in this package; a folder of that name goes first."""
    return os.fspath(path) == SHIPPED and not os.path.lexists(path)


def _check_folder(root: Path) -> None:
    if not os.path.isdir(root):  # unlike Path.is_dir, false for a name that is too long
        instead = "a file" if os.path.exists(root) else "nothing"
        cure = "give the folder that glesam-export wrote"
        if root.suffix in WEIGHTS:
            cure = "glesam-convert makes a checkpoint of official weights, and glesam-export a bundle of that"
        raise BundleError(f"bundle {root}: expected a folder with bundle.json, found {instead}; {cure}")
    if os.path.exists(root / "model.safetensors") and not os.path.lexists(root / "bundle.json"):
        raise BundleError(
            f"bundle {root}: expected a folder with bundle.json, found a checkpoint; "
            "glesam-export makes a bundle of it"
        )


def _read(root: Path, name: str) -> bytes:
    try:
        with opened(root, name) as file:
            text = os.read(file, MOST_MANIFEST_BYTES + 1)
            while len(text) <= MOST_MANIFEST_BYTES and (chunk := os.read(file, MOST_MANIFEST_BYTES + 1)):
                text += chunk
            if len(text) <= MOST_MANIFEST_BYTES:
                return text
            reason = f"it has more than {MOST_MANIFEST_BYTES} bytes"
    except LinkError:
        reason = "it is a link"
    except NoFileError as error:
        reason = "No such file or directory" if error.what == "nothing" else f"it is {error.what}"
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    raise BundleError(
        f"bundle {root}: cannot read {name} ({reason}); give the folder that glesam-export wrote"
    )


def _check_sidecar(sidecar: bytes, digest: str) -> None:
    if sidecar != f"{digest}  bundle.json\n".encode():
        recorded = sidecar[:64].decode("ascii", "replace").split("\n")[0]
        raise BundleError(
            f"bundle.json.sha256 says {recorded!r}, bundle.json hashes to {digest}; "
            "one of them was changed: copy or export the bundle again"
        )


def _check_file(root: Path, name: str, manifest: Manifest) -> Stamp:
    """Checks a file's size and hash and, if it is a graph, what it holds; returns its stamp."""
    if not is_plain(name):
        raise _leaves(root, name)
    record, graphs = manifest.files[name], [x.spec for x in manifest.graphs.values() if x.file == name]
    try:
        with opened(root, name) as file:
            stamp = stamp_of(file)
            _check_size(root, name, record, stamp.size, bool(graphs))
            content = whole(file) if graphs else b""
            _check_hash(root, name, record, [content] if graphs else chunks(file))
    except LinkError:
        raise _leaves(root, name) from None
    except NoFileError as error:
        raise _damaged(root, name, "a file", error.what) from error
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}: {str(root / name)!r}"
        raise _damaged(root, name, "a readable file", reason) from error
    sizes = {file: each.size for file, each in manifest.files.items()} if graphs else {}
    try:
        for spec in graphs:
            check_graph_file(content, spec, name, sizes)
    except Damaged as error:
        raise BundleError(
            f"bundle {root}: {name}: {error}; do not use this bundle, or export it again"
        ) from error
    return stamp


def _check_size(root: Path, name: str, record: FileRecord, size: int, is_graph: bool) -> None:
    if size != record.size:
        raise _damaged(root, name, f"{record.size} bytes", f"{size} bytes")
    if is_graph and size > MOST_GRAPH_BYTES:
        raise _damaged(root, name, f"at most {MOST_GRAPH_BYTES} bytes", f"{size} bytes")


def _check_hash(root: Path, name: str, record: FileRecord, content: Iterable[bytes]) -> None:
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    if digest.hexdigest() != record.sha256:
        raise _damaged(root, name, f"sha256 {record.sha256}", digest.hexdigest())


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file in lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _leaves(root: Path, name: str) -> BundleError:
    return BundleError(
        f"bundle {root}: files lists {name!r}, expected a relative path with / that stays in the "
        "folder and passes no link; do not use this bundle, or copy the real file into it"
    )


def _damaged(root: Path, name: str, expected: str, actual: str) -> BundleError:
    return BundleError(
        f"bundle {root}: {name}: expected {expected}, found {actual}; copy or export the bundle again"
    )
