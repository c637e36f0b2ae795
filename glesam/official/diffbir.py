"""DiffBIR v2 from its official files, under the names that they have.

BSRNet.pth                                      stage 1
v2.pth                                          IRControlNet
v2-1_512-ema-pruned.safetensors (or .ckpt)      U-Net and VAE
tokenizer/, text_encoder/                       encode the two prompts, once
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from glesam.official.latent_diffusion import unet_name, vae_name
from glesam.official.tensor_files import check_fit, put, read_tensors
from glesam.official.text_embedding import encode_prompt
from glesam.restorers.diffbir import DiffBir, DiffBirConfig, torch_parts
from glesam.restorers.diffbir_loop import NEGATIVE_PROMPT, POSITIVE_PROMPT, DiffBirRestorer
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.errors import CheckpointError

STAGE1, CONTROL = "BSRNet.pth", "v2.pth"
BASES = ("v2-1_512-ema-pruned.safetensors", "v2-1_512-ema-pruned.ckpt")
"""Stable Diffusion 2.1-base as one file; the first that is there is read."""


@dataclass(frozen=True)
class Part:
    """Tensors of one network in one file: `names` maps a name within `module` to the one in the file."""

    file: str
    prefix: str
    modules: tuple[nn.Module, ...]
    name: Callable[[str], str]

    def expected(self) -> dict[str, Tensor]:
        """The network's own tensors in the file's names and shapes."""
        return {
            f"{self.prefix}{self.name(name)}": _official_shape(name, tensor)
            for module in self.modules
            for name, tensor in module.state_dict().items()
        }

    def load(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Raises CheckpointError where `tensors`, those of the file `path`, are not exactly the network's."""
        loaded = {name: tensor for name, tensor in tensors.items() if name.startswith(self.prefix)}
        check_fit(path, loaded, self.expected())
        for module in self.modules:
            own = module.state_dict()
            like = {name: loaded[f"{self.prefix}{self.name(name)}"].reshape(own[name].shape) for name in own}
            put(module, like)


def _official_shape(name: str, tensor: Tensor) -> Tensor:
    """The VAE's attention has 1x1 convolutions in the file, and linear layers of the same weights here."""
    is_projection = "mid_block.attentions.0.to_" in name and name.endswith("weight")
    return tensor[..., None, None] if is_projection and "coder." in name else tensor


def parts_of(model: DiffBir) -> list[Part]:
    """The networks of a model and where their tensors are; a base file is named by its first name."""
    unet, levels = model.config.unet, len(model.config.vae.block_out_channels)
    denoiser = model.denoiser
    return [
        Part(STAGE1, "", (model.stage1,), str),
        Part(CONTROL, "", (denoiser.control,), lambda name: unet_name(name, unet)),
        Part(BASES[0], "model.diffusion_model.", (denoiser.unet,), lambda name: unet_name(name, unet)),
        Part(
            BASES[0],
            "first_stage_model.",
            (model.vae_encoder, model.vae_decoder),
            lambda name: vae_name(name, levels),
        ),
    ]


def read_diffbir(folder: Path, config: DiffBirConfig | None = None) -> DiffBir:
    """Reads a model, DiffBIR v2's by default, float32 on the CPU, in eval mode.

    Weights stay mapped from their files where those are float32.

    Raises:
        CheckpointError: a file is missing, unreadable, or does not hold exactly the networks' tensors.
    """
    files, config = files_of(folder), config or DiffBirConfig()
    with torch.device("meta"):
        model = DiffBir(config)
    contents: dict[Path, dict[str, Tensor]] = {}
    for part in parts_of(model):
        path = files[part.file]
        if path not in contents:
            contents[path] = {
                name.removeprefix("module."): tensor
                for name, tensor in read_tensors(path, inside="state_dict").items()
            }
        part.load(path, contents[path])
    prompts = [encode_prompt(folder, config.text_tokens, text) for text in (NEGATIVE_PROMPT, POSITIVE_PROMPT)]
    contexts, own = torch.cat(prompts), model.denoiser.get_buffer("contexts")
    if contexts.shape != own.shape:
        raise CheckpointError(
            f"{folder / 'text_encoder'} encodes prompts to {list(contexts.shape)}, DiffBIR takes "
            f"{list(own.shape)}; give Stable Diffusion 2.1-base's text encoder"
        )
    model.denoiser.register_buffer("contexts", contexts)
    return model.eval().requires_grad_(False)


def files_of(folder: Path) -> dict[str, Path]:
    """The files of weights by their official names; raises CheckpointError where one is missing."""
    files = {name: folder / name for name in (STAGE1, CONTROL)}
    files[BASES[0]] = next((folder / base for base in BASES if (folder / base).exists()), folder / BASES[0])
    missing = [path.name for path in files.values() if not path.exists()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing)}; expected DiffBIR v2's {STAGE1} and {CONTROL} "
            f"beside Stable Diffusion 2.1-base's {BASES[0]}, tokenizer/ and text_encoder/"
        )
    return files


def load_diffbir(folder: Path, config: DiffBirConfig | None = None) -> DiffBirRestorer:
    """Opens DiffBIR v2 as a restorer in PyTorch; arguments and errors are those of `read_diffbir`."""
    parts = torch_parts(read_diffbir(folder, config))
    digests = ", ".join(f"{path.name} {sha256_of(path)[:12]}" for path in files_of(folder).values())
    return DiffBirRestorer(parts, f"DiffBIR v2 {folder}, sha256 {digests}, fp32, PyTorch")
