"""The records of measurements/ are whole, and its committed tables are made from them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from benchmark_modules import BENCHMARKS, NAMES, benchmark

MEASUREMENTS = BENCHMARKS.parent / "measurements"
PATHS = sorted(MEASUREMENTS.glob("*/*.json"))


def test_there_are_records() -> None:
    assert len(PATHS) > 50


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_record_has_a_sound_header(path: Path) -> None:
    module = benchmark("harness.record")
    record = module.load(path)
    assert record.schema == module.SCHEMA
    assert record.topic == path.parent.name
    assert record.proof in module.PROOFS
    assert record.title and record.figures and record.source
    assert path.name.startswith(record.date or "undated")
    assert record.date is None or date.fromisoformat(record.date)
    assert record.date or record.proof == "not tried", "what ran has a date"
    if record.source == "benchmark":
        assert record.benchmark in NAMES
        assert record.machine and record.machine.cpu and record.machine.cores and record.machine.system
        assert None not in (record.load_average, record.commit, record.command)
        assert record.versions
    else:
        assert re.search(r" at [0-9a-f]{7}$", record.source), "a document, and its commit"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_record_names_no_path_of_a_machine(path: Path) -> None:
    assert not re.search(r"[\" '](/|~)\w", path.read_text())


def test_the_committed_tables_are_those_of_the_records() -> None:
    pages = benchmark("tables").pages(MEASUREMENTS)
    assert len(pages) == 1 + len({path.parent for path in PATHS})
    stale = [str(path.relative_to(MEASUREMENTS)) for path, text in pages.items() if path.read_text() != text]
    assert stale == [], "run `python benchmarks/tables.py`"


def test_every_record_is_shown_on_the_page_of_its_topic() -> None:
    shown = {path: (path.parent / "README.md").read_text() for path in PATHS}
    assert [path.name for path, page in shown.items() if f"]({path.name})" not in page] == []


def test_the_matrix_keeps_the_strongest_claim_of_a_cell() -> None:
    tables = benchmark("tables")
    claims = [
        ("ran", "2026-01-01", "X", "fp16"),
        ("built", "2026-03-01", "X", "fp16"),
        ("ran", "2026-02-01", "X", "fp16"),
        ("not tried", None, "Y", "fp32"),
    ]
    matrix = tables.what_ran_where([record_of(*claim) for claim in claims])
    assert matrix.splitlines()[0] == "| backend | precision | a CPU |"
    assert matrix.splitlines()[2:] == ["| X | fp16 | ran 2026-02-01 |", "| Y | fp32 | not tried |"]


def record_of(proof: str, day: str | None, backend: str, precision: str) -> object:
    record = benchmark("harness.record").Record
    figures = [{"backend": backend, "precision": precision, "on": "a CPU"}]
    unknown = {"load_average": None, "commit": None, "command": None, "note": None, "machine": None}
    return record(
        schema=1,
        topic="backends",
        benchmark=None,
        title="A title",
        proof=proof,
        date=day,
        versions={},
        source="benchmark",
        figures=figures,
        **unknown,
    )
