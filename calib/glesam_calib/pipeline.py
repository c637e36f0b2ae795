"""Float bundle to int8 bundle: statistics -> Q/DQ -> masks gate, search where it fails -> speed gate."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from glesam_calib.frontier import Point, first_that_holds, ladder, steps, write_frontier
from glesam_calib.layer_times import saved_by_layers, weighted
from glesam_calib.observation.observe import GRAPHS as OBSERVED
from glesam_calib.observation.observe import calibrate, check_float, checkpoint_of, empty_table
from glesam_calib.observation.pictures import CalibrationPictures, measure_sensitivity
from glesam_calib.observation.table import CalibrationTable
from glesam_calib.quantization.graphs import write_graphs
from glesam_calib.quantization.quantize import Quantization
from glesam_calib.quantization.targets import backend_for
from glesam_calib.speed import measure_speed
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import CALIBRATION, FILE, versions, write_bundle
from glesam_runtime.engines import INT8
from glesam_runtime.errors import CalibrationError, OutputError
from glesam_runtime.output import replaced_folder
from glesam_runtime.tools.info import parity_of
from glesam_runtime.tools.measure import Case, ImageSets, bundle_cases, measure
from glesam_runtime.tools.parity import MIN_IOU, Parity, check, table
from glesam_runtime.tools.progress import track
from glesam_runtime.tools.verify import GOLDEN

SEARCHED = 4
"""Number of pictures on which a search tries each layer, where the options do not set it."""
REFERENCE = "the float bundle"
Report = Callable[[str], None]


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize, by whose statistics, and what the result must pass.

    Attributes:
        table: the statistics; None where `pictures` are observed for them.
        search: number of `pictures` on which each layer is tried alone before anything is quantized. None:
            `SEARCHED`, but only for a `frontier` or where the masks do not hold without a search.
        frontier: folder for a table and a plot of every bundle that the search passes.
        min_iou: least mean mask IoU against the float bundle, in every set of pictures.
        speed_gate: whether int8 that is no faster here than float is refused.
    """

    quantization: Quantization
    table: CalibrationTable | None
    pictures: CalibrationPictures | None = None
    search: int | None = None
    frontier: Path | None = None
    min_iou: float = MIN_IOU[INT8]
    speed_gate: bool = True


def quantize_bundle(
    floats: Bundle, out: Path, images: ImageSets, options: QuantizeOptions, report: Report = print
) -> Parity:
    """Writes the int8 bundle of an fp32 bundle to `out`, whole or not at all.

    Raises:
        CalibrationError: `floats` is not fp32, or the statistics or pictures do not fit it.
        ParityError: the masks do not hold, whatever stays in float.
        NotFasterError: int8 is no faster here than float.
        OutputError: `out` is something else, or cannot be written.
        BackendError: what runs bundles for the target is not installed, and the speed gate needs it.
    """
    check_float(floats)
    backend = backend_for(options.quantization.target, options.speed_gate)
    if out.resolve() == floats.root.resolve():
        raise OutputError(f"{out} is the float bundle's own folder; choose another folder with --out")
    with replaced_folder(out) as folder:
        for name in floats.manifest.files:
            if name.startswith(GOLDEN):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(floats.root / name, folder / name)
        report(f"{REFERENCE}: its masks are the reference")
        cases = bundle_cases(floats, images)
        return _Quantizing(floats, folder, cases, options, report, backend).run()


def table_of(bundle: Bundle) -> CalibrationTable | None:
    """The calibration table inside a float bundle; None where it has none."""
    listed = CALIBRATION in bundle.manifest.files
    return CalibrationTable.load(bundle.root / CALIBRATION) if listed else None


@dataclass(frozen=True)
class _Quantizing:
    """One float bundle on its way to int8, in `folder`; `backend` runs it for both gates."""

    floats: Bundle
    folder: Path
    cases: Sequence[Case]
    options: QuantizeOptions
    report: Report
    backend: str

    def run(self) -> Parity:
        """Writes the bundle; more and more layers stay in float until the masks hold."""
        statistics, min_iou = self._weighted(self._statistics()), self.options.min_iou
        self._write_frontier(statistics)
        point = self._first_that_holds(statistics)
        if point.mean_iou < min_iou and self._may_search(point, statistics):
            self.report(
                f"masks of IoU {point.mean_iou:.4f}, expected at least {min_iou:g}: trying each layer alone "
                f"on {SEARCHED} pictures, to leave the worst in float "
                "(glesam-quantize --search 0 does without)"
            )
            self._search(statistics, SEARCHED)
            statistics = self._weighted(statistics)
            point = self._first_that_holds(statistics)
        for line in table(point.parity).split("\n"):
            self.report(line)
        check(point.parity, min_iou, self._cure(statistics), REFERENCE)
        if self.options.speed_gate:
            point.speed.check(self.report)
        else:
            self.report(str(point.speed))
        return point.parity

    def _statistics(self) -> CalibrationTable:
        """The table that the options bring, or one observed now."""
        statistics, pictures = self.options.table, self.options.pictures
        if statistics is None:
            if pictures is None:
                raise CalibrationError("int8 needs statistics: give a calibration table or pictures")
            statistics = empty_table(self.floats)
            calibrate(self.floats, track(pictures, len(pictures), "pictures observed"), statistics)
            wanted = self.options.search
            if wanted is None and self.options.frontier is not None:
                wanted = SEARCHED
            if wanted:
                self._search(statistics, wanted)
        statistics.check_checkpoint(checkpoint_of(self.floats))
        statistics.check_graphs({name: ir.load(self.floats.graph_path(name)).graph for name in OBSERVED})
        return statistics

    def _write_frontier(self, statistics: CalibrationTable) -> None:
        if self.options.frontier is not None:
            walk = steps(replace(self.options.quantization, tolerance=math.inf), statistics)
            write_frontier([self._point(step, statistics) for step in walk], self.options.frontier)

    def _first_that_holds(self, statistics: CalibrationTable) -> Point:
        """The bundle with the fewest layers in float whose masks hold, or with the most."""
        rungs = ladder(self.options.quantization, statistics)
        tried: list[Point] = []

        def measure_rung(rung: Quantization) -> Point:
            tried.append(self._point(rung, statistics))
            return tried[-1]

        point = first_that_holds(rungs, measure_rung, self.options.min_iou)
        return point if point is tried[-1] else self._point(point.rung, statistics)

    def _weighted(self, statistics: CalibrationTable) -> CalibrationTable:
        """The table with what layers cost for the time they save, where the target is timed."""
        how = self.options.quantization
        if self.backend == "auto" or not any(statistics.sensitivity.values()):
            return statistics
        self.report(f"timing layers on {self.backend}")
        case, saved = self.cases[0], dict[str, dict[str, float]]()
        for name, errors in statistics.sensitivity.items():
            path, spec = self.floats.graph_path(name), self.floats.manifest.graphs[name].spec
            feeds = case.feeds(name, case.expected)
            saved[name] = saved_by_layers(path, spec, statistics.tensors[name], errors, how, feeds)
        return replace(statistics, sensitivity=weighted(statistics.sensitivity, saved))

    def _may_search(self, point: Point, statistics: CalibrationTable) -> bool:
        return (
            self.options.pictures is not None
            and self.options.search is None
            and not any(statistics.sensitivity.values())
            and any(map(self.options.quantization.policy.may_return, point.int8))
        )

    def _search(self, statistics: CalibrationTable, count: int) -> None:
        assert self.options.pictures is not None
        measure_sensitivity(self.floats, self.options.pictures, count, statistics, self.options.quantization)

    def _cure(self, statistics: CalibrationTable) -> str:
        if any(statistics.sensitivity.values()):
            return "export with --precision fp16, or quantize with more and other --calib-images"
        if self.options.pictures is None:
            return "export with --precision fp16, or give --calib-images instead of the table"
        return (
            f"export with --precision fp16, or let --search {SEARCHED} find the layers that belong into float"
        )

    def _point(self, quantization: Quantization, statistics: CalibrationTable) -> Point:
        """Writes the bundle of one step and measures it."""
        written = write_graphs(self.floats, statistics, self.folder, quantization)
        done = {name: graph.int8 for name, graph in written.items() if graph.int8 is not None}
        for name, layers in done.items():
            self.report(f"{name}: {layers}")
        document = self._document(f"{INT8}+{quantization.high_precision}")
        for name, graph in written.items():
            document["graphs"][name] |= graph.to_json()
        bundle = write_bundle(self.folder, document)
        parity = measure(bundle, self.cases, self.backend)
        write_bundle(self.folder, document | {"parity": parity.to_json()})
        return Point(
            int8=[name for layers in done.values() for name in layers.layers],
            left=sum(len(layers.left) for layers in done.values()),
            rung=quantization,
            parity=parity,
            mib=sum(file.size for file in bundle.manifest.files.values()) / 2**20,
            speed=measure_speed(self.floats, bundle, self.cases[0], self.backend),
        )

    def _document(self, precision: str) -> dict[str, Any]:
        """The float bundle's bundle.json with this precision, made from that bundle.

        Its parity with PyTorch stays on record: the new bundle's own is measured against the float one.
        """
        document: dict[str, Any] = json.loads((self.floats.root / FILE).read_text())
        masks = {f"mask_iou_{name}": iou.mean for name, iou in parity_of(self.floats).mask_iou.items()}
        made_from = document["made_from"] | {
            "float_bundle": {FILE: self.floats.hash, "precision": document["precision"], **masks},
            "quantized_with": versions(("glesam", "onnx", "onnx-ir")),
        }
        return document | {"precision": precision, "made_from": made_from, "parity": {}}
