"""What a new bundle's parity is measured on: photographs, through PyTorch and through the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import BackendError, Bundle, ParityError, Prompt
from ..bundle.manifest import Manifest
from ..engines import open_engine
from ..engines.base import Array
from ..postprocess import MaskResizer
from ..predictor import Engines
from ..preprocess import Geometry, Pixels, preprocess
from ..prompts import PromptTensors, encode_prompts
from .parity import GraphParity, MaskParity, Parity, compare, mask_iou
from .progress import track

ImageSets = Mapping[str, Sequence[Pixels]]
"""Pictures by the name of their set: "clean", "lq3"."""
GRAPHS = ("image_encoder", "gle", "mask_decoder")
"""In the order they run; each takes what the one before it gave."""


@dataclass
class Case:
    """One picture with its prompts on its way through the graphs: PyTorch's answers, and the bundle's."""

    set_name: str
    picture: Pixels
    geometry: Geometry
    prompts: PromptTensors
    expected: dict[str, Array]
    found: dict[str, Array] = field(default_factory=dict)

    def feeds(self, graph: str, chain: Mapping[str, Array]) -> dict[str, Array]:
        """A graph's input out of what the graphs before it gave."""
        if graph == "image_encoder":
            return {"image": chain["image"]}
        if graph == "gle":
            return {"image_embeddings": chain["image_embeddings"]}
        return self.prompts.feeds(chain["image_embeddings_enhanced"])


def reference_cases(manifest: Manifest, reference: Engines, images: ImageSets) -> list[Case]:
    """PyTorch's answers to the fixed prompts on every picture."""
    pictures = [(name, picture) for name, some in images.items() for picture in some]
    cases = []
    for name, picture in track(pictures, len(pictures), "pictures through PyTorch"):
        image, geometry = preprocess(picture, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
        prompts = encode_prompts(fixed_prompts(picture), geometry)
        case = Case(name, picture, geometry, prompts, {"image": image}, {"image": image})
        for graph in GRAPHS:
            case.expected |= getattr(reference, graph)(case.feeds(graph, case.expected))
        cases.append(case)
    return cases


def measure(bundle: Bundle, cases: Sequence[Case], backend: str = "auto") -> Parity:
    """Takes every case through the bundle, one graph after the other.

    Each graph is compared on PyTorch's own inputs to it, so that one graph's error is not charged to
    the next; masks are compared end to end. Only one graph is open at a time: at full size memory is dear.

    Raises:
        ParityError: the bundle's graphs do not run, or answer with NaN.
    """
    try:
        graphs = {name: _measure_graph(name, bundle, cases, backend) for name in GRAPHS}
    except BackendError as error:
        raise ParityError(str(error)) from error
    ious = {case.set_name: list[float]() for case in cases}
    for case in cases:
        ious[case.set_name] += _mask_ious(bundle.manifest, case)
    return Parity(graphs, {name: MaskParity.of(some) for name, some in ious.items()})


def _measure_graph(name: str, bundle: Bundle, cases: Sequence[Case], backend: str) -> GraphParity:
    """Takes every case one graph further."""
    graph = bundle.manifest.graphs[name]
    engine = open_engine(backend, bundle.graph_path(name), graph.spec, graph.precision)
    parity = GraphParity()
    try:
        for case in track(cases, len(cases), f"pictures through {name}"):
            answer = engine(case.feeds(name, case.expected))
            for output, found in answer.items():
                parity = parity.worst(compare(found, case.expected[output]))
            first = name == GRAPHS[0]  # its input is the picture itself, on both ways
            case.found |= answer if first else engine(case.feeds(name, case.found))
    finally:
        engine.close()
    return parity


def _mask_ious(manifest: Manifest, case: Case) -> list[float]:
    """Of mask 0 of every prompt, at the size of the picture."""
    resizer = MaskResizer.for_geometry(case.geometry)
    logits = [chain["low_res_masks"][:, 0].astype(np.float32) for chain in (case.found, case.expected)]
    if not np.isfinite(logits[0]).all():
        raise ParityError("the bundle's masks are NaN or infinite; export with --precision fp32")
    found, expected = (resizer.masks(x, manifest.mask_threshold) for x in logits)
    return [mask_iou(a, b) for a, b in zip(found, expected, strict=True)]


def fixed_prompts(picture: Pixels) -> list[Prompt]:
    """Three boxes and three points in fixed proportions: prompts that any picture has room for."""
    height, width = picture.shape[:2]
    boxes = ((0.1, 0.1, 0.9, 0.9), (0.25, 0.2, 0.75, 0.8), (0.05, 0.4, 0.6, 0.95))
    points = ((0.5, 0.5), (0.3, 0.35), (0.7, 0.6))
    return [
        *(Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height)) for x0, y0, x1, y1 in boxes),
        *(Prompt(points=[(x * (width - 1), y * (height - 1))]) for x, y in points),
    ]
