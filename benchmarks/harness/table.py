"""Rows of figures as a Markdown table: keys become headings, units come from their last word."""

from __future__ import annotations

from collections.abc import Sequence

Value = str | int | float | None
Row = dict[str, Value]
UNITS = {"s": "s", "ms": "ms", "mib": "MiB", "mb": "MB", "gib": "GiB", "gflops": "GFLOP/s", "m": "million"}
WORDS = {
    "iou": "IoU",
    "gle": "GLE",
    "lq1": "LQ-1",
    "lq2": "LQ-2",
    "lq3": "LQ-3",
    "cpu": "CPU",
    "opencv": "OpenCV",
}
SMALL = 1e-3
"""A column with a smaller number than this is written with exponents."""


def markdown_table(rows: Sequence[Row]) -> str:
    """Returns the rows as a table; columns come in the order in which they first appear."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [column([row.get(key) for row in rows]) for key in keys]
    lines = [[heading(key) for key in keys], ["---"] * len(keys), *map(list, zip(*cells, strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def heading(key: str) -> str:
    """Returns "image to mask [ms]" for `image_to_mask_ms`, and "MiB" for `mib`."""
    *words, last = key.split("_")
    if last not in UNITS:
        words, unit = [*words, last], ""
    else:
        unit = f"[{UNITS[last]}]" if words else UNITS[last]
    return " ".join([*(WORDS.get(word, word) for word in words), unit]).strip()


def column(values: Sequence[Value]) -> list[str]:
    """Returns a column's cells, its fractions with the same number of decimals; None is an empty cell."""
    floats = [value for value in values if isinstance(value, float)]
    small = any(0 < abs(value) < SMALL for value in floats)
    decimals = decimals_of(floats)

    def cell(value: Value) -> str:
        if isinstance(value, float):
            return f"{value:.1e}" if small else f"{value:,.{decimals}f}"
        if isinstance(value, int):
            return f"{value:,}"
        return "" if value is None else value

    return [cell(value) for value in values]


def decimals_of(values: Sequence[float]) -> int:
    """Returns as many decimals as the values have; from 10 on no more than make four digits."""
    decimals = max((len(repr(value).partition(".")[2]) for value in values), default=0)
    before_the_point = len(str(int(max(map(abs, values), default=0))))
    return decimals if before_the_point < 2 else min(decimals, max(0, 4 - before_the_point))
