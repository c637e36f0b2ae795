"""The results of glesam-bench: tables for people, one JSON object for programs (docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.reader import Bundle
from ..errors import OutputError
from ..preprocess import Pixels
from ..prompts import Box
from .bench import Benchmark, Plan, PromptsResult, pixels_sha256
from .console import grid, table
from .machine import Machine

if TYPE_CHECKING:
    from rich.table import Table

FORMAT_VERSION = 1
STDOUT = Path("-")
"""The --json file that stands for stdout."""
COUNTED = "resident memory of this process: Python, libraries, mapped weights; not a GPU's, not a child's"
Json = dict[str, object]


@dataclass(frozen=True, eq=False)
class Report:
    """A benchmark and its circumstances. `source`: the picture's path, or what it is instead."""

    bundle: Bundle
    backend: str
    reason: str
    source: str
    image: Pixels
    box: Box
    plan: Plan
    result: Benchmark
    machine: Machine


def check_json_file(file: Path | None, image: Path | None) -> None:
    """Raises OutputError where the results cannot go to `file`, before minutes are spent."""
    if file is None or file == STDOUT:
        return
    if file.is_dir():
        raise OutputError(
            f"--json {file}: expected a file, found a folder; name a file in it, or - for stdout"
        )
    if image is not None and file.resolve() == image.resolve():
        raise OutputError(f"--json {file}: that is the --image; name another file")


def json_document(report: Report) -> Json:
    """Returns everything as one object. Names end in their unit: _ms is milliseconds, _bytes is bytes."""
    model, result = report.bundle.manifest, asdict(report.result)
    height, width = report.image.shape[:2]
    return {
        "format_version": FORMAT_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": model.name,
        "precision": model.precision,
        "bundle_sha256": report.bundle.hash,
        "backend": report.backend,
        "backend_reason": report.reason,
        "image": {
            "source": report.source,
            "width": width,
            "height": height,
            "pixels_sha256": pixels_sha256(report.image),
            "box": list(report.box),
        },
        "warmup": report.plan.warmup,
        "rounds": report.plan.rounds,
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
        "machine": asdict(report.machine),
    }


def tables(report: Report) -> Iterator[Table]:
    """Yields the tables of stages, of prompts in one call and of threads, then the circumstances."""
    result = report.result
    rows = [[stage, *map(_ms, asdict(spread).values())] for stage, spread in result.stages_ms.items()]
    yield table("one picture, one prompt [ms]", ["stage", "p50", "p90", "p99", "mean"], rows)
    columns = ["prompts", "decode", "postprocess", "p50", "p90", "p99", "prompts/s"]
    yield table("prompts in one call [ms]", columns, [_prompts_row(each) for each in result.prompts])
    rows = [[str(each.threads), str(each.images), f"{each.images_per_s:.2f}"] for each in result.threads]
    yield table("pictures with one prompt each", ["threads", "pictures", "pictures/s"], rows)
    yield grid([*_about_the_run(report), *_about_the_machine(report.machine)])


def _about_the_run(report: Report) -> list[tuple[str, str]]:
    plan, result = report.plan, report.result
    height, width = report.image.shape[:2]
    first, device = result.first_run, result.device
    return [
        ("picture", f"{report.source}, {width} x {height} pixels"),
        ("rounds", f"{plan.rounds}, after {plan.warmup} that do not count"),
        (
            "first run",
            f"load {_ms(first.load_ms)}, set_image {_ms(first.set_image_ms)}, "
            f"predict {_ms(first.predict_ms)} ms",
        ),
        ("memory", f"{_mib(result.after.peak)} at the peak, {_mib(result.before.now)} before the graphs"),
        ("on the GPU", f"{_mib(device.held)}: {device.reason}"),
    ]


def _about_the_machine(machine: Machine) -> list[tuple[str, str]]:
    return [
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("GPU", ", ".join(gpu.name for gpu in machine.gpus) or "none known"),
        ("power mode", machine.power_mode or machine.cpu_governor or "unknown"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in machine.libraries.items())),
    ]


def _prompts_row(each: PromptsResult) -> list[str]:
    whole = each.predict_ms
    times = (each.decode_ms.p50, each.postprocess_ms.p50, whole.p50, whole.p90, whole.p99)
    return [str(each.prompts), *map(_ms, times), f"{each.prompts_per_s:.1f}"]


def _ms(value: float) -> str:
    return f"{value:.1f}"


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**20:.0f} MiB"
