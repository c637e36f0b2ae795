"""The speed gate, and how engines are timed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from glesam_calib import speed
from glesam_calib.speed import Speed, measure_speed, milliseconds
from glesam_runtime import Bundle
from glesam_runtime.errors import BackendError
from glesam_runtime.tools.measure import Case


def test_a_backend_that_computes_in_float_is_a_warning_with_the_figures() -> None:
    said: list[str] = []
    Speed("onnxruntime", float_ms=10, int8_ms=12, known=False).check(said.append)
    assert said == [
        "warning: encoder and GLE on onnxruntime: int8 12.0 ms, float 10.0 ms (0.83x); "
        "onnxruntime computes these int8 layers in float, a target may not"
    ]


def test_engines_run_in_turns_and_the_first_run_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs = [0.0], list[str]()

    def engine(name: str, seconds: list[float]) -> Any:  # noqa: ANN401 - an engine
        def run(_: object) -> None:
            clock[0] += seconds[runs.count(name)]
            runs.append(name)

        return run

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    engines = [engine("a", [9, 1, 5, 2]), engine("b", [9, 3, 3, 4])]
    assert milliseconds(engines, {}, rounds=3) == [2000, 3000]
    assert runs == ["a", "b"] * 4


def test_an_engine_is_closed_where_the_next_one_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = list[Path](), list[Path]()

    def open_engine(_backend: str, content: Path, *_: object) -> Any:  # noqa: ANN401 - an engine
        if opened:
            raise BackendError("a test")
        opened.append(content)
        return SimpleNamespace(close=lambda: closed.append(content))

    monkeypatch.setattr(speed, "open_engine", open_engine)
    graph = SimpleNamespace(spec=None, precision="int8+fp32")
    bundle = SimpleNamespace(
        graph_content=Path, manifest=SimpleNamespace(graphs={"image_encoder": graph, "gle": graph})
    )
    with pytest.raises(BackendError, match="a test"):
        measure_speed(cast(Bundle, bundle), cast(Bundle, bundle), cast(Case, None), "onnxruntime")
    assert closed == opened == [Path("image_encoder")]
