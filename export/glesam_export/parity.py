"""What a new bundle's parity is measured on: photographs, through PyTorch and through the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glesam_runtime import BackendError, Bundle, ParityError, Predictor, Prompt
from glesam_runtime.engines import open_engines
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.parity import GraphParity, MaskParity, Parity, compare, mask_iou
from glesam_runtime.predictor import Engines
from glesam_runtime.preprocess import Pixels
from glesam_runtime.spec import GraphSpec

ImageSets = Mapping[str, Sequence[Pixels]]
"""Pictures by the name of their set: "clean", "lq3"."""


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
    engines = open_engines(backend, bundle)
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
    return MaskParity.of(ious)


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
