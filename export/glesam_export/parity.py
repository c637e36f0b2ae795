"""What a new bundle's parity is measured on: photographs, through PyTorch and through the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from glesam_runtime import BackendError, Bundle, ParityError, Prompt
from glesam_runtime.engines import open_engine
from glesam_runtime.engines.base import Array, Engine
from glesam_runtime.manifest import Manifest
from glesam_runtime.parity import GraphParity, MaskParity, Parity, compare, mask_iou
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.predictor import Engines
from glesam_runtime.preprocess import Geometry, Pixels, preprocess
from glesam_runtime.prompts import encode_prompts

ImageSets = Mapping[str, Sequence[Pixels]]
"""Pictures by the name of their set: "clean", "lq3"."""
GRAPHS = ("image_encoder", "gle", "mask_decoder")
"""In the order they run; each takes what the one before it gave."""


@dataclass
class _Case:
    """One picture on its way through PyTorch and through the bundle, `found` being the bundle's chain."""

    set_name: str
    geometry: Geometry
    prompts: dict[str, Array]
    expected: dict[str, Array]
    found: dict[str, Array] = field(default_factory=dict)

    def feeds(self, graph: str, chain: Mapping[str, Array]) -> dict[str, Array]:
        """A graph's input out of what the graphs before it gave."""
        if graph == "image_encoder":
            return {"image": chain["image"]}
        if graph == "gle":
            return {"image_embeddings": chain["image_embeddings"]}
        return {"image_embeddings": chain["image_embeddings_enhanced"], **self.prompts}


def measure(bundle: Bundle, reference: Engines, images: ImageSets, backend: str = "onnxruntime") -> Parity:
    """Runs every picture through PyTorch and through the bundle, one graph after the other.

    Each graph is compared on the reference's own inputs, so that one graph's error is not charged to
    the next; masks are compared end to end. Only one of the bundle's graphs is open at a time: at full
    size two do not fit beside the reference.

    Raises:
        ParityError: the bundle's graphs do not run, or answer with NaN.
    """
    cases = [_case(bundle.manifest, name, picture) for name, some in images.items() for picture in some]
    try:
        graphs = {name: _measure_graph(name, bundle, reference, cases, backend) for name in GRAPHS}
    except BackendError as error:
        raise ParityError(str(error)) from error
    ious = {name: _mask_parity(bundle.manifest, [c for c in cases if c.set_name == name]) for name in images}
    return Parity(graphs, ious)


def _case(manifest: Manifest, set_name: str, picture: Pixels) -> _Case:
    image, geometry = preprocess(picture, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
    prompts = encode_prompts(fixed_prompts(picture), geometry)
    return _Case(set_name, geometry, prompts, {"image": image}, {"image": image})


def _measure_graph(
    name: str, bundle: Bundle, reference: Engines, cases: Sequence[_Case], backend: str
) -> GraphParity:
    """Takes every case one graph further."""
    expect: Engine = getattr(reference, name)
    for case in cases:
        case.expected |= expect(case.feeds(name, case.expected))
    graph = bundle.manifest.graphs[name]
    engine = open_engine(backend, bundle.graph_path(name), graph.spec, graph.precision)
    parity = GraphParity()
    try:
        for case in cases:
            answer = engine(case.feeds(name, case.expected))
            for output, found in answer.items():
                parity = parity.worst(compare(found, case.expected[output]))
            case.found |= answer if name == "image_encoder" else engine(case.feeds(name, case.found))
    finally:
        engine.close()
    return parity


def _mask_parity(manifest: Manifest, cases: Sequence[_Case]) -> MaskParity:
    """Of mask 0 of every prompt, at the size of the picture."""
    ious = []
    for case in cases:
        resizer = MaskResizer.for_geometry(case.geometry)
        logits = [chain["low_res_masks"][:, 0].astype(np.float32) for chain in (case.found, case.expected)]
        if not np.isfinite(logits[0]).all():
            raise ParityError("the bundle's masks are NaN or infinite; export with --precision fp32")
        found, expected = (resizer.masks(x, manifest.mask_threshold) for x in logits)
        ious += [mask_iou(a, b) for a, b in zip(found, expected, strict=True)]
    return MaskParity.of(ious)


def fixed_prompts(picture: Pixels) -> list[Prompt]:
    """Three boxes and three points in fixed proportions: prompts that any picture has room for."""
    height, width = picture.shape[:2]
    boxes = ((0.1, 0.1, 0.9, 0.9), (0.25, 0.2, 0.75, 0.8), (0.05, 0.4, 0.6, 0.95))
    points = ((0.5, 0.5), (0.3, 0.35), (0.7, 0.6))
    return [
        *(Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height)) for x0, y0, x1, y1 in boxes),
        *(Prompt(points=[(x * (width - 1), y * (height - 1))]) for x, y in points),
    ]
