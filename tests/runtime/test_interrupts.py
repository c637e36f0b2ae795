"""SIGTERM and Ctrl-C end a command in order, and by force where a library does not return."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import interruptible

# PBKDF2 of OpenSSL computes for an hour without the GIL, as an engine may, and no signal ends it. The loop is
# for a signal that arrives before it starts: Python would end in order there.
STUCK = """
import hashlib, sys
from glesam_runtime.cli import interrupts
from glesam_runtime.cli.errors import one_line_errors
interrupts.GRACE_S = float(sys.argv[1])
with one_line_errors():
    while True:
        try:
            print("inside", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)
        except KeyboardInterrupt:
            pass
"""
IN_ORDER = """
import sys, time
from pathlib import Path
from glesam_runtime.cli.errors import one_line_errors
from glesam_runtime.output import replaced_file, replaced_folder
folder = Path(sys.argv[1])
with one_line_errors(), replaced_file(folder / "file"), replaced_folder(folder / "bundle") as bundle:
    (bundle / "half").touch()
    print("inside", flush=True)
    time.sleep(600)
"""
AFTERWARDS = """
import os, signal
from glesam_runtime.cli.errors import one_line_errors
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
with one_line_errors():
    pass
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
assert signal.set_wakeup_fd(-1) == -1
os.kill(os.getpid(), signal.SIGTERM)
"""
IGNORED = """
import os, signal
from glesam_runtime.cli.errors import one_line_errors
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with one_line_errors():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
print("done")
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def test_both_signals_remove_what_is_half_written(tmp_path: Path) -> None:
    statuses = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        process = started(interruptible(IN_ORDER), tmp_path)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        statuses.add(process.returncode)
        assert "KeyboardInterrupt" in errors  # without typer, which ends the command in one line
        assert list(tmp_path.iterdir()) == []
    assert statuses == {-signal.SIGINT}  # Python's own end after a KeyboardInterrupt


def test_a_library_that_does_not_return_is_left_after_the_grace() -> None:
    process = started(STUCK, 0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - start > 0.2


def test_the_second_signal_ends_at_once() -> None:
    process = started(STUCK, 600)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_signals_are_the_callers_again_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, timeout=20)
    assert done.returncode == -signal.SIGTERM, done.stderr


def test_ignored_signals_stay_ignored() -> None:
    done = subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_in_order_and_without_a_traceback(
    bundle_path: Path, photo: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As many links to one picture as half a minute would take."""
    links = [tmp_path / f"{index}.png" for index in range(2000)]
    for link in links:
        link.symlink_to(photo)
    code = interruptible("from glesam_runtime.cli.run import main; print('inside', flush=True); main()")
    out = tmp_path / "out"
    box = ["--box", "24", "16", "104", "80"]
    process = started(code, *links, *box, "--bundle", bundle_path, "--out", out)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode not in (0, -number)
    assert "Traceback" not in errors
    names = {path.name for path in out.iterdir()}
    assert 0 < len(names) < 2 * len(links)
    assert not [name for name in names if name.startswith(".")]
