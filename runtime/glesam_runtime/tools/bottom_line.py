"""One line at the bottom of a terminal that changes in place, while everything else is printed above it."""

from __future__ import annotations

import io
import shutil
import sys
import threading
from typing import Any, TextIO

from ..errors import printable

_ERASE = "\r\x1b[2K"  # to the start of the line, and clear it


_open: list[BottomLine] = []


def end_lines() -> None:
    """Ends the lines of work that an error stopped: its generators may end after the error is printed."""
    for line in reversed([*_open]):
        line.__exit__()


class BottomLine:
    """The line, from `with` on; stderr must be a terminal.

    Whatever is written to sys.stdout or sys.stderr meanwhile, text or bytes, first clears the line, which is
    shown again below: results are never glued to it.
    """

    def __init__(self) -> None:
        self._text = ""
        self._is_interrupted = False
        self._lock = threading.Lock()
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)

    def show(self, text: str) -> None:
        """Replaces the line by `text`, cut to the terminal's width: a wrapped one could not be cleared."""
        with self._lock:
            self._text = printable(text)[: shutil.get_terminal_size().columns - 1]
            if not self._is_interrupted:
                self._write(_ERASE + self._text)

    def print_above(self, stream: Any, content: str | bytes, is_whole: bool) -> None:  # noqa: ANN401
        """Writes `content` to `stream`; the line comes back once a whole line was printed."""
        with self._lock:
            if not self._is_interrupted:
                self._write(_ERASE)
            stream.write(content)
            stream.flush()
            self._is_interrupted = not is_whole
            if is_whole:
                self._write(self._text)

    def __enter__(self) -> BottomLine:
        self._streams = (sys.stdout, sys.stderr)
        # A stdout that is no terminal does not disturb the line.
        if sys.stdout is not None and sys.stdout.isatty():
            sys.stdout = _Above(sys.stdout, self)
        sys.stderr = _Above(sys.stderr, self)
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self not in _open:  # end_lines() was first
            return
        _open.remove(self)
        sys.stdout, sys.stderr = self._streams
        if not self._is_interrupted:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        terminal = self._streams[1]
        terminal.write(text)
        terminal.flush()


class _Above(io.TextIOBase):
    """A terminal's stream that prints above the line."""

    def __init__(self, stream: TextIO, line: BottomLine) -> None:
        self._stream, self._line = stream, line
        self.buffer = _BytesAbove(self)

    def write(self, text: str) -> int:
        """Prints `text` above the line. Raises TypeError for bytes, by which typer knows a text stream."""
        if not isinstance(text, str):
            raise TypeError(f"expected text, found {type(text).__name__}")
        if text:
            self._line.print_above(self._stream, text, text.endswith("\n"))
        return len(text)

    def write_bytes(self, content: bytes) -> None:
        """Prints bytes above the line."""
        if content:
            self._stream.flush()
            self._line.print_above(self._stream.buffer, content, content.endswith(b"\n"))

    def flush(self) -> None:
        """Flushes the terminal's stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the terminal's descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Returns True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The terminal's encoding."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The terminal's treatment of characters that it cannot show."""
        return self._stream.errors


class _BytesAbove(io.BufferedIOBase):
    """The same for bytes: typer writes to the bytes below a text stream."""

    def __init__(self, above: _Above) -> None:
        self._above = above

    def write(self, content: Any) -> int:  # noqa: ANN401
        """Prints bytes above the line."""
        self._above.write_bytes(bytes(content))
        return len(content)

    def writable(self) -> bool:
        """Returns True."""
        return True

    def flush(self) -> None:
        """Flushes the terminal's stream."""
        self._above.flush()
