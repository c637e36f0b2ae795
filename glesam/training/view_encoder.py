"""Encodes the missing views of a decoder's training, each process its own part of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from glesam.data.augmentation import Image
from glesam.data.batches import SamplePool, pad_to, prefetch, to_tensor
from glesam.decoding import ImageFeatures
from glesam.model import GleSam
from glesam.training.checkpoint import fingerprint
from glesam.training.encoded_views import (
    CLEAN,
    ENHANCED,
    RAW,
    VIEWS,
    EncodedBatch,
    EncodedViews,
    StoredViews,
)
from glesam.training.parallel import on_the_main_process
from glesam.training.watch import Moment, Watcher
from glesam_runtime.bundle.spec import HIGH_RES


@dataclass(frozen=True)
class ViewEncoder:
    """Encodes missing views, and trains nothing.

    Args:
        model: on the accelerator's device, in eval mode; what embeddings depend on is frozen.
        watch: is called after every view, on the main process.
    """

    model: GleSam
    pool: SamplePool
    accelerator: Accelerator
    watch: Watcher
    workers: int = 1
    report_every: int = 25

    def batches(
        self, views: EncodedViews, rows: range | None = None
    ) -> Callable[[range], Iterator[EncodedBatch]]:
        """Steps -> the batch of each of them, or some of its rows, once all views are there.

        Raises:
            CheckpointError: as `EncodedViews.claim` and `batch`.
            InputError: an embedding exceeds what float16 holds, or the views what the disk has room for.
            OSError: a picture cannot be read, or a view not be written.
        """

        def source(steps: range) -> Iterator[EncodedBatch]:
            if steps:
                self.encode(views)
            return prefetch(lambda step: views.batch(step, rows), steps, self.workers)

        return source

    def encode(self, views: StoredViews) -> None:
        """Encodes this process's part of the views."""
        on_the_main_process(self.accelerator, lambda: self.claim(views))
        own = range(self.accelerator.process_index, views.count, self.accelerator.num_processes)
        missing = [index for index in own if not views.holds(index)]
        first, begun = len(own) - len(missing), time.monotonic()
        with closing(prefetch(lambda index: views.draw(self.pool, index), missing, self.workers)) as drawn:
            for done, (index, (view, degraded)) in enumerate(zip(missing, drawn, strict=True), start=1):
                pictures = {CLEAN: view.image, RAW: degraded}
                padded = {kind: self.padded(picture, views) for kind, picture in pictures.items()}
                views.write(index, view, self.tensors(padded, views.mixture.kinds()))
                self.report(first + done, len(own), first, (time.monotonic() - begun) / done)
        self.accelerator.wait_for_everyone()

    def claim(self, views: StoredViews) -> None:
        """Raises CheckpointError where the folder is another run's, ValueError where the disk has no room."""
        encoder, config = self.model.image_encoder, self.model.config
        if ENHANCED in views.mixture.kinds():
            model = fingerprint(nn.ModuleList([encoder, self.model.gle]), config.to_json())
        else:
            model = fingerprint(encoder, repr(config.sam))
        views.claim(model, self.pool.fingerprint(), str(self.accelerator.mixed_precision))
        views.check_room()

    def report(self, done: int, count: int, first: int, view_s: float) -> None:
        """Calls the watcher; `view_s`: seconds per view."""
        if self.accelerator.is_main_process:
            means: dict[str, float] | None = {} if done == count or done % self.report_every == 0 else None
            self.watch(Moment(VIEWS, done, count, first, means, view_s, trains=False))

    def padded(self, picture: Image, views: StoredViews) -> Tensor:
        """A picture as the encoder gets it, [1, 3, S, S]; normalization makes zeros of its padding."""
        colour = tuple(round(mean) for mean in self.model.config.sam.pixel_mean)
        return to_tensor([pad_to(views.plan.image_size, picture, colour)]).to(self.accelerator.device)

    @torch.no_grad()
    def tensors(self, pictures: Mapping[str, Tensor], kinds: Sequence[str]) -> dict[str, Tensor]:
        """Embeddings [256, S/16, S/16] by their kind, and SAM 2's high-resolution features by name.

        Args:
            pictures: of a view, clean (`CLEAN`) and degraded (`RAW`), [1, 3, S, S], RGB in [0, 255].
        """
        found: dict[str, ImageFeatures] = {}
        with self.accelerator.autocast():
            for kind in kinds:
                if kind == ENHANCED:
                    raw = found[RAW] if RAW in found else self.encoded(pictures[RAW])
                    found[ENHANCED] = self.model.enhance(raw)
                else:
                    found[kind] = self.encoded(pictures[kind])
        embeddings = {kind: features.image_embeddings[0] for kind, features in found.items()}
        return embeddings | {name: x[0] for name, x in zip(HIGH_RES, found[kinds[-1]].high_res, strict=False)}

    def encoded(self, picture: Tensor) -> ImageFeatures:
        return self.model.encode_features(self.model.normalize(picture))
