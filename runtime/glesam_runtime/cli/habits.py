"""Options that people type by habit of other programs, and what this command calls them.

Each habit stands for an option, or for the argument of a name, such as IMAGE; a command that has neither says
nothing about it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Habit:
    """Words for one thing. option: its name here, with its values. arguments: names of an argument for it.

    instead: what to do, in place of writing the option, in the commands that have it.
    """

    words: tuple[str, ...]
    option: str = ""
    arguments: tuple[str, ...] = ()
    instead: str = ""


HABITS = (
    Habit(
        ("--image", "--images", "--img", "--input", "--input-image", "--source", "--file", "--picture", "-i"),
        "--image PATH",
        ("IMAGE",),
    ),
    Habit(("--bbox", "--bboxes", "--boxes", "--rect", "-b"), "--box X0 Y0 X1 Y1"),
    Habit(("--points", "--point-coords", "--click", "--positive-point", "-p"), "--point X Y"),
    Habit(("--negative-point", "--neg-point", "--background", "--bg-point"), "--background-point X Y"),
    Habit(
        ("--label", "--labels", "--point-label", "--point-labels"),
        "--point X Y",
        instead="write --point X Y for points on the object and --background-point X Y for those beside it",
    ),
    Habit(("--mask", "--prompt-mask", "--input-mask"), "--mask-input PNG"),
    Habit(("--everything", "--all", "--automatic", "--segment-everything"), "--auto"),
    Habit(("--multimask-output", "--multi-mask"), "--multimask"),
    Habit(("--video", "--track", "--stream", "--camera"), "--follow"),
    Habit(
        ("--engine", "--save-engine", "--output", "--out", "-o"),
        "--timing-cache",
        instead="leave it out: engines go into the cache, whose folder $GLESAM_CACHE names",
    ),
    Habit(
        (
            "--bundle",
            "--model",
            "--weights",
            "--checkpoint",
            "--ckpt",
            "--onnx",
            "--engine",
            "--model-path",
            "-m",
        ),
        "--bundle PATH",
        ("BUNDLE",),
    ),
    Habit(("--checkpoint", "--model", "--weights", "--ckpt"), "--checkpoint DIR", ("CHECKPOINT",)),
    Habit(("--device", "--gpu", "--cuda", "--provider", "--ep"), "--backend NAME[:DEVICE]"),
    Habit(("--no-gle", "--plain", "--disable-gle", "--no-enhancement"), "--no-enhance"),
    Habit(
        (
            *("--output", "--output-dir", "--out-dir", "--outdir", "--save", "--save-dir", "--dst", "-o"),
            *("--project", "--name"),
        ),
        "--out DIR",
    ),
    Habit(("--to-json", "--output-json", "--json-output"), "--json"),
    Habit(("--fp16", "--fp32", "--bf16", "--int8", "--half", "--dtype"), "--precision NAME"),
    Habit(
        ("--fp16", "--fp32", "--bf16", "--int8", "--half", "--dtype", "--precision"),
        "--workspace",
        instead="leave it out: an engine has the precision of its bundle, from glesam-export --precision",
    ),
    Habit(
        ("--fp16", "--fp32", "--bf16", "--int8", "--half", "--dtype", "--precision"),
        "--backend",
        instead="leave it out: a bundle has one precision, from glesam-export --precision",
    ),
    Habit(("--int8", "--quantize"), "--high-precision", instead="leave it out: the new bundle is int8"),
    Habit(("--format", "--include"), "--opset", instead="leave it out: a bundle holds ONNX graphs"),
    Habit(
        ("--calib-data", "--calib-dir", "--calib", "--calibration", "--calibration-data", "--data"),
        "--calib-images DIR",
    ),
    Habit(("--conf", "--confidence", "--score", "--score-thresh"), "--pred-iou-thresh F"),
    Habit(("--iou", "--nms", "--iou-thresh", "--nms-thresh"), "--box-nms-thresh F"),
    Habit(("--iou", "--tolerance"), "--min-iou F"),
    Habit(
        ("--text", "--text-prompt", "--prompt"),
        "--box",
        instead="words are no prompt: write --box or --point",
    ),
    Habit(("--class", "--classes", "--cls"), "--auto", instead="leave it out: masks have no classes"),
    Habit(
        ("--save-crop", "--save-crops", "--crop"), "--json", instead="write --json: each mask has its bbox"
    ),
    Habit(
        ("--save-txt", "--save-conf"), "--auto", instead="write --json: masks as COCO RLE, with their scores"
    ),
    Habit(
        ("--show", "--visualize", "--visualise", "--plot"),
        "--auto",
        instead="leave it out: overlays are written to --out DIR, and glesam-view is a page to look at masks",
    ),
    Habit(
        ("--vid-stride", "--stride", "--frame-stride"),
        "--max-frames",
        instead="leave it out: --follow takes every frame",
    ),
    Habit(
        ("--retina-masks", "--upscale"),
        "--auto",
        instead="leave it out: masks always have the picture's own size",
    ),
    Habit(
        ("--degrade", "--level", "--severity", "--lq"),
        "--auto",
        instead="leave it out: glesam-degrade writes degraded pictures, and glesam-view shows them",
    ),
    Habit(
        ("--imgsz", "--img-size", "--image-size", "--input-size"),
        "--bundle",
        instead="leave it out: the bundle says to what size pictures are resized",
    ),
    Habit(("--iterations", "--iters", "--iter", "--repeat", "--repeats", "--runs", "-n"), "--rounds N"),
    Habit(("--server", "--server-name", "--listen", "--bind", "--address"), "--host NAME"),
    Habit(("--share", "--public"), "--host 0.0.0.0"),
    Habit(("-p", "--server-port"), "--port N"),
    Habit(
        ("--open", "--launch", "--inbrowser", "--open-browser"),
        "--browser",
        instead="leave it out: a browser opens where there is a screen",
    ),
    Habit(("--no-open", "--headless"), "--browser", instead="write --no-browser"),
    Habit(
        ("--token", "--password", "--auth"),
        "--host",
        instead="leave it out: --host 0.0.0.0 makes a token and prints it",
    ),
    Habit(
        ("--degrade", "--level", "--severity", "--lq"),
        "--host",
        instead="leave it out: the page has a slider",
    ),
    Habit(("--severity", "--lq", "--levels", "--lq-level"), "--level N"),
    Habit(("--cc", "--arch", "--sm", "--compute-capability", "--gpu-arch"), "--target SM"),
    Habit(("--num-threads", "--cpu-threads", "--jobs", "--workers", "-j"), "--threads N"),
)


def advice(
    command: str, words: Sequence[str], options: Collection[str], arguments: Mapping[str, bool]
) -> str | None:
    """Returns a line for the first of `words` that is a habit and none of the command's `options`.

    arguments: the names of the command's arguments, in capitals, and whether each may be repeated. None where
    no word is a habit for which this command has a name.
    """
    for index, word in enumerate(words):
        if word == "--":  # what follows are names of files
            break
        name, _, joined = word.partition("=")
        if name in options:
            continue
        if not name.startswith("-"):
            follows_option = index > 0 and words[index - 1].startswith("-")
            if not joined or follows_option or os.path.exists(word):
                continue
            if f"--{name}" in options:
                return f"{command} takes no {word}; write --{name} {joined}"
        value = joined or next(iter(words[index + 1 : index + 2]), "")
        first = words[0] if index and not words[0].startswith("-") else None
        cure = _cure(name if name.startswith("-") else f"--{name}", value, first, command, options, arguments)
        if cure is not None:
            return (
                f"{command} has no {name}; {cure}"
                if name.startswith("-")
                else f"{command} takes no {word}; {cure}"
            )
    return None


def _cure(
    name: str,
    value: str,
    first: str | None,
    command: str,
    options: Collection[str],
    arguments: Mapping[str, bool],
) -> str | None:
    """Returns what to write in place of the option `name` with its `value`; None where nothing is known.

    first: the argument that the command line starts with; None where it starts with an option.
    """
    for habit in HABITS:
        if name not in habit.words:
            continue
        if habit.option.split(" ")[0] in options:
            return habit.instead or f"write {habit.option}"
        taken = next((each for each in habit.arguments if each in arguments), None)
        if taken is not None:
            if first in (None, value):
                return f"{taken} needs no option: {command} {value or taken}"
            if arguments[taken]:
                return f"{taken} needs no option: {command} {first} {value or taken}"
            return f"{taken} is {first} here; leave {name} out"
    return None
