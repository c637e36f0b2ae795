"""The writer of files: random names, nothing followed, nothing replaced but files, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glesam_runtime.errors import OutputError
from glesam_runtime.output import files, replaced_file, replaced_folder, write_files
from glesam_runtime.output.temporary import new_file

KILLED = """
import os, signal, sys
from pathlib import Path
from glesam_runtime.output import files, replaced_file, write_files
path = Path(sys.argv[1])
if sys.argv[2] == "partial":
    with replaced_file(path) as partial:
        partial.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_files({path: b"half"})
"""


@pytest.fixture(autouse=True)
def never_tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_tidied", set())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_users_own_tmp_file_stays(tmp_path: Path) -> None:
    for name in ("mask.png.tmp", ".mask.png.tmp", f".mask.png.{os.getpid()}.tmp", ".mask.png.partial"):
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    write_files({tmp_path / "mask.png": b"1"})
    with replaced_file(tmp_path / "mask.png") as partial:
        partial.write_text("2")
    assert names(tmp_path) == sorted([*before, "mask.png"])


def test_a_link_planted_under_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_text("precious")
    tokens = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
    (tmp_path / f".mask.png.{'0' * 16}.tmp").symlink_to(tmp_path / "victim")
    write_files({tmp_path / "mask.png": b"1"})
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "mask.png").read_bytes() == b"1"


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    for write in (lambda path: write_files({path: b"1"}), _write_by_replaced_file):
        link = tmp_path / "mask.png"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "victim")
        write(link)
        assert not link.is_symlink()
        assert (tmp_path / "victim").read_text() == "precious"


def _write_by_replaced_file(path: Path) -> None:
    with replaced_file(path) as partial:
        partial.write_bytes(b"1")


@pytest.mark.parametrize("through_link", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_only_files_are_replaced(tmp_path: Path, kind: str, through_link: bool) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif os.geteuid():
        path.symlink_to("/dev/null")  # nobody but root can replace it, and root has a device of his own below
    else:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    target = tmp_path / "link" if through_link else path
    if through_link:
        target.symlink_to(path)
    with pytest.raises(OutputError, match="it is no file"):
        write_files({target: b"1"})
    with pytest.raises(OSError, match="it is no file"):
        _write_by_replaced_file(target)
    with pytest.raises(OutputError, match="is not a bundle"), replaced_folder(target):
        pass
    assert not path.is_file()
    assert names(tmp_path) == sorted({path.name, target.name})


@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.sha256", "encoder.onnx", "golden/0.npz"])
def test_a_bundles_own_files_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "golden").mkdir()
    listed = {"encoder.onnx": {}, "golden/0.npz": {}}
    (tmp_path / "bundle.json").write_text(json.dumps({"files": listed}))
    for other in ("bundle.json.sha256", *listed):
        (tmp_path / other).write_text("of the bundle")
    before = (tmp_path / name).read_bytes()
    for path in (tmp_path / name, tmp_path / "golden/.." / name):
        with pytest.raises(
            OutputError, match=r"it is a file of the bundle .*choose another folder with --out"
        ):
            write_files({path: b"1"})
    assert (tmp_path / name).read_bytes() == before
    for _ in range(2):
        write_files({tmp_path / "photo.mask0.png": b"1"})  # a user's results may lie beside them


@pytest.mark.parametrize("ending", ["tmp", "partial"])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, ending: str) -> None:
    target = tmp_path / "mask.png"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target), ending])
    assert killed.returncode == -signal.SIGKILL
    assert [name.rpartition(".")[2] for name in names(tmp_path)] == [ending]
    with new_file(target, "tmp") as (living, _):
        write_files({tmp_path / "other.png": b"1"})
        assert names(tmp_path) == sorted([living.name, "other.png"])


def test_files_of_two_runs_never_lie_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process is killed: after each removal and each renaming."""
    paths = [tmp_path / name for name in ("prompts.json", "results.csv", "table.md")]
    seen = []

    def snapshot() -> None:
        seen.append({path.read_bytes() for path in paths if path.exists()})

    unlink, replace = Path.unlink, os.replace

    def watched_unlink(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        snapshot()

    def watched_replace(source: Path, target: Path) -> None:
        replace(source, target)
        snapshot()

    write_files({path: b"old" for path in paths})
    monkeypatch.setattr(Path, "unlink", watched_unlink)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_files({path: b"new" for path in paths})
    assert all(len(contents) <= 1 for contents in seen), seen
    assert {b"old"} in seen and {b"new"} in seen


def test_what_is_swapped_in_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename

    def watched_fsync(descriptor: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append("folder" if name == tmp_path.name else "file" if "onnx" in name else "content")
        fsync(descriptor)

    def swap(*_: object) -> None:
        events.append("swap")

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (swap(), replace(*paths)))
    monkeypatch.setattr(Path, "rename", lambda *paths: (swap(), rename(*paths))[1])
    write_files({tmp_path / "a.onnx": b"1"})
    assert events == ["file", "swap", "folder"]
    events.clear()
    with replaced_file(tmp_path / "b.onnx") as partial:
        partial.write_bytes(b"1")
    assert events == ["file", "swap", "folder"]
    events.clear()
    with replaced_folder(tmp_path / "bundle") as folder:
        (folder / "c.onnx").write_bytes(b"1")
    assert events == ["file", "content", "swap", "folder"]


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".png", "ü" * 125 + ".png"):
        write_files({tmp_path / name: b"1"})
        assert (tmp_path / name).read_bytes() == b"1"
