"""Golden parity: compares a bundle on this machine with PyTorch's recorded results, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..bundle.manifest import Manifest
from ..bundle.options import AUXILIARY_IMAGE
from ..bundle.reader import Bundle
from ..bundle.spec import HIGH_RES
from ..engines.base import Array, Engine, Tensors
from ..errors import BundleError
from ..preprocess import model_input
from ..prompts import PromptTensors
from .golden import read_golden
from .parity import MIN_IOU, GraphParity, MaskParity, Parity, compare_output, mask_iou

GOLDEN = "golden/"
"""Start of the names of golden vectors in a bundle."""
CURE = "this backend computes something else here: try another --backend, or export with a higher precision"


def verify(bundle: Bundle, engines: Mapping[str, Engine]) -> Parity:
    """Runs every golden input through `engines`, one for each graph of `bundle`.

    Each graph is compared on PyTorch's own input, so that an error of one graph does not count for the
    next. Masks are compared end to end, from the picture to the decoder's logits, one set per golden file.

    Raises:
        BundleError: there are no golden vectors, or they are not what docs/bundle.md says.
        BackendError: a graph does not run.
        ParityError: the degradation level is not PyTorch's.
    """
    graphs = {name: GraphParity() for name in engines}
    masks: dict[str, MaskParity] = {}
    for name, golden in golden_vectors(bundle):
        feeds = golden_feeds(golden, bundle.manifest)
        answers = {graph: engine(feeds[graph]) for graph, engine in engines.items()}
        for graph, outputs in answers.items():
            for output, array in outputs.items():
                expected = _expected(golden, output, array, name)
                graphs[graph] = graphs[graph].worst(compare_output(output, array, expected))
        logits = _end_to_end(engines, feeds, answers["image_encoder"])
        masks[name.removesuffix(".npz")] = _mask_parity(logits, golden, bundle.manifest)
    return Parity(graphs, masks)


def golden_vectors(bundle: Bundle) -> Iterator[tuple[str, Tensors]]:
    """Yields the name and the arrays of each golden file. Raises BundleError where there is none."""
    names = sorted(name for name in bundle.manifest.files if name.startswith(GOLDEN))
    if not names:
        raise BundleError(f"bundle {bundle.root}: it has no golden vectors; export it again")
    for name in names:
        yield name, read_golden(bundle, name)


def required_iou(bundle: Bundle) -> float:
    """Returns the least mean mask IoU for the bundle's precision. Raises BundleError for an unknown one."""
    precision = bundle.manifest.precision.split("+")[0]
    if precision not in MIN_IOU:
        raise BundleError(f"bundle {bundle.root}: precision {precision} has no known limit; give --min-iou")
    return MIN_IOU[precision]


def golden_feeds(golden: Tensors, manifest: Manifest) -> dict[str, dict[str, Array]]:
    """Returns the inputs of each graph, which are PyTorch's outputs of the graph before it."""
    picture = golden["image"].astype(np.uint8, copy=False)
    image, _ = model_input(picture, manifest)
    features = {name: golden[name] for name in ("image_embeddings", *HIGH_RES) if name in golden}
    prompts = PromptTensors.without_masks(golden["point_coords"], golden["point_labels"], manifest.image_size)
    inputs = "image_embeddings", AUXILIARY_IMAGE
    return {
        "image_encoder": {"image": image},
        "gle": {name: golden[name] for name in inputs if name in golden},
        "mask_decoder": prompts.feeds(features, golden["image_embeddings_enhanced"]),
    }


def _end_to_end(engines: Mapping[str, Engine], feeds: Mapping[str, Tensors], encoded: Tensors) -> Array:
    """Returns logits from this machine's own features, `encoded`; the rest is PyTorch's `feeds`."""
    gle = {**feeds["gle"], "image_embeddings": encoded["image_embeddings"]}
    enhanced = engines["gle"](gle)["image_embeddings_enhanced"]
    decoder = {**feeds["mask_decoder"], **encoded, "image_embeddings": enhanced}
    return engines["mask_decoder"](decoder)["low_res_masks"]


def _mask_parity(logits: Array, golden: Tensors, manifest: Manifest) -> MaskParity:
    """Compares mask 0 of every prompt, and masks 1 to 3 if the model has them."""
    kept = slice(None) if manifest.multimask else slice(0, 1)
    both = (x[:, kept].astype(np.float32, copy=False) for x in (logits, golden["low_res_masks"]))
    masks, expected = (x > manifest.mask_threshold for x in both)
    shape = (-1, *masks.shape[2:])
    pairs = zip(masks.reshape(shape), expected.reshape(shape), strict=True)
    return MaskParity.of([mask_iou(a, b) for a, b in pairs])


def _expected(golden: Tensors, output: str, array: Array, name: str) -> Array:
    """Returns the golden array for `output`; raises BundleError where its shape is not that of `array`."""
    if output not in golden:
        raise BundleError(f"{name}: {output} is missing; export the bundle again")
    expected = golden[output]
    if expected.shape != array.shape:
        raise BundleError(
            f"{name}: {output} has shape {list(expected.shape)}, the graph answers {list(array.shape)}; "
            "export the bundle again"
        )
    return expected
