"""The speed gate: int8 has to be faster than the float graphs that it replaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import median

from glesam_calib.observation.observe import GRAPHS as OBSERVED
from glesam_runtime import Bundle
from glesam_runtime.engines import Engine, computes_int8, open_engine, pick_backend
from glesam_runtime.engines.base import Array
from glesam_runtime.errors import NotFasterError
from glesam_runtime.tools.measure import Case
from glesam_runtime.tools.progress import Track, track_in, untracked

ROUNDS = 5
"""Number of runs of each engine that count."""


@dataclass(frozen=True)
class Speed:
    """Milliseconds of encoder and GLE together, on one backend, in one interleaved run."""

    backend: str
    float_ms: float
    int8_ms: float
    known: bool
    """Whether that backend computes the int8 layers in int8."""

    @property
    def ratio(self) -> float:
        """Float time over int8 time: above 1, int8 is faster."""
        return self.float_ms / self.int8_ms

    def __str__(self) -> str:
        times = f"int8 {self.int8_ms:.1f} ms, float {self.float_ms:.1f} ms ({self.ratio:.2f}x)"
        return f"encoder and GLE on {self.backend}: {times}"

    def check(self, report: Callable[[str], None]) -> None:
        """Raises NotFasterError where int8 is slower although it runs in int8; warns where it does not."""
        if not self.known:
            report(f"warning: {self}; {self.backend} computes these int8 layers in float, a target may not")
        elif self.int8_ms >= self.float_ms:
            raise NotFasterError(
                f"{self}: int8 is not faster here; export with --precision bf16, fp16 or fp32, or run "
                "glesam-quantize with --no-speed-gate for a target elsewhere"
            )
        else:
            report(str(self))


def measure_speed(floats: Bundle, bundle: Bundle, case: Case, backend: str = "auto") -> Speed:
    """Times `bundle` against the fp32 graphs it came from, run in the same arithmetic as its float rest."""
    float_ms, int8_ms, known = 0.0, 0.0, True
    for name in OBSERVED:
        graph = bundle.manifest.graphs[name]
        chosen, _ = pick_backend(backend, graph.precision)
        known = known and computes_int8(chosen, graph.precision)
        rest = graph.precision.rpartition("+")[2]
        with ExitStack() as stack:
            engines = [
                stack.enter_context(closing(open_engine(chosen, content, graph.spec, precision)))
                for content, precision in (
                    (floats.graph_content(name), rest),
                    (bundle.graph_content(name), graph.precision),
                )
            ]
            times = milliseconds(engines, case.feeds(name, case.expected), ROUNDS, track_in(name))
        float_ms, int8_ms = float_ms + times[0], int8_ms + times[1]
    return Speed(chosen, float_ms, int8_ms, known)


def milliseconds(
    engines: Sequence[Engine], feeds: Mapping[str, Array], rounds: int, track: Track = untracked
) -> list[float]:
    """The median time of each engine over `rounds` runs in turns, after one that does not count [ms]."""
    spent: list[list[float]] = [[] for _ in engines]
    for round_number in track(range(rounds + 1), rounds + 1, "rounds timed"):
        for engine, times in zip(engines, spent, strict=True):
            start = time.perf_counter()
            engine(dict(feeds))
            if round_number:
                times.append(1000 * (time.perf_counter() - start))
    return [median(times) for times in spent]
