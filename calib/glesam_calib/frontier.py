"""The steps of a search for an int8 bundle whose masks hold, and a plot of the bundles it passes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glesam_calib.observation.table import CalibrationTable
from glesam_calib.quantization.quantize import Quantization
from glesam_calib.speed import Speed
from glesam_runtime.output import write_files
from glesam_runtime.tools.parity import Parity

HEADER = (
    "| layers in float | tolerance | mask IoU, mean | worst | MiB | int8, ms | float, ms | ratio |\n"
    "|---|---|---|---|---|---|---|---|"
)
"""The tolerance is `Quantization.tolerance`: weighted by time for a target whose layers are timed."""


@dataclass(frozen=True)
class Point:
    """One bundle between good masks and low cost.

    Attributes:
        int8: names of the layers in int8.
        left: number of layers that could be int8 and are float.
        rung: how it was quantized.
        mib: size of all files of the bundle [MiB].
    """

    int8: Sequence[str]
    left: int
    rung: Quantization
    parity: Parity
    mib: float
    speed: Speed

    @property
    def mean_iou(self) -> float:
        """Mean mask IoU of the worst set of pictures."""
        return min(masks.mean for masks in self.parity.mask_iou.values())

    @property
    def worst_iou(self) -> float:
        """Least mask IoU of all sets."""
        return min(masks.worst for masks in self.parity.mask_iou.values())

    def __str__(self) -> str:
        masks = f"{self.mean_iou:.4f} | {self.worst_iou:.4f}"
        times = f"{self.speed.int8_ms:.1f} | {self.speed.float_ms:.1f} | {self.speed.ratio:.2f}x"
        return f"| {self.left} | {self.rung.tolerance:.2g} | {masks} | {self.mib:.1f} | {times} |"


def ladder(start: Quantization, table: CalibrationTable) -> list[Quantization]:
    """Returns `start`, and then each time one more of the most expensive layers in float.

    Layers of equal cost return together; the last one leaves one layer in int8. Without sensitivities in the
    table there is only `start`.
    """
    measured = [pair for graph in table.sensitivity.values() for pair in graph.items()]
    errors = {error for name, error in measured if start.policy.may_return(name)}
    rest = sorted((error for error in errors if error <= start.tolerance), reverse=True)
    return [start, *(replace(start, tolerance=math.nextafter(error, 0)) for error in rest[:-1])]


def steps(start: Quantization, table: CalibrationTable) -> list[Quantization]:
    """Returns the rungs 0, 1, 2, 4, 8 ... of the ladder, and its last."""
    rungs = ladder(start, table)
    last = len(rungs) - 1
    return [rungs[i] for i in sorted({0, last} | {2**i for i in range(last.bit_length())})]


def first_that_holds(
    rungs: Sequence[Quantization], measure: Callable[[Quantization], Point], min_iou: float
) -> Point:
    """Returns the lowest rung whose masks hold that a search finds, or the last.

    It climbs in steps that double, then halves the last one: were the masks of every rung better than those
    below it, this would be the lowest of all.
    """
    low, high = -1, 0  # `low` does not hold
    point = measure(rungs[high])
    while point.mean_iou < min_iou and high < len(rungs) - 1:
        low, high = high, min(max(2 * high, 1), len(rungs) - 1)
        point = measure(rungs[high])
    while high - low > 1 and point.mean_iou >= min_iou:
        middle = (low + high) // 2
        tried = measure(rungs[middle])
        if tried.mean_iou >= min_iou:
            high, point = middle, tried
        else:
            low = middle
    return point


def write_frontier(points: Sequence[Point], folder: Path) -> None:
    """frontier.md and frontier.png in `folder`, which is made where it is missing."""
    text = "\n".join([HEADER, *map(str, points)]) + "\n"
    write_files({folder / "frontier.md": text.encode(), folder / "frontier.png": _plot(points)}, "--frontier")


def _plot(points: Sequence[Point]) -> bytes:
    """Returns a PNG of mean and worst mask IoU over milliseconds and over MiB."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, label, values in (
        (axes[0], "encoder and GLE, ms", [point.speed.int8_ms for point in points]),
        (axes[1], "bundle, MiB", [point.mib for point in points]),
    ):
        axis.plot(values, [point.mean_iou for point in points], "o-", label="mean")
        axis.plot(values, [point.worst_iou for point in points], "x:", label="worst")
        for value, point in zip(values, points, strict=True):
            axis.annotate(str(point.left), (value, point.mean_iou), (4, 4), textcoords="offset points")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mask IoU against the float bundle")
    axes[0].legend(title="number: layers in float")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
