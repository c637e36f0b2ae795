"""A comparison of backends as a page of HTML that needs nothing else: no script, no link, no image file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from .compare import Comparison, Result
from .compare_report import COLUMNS, not_here, prompts_rows, table_rows
from .report import PROMPTS_COLUMNS, Setting, about_the_input, about_the_machine, json_setting

STAGES = {
    "preprocess": "#9aa5b1",
    "encode": "#2f6690",
    "enhance": "#d1495b",
    "decode": "#edae49",
    "postprocess": "#66a182",
}
"""Stages in their order, with their colours in the chart."""
BAR_PX, ROW_PX, NAME_PX, TIME_PX = 520, 30, 230, 90
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
svg { width: 100%; font-size: 13px; }
.legend span { margin-right: 1rem; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
</style>
</head>
<body>
<h1>$title, image to mask</h1>
$chart
$results
<p>Milliseconds. Stages are medians; p50, p90 and p99 are from image to mask. In every round each backend had
one turn, so that a busy moment met all. Ratio: the slowest p50 divided by this one.</p>
<p>Mask IoU: between this backend's masks and those that PyTorch gave when the bundle was exported, mean and
worst over the bundle's golden vectors.</p>
$prompts
<h2>Machine and input</h2>
$facts
<h2>Files</h2>
$files
</body>
</html>
""")


def compared_page(setting: Setting, comparison: Comparison, command: str) -> str:
    """Returns the report as HTML; `command` made it."""
    model, machine = setting.bundle.manifest, setting.machine
    facts = [
        ("bundle", f"sha256 of bundle.json: {setting.bundle.hash}"),
        ("date", str(json_setting(setting)["date"])),
        ("command", command),
        *about_the_input(setting),
        *about_the_machine(machine),
        ("system", f"{machine.system}, Python {machine.python}"),
        *not_here(comparison),
    ]
    files = [(name, f"{file.sha256}, {file.size} bytes") for name, file in model.files.items()]
    return PAGE.substitute(
        title=escape(f"{model.name} {model.precision}"),
        chart=chart(comparison.results),
        results=html_table([COLUMNS, *table_rows(comparison.results)], "th"),
        prompts=_prompts(comparison.results),
        facts=html_table(facts),
        files=html_table(files),
    )


def _prompts(results: Sequence[Result]) -> str:
    """Returns the section about several prompts in one call; nothing where none were measured."""
    rows = prompts_rows(results)
    head = ("backend", *PROMPTS_COLUMNS)
    return f"<h2>Prompts in one call</h2>\n{html_table([head, *rows], 'th')}" if rows else ""


def chart(results: Sequence[Result]) -> str:
    """Returns an SVG of horizontal bars, one for each result, its stages side by side, and their legend."""
    longest = max(sum(each.stages_ms[stage].p50 for stage in STAGES) for each in results)
    bars = "".join(bar(each, row * ROW_PX, BAR_PX / longest) for row, each in enumerate(results))
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{stage}</span>' for stage, colour in STAGES.items()
    )
    size = f"0 0 {NAME_PX + BAR_PX + TIME_PX} {len(results) * ROW_PX}"
    svg = f'<svg viewBox="{size}" role="img" aria-label="Milliseconds by stage">{bars}</svg>'
    return f'<div class="legend">{legend}</div>\n{svg}'


def bar(result: Result, top: float, px_per_ms: float) -> str:
    """Returns the SVG of one result, whose row begins at `top` [px]."""
    parts, left = [text(0, top, str(result.contender))], float(NAME_PX)
    for stage, colour in STAGES.items():
        ms = result.stages_ms[stage].p50
        width = ms * px_per_ms
        place = f'x="{left:.1f}" y="{top + 4}" width="{width:.1f}" height="{ROW_PX - 8}"'
        parts.append(f'<rect {place} fill="{colour}"><title>{stage} {ms:.1f} ms</title></rect>')
        left += width
    return "".join([*parts, text(left + 6, top, f"{result.whole.p50:.0f} ms")])


def text(left: float, top: float, content: str) -> str:
    """Returns the SVG of a text in the row that begins at `top` [px]."""
    return f'<text x="{left:.1f}" y="{top + 19}">{escape(content)}</text>'


def html_table(rows: Iterable[Sequence[str]], first: str = "td") -> str:
    """Returns a table; the cells of its first row are of the kind `first`."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else first
        lines.append("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"
