"""Writes the seeds of the fuzz targets anew, from nano's bundle.json; regression seeds beside them stay."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import onnx

SEEDS = Path(__file__).parent / "seeds"
NANO = Path(__file__).parents[3] / "runtime/glesam_runtime/models/nano/bundle.json"
CONTENT = b"graph"  # what fuzz_bundle.cpp writes into every file
RECORD = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
FORMATS = range(5)
MOST_BYTES = 2_000


def bundle_json(*more_files: str) -> dict[str, Any]:
    """nano's manifest without its history, for the files of the fuzzer's folder."""
    content: dict[str, Any] = json.loads(NANO.read_text())
    names = [graph["file"] for graph in content["graphs"].values()]
    return content | {
        "files": dict.fromkeys([*more_files, *names], RECORD),  # graphs are refused: here they are no ONNX
        "made_from": {},
        "parity": {},
    }


def view(
    width: int, height: int, stride: int, pixel_format: int, any_numbers: bool, memory: int | None = None
) -> bytes:
    """As fuzz_image.cpp takes it: S = 64, the longest side first, then the view and some pixels."""
    packing = "<iiqi" if any_numbers else "<BBHB"
    kind = bytes([any_numbers]) if memory is None else struct.pack("<Bi", any_numbers | 4, memory)
    numbers = struct.pack(packing, width, height, stride, pixel_format)
    return bytes([3, 0]) + kind + numbers + bytes(range(0, 250, 7))


def write_graphs() -> None:
    """The tiny bundle's graphs, and with each a field that no bundle has."""
    sys.path.append(str(Path(__file__).parents[2] / "runtime"))
    from tiny_bundle import GRAPHS, model_of

    (SEEDS / "graph").mkdir(exist_ok=True)
    for name, text in GRAPHS.items():
        content = model_of(text).SerializeToString()
        (SEEDS / f"graph/{name}").write_bytes(content)
        (SEEDS / f"graph/{name}_with_a_function").write_bytes(content + b"\xca\x01\x00")
    write_attacks(model_of(GRAPHS["gle"]))


def write_attacks(gle: onnx.ModelProto) -> None:
    """Graphs that cost too much, each with another operator at its end; long ones are left out."""
    sys.path.append(str(Path(__file__).parents[2] / "attacks"))
    import costly_graphs
    from hostile_graphs import GRAPHS

    for name, generate in GRAPHS.items():
        if not hasattr(costly_graphs, name):
            continue
        model = onnx.ModelProto.FromString(gle.SerializeToString())
        generate(model)
        if model.ByteSize() < MOST_BYTES:
            (SEEDS / f"graph/{name}").write_bytes(model.SerializeToString())


def main() -> None:
    write_graphs()
    for name, files in {
        "nano": (),
        "golden": ("golden/0.npz",),
        "link": ("stays",),
        "link_outside": ("leaves",),
        "loop": ("loop",),
        "parent": ("../out",),
        "folder": ("golden",),
    }.items():
        (SEEDS / f"bundle/{name}.json").write_text(json.dumps(bundle_json(*files), separators=(",", ":")))
    for pixel_format in FORMATS:
        (SEEDS / f"image/format{pixel_format}").write_bytes(view(31, 17, 0, pixel_format, False))
        (SEEDS / f"image/gaps{pixel_format}").write_bytes(view(5, 40, 64, pixel_format, False))
    (SEEDS / "image/bicubic").write_bytes(b"\x03\x01" + view(9, 7, 0, 2, False)[2:])
    (SEEDS / "image/largest").write_bytes(view(2**31 - 1, 2**31 - 1, 2**63 - 1, 0, True))
    (SEEDS / "image/device").write_bytes(view(31, 17, 0, 0, False, memory=1))
    (SEEDS / "image/nowhere").write_bytes(view(31, 17, 0, 0, False, memory=-1))
    (SEEDS / "image/negative").write_bytes(view(4, 4, -12, 1, True))


if __name__ == "__main__":
    main()
