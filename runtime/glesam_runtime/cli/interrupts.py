"""SIGTERM and Ctrl-C: both end a command in order, also one that is deep inside a library."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 10.0
"""Time to end in order before the process is ended where it is [s]; a second signal ends it at once."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM in this block raises KeyboardInterrupt as Ctrl-C does: files are whole, temporary ones removed.

    Python raises it between its own instructions only. Where a library computes on, or a thread does not end,
    a watching thread ends the process after GRACE_S or at the second signal; the next run tidies up.
    Signals that the parent ignores, as nohup does, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if before[signal.SIGTERM] is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        writing.close()  # which ends the watching thread


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _watch(reading: socket.socket) -> None:
    """Ends the process where it does not end by itself after a signal; each arrives as a byte."""
    with reading:
        while True:
            received = reading.recv(64)
            if not received:
                return
            numbers = [number for number in received if number in _SIGNALS]
            if not numbers or signal.getsignal(numbers[0]) in (signal.SIG_IGN, None):
                continue
            if len(numbers) == 1 and not _second(reading):
                return
            os._exit(128 + numbers[0])


def _second(reading: socket.socket) -> bool:
    """Waits for GRACE_S; returns whether the process must be ended then, or False where the block ended."""
    reading.settimeout(GRACE_S)
    try:
        return bool(reading.recv(64))
    except TimeoutError:
        return True
