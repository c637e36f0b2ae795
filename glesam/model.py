"""GleSAM: SAM with GLE (generative latent space enhancement) between its image encoder and its decoder.

image -> encode -> image embeddings -> enhance -> enhanced embeddings -> decode (with prompts) -> masks
"""

from __future__ import annotations

from dataclasses import replace
from typing import overload

from torch import Tensor

from glesam.checkpoint_folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    SavedModel,
    checkpoint_files,
    shipped_checkpoint,
)
from glesam.config import GleSamConfig, HighResDecoderConfig
from glesam.decoding import ImageFeatures, decode
from glesam.gle import Gle
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder
from glesam.two_way import dead_mask_heads

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "GleSam", "checkpoint_files", "shipped_checkpoint"]


class GleSam(SavedModel):
    """Image encoder, GLE, prompt encoder and mask decoder; methods normalize, encode, enhance and decode.

    Training, evaluation and export call the methods one after the other; `forward` is encode, enhance and
    decode in one call. S is the side of the model's input in px, `config.sam.image_size`.

    SAM 2's decoder needs more of an image than its embedding: `encode_features` returns it for every model,
    and `enhance` and `decode` take it in the embedding's place.
    """

    config: GleSamConfig
    config_type = GleSamConfig

    def __init__(self, config: GleSamConfig) -> None:
        super().__init__(config)
        self.image_encoder = build_image_encoder(config.sam.encoder, config.sam.image_size)
        self.gle = Gle(config.gle)
        self.prompt_encoder = build_prompt_encoder(config.sam)
        self.mask_decoder = build_mask_decoder(config.sam)

    def encode(self, image: Tensor) -> Tensor:
        """Normalized image [B, 3, S, S] -> image embeddings [B, 256, S/16, S/16]."""
        return self.encode_features(image).image_embeddings

    def encode_features(self, image: Tensor) -> ImageFeatures:
        """Normalized image [B, 3, S, S] -> image embeddings and, of SAM 2, high-resolution features."""
        output = self.image_encoder(image)
        if isinstance(output, Tensor):
            return ImageFeatures(output)
        embeddings, *high_res = output
        return ImageFeatures(embeddings, tuple(high_res))

    @overload
    def enhance(self, features: Tensor) -> Tensor: ...

    @overload
    def enhance(self, features: ImageFeatures) -> ImageFeatures: ...

    def enhance(self, features: Tensor | ImageFeatures) -> Tensor | ImageFeatures:
        """Runs GLE's denoising step: image embeddings [B, 256, S/16, S/16] -> enhanced ones.

        High-resolution features pass unchanged.
        """
        if isinstance(features, Tensor):
            enhanced: Tensor = self.gle(features)
            return enhanced
        return replace(features, image_embeddings=self.gle(features.image_embeddings))

    def decode(
        self,
        image_embeddings: Tensor | ImageFeatures,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        refinements: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """N prompts -> low_res_masks [N, 4, S/4, S/4], logits, and iou_predictions [N, 4].

        Args:
            image_embeddings: [B, 256, S/16, S/16], or features that hold them, as SAM 2 needs; N is a
                multiple of B, prompts image by image.
            point_coords: float [N, P, 2], (x, y) in pixels of the S x S input.
            point_labels: int [N, P]; -1 padding, 0 background, 1 foreground, 2 and 3 box corners.
            mask_input: float [N, 1, S/4, S/4], logits.
            has_mask_input: float [N], 1 where the mask input counts, else 0.
            refinements: how often mask 0 is predicted again with its own logits as mask input
                (`glesam.decoding.decode`); None: as the configuration says. Training passes 0.

        Raises:
            InputError: SAM 2's high-resolution features are missing, or another SAM is given some.
        """
        return decode(
            self.prompt_encoder,
            self.mask_decoder,
            image_embeddings,
            point_coords,
            point_labels,
            mask_input,
            has_mask_input,
            self.config.sam.refinements if refinements is None else refinements,
        )

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One normalized image [1, 3, S, S] and N prompts -> low_res_masks, iou_predictions."""
        features = self.enhance(self.encode_features(image))
        return self.decode(features, point_coords, point_labels, mask_input, has_mask_input)

    def disable_dynamic_multimask(self) -> None:
        """Mask 0 of a SAM 2 stays, however unstable it is; another SAM has no such choice.

        Masks 1 to 3 may be worth nothing: heads that were not trained are worn down
        (`glesam.two_way.dead_mask_heads`).
        """
        if isinstance(self.config.sam.decoder, HighResDecoderConfig):
            decoder = replace(self.config.sam.decoder, dynamic_multimask=False)
            self.config = replace(self.config, sam=replace(self.config.sam, decoder=decoder))
            self.mask_decoder.config = decoder

    def load_tensors(self, tensors: dict[str, Tensor], source: str) -> None:
        super().load_tensors(tensors, source)
        if not any(tensor.is_meta for tensor in tensors.values()):
            self.keep_live_masks()

    def keep_live_masks(self) -> None:
        """Switches SAM 2's dynamic multimask off where a mask head is dead: it might choose the dead mask."""
        if dead_mask_heads(self.mask_decoder):
            self.disable_dynamic_multimask()
