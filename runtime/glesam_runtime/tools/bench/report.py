"""The results of glesam-bench: tables for people, one JSON object for programs (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ...bundle.reader import Bundle
from ...errors import OutputError
from ...preprocess import Pixels
from ...prompts import Box
from ..console import grid, table
from ..machine import Machine
from .measure import Benchmark, Plan, PromptsResult, pixels_sha256

if TYPE_CHECKING:
    from ..console import Drawn

FORMAT_VERSION = 1
COUNTED = "resident memory of this process: Python, libraries, mapped weights; not a GPU's, not a child's"
PROMPTS_TITLE = "prompts in one call [ms]"
PROMPTS_COLUMNS = ("prompts", "decode", "postprocess", "p50", "p90", "p99", "prompts/s")
Json = dict[str, object]


@dataclass(frozen=True, eq=False)
class Setting:
    """What was measured, on what. `source`: the picture's path, or what it is instead."""

    bundle: Bundle
    source: str
    image: Pixels
    box: Box
    plan: Plan
    machine: Machine


@dataclass(frozen=True, eq=False)
class Report:
    """A benchmark and its setting. `reason`: why `backend` was chosen."""

    setting: Setting
    backend: str
    reason: str
    result: Benchmark


def check_file(option: str, file: Path | None, image: Path | None) -> None:
    """Raises OutputError where the results cannot go to the `file` of an option, before minutes are spent."""
    if file is None:
        return
    if file.is_dir():
        raise OutputError(f"{option} {file}: expected a file, found a folder; name a file in it")
    if image is not None and file.resolve() == image.resolve():
        raise OutputError(f"{option} {file}: that is the --image; name another file")


def json_document(report: Report) -> Json:
    """Returns everything as one object. Names end in their unit: _ms is milliseconds, _bytes is bytes."""
    result = asdict(report.result)
    return {
        **json_setting(report.setting),
        "backend": report.backend,
        "backend_reason": report.reason,
        "first_run": result["first_run"],
        "stages_ms": result["stages_ms"],
        "prompts": result["prompts"],
        "threads": result["threads"],
        "memory": {
            "before_bytes": report.result.before.now,
            "after_bytes": report.result.after.now,
            "peak_bytes": report.result.after.peak,
            "counted": COUNTED,
            "device_bytes": report.result.device.held,
            "device_reason": report.result.device.reason,
        },
    }


def json_setting(setting: Setting) -> Json:
    """Returns the part of a document that does not depend on what was measured."""
    model = setting.bundle.manifest
    height, width = setting.image.shape[:2]
    return {
        "format_version": FORMAT_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": model.name,
        "precision": model.precision,
        "bundle_sha256": setting.bundle.hash,
        "image": {
            "source": setting.source,
            "width": width,
            "height": height,
            "pixels_sha256": pixels_sha256(setting.image),
            "box": list(setting.box),
        },
        "warmup": setting.plan.warmup,
        "rounds": setting.plan.rounds,
        "machine": asdict(setting.machine),
    }


def tables(report: Report) -> Iterator[Drawn]:
    """Yields the tables of stages, of prompts in one call and of threads, then the circumstances."""
    result = report.result
    rows = [[stage, *map(_ms, asdict(spread).values())] for stage, spread in result.stages_ms.items()]
    yield table("one picture, one prompt [ms]", ["stage", "p50", "p90", "p99", "mean"], rows)
    yield table(PROMPTS_TITLE, PROMPTS_COLUMNS, [prompts_row(each) for each in result.prompts])
    rows = [[str(each.threads), str(each.images), f"{each.images_per_s:.2f}"] for each in result.threads]
    yield table("pictures with one prompt each", ["threads", "pictures", "pictures/s"], rows)
    yield grid(
        [
            *about_the_input(report.setting),
            *_about_the_run(report),
            *about_the_machine(report.setting.machine),
        ]
    )


def about_the_input(setting: Setting) -> list[tuple[str, str]]:
    """Returns rows (name, text) about picture and rounds."""
    height, width = setting.image.shape[:2]
    return [
        ("picture", f"{setting.source}, {width} x {height} pixels"),
        ("rounds", f"{setting.plan.rounds}, after {setting.plan.warmup} that do not count"),
    ]


def _about_the_run(report: Report) -> list[tuple[str, str]]:
    result = report.result
    first, device = result.first_run, result.device
    return [
        (
            "first run",
            f"load {_ms(first.load_ms)}, set_image {_ms(first.set_image_ms)}, "
            f"predict {_ms(first.predict_ms)} ms",
        ),
        ("memory", f"{_mib(result.after.peak)} at the peak, {_mib(result.before.now)} before the graphs"),
        ("on the GPU", f"{_mib(device.held)}: {device.reason}"),
    ]


def about_the_machine(machine: Machine) -> list[tuple[str, str]]:
    """Returns rows (name, text) about processor, GPU, power and libraries."""
    return [
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("GPU", ", ".join(gpu.name for gpu in machine.gpus) or "none known"),
        ("power mode", machine.power_mode or machine.cpu_governor or "unknown"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in machine.libraries.items())),
    ]


def prompts_row(each: PromptsResult) -> list[str]:
    """Returns a row of `PROMPTS_COLUMNS`."""
    whole = each.predict_ms
    times = (each.decode_ms.p50, each.postprocess_ms.p50, whole.p50, whole.p90, whole.p99)
    return [str(each.prompts), *map(_ms, times), f"{each.prompts_per_s:.1f}"]


def _ms(value: float) -> str:
    return f"{value:.1f}"


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**20:.0f} MiB"
