"""Open tabs: each has a picture of its own, degraded or not, and two predictors, with GLE and without.

Everything here runs in the worker's thread.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from PIL import Image

from ..engines.base import Engine, Engines
from ..errors import GlesamError, PromptError
from ..postprocess import MaskResizer
from ..predictor import Predictor
from ..preprocess import Geometry, Pixels, Size, longest_side
from .worker import OpenModel

MOST_TABS = 6
"""Largest number of open tabs; each holds two copies of its picture."""
SHOWN_PX = 2048
"""Longest side of the picture that a browser gets: finer than the model sees, and quick to send."""
MASK_PX = 1024
"""Longest side of masks that a browser gets, eight times that of nano's logits, since each is drawn several
times before it is on the screen. Saved masks have the picture's own size.
"""
_revisions = count(1)
SIDES = {"gle": True, "plain": False}
"""Names of the two predictors, and whether GLE is on."""


class StaleError(GlesamError):
    """A request is about a picture that the tab does not show."""


class ClosedTabError(GlesamError):
    """A tab was closed, since others were opened after it."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in a tab: as read, and as it is shown and segmented; both uint8 [H,W,3].

    name: the file's name, which seeds the degradation as in glesam-degrade. path: as a command would take it.
    level: 0 or LQ-1 to LQ-3.
    """

    name: str
    path: str
    original: Pixels
    pixels: Pixels
    level: int = 0
    seed: int = 0

    def degraded(self, level: int, seed: int) -> Picture:
        """Returns the picture at another level. Raises ImportError without the extra [degrade]."""
        if level == 0:
            return replace(self, pixels=self.original, level=0, seed=seed)
        from ..degradation.lqseg import degrade_level

        pixels = degrade_level(self.original, level, seed, self.name)
        return replace(self, pixels=pixels, level=level, seed=seed)

    def shown(self) -> Image.Image:
        """Returns the picture for the browser, its longest side at most SHOWN_PX."""
        picture = Image.fromarray(self.pixels)
        height, width = self.size_within(SHOWN_PX)
        if picture.size == (width, height):
            return picture
        return picture.resize((width, height), Image.Resampling.BOX)

    def size_within(self, longest: int) -> Size:
        """Returns (height, width) [px] of the picture, made smaller where a side is above `longest`."""
        height, width = self.pixels.shape[:2]
        if max(height, width) <= longest:
            return height, width
        return longest_side((height, width), longest).resized_size


class EncodedOnce:
    """An image encoder that does not run again on the image that it has just encoded.

    Both predictors of a tab encode the same picture; only GLE lies between their embeddings.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._image: Any = None
        self._outputs: Mapping[str, Any] = {}
        self.spec = engine.spec
        self.close = engine.close

    def __call__(self, feeds: Mapping[str, Any], on_device: bool = False) -> Any:  # noqa: ANN401
        """Returns the embeddings of feeds["image"]."""
        if self._image is None or not np.array_equal(feeds["image"], self._image):
            self._image = None
            self._outputs = self._engine(feeds, on_device)
            self._image = feeds["image"]
        return self._outputs

    def new_session(self, stream: object = None) -> EncodedOnce:
        """Returns an encoder that has encoded nothing yet."""
        return EncodedOnce(self._engine.new_session(stream))


class Tab:
    """One tab. No other picture of any tab has its `revision`, so that an answer about it is recognized."""

    def __init__(self, model: OpenModel) -> None:
        engines = model.engines.new_session()
        encoder = EncodedOnce(engines.image_encoder)
        manifest = model.bundle.manifest
        graphs_of_gle = [engines.gle] if manifest.needs_gle else [engines.gle, None]
        self._predictors = {
            gle is not None: Predictor(manifest, Engines(encoder, gle, engines.mask_decoder))
            for gle in graphs_of_gle
        }
        self._encoded: set[bool] = set()
        self._picture: Picture | None = None
        self.close: Callable[[], None] = partial(engines.close, model.engines)
        self.revision = 0
        self.opened = 0
        """The revision that the picture had when it was opened; a change of level keeps it."""
        self.timings: dict[str, float] = {}
        """Milliseconds of each stage that the tab's last requests needed."""

    @property
    def picture(self) -> Picture:
        """The picture. Raises StaleError before there is one."""
        if self._picture is None:
            raise StaleError("no picture yet; open or drop one")
        return self._picture

    def show(self, picture: Picture) -> None:
        """Takes another picture."""
        self._take(picture)
        self.opened = self.revision

    def _take(self, picture: Picture) -> None:
        self._picture = picture
        self._encoded.clear()
        self.timings = {}
        self.revision = next(_revisions)

    def degrade(self, level: int, seed: int) -> None:
        """Takes the same picture at another level."""
        start = time.perf_counter()
        picture = self.picture.degraded(level, seed)
        elapsed_ms = (time.perf_counter() - start) * 1000
        self._take(picture)
        if level:
            self.timings["degrade"] = elapsed_ms

    def predictor(self, enhance: bool) -> Predictor:
        """Returns the predictor with or without GLE, with the picture encoded."""
        self._encode(True)  # first, so that the milliseconds of encoder and GLE are known
        if not enhance:
            self._encode(False)
        return self._predictors[enhance]

    def _encode(self, enhance: bool) -> None:
        if enhance not in self._encoded:
            predictor = self._predictors[enhance]
            predictor.set_image(self.picture.pixels)
            self._encoded.add(enhance)
            if enhance:
                self.timings |= {x: predictor.timings[x] for x in ("preprocess", "encode", "enhance")}

    def check_request(self, revision: int, sides: Sequence[str]) -> None:
        """Raises StaleError for an earlier picture, PromptError for a side that the model has not."""
        if revision != self.revision:
            raise StaleError(f"the tab shows picture {self.revision} by now, not {revision}; click again")
        if missing := [side for side in sides if SIDES[side] not in self._predictors]:
            name = self._predictors[True].manifest.name
            raise PromptError(
                f"sides: model {name!r} does not run without GLE; expected gle, found {missing[0]}"
            )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measures the block [ms]."""
        start = time.perf_counter()
        yield
        self.timings[stage] = (time.perf_counter() - start) * 1000

    def resizer(self, geometry: Geometry) -> MaskResizer:
        """Returns the resizer of masks to the size that the browser gets."""
        return MaskResizer.for_geometry(replace(geometry, original_size=self.picture.size_within(MASK_PX)))


class Tabs:
    """The open tabs by their keys, at most MOST_TABS: the one unused for longest gives way to another."""

    def __init__(self, model: OpenModel) -> None:
        self.model = model
        self._tabs: OrderedDict[str, Tab] = OrderedDict()

    def open(self) -> str:
        """Opens a tab and returns its key, which nobody can guess."""
        while len(self._tabs) >= MOST_TABS:
            self.give_back(next(iter(self._tabs)))
        key = secrets.token_urlsafe(16)
        self._tabs[key] = Tab(self.model)
        return key

    def get(self, key: str) -> Tab:
        """Returns an open tab. Raises ClosedTabError where it is closed."""
        if key not in self._tabs:
            raise ClosedTabError(
                f"this tab was closed: at most {MOST_TABS} are open at once; load the page again"
            )
        self._tabs.move_to_end(key)
        return self._tabs[key]

    def give_back(self, key: str) -> None:
        """Closes a tab, if it is still open."""
        tab = self._tabs.pop(key, None)
        if tab is not None:
            tab.close()

    def close(self) -> None:
        """Closes all tabs, and the model."""
        for tab in self._tabs.values():
            tab.close()
        self._tabs.clear()
        self.model.engines.close()
