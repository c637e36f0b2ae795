"""Runs one process for many attacks, which a crash or a full memory would end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

SECONDS = 2.0
"""Most CPU time for an attack, which wins minutes where it succeeds."""


def answers_of(script: str, kind: str, paths: Collection[Path]) -> dict[str, dict[str, object]]:
    """Returns what `script` says to each path, by the path's name."""
    here = Path(__file__).parent
    runtime = here.parent / "runtime"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(runtime), *filter(None, sys.path)])}
    command = [sys.executable, str(here / script), kind, *map(str, paths)]
    timeout = 120 + SECONDS * len(paths)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    answers = {line["name"]: line for line in lines}
    missing = [path.name for path in paths if path.name not in answers]
    assert not missing, (missing[0], done.stderr[-2000:])  # which ended the process
    return answers
