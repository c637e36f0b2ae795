"""Results as tables: rows are methods, columns are levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from glesam.evaluation.gains import comparisons
from glesam.evaluation.results import Results
from glesam.evaluation.score import REAL, RowName

Value = TypeVar("Value")

TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "pixel_accuracy": "pixel accuracy",
    "best_of_three": "IoU of the best of three masks (oracle)",
    "chosen": "IoU of the mask chosen of three",
}


@dataclass(frozen=True)
class Table:
    """A table: `title` heads the first column, `lines` are the rows, and each begins with its name."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, ending in a line break."""
        head = f"| {self.title} | {' | '.join(self.columns)} |\n|---|{'---|' * len(self.columns)}\n"
        return head + "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in self.lines)


def overall_tables(results: Results) -> list[Table]:
    """One table per metric over the pictures of all data sets; under IoU, what GLE gains.

    The tables of multimask, if any row has it, show a dash for the rows that lack it. The column of real
    low-quality pictures is a mean over those alone; no other column includes them.
    """
    name = "all sets" if len(results.datasets) > 1 else results.datasets[0]
    return [_table(results, metric, name) for metric in TITLES if _shown(results, metric)]


def dataset_tables(results: Results, metrics: Sequence[str]) -> list[Table]:
    """One table per data set and metric; none where there is only one data set."""
    names = results.datasets if len(results.datasets) > 1 else []
    shown = [metric for metric in metrics if _shown(results, metric)]
    return [_table(results.of(name), metric, name) for name in names for metric in shown]


def level_title(level: str) -> str:
    """Name of a level as a reader sees it: "clean", "LQ-3", "real LQ"."""
    return {"clean": "clean", REAL: "real LQ"}.get(level, f"LQ-{level}")


def footnotes(results: Results) -> list[str]:
    """Lines below the table: the rows whose masks are not all the method's own work."""
    counts = [(row, *results.fallbacks(row)) for row in results.rows]
    return [
        f"{row} failed on {fallbacks} of {masks} masks (all levels); the filled box stands in for those."
        for row, fallbacks, masks in counts
        if fallbacks
    ]


def report(results: Results, title: str, notes: Sequence[str]) -> str:
    """The text of table.md: every table, then the footnotes and `notes`."""
    tables = [*overall_tables(results), *dataset_tables(results, list(TITLES))]
    lines = [f"- {line}" for line in [*footnotes(results), *notes]]
    return "\n".join([f"# {title}\n", *(table.markdown() for table in tables), *lines, ""])


def _shown(results: Results, metric: str) -> bool:
    return any(results.measured(metric, row) for row in results.rows)


def _table(results: Results, metric: str, name: str) -> Table:
    lines = [(str(row), *_cells(results, metric, row)) for row in results.rows]
    if metric == "iou":
        lines += _gain_lines(results)
    count = results.pictures(results.levels[0])
    title = f"{TITLES[metric]}, {name}, {count} picture{'' if count == 1 else 's'}"
    return Table(title, tuple(_column(results, level) for level in results.levels), tuple(lines))


def _cells(results: Results, metric: str, row: RowName) -> Iterator[str]:
    measured = results.measured(metric, row)
    for level in results.levels:
        yield _decimal(results.mean(metric, row, level)) if measured else "-"


def _column(results: Results, level: str) -> str:
    """Title of a level's column, with its number of pictures where the table's title has another one."""
    other = level == REAL and level != results.levels[0]
    return f"{level_title(level)} ({results.pictures(level)})" if other else level_title(level)


def _gain_lines(results: Results) -> Iterator[tuple[str, ...]]:
    for pair in comparisons(results.rows):
        yield _gain_line(f"gain of {pair}", pair.gain, results, _signed)
        further = (
            _gain_line("95 % of resampled pictures", pair.interval, results, _range),
            _gain_line(f"gap closed by {pair}", pair.closed, results, _percent),
        )
        yield from (line for line in further if any(line[1:]))


def _gain_line(
    title: str,
    value: Callable[[Results, str], Value | None],
    results: Results,
    shown: Callable[[Value], str],
) -> tuple[str, ...]:
    values = (value(results, level) for level in results.levels)
    return (title, *("" if number is None else shown(number) for number in values))


def _decimal(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _range(bounds: tuple[float, float]) -> str:
    return " to ".join(map(_signed, bounds))


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
