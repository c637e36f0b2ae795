"""The GAN term of stage 1, optional: a discriminator on the student's own features.

The student of `glesam.training.critic.distribution_matching` reads a noised embedding; its mid block's output
(1280 x 8 x 8 for Stable Diffusion on 64 x 64 embeddings) goes to a small convolutional head D, and with
softplus(u) = log(1 + e^u)

    generator:      L_G = mean softplus(-D(gamma z_hat))
    discriminator:  L_D = mean softplus(-D(gamma z_H)) + mean softplus(D(gamma z_hat))

z_hat is what GLE restored, z_H the embedding of the clean picture. Both are noised with the draw of the
distribution-matching term (as DMD2 does; Yin et al., NeurIPS 2024), whose timesteps carry no information
about which is which. The authors do not describe their head nor the weight of L_D: both are our choice.

A training loop uses it so:

    head = DiscriminatorHead.of(gle)                                    # after add_student(gle)
    loss = ... + GENERATOR_WEIGHT * generator_loss(realism(gle, head, restored, noising))
    critic = student_loss(...) + DISCRIMINATOR_WEIGHT * discriminator_loss(
        real=realism(gle, head, gamma * clean, noising), fake=realism(gle, head, restored.detach(), noising))

The generator's backward pass also leaves gradients on the head and on the student's adapters: zero theirs
before their own backward pass. Their optimizer takes [*adapter_parameters(gle, STUDENT), *head.parameters()].
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

from glesam.gle import Gle
from glesam.training.adapters import STUDENT, adapter
from glesam.training.critic.distribution_matching import Noising, add_noise

GENERATOR_WEIGHT = 5e-3
"""Weight of L_G in the authors' code."""
DISCRIMINATOR_WEIGHT = 1e-2
"""Weight of L_D, our choice; the denoising loss beside it weighs 1."""


class DiscriminatorHead(nn.Module):
    """Mid-block features [B, C, h, w] -> logits [B, 1, ceil(h/2), ceil(w/2)], one per patch; > 0: clean."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        hidden = channels // 4
        self.layers = nn.Sequential(  # normalized first, as the U-Net's own blocks read their input
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden, 1, 1),
        )

    @classmethod
    def of(cls, gle: Gle) -> DiscriminatorHead:
        """The head that fits the mid block of `gle`'s U-Net."""
        unet = gle.config.unet
        return cls(unet.block_out_channels[-1], unet.norm_num_groups)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


def realism(gle: Gle, head: DiscriminatorHead, embeddings: Tensor, noising: Noising) -> Tensor:
    """D's logits for gamma-scaled embeddings [B, 256, h, w], with gradients to all three.

    Returns:
        [B, 1, h', w'], h' and w' half the mid block's.
    """
    drawn = noising.to(embeddings)
    logits: Tensor = head(mid_features(gle, add_noise(gle, embeddings, drawn), drawn.timesteps))
    return logits


def mid_features(gle: Gle, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The student's mid block [B, C, h, w]; the U-Net's up path, half of its work, is not run."""
    unet = gle.unet
    context = gle.get_buffer("text_embedding").expand(len(noisy), -1, -1)
    with adapter(unet, STUDENT):
        time = unet.time_embedding(unet.time_proj(timesteps).to(noisy.dtype))
        features = unet.conv_in(noisy)
        for block in unet.down_blocks:
            features, _ = block(features, time, **context_of(block, context))
        mid: Tensor = unet.mid_block(features, time, **context_of(unet.mid_block, context))
    return mid


def context_of(block: nn.Module, context: Tensor) -> dict[str, Tensor]:
    """The text context as the argument of a block with cross-attention; other blocks take none."""
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


def generator_loss(fake: Tensor) -> Tensor:
    """L_G, a scalar, from logits of what GLE restored."""
    return softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L_D, a scalar, from logits of clean and of restored embeddings."""
    return softplus(-real).mean() + softplus(fake).mean()
