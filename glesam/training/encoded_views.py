"""Views of training pictures that are encoded once, and trained on many times.

A step of the decoder's training spends most of its time in the frozen encoder and GLE. So a folder holds a
number of views, each with its embedding and all of its objects; a batch takes some of them, with other
objects and other prompts every time. A view is a function of the seed and its number, and its file is
written whole or not at all: a resumed run encodes only those that are missing, and processes share the work.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glesam.config import EMBEDDING_CHANNELS, EMBEDDING_STRIDE, HIGH_RES_CHANNELS
from glesam.data.augmentation import Image, View
from glesam.data.batches import BatchPlan, Objects, SamplePool, draw_objects, draw_twins
from glesam.data.masks import MaskLayers
from glesam.decoding import ImageFeatures
from glesam.official.tensor_files import read_tensors
from glesam.tensor_output import write_tensors
from glesam.training.checkpoint import Identity
from glesam_runtime.bundle.spec import HIGH_RES
from glesam_runtime.errors import CheckpointError, InputError
from glesam_runtime.output import replaced_file

VIEWS, IDENTITY_FILE = "views", "views.json"
VIEW_ROW = 2**31
"""A row that no batch has, so that views and batches are drawn with different random numbers."""
NOT_OF_VIEWS = ("size", "objects_per_image", "prompts", "points", "squash")
"""Fields of a plan that concern batches only, and not the views they are drawn from, or follow from the
model."""
RAW, ENHANCED, CLEAN = "raw", "enhanced", "clean"
"""Embeddings of the degraded picture without and with GLE, and of the clean picture."""


@dataclass(frozen=True)
class EncodedBatch:
    """B embeddings with K objects and one prompt each: a `Batch` whose pictures are encoded.

    `image_embeddings`: float32 [B, 256, S/16, S/16]; `high_res`: SAM 2's (`glesam.decoding.ImageFeatures`).
    The rest is as in `Batch`.
    """

    image_embeddings: Tensor
    masks: Tensor
    point_coords: Tensor
    point_labels: Tensor
    high_res: tuple[Tensor, ...] = ()

    @property
    def features(self) -> ImageFeatures:
        return ImageFeatures(self.image_embeddings, self.high_res)


@dataclass(frozen=True)
class Mixture:
    """The mixture of embeddings that a decoder trains on: with GLE, without it, and interpolations of both.

    `raw_share`: fraction without GLE; `mixed_share`: fraction of interpolations.
    """

    raw_share: float = 0.0
    mixed_share: float = 0.0

    def kinds(self) -> tuple[str, ...]:
        """Kinds of embeddings that a view's file has to hold."""
        raw, enhanced = self.raw_share + self.mixed_share > 0, self.raw_share < 1
        return (RAW,) * raw + (ENHANCED,) * enhanced

    def draw(self, view: Mapping[str, Tensor], rng: np.random.Generator) -> Tensor:
        """One of a view's embeddings, or a random interpolation of the two."""
        chance = rng.random()
        if chance < self.raw_share:
            return view[RAW].float()
        if chance < self.raw_share + self.mixed_share:
            return view[RAW].float().lerp(view[ENHANCED].float(), float(rng.random()))
        return view[ENHANCED].float()


class Kinds(Protocol):
    """Says which embeddings of a view are needed: a `Mixture`, or `glesam.nano.pairs.CleanAndDegraded`."""

    def kinds(self) -> tuple[str, ...]:
        """Kinds of embeddings that a view's file has to hold."""
        ...


@dataclass(frozen=True)
class StoredViews:
    """`count` views in a folder, drawn as `plan` says, with the embeddings that `mixture` needs.

    With `high_res` a view's file also holds SAM 2's high-resolution features of the degraded picture, once
    for all its embeddings.
    """

    folder: Path
    count: int
    plan: BatchPlan
    mixture: Kinds
    high_res: bool = False

    masks: ClassVar[tuple[str, ...]] = ("layers", "places")
    """Names of the tensors that hold a view's masks."""

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06}.safetensors"

    def how_drawn(self) -> dict[str, Any]:
        """The settings on which the views depend."""
        return {key: value for key, value in asdict(self.plan).items() if key not in NOT_OF_VIEWS}

    def claim(self, model: str, data: str, precision: str) -> None:
        """Checks whose views the folder holds, or records it where the folder is new.

        Args:
            model: the fingerprint of what the views depend on.
            data: the fingerprint of what they are drawn from.
            precision: what they are encoded in.

        Raises:
            CheckpointError: it holds views of another model, of other data or drawn otherwise, or does not
                say whose.
        """
        kinds = self.mixture.kinds()
        values = {"model": model, "data": data, "mixed_precision": precision, "embeddings": kinds}
        values |= self.how_drawn()
        text, path = json.dumps(values, indent=2), self.folder / IDENTITY_FILE
        if path.exists():
            Identity(json.loads(text)).check(path, read_identity(path))
            return
        if any(self.files()):
            raise CheckpointError(
                f"{self.folder} holds encoded views, but no {IDENTITY_FILE} that says whose; remove the "
                "folder, and they are encoded anew"
            )
        with replaced_file(path) as partial:
            partial.write_text(text, "utf-8")

    def files(self) -> Iterator[Path]:
        return self.folder.glob("*.safetensors")

    def check_room(self) -> None:
        """Raises InputError where the disk has no room for the missing views."""
        missing = self.count - sum(1 for _ in self.files())
        view_bytes = 2 * sum(map(math.prod, self.shapes().values())) + self.plan.image_size**2
        free = shutil.disk_usage(self.folder).free
        if missing * view_bytes > free:
            raise InputError(
                f"{self.folder}: {missing} more views need about {missing * view_bytes / 2**30:.1f} GiB, "
                f"{free / 2**30:.1f} GiB are free; ask for fewer views, or choose another run folder"
            )

    def shapes(self) -> dict[str, list[int]]:
        """Shapes of the embeddings and features in a view's file, by name."""
        side = self.plan.image_size // EMBEDDING_STRIDE
        shapes = {kind: [EMBEDDING_CHANNELS, side, side] for kind in self.mixture.kinds()}
        if self.high_res:
            sizes = zip(HIGH_RES, HIGH_RES_CHANNELS, (4 * side, 2 * side), strict=True)
            shapes |= {name: [channels, finer, finer] for name, channels, finer in sizes}
        return shapes

    def holds(self, index: int) -> bool:
        """Whether a view's file exists and has the right form; any other is replaced."""
        shapes = self.shapes()
        try:
            with safe_open(self.path(index), "pt") as file:
                return set(file.keys()) == {*shapes, *self.masks} and all(
                    file.get_slice(name).get_shape() == shape for name, shape in shapes.items()
                )
        except (OSError, SafetensorError):
            return False

    def draw(self, pool: SamplePool, index: int) -> tuple[View, Image]:
        """A view and its degraded picture, still to be encoded."""
        return draw_twins(pool, self.plan, np.random.default_rng((self.plan.seed, index, VIEW_ROW)))

    def write(self, index: int, view: View, tensors: Mapping[str, Tensor]) -> None:
        """Writes the tensors of `shapes`; raises InputError where float16 cannot hold them."""
        halves = {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}
        for name, tensor in halves.items():
            if not tensor.isfinite().all():
                raise InputError(f"view {index}: its {name} embedding exceeds what float16 holds")
        write_tensors({**halves, **self.mask_tensors(view)}, self.path(index))

    def mask_tensors(self, view: View) -> dict[str, Tensor]:
        """The tensors that hold a view's masks, by `masks`."""
        layers = torch.from_numpy(view.masks.layers).contiguous()
        return {"layers": layers, "places": torch.tensor(view.masks.places)}


@dataclass(frozen=True)
class EncodedViews(StoredViews):
    """Views that a decoder trains on: a batch takes some of them, with random objects and prompts."""

    mixture: Mixture

    def batch(self, step: int, rows: range | None = None) -> EncodedBatch:
        """The batch of a step, or some of its rows; row i depends on the seed, `step` and i alone.

        Raises:
            CheckpointError: a view's file cannot be read.
        """
        chosen = range(self.plan.size) if rows is None else rows
        drawn = [self.draw_row(np.random.default_rng((self.plan.seed, step, row))) for row in chosen]
        features, objects = zip(*drawn, strict=True)
        embeddings, *high_res = (torch.stack(tensors) for tensors in zip(*features, strict=True))
        masks, coords, labels = zip(*objects, strict=True)
        return EncodedBatch(
            embeddings,
            torch.from_numpy(np.concatenate(masks).astype(np.float32)),
            torch.from_numpy(np.concatenate(coords)),
            torch.from_numpy(np.concatenate(labels)),
            tuple(high_res),
        )

    def draw_row(self, rng: np.random.Generator) -> tuple[list[Tensor], Objects]:
        """One view's embedding, its high-resolution features if it has any, and some of its objects."""
        view = read_tensors(self.path(int(rng.integers(self.count))))
        high_res = [view[name].float() for name in HIGH_RES] if self.high_res else []
        embedding = self.mixture.draw(view, rng)
        return [embedding, *high_res], draw_objects(masks_of(view), self.plan, rng)


def masks_of(view: Mapping[str, Tensor]) -> MaskLayers:
    """The masks in a view's file."""
    return MaskLayers(view["layers"].numpy(), tuple((i, label) for i, label in view["places"].tolist()))


def read_identity(path: Path) -> dict[str, Any]:
    """What `EncodedViews.claim` wrote."""
    try:
        values = json.loads(path.read_text("utf-8"))
        if isinstance(values, dict):
            return values
        reason = f"found a {type(values).__name__}"
    except ValueError as error:
        reason = str(error)
    raise CheckpointError(
        f"{path}: expected what glesam-train writes beside encoded views, {reason}; "
        "remove the folder, and its views are encoded anew"
    )
