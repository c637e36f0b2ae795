"""The tensors of DiffBIR's four parts, and the parts as functions of arrays, in whatever engines they run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from glesam.restorers.restorer import Floats
from glesam_runtime.bundle.spec import Dimension, GraphSpec, TensorSpec
from glesam_runtime.engines.base import Array, Engine

LATENT_CHANNELS = 4
LATENT_STRIDE = 8
"""Pixels per position of the latents, along each axis."""
ENLARGEMENT = 4
"""Factor by which stage 1 enlarges a picture."""

Size = tuple[int, int]
"""Height and width [px]."""


def diffbir_contract(picture: Size | None = None, diffusion: Size | None = None) -> dict[str, GraphSpec]:
    """The parts' inputs and outputs, for pictures and a diffusion of one size, or of any.

    `diffusion`: size of the image that the diffusion works on, a multiple of 64. All tensors are float32,
    images are RGB in [0, 1].
    """

    def tensor(name: str, channels: int, size: tuple[Dimension, ...], batch: int = 1) -> TensorSpec:
        return TensorSpec(name, "float32", (batch, channels, *size))

    enlarged = _scaled(picture, ENLARGEMENT) if picture else ("enlarged_height", "enlarged_width")
    latent = _scaled(diffusion, 1 / LATENT_STRIDE) if diffusion else ("latent_height", "latent_width")
    image = tensor("image", 3, diffusion or ("height", "width"))
    condition = tensor("condition", LATENT_CHANNELS, latent)
    latents = tensor("latents", LATENT_CHANNELS, latent)
    noise = tensor("noise", LATENT_CHANNELS, latent, batch=2)
    own_image = tensor("image", 3, picture or ("height", "width"))
    graphs = (
        GraphSpec("stage1", (own_image,), (tensor("cleaned", 3, enlarged),)),
        GraphSpec("vae_encoder", (image,), (condition,)),
        GraphSpec("denoiser", (latents, condition, TensorSpec("timestep", "float32", (1,))), (noise,)),
        GraphSpec("vae_decoder", (latents,), (image,)),
    )
    return {graph.name: graph for graph in graphs}


def _scaled(size: Size, factor: float) -> tuple[Dimension, ...]:
    return tuple(int(side * factor) for side in size)


class EngineParts:
    """`diffbir_loop.Parts` on the engines of `diffbir_contract`, by name."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    def stage1(self, image: Floats) -> Floats:
        return self._run("stage1", image=image)

    def encode(self, image: Floats) -> Floats:
        return self._run("vae_encoder", image=image)

    def denoise(self, latents: Floats, condition: Floats, timestep: int) -> Floats:
        step = np.array([timestep], np.float32)
        return self._run("denoiser", latents=latents, condition=condition, timestep=step)

    def decode(self, latents: Floats) -> Floats:
        return self._run("vae_decoder", latents=latents)

    def _run(self, part: str, **feeds: Array) -> Floats:
        (output,) = self._engines[part](feeds).values()
        return output.astype(np.float32, copy=False)
