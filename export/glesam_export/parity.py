"""How far exported graphs are from PyTorch, per graph and end to end, and the gate that says no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from glesam_export.errors import ParityError
from glesam_runtime import BackendError, Bundle, Predictor, Prompt
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.predictor import Engines
from glesam_runtime.preprocess import Pixels
from glesam_runtime.spec import GraphSpec

MIN_IOU = {"fp32": 0.999, "fp16": 0.99}
"""Least mean mask IoU against PyTorch fp32, by precision."""

ImageSets = Mapping[str, Sequence[Pixels]]
"""Pictures by the name of their set: "clean", "lq3"."""


@dataclass(frozen=True)
class GraphParity:
    """The worst of all calls: max |a - b|, |a - b| / |b| and cosine (both of the whole tensor)."""

    max_abs: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0

    def worst(self, other: GraphParity) -> GraphParity:
        """A NaN survives: it must reach the gate."""
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


@dataclass(frozen=True)
class Parity:
    graphs: Mapping[str, GraphParity]
    mask_iou: Mapping[str, MaskParity]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(found: Array, expected: Array) -> GraphParity:
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    difference, length = np.linalg.norm(a - b), np.linalg.norm(b)
    if not length:
        return GraphParity(float(np.abs(a).max()), float(difference), float(difference == 0))
    cosine = float(a @ b / max(np.linalg.norm(a) * length, np.finfo(float).tiny))
    return GraphParity(float(np.abs(a - b).max()), float(difference / length), cosine)


def mask_iou(a: np.typing.NDArray[np.bool_], b: np.typing.NDArray[np.bool_]) -> float:
    """Two empty masks agree."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


@dataclass
class ComparedEngine:
    """Answers with the reference and keeps how far the candidate was, on the same feeds."""

    reference: Any
    candidate: Any
    parity: GraphParity = field(default_factory=GraphParity)

    @property
    def spec(self) -> GraphSpec:
        spec: GraphSpec = self.reference.spec
        return spec

    def __call__(self, feeds: Tensors) -> dict[str, Array]:
        expected, found = self.reference(feeds), self.candidate(feeds)
        for name in expected:
            self.parity = self.parity.worst(compare(found[name], expected[name]))
        answer: dict[str, Array] = expected
        return answer

    def close(self) -> None:
        self.candidate.close()


def measure(bundle: Bundle, reference: Engines, images: ImageSets, backend: str = "onnxruntime") -> Parity:
    """Runs every picture through PyTorch and through the bundle.

    Each graph is compared on the reference's own inputs, so that one graph's error is not charged to
    the next; masks are compared end to end.

    Raises:
        ParityError: the bundle's graphs do not run, or answer with NaN.
    """
    engines = {
        name: open_engine(backend, bundle.graph_path(name), graph.spec)
        for name, graph in bundle.manifest.graphs.items()
    }
    compared = {name: ComparedEngine(getattr(reference, name), engine) for name, engine in engines.items()}
    expected = Predictor(bundle.manifest, Engines(**compared))
    found = Predictor(bundle.manifest, Engines(**engines))
    try:
        ious = {name: _mask_parity(found, expected, pictures) for name, pictures in images.items()}
    except BackendError as error:
        raise ParityError(str(error)) from error
    finally:
        found.close()
    return Parity({name: engine.parity for name, engine in compared.items()}, ious)


def _mask_parity(found: Predictor, expected: Predictor, pictures: Sequence[Pixels]) -> MaskParity:
    ious = [
        mask_iou(a, b)
        for picture in pictures
        for a, b in zip(masks_of(found, picture), masks_of(expected, picture), strict=True)
    ]
    return MaskParity(float(np.mean(ious)), float(np.min(ious)), len(ious))


def masks_of(predictor: Predictor, picture: Pixels) -> np.typing.NDArray[np.bool_]:
    predictor.set_image(picture)
    return predictor.predict(prompts=fixed_prompts(picture)).masks


def fixed_prompts(picture: Pixels) -> list[Prompt]:
    """Three boxes and three points in fixed proportions: prompts that any picture has room for."""
    height, width = picture.shape[:2]
    boxes = ((0.1, 0.1, 0.9, 0.9), (0.25, 0.2, 0.75, 0.8), (0.05, 0.4, 0.6, 0.95))
    points = ((0.5, 0.5), (0.3, 0.35), (0.7, 0.6))
    return [
        *(Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height)) for x0, y0, x1, y1 in boxes),
        *(Prompt(points=[(x * (width - 1), y * (height - 1))]) for x, y in points),
    ]


def check(parity: Parity, min_iou: float) -> None:
    """Raises ParityError where a set's mean IoU is below `min_iou`, or a graph gave NaN."""
    for name, graph in parity.graphs.items():
        if not np.isfinite([graph.max_abs, graph.relative, graph.cosine]).all():
            raise ParityError(
                f"{name}: the exported graph gives NaN or infinite values where PyTorch does not; "
                "export with --precision fp32"
            )
    for name, masks in parity.mask_iou.items():
        if not masks.mean >= min_iou:
            raise ParityError(
                f"masks on {name} images: mean IoU against PyTorch {masks.mean:.4f}, expected at "
                f"least {min_iou:g}; export with a higher precision, or lower --min-iou knowingly"
            )


def table(parity: Parity) -> str:
    """The parity as aligned text, graphs first."""
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
