"""One run of a benchmark as a JSON file: what was measured, where, when, by which command, how surely.

measurements/README.md describes every field for readers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

from glesam_runtime.engines.host import installed
from glesam_runtime.output import write_files

from .machine import MachineHeader, machine_header
from .table import Row, markdown_table

REPOSITORY = Path(__file__).parents[2]
MEASUREMENTS = REPOSITORY / "measurements"
SCHEMA = 1
PACKAGES = ("glesam", "export", "runtime", "calib")
"""Folders whose commit a record names: what is measured, without the benchmarks themselves."""
PROOFS = ("ran", "built", "api-checked", "not tried")
LIBRARIES = (
    "torch",
    "diffusers",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "numpy",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Record:
    """One JSON file of measurements/. What nobody knows is None."""

    schema: int
    topic: str
    benchmark: str | None
    title: str
    proof: str
    date: str | None
    machine: MachineHeader | None
    load_average: float | None
    commit: str | None
    command: str | None
    versions: dict[str, str]
    source: str
    note: str | None
    figures: list[Row]


@dataclass(frozen=True)
class Run:
    """A benchmark that began: the machine's load is read before the benchmark adds to it."""

    topic: str
    benchmark: str
    title: str
    load_average: float | None

    @classmethod
    def begin(cls, topic: str, title: str) -> Run:
        """Starts the record of the script that runs."""
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        return cls(topic, Path(sys.argv[0]).stem, title, load)

    def finish(self, figures: Sequence[Row], record: bool, note: str = "") -> Path:
        """Prints the table of the figures, writes the record and returns its path."""
        print(markdown_table(figures), flush=True)
        written = Record(
            schema=SCHEMA,
            topic=self.topic,
            benchmark=self.benchmark,
            title=self.title,
            proof="ran",
            date=datetime.now(timezone.utc).date().isoformat(),
            machine=machine_header(),
            load_average=self.load_average,
            commit=commit(),
            command=command(sys.argv),
            versions=installed(LIBRARIES),
            source="benchmark",
            note=note or None,
            figures=list(figures),
        )
        return save(written, MEASUREMENTS if record else REPOSITORY / "out/measurements")


def save(record: Record, folder: Path) -> Path:
    """Writes a record under its topic, beside earlier ones, and says where."""
    machine = slug(record.machine.name) if record.machine else "no-machine"
    stem = "-".join([record.date or "undated", slug(record.benchmark or record.title), machine])
    path = folder / record.topic / f"{stem}.json"
    number = 2
    while path.exists():
        path = path.with_name(f"{stem}-{number}.json")
        number += 1
    write_files({path: document(record).encode()}, "--record")
    print(f"wrote {path}" + ("; next: python benchmarks/tables.py" if folder == MEASUREMENTS else ""))
    return path


def document(record: Record) -> str:
    """Returns the JSON of a record: a line for each field of the header and for each row of figures."""
    header = asdict(record)
    rows = [json.dumps(row, ensure_ascii=False) for row in header.pop("figures")]
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
    figures = '"figures": [\n  ' + ",\n  ".join(rows) + "\n ]"
    return "{\n " + ",\n ".join([*lines, figures]) + "\n}\n"


def load(path: Path) -> Record:
    """Reads a record.

    Raises:
        ValueError: a field is missing or unknown.
    """
    document = json.loads(path.read_text())
    expected, present = {field.name for field in fields(Record)}, set(document)
    if expected != present:
        raise ValueError(f"{path}: expected the fields {sorted(expected)}, found {sorted(present)}")
    machine = document.pop("machine")
    return Record(machine=MachineHeader(**machine) if machine else None, **document)


def records(topic: Path) -> list[tuple[Path, Record]]:
    """Returns the records of a folder of measurements/, the newest first."""
    loaded = [(path, load(path)) for path in sorted(topic.glob("*.json"))]
    return sorted(loaded, key=lambda pair: pair[1].date or "", reverse=True)


def commit() -> str | None:
    """Returns the last commit that changed a package, "-dirty" added where one has uncommitted changes.

    None outside a checkout.
    """
    try:
        last, changes = (
            git("log", "-1", "--format=%h", "--", *PACKAGES),
            git("status", "-s", "--", *PACKAGES),
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return last + ("-dirty" if changes else "") if last else None


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def command(arguments: Sequence[str]) -> str:
    """Returns the command line as typed in the repository, without the options that are about the record.

    A path elsewhere is cut to its name.
    """
    words = iter(arguments[1:])
    kept = []
    for word in words:
        if word == "--note":
            next(words)
        elif word != "--record":
            kept.append(Path(word).name if Path(word).is_absolute() else word)
    return shlex.join(["python", f"benchmarks/{Path(arguments[0]).name}", *kept])


def slug(text: str) -> str:
    """Returns "amd-epyc-2-cores-avx2" for "AMD EPYC, 2 cores (AVX2)"."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
