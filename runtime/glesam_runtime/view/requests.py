"""What the page sends: read within limits, and checked before it reaches the model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..errors import InputError, PromptError
from ..prompts import Prompt
from .tabs import SIDES

MOST_UPLOAD_BYTES = 64 * 2**20
_MOST_JSON_BYTES = 256 * 2**10
MOST_OBJECTS = 64
"""Largest number of objects in a request; the page asks for the masks of a few at a time."""
MOST_POINTS = 64
"""Largest number of an object's points on it, and of those beside it."""
_MOST_SEED = 2**32 - 1
_LONGEST_NAME = 200
_FIELDS = {"box", "points", "background_points"}


@dataclass(frozen=True, eq=False)
class MaskRequest:
    """Objects to segment in the picture `revision` of a tab.

    sides: with GLE, without, or both. choices: candidate of each object to save, 0 without multimask.
    """

    revision: int
    prompts: tuple[Prompt, ...]
    multimask: bool
    sides: tuple[str, ...]
    choices: tuple[int, ...] = ()


def mask_request(body: Mapping[str, Any]) -> MaskRequest:
    """Returns the request in a JSON object. Raises PromptError where it is none."""
    objects = body.get("objects")
    if not isinstance(objects, list) or not 1 <= len(objects) <= MOST_OBJECTS:
        raise PromptError(f"objects: expected a list of 1 to {MOST_OBJECTS}, found {_short(objects)}")
    sides = body.get("sides", ["gle"])
    if not isinstance(sides, list) or not sides or not all(isinstance(x, str) and x in SIDES for x in sides):
        raise PromptError(f"sides: expected some of {', '.join(SIDES)}, found {_short(sides)}")
    multimask = body.get("multimask", False)
    if not isinstance(multimask, bool):
        raise PromptError(f"multimask: expected true or false, found {_short(multimask)}")
    most = 2 if multimask else 0
    choices = body.get("choices", [0] * len(objects))
    if not isinstance(choices, list) or len(choices) != len(objects):
        raise PromptError(f"choices: expected one for each object, found {_short(choices)}")
    return MaskRequest(
        whole_number("revision", body.get("revision"), 2**53),
        tuple(_prompt(x) for x in objects),
        multimask,
        tuple(dict.fromkeys(sides)),
        tuple(whole_number("choices", x, most) for x in choices),
    )


def level_and_seed(body: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the level, 0 for none, and the seed of a degradation."""
    return whole_number("level", body.get("level"), 3), whole_number("seed", body.get("seed", 0), _MOST_SEED)


def whole_number(name: str, value: object, most: int) -> int:
    """Returns a whole number from 0 to `most`. Raises InputError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"{name}: expected a whole number from 0 to {most}, found {_short(value)}")
    return value


def _prompt(value: object) -> Prompt:
    if not isinstance(value, dict) or not set(value) <= _FIELDS:
        raise PromptError(f"object: expected {', '.join(sorted(_FIELDS))}, found {_short(value)}")
    box = value.get("box")
    if box is not None:
        x0, y0, x1, y1 = _numbers("box", box, 4)
        box = (x0, y0, x1, y1)
    return Prompt(box, _points("points", value), _points("background_points", value))


def _points(name: str, value: Mapping[str, Any]) -> list[tuple[float, float]]:
    points = value.get(name, [])
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise PromptError(f"{name}: expected a list of at most {MOST_POINTS}, found {_short(points)}")
    return [(x, y) for x, y in (_numbers(name, point, 2) for point in points)]


def _numbers(name: str, value: object, count: int) -> list[float]:
    if isinstance(value, list) and len(value) == count and all(_is_number(x) for x in value):
        return [float(x) for x in value]
    raise PromptError(f"{name}: expected {count} numbers, found {_short(value)}")


def _is_number(value: object) -> bool:
    # Compared before float(), which fails on a whole number of 400 digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value) if not isinstance(value, float) or math.isfinite(value) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


async def json_body(request: Request) -> dict[str, Any]:
    """Returns the JSON object in a request's body. Raises HTTPException where it holds none, or a large one.

    A form of another site cannot have this content type without the browser's question first.
    """
    _check_content_type(request, "application/json")
    body = b"".join([chunk async for chunk in _chunks(request, _MOST_JSON_BYTES)])
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "expected a JSON object, found something else") from error
    if not isinstance(document, dict):
        raise HTTPException(400, f"expected a JSON object, found {_short(document)}")
    return document


async def save_upload(request: Request, file: IO[bytes]) -> str:
    """Writes the picture in a request's body to `file`, and returns its name in the browser."""
    _check_content_type(request, "application/octet-stream")
    async for chunk in _chunks(request, MOST_UPLOAD_BYTES):
        file.write(chunk)
    file.flush()
    return upload_name(unquote(request.headers.get("x-name", "")))


def upload_name(name: str) -> str:
    """Returns the last part of a name that a browser sent, without control characters."""
    last = "".join(x if x.isprintable() else "_" for x in PurePosixPath(name.replace("\\", "/")).name)
    return last[-_LONGEST_NAME:] if last.strip(".") else "picture"


async def _chunks(request: Request, most: int) -> Any:  # noqa: ANN401
    """Yields the body; refuses it as soon as it is known to be larger than `most` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        _refuse_size(most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            _refuse_size(most)
        yield chunk


def _refuse_size(most: int) -> NoReturn:
    limit = f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 2**10} KiB"
    raise HTTPException(413, f"expected at most {limit}, found more; make the file smaller")


def _check_content_type(request: Request, expected: str) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != expected:
        raise HTTPException(415, f"expected content of type {expected}, found {content_type or 'none'}")
