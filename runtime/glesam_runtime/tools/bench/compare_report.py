"""A comparison of backends as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..console import grid, table
from .compare import Comparison, Result
from .report import (
    PROMPTS_COLUMNS,
    PROMPTS_TITLE,
    Json,
    Setting,
    about_the_input,
    about_the_machine,
    json_setting,
    prompts_row,
)

if TYPE_CHECKING:
    from ..console import Drawn

COLUMNS = ("backend", "encode", "enhance", "decode", "p50", "p90", "p99", "ratio", "mask IoU", "worst IoU")


def compared_json(setting: Setting, comparison: Comparison) -> Json:
    """Returns everything as one object. Names end in their unit."""
    slowest = comparison.results[-1].whole.p50
    return {
        **json_setting(setting),
        "contenders": [
            {
                **asdict(each.contender),
                "load_ms": each.load_ms,
                "stages_ms": {stage: asdict(spread) for stage, spread in each.stages_ms.items()},
                "prompts": [asdict(calls) for calls in each.prompts],
                "ratio": round(slowest / each.whole.p50, 3),
                "mask_iou": asdict(each.mask_iou),
            }
            for each in comparison.results
        ],
        "absent": dict(comparison.absent),
    }


def compared_tables(setting: Setting, comparison: Comparison) -> Iterator[Drawn]:
    """Yields the table of contenders, that of prompts in one call, then what was measured on what."""
    yield table("image to mask [ms]", COLUMNS, table_rows(comparison.results))
    if rows := prompts_rows(comparison.results):
        yield table(PROMPTS_TITLE, ("backend", *PROMPTS_COLUMNS), rows)
    yield grid([*not_here(comparison), *about_the_input(setting), *about_the_machine(setting.machine)])


def table_rows(results: Sequence[Result]) -> list[list[str]]:
    """Returns a row of `COLUMNS` for each result."""
    slowest = results[-1].whole.p50
    return [
        [
            str(each.contender),
            *(f"{each.stages_ms[stage].p50:.1f}" for stage in ("encode", "enhance", "decode")),
            *(f"{ms:.1f}" for ms in (each.whole.p50, each.whole.p90, each.whole.p99)),
            f"{slowest / each.whole.p50:.2f}",
            f"{each.mask_iou.mean:.4f}",
            f"{each.mask_iou.worst:.4f}",
        ]
        for each in results
    ]


def prompts_rows(results: Sequence[Result]) -> list[list[str]]:
    """Returns a row for each result and number of prompts in one call: its contender, `PROMPTS_COLUMNS`."""
    return [[str(each.contender), *prompts_row(calls)] for each in results for calls in each.prompts]


def not_here(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns rows (name, reason) of the backends that do not run the bundle."""
    return [(f"not here: {backend}", reason) for backend, reason in comparison.absent.items()]
