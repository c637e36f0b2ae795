"""IoU of a followed object in every frame: an ellipse that moves, and pans over the shipped photographs.

    python benchmarks/follow.py [--backend onnxruntime]

A row is a frame of a clip. `lost` is the reason where the object is said to be lost: right where `visible` is
false. The true mask of a photograph is nano's own in the whole picture, so its first IoU is below 1.
"""

from __future__ import annotations

from typing import Annotated

import typer
from harness.clips import Clip, followed, moving_object, pan
from harness.options import NoteOption, RecordOption
from harness.record import Run

from glesam_runtime import Predictor


def clips(frames: int) -> dict[str, Clip]:
    """Returns the clips by name."""
    return {
        "moving ellipse": moving_object(frames, visible=frames - 3),
        "chelsea, zoom": pan("chelsea.jpg", (115, 25, 345, 250), (300, 220), (9, 5), 1.03, frames),
        "coffee, pan": pan("coffee.jpg", (140, 60, 380, 290), (400, 280), (6, 3), 1.0, frames),
        "astronaut, pan": pan("astronaut.jpg", (100, 40, 300, 300), (320, 320), (12, 10), 1.0, frames),
    }


def main(
    backend: Annotated[str, typer.Option(metavar="NAME", help="Backend that runs nano.")] = "auto",
    frames: Annotated[int, typer.Option(metavar="N", min=4, max=12, help="Frames of each clip.")] = 10,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    run = Run.begin("follow", "IoU of a followed object by frame")
    rows: list[dict[str, str | int | float | None]] = []
    with Predictor("nano", backend=backend) as predictor:
        for name, clip in clips(frames).items():
            for index, (score, reason) in enumerate(followed(clip, predictor)):
                visible = bool(clip.masks[index].any())
                rows.append(
                    {"clip": name, "frame": index, "visible": visible, "iou": score, "lost": reason or ""}
                )
    run.finish(rows, record, note)


if __name__ == "__main__":
    typer.run(main)
