"""The settings of stages 1 and 2: what each key of a settings file means, and which values it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glesam.data.batches import MAX_POINTS
from glesam.data.prompts import PromptKind
from glesam.training.loop import Optimizer, Schedule
from glesam.training.mask_loss import PixelLoss
from glesam.training.rules import (
    Rule,
    at_least_zero,
    choice,
    fraction,
    optional,
    pair,
    positive,
    switch,
    whole,
)

Precision = Literal["no", "fp16", "bf16"]
MULTIPLE = 16
"""px; an image has whole positions of the embedding."""
MAX_SEED = 2**31 - 1
"""A loop multiplies it by its stride, and torch's seeds have 64 bits."""


@dataclass(frozen=True)
class Setting:
    """The rule of a key's value, and its meaning in a few words."""

    rule: Rule
    meaning: str


SETTINGS: dict[str, Setting] = {
    "batch_size": Setting(whole(1), "images per step"),
    "steps": Setting(optional(whole(1)), "optimizer steps; instead of epochs"),
    "epochs": Setting(optional(positive()), "passes over the training images; instead of steps"),
    "lr": Setting(positive(), "learning rate after the warm-up"),
    "optimizer": Setting(choice(Optimizer), "adam adds weight decay to the gradient"),
    "schedule": Setting(choice(Schedule), "of the learning rate; cosine ends at 2 % of it"),
    "warmup": Setting(whole(0), "steps until the learning rate is reached"),
    "weight_decay": Setting(at_least_zero(), "weight decay of the optimizer"),
    "clip": Setting(positive(), "bound of the gradient norm"),
    "accumulation": Setting(whole(1), "parts into which a process splits a step"),
    "mixed_precision": Setting(choice(Precision), "fp16 needs GPUs"),
    "seed": Setting(whole(0, high=MAX_SEED), "seed of weights, views and prompts"),
    "image_size": Setting(optional(whole(MULTIPLE, MULTIPLE)), "pixels; null: the model's, as a ViT needs"),
    "scale": Setting(
        pair(positive()), "random zoom; 1 fits the longest side; SAM 2's images fill the square from 1 on"
    ),
    "affine_share": Setting(fraction(), "share of images rotated and sheared"),
    "paste_share": Setting(fraction(), "share of images into which objects of others are pasted"),
    "clean_share": Setting(fraction(), "share of images left clean"),
    "workers": Setting(whole(1), "threads that draw batches"),
    "save_every": Setting(whole(1), "steps between checkpoints"),
    "report_every": Setting(whole(1), "steps between reports"),
    "pictures_every": Setting(whole(0), "steps between images in TensorBoard; 0: none"),
    "pictures": Setting(whole(1), "how many images TensorBoard shows"),
    "gradient_checkpointing": Setting(switch(), "less memory, slower"),
    "lora_rank": Setting(optional(whole(1)), "new adapters of this rank; null: the model's"),
    "gamma": Setting(optional(positive()), "another FDA scale than the model's"),
    "distribution_matching": Setting(at_least_zero(), "weight of the term; the authors use 1.0"),
    "gan": Setting(at_least_zero(), "weight of the term; the authors use 0.005"),
    "generator_every": Setting(whole(1), "with either term, GLE learns in every n-th step"),
    "teacher_weight": Setting(positive(), "weight of the squared error to the embeddings of --teacher"),
    "enhance": Setting(switch(), "false: without GLE"),
    "train_iou_head": Setting(switch(), "also train the IoU's prediction"),
    "pixel_loss": Setting(choice(PixelLoss), "loss of a pixel, beside Dice"),
    "mask_size": Setting(optional(whole(1)), "pixels of the loss's masks; null: the logits' size"),
    "multimask_share": Setting(
        fraction(),
        "weight of the best candidate; 0, the authors' recipe, lets candidates fade, and SAM 2 chooses none",
    ),
    "feedback_share": Setting(fraction(), "share of steps with a second answer, from the first mask"),
    "objects_per_image": Setting(whole(1), "masks per image, with a prompt each"),
    "prompts": Setting(choice(PromptKind), "what marks an object"),
    "points": Setting(pair(whole(1), MAX_POINTS), "foreground points, from and to"),
    "views": Setting(optional(whole(1)), "encode so many views once, before the first step"),
    "raw_share": Setting(fraction(), "share of embeddings taken without GLE; needs views"),
    "mixed_share": Setting(fraction(), "share of embeddings mixed of both; needs views"),
}
"""Every key of a settings file but "stage"; a stage has those of its configuration."""
