"""The target is the old folder or the new one, never half of either, however a run ends."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glesam_runtime.errors import OutputError
from glesam_runtime.output import replaced_folder

WRITER = """
import sys
from pathlib import Path
from glesam_runtime.output import replaced_folder

def write(folder, version):
    for name in ("bundle.json", "one.onnx", "two.onnx"):
        (folder / name).write_text(version)
"""


def write_version(folder: Path, version: str) -> None:
    for name in ("bundle.json", "one.onnx", "two.onnx"):
        (folder / name).write_text(version)


def version_of(folder: Path) -> str:
    """The one version that every file of a complete folder has."""
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "one.onnx", "two.onnx"]
    (version,) = {path.read_text() for path in folder.iterdir()}
    return version


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A bundle of version "old", alone in its folder."""
    folder = tmp_path / "exports" / "bundle"
    folder.mkdir(parents=True)
    write_version(folder, "old")
    return folder


def beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def start_writer(code: str, target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + code, str(target)], stdout=subprocess.PIPE, text=True
    )


def kill(writer: subprocess.Popen[str]) -> None:
    writer.kill()
    writer.wait()
    assert writer.stdout is not None
    writer.stdout.close()


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "some" / "where" / "bundle"
    with replaced_folder(target) as folder:
        write_version(folder, "new")
        assert not target.exists()
    assert version_of(target) == "new"
    assert beside(target) == ["bundle"]


def test_an_old_bundle_stays_until_the_new_one_is_complete(target: Path) -> None:
    with replaced_folder(target) as folder:
        write_version(folder, "new")
        assert version_of(target) == "old"
    assert version_of(target) == "new"
    assert beside(target) == ["bundle"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "bundle") as folder:
        (tmp_path / "bundle").mkdir()
        write_version(folder, "new")
    assert version_of(tmp_path / "bundle") == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_or_an_interrupt_leaves_the_old_bundle_alone(
    target: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), replaced_folder(target) as folder:
        write_version(folder, "new")
        raise error
    assert version_of(target) == "old"
    assert beside(target) == ["bundle"]


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parity"), replaced_folder(tmp_path / "bundle") as folder:
        write_version(folder, "new")
        raise ValueError("parity")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_platform_without_an_exchange_renames_thrice(
    target: Path, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with replaced_folder(target) as folder:
        write_version(folder, "new")
    assert version_of(target) == "new"
    assert beside(target) == ["bundle"]


def test_a_killed_run_leaves_the_old_bundle_and_the_next_run_tidies_up(target: Path) -> None:
    code = (
        "with replaced_folder(Path(sys.argv[1])) as folder:\n"
        "    write(folder, 'half')\n"
        "    print('inside', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER + code, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None and writer.stdin is not None
    assert writer.stdout.readline() == "inside\n"
    with replaced_folder(target) as folder:
        write_version(folder, "new")
    assert any("partial" in name for name in beside(target)), "a run that still lives keeps its folder"
    kill(writer)
    writer.stdin.close()
    assert version_of(target) == "new"
    with replaced_folder(target) as folder:
        write_version(folder, "newer")
    assert version_of(target) == "newer"
    assert beside(target) == ["bundle"]


def leave_leftovers(target: Path, pid: int) -> None:
    folder = target.with_name(f".{target.name}.{pid}.partial")
    folder.mkdir(exist_ok=True)
    write_version(folder, "half")


def test_leftovers_of_a_killed_run_with_our_own_process_id_are_in_nobodys_way(target: Path) -> None:
    """In a container every run has the same id."""
    leave_leftovers(target, os.getpid())
    with replaced_folder(target) as folder:
        assert list(folder.iterdir()) == []
        write_version(folder, "new")
    assert version_of(target) == "new"
    assert beside(target) == ["bundle"]


def test_only_leftovers_of_this_target_are_removed(target: Path) -> None:
    others = [".bundle2.99999999.partial", ".bundle.notes.partial", "bundle.99999999.partial"]
    for name in others:
        (target.parent / name).mkdir()
    with replaced_folder(target) as folder:
        write_version(folder, "new")
    assert beside(target) == sorted(["bundle", *others])


def test_a_kill_at_any_moment_leaves_one_complete_version(target: Path) -> None:
    code = (
        "print('started', flush=True)\n"
        "for version in range(1_000_000):\n"
        "    with replaced_folder(Path(sys.argv[1])) as folder:\n"
        "        write(folder, str(version))\n"
    )
    moments = random.Random(0)
    seen = set()
    for _ in range(8):
        writer = start_writer(code, target)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "started\n"
        time.sleep(moments.uniform(0, 0.5))  # each version is flushed to the disk
        kill(writer)
        seen.add(version_of(target))
    assert len(seen) > 1
    with replaced_folder(target) as folder:
        write_version(folder, "last")
    assert version_of(target) == "last"
    assert beside(target) == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(OutputError, match="photos exists and is not a bundle"):
        replaced_folder(tmp_path / "photos").__enter__()
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


def test_a_folder_that_fills_with_something_else_meanwhile_is_never_deleted(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(OutputError, match="is not a bundle"), replaced_folder(target) as folder:
        write_version(folder, "new")
        target.mkdir()
        (target / "cat.jpg").write_text("meow")
    assert [path.name for path in target.iterdir()] == ["cat.jpg"]
    assert beside(target) == ["bundle"]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    with pytest.raises(OutputError, match="is not a bundle"):
        replaced_folder(tmp_path / "bundle").__enter__()
    assert (tmp_path / "bundle").read_text() == "a file"


def test_a_parent_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for parent in (tmp_path / "file", Path("/proc")):
        with pytest.raises(OutputError, match="choose another folder with --out"):
            replaced_folder(parent / "bundle").__enter__()


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link_and_its_folder_is_replaced(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "versions").mkdir()
    real, link = tmp_path / "versions" / "one", tmp_path / "current"
    link.symlink_to(real)
    if exists:
        real.mkdir()
        write_version(real, "old")
    with replaced_folder(link) as folder:
        write_version(folder, "new")
    assert link.is_symlink()
    assert version_of(real) == "new"
    assert beside(link) == ["current", "versions"]
    assert beside(real) == ["one"]
