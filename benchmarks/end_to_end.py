"""Milliseconds from a picture's file to its results, by stage, and of a camera loop beside its engines.

    python benchmarks/end_to_end.py [BUNDLE]... [--backend NAME]... [--rounds 5] [--frames 8]

One interleaved run; medians. A stage's `share` is that of "file to files", its picture's whole. `ratio` is
the time divided by that of the engines alone, fed with prepared tensors in the same round. The pictures are
a shipped photograph, resized and with grain, as JPEG. The camera loop takes frames from memory, follows one
box, draws it and makes the JSON: with the next frame encoded meanwhile, as Follower.each does it, and one
step after the other. A video is also decoded and written, by glesam-run --follow. Both are per frame.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from harness.interleaved import STAGES, Figures, interleaved, milliseconds
from harness.options import BackendsOption, BundlesArgument, NoteOption, RecordOption, RoundsOption
from harness.record import Run
from harness.table import Row
from PIL import Image

from glesam_calib.photographs import SHIPPED
from glesam_runtime import Bundle, Followed, Follower, Predictor, Prompt, draw_overlay, read_image
from glesam_runtime.image_io import png_bytes
from glesam_runtime.output import write_files
from glesam_runtime.preprocess import Pixels, Size, model_input
from glesam_runtime.tools.bench.measure import middle
from glesam_runtime.tools.follow.frames import Frame
from glesam_runtime.tools.follow.job import FollowJob, follow, frame_record
from glesam_runtime.tools.follow.sources import opened_frames
from glesam_runtime.tools.follow.video import written_video
from glesam_runtime.tools.overlay import overlay_file
from glesam_runtime.tools.records.schema import mask_record

SIZES: Sequence[Size] = ((480, 640), (3000, 4000))
ENGINES, WHOLE = "engines alone", "file to files"
LOOP, SERIAL, VIDEO = "camera loop", "camera loop, one after the other", "video to video"
WHOLES = (WHOLE, LOOP, SERIAL, VIDEO)
FPS, STEP_PX, QUALITY = 30.0, (6, 3), 92
Result = TypeVar("Result")


def main(
    bundles: BundlesArgument = None,
    backend: BackendsOption = None,
    rounds: RoundsOption = 5,
    frames: Annotated[int, typer.Option(metavar="N", min=2, help="Frames of the video.")] = 8,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    paths: Sequence[Path | None] = bundles or [None]
    run = Run.begin("nano_speed", f"From a file to its results: median of {rounds} interleaved rounds")
    contenders: dict[str, Callable[[], Figures]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = {f"{width} x {height}": picture(folder, (height, width)) for height, width in SIZES}
        clip = video(folder, frames)
        for path, chosen in product(paths, backend or ["auto"]):
            predictor = Predictor.from_bundle(path, chosen)
            manifest = Bundle.open(path).manifest
            label = f"{manifest.name} {manifest.precision}, {chosen}"
            for size, file in pictures.items():
                contenders[f"{label}|{size}"] = stages_of_a_picture(predictor, file, folder / "out")
            contenders[f"{label}|640 x 480, frames"] = camera_loop(predictor, clip, folder / "out", frames)
        times = interleaved(contenders, rounds)
    run.finish([row for name, each in times.items() for row in rows(name, each)], record, note)


def rows(name: str, figures: Figures) -> list[Row]:
    """Returns a row for each stage of one contender."""
    contender, _, size = name.partition("|")
    whole = figures.get(WHOLE)
    return [
        {
            "contender": contender,
            "picture": size,
            "what": what,
            "spent_ms": round(ms, 2),
            "share": round(ms / whole, 3) if whole and what not in (WHOLE, ENGINES) else None,
            "ratio": round(ms / figures[ENGINES], 3) if what in WHOLES else None,
        }
        for what, ms in figures.items()
    ]


class Watch(dict[str, float]):
    """Milliseconds of steps by name."""

    def __call__(self, name: str, step: Callable[[], Result]) -> Result:
        """Returns the step's result."""
        results: list[Result] = []
        self[name] = milliseconds(lambda: results.append(step()))
        return results[0]


def stages_of_a_picture(predictor: Predictor, file: Path, out: Path) -> Callable[[], Figures]:
    """Returns a contender: what glesam-run does for one picture and one box, one step after the other."""
    image = read_image(file)
    prompts = [Prompt(middle(image))]
    prepared = model_input(image, predictor.manifest)

    def measure() -> Figures:
        watch = Watch()
        watch(WHOLE, lambda: _each_stage(predictor, file, prompts, out, watch))
        predictor.set_tensor(*prepared)
        predictor.decode(prompts)
        return {**watch, ENGINES: engines_ms(predictor)}

    return measure


def _each_stage(predictor: Predictor, file: Path, prompts: Sequence[Prompt], out: Path, watch: Watch) -> None:
    image = watch("decode the JPEG", lambda: read_image(file))
    tensor, geometry = watch("resize and normalise", lambda: model_input(image, predictor.manifest))
    watch("encoder and GLE", lambda: predictor.set_tensor(tensor, geometry))
    logits, scores = watch("mask decoder", lambda: predictor.decode(prompts))
    resizer, threshold = predictor.mask_resizer, predictor.manifest.mask_threshold
    masks = watch("resize the mask", lambda: resizer.masks(logits, threshold))
    watch("JSON with RLE", lambda: json.dumps(mask_record(masks[0], float(scores[0]), 0)))
    overlay = watch("draw the overlay", lambda: draw_overlay(image, masks, prompts))
    mask_file = watch("mask as PNG", lambda: png_bytes(Image.fromarray(masks[0])))
    path, content = watch("overlay as JPEG", lambda: overlay_file(out, "o", overlay))
    watch("write", lambda: write_files({out / "m.png": mask_file, path: content}))


def camera_loop(predictor: Predictor, clip: Path, out: Path, count: int) -> Callable[[], Figures]:
    """Returns a contender: `count` frames followed in each way, and the engines alone, in ms per frame."""
    with opened_frames(clip, out) as source:
        frames = list(source.frames)
    prompt = Prompt(middle(frames[0].pixels))
    prepared = model_input(frames[0].pixels, predictor.manifest)

    def engines() -> float:
        spent = 0.0
        for _ in frames:
            predictor.set_tensor(*prepared)
            predictor.decode([prompt])
            spent += engines_ms(predictor)
        return spent

    def loop() -> None:
        for frame, followed in Follower(predictor, [prompt]).each(frames, attrgetter("pixels")):
            shown(frame, followed)

    def serial() -> None:
        follower = Follower(predictor, [prompt])
        for frame in frames:
            shown(frame, follower.next(frame.pixels))

    def video() -> None:
        follow(predictor, clip, FollowJob([prompt], out), lambda *_: None)

    def measure() -> Figures:
        ways = {LOOP: loop, SERIAL: serial, VIDEO: video}
        alone = {ENGINES: engines() / count}
        return alone | {name: milliseconds(way) / count for name, way in ways.items()}

    return measure


def shown(frame: Frame, followed: Followed) -> None:
    """Makes what a loop shows and tells of a frame."""
    draw_overlay(frame.pixels, followed.masks)
    json.dumps(frame_record(frame, followed))


def engines_ms(predictor: Predictor) -> float:
    """Returns the milliseconds of the last picture's graphs and its prompt's."""
    return sum(predictor.timings[stage] for stage in STAGES if stage in predictor.timings)


def picture(folder: Path, size: Size) -> Path:
    """Writes the photograph as a JPEG of `size` (H, W), with grain as a camera's, and returns its path."""
    path = folder / f"{size[1]}.jpg"
    Image.fromarray(grainy(size)).save(path, quality=QUALITY)
    return path


def video(folder: Path, frames: int) -> Path:
    """Writes a pan over the photograph and returns its path."""
    path = folder / "clip.mp4"
    across, down = STEP_PX
    height, width = SIZES[0]
    wide = grainy((height + down * frames, width + across * frames))
    with written_video(path, FPS) as write:
        for index in range(frames):
            top, left = down * index, across * index
            write(wide[top : top + height, left : left + width])
    return path


def grainy(size: Size) -> Pixels:
    """Returns the photograph as uint8 [H,W,3] with noise of 4 grey levels."""
    height, width = size
    photo = Image.fromarray(read_image(SHIPPED / "astronaut.jpg"))
    resized = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(0).normal(0, 4, resized.shape).astype(np.float32)
    pixels: Pixels = np.clip(resized + noise, 0, 255).astype(np.uint8)
    return pixels


if __name__ == "__main__":
    typer.run(main)
