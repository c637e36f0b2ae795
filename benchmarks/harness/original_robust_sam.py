"""RobustSAM from its authors' package, with the Fourier block as their repository fixed it afterwards."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from glesam.config import RobustSamConfig
from glesam.restorers.robust_sam import RobustSam

PACKAGE = "robust_segment_anything"


def random_model(config: RobustSamConfig) -> RobustSam:
    """Ours with random values of every tensor, running statistics included: nothing stays at zero or one."""
    torch.manual_seed(0)
    model = RobustSam(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and (tensor.ndim == 1 or not tensor.any()):
                tensor.add_(0.2 * torch.randn_like(tensor))
    return model.eval().requires_grad_(False)


@cache
def modeling() -> Any:  # noqa: ANN401
    """The package's `modeling` alone: its own __init__ needs torchvision.

    Raises:
        ImportError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ImportError(
            f"{PACKAGE} is not installed; make test does: pip install --no-deps {PACKAGE}==1.0.0"
        )
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{PACKAGE}.modeling")
    finally:
        del sys.modules[PACKAGE]


def published_fourier_block(channels: int) -> Any:  # noqa: ANN401
    """The package's block, of 2 x `channels`."""
    modeling()
    components: Any = sys.modules[f"{PACKAGE}.modeling.components"]
    return components.FGMBlock(channels)


class FixedFourierBlock(nn.Module):
    """The published block's own convolution, and what its repository returns since commit 2240abb."""

    def __init__(self, published: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.conv_layer = published.conv_layer

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x)
        magnitude, phase = self.conv_layer(spectrum.abs()), spectrum.angle()
        return torch.fft.ifft2(torch.complex(magnitude * phase.cos(), magnitude * phase.sin())).real


def original(model: RobustSam) -> Any:  # noqa: ANN401
    """The authors' `Sam` with fixed Fourier blocks, which shares the weights of `model`, in eval mode."""
    encoder: Any = model.config.sam.encoder
    decoder: Any = model.config.sam.decoder
    theirs, size = modeling(), model.config.sam.image_size
    with torch.device("meta"):
        sam = theirs.Sam(
            theirs.ImageEncoderViT(
                img_size=size,
                embed_dim=encoder.embed_dim,
                depth=encoder.depth,
                num_heads=encoder.num_heads,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=encoder.window_size,
                global_attn_indexes=encoder.global_attn_indexes,
            ),
            theirs.PromptEncoder(
                embed_dim=256,
                image_embedding_size=(size // 16, size // 16),
                input_image_size=(size, size),
                mask_in_chans=16,
            ),
            theirs.MaskDecoder(
                opt=(),
                transformer_dim=256,
                transformer=theirs.TwoWayTransformer(
                    depth=2, embedding_dim=256, num_heads=8, mlp_dim=decoder.mlp_dim
                ),
                vit_dim=encoder.embed_dim,
            ),
        )
    for parent in list(sam.modules()):
        if hasattr(parent, "fgm_block"):
            parent.fgm_block = FixedFourierBlock(parent.fgm_block)
    sam.load_state_dict(model.state_dict(), strict=True, assign=True)
    return sam.eval().requires_grad_(False)


def decode_one(sam: Any, image_embeddings: Tensor, early: Tensor, sparse: Tensor, dense: Tensor) -> Any:  # noqa: ANN401
    """`MaskDecoder.predict_masks` of one prompt: 16 masks and 4 scores.

    `early`: [1, H, W, C]. torch warns that the decoder normalizes one channel with InstanceNorm1d(4).
    """
    decoder = sam.mask_decoder
    features = decoder.fourier_first_layer_features(early.permute(0, 3, 1, 2), clear=False)
    features = features + decoder.fourier_last_layer_features(image_embeddings, clear=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masks, ious, *_ = decoder.predict_masks(
            image_embeddings, sam.prompt_encoder.get_dense_pe(), sparse, dense, features, clear=False
        )
    return masks, ious
