"""Tables on terminals of any width."""

from __future__ import annotations

import pytest

from glesam_runtime.tools.console import show, table

COLUMNS = ["backend", *(f"level {level} [ms]" for level in range(8))]
ROWS = [
    [name, *(f"{10 * row + column}.25" for column in range(1, 9))] for row, name in enumerate(["one", "三つ"])
]


@pytest.mark.parametrize("width", [12, 24, 40, 80, 200])
def test_columns_that_do_not_fit_go_on_below_and_no_number_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show([table("milliseconds", COLUMNS, ROWS)])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= width and "…" not in printed
    if width > 12:  # a number and the names fit
        numbers = [word for line in lines for word in line.split() if word.endswith(".25")]
        assert sorted(numbers) == sorted(number for _, *row in ROWS for number in row)
    blocks = [line for line in lines if line.startswith("backend")]
    assert len(blocks) == {24: 8, 40: 4, 80: 2, 200: 1}.get(width, len(blocks))
    assert printed.count("milliseconds") == 1


def test_a_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    show([table("nothing", COLUMNS, [])])
    assert "level 7 [ms]" in capsys.readouterr().out
