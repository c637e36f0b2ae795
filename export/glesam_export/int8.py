"""Checkpoint to int8 bundle in one step: a float bundle, then what glesam-quantize does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glesam.reference import Model
from glesam_calib import CalibrationError, CalibrationTable, Quantization
from glesam_calib.observation.pictures import CalibrationPictures
from glesam_calib.pipeline import QuantizeOptions, quantize_bundle
from glesam_export.pipeline import ExportOptions, Report, export_bundle, table_beside
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import provenance
from glesam_runtime.output import check_replaceable, scratch_folder
from glesam_runtime.tools.measure import ImageSets
from glesam_runtime.tools.parity import Parity


def export_int8(
    model: Model,
    made_from: Mapping[str, Path],
    out: Path,
    images: ImageSets,
    options: ExportOptions,
    pictures: CalibrationPictures | None = None,
    report: Report = print,
) -> Parity:
    """Writes the int8 bundle of `model`: a float bundle beside `out`, quantized, and removed again.

    The statistics are observed on `pictures`, or taken from the table in the checkpoint's folder. Raises as
    `export_bundle` and `glesam_calib.pipeline.quantize_bundle` do.
    """
    target = out.resolve()
    check_replaceable(target)
    statistics = None if pictures else load_table(made_from)
    with scratch_folder(target.with_name(f"{target.name}-float")) as scratch:
        export_bundle(
            model, made_from, scratch / "fp32", images, ExportOptions("fp32", options.opset), report
        )
        floats = Bundle.open(scratch / "fp32")
        how = QuantizeOptions(Quantization(), statistics, pictures, min_iou=options.least_iou)
        return quantize_bundle(floats, out, images, how, report)


def load_table(made_from: Mapping[str, Path]) -> CalibrationTable:
    """Reads the checkpoint's calibration table.

    Raises:
        CalibrationError: there is none, or it is incomplete or belongs to other weights.
    """
    path = table_beside(made_from)
    if path is None:
        raise CalibrationError(
            "int8 has to know what the layers see: give --calib-images DIR, photographs like those the model "
            "will see"
        )
    statistics = CalibrationTable.load(path)
    statistics.check_complete()
    statistics.check_checkpoint(provenance(made_from)["checkpoint"])
    return statistics
