"""How a new bundle's parity is measured: photographs through a reference and through the bundle.

The reference is PyTorch for a float bundle, and the float bundle for an int8 one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from .. import BackendError, Bundle, ParityError, Prompt
from ..bundle.manifest import Manifest
from ..bundle.options import AUXILIARY_IMAGE, takes_auxiliary
from ..bundle.spec import HIGH_RES
from ..engines import Engine, open_engine
from ..engines.base import Array, Engines
from ..image_io.auxiliary import brightness, preprocess_auxiliary
from ..postprocess import MaskResizer
from ..preprocess import Geometry, Pixels, model_input
from ..prompts import PromptTensors, encode_prompts
from .parity import GraphParity, MaskParity, Parity, compare_output, mask_iou
from .progress import track

ImageSets = Mapping[str, Sequence[Pixels]]
"""Pictures by the name of their set: "clean", "lq3"."""
GRAPHS = ("image_encoder", "gle", "mask_decoder")
"""The graphs in the order they run; each takes the output of the one before it."""


@dataclass
class Case:
    """One picture with its prompts on its way through the graphs.

    `expected` holds the reference's tensors by name, `actual` those of the bundle that is measured.
    """

    set_name: str
    picture: Pixels
    geometry: Geometry
    prompts: PromptTensors
    expected: dict[str, Array]
    actual: dict[str, Array] = field(default_factory=dict)

    def feeds(self, graph: str, chain: Mapping[str, Array]) -> dict[str, Array]:
        """The input of `graph`, taken from the tensors in `chain` that the graphs before it computed."""
        if graph == "image_encoder":
            return {"image": chain["image"]}
        if graph == "gle":
            inputs = "image_embeddings", AUXILIARY_IMAGE
            return {name: chain[name] for name in inputs if name in chain}
        features = {name: chain[name] for name in ("image_embeddings", *HIGH_RES) if name in chain}
        return self.prompts.feeds(features, chain["image_embeddings_enhanced"])


def reference_cases(manifest: Manifest, reference: Engines, images: ImageSets) -> list[Case]:
    """The fixed prompts on every picture, with the answers of `reference`: PyTorch's engines."""
    gle = reference.gle
    cases = _cases(manifest, images, gle is not None and takes_auxiliary(gle.spec))
    for graph in GRAPHS:
        _expect(cases, graph, getattr(reference, graph), "PyTorch")
    return cases


def bundle_cases(bundle: Bundle, images: ImageSets, backend: str = "auto") -> list[Case]:
    """The fixed prompts on every picture, with the answers of a float bundle.

    Only one graph is open at a time.

    Raises:
        BackendError: a graph does not run.
    """
    cases = _cases(bundle.manifest, images, takes_auxiliary(bundle.manifest.graphs["gle"].spec))
    for graph in GRAPHS:
        with closing(_open(bundle, graph, backend)) as engine:
            _expect(cases, graph, engine, "the float bundle")
    return cases


def picture_tensors(
    picture: Pixels, manifest: Manifest, with_auxiliary: bool
) -> tuple[dict[str, Array], Geometry]:
    """Returns the graphs' inputs that a photograph gives, by name, and how it was resized.

    An auxiliary image, which photographs have not got, is their brightness.
    """
    image, geometry = model_input(picture, manifest)
    tensors: dict[str, Array] = {"image": image}
    if with_auxiliary:
        tensors[AUXILIARY_IMAGE] = preprocess_auxiliary(brightness(picture), geometry)
    return tensors, geometry


def _cases(manifest: Manifest, images: ImageSets, with_auxiliary: bool) -> list[Case]:
    """One case for every picture, before any graph has run."""
    cases = []
    for name, picture in ((name, picture) for name, some in images.items() for picture in some):
        given, geometry = picture_tensors(picture, manifest, with_auxiliary)
        prompts = encode_prompts(fixed_prompts(picture), geometry, manifest.family)
        cases.append(Case(name, picture, geometry, prompts, dict(given), dict(given)))
    return cases


def _expect(cases: Sequence[Case], graph: str, engine: Engine, whose: str) -> None:
    """Adds the reference's answers of one graph to every case."""
    for case in track(cases, len(cases), f"pictures through {graph} of {whose}"):
        case.expected |= engine(case.feeds(graph, case.expected))


def _open(bundle: Bundle, name: str, backend: str) -> Engine:
    graph = bundle.manifest.graphs[name]
    return open_engine(backend, bundle.graph_content(name), graph.spec, graph.precision)


def measure(bundle: Bundle, cases: Sequence[Case], backend: str = "auto") -> Parity:
    """Takes every case through the bundle, one graph after the other.

    Each graph is compared on the reference's own inputs to it, so that one graph's error is not charged to
    the next; masks are compared end to end. Only one graph is open at a time: at full size each takes
    gigabytes.

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
    parity = GraphParity()
    with closing(_open(bundle, name, backend)) as engine:
        for case in track(cases, len(cases), f"pictures through {name}"):
            answer = engine(case.feeds(name, case.expected))
            for output, actual in answer.items():
                parity = parity.worst(compare_output(output, actual, case.expected[output]))
            first = name == GRAPHS[0]  # its input is the picture itself for both
            case.actual |= answer if first else engine(case.feeds(name, case.actual))
    return parity


def _mask_ious(manifest: Manifest, case: Case) -> list[float]:
    """IoU of mask 0 for every prompt, at the size of the picture."""
    resizer = MaskResizer.for_geometry(case.geometry)
    logits = [chain["low_res_masks"][:, 0].astype(np.float32) for chain in (case.actual, case.expected)]
    if not np.isfinite(logits[0]).all():
        raise ParityError("the bundle's masks are NaN or infinite; export with --precision fp32")
    actual, expected = (resizer.masks(x, manifest.mask_threshold) for x in logits)
    return [mask_iou(a, b) for a, b in zip(actual, expected, strict=True)]


def fixed_prompts(picture: Pixels) -> list[Prompt]:
    """Three boxes and three points in fixed proportions: prompts that any picture has room for."""
    height, width = picture.shape[:2]
    boxes = ((0.1, 0.1, 0.9, 0.9), (0.25, 0.2, 0.75, 0.8), (0.05, 0.4, 0.6, 0.95))
    points = ((0.5, 0.5), (0.3, 0.35), (0.7, 0.6))
    return [
        *(Prompt(box=(x0 * width, y0 * height, x1 * width, y1 * height)) for x0, y0, x1, y1 in boxes),
        *(Prompt(points=[(x * (width - 1), y * (height - 1))]) for x, y in points),
    ]
