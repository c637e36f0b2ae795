"""Where the model of a stage comes from: a folder, the hub, or the official files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glesam.model import GleSam
from glesam.official.build import build_official, config_of
from glesam_runtime.errors import InputError

OFFICIAL_GAMMA = 3.0
"""Of the authors' released demo."""


@dataclass(frozen=True)
class ModelSource:
    """`model`, a folder of save_pretrained or a hub id; or the official files (`glesam.official`).

    `gamma` is FDA's scale, which no official file holds; a folder has its own.
    """

    model: str | None = None
    sam_checkpoint: Path | None = None
    unet: Path | None = None
    text_embedding: Path | None = None
    lora: Path | None = None
    decoder: Path | None = None
    gamma: float | None = None

    def is_empty(self) -> bool:
        return self == ModelSource()

    def open(self) -> GleSam:
        """The model, float32, in eval mode.

        Raises:
            InputError: it is given twice, or in part.
            CheckpointError: a file is unreadable or does not fit.
        """
        if self.model is not None:
            if self != ModelSource(self.model):
                raise InputError(
                    "--model is a whole model; leave out the official files and --gamma beside it"
                )
            return GleSam.from_pretrained(self.model)
        if self.sam_checkpoint is None or self.unet is None or self.text_embedding is None:
            raise InputError(
                "a stage trains a model that exists: give --model FOLDER, or the official files "
                "--sam-checkpoint, --unet and --text-embedding (with --lora and --decoder where there are)"
            )
        gamma = OFFICIAL_GAMMA if self.gamma is None else self.gamma
        config = config_of(self.sam_checkpoint, self.unet, self.lora, gamma)
        return build_official(
            self.sam_checkpoint, self.unet, self.text_embedding, self.lora, self.decoder, config
        )
