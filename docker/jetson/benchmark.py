"""Times nano, or another bundle, on this board and adds a row to a CSV file.

python3 benchmark.py --backend tensorrt --runs 20 --warmup 5 --save /data/glesam.csv
"""

from __future__ import annotations

import argparse
import csv
import platform
import resource
import socket
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean

import numpy as np

from glesam_runtime import Bundle, Predictor

BOX = (160, 90, 1120, 630)
SIZE = (720, 1280)
"""Height and width of the picture, a camera's frame [px]."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", default=None, help="a bundle's folder; default: the shipped nano")
    parser.add_argument("--backend", default="auto", help="as for glesam-run: tensorrt, onnxruntime, ...")
    parser.add_argument("--runs", type=int, default=2, help="calls that count")
    parser.add_argument("--warmup", type=int, default=1, help="calls before them that do not")
    parser.add_argument("--save", type=Path, default=None, help="CSV file that the row is added to")
    return parser.parse_args()


def stage_times(predictor: Predictor, runs: int, warmup: int) -> dict[str, float]:
    """Returns the mean milliseconds of each stage over `runs` pictures with one box each."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    seen: list[dict[str, float]] = []
    for index in range(warmup + runs):
        predictor.set_image(pictures[index % 2])
        predictor.predict(box=BOX)
        seen.append(dict(predictor.timings))
    counted = seen[warmup:]
    return {f"{stage}_ms": round(mean(each[stage] for each in counted), 3) for stage in counted[0]}


def add_row(path: Path, row: dict[str, object]) -> None:
    """Adds a row to a CSV file, with the names above the first one."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    arguments = parse()
    bundle = Bundle.open(arguments.bundle)
    with Predictor.from_bundle(bundle, arguments.backend) as predictor:
        times = stage_times(predictor, max(1, arguments.runs), max(0, arguments.warmup))
    row: dict[str, object] = {
        "timestamp": datetime.now(timezone.utc).strftime("%Y%m%d %H:%M:%S"),
        "hostname": socket.gethostname(),
        "machine": platform.machine(),
        "api": arguments.backend,
        "model": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "runs": max(1, arguments.runs),
        **times,
        "total_ms": round(sum(times.values()), 3),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print("\n".join(f"{name:<16}{value}" for name, value in row.items()))
    if arguments.save is not None:
        add_row(arguments.save, row)


if __name__ == "__main__":
    main()
