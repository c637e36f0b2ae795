"""RobustSAM ViT-B at full size: a further prompt in our graphs, and the authors' call with the image's part.

    pip install --no-deps robust_segment_anything==1.0.0
    python benchmarks/robust_sam.py [--precision fp32]... [--backend NAME]... [--rounds 5]

Random weights under the official names. The authors' package runs eager in fp32, with its Fourier block fixed
as in their repository; all contenders are timed in one interleaved run on two threads. `ratio` is the
authors' call divided by one prompt of the contender's decoder (above 1: faster). `masks_error` is the largest
difference of the four masks from the authors', image to masks, divided by their largest logit. Takes ten
minutes and 10 GB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from harness.interleaved import Figures, interleaved, milliseconds
from harness.options import BackendsOption, NoteOption, RecordOption, RoundsOption
from harness.original_robust_sam import decode_one, original, random_model
from harness.record import Run
from harness.table import Row

from glesam.config import robust_sam, sam_vit_b
from glesam.reference import reference_manifest
from glesam.restorers.robust_sam import RobustSam
from glesam_export.pipeline import ExportOptions, write_graph
from glesam_export.robust_graphs import robust_graphs
from glesam_runtime.engines import ONNX_BACKENDS, Engine, open_engine
from glesam_runtime.engines.base import Array

AUTHORS = "authors' call"
THREADS, SEVERAL = 2, 8
BOX = (100.0, 150.0, 600.0, 700.0)
Feeds = dict[str, Array]


def main(
    precision: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: fp32.")] = None,
    backend: BackendsOption = None,
    rounds: RoundsOption = 5,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    run = Run.begin("full_size", "RobustSAM vit_b: a further prompt and the authors' call, interleaved")
    model = random_model(robust_sam(sam_vit_b()))
    image = torch.randn(1, 3, 1024, 1024)
    call = authors_call(original(model), image)
    expected = call()
    calls: dict[str, Callable[[], Figures]] = {AUTHORS: lambda: {"prompt_ms": milliseconds(call)}}
    errors = {AUTHORS: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for name in precision or ["fp32"]:
            kinds = write(model, name, Path(folder) / name)
            for chosen in backend or ONNX_BACKENDS:
                engines = opened(model, Path(folder) / name, chosen, kinds)
                label, feeds = f"{chosen} {name}", feeds_of(engines, image.numpy())
                errors[label] = error(engines["mask_decoder"](feeds)["low_res_masks"], expected)
                calls[label] = stages(engines, image.numpy(), feeds)
        times = interleaved(calls, rounds, progress=True)
    run.finish([row(name, times, errors) for name in calls], record, note)


def authors_call(sam: Any, image: torch.Tensor) -> Callable[[], Array]:  # noqa: ANN401
    """Returns a function that gives the first four masks of one prompt as the authors' decoder does."""
    embeddings, features = sam.image_encoder(image)
    sparse, dense = sam.prompt_encoder(points=None, boxes=torch.tensor([BOX]), masks=None)

    def call() -> Array:
        masks: Array = decode_one(sam, embeddings, features[0], sparse, dense)[0][:, :4].numpy()
        return masks

    return call


def write(model: RobustSam, precision: str, folder: Path) -> dict[str, str]:
    """Writes the three graphs; returns what each computes in."""
    folder.mkdir()
    options = ExportOptions(precision)
    return {
        graph.name: write_graph(graph, folder, options, print).precision for graph in robust_graphs(model)
    }


def opened(model: RobustSam, folder: Path, backend: str, kinds: Mapping[str, str]) -> dict[str, Engine]:
    return {
        name: open_engine(backend, folder / f"{name}.onnx", spec, kinds[name], THREADS)
        for name, spec in reference_manifest(model).contract().items()
    }


def feeds_of(engines: Mapping[str, Engine], image: Array) -> Feeds:
    """Returns the decoder's inputs, of one box."""
    enhanced = engines["gle"](engines["image_encoder"]({"image": image}))["image_embeddings_enhanced"]
    return {
        "image_embeddings": enhanced,
        "point_coords": np.array(BOX, np.float32).reshape(1, 2, 2),
        "point_labels": np.array([[2, 3]], np.int32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }


def stages(engines: Mapping[str, Engine], image: Array, feeds: Feeds) -> Callable[[], Figures]:
    """Returns a contender: the image's two stages, a prompt alone, and a prompt among eight."""
    several = {name: np.repeat(array, SEVERAL, 0) for name, array in feeds.items()}
    several["image_embeddings"] = feeds["image_embeddings"]
    encoded = engines["image_encoder"]({"image": image})

    def measure() -> Figures:
        decoder = engines["mask_decoder"]
        return {
            "encode_ms": milliseconds(lambda: engines["image_encoder"]({"image": image})),
            "enhance_ms": milliseconds(lambda: engines["gle"](encoded)),
            "prompt_ms": milliseconds(lambda: decoder(feeds)),
            "prompt_of_8_ms": milliseconds(lambda: decoder(several)) / SEVERAL,
        }

    return measure


def error(masks: Array, expected: Array) -> float:
    return float(abs(masks - expected).max() / abs(expected).max())


def row(name: str, times: Mapping[str, Mapping[str, float]], errors: Mapping[str, float]) -> Row:
    ratio = times[AUTHORS]["prompt_ms"] / times[name]["prompt_ms"]
    return {"contender": name, **times[name], "ratio": round(ratio, 1), "masks_error": errors[name]}


if __name__ == "__main__":
    typer.run(main)
