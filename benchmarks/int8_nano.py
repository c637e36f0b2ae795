"""nano in int8: threshold methods, numbers of samples, and the quantizers that a user would otherwise take.

    python benchmarks/int8_nano.py BUNDLE --calib DIR --images DIR [--samples 8]... [--method mse]...
        [--int8 DIR]... [--peers] [--nncf PYTHON] [--untimed]

BUNDLE is nano in fp32 (`glesam-export --opset 19`), DIRs are photographs: to calibrate on, and to measure
on, which no calibration has seen. Masks are compared with the fp32 bundle's, six prompts a picture, clean
and at LQ-3; the decoder is the float one in every row, so that encoder and GLE are what is compared. They
are what Q/DQ says, computed in float by ONNX Runtime, so no int8 kernel of a CPU or a runtime has a part in
them. --int8 adds bundles of the same model by glesam-quantize, such as one for each target. With --peers
also: ONNX Runtime's `quantize_static` with its defaults, and with --nncf PYTHON, an interpreter that has it,
NNCF's `quantize` with its. Times are of OpenVINO and ONNX Runtime, in one interleaved run of all rows, and a
`ratio` is the float graphs' time on that runtime divided by the row's (above 1: faster); on a CPU without
VNNI give --untimed, since OpenVINO sums int8 wrongly there and our backend takes only our own Q/DQ. Takes
half an hour with 40 pictures and all methods.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness.interleaved import Figures, interleaved, milliseconds
from harness.options import NoteOption, RecordOption
from harness.peers import Quantizer, nncf_of, quantize_static
from harness.record import Run
from harness.table import Row

from glesam_calib import METHODS, CalibrationTable, Quantization, calibrate, empty_table, images_in
from glesam_calib.observation.observe import GRAPHS
from glesam_calib.observation.pictures import LEVELS, CalibrationPictures, measure_sensitivity
from glesam_calib.quantization.graphs import write_graphs
from glesam_runtime import Bundle
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade
from glesam_runtime.engines import ONNX_BACKENDS, Engine, open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.errors import BackendError
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import Pixels, model_input
from glesam_runtime.prompts import PromptTensors, encode_prompts
from glesam_runtime.tools.measure import fixed_prompts
from glesam_runtime.tools.parity import compare, mask_iou

FLOAT = "float"
ROUNDS = 10
Graphs = Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class Case:
    """A picture at one level, and what the fp32 bundle answers to it."""

    level: int
    image: Array
    prompts: PromptTensors
    resizer: MaskResizer
    embeddings: Array
    masks: Array


def main(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True)],
    calib: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="Photographs to calibrate on.")],
    images: Annotated[Path, typer.Option(metavar="DIR", exists=True, help="Photographs to measure on.")],
    samples: Annotated[list[int] | None, typer.Option(metavar="N", help="Default: 8 and 64.")] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: all.")] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="F", help="A layer that costs more stays in float.")
    ] = Quantization().tolerance,
    int8: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", exists=True, help="An int8 bundle. Repeatable.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Also quantize_static.")] = False,
    nncf: Annotated[Path | None, typer.Option(metavar="PYTHON", help="With --peers also NNCF.")] = None,
    timed: Annotated[bool, typer.Option("--timed/--untimed")] = True,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("int8", "nano in int8, encoder and GLE against the fp32 bundle")
    opened = Bundle.open(bundle)
    decoder = open_graph(opened, "mask_decoder")
    cases = list(reference(opened, decoder, images))
    counts = samples or [8, 64]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        quantized = {FLOAT: graphs_of(opened)}
        for count in counts:
            pictures = CalibrationPictures(calib, LEVELS, count, print)
            quantized |= ours(opened, pictures, list(method or METHODS), tolerance, folder)
        quantized |= {path.name: graphs_of(Bundle.open(path)) for path in int8 or ()}
        if peers:
            tools = {"quantize_static": quantize_static} | ({"NNCF": nncf_of(nncf)} if nncf else {})
            quantized |= theirs(opened, CalibrationPictures(calib, LEVELS, counts[-1], print), tools, folder)
        rows = {name: accuracy(opened, graphs, cases, decoder) for name, graphs in quantized.items()}
        if timed:
            add_times(rows, opened, quantized, cases[0])
    run.finish([{"quantizer": name, **row} for name, row in rows.items()], record, note)


def graphs_of(bundle: Bundle) -> Graphs:
    return {name: bundle.graph_path(name) for name in GRAPHS}


def open_graph(bundle: Bundle, name: str) -> Engine:
    graph = bundle.manifest.graphs[name]
    return open_engine("onnxruntime", bundle.graph_path(name), graph.spec)


def reference(bundle: Bundle, decoder: Engine, images: Path) -> Iterator[Case]:
    """Yields every picture, clean and at LQ-3, with the fp32 bundle's answers."""
    encoder, gle = (open_graph(bundle, name) for name in GRAPHS)
    manifest = bundle.manifest
    for seed, picture in enumerate(images_in(images, 1000, print).values()):
        for level in (0, 3):
            shown: Pixels = picture
            if level:
                shown = degrade(picture, LEVEL_RATES[level], np.random.default_rng(seed))
            image, geometry = model_input(shown, manifest)
            prompts = encode_prompts(fixed_prompts(shown), geometry)
            resizer = MaskResizer.for_geometry(geometry)
            enhanced = gle(encoder({"image": image}))["image_embeddings_enhanced"]
            masks = decoder(prompts.feeds({"image_embeddings": enhanced}))["low_res_masks"][:, 0]
            yield Case(level, image, prompts, resizer, enhanced, masks)


def ours(
    bundle: Bundle, pictures: CalibrationPictures, methods: list[str], tolerance: float, folder: Path
) -> dict[str, Graphs]:
    """Returns the graphs of our quantizer by each method, all from one observation of the pictures."""
    table = empty_table(bundle)
    calibrate(bundle, pictures, table)
    measure_sensitivity(bundle, pictures, 4, table, Quantization())
    options = [Quantization(name, tolerance=tolerance) for name in methods]
    count = len(table.samples)
    return {f"{each.method}, {count} samples": by_table(bundle, table, each, folder) for each in options}


def by_table(bundle: Bundle, table: CalibrationTable, options: Quantization, folder: Path) -> Graphs:
    written = folder / f"{options.method}-{len(table.samples)}"
    written.mkdir()
    write_graphs(bundle, table, written, options)
    return {name: written / bundle.manifest.graphs[name].file for name in GRAPHS}


def theirs(
    bundle: Bundle, pictures: CalibrationPictures, tools: Mapping[str, Quantizer], folder: Path
) -> dict[str, Graphs]:
    """Returns the graphs of the other quantizers; one that gives up on a graph is left out, and says why."""
    feeds = calibration_feeds(bundle, pictures)
    graphs: dict[str, Graphs] = {}
    for tool, quantizer in tools.items():
        written = {name: folder / f"{tool}-{name}.onnx" for name in GRAPHS}
        try:
            for name, path in written.items():
                input_name = bundle.manifest.graphs[name].spec.inputs[0].name
                quantizer(bundle.graph_path(name), path, feeds[name], input_name)
        except (ValueError, subprocess.CalledProcessError) as error:
            print(f"{tool} is left out: it does not quantize this model ({error})")
            continue
        graphs[tool] = written
    return graphs


def calibration_feeds(bundle: Bundle, pictures: CalibrationPictures) -> dict[str, list[Array]]:
    """Returns the inputs of encoder and GLE for every calibration picture."""
    encoder = open_graph(bundle, "image_encoder")
    manifest = bundle.manifest
    feeds: dict[str, list[Array]] = {name: [] for name in GRAPHS}
    for _, picture in pictures:
        image, _ = model_input(picture, manifest)
        feeds["image_encoder"].append(image)
        feeds["gle"].append(encoder({"image": image})["image_embeddings"])
    return feeds


def accuracy(bundle: Bundle, graphs: Graphs, cases: list[Case], decoder: Engine) -> Row:
    """Returns a row: error of the embeddings, IoU with the fp32 bundle's masks per picture, and bytes."""
    engines = engines_of(bundle, graphs, "onnxruntime", "fp32")
    ious: dict[int, list[float]] = {0: [], 3: []}
    errors = []
    for case in cases:
        enhanced = answer(engines, case.image)
        errors.append(compare(enhanced, case.embeddings).relative)
        masks = decoder(case.prompts.feeds({"image_embeddings": enhanced}))["low_res_masks"][:, 0]
        pairs = zip(*(case.resizer.masks(m, 0.0) for m in (masks, case.masks)), strict=True)
        ious[case.level].append(float(np.mean([mask_iou(a, b) for a, b in pairs])))
    mib = sum(path.stat().st_size for path in graphs.values()) / 2**20
    row: Row = {"relative_error": round(float(np.mean(errors)), 4)}
    for level, name in ((0, "clean"), (3, "lq3")):
        row[f"{name}_mean_iou"] = round(float(np.mean(ious[level])), 4)
        row[f"{name}_worst_iou"] = round(min(ious[level]), 4)
    return {**row, "mib": round(mib, 1)}


def engines_of(bundle: Bundle, graphs: Graphs, backend: str, precision: str) -> dict[str, Engine]:
    specs = {name: bundle.manifest.graphs[name].spec for name in GRAPHS}
    return {name: open_engine(backend, path, specs[name], precision) for name, path in graphs.items()}


def answer(engines: Mapping[str, Engine], image: Array) -> Array:
    return engines["gle"](engines["image_encoder"]({"image": image}))["image_embeddings_enhanced"]


def add_times(rows: dict[str, Row], bundle: Bundle, quantized: Mapping[str, Graphs], case: Case) -> None:
    """Adds the median milliseconds of encoder and GLE on each runtime, and the ratios to the float graphs.

    Both are empty where the runtime does not run the graphs.
    """
    contenders: dict[str, Callable[[], Figures]] = {}
    for name, graphs in quantized.items():
        precision = "fp32" if name == FLOAT else "int8+fp32"
        pairs = {backend: engines_of(bundle, graphs, backend, precision) for backend in ONNX_BACKENDS}
        contenders[name] = partial(
            times_of, {b: p for b, p in pairs.items() if runs(p, case.image)}, case.image
        )
    times = interleaved(contenders, ROUNDS)
    for name, row in rows.items():
        for backend in ONNX_BACKENDS:
            ms = times[name].get(backend)
            row[f"{backend}_ms"] = "" if ms is None else ms
            row[f"{backend}_ratio"] = "" if ms is None else round(times[FLOAT][backend] / ms, 2)


def runs(engines: Mapping[str, Engine], image: Array) -> bool:
    """Whether a runtime runs the graphs; prints why it does not."""
    try:
        answer(engines, image)
    except BackendError as error:
        print(f"not timed: {error}")
        return False
    return True


def times_of(pairs: Mapping[str, Mapping[str, Engine]], image: Array) -> Figures:
    return {backend: milliseconds(partial(answer, engines, image)) for backend, engines in pairs.items()}


if __name__ == "__main__":
    typer.run(main)
