"""The work of glesam-train: opens data and model, trains with progress shown, and writes the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast, get_args

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from glesam.config import nano
from glesam.data.batches import BatchPlan, SamplePool, make_batch
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.nano.recipe import NANO, Run, train_model
from glesam.official.decoder import save_decoder
from glesam.official.lora import save_lora
from glesam.training.encoded_views import IDENTITY_FILE, VIEWS, read_identity
from glesam.training.parallel import on_the_main_process
from glesam.training.pictures import mask_pictures
from glesam.training.settings import Precision
from glesam.training.stage_config import DecoderStageConfig, StageConfig
from glesam.training.stages import StageRun, ready, train_stage
from glesam.training.teacher import learns_whole
from glesam.training.watch import All, Bar, Board, Lines, Watcher
from glesam_runtime.errors import CheckpointError, InputError, printable
from glesam_runtime.tools.bottom_line import BottomLine

SCRATCH_PICTURES_EVERY = 100
"""Steps between pictures while nano is trained from scratch."""
LOCK_FILE = ".lock"
LORA_FILE = "pytorch_lora_weights.safetensors"
DECODER_FILE = "ft-decoder.pth"


@dataclass(frozen=True)
class Session:
    """One call of glesam-train; among several processes only the main one writes and prints."""

    data: Path
    sets: Path | None
    run: Path
    out: Path
    accelerator: Accelerator

    @cached_property
    def pool(self) -> SamplePool:
        pool = SamplePool(in_memory(load_datasets(self.data, self.sets)))
        self.accelerator.print(f"{len(pool)} training pictures; checkpoints in {printable(str(self.run))}")
        return pool

    def check_folders(self, model: str | None, teacher: str | None = None) -> None:
        """Raises InputError, before anything is computed, where results cannot be written.

        Args:
            model: the value of --model.
            teacher: the value of --teacher.
        """
        for path in (self.run, self.out):
            if path.exists() and not path.is_dir():
                raise InputError(f"{path}: expected a folder, found a file; choose another name")
        for option, folder in (("--model", model), ("--teacher", teacher)):
            if folder is not None and self.out.exists() and self.out.resolve() == Path(folder).resolve():
                raise InputError(f"--out {self.out} is the folder of {option}, which is kept; choose another")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Locks the run's folder within the block; the main process does it for all."""
        lock = FileLock(self.run / LOCK_FILE)
        on_the_main_process(self.accelerator, lambda: self.take(lock))
        try:
            yield
        finally:
            lock.release()

    def take(self, lock: FileLock) -> None:
        """Acquires the lock and removes what killed runs left half-written.

        Raises:
            InputError: another run holds it.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"{self.run}: another glesam-train works in it; wait for its end, or choose another --run"
            ) from error
        for folder in (self.run, self.run / VIEWS):
            for partial_file in folder.glob(".*.partial"):
                partial_file.unlink()

    def from_scratch(self) -> None:
        """Trains all of nano and writes it in float16."""
        if self.accelerator.num_processes > 1:
            raise InputError(
                "nano from scratch: expected one process, found "
                f"{self.accelerator.num_processes}; start it without a launcher, or train --stage 1 or 2"
            )
        pool = self.pool
        torch.manual_seed(0)
        model = GleSam(nano()).to(self.accelerator.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.2x faster here
        pictures = partial(self.preview, model, NANO.sam.plan(0))
        with self.alone():
            with self.watching(pictures, SCRATCH_PICTURES_EVERY) as watch:
                train_model(model, pool, Run(self.run, watch, self.accelerator), NANO)
            model.save_pretrained(self.out, torch.float16)

    def stage(self, model: GleSam, config: StageConfig, *, resume: bool, teacher: Gle | None = None) -> None:
        """Trains one stage of a model and writes what it changed in the official layout too.

        Args:
            teacher: of stage 1 (`glesam.training.teacher`).
        """
        pool, model = self.pool, ready(model, config, self.accelerator, teacher)
        plan = config.plan(model.config.sam)
        enhance = not isinstance(config, DecoderStageConfig) or config.enhance
        pictures = partial(self.preview, model, plan, enhance=enhance, count=config.pictures)
        main = self.accelerator.is_main_process
        watching = self.watching(pictures, config.pictures_every) if main else nullcontext(Lines())
        with self.alone():
            with watching as watch:
                train_stage(model, pool, config, StageRun(self.run, self.accelerator, watch, resume, teacher))
            if main:
                self.save(model, config, has_official_form=not learns_whole(model, teacher))

    def save(self, model: GleSam, config: StageConfig, *, has_official_form: bool) -> None:
        """Writes the model, and what the stage trained in the authors' format, which has no whole U-Net.

        Files of that format from an earlier run are removed: they are parts of another model.
        """
        model.save_pretrained(self.out)
        for name in (LORA_FILE, DECODER_FILE):
            (self.out / name).unlink(missing_ok=True)
        if isinstance(config, DecoderStageConfig):
            save_decoder(model, self.out / DECODER_FILE)
        elif has_official_form:
            save_lora(model, self.out / LORA_FILE)

    def preview(
        self, model: GleSam, plan: BatchPlan, *, enhance: bool = True, count: int = 4
    ) -> NDArray[np.uint8]:
        """A sheet of the model's current masks on the first pictures of the first batch."""
        batch = make_batch(self.pool, plan, 0, range(min(count, plan.size)))
        return mask_pictures(model, batch, enhance=enhance)

    @contextmanager
    def watching(self, pictures: Callable[[], NDArray[np.uint8]], pictures_every: int) -> Iterator[Watcher]:
        """A line in place on a terminal, lines elsewhere, and TensorBoard's files in the run's folder."""
        board = Board(self.run / "tensorboard", pictures, pictures_every)
        if not (sys.stdout.isatty() and sys.stderr.isatty()):
            yield All((Lines(self.accelerator.print), board))
            return
        with BottomLine() as line:
            yield All((Bar(line.show, self.accelerator.print), board))


def make_accelerator(precision: Precision) -> Accelerator:
    """The processes and devices of the environment.

    Raises:
        InputError: there is no GPU, which fp16 needs.
    """
    if precision == "fp16" and not torch.cuda.is_available():
        raise InputError("mixed_precision is fp16, which is for GPUs, and there is none; choose bf16 or no")
    # Without a GPU `cpu` must be set, or accelerate takes one process of several for the only one.
    return Accelerator(mixed_precision=precision, cpu=not torch.accelerator.is_available())


def precision_of(run: Path) -> Precision:
    """The precision of a run of nano: that of its encoded views, and before there are any the faster one.

    That is bf16 where the hardware multiplies in it. A CPU that emulates it is several times slower than in
    fp32.

    Raises:
        CheckpointError: the file beside the views cannot be read, or names no precision.
    """
    views = run / VIEWS / IDENTITY_FILE
    if views.exists():
        precision = read_identity(views).get("mixed_precision", "no")
        if precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise CheckpointError(
                f"{views}: expected a mixed_precision of {known}, found {precision!r}; "
                f"delete {views.parent}, and the views are encoded anew"
            )
        return cast("Precision", precision)
    has_bf16 = (
        torch.accelerator.is_available()
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return "bf16" if has_bf16 else "no"


def use_threads(threads: int | None) -> None:
    """Sets the threads of torch, and one for OpenCV: batches are drawn by threads of their own."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # which accelerate would otherwise choose itself
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)
