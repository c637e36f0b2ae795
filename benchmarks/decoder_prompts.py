"""Milliseconds of one box on a cached embedding, and of many boxes in one call against as many calls.

    python benchmarks/decoder_prompts.py [BUNDLE]... [--backend NAME]... [--prompts 64] [--rounds 20]

One interleaved run: in every round each decoder has its turn, and every call is made. `one_box` is a round's
median over its single calls; all columns are medians of the rounds. `ratio` is the time of all single calls
divided by that of the one call (above 1: one call is faster). A round takes about a second for each decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from statistics import median
from typing import Annotated

import numpy as np
import typer
from harness.interleaved import Figures, interleaved, milliseconds
from harness.options import BackendsOption, BundlesArgument, NoteOption, RecordOption, RoundsOption
from harness.record import Run

from glesam_runtime import Bundle
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.base import Tensors
from glesam_runtime.prompts import PromptTensors

CORNERS, BOX = 2, (2, 3)


def main(
    bundles: BundlesArgument = None,
    backend: BackendsOption = None,
    prompts: Annotated[int, typer.Option(metavar="N", min=2, help="Boxes in one call.")] = 64,
    rounds: RoundsOption = 20,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    heading = f"Mask decoder, one box and {prompts} boxes: median of {rounds} interleaved rounds"
    run = Run.begin("nano_speed", heading)
    contenders = {}
    for path, name in product(bundles or [None], backend or ["onnxruntime", "openvino"]):
        bundle = Bundle.open(path)
        graph = bundle.manifest.graphs["mask_decoder"]
        engine = open_engine(name, bundle.graph_path("mask_decoder"), graph.spec, graph.precision)
        together = boxes(prompts, bundle.manifest.image_size)
        title = path.name if path else bundle.manifest.name
        contenders[f"{title}, {name} {bundle.manifest.precision}"] = calls_of(engine, together)
    times = interleaved(contenders, rounds)
    rows = [
        {"decoder": name, **each, "ratio": round(each["single_calls_ms"] / each["one_call_ms"], 2)}
        for name, each in times.items()
    ]
    run.finish(rows, record, note)


def calls_of(engine: Engine, together: Tensors) -> Callable[[], Figures]:
    """Returns a contender: each prompt in a call of its own, then all in one."""
    apart = [one_of(together, i) for i in range(len(together["point_coords"]))]

    def measure() -> Figures:
        each = [milliseconds(lambda feeds=feeds: engine(feeds)) for feeds in apart]
        many = milliseconds(lambda: engine(together))
        return {"one_box_ms": median(each), "one_call_ms": many, "single_calls_ms": sum(each)}

    return measure


def one_of(feeds: Tensors, prompt: int) -> Tensors:
    """Returns the feeds of one prompt; the embedding serves all."""
    return {
        name: value if name == "image_embeddings" else value[prompt : prompt + 1]
        for name, value in feeds.items()
    }


def boxes(count: int, image_size: int) -> Tensors:
    """Returns the decoder's feeds for `count` random boxes on a random embedding."""
    rng = np.random.default_rng(0)
    side = image_size // 16
    corners = rng.uniform(0, image_size, (count, CORNERS, 2)).astype(np.float32)
    embeddings = (0.1 * rng.normal(size=(1, 256, side, side))).astype(np.float32)
    labels = np.tile(np.array(BOX, np.int32), (count, 1))
    return PromptTensors.without_masks(np.sort(corners, axis=1), labels, image_size).feeds(
        {"image_embeddings": embeddings}
    )


if __name__ == "__main__":
    typer.run(main)
