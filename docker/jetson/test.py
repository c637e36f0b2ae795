"""The container's test: nano computes on this board what PyTorch computed, on the CPU and in TensorRT."""

from __future__ import annotations

import argparse
import subprocess
import sys


def run(*command: str) -> None:
    """Runs a command and ends with its status where that is not 0."""
    print("$", *command, flush=True)
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu-only", action="store_true", help="for a machine without a GPU")
    arguments = parser.parse_args()
    run("glesam-info")
    run("glesam-verify", "--backend", "onnxruntime")
    if not arguments.cpu_only:
        import tensorrt  # says at once what the base image lacks

        print("TensorRT", tensorrt.__version__)
        run("glesam-build", "--backend", "tensorrt")
        run("glesam-verify", "--backend", "tensorrt")


if __name__ == "__main__":
    main()
