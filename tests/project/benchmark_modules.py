"""Imports the scripts of benchmarks/, which are no package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NO_BENCHMARK = {"tables"}
NAMES = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in NO_BENCHMARK)


def benchmark(name: str) -> ModuleType:
    """Returns a module of benchmarks/, such as "nano_latency" or "harness.record"."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)
