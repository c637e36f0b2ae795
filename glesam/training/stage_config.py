"""The settings of stages 1 and 2, as a lab writes them into a JSON file.

Defaults are the paper's and its authors' code's (section 5 of the GleSAM paper, their released scripts).
`glesam.training.settings` explains every key, as `glesam-train --stage 1 --settings` prints them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from glesam.config import SamConfig
from glesam.data.batches import MAX_POINTS, BatchPlan
from glesam.data.prompts import PromptKind
from glesam.training.encoded_views import Mixture
from glesam.training.loop import LoopConfig
from glesam.training.mask_loss import MaskLoss, PixelLoss
from glesam.training.rules import check
from glesam.training.settings import SETTINGS, Precision
from glesam_runtime.errors import InputError

HARMLESS = frozenset({"save_every", "report_every", "pictures_every", "pictures", "workers"})
"""Settings that change no weight: they may differ between a checkpoint and the run that resumes it."""
RESUMABLE = HARMLESS | {"steps", "epochs", "accumulation", "mixed_precision", "views"}
"""Settings that may change when a run is resumed on purpose."""


PAPER_LOOP = LoopConfig(100_000, lr=1e-4, warmup=500, schedule="constant", save_every=500, report_every=50)
"""The loop of stage 1; stage 2 changes it."""
LOOP_KEYS = tuple(field.name for field in fields(LoopConfig) if field.name != "average")
"""The keys of a settings file that are `LoopConfig`'s; nano's recipe alone averages weights."""


@dataclass(frozen=True)
class StageConfig:
    """The settings that both stages share.

    `loop.steps` is 0 where `epochs` says how long the stage runs: the number of training pictures decides.
    """

    loop: LoopConfig
    batch_size: int = 4
    epochs: float | None = None
    mixed_precision: Precision = "no"
    image_size: int | None = None
    scale: tuple[float, float] = (0.75, 1.5)
    affine_share: float = 0.5
    paste_share: float = 0.0
    clean_share: float = 0.0
    workers: int = 2
    pictures_every: int = 500
    pictures: int = 4

    def loop_for(self, pictures: int) -> LoopConfig:
        """The loop on a training set of `pictures`."""
        if self.loop.steps:
            return self.loop
        return replace(self.loop, steps=math.ceil((self.epochs or 0) * pictures / self.batch_size))

    def settings(self) -> dict[str, Any]:
        """Every key of a settings file with its value."""
        loop = {key: getattr(self.loop, key) for key in LOOP_KEYS}
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "loop"}
        return {**loop, **own, "steps": self.loop.steps or None}

    def plan(self, sam: SamConfig) -> BatchPlan:
        """The batches for a model of this SAM."""
        return BatchPlan(
            size=self.batch_size,
            image_size=self.image_size or sam.image_size,
            seed=self.loop.seed,
            objects_per_image=1,
            scale=self.scale,
            with_degraded=True,
            clean_share=self.clean_share,
            affine_share=self.affine_share,
            paste_share=self.paste_share,
            squash=sam.squashes,
        )


@dataclass(frozen=True)
class GleStageConfig(StageConfig):
    """Stage 1: GLE's LoRA, or a smaller U-Net (`glesam.training.teacher`)."""

    loop: LoopConfig = PAPER_LOOP
    gradient_checkpointing: bool = False
    lora_rank: int | None = None
    gamma: float | None = None
    distribution_matching: float = 0.0
    gan: float = 0.0
    generator_every: int = 5
    teacher_weight: float = 1.0


@dataclass(frozen=True)
class DecoderStageConfig(StageConfig):
    """Stage 2: the mask decoder."""

    loop: LoopConfig = replace(PAPER_LOOP, steps=0, optimizer="adam", warmup=0, weight_decay=1e-5)  # noqa: RUF009
    epochs: float | None = 6
    enhance: bool = True
    train_iou_head: bool = False
    pixel_loss: PixelLoss = "focal"
    mask_size: int | None = 512
    multimask_share: float = 0.5
    feedback_share: float = 0.0
    objects_per_image: int = 4
    prompts: PromptKind = "points"
    points: tuple[int, int] = (MAX_POINTS, MAX_POINTS)
    views: int | None = None
    raw_share: float = 0.0
    mixed_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.raw_share and not self.mixed_share:
            return
        if self.views is None or not self.enhance:
            raise InputError("raw_share and mixed_share are shares of `views`, with `enhance`; set both")
        if self.raw_share + self.mixed_share > 1:
            raise InputError(
                f"raw_share {self.raw_share} and mixed_share {self.mixed_share} add up to more than 1"
            )

    def plan(self, sam: SamConfig) -> BatchPlan:
        return replace(
            super().plan(sam),
            objects_per_image=self.objects_per_image,
            prompts=self.prompts,
            points=self.points,
        )

    def mixture(self) -> Mixture:
        return Mixture(self.raw_share, self.mixed_share) if self.enhance else Mixture(raw_share=1.0)

    def mask_loss(self, image_size: int) -> MaskLoss:
        """The loss for a model of this image size, px; masks are never compared above the size they have."""
        return MaskLoss(
            pixel=self.pixel_loss,
            single=1 - self.multimask_share,
            multimask=self.multimask_share,
            iou=1.0 if self.train_iou_head else 0.0,
            size=self.mask_size and min(self.mask_size, self.image_size or image_size),
            feedback=self.feedback_share,
        )


STAGES: Mapping[int, type[GleStageConfig] | type[DecoderStageConfig]] = {
    1: GleStageConfig,
    2: DecoderStageConfig,
}


def read_stage_config(path: Path | None, stage: int | None) -> StageConfig:
    """Reads the settings of a stage; every key that the file does not have keeps its default.

    Args:
        path: a JSON file; None: the defaults.
        stage: 1 or 2; None: what the file's key "stage" says.

    Raises:
        InputError: not such a file, an unknown key, or a value that is none.
        OSError: it cannot be read.
    """
    if path is None:
        return parse_stage_config("{}", stage, "the settings")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected JSON in UTF-8: {error}") from error
    return parse_stage_config(text, stage, str(path))


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises InputError where a key is there twice, of which json takes the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise InputError(f"key {twice!r} is there twice")
    return values


def parse_stage_config(text: str, stage: int | None, source: str) -> StageConfig:
    """Reads settings from JSON; `source` names the text in errors."""
    try:
        values = json.loads(text, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: expected JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f'{source}: expected settings such as {{"stage": 1, "lr": 1e-4}}')
    number = values.pop("stage", stage)
    if type(number) is not int or number not in STAGES or stage not in (None, number):
        expected = stage if stage in STAGES else "1 or 2"
        raise InputError(f"{source}: stage is {number}; expected {expected}")
    default = STAGES[number]()
    keys = default.settings()
    check(values, {key: SETTINGS[key].rule for key in SETTINGS if key in keys}, f"{source} (stage {number})")
    if values.get("epochs") is not None and values.get("steps") is not None:
        raise InputError(f"{source}: steps and epochs are both given; expected one of them")
    try:
        config = with_settings(default, values)
    except ValueError as error:
        raise InputError(f"{source} (stage {number}): {error}") from error
    if not config.loop.steps and config.epochs is None:
        raise InputError(f"{source}: steps and epochs are both null; expected one of them")
    return config


def with_settings(default: StageConfig, values: Mapping[str, Any]) -> StageConfig:
    """Returns `default` with the values of a settings file, which has passed `check`."""
    chosen: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    if chosen.get("epochs") is not None:
        chosen["steps"] = None  # in place of the default
    loop = {key: chosen.pop(key) for key in LOOP_KEYS if key in chosen}
    if "steps" in loop:
        loop["steps"] = loop["steps"] or 0
    return replace(default, loop=replace(default.loop, **loop), **chosen)


def settings_table(stage: int | None) -> str:
    """The settings of a stage as text: a line each with key, default as JSON, meaning and expected value.

    Raises InputError where there is no such stage.
    """
    if stage is None or stage not in STAGES:
        raise InputError(f"--settings: expected --stage 1 or --stage 2 with it, found {stage}")
    defaults = STAGES[stage]().settings()
    shown = {key: json.dumps(defaults[key]) for key in SETTINGS if key in defaults}
    keys, values = (max(map(len, column)) for column in (shown, shown.values()))
    return "\n".join(
        f"{key:{keys}}  {default:{values}}  {SETTINGS[key].meaning} ({SETTINGS[key].rule.expected})"
        for key, default in shown.items()
    )
