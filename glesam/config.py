"""Every number of a GleSAM model, in frozen dataclasses that are saved as `config.json`.

Presets are functions: `tiny()` (random weights, for tests), `nano()` (shipped), `official()` (the
authors' SAM and Stable Diffusion sizes).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

from glesam_runtime.errors import InputError

EMBEDDING_CHANNELS = 256
"""Channels of SAM's image embedding."""
EMBEDDING_STRIDE = 16
"""Pixels of the input image per position of the embedding, along each axis."""
HIGH_RES_CHANNELS = (EMBEDDING_CHANNELS // 8, EMBEDDING_CHANNELS // 4)
"""Channels of SAM 2's high-resolution features, at strides 4 and 8."""
NUM_MASKS = 4
"""Masks per prompt: SAM's single mask, then its three multimask outputs."""
FORMAT_VERSION = 4
"""Version of `config.json`. Format 1 had no section for the decoder (`_decoder_of_format_1`), format 2 no
`channel_expansion`, format 3 neither SAM 2 nor RobustSAM."""
MID_BLOCK, MID_RESNET = "UNetMidBlock2DCrossAttn", "UNetMidBlock2D"
"""Mid blocks of diffusers' U-Net: Stable Diffusion's, and one resnet without attention."""
MID_BLOCKS = (MID_BLOCK, MID_RESNET, None)


def check_switch(name: str, value: object) -> None:
    """Raises InputError for a value that is neither true nor false."""
    if type(value) is not bool:
        raise InputError(f"{name} {value!r}: expected true or false")


def is_finite(value: object) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


@dataclass(frozen=True)
class VitEncoderConfig:
    """SAM's ViTDet image encoder (`segment_anything.modeling.ImageEncoderViT`)."""

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    window_size: int = 14
    kind: Literal["vit"] = "vit"

    multiple: ClassVar[int] = EMBEDDING_STRIDE
    """Image sizes are multiples of it, px: those of a patch."""


@dataclass(frozen=True)
class LiteEncoderConfig:
    """nano's image encoder (`glesam.nano.encoder.NanoEncoder`): EfficientNet-Lite and a neck.

    The neck has `attention_blocks` at stride 32, and `mixers` of `mixer_channels` channels at stride 16.
    """

    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    attention_blocks: int = 2
    mixers: int = 3
    mixer_channels: int = 96
    kind: Literal["efficientnet_lite"] = "efficientnet_lite"

    multiple: ClassVar[int] = 32
    """Image sizes are multiples of it, px: positions at stride 32 are whole."""


NoMemEmbed = Literal["before_gle", "after_gle"]
"""Place of SAM 2's `no_mem_embed`, which is added to the image embedding, relative to GLE."""


@dataclass(frozen=True)
class HieraEncoderConfig:
    """SAM 2's image encoder (`glesam.sam2.HieraEncoder`): Hiera, a feature pyramid, and two projections.

    Width and number of heads double from stage to stage. Each stage but the first starts by halving the side
    of its features, from S/4 to S/32.

    Attributes:
        embed_dim, num_heads: those of the first stage.
        stages: number of blocks of each of the four stages.
        global_attn_indexes: blocks, counted through all stages, that attend to the whole image.
        window_sizes: side of each stage's attention windows.
        background_size: side of the position embedding that is stretched over the image.
        top_down_levels: stages whose neck output includes that of the next, coarser stage; the last is where
            this starts.
        no_mem_embed: "before_gle": the encoder adds it, and GLE sees what SAM 2's decoder expects.
            "after_gle": the decoder adds it. No released file says which of them GleSAM2 is.
    """

    embed_dim: int
    num_heads: int
    stages: tuple[int, ...]
    global_attn_indexes: tuple[int, ...]
    window_sizes: tuple[int, ...] = (8, 4, 14, 7)
    background_size: int = 7
    top_down_levels: tuple[int, ...] = (2, 3)
    no_mem_embed: NoMemEmbed = "before_gle"
    kind: Literal["hiera"] = "hiera"

    def __post_init__(self) -> None:
        if self.no_mem_embed not in get_args(NoMemEmbed):
            raise InputError(
                f"no_mem_embed {self.no_mem_embed!r}: expected {' or '.join(get_args(NoMemEmbed))}"
            )
        if not len(self.stages) == len(self.window_sizes) == 4:
            raise InputError(
                f"stages {list(self.stages)}, window_sizes {list(self.window_sizes)}: expected four of each"
            )

    @property
    def multiple(self) -> int:
        """Image sizes are multiples of it, px: windows at stride 4 and positions at stride 32 are whole."""
        return math.lcm(4 * self.window_sizes[0], 32)


EncoderConfig = VitEncoderConfig | LiteEncoderConfig | HieraEncoderConfig


def check_multiple(encoder: EncoderConfig, image_size: object) -> None:
    """Raises InputError where the encoder does not take images of this size, px."""
    if type(image_size) is not int or image_size < 1 or image_size % encoder.multiple:
        raise InputError(
            f"image_size {image_size!r}: the {encoder.kind} encoder takes multiples of {encoder.multiple} px"
        )


@dataclass(frozen=True)
class TwoWayDecoderConfig:
    """SAM's mask decoder (`glesam.two_way.TwoWayDecoder`); `mlp_dim` is the width of its transformer's MLPs.

    `denoise`: five DDIM steps on the transformer's image tokens (`glesam.ddim`).
    """

    mlp_dim: int = 2048
    kind: Literal["two_way"] = "two_way"
    denoise: bool = field(default=False, repr=False)  # as `GleConfig.adaptive`

    def __post_init__(self) -> None:
        check_switch("denoise", self.denoise)


@dataclass(frozen=True)
class PromptMapDecoderConfig:
    """nano's mask decoder (`glesam.nano.decoder.NanoDecoder`), whose prompts share most of the work.

    Attributes:
        coarse, middle: channels of a prompt's own features at strides 16 and 8.
        keys: channels of the shared features at stride 8.
        fine, edges: channels of the shared features at stride 4.
        heads: queries of each attention pooling.
        dilations: one block at stride 16 for each.
        middle_blocks: number of a prompt's blocks at stride 8.
        shared_layers: number of shared 3 x 3 layers at stride 8.
        denoise: five DDIM steps on a prompt's coarse features (`glesam.ddim`).
    """

    coarse: int = 64
    middle: int = 32
    keys: int = 48
    fine: int = 32
    edges: int = 8
    heads: int = 4
    dilations: tuple[int, ...] = (1, 2, 4)
    middle_blocks: int = 2
    shared_layers: int = 3
    kind: Literal["prompt_maps"] = "prompt_maps"
    denoise: bool = field(default=False, repr=False)  # as `GleConfig.adaptive`

    def __post_init__(self) -> None:
        check_switch("denoise", self.denoise)


@dataclass(frozen=True)
class HighResDecoderConfig:
    """SAM 2's mask decoder (`glesam.sam2.HighResDecoder`), which also reads the encoder's finer features.

    Attributes:
        mlp_dim: width of the transformer's MLPs.
        dynamic_multimask: whether an unstable mask 0 is replaced by the best of masks 1 to 3.
        stability_delta: mask 0 is cut at plus and minus this logit, and its stability is the ratio of the two
            areas.
        stability_threshold: smallest stability at which mask 0 stays.
    """

    mlp_dim: int = 2048
    dynamic_multimask: bool = True
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    kind: Literal["two_way_high_res"] = "two_way_high_res"


@dataclass(frozen=True)
class RobustDecoderConfig:
    """RobustSAM's mask decoder (`glesam.restorers.robust_sam.RobustDecoder`), as `TwoWayDecoderConfig`."""

    mlp_dim: int = 2048
    kind: Literal["two_way_robust"] = "two_way_robust"


DecoderConfig = TwoWayDecoderConfig | PromptMapDecoderConfig | HighResDecoderConfig | RobustDecoderConfig


@dataclass(frozen=True)
class SamConfig:
    """SAM's three parts. The pixel statistics are SAM's, for RGB in [0, 255].

    `refinements` is how often the decoder predicts mask 0 again, each time with the mask before it as mask
    input.
    """

    sam_type: str
    image_size: int
    encoder: EncoderConfig
    decoder: DecoderConfig = TwoWayDecoderConfig()
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    mask_threshold: float = 0.0
    refinements: int = 0

    def __post_init__(self) -> None:
        check_multiple(self.encoder, self.image_size)
        if len(self.pixel_mean) != 3 or not all(map(is_finite, self.pixel_mean)):
            raise InputError(f"pixel_mean {list(self.pixel_mean)}: expected three finite numbers")
        if len(self.pixel_std) != 3 or not all(is_finite(std) and std > 0 for std in self.pixel_std):
            raise InputError(f"pixel_std {list(self.pixel_std)}: expected three finite numbers above 0")
        if type(self.refinements) is not int or self.refinements < 0:
            raise InputError(f"refinements {self.refinements!r}: expected a whole number from 0")
        if isinstance(self.decoder, HighResDecoderConfig) != isinstance(self.encoder, HieraEncoderConfig):
            raise InputError(
                f"decoder {self.decoder.kind} on encoder {self.encoder.kind}: expected SAM 2's decoder "
                "(two_way_high_res) exactly with SAM 2's encoder (hiera)"
            )

    @property
    def squashes(self) -> bool:
        """Whether a picture fills the S x S input and loses its aspect ratio, as SAM 2's do."""
        return isinstance(self.encoder, HieraEncoderConfig)

    @property
    def has_high_res(self) -> bool:
        """Whether the encoder also returns SAM 2's high-resolution features, which the decoder reads."""
        return isinstance(self.decoder, HighResDecoderConfig)


@dataclass(frozen=True)
class UNetConfig:
    """The part of diffusers' `UNet2DConditionModel` config that differs between our U-Nets.

    `attention_head_dim` is the number of heads, as in diffusers' own config files. Without a
    `mid_block_type` there is no mid block.
    """

    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    layers_per_block: int
    attention_head_dim: int | tuple[int, ...]
    cross_attention_dim: int
    use_linear_projection: bool
    norm_num_groups: int = 32
    mid_block_type: str | None = field(default=MID_BLOCK, repr=False)

    def __post_init__(self) -> None:
        if self.mid_block_type not in MID_BLOCKS:
            raise InputError(
                f"mid_block_type {self.mid_block_type!r}: expected {', '.join(map(str, MID_BLOCKS))}"
            )


@dataclass(frozen=True)
class GleConfig:
    """Generative latent space enhancement: one denoising step of `unet`.

    `gamma` is FDA's feature scale and `timestep` the T of equation (4); neither is stored in an
    official checkpoint. The schedule is Stable Diffusion's (1.5 and 2.1 alike). With `lora_rank` 0 there are
    no adapters. `channel_expansion` says whether channel replication and expansion (CRE) widened a U-Net of 4
    latent channels; without it, the first and the last convolution have 256 channels with their own weights.
    With `adaptive` the step follows a predicted degradation level (`glesam.gle.Gle`); with `auxiliary` GLE
    has an image of a second sensor as a further input (`glesam.auxiliary`).
    """

    unet: UNetConfig
    gamma: float
    timestep: int
    lora_rank: int = 8
    lora_alpha: float = 8.0
    text_tokens: int = 77
    channel_expansion: bool = True
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000
    # Not in the repr, which identifies training runs: a model without these has the identity that it had.
    adaptive: bool = field(default=False, repr=False)
    auxiliary: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not is_finite(self.gamma) or self.gamma <= 0:
            raise InputError(f"gamma {self.gamma!r}: expected a finite number above 0")
        if type(self.num_train_timesteps) is not int or self.num_train_timesteps < 1:
            raise InputError(
                f"num_train_timesteps {self.num_train_timesteps!r}: expected a whole number from 1"
            )
        if type(self.timestep) is not int or not 0 <= self.timestep < self.num_train_timesteps:
            last = self.num_train_timesteps - 1
            raise InputError(f"timestep {self.timestep!r}: expected a whole number from 0 to {last}")
        if type(self.lora_rank) is not int or self.lora_rank < 0:
            raise InputError(f"lora_rank {self.lora_rank!r}: expected a whole number from 0")
        check_switch("adaptive", self.adaptive)
        check_switch("auxiliary", self.auxiliary)


OPTIONS = {"adaptive": False, "auxiliary": False, "denoise": False, "mid_block_type": MID_BLOCK}
"""Fields that `config.json` holds only where they are not the default: files of models without these options
are readable by any glesam of the same format version."""


def _without_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values, sections included, without options that have their default."""
    return {
        key: _without_defaults(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in OPTIONS or value != OPTIONS[key]
    }


@dataclass(frozen=True)
class GleSamConfig:
    """A whole model: SAM with GLE between its image encoder and its mask decoder."""

    name: str
    sam: SamConfig
    gle: GleConfig
    format_version: int = FORMAT_VERSION
    kind: ClassVar[str] = "GleSAM"

    def __post_init__(self) -> None:
        if isinstance(self.sam.decoder, RobustDecoderConfig):
            raise InputError("RobustSAM's decoder with GLE: expected another decoder, or a RobustSamConfig")

    def to_json(self) -> str:
        return json.dumps(_without_defaults(asdict(self)), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> GleSamConfig:
        """Inverse of `to_json`.

        Raises:
            InputError: the text is not such a configuration; the message names what is wrong.
        """
        config = config_from_json(text)
        if not isinstance(config, GleSamConfig):
            raise InputError(f"config.json is of a {config.kind}, expected a GleSAM")
        return config


@dataclass(frozen=True)
class RobustSamConfig:
    """A whole RobustSAM (`glesam.restorers.robust_sam.RobustSam`): SAM's ViT, and a decoder that restores."""

    name: str
    sam: SamConfig
    format_version: int = FORMAT_VERSION
    kind: ClassVar[str] = "RobustSAM"

    def __post_init__(self) -> None:
        encoder, decoder, size = self.sam.encoder, self.sam.decoder, self.sam.image_size
        if not (isinstance(encoder, VitEncoderConfig) and isinstance(decoder, RobustDecoderConfig)):
            raise InputError(
                f"RobustSAM is its own decoder on SAM's ViT, found {decoder.kind} on {encoder.kind}; "
                "use vit_b, vit_l or vit_h"
            )
        if not encoder.global_attn_indexes:
            raise InputError("RobustSAM reads the first block of global attention, found an encoder of none")
        if size % 64:
            raise InputError(f"RobustSAM's image_size {size}: expected a multiple of 64, such as 1024")
        if self.sam.refinements:
            raise InputError(f"refinements {self.sam.refinements}: expected 0, RobustSAM has none")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


ModelConfig = GleSamConfig | RobustSamConfig


def config_from_json(text: str) -> ModelConfig:
    """Reads the config.json of any model.

    Raises:
        InputError: the text is not such a configuration; the message names what is wrong.
    """
    try:
        return _config_from_dict(json.loads(text, parse_constant=_refuse_constant))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(
            f"not a GleSAM config.json: {type(error).__name__}: {error}; "
            "expected the file that GleSam.save_pretrained writes"
        ) from error


def _refuse_constant(name: str) -> None:
    """Refuses NaN and Infinity, which Python's JSON knows: a model of such a number is found out late."""
    raise InputError(f"config.json holds {name}; expected finite numbers")


def _config_from_dict(data: Mapping[str, Any]) -> ModelConfig:
    version = data["format_version"]
    if version not in range(1, FORMAT_VERSION + 1):
        raise InputError(
            f"config.json has format_version {version}, this glesam reads 1 to {FORMAT_VERSION}; "
            "upgrade glesam or convert the checkpoint"
        )
    sam = _sam_from_dict(dict(data["sam"]), version)
    if isinstance(sam.decoder, RobustDecoderConfig):
        return RobustSamConfig(data["name"], sam)
    gle = dict(data["gle"])
    unet = UNetConfig(**_tuples(gle.pop("unet")))
    return GleSamConfig(data["name"], sam, GleConfig(unet=unet, **gle))


def _sam_from_dict(sam: dict[str, Any], version: int) -> SamConfig:
    encoder = sam.pop("encoder")
    decoder = _decoder_of_format_1(sam) if version == 1 else sam.pop("decoder")
    if retired := {encoder["kind"], decoder["kind"]} & RETIRED:
        raise InputError(
            f"config.json is of an earlier nano, with networks that are gone ({', '.join(sorted(retired))}); "
            "take the nano of this release, or train it anew with glesam-train nano"
        )
    return SamConfig(
        encoder=ENCODERS[encoder["kind"]](**_tuples(encoder)),
        decoder=DECODERS[decoder["kind"]](**_tuples(decoder)),
        **_tuples(sam),
    )


ENCODERS: Mapping[str, type[VitEncoderConfig] | type[LiteEncoderConfig] | type[HieraEncoderConfig]] = {
    "vit": VitEncoderConfig,
    "efficientnet_lite": LiteEncoderConfig,
    "hiera": HieraEncoderConfig,
}
DECODERS: Mapping[
    str,
    type[TwoWayDecoderConfig]
    | type[PromptMapDecoderConfig]
    | type[HighResDecoderConfig]
    | type[RobustDecoderConfig],
] = {
    "two_way": TwoWayDecoderConfig,
    "prompt_maps": PromptMapDecoderConfig,
    "two_way_high_res": HighResDecoderConfig,
    "two_way_robust": RobustDecoderConfig,
}


RETIRED = {"conv", "guided"}
"""Kinds of an earlier nano's networks, in files of formats 1 and 2; this glesam has them no longer."""


def _decoder_of_format_1(sam: dict[str, Any]) -> dict[str, Any]:
    """Takes the decoder's two keys out of `sam`: `guided` chose the network, `decoder_mlp_dim` its width."""
    kind = "guided" if sam.pop("guided", False) else "two_way"
    return {"kind": kind, "mlp_dim": sam.pop("decoder_mlp_dim", TwoWayDecoderConfig().mlp_dim)}


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def tiny(unet_style: Literal["sd15", "sd21"] = "sd15") -> GleSamConfig:
    """Random weights for tests: a two-block ViT at 64 px and a U-Net of either Stable Diffusion style.

    SD 1.5 projects into its transformer blocks with 1x1 convolutions and has the same number of
    heads at every level; SD 2.1 uses linear projections and heads that grow with the width.
    """
    sd21 = unet_style == "sd21"
    unet = UNetConfig(
        block_out_channels=(16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4, 4) if sd21 else 2,
        cross_attention_dim=24,
        use_linear_projection=sd21,
        norm_num_groups=8,
    )
    encoder = VitEncoderConfig(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3)
    return GleSamConfig(
        name=f"tiny-{unet_style}",
        sam=SamConfig("tiny", image_size=64, encoder=encoder, decoder=TwoWayDecoderConfig(64)),
        gle=GleConfig(unet, gamma=3.0, timestep=1, lora_rank=4, lora_alpha=8.0, text_tokens=5),
    )


def tiny_sam2(no_mem_embed: NoMemEmbed = "before_gle") -> GleSamConfig:
    """Random weights for tests: a SAM 2 of eight blocks at 64 px with `tiny`'s GLE.

    Like the official sizes it has all kinds of blocks: windows that fit, windows that need padding, whole
    images, and the three changes of stage.
    """
    encoder = HieraEncoderConfig(
        embed_dim=16,
        num_heads=1,
        stages=(1, 2, 3, 2),
        global_attn_indexes=(4,),
        window_sizes=(8, 4, 6, 3),
        background_size=3,
        no_mem_embed=no_mem_embed,
    )
    sam = SamConfig("tiny_sam2", image_size=64, encoder=encoder, decoder=HighResDecoderConfig(64))
    return GleSamConfig("tiny-sam2", sam, tiny().gle)


def nano() -> GleSamConfig:
    """The shipped model: EfficientNet-Lite0 at 512 px and a two-level U-Net, CPU-sized.

    Attention stands in the U-Net's middle alone, and `channel_expansion` is off: there is no Stable Diffusion
    of this size whose 4 channels would have to be kept.
    """
    unet = UNetConfig(
        block_out_channels=(128, 160),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(4, 5),
        cross_attention_dim=32,
        use_linear_projection=True,
    )
    sam = SamConfig(
        "nano",
        image_size=512,
        encoder=LiteEncoderConfig(),
        decoder=PromptMapDecoderConfig(),
        pixel_mean=(127.0, 127.0, 127.0),
        pixel_std=(128.0, 128.0, 128.0),
    )
    gle = GleConfig(
        unet, gamma=2.0, timestep=100, lora_rank=0, lora_alpha=8.0, text_tokens=8, channel_expansion=False
    )
    return GleSamConfig("nano", sam, gle)


SamType = Literal[
    "vit_b",
    "vit_l",
    "vit_h",
    "sam2_hiera_tiny",
    "sam2_hiera_small",
    "sam2_hiera_base_plus",
    "sam2_hiera_large",
    "sam2.1_hiera_tiny",
    "sam2.1_hiera_small",
    "sam2.1_hiera_base_plus",
    "sam2.1_hiera_large",
]
BaseName = Literal["sd15", "sd21"]


def sam_vit_b() -> SamConfig:
    """SAM ViT-B, as `sam_vit_b_01ec64.pth` holds it (segment-anything's `build_sam`)."""
    return _official_sam("vit_b", VitEncoderConfig(768, 12, 12, (2, 5, 8, 11)))


def sam_vit_l() -> SamConfig:
    """SAM ViT-L, as `sam_vit_l_0b3195.pth` holds it."""
    return _official_sam("vit_l", VitEncoderConfig(1024, 24, 16, (5, 11, 17, 23)))


def sam_vit_h() -> SamConfig:
    """SAM ViT-H, as `sam_vit_h_4b8939.pth` holds it."""
    return _official_sam("vit_h", VitEncoderConfig(1280, 32, 16, (7, 15, 23, 31)))


def _official_sam(sam_type: SamType, encoder: VitEncoderConfig) -> SamConfig:
    return SamConfig(sam_type, image_size=1024, encoder=encoder)


HIERA: Mapping[str, HieraEncoderConfig] = {
    "tiny": HieraEncoderConfig(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": HieraEncoderConfig(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": HieraEncoderConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), background_size=14),
    "large": HieraEncoderConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), window_sizes=(8, 4, 16, 8)),
}
"""SAM 2's image encoders by size; SAM 2.1 has the same ones."""


def official_sam(sam_type: SamType, no_mem_embed: NoMemEmbed = "before_gle") -> SamConfig:
    """Any released SAM.

    Args:
        sam_type: SAM 2 and SAM 2.1 differ in weights and in what they do with video, not in their networks
            for images.
        no_mem_embed: see `HieraEncoderConfig`; without effect on a SAM 1.
    """
    release, _, size = sam_type.partition("_hiera_")
    if size in HIERA and release in ("sam2", "sam2.1"):
        encoder = replace(HIERA[size], no_mem_embed=no_mem_embed)
        return SamConfig(sam_type, image_size=1024, encoder=encoder, decoder=HighResDecoderConfig())
    return {"vit_b": sam_vit_b, "vit_l": sam_vit_l, "vit_h": sam_vit_h}[sam_type]()


def robust_sam(sam: SamConfig) -> RobustSamConfig:
    """The RobustSAM whose image encoder is `sam`'s, such as `sam_vit_b()`."""
    return RobustSamConfig(f"robustsam-{sam.sam_type}", replace(sam, decoder=RobustDecoderConfig()))


def sd15() -> UNetConfig:
    """Stable Diffusion 1.5's U-Net."""
    return UNetConfig(
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=768,
        use_linear_projection=False,
    )


def sd21() -> UNetConfig:
    """Stable Diffusion 2.1-base's U-Net (epsilon prediction)."""
    heads, context = (5, 10, 20, 20), 1024
    return replace(sd15(), attention_head_dim=heads, cross_attention_dim=context, use_linear_projection=True)


def official(
    sam_type: SamType,
    base: BaseName,
    gamma: float = 3.0,
    lora_rank: int = 8,
    timestep: int = 1,
    lora_alpha: float | None = None,
    no_mem_embed: NoMemEmbed = "before_gle",
) -> GleSamConfig:
    """A model of the authors' parts: any released SAM or SAM 2 with either Stable Diffusion.

    Args:
        gamma: FDA's scale; no official file holds it. 3 in the released demo (SD 1.5, ViT-L), 5 in the paper.
        lora_rank: the authors' is 8.
        lora_alpha: by default the rank, as the authors' files presume.
        timestep: the T of GLE's one step; no official file holds it either.
        no_mem_embed: where SAM 2's `no_mem_embed` is added; no file holds that either.
    """
    sam = official_sam(sam_type, no_mem_embed)
    unet = {"sd15": sd15, "sd21": sd21}[base]()
    gle = GleConfig(
        unet,
        gamma,
        timestep,
        lora_rank=lora_rank,
        lora_alpha=float(lora_rank) if lora_alpha is None else lora_alpha,
    )
    return GleSamConfig(name=f"{sam_type}-{base}", sam=sam, gle=gle)
