"""Options that people type by habit of other programs, and what this command calls them.

Each habit stands for an option, or for the argument of a name, such as IMAGE; a command that has neither says
nothing about it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Habit:
    """Words for one thing. option: its name here, with its values. arguments: names of an argument for it."""

    words: tuple[str, ...]
    option: str = ""
    arguments: tuple[str, ...] = ()


HABITS = (
    Habit(
        ("--image", "--images", "--img", "--input", "--input-image", "--source", "--file", "--picture", "-i"),
        "--image PATH",
        ("IMAGE", "IMAGES"),
    ),
    Habit(("--bbox", "--bboxes", "--boxes", "--rect", "-b"), "--box X0 Y0 X1 Y1"),
    Habit(("--points", "--point-coords", "--click", "--positive-point", "-p"), "--point X Y"),
    Habit(("--negative-point", "--neg-point", "--background", "--bg-point"), "--background-point X Y"),
    Habit(("--mask", "--prompt-mask", "--input-mask"), "--mask-input PNG"),
    Habit(("--everything", "--all", "--automatic", "--segment-everything"), "--auto"),
    Habit(("--multimask-output", "--multi-mask"), "--multimask"),
    Habit(("--video", "--track", "--stream", "--camera"), "--follow"),
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
        ("--output", "--output-dir", "--out-dir", "--outdir", "--save", "--save-dir", "--dst", "-o"),
        "--out DIR",
    ),
    Habit(("--to-json", "--output-json", "--json-output"), "--json"),
    Habit(("--fp16", "--fp32", "--bf16", "--int8", "--half", "--dtype"), "--precision NAME"),
    Habit(("--severity", "--lq", "--levels", "--lq-level"), "--level N"),
    Habit(("--cc", "--arch", "--sm", "--compute-capability", "--gpu-arch"), "--target SM"),
    Habit(("--num-threads", "--cpu-threads", "--jobs", "--workers", "-j"), "--threads N"),
)


def advice(
    command: str, words: Sequence[str], options: Collection[str], arguments: Collection[str]
) -> str | None:
    """Returns a line for the first of `words` that is a habit and none of the command's `options`.

    arguments: the names of the command's arguments, in capitals. None where no word is a habit for which this
    command has a name.
    """
    for index, word in enumerate(words):
        if word == "--":  # what follows are names of files
            break
        name, _, joined = word.partition("=")
        if name in options or not name.startswith("-"):
            continue
        for habit in HABITS:
            if name not in habit.words:
                continue
            if habit.option.split(" ")[0] in options:
                return f"{command} has no {name}; write {habit.option}"
            taken = next((each for each in habit.arguments if each in arguments), None)
            if taken is not None:
                value = joined or next(iter(words[index + 1 : index + 2]), taken)
                return f"{command} has no {name}; {taken} needs no option: {command} {value}"
    return None
