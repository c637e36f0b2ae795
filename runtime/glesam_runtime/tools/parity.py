"""Parity of a bundle with PyTorch: the figures, the limits, the gate and the table.

`glesam-export` measures it on photographs before it writes a bundle, `glesam-verify` on the golden vectors on
any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..bundle.options import DEGRADATION_LEVEL
from ..engines.base import Array
from ..errors import ParityError

MIN_IOU = {"fp32": 0.999, "fp16": 0.99, "bf16": 0.99, "int8": 0.97}
"""Least mean mask IoU against PyTorch fp32, by precision; "int8+fp16" counts as int8."""

LEVEL_RANGE = 3.0
"""Largest degradation level, that of LQ-3."""
LEVEL_TOLERANCE = 0.1
"""Largest error of a degradation level; 1 is the distance between two of GleSAM's low-quality levels."""


@dataclass(frozen=True)
class GraphParity:
    """Worst figures of all calls: max |a - b|, and |a - b| / |b| and cosine of whole tensors."""

    max_abs: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0

    def worst(self, other: GraphParity) -> GraphParity:
        """Returns the worse of each figure. NaN is the worst: it must reach the gate."""
        return GraphParity(
            float(np.maximum(self.max_abs, other.max_abs)),
            float(np.maximum(self.relative, other.relative)),
            float(np.minimum(self.cosine, other.cosine)),
        )


@dataclass(frozen=True)
class MaskParity:
    """IoU between the bundle's masks and PyTorch's, over `masks` masks."""

    mean: float
    worst: float
    masks: int

    @classmethod
    def of(cls, ious: Sequence[float]) -> MaskParity:
        """Returns the mean, the least and the number of `ious`."""
        return cls(float(np.mean(ious)), float(np.min(ious)), len(ious))


@dataclass(frozen=True)
class Parity:
    """Parity of each graph by its name, and of the masks by set of pictures."""

    graphs: Mapping[str, GraphParity]
    mask_iou: Mapping[str, MaskParity]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(actual: Array, expected: Array) -> GraphParity:
    """Returns the figures of one output against PyTorch's."""
    a, b = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    difference, length = np.linalg.norm(a - b), np.linalg.norm(b)
    if not length:
        return GraphParity(float(np.abs(a).max()), float(difference), float(difference == 0))
    cosine = float(a @ b / max(np.linalg.norm(a) * length, np.finfo(float).tiny))
    return GraphParity(float(np.abs(a - b).max()), float(difference / length), cosine)


def compare_output(name: str, actual: Array, expected: Array) -> GraphParity:
    """Returns the figures of one output by its name.

    The degradation level is one number that may be 0: its error counts relative to its range, 0 to 3. Raises
    ParityError where it is off by more than `LEVEL_TOLERANCE`, since no mask would tell.
    """
    if name != DEGRADATION_LEVEL:
        return compare(actual, expected)
    error = float(np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max())
    if error > LEVEL_TOLERANCE:
        raise ParityError(
            f"{name}: expected {float(expected[0]):.3f} as in the reference, found {float(actual[0]):.3f}; "
            "leave the layers *.level_head.* in float, or export with --precision fp32"
        )
    return GraphParity(error, error / LEVEL_RANGE, 1.0)


def mask_iou(a: np.typing.NDArray[np.bool_], b: np.typing.NDArray[np.bool_]) -> float:
    """Returns the IoU of two masks; it is 1 for two empty ones."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def check(parity: Parity, min_iou: float, cure: str | None = None, reference: str = "PyTorch") -> None:
    """Raises ParityError where a set's mean IoU is below `min_iou`, or where a graph gave NaN.

    Args:
        cure: the advice in the message; None is the advice for an export.
        reference: what the parity was measured against.
    """
    for name, graph in parity.graphs.items():
        if not np.isfinite([graph.max_abs, graph.relative, graph.cosine]).all():
            raise ParityError(
                f"{name}: the exported graph gives NaN or infinite values where {reference} does not; "
                f"{cure or 'export with --precision fp32'}"
            )
    for name, masks in parity.mask_iou.items():
        if not masks.mean >= min_iou:
            raise ParityError(
                f"masks of {name}: mean IoU against {reference} {masks.mean:.4f}, expected at least "
                f"{min_iou:g}; {cure or 'export with a higher precision, or lower --min-iou knowingly'}"
            )


def table(parity: Parity) -> str:
    """Returns the parity as aligned text, graphs first."""
    rows = [f"{'graph':<16}{'max abs':>12}{'relative':>12}{'cosine':>12}"]
    rows += [
        f"{name:<16}{graph.max_abs:>12.2e}{graph.relative:>12.2e}{graph.cosine:>12.8f}"
        for name, graph in parity.graphs.items()
    ]
    rows += ["", f"{'mask IoU':<16}{'mean':>12}{'worst':>12}{'masks':>12}"]
    rows += [
        f"{name:<16}{masks.mean:>12.5f}{masks.worst:>12.5f}{masks.masks:>12}"
        for name, masks in parity.mask_iou.items()
    ]
    return "\n".join(rows)
