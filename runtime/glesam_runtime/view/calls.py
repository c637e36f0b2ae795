"""The page's request as a command line and as a Python program, which give the same masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shlex import quote

from ..prompts import Prompt
from ..tools.run.session import Model
from .requests import MaskRequest
from .tabs import SIDES, Picture

_DEGRADED = Path("out/degraded")


def command_lines(picture: Picture, request: MaskRequest, model: Model) -> str:
    """Returns the commands, one a line: glesam-degrade for a degraded picture, then glesam-run.

    glesam-run takes several objects at once where each is a box alone; others get a line and a folder each.
    """
    lines = []
    path = picture.path
    if picture.level:
        options = f"--level {picture.level} --seed {picture.seed} --out {_DEGRADED}"
        lines.append(f"glesam-degrade {_file(path)} {options}")
        path = str(_DEGRADED / f"{PurePosixPath(picture.name).stem}.png")
    for group, out in _groups(request):
        words = [*(_options(prompt) for prompt in group), *_switches(request, model), f"--out {out}"]
        lines.append(f"glesam-run {_file(path)} {' '.join(words)}")
    return "\n".join(lines) + "\n"


def chosen_files(picture: Picture, request: MaskRequest) -> list[str]:
    """Returns the chosen mask of each object among the files that the commands write."""
    candidates = 3 if request.multimask else 1
    stem = PurePosixPath(picture.name).stem
    firsts = [(out, candidates * index) for group, out in _groups(request) for index in range(len(group))]
    return [
        f"{out}/{stem}.mask{first + choice}.png"
        for (out, first), choice in zip(firsts, request.choices, strict=True)
    ]


def _groups(request: MaskRequest) -> list[tuple[Sequence[Prompt], str]]:
    """Returns the prompts of each glesam-run, and the folder that it writes."""
    prompts = request.prompts
    boxes_alone = all(x.box is not None and not (x.points or x.background_points) for x in prompts)
    if boxes_alone or len(prompts) == 1:
        return [(prompts, "out")]
    return [([prompt], f"out/object{index}") for index, prompt in enumerate(prompts)]


def python_program(picture: Picture, request: MaskRequest, model: Model) -> str:
    """Returns a program whose `masks` are the chosen ones, one for each object, bool [H,W]."""
    arguments = ", ".join(_from_bundle(request, model))
    lines = ["from glesam_runtime import Predictor, Prompt, read_image"]
    if picture.level:
        lines.append("from glesam_runtime.degradation.lqseg import degrade_level")
    lines += ["", f"image = read_image({picture.path!r})"]
    if picture.level:
        lines.append(
            f"image = degrade_level(image, level={picture.level}, seed={picture.seed}, name={picture.name!r})"
        )
    lines += ["prompts = [", *(f"    {_prompt(prompt)}," for prompt in request.prompts), "]"]
    lines += [f"with Predictor.from_bundle({arguments}) as predictor:", "    predictor.set_image(image)"]
    if request.multimask:
        lines += [
            "    prediction = predictor.predict(prompts=prompts, multimask=True)",
            f"chosen = {list(request.choices)}  # of three candidates for each object",
            "masks = [candidates[k] for candidates, k in zip(prediction.masks, chosen)]  # bool [H,W] each",
        ]
    else:
        lines += [
            "    prediction = predictor.predict(prompts=prompts)",
            "masks = prediction.masks  # bool [N,H,W]",
        ]
    return "\n".join(lines) + "\n"


def _file(path: str) -> str:
    """Returns a path for a command line; one that starts with a dash must not be taken for an option."""
    return quote(f"./{path}" if path.startswith("-") else path)


def _options(prompt: Prompt) -> str:
    words = [f"--box {_numbers(prompt.box)}"] if prompt.box is not None else []
    words += [f"--point {_numbers(point)}" for point in prompt.points]
    words += [f"--background-point {_numbers(point)}" for point in prompt.background_points]
    return " ".join(words)


def _switches(request: MaskRequest, model: Model) -> list[str]:
    words = ["--multimask"] if request.multimask else []
    words += [] if _is_enhanced(request) else ["--no-enhance"]
    words += [f"--bundle {quote(str(model.bundle))}"] if model.bundle is not None else []
    words += [f"--backend {quote(model.backend)}"] if model.backend != "auto" else []
    return words


def _from_bundle(request: MaskRequest, model: Model) -> list[str]:
    words = [repr(str(model.bundle))] if model.bundle is not None else []
    words += [f"backend={model.backend!r}"] if model.backend != "auto" else []
    words += [] if _is_enhanced(request) else ["enhance=False"]
    return words


def _is_enhanced(request: MaskRequest) -> bool:
    return SIDES[request.sides[0]]


def _prompt(prompt: Prompt) -> str:
    words = [f"box=({_numbers(prompt.box, ', ')})"] if prompt.box is not None else []
    for name in ("points", "background_points"):
        points: Sequence[tuple[float, float]] = getattr(prompt, name)
        pairs = ", ".join(f"({_numbers(point, ', ')})" for point in points)
        words += [f"{name}=[{pairs}]"] if points else []
    return f"Prompt({', '.join(words)})"


def _numbers(values: Sequence[float], between: str = " ") -> str:
    """Returns numbers as short as they can be without a change."""
    return between.join(str(int(x)) if x == int(x) else repr(x) for x in values)
