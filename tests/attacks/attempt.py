"""A process of its own that opens bundles with one engine: python attempt.py ENGINE BUNDLE...

Prints one JSON object per bundle: its name, the error, and the processor's seconds. Its memory is limited: a
bundle that fills it is an error here and harms nobody else.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

MEMORY_BYTES = 3 << 30
"""Most memory beyond what the process has when its libraries are loaded."""


def open_with(engine: str, bundle: Path) -> None:
    """Opens the bundle and its engines. Raises the package's own errors."""
    if engine == "native":
        from native import open_bundle

        open_bundle(bundle)
    else:
        from glesam_runtime import Predictor

        Predictor.from_bundle(bundle, engine)


def limit_memory(more_bytes: int = MEMORY_BYTES) -> None:
    """Limits this process's address space to what it has now and so much more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    engine, sound, *bundles = sys.argv[1:]
    open_with(engine, Path(sound))  # loads every library
    print(json.dumps({"name": Path(sound).name}), flush=True)
    limit_memory()
    for bundle in map(Path, bundles):
        start, error, kind = time.process_time(), "", ""
        try:
            open_with(engine, bundle)
        except Exception as caught:
            error, kind = str(caught), type(caught).__name__
        seconds = time.process_time() - start
        print(json.dumps({"name": bundle.name, "error": error, "kind": kind, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
