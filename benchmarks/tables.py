"""Writes the tables of measurements/ from its records: python benchmarks/tables.py

measurements/README.md has the matrix of what ran where and the list of topics, every topic's README.md a section
for each record. Only what stands between the two marker comments of a page is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import typer
from harness.record import MEASUREMENTS, PROOFS, Record, records
from harness.table import Row, markdown_table

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
PRECISIONS = ("fp32", "fp16", "bf16", "int8+fp32", "int8+fp16", "int8+bf16")
Claim = tuple[str, str, str, str, str]
"""Proof, date, backend, precision and the machine it is about."""


def main() -> None:
    for path, text in pages(MEASUREMENTS).items():
        path.write_text(text)
        print(f"wrote {path}")


def pages(folder: Path) -> dict[Path, str]:
    """Returns the text of every page of a measurements folder, its tables made anew."""
    topics = {path: [each for _, each in records(path)] for path in sorted(folder.iterdir()) if path.is_dir()}
    texts = {path / "README.md": topic_page(path) for path in topics}
    matrix = what_ran_where(each for found in topics.values() for each in found)
    texts[folder / "README.md"] = f"{matrix}\n\n{index(topics)}"
    return {path: with_tables(path.read_text(), text) for path, text in texts.items()}


def with_tables(page: str, tables: str) -> str:
    """Returns the page with other text between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def what_ran_where(found: Iterable[Record]) -> str:
    """Returns the matrix: a row for each backend and precision, a column for each machine."""
    best: dict[tuple[str, str], dict[str, Claim]] = {}
    for claim in sorted(claims(found), key=strength):  # the strongest and newest claim of a cell stays
        best.setdefault((claim[2], claim[3]), {})[claim[4]] = claim
    every = [claim for row in best.values() for claim in row.values()]
    columns = sorted({claim[4] for claim in every}, key=lambda name: (-proven(every, 4, name), name))
    keys = sorted(best, key=lambda key: (-proven(every, 2, key[0]), key[0], PRECISIONS.index(key[1])))
    rows: list[Row] = [
        {"backend": backend, "precision": precision}
        | {c: cell(best[backend, precision].get(c)) for c in columns}
        for backend, precision in keys
    ]
    return markdown_table(rows)


def claims(found: Iterable[Record]) -> Iterator[Claim]:
    """Yields what the rows with a backend and a precision say; `on` names another machine than the record's."""
    for record in found:
        machine = record.machine.name if record.machine else ""
        for row in record.figures:
            if record.topic == "backends" and "backend" in row and "precision" in row:
                place = str(row.get("on") or machine)
                yield record.proof, record.date or "", str(row["backend"]), str(row["precision"]), place


def strength(claim: Claim) -> tuple[int, str]:
    return -PROOFS.index(claim[0]), claim[1]


def proven(every: Iterable[Claim], field: int, value: str) -> int:
    """Returns the strongest proof that a machine or a backend has in any cell."""
    return max(strength(claim)[0] for claim in every if claim[field] == value)


def cell(claim: Claim | None) -> str:
    return f"{claim[0]} {claim[1]}".strip() if claim else ""


def index(topics: dict[Path, list[Record]]) -> str:
    """Returns the list of topics, with the title of each page and the date of its newest record."""
    rows: list[Row] = []
    for path, found in topics.items():
        title = (path / "README.md").read_text().partition("\n")[0].removeprefix("# ")
        newest = max((each.date or "" for each in found), default="")
        rows.append({"topic": f"[{title}]({path.name}/README.md)", "records": len(found), "newest": newest})
    return markdown_table(rows)


def topic_page(topic: Path) -> str:
    """Returns a section for each record of a topic, the newest first."""
    return "\n\n".join(section(path, record) for path, record in records(topic))


def section(path: Path, record: Record) -> str:
    """Returns heading, circumstances, table and note of a record."""
    parts = [f"## {record.title}", f"{circumstances(record)} ([record]({path.name}))"]
    if record.command:
        parts.append(f"```\n{record.command}\n```")
    if record.figures:
        parts.append(markdown_table(record.figures))
    return "\n\n".join([*parts, *([record.note] if record.note else [])])


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
