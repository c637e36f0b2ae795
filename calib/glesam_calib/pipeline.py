"""The int8 half of an export: statistics, and the search for a bundle whose masks hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glesam_calib import CalibrationTable, Quantization, calibrate, empty_table
from glesam_calib.frontier import Point, steps, write_frontier
from glesam_calib.graphs import measure_speed, quantized_graphs
from glesam_calib.observation.observe import checkpoint_of
from glesam_calib.observation.pictures import CalibrationPictures, measure_sensitivity
from glesam_export.assembly import Assembly, Records
from glesam_runtime import Bundle
from glesam_runtime.engines import INT8
from glesam_runtime.tools.measure import Case, measure
from glesam_runtime.tools.parity import Parity, check, table
from glesam_runtime.tools.progress import track

SEARCHED = 4
"""Pictures that a search tries each layer on, where nobody says how many."""


@dataclass(frozen=True)
class Int8:
    """How to quantize, and by whose statistics: `table`, or `pictures` observed now.

    `search`: of `pictures`, on how many each layer is tried alone before anything is quantized; None: on
    `SEARCHED`, but only for a `frontier` or where the masks do not hold without. `frontier`: where a table
    and a plot of all that the search passes are written. `speed_gate`: refuse what is no faster here.
    """

    quantization: Quantization
    table: CalibrationTable | None
    pictures: CalibrationPictures | None
    search: int | None = None
    frontier: Path | None = None
    speed_gate: bool = True


@dataclass(frozen=True)
class Int8Export:
    """One fp32 bundle on its way to int8, in `folder`."""

    assembly: Assembly
    floats: Bundle
    records: Records
    folder: Path
    cases: Sequence[Case]
    int8: Int8
    report: Callable[[str], None]

    def run(self, min_iou: float) -> Parity:
        """Writes the graphs; more and more layers stay in float until the masks hold.

        Raises:
            CalibrationError: the statistics are another model's, or pictures cannot be used.
            ParityError: the masks do not hold, whatever stays in float.
            NotFasterError: int8 is no faster here than float.
        """
        start, statistics = self.int8.quantization, self._statistics()
        if self.int8.frontier is not None:
            walk = steps(replace(start, tolerance=math.inf), statistics)
            points = [self._point(one, statistics) for one in walk]
            write_frontier(points, self.int8.frontier)
        point = self._first_that_holds(statistics, min_iou)
        if point.mean_iou < min_iou and self._may_search(point, statistics):
            self.report(
                f"masks of IoU {point.mean_iou:.4f}, asked {min_iou:g}: trying {len(point.int8)} layers "
                f"alone on {SEARCHED} pictures each, to leave the worst in float (--search 0 does without)"
            )
            self._search(statistics, SEARCHED)
            point = self._first_that_holds(statistics, min_iou)
        self.report(table(point.parity))
        check(point.parity, min_iou, self._cure(statistics))
        if self.int8.speed_gate:
            point.speed.check(self.report)
        else:
            self.report(str(point.speed))
        return point.parity

    def _first_that_holds(self, statistics: CalibrationTable, min_iou: float) -> Point:
        """Or the last that was tried."""
        for quantization in steps(self.int8.quantization, statistics):
            point = self._point(quantization, statistics)
            if point.mean_iou >= min_iou:
                break
        return point

    def _may_search(self, point: Point, statistics: CalibrationTable) -> bool:
        return (
            self.int8.pictures is not None
            and self.int8.search is None
            and not any(statistics.sensitivity.values())
            and any(map(self.int8.quantization.policy.may_return, point.int8))
        )

    def _search(self, statistics: CalibrationTable, count: int) -> None:
        assert self.int8.pictures is not None
        measure_sensitivity(self.floats, self.int8.pictures, count, statistics, self.int8.quantization)

    def _cure(self, statistics: CalibrationTable) -> str:
        if any(statistics.sensitivity.values()):
            return "export with --precision fp16, or with more and other --calib-images"
        if self.int8.pictures is None:
            return "export with --precision fp16, or give --calib-images instead of the table"
        return (
            f"export with --precision fp16, or let --search {SEARCHED} find the layers that belong into float"
        )

    def _statistics(self) -> CalibrationTable:
        found, pictures = self.int8.table, self.int8.pictures
        if found is None and pictures is not None:
            found = empty_table(self.floats)
            calibrate(self.floats, track(pictures, len(pictures), "pictures observed"), found)
            wanted = self.int8.search
            if wanted is None and self.int8.frontier is not None:
                wanted = SEARCHED
            if wanted:
                self._search(found, wanted)
        assert found is not None
        found.check_checkpoint(checkpoint_of(self.floats))
        return found

    def _point(self, quantization: Quantization, statistics: CalibrationTable) -> Point:
        written = quantized_graphs(self.floats, statistics, self.folder, self.records, quantization)
        done = {name: record.int8 for name, record in written.items() if record.int8 is not None}
        for name, layers in done.items():
            self.report(f"{name}: {layers}")
        precision = f"{INT8}+{quantization.high_precision}"
        bundle = self.assembly.write(self.folder, precision, written, {})
        parity = measure(bundle, self.cases)
        self.assembly.write(self.folder, precision, written, parity.to_json())
        size = sum(self.folder.joinpath(file).stat().st_size for file in bundle.manifest.files)
        left = sum(len(layers.left) for layers in done.values())
        speed = measure_speed(self.floats, bundle, self.cases[0])
        int8 = [name for layers in done.values() for name in layers.layers]
        return Point(int8, left, quantization.tolerance, parity, size / 2**20, speed)
