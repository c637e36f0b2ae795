"""One step through a video: the masks of one frame become the prompts of the next.

    follower = Follower(predictor, [Prompt(box=(20, 40, 300, 280))])
    for image, followed in follower.each(frames):
        ...     # followed.masks of this frame; followed.lost says of each object why it has none

An object's prompt is the weakened logits of its last mask, the box of that mask, and the centre of this box
where the mask covers it; all are moved as far as the object moved last, and the box is widened by a margin
and by how much that move differed from the one before. With nano, the logits keep masks from growing into
what is beside the object, and without the move masks fall behind an object that moves by a fifth of its
width. A mask that slowly drifts to another object is not noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...automatic.boxes import Box, box_of
from ...errors import ImageError, PromptError, naming
from ...image_io.inputs import on_host
from ...predictor import Predictor
from ...preprocess import Doubles, Floats, Geometry, Size, resampled
from ...prompts import Prompt
from ..run.overlap import ahead

Item = TypeVar("Item")
_STRIDE = 16
"""Pixels of the input for each position of the embeddings, along each axis."""
_HINT = 0.2
"""What the last mask's logits are multiplied by: at 1 nano believes the mask, and lags behind an object that
starts to move; at 0 masks grow into what is beside it (benchmarks/follow.py)."""


@dataclass(frozen=True)
class FollowOptions:
    """When an object is lost, and where it is looked for.

    margin: what is added to each side of its last box, as a share of its width or height.
    least_similarity: least cosine between what it looks like now and in the frame where it was last found,
    both as the mean of the image embeddings under its mask, less their mean over the frame.
    most_growth: largest factor by which its area may grow or shrink since then.

    With nano, frames in which an object was followed had a similarity of .84 or more to the one before, and
    frames without it at most .5. SAM's own models are unmeasured.
    """

    margin: float = 0.03
    least_similarity: float = 0.7
    most_growth: float = 2.0


@dataclass(frozen=True, eq=False)
class Followed:
    """N objects in one frame: masks bool [N,H,W], empty where an object is lost; its reason is in `lost`.

    iou_predictions: float32 [N], the model's own estimate of each mask's IoU, of lost objects' too.
    lost: for each object None, or why it is lost. degradation_level: see Predictor.degradation_level.
    timings_ms: milliseconds of each stage, see Predictor.timings.
    """

    masks: npt.NDArray[np.bool_]
    iou_predictions: Floats
    lost: tuple[str | None, ...]
    degradation_level: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Sighting:
    """An object in the last frame where it was found.

    step: how far its box moved in one frame, (x, y) [px]. change: how much that differs from the step before.
    missed: number of frames since then; while it is lost there is no step.
    """

    box: Box
    logits: Floats
    area: int
    look: Doubles
    step: tuple[float, float] = (0.0, 0.0)
    change: tuple[float, float] = (0.0, 0.0)
    missed: int = 0

    def prompt(self, geometry: Geometry, margin: float) -> Prompt:
        """Returns the prompt for the next frame."""
        height, width = geometry.original_size
        corners = np.array(self.box, np.float64)
        step = self.step
        moved = corners + np.tile(step, 2)
        widened = margin * (corners[2:] - corners[:2]) + np.abs(self.change)
        box = moved + np.concatenate([-widened, widened])
        box = np.clip(box, 0, [width, height, width, height])
        if (box[2:] - box[:2] < 1).any():  # it has left the frame, so it is looked for where it was
            box, step = corners, (0.0, 0.0)
        x0, y0, x1, y1 = box.tolist()
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
        logits = _moved(self.logits, step, geometry)
        points = (centre,) if _covers(logits, centre, geometry) else ()
        return Prompt(box=(x0, y0, x1, y1), points=points, mask_input=_HINT * logits)

    def lost(self, now: _Sighting, options: FollowOptions) -> str | None:
        """Returns why `now` is not this object; None where it is."""
        growth = max(now.area, self.area) / max(1, min(now.area, self.area))
        if growth > options.most_growth:
            return f"area {now.area} px after {self.area} px, a factor above {options.most_growth:g}"
        similarity = float(now.look @ self.look)
        if similarity < options.least_similarity:
            return f"similarity {similarity:.2f}, less than {options.least_similarity:g}"
        return None


class Follower:
    """Follows the objects of `prompts` through frames; a lost one is looked for where it was last found."""

    def __init__(
        self, predictor: Predictor, prompts: Sequence[Prompt], options: FollowOptions | None = None
    ) -> None:
        """Uses the image of `predictor`; `prompts` are those of the first frame, one for each object."""
        self._predictor = predictor
        self._prompts = prompts
        self._options = options or FollowOptions()
        self._sightings: list[_Sighting] | None = None
        self._size: Size | None = None
        self._count = 0

    def next(self, image: Any, image_format: str = "RGB") -> Followed:  # noqa: ANN401
        """Returns the objects in the next frame; image and image_format are those of Predictor.set_image.

        Raises as set_image and predict do, ImageError where a frame has another size than the one before, and
        PromptError where a prompt gives no mask in the first frame.
        """
        with naming(f"frame {self._count}"):
            self._predictor.set_image(image, image_format)
            return self._found(self._predictor)

    def each(
        self,
        frames: Iterable[Item],
        image_of: Callable[[Item], Any] = lambda frame: frame,
        image_format: str = "RGB",
        name_of: Callable[[Item], str] | None = None,
    ) -> Generator[tuple[Item, Followed], None, None]:
        """Yields each frame with what next returns for its image, which is image_of(frame).

        Another thread takes the next frame and encodes it meanwhile, on two sessions of the predictor, whose
        own image stays. So every frame must be an array of its own, not a buffer that the next one is read
        into, and leaving the loop early waits until `frames` has given its next frame.
        Raises as next does, and as `frames` does, both in the place of the frame. name_of: how a message
        names a frame; by default by its number.
        """
        with self._predictor.new_session() as one, self._predictor.new_session() as other:

            def encoded() -> Iterator[tuple[Item, str, Predictor]]:
                numbered = enumerate(frames, self._count)
                for session, (number, frame) in zip(cycle((one, other)), numbered, strict=False):
                    name = f"frame {number}" if name_of is None else name_of(frame)
                    with naming(name):
                        session.set_image(image_of(frame), image_format)
                    yield frame, name, session

            with ahead(encoded()) as ready:
                for frame, name, session in ready:
                    with naming(name):
                        followed = self._found(session)
                    yield frame, followed

    def _found(self, predictor: Predictor) -> Followed:
        """Returns the objects in the image of `predictor`, the next frame."""
        size = predictor.geometry.original_size
        self._check_size(size)
        if self._sightings is None:
            prompts = self._prompts
        else:
            margin = self._options.margin
            prompts = [each.prompt(predictor.geometry, margin) for each in self._sightings]
        prediction = predictor.predict(prompts=prompts)
        embeddings = _embeddings(predictor)
        seen = [
            _sighting(mask, logits, embeddings, predictor.geometry)
            for mask, logits in zip(prediction.masks, prediction.low_res_masks, strict=True)
        ]
        lost = self._compared(seen)
        self._count += 1
        masks = prediction.masks & np.array([reason is None for reason in lost])[:, None, None]
        return Followed(
            masks, prediction.iou_predictions, lost, prediction.degradation_level, dict(predictor.timings)
        )

    def _compared(self, seen: Sequence[_Sighting | None]) -> tuple[str | None, ...]:
        """Keeps what is found; returns for each object None, or why it is lost."""
        if self._sightings is None:
            first = [now for now in seen if now is not None]
            if len(first) < len(seen):
                raise PromptError(
                    f"object {seen.index(None)}: its prompt gives no mask in the first frame; give another"
                )
            self._sightings = first
            return (None,) * len(first)
        reasons: list[str | None] = []
        for index, (before, now) in enumerate(zip(self._sightings, seen, strict=True)):
            reason = "no mask" if now is None else before.lost(now, self._options)
            reasons.append(reason)
            self._sightings[index] = _after(before, now if reason is None else None)
        return tuple(reasons)

    def _check_size(self, size: Size) -> None:
        height, width = self._size or size
        if (height, width) != size:
            raise ImageError(
                f"expected {width} x {height} pixels as before, found {size[1]} x {size[0]}; "
                "follow the frames of each size by themselves"
            )
        self._size = size


def _on_logits(point: tuple[float, float], logits: Floats, geometry: Geometry) -> tuple[float, float]:
    """Returns row and column of logits [h,w] for a point or a step (x, y) of the frame [px]."""
    (height, width), resized = geometry.original_size, geometry.resized_size
    rows, columns = (side / geometry.image_size for side in logits.shape)
    return point[1] * resized[0] / height * rows, point[0] * resized[1] / width * columns


def _covers(logits: Floats, point: tuple[float, float], geometry: Geometry) -> bool:
    """Returns whether the mask of these logits [h,w] covers a point (x, y) of the frame [px]."""
    row, column = (int(each) for each in _on_logits(point, logits, geometry))
    return bool(logits[min(row, logits.shape[0] - 1), min(column, logits.shape[1] - 1)] > 0)


def _moved(logits: Floats, step: tuple[float, float], geometry: Geometry) -> Floats:
    """Returns logits [h,w] moved by step (x, y) [px of the frame]; what comes in has the least logit."""
    down, right = (round(each) for each in _on_logits(step, logits, geometry))
    moved = np.full_like(logits, logits.min())
    source, target = zip(_overlap(down, logits.shape[0]), _overlap(right, logits.shape[1]), strict=True)
    moved[target] = logits[source]
    return moved


def _overlap(step: int, size: int) -> tuple[slice, slice]:
    """Returns the part of an axis that stays inside when it moves by `step`, before and after."""
    return slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))


def _after(before: _Sighting, now: _Sighting | None) -> _Sighting:
    """Returns the sighting to go on from: `now` with its step; where it is lost, the one before, without."""
    if now is None:
        return replace(before, step=(0.0, 0.0), change=(0.0, 0.0), missed=before.missed + 1)
    frames = before.missed + 1
    x, y = ((np.array(now.box, np.float64) - before.box) / frames).reshape(2, 2).mean(axis=0).tolist()
    return replace(now, step=(x, y), change=(x - before.step[0], y - before.step[1]))


def _sighting(
    mask: npt.NDArray[np.bool_], logits: Floats, embeddings: Floats, geometry: Geometry
) -> _Sighting | None:
    """Returns one mask's place and look; None where it is empty."""
    if not mask.any():
        return None
    look = _look(mask, embeddings, geometry)
    return _Sighting(box_of(mask), logits, int(np.count_nonzero(mask)), look)


def _look(mask: npt.NDArray[np.bool_], embeddings: Floats, geometry: Geometry) -> Doubles:
    """Returns the mean embedding under a mask less that of the frame, [256], of length 1."""
    resized = resampled(Image.fromarray(mask).convert("L"), geometry.resized_size, Image.Resampling.BILINEAR)
    padded = Image.new("L", (geometry.image_size, geometry.image_size))
    padded.paste(resized)
    covered = np.asarray(padded.reduce(_STRIDE), np.float64) / 255
    rows, columns = (-(-side // _STRIDE) for side in geometry.resized_size)
    inside = embeddings[:, :rows, :columns].astype(np.float64)
    share = covered[:rows, :columns]
    mean = (inside * share).sum(axis=(1, 2)) / max(float(share.sum()), 1e-6)
    look: Doubles = mean - inside.mean(axis=(1, 2))
    return look / max(float(np.linalg.norm(look)), 1e-12)


def _embeddings(predictor: Predictor) -> Floats:
    """Returns the current frame's embeddings on the host, float32 [256,S/16,S/16]."""
    frame: Floats = on_host("image_embeddings", predictor.image_embeddings)[0]
    return frame
