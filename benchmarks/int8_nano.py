"""nano in int8: threshold methods, numbers of samples, and the quantizers that a user would otherwise take.

    python benchmarks/int8_nano.py BUNDLE --calib DIR --images DIR [--samples 8]... [--method mse]...
        [--peers] [--nncf PYTHON] [--untimed]

BUNDLE is nano in fp32 (`glesam-export --opset 19`), DIRs are photographs: to calibrate on, and to measure on,
which no calibration has seen. Masks are compared with the fp32 bundle's, six prompts a picture, clean and at
LQ-3; the decoder is the float one in every row, so that encoder and GLE are what is compared. They are what
Q/DQ says, computed in float by ONNX Runtime, so no int8 kernel of a CPU or a runtime has a part in them.
With --peers also: ONNX Runtime's `quantize_static` with its defaults, and with --nncf PYTHON, an interpreter
that has it, NNCF's `quantize` with its. Times are OpenVINO's, of one interleaved run of all rows; on a CPU
without VNNI give --untimed, since OpenVINO sums int8 wrongly there and our backend takes only our own Q/DQ.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import typer

from glesam_calib import METHODS, CalibrationTable, Quantization, calibrate, empty_table, images_in
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_calib.observation.observe import GRAPHS
from glesam_calib.observation.pictures import LEVELS, CalibrationPictures, measure_sensitivity
from glesam_calib.quantization.quantize import quantize
from glesam_runtime import Bundle
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import Pixels, preprocess
from glesam_runtime.prompts import PromptTensors, encode_prompts
from glesam_runtime.tools.measure import fixed_prompts
from glesam_runtime.tools.parity import compare, mask_iou

NNCF = """
import sys, numpy as np, nncf, onnx
source, target, *feeds = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
data = nncf.Dataset([np.load(feed) for feed in feeds], lambda array: {name: array})
onnx.save(nncf.quantize(model, data, subset_size=len(feeds)), target)
"""
ROUNDS = 10
Graphs = Mapping[str, Path]


@dataclass(frozen=True)
class Case:
    level: int
    image: Array
    prompts: PromptTensors
    resizer: MaskResizer
    embeddings: Array
    masks: Array


def main(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True)],
    calib: Annotated[Path, typer.Option(metavar="DIR", exists=True)],
    images: Annotated[Path, typer.Option(metavar="DIR", exists=True)],
    samples: Annotated[list[int] | None, typer.Option(metavar="N", help="Default: 8 and 64.")] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Default: all.")] = None,
    tolerance: Annotated[float, typer.Option(metavar="F")] = Quantization().tolerance,
    peers: Annotated[bool, typer.Option("--peers")] = False,
    nncf: Annotated[Path | None, typer.Option(metavar="PYTHON")] = None,
    timed: Annotated[bool, typer.Option("--timed/--untimed")] = True,
) -> None:
    opened = Bundle.open(bundle)
    decoder = open_graph(opened, "mask_decoder")
    cases = list(reference(opened, decoder, images))
    counts = samples or [8, 64]
    with tempfile.TemporaryDirectory() as folder:
        rows: dict[str, Graphs] = {"float": {name: opened.graph_path(name) for name in GRAPHS}}
        for count in counts:
            pictures = CalibrationPictures(calib, LEVELS, count, print)
            table = empty_table(opened)
            calibrate(opened, pictures, table)
            measure_sensitivity(opened, pictures, 4, table, Quantization())
            for name in method or METHODS:
                options = Quantization(name, tolerance=tolerance)
                rows[f"{name}, {count} samples"] = ours(opened, table, options, Path(folder))
        if peers:
            feeds = calibration_feeds(opened, CalibrationPictures(calib, LEVELS, counts[-1], print))
            rows["quantize_static"] = peer(opened, feeds, Path(folder), with_onnxruntime)
            if nncf is not None:
                rows["NNCF"] = peer(opened, feeds, Path(folder), lambda *a: with_nncf(nncf, *a))
        times = interleaved(opened, rows, cases[0]) if timed else {}
        report(rows, opened, cases, decoder, times)


def open_graph(bundle: Bundle, name: str) -> Engine:
    graph = bundle.manifest.graphs[name]
    return open_engine("onnxruntime", bundle.graph_path(name), graph.spec)


def reference(bundle: Bundle, decoder: Engine, images: Path) -> Iterator[Case]:
    """The fp32 bundle's answers."""
    encoder, gle = (open_graph(bundle, name) for name in GRAPHS)
    manifest = bundle.manifest
    for seed, picture in enumerate(images_in(images, 1000, print).values()):
        for level in (0, 3):
            shown: Pixels = picture
            if level:
                shown = degrade(picture, LEVEL_RATES[level], np.random.default_rng(seed))
            image, geometry = preprocess(shown, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
            prompts = encode_prompts(fixed_prompts(shown), geometry)
            resizer = MaskResizer.for_geometry(geometry)
            enhanced = gle(encoder({"image": image}))["image_embeddings_enhanced"]
            masks = decoder(prompts.feeds(enhanced))["low_res_masks"][:, 0]
            yield Case(level, image, prompts, resizer, enhanced, masks)


def ours(bundle: Bundle, table: CalibrationTable, options: Quantization, folder: Path) -> Graphs:
    written = {}
    for name in GRAPHS:
        model = ir.load(bundle.graph_path(name))
        quantize(model.graph, table.of_graph(name, model.graph), options, table.sensitivity[name])
        lower_precision(model, options.high_precision)
        written[name] = folder / f"{options.method}-{len(table.samples)}-{name}.onnx"
        save_onnx(model, written[name])
    return written


def calibration_feeds(bundle: Bundle, pictures: CalibrationPictures) -> dict[str, list[Array]]:
    encoder = open_graph(bundle, "image_encoder")
    manifest = bundle.manifest
    feeds: dict[str, list[Array]] = {name: [] for name in GRAPHS}
    for _, picture in pictures:
        image, _ = preprocess(picture, manifest.image_size, manifest.pixel_mean, manifest.pixel_std)
        feeds["image_encoder"].append(image)
        feeds["gle"].append(encoder({"image": image})["image_embeddings"])
    return feeds


def peer(bundle: Bundle, feeds: Mapping[str, list[Array]], folder: Path, tool: Any) -> Graphs:  # noqa: ANN401
    written = {}
    for name in GRAPHS:
        written[name] = folder / f"{id(tool)}-{name}.onnx"
        given = bundle.manifest.graphs[name].spec.inputs[0].name
        tool(bundle.graph_path(name), written[name], feeds[name], given)
    return written


def with_onnxruntime(source: Path, target: Path, feeds: list[Array], name: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static  # noqa: TID251

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            array = next(self.feeds, None)
            return None if array is None else {name: array}

    quantize_static(str(source), str(target), Reader())


def with_nncf(python: Path, source: Path, target: Path, feeds: list[Array], name: str) -> None:
    paths = []
    for i, array in enumerate(feeds):
        paths.append(target.with_name(f"{target.stem}-{i}.npy"))
        np.save(paths[-1], array)
    subprocess.run([python, "-c", NNCF, source, target, *paths], check=True, stdout=sys.stderr)


def report(
    rows: Mapping[str, Graphs],
    bundle: Bundle,
    cases: list[Case],
    decoder: Engine,
    times: Mapping[str, float],
) -> None:
    titles = ["", "relative error", "clean: mean", "worst image", "LQ-3: mean", "worst image", "MiB"]
    titles += ["ms", "faster"] if times else []
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for row, graphs in rows.items():
        engines = engines_of(bundle, graphs, "onnxruntime", "fp32")
        found: dict[int, list[float]] = {0: [], 3: []}
        errors = []
        for case in cases:
            enhanced = answer(engines, case.image)
            errors.append(compare(enhanced, case.embeddings).relative)
            masks = decoder(case.prompts.feeds(enhanced))["low_res_masks"][:, 0]
            pairs = zip(*(case.resizer.masks(m, 0.0) for m in (masks, case.masks)), strict=True)
            found[case.level].append(float(np.mean([mask_iou(a, b) for a, b in pairs])))
        mib = sum(path.stat().st_size for path in graphs.values()) / 2**20
        cells = [row, f"{np.mean(errors):.4f}"]
        cells += [f"{ious:.4f}" for level in found for ious in (np.mean(found[level]), min(found[level]))]
        cells += [f"{mib:.1f}"]
        cells += [f"{times[row]:.1f}", f"{times['float'] / times[row]:.2f}x"] if times else []
        print(f"| {' | '.join(cells)} |", flush=True)


def engines_of(bundle: Bundle, graphs: Graphs, backend: str, precision: str) -> dict[str, Engine]:
    specs = {name: bundle.manifest.graphs[name].spec for name in GRAPHS}
    return {name: open_engine(backend, path, specs[name], precision) for name, path in graphs.items()}


def answer(engines: Mapping[str, Engine], image: Array) -> Array:
    return engines["gle"](engines["image_encoder"]({"image": image}))["image_embeddings_enhanced"]


def interleaved(bundle: Bundle, rows: Mapping[str, Graphs], case: Case) -> dict[str, float]:
    """Median milliseconds of encoder and GLE on OpenVINO, by row."""
    engines = {
        row: engines_of(bundle, graphs, "openvino", "fp32" if row == "float" else "int8+fp32")
        for row, graphs in rows.items()
    }
    spent: dict[str, list[float]] = {row: [] for row in engines}
    for round_number in range(ROUNDS + 1):
        for row, pair in engines.items():
            start = time.perf_counter()
            answer(pair, case.image)
            if round_number:
                spent[row].append(1000 * (time.perf_counter() - start))
    return {row: median(some) for row, some in spent.items()}


if __name__ == "__main__":
    typer.run(main)
