"""The speed gate: int8 has to be faster than the float graphs that it replaces."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from glesam_calib.observation.observe import GRAPHS as OBSERVED
from glesam_runtime import Bundle
from glesam_runtime.engines import computes_int8, open_engine, pick_backend
from glesam_runtime.errors import NotFasterError
from glesam_runtime.tools.measure import Case

ROUNDS = 5


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
    """Times `bundle` against the fp32 graphs it came from, run in the same arithmetic as its float rest.

    Each time is the median of `ROUNDS`.
    """
    totals = {"float": 0.0, "int8": 0.0}
    known = True
    for name in OBSERVED:
        graph = bundle.manifest.graphs[name]
        chosen, _ = pick_backend(backend, graph.precision)
        known = known and computes_int8(chosen, graph.precision)
        rest = graph.precision.rpartition("+")[2]
        engines = {
            "float": open_engine(chosen, floats.graph_content(name), graph.spec, rest),
            "int8": open_engine(chosen, bundle.graph_content(name), graph.spec, graph.precision),
        }
        feeds = case.feeds(name, case.expected)
        spent: dict[str, list[float]] = {which: [] for which in engines}
        for round_number in range(ROUNDS + 1):
            for which, engine in engines.items():
                start = time.perf_counter()
                engine(feeds)
                if round_number:
                    spent[which].append(1000 * (time.perf_counter() - start))
        for which, engine in engines.items():
            engine.close()
            totals[which] += median(spent[which])
    return Speed(chosen, totals["float"], totals["int8"], known)
