"""What a user sees on a terminal, through a pty, and what a pipe gets."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from glesam_runtime.tools.bottom_line import BottomLine

BOX = ["--box", "24", "16", "104", "80"]
TIME = re.compile(r"\d+\.\d")


def command(name: str, *arguments: object) -> list[str]:
    code = f"from glesam_runtime.cli.{name} import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def on_a_terminal(words: Sequence[str]) -> tuple[int, list[str]]:
    """Returns the exit status and the lines that are left on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(words[0], list(words), {**os.environ, "TERM": "xterm", "COLUMNS": "200"})
    written = b""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not block:
            break
        written += block
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen(written.decode())


def screen(written: str) -> list[str]:
    """Returns the rows that a terminal shows: it overwrites after a CR and clears a row at ESC [2K."""
    rows, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\r\n\x1b]+|\x1b", written):
        if part == "\n":
            rows.append("")
            column = 0
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            rows[-1] = ""
        elif part.startswith("\x1b"):
            assert part.endswith("m"), f"{part!r} is not understood"
        else:
            rows[-1] = rows[-1][:column].ljust(column) + part + rows[-1][column + len(part) :]
            column += len(part)
    return [row for row in rows if row]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        Image.new("RGB", (128, 96), "grey").save(path)
    return paths


@pytest.mark.parametrize("prompts", [BOX, ["--auto", "--points-per-side", "4"]])
def test_results_on_a_terminal_are_those_in_a_pipe(
    bundle_path: Path, photos: list[Path], tmp_path: Path, prompts: list[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    words = command("run", *photos, broken, *prompts, "--bundle", bundle_path, "--out", tmp_path / "out")
    status, lines = on_a_terminal(words)
    piped = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert status == piped.returncode == 2
    assert sorted(untimed(lines)) == sorted(untimed(piped.stdout.splitlines()))
    assert [line for line in lines if line.startswith(tuple(map(str, photos)))]


def untimed(lines: Sequence[str]) -> list[str]:
    return [TIME.sub("T", line) for line in lines]


def test_errors_on_a_terminal_are_lines_of_their_own(photos: list[Path], tmp_path: Path) -> None:
    photos[1].write_bytes(b"no picture")
    status, lines = on_a_terminal(command("degrade", *photos, "--out", tmp_path / "out"))
    assert status == 2
    (error, wrote) = lines
    assert error.startswith(f"error: {photos[1]}: expected a picture")
    assert wrote.startswith("wrote 2 pictures at LQ-3")


def test_bytes_text_and_unfinished_lines_appear_above_the_line() -> None:
    code = (
        "import sys\n"
        "from glesam_runtime.tools.bottom_line import BottomLine\n"
        "with BottomLine() as line:\n"
        "    line.show('1 of 2')\n"
        "    print('text')\n"
        "    sys.stdout.buffer.write(b'bytes\\n')\n"
        "    sys.stdout.buffer.flush()\n"
        "    print('an unfinished ', end='')\n"
        "    line.show('2 of 2')\n"
        "    print('line')\n"
        "    print('an error', file=sys.stderr)\n"
        "    with BottomLine() as inner:\n"
        "        inner.show('x' * 1000)\n"
        "        print('inner')\n"
        "    print('no end', end='')\n"
    )
    status, lines = on_a_terminal([sys.executable, "-c", code])
    assert status == 0
    assert lines == ["text", "bytes", "an unfinished line", "an error", "inner", "no end"]


def test_the_streams_are_the_callers_again_after_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyboardInterrupt), BottomLine() as line:
        line.show("1 of 2")
        raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr) == before


def test_a_folder_is_shown_whole_in_a_pipe_and_on_a_narrow_terminal(own_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40) / "bundle"
    folder.parent.mkdir()
    own_bundle.rename(folder)
    words = command("info", folder)
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    piped = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    assert str(folder) in piped
    assert all(line == line.rstrip() for line in piped.splitlines())
    narrow = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    ).stdout
    assert str(folder) in "".join(narrow.split())
    assert "…" not in piped + narrow


@pytest.mark.parametrize("name", ["info", "run"])
def test_head_ends_a_command_quietly(
    bundle_path: Path, photos: list[Path], name: str, tmp_path: Path
) -> None:
    arguments = (
        [bundle_path] if name == "info" else [*photos, *BOX, "--bundle", bundle_path, "--out", tmp_path / "o"]
    )
    process = subprocess.Popen(
        command(name, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert not re.search("error|Traceback", errors)
