"""Milliseconds of one box on a cached embedding, and of many boxes in one call against as many calls.

    python benchmarks/decoder_prompts.py [BUNDLE]... [--backend NAME]... [--prompts 64] [--rounds 20]

One interleaved run: every round asks every decoder in turn, so that a busy machine slows all of them. All
calls are made; "one box" is the median of theirs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from glesam_runtime import Bundle
from glesam_runtime.engines import BACKEND_HELP, Engine, open_engine
from glesam_runtime.engines.base import Tensors
from glesam_runtime.prompts import PromptTensors

CORNERS, BOX = 2, (2, 3)


def main(
    bundles: Annotated[list[Path] | None, typer.Argument(metavar="[BUNDLE]...", show_default=False)] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:DEVICE[:HINT]]", help=f"Repeatable. {BACKEND_HELP}"),
    ] = None,
    prompts: Annotated[int, typer.Option(metavar="N", min=2, help="Boxes in one call.")] = 64,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Timed, after one that is not.")] = 20,
) -> None:
    engines = {}
    for bundle, name in product(bundles or [None], backend or ["onnxruntime", "openvino"]):
        opened = Bundle.open(bundle)
        graph = opened.manifest.graphs["mask_decoder"]
        contender = f"{bundle or opened.manifest.name}: {name}"
        engines[contender] = open_engine(name, opened.graph_path("mask_decoder"), graph.spec, graph.precision)
    together = boxes(prompts, opened.manifest.image_size)
    apart = [one_of(together, i) for i in range(prompts)]
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_number in range(rounds + 1):
        for name, engine in engines.items():
            each = [milliseconds(engine, feeds) for feeds in apart]
            many = milliseconds(engine, together)
            if round_number:
                spent[name, "one"] += each
                spent[name, "all"].append(sum(each))
                spent[name, "together"].append(many)
    print(f"| ms, median of {rounds} | one box | {prompts} boxes, one call | {prompts} calls |")
    print("|---|---|---|---|")
    for name in engines:
        one, all_, many = (median(spent[name, kind]) for kind in ("one", "all", "together"))
        print(f"| {name} | {one:.1f} | {many:.0f} | {all_:.0f} ({all_ / many:.2f}x) |")


def milliseconds(engine: Engine, feeds: Tensors) -> float:
    start = time.perf_counter()
    engine(feeds)
    return 1000 * (time.perf_counter() - start)


def one_of(feeds: Tensors, prompt: int) -> Tensors:
    """The feeds of one prompt; there is one embedding for all."""
    return {
        name: value if name == "image_embeddings" else value[prompt : prompt + 1]
        for name, value in feeds.items()
    }


def boxes(count: int, image_size: int) -> Tensors:
    """The decoder's feeds for `count` random boxes on a random embedding."""
    rng = np.random.default_rng(0)
    side = image_size // 16
    corners = rng.uniform(0, image_size, (count, CORNERS, 2)).astype(np.float32)
    embeddings = (0.1 * rng.normal(size=(1, 256, side, side))).astype(np.float32)
    labels = np.tile(np.array(BOX, np.int32), (count, 1))
    return PromptTensors.without_masks(np.sort(corners, axis=1), labels, image_size).feeds(embeddings)


if __name__ == "__main__":
    typer.run(main)
