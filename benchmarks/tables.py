"""Writes the tables of measurements/ from its records: python benchmarks/tables.py

measurements/README.md has the matrix of what ran where and the list of topics, every topic's README.md a
section for each record. Only what stands between marker comments is replaced.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import typer
from harness.record import MEASUREMENTS, PROOFS, Record, records
from harness.table import Row, markdown_table

END = "<!-- end -->"
WIDTH = 120
"""Columns of a line of text."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8+fp32", "int8+fp16", "int8+bf16")


class Claim(NamedTuple):
    """How surely a backend runs a precision on a machine, and since when that is known."""

    proof: str
    date: str
    backend: str
    precision: str
    machine: str

    def strength(self) -> tuple[int, str]:
        return -PROOFS.index(self.proof), self.date


def main() -> None:
    for path, text in pages(MEASUREMENTS).items():
        path.write_text(text)
        print(f"wrote {path}")


def pages(folder: Path) -> dict[Path, str]:
    """Returns the text of every page of a measurements folder, its tables made anew."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    topics = {path: [each for _, each in records(path)] for path in folders}
    blocks = {path / "README.md": {"records": topic_page(path)} for path in topics}
    matrix = what_ran_where(each for loaded in topics.values() for each in loaded)
    blocks[folder / "README.md"] = {"matrix": matrix, "topics": index(topics)}
    return {path: with_tables(path.read_text(), tables) for path, tables in blocks.items()}


def with_tables(page: str, tables: dict[str, str]) -> str:
    """Returns the page with new text behind each marker "<!-- tables: NAME -->" up to the next end marker."""
    for name, text in tables.items():
        marker = f"<!-- tables: {name} -->"
        before, _, rest = page.partition(marker)
        page = f"{before}{marker}\n{text}\n{END}{rest.partition(END)[2]}"
    return page


def what_ran_where(loaded: Iterable[Record]) -> str:
    """Returns the matrix: a row for each backend and precision, a column for each machine.

    A cell has the strongest claim, the newest where several are alike. The best proven backends and
    machines come first.
    """
    best: dict[tuple[str, str], dict[str, Claim]] = {}
    for claim in sorted(claims(loaded), key=Claim.strength):
        best.setdefault((claim.backend, claim.precision), {})[claim.machine] = claim
    proven: dict[str, tuple[int, str]] = {}
    for claim in (claim for row in best.values() for claim in row.values()):
        for name in (claim.backend, claim.machine):
            proven[name] = min(proven.get(name, (len(PROOFS), name)), (PROOFS.index(claim.proof), name))
    machines = sorted({name for row in best.values() for name in row}, key=proven.__getitem__)
    rows: list[Row] = []
    for backend, precision in sorted(best, key=lambda key: (proven[key[0]], PRECISIONS.index(key[1]))):
        cells = {name: cell(best[backend, precision].get(name)) for name in machines}
        rows.append({"backend": backend, "precision": precision, **cells})
    return markdown_table(rows)


def claims(loaded: Iterable[Record]) -> Iterator[Claim]:
    """Yields the claims of all rows with a backend and a precision.

    `on` names another machine than the record's.
    """
    for record in loaded:
        machine = record.machine.name if record.machine else ""
        for row in record.figures:
            if record.topic == "backends" and "backend" in row and "precision" in row:
                what = str(row["backend"]), str(row["precision"]), str(row.get("on") or machine)
                yield Claim(record.proof, record.date or "", *what)


def cell(claim: Claim | None) -> str:
    return f"{claim.proof} {claim.date}".strip() if claim else ""


def index(topics: dict[Path, list[Record]]) -> str:
    """Returns the list of topics, with the title of each page and the date of its newest record."""
    rows: list[Row] = []
    for path, loaded in topics.items():
        title = (path / "README.md").read_text().partition("\n")[0].removeprefix("# ")
        newest = max((each.date or "" for each in loaded), default="")
        rows.append({"topic": f"[{title}]({path.name}/README.md)", "records": len(loaded), "newest": newest})
    return markdown_table(rows)


def topic_page(topic: Path) -> str:
    """Returns a section for each record of a topic, the newest first."""
    return "\n\n".join(section(path, record) for path, record in records(topic))


def section(path: Path, record: Record) -> str:
    """Returns heading, circumstances, command, table and note of a record."""
    parts = [f"## {record.title}", wrapped(f"{circumstances(record)} ([record]({path.name}))")]
    if record.command:
        parts.append(f"```\n{record.command}\n```")
    if record.figures:
        parts.append(markdown_table(record.figures))
    return "\n\n".join([*parts, *([wrapped(record.note)] if record.note else [])])


def wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def circumstances(record: Record) -> str:
    """Returns how sure it is, when, on which machine, at which load, by which commit and versions."""
    facts = [f"**{record.proof}**", record.date, record.machine.name if record.machine else None]
    if record.load_average is not None:
        facts.append(f"load average {record.load_average:g}")
    facts.append(f"commit {record.commit}" if record.commit else None)
    facts += [f"{name} {version}" for name, version in record.versions.items()]
    if record.source != "benchmark":
        facts.append(f"entered by hand from {record.source}")
    return ", ".join(fact for fact in facts if fact)


if __name__ == "__main__":
    typer.run(main)
