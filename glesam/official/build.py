"""A model from official files: no tensor is first drawn at random, and none is held twice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from peft.tuners.lora import LoraLayer

from glesam.config import BaseName, GleSamConfig, HieraEncoderConfig, NoMemEmbed, official, sd15, sd21
from glesam.model import GleSam
from glesam.official.decoder import load_decoder
from glesam.official.lora import load_lora, lora_kind, read_lora
from glesam.official.lora_alpha import alphas_of, common_alpha, config_beside
from glesam.official.robust_sam import load_robust_sam
from glesam.official.sam import load_sam, sam_file, sam_type_of
from glesam.official.text_embedding import load_text_embedding
from glesam.official.unet import load_unet, read_unet_config, unet_folder, weights_file
from glesam.restorers.robust_sam import RobustSam
from glesam_runtime.errors import CheckpointError

LORA_RANK = 8
"""Rank of the authors' LoRA."""
TEXT_PARTS = ("tokenizer", "text_encoder")
"""Folders of Stable Diffusion that encode the empty prompt."""


@dataclass(frozen=True)
class OfficialFiles:
    """The files of one model as their authors publish them: glesam-convert's options.

    `sam_type`: the expected type of `sam_checkpoint`. `text_embedding`: by default the tokenizer and the
    text encoder beside the U-Net. `gamma` and `timestep`: 3 and 1 by default. `new_lora`: GLE starts with
    fresh adapters in place of a `lora` file, ready for stage 1 of training. `no_mem_embed`: see
    `glesam.config.HieraEncoderConfig`; before_gle by default, and for a SAM 2 alone. `robust_sam`: a whole
    RobustSAM, beside which only `sam_type` has a meaning.
    """

    sam_checkpoint: Path | None = None
    unet: Path | None = None
    lora: Path | None = None
    decoder: Path | None = None
    text_embedding: Path | None = None
    sam_type: str | None = None
    gamma: float | None = None
    timestep: int | None = None
    new_lora: bool = False
    no_mem_embed: NoMemEmbed | None = None
    robust_sam: Path | None = None

    def given(self) -> list[str]:
        """The options that are set, as they are typed."""
        values = vars(self).items()
        return [_option(name) for name, value in values if value is not None and value is not False]

    def load(self) -> GleSam | RobustSam:
        """Loads the model, float32 on the CPU, in eval mode.

        Raises:
            CheckpointError: a file is missing, unreadable, or does not fit the others.
        """
        if self.robust_sam is not None:
            return self._load_robust_sam(self.robust_sam)
        sam, unet = self._required()
        gamma = 3.0 if self.gamma is None else self.gamma
        timestep = 1 if self.timestep is None else self.timestep
        if not (math.isfinite(gamma) and gamma > 0):
            raise CheckpointError(f"gamma {gamma:g}: expected a number above 0, such as 3")
        if not 0 <= timestep < 1000:
            raise CheckpointError(f"timestep {timestep}: expected a whole number from 0 to 999")
        if self.no_mem_embed not in (None, *get_args(NoMemEmbed)):
            raise CheckpointError(
                f"no-mem-embed {self.no_mem_embed}: expected {' or '.join(get_args(NoMemEmbed))}"
            )
        text_embedding = self._text_embedding(unet)
        config = config_of(
            sam,
            unet,
            self.lora,
            gamma,
            timestep=timestep,
            sam_type=self.sam_type,
            no_mem_embed=self.no_mem_embed or "before_gle",
        )
        self._check_sam_type(sam, config.sam.sam_type)
        if self.no_mem_embed and not isinstance(config.sam.encoder, HieraEncoderConfig):
            raise CheckpointError(
                f"{sam} is a SAM {config.sam.sam_type}, which has no no_mem_embed; leave --no-mem-embed out"
            )
        return build_official(sam, unet, text_embedding, self.lora, self.decoder, config)

    def _load_robust_sam(self, path: Path) -> RobustSam:
        others = sorted(set(self.given()) - {"--robust-sam", "--sam-type"})
        if others:
            raise CheckpointError(f"--robust-sam {path} is a whole model; leave out {', '.join(others)}")
        model = load_robust_sam(path)
        self._check_sam_type(path, model.config.sam.sam_type)
        return model

    def _check_sam_type(self, path: Path, found: str) -> None:
        if self.sam_type not in (None, found):
            raise CheckpointError(
                f"{path} is a SAM {found}, expected {self.sam_type}; "
                "give the other file, or leave --sam-type out"
            )

    def files(self) -> dict[str, Path]:
        """Every file that `load` reads tensors or sizes from, as `option/file`."""
        if self.robust_sam is not None:
            return {f"robust_sam/{self.robust_sam.name}": self.robust_sam}
        sam, unet = self._required()
        folder, text = unet_folder(unet), self._text_embedding(unet)
        files = [
            ("sam_checkpoint", sam_file(sam)),
            ("unet", folder / "config.json"),
            ("unet", weights_file(folder)),
        ]
        files += [("lora", path) for path in self._lora_files()]
        files += [("decoder", self.decoder)] if self.decoder is not None else []
        if text.is_dir():
            parts = [(part, text / part) for part in TEXT_PARTS]
            files += [(part, p) for part, f in parts for p in sorted(f.iterdir()) if p.is_file()]
        else:
            files.append(("text_embedding", text))
        return {f"{option}/{path.name}": path for option, path in files}

    def _lora_files(self) -> list[Path]:
        """The LoRA and, where PEFT wrote it, the file that states its alpha."""
        if self.lora is None:
            return []
        config = config_beside(self.lora)
        return [self.lora] if config is None else [self.lora, config]

    def _required(self) -> tuple[Path, Path]:
        """SAM's file and the U-Net, once these and the LoRA are known to be complete."""
        if self.new_lora and self.lora is not None:
            raise CheckpointError(
                f"--new-lora starts a LoRA, and --lora {self.lora} is a trained one; leave one of them out"
            )
        required = {"--sam-checkpoint": self.sam_checkpoint, "--unet": self.unet}
        if not self.new_lora:
            required["--lora"] = self.lora
        missing = [option for option, path in required.items() if path is None]
        if self.sam_checkpoint is None or self.unet is None or missing:
            raise CheckpointError(
                f"the official files lack {' and '.join(missing)}; expected --sam-checkpoint, --unet, --lora "
                "together (and --decoder where there is one); --new-lora stands in for a --lora to be trained"
            )
        return self.sam_checkpoint, self.unet

    def _text_embedding(self, unet: Path) -> Path:
        if self.text_embedding is not None:
            return self.text_embedding
        for folder in (unet, unet.absolute().parent):
            if all((folder / part).is_dir() for part in TEXT_PARTS):
                return folder
        raise CheckpointError(
            f"no {' and '.join(f'{part}/' for part in TEXT_PARTS)} in {unet} or beside it; give the "
            "Stable Diffusion folder that has them, or the encoded empty prompt, with --text-embedding"
        )


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def build_official(
    sam_checkpoint: str | Path,
    unet: str | Path,
    text_embedding: str | Path,
    lora: str | Path | None = None,
    decoder: str | Path | None = None,
    config: GleSamConfig | None = None,
) -> GleSam:
    """Builds the model of these files, float32 on the CPU, in eval mode.

    Weights stay mapped from their files where those are float32. Without `lora` the adapters are fresh:
    GLE is then its base, and ready for stage 1 of training.

    Args:
        sam_checkpoint: `sam_vit_{b,l,h}_*.pth`, a whole fine-tuned SAM, or a SAM 2: its `.pt` file, whole or
            its image part alone, or transformers' folder.
        unet: Stable Diffusion's `unet/` folder, or the folder that holds it.
        text_embedding: see `glesam.official.text_embedding`.
        lora: `pytorch_lora_weights.safetensors`.
        decoder: `ft-decoder.pth`, in place of the one in `sam_checkpoint`.
        config: by default read from the files.

    Raises:
        CheckpointError: a file is unreadable or does not fit the others.
    """
    with torch.device("meta"):
        model = GleSam(config or config_of(sam_checkpoint, unet, lora))
    load_sam(model, sam_checkpoint)
    load_unet(model, unet)
    start_adapters(model)
    load_text_embedding(model, text_embedding)
    if lora is not None:
        load_lora(model, lora)
    if decoder is not None:
        load_decoder(model, decoder)
    model.keep_live_masks()
    return model.eval()


def config_of(
    sam_checkpoint: str | Path,
    unet: str | Path,
    lora: str | Path | None = None,
    gamma: float = 3.0,
    lora_rank: int = LORA_RANK,
    timestep: int = 1,
    sam_type: str | None = None,
    no_mem_embed: NoMemEmbed = "before_gle",
) -> GleSamConfig:
    """Reads the sizes from the files: SAM's type, the base, and rank and alpha where there is a LoRA.

    Args:
        gamma: FDA's scale, which no file holds (`glesam.config.official`).
        lora_rank: rank of new adapters, where there is no LoRA file.
        timestep: GLE's timestep, which no file holds either.
        sam_type: chooses SAM 2 or 2.1 where the file shows the size alone.
        no_mem_embed: place of SAM 2's `no_mem_embed`.

    Raises:
        CheckpointError: a file is unreadable, or of a size that is neither SAM's nor Stable Diffusion's.
    """
    found, base = sam_type_of(sam_checkpoint, sam_type), base_of(unet)
    if lora is None:
        return official(found, base, gamma, lora_rank, timestep, no_mem_embed=no_mem_embed)
    tensors = read_lora(lora)
    rank = lora_kind(tensors, lora).rank
    alpha = common_alpha(alphas_of(Path(lora), tensors), rank)
    return official(found, base, gamma, rank, timestep, alpha, no_mem_embed)


def base_of(unet: str | Path) -> BaseName:
    """The version of Stable Diffusion in a `unet/` folder, read from its config.json."""
    config = read_unet_config(unet)
    if config == sd15():
        return "sd15"
    if config == sd21():
        return "sd21"
    raise CheckpointError(
        f"{unet} is neither Stable Diffusion 1.5's U-Net nor 2.1-base's; "
        "for another base pass a config of its own"
    )


def start_adapters(model: GleSam) -> None:
    """Gives adapters on the meta device their initial values: A random, B zero."""
    for layer in model.gle.unet.modules():
        if isinstance(layer, LoraLayer):
            for factors in (layer.lora_A, layer.lora_B):
                factors.to_empty(device="cpu")
            for name in layer.lora_A:
                layer.reset_lora_parameters(name, init_lora_weights=True)
