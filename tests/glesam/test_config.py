"""config.json holds every number and trusts nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

from glesam.config import (
    GleSamConfig,
    LiteEncoderConfig,
    PromptMapDecoderConfig,
    SamConfig,
    SamType,
    TwoWayDecoderConfig,
    nano,
    official,
    tiny,
    tiny_sam2,
)
from glesam.nano.efficientnet_lite import PIXEL_MEAN, PIXEL_STD
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder
from glesam_runtime.errors import InputError


@pytest.mark.parametrize(
    "config",
    [
        tiny("sd15"),
        tiny("sd21"),
        tiny_sam2(),
        tiny_sam2("after_gle"),
        nano(),
        official("vit_h", "sd21"),
        official("vit_b", "sd15", 5.0, 16),
        official("sam2.1_hiera_base_plus", "sd15"),
    ],
)
def test_json_gives_back_the_same_config(config: GleSamConfig) -> None:
    assert GleSamConfig.from_json(config.to_json()) == config


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        tiny().sam.image_size = 32  # type: ignore[misc]


@pytest.mark.parametrize("version", [0, 5, "1", "2", None])
def test_another_format_version_says_what_to_do(version: object) -> None:
    text = json.dumps(json.loads(tiny().to_json()) | {"format_version": version})
    with pytest.raises(
        ValueError, match=f"format_version {version}, this glesam reads 1 to 4; upgrade glesam"
    ):
        GleSamConfig.from_json(text)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("format_version"), "format_version"),
        (lambda c: c.pop("name"), "name"),
        (lambda c: c.pop("gle"), "gle"),
        (lambda c: c["gle"].pop("gamma"), "gamma"),
        (lambda c: c["gle"].update(gama=3), "gama"),
        (lambda c: c["sam"].pop("encoder"), "encoder"),
        (lambda c: c["sam"]["encoder"].update(kind="swin"), "swin"),
        (lambda c: c["sam"]["encoder"].pop("kind"), "kind"),
        (lambda c: c["sam"].pop("decoder"), "decoder"),
        (lambda c: c["sam"]["decoder"].update(kind="mlp"), "mlp"),
        (lambda c: c["sam"]["decoder"].pop("kind"), "kind"),
        (lambda c: c["sam"]["decoder"].update(depth=2), "depth"),
        (lambda c: c["sam"].update(guided=True), "guided"),
        (lambda c: c["gle"]["unet"].pop("layers_per_block"), "layers_per_block"),
        (lambda c: c["sam"].update(draw_prompts=True), "draw_prompts"),
        (lambda c: c.update(sam=None), "NoneType"),
    ],
)
def test_a_missing_or_unknown_field_is_named(change: Callable[[dict[str, Any]], object], named: str) -> None:
    content = json.loads(tiny().to_json())
    change(content)
    with pytest.raises(ValueError, match=f"not a GleSAM config.json: .*{named}"):
        GleSamConfig.from_json(json.dumps(content))


def test_the_decoder_is_sams_unless_the_config_says_otherwise() -> None:
    assert SamConfig("vit_b", 1024, tiny().sam.encoder).decoder == TwoWayDecoderConfig(2048)
    assert official("vit_b", "sd15").sam.decoder == TwoWayDecoderConfig(2048)
    assert nano().sam.decoder == PromptMapDecoderConfig()


def format_1(config: GleSamConfig, **decoder: object) -> str:
    """The file that glesam 0.1.0 wrote, with these keys in place of the decoder's section."""
    content = json.loads(config.to_json())
    del content["sam"]["decoder"]
    content["sam"].update(decoder)
    return json.dumps({**content, "format_version": 1})


def test_a_config_of_format_2_has_channel_expansion() -> None:
    content = json.loads(tiny().to_json())
    del content["gle"]["channel_expansion"]
    assert GleSamConfig.from_json(json.dumps({**content, "format_version": 2})) == tiny()


@pytest.mark.parametrize(("part", "kind"), [("encoder", "conv"), ("decoder", "guided")])
def test_an_earlier_nano_is_refused_with_the_cure(part: str, kind: str) -> None:
    content = json.loads(nano().to_json())
    content["sam"][part] = {"kind": kind}
    with pytest.raises(
        ValueError, match=rf"networks that are gone \({kind}\); take the nano of this release"
    ):
        GleSamConfig.from_json(json.dumps({**content, "format_version": 2}))


def test_an_earlier_nano_of_format_1_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"networks that are gone \(guided\)"):
        GleSamConfig.from_json(format_1(tiny(), guided=True, decoder_mlp_dim=64))


def test_nano_is_made_for_imagenets_pixels_and_has_no_channel_expansion() -> None:
    assert nano().sam.encoder == LiteEncoderConfig("lite0")
    assert set(nano().sam.pixel_mean) == {PIXEL_MEAN}
    assert set(nano().sam.pixel_std) == {PIXEL_STD}
    assert not nano().gle.channel_expansion


@pytest.mark.parametrize("lora_rank", [-1, 1.5, "2", True, None])
def test_lora_rank_is_a_whole_number_from_0(lora_rank: object) -> None:
    content = json.loads(tiny().to_json())
    content["gle"]["lora_rank"] = lora_rank
    with pytest.raises(ValueError, match=r"lora_rank .*: expected a whole number from 0"):
        GleSamConfig.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("section", "key", "values", "match"),
    [
        ("gle", "gamma", [0, -2.0, "3", True, None, 10**400], "expected a finite number above 0"),
        ("gle", "timestep", [-1, 1000, 1.0, "1", True, None], "expected a whole number from 0 to 999"),
        ("gle", "num_train_timesteps", [0, 1e3, None], "expected a whole number from 1"),
        ("sam", "pixel_std", [[1, 2, 0], [1, 2], [1, 2, -3], [1, 2, "3"]], "three finite numbers above 0"),
        ("sam", "pixel_mean", [[1, 2], [1, 2, None], [1, 2, 10**400]], "expected three finite numbers"),
        ("sam", "image_size", [0, -64, 72, 64.0, "64", True], "the vit encoder takes multiples of 16 px"),
    ],
)
def test_a_number_without_sense_is_refused(section: str, key: str, values: list[object], match: str) -> None:
    """A timestep of -1 would be the last one, and a negative gamma runs."""
    for value in values:
        content = json.loads(tiny().to_json())
        content[section][key] = value
        with pytest.raises(InputError, match=rf"^{key} .*: .*{match}"):
            GleSamConfig.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("config", "size", "encoder"), [(nano(), 400, "efficientnet_lite"), (tiny_sam2(), 80, "hiera")]
)
def test_an_image_size_that_the_encoder_cannot_take_is_refused(
    config: GleSamConfig, size: int, encoder: str
) -> None:
    with pytest.raises(
        InputError, match=f"image_size {size}: the {encoder} encoder takes multiples of 32 px"
    ):
        replace(config.sam, image_size=size)


@pytest.mark.parametrize("config", [tiny("sd15"), official("vit_l", "sd21")])
@pytest.mark.parametrize("guided", [{}, {"guided": False}])
def test_a_sam_config_of_format_1_has_sams_decoder(config: GleSamConfig, guided: dict[str, bool]) -> None:
    mlp_dim = config.sam.decoder.mlp_dim
    assert GleSamConfig.from_json(format_1(config, decoder_mlp_dim=mlp_dim, **guided)) == config


def test_a_config_of_format_1_without_a_width_has_sams_2048() -> None:
    assert GleSamConfig.from_json(format_1(official("vit_b", "sd15"))) == official("vit_b", "sd15")


@pytest.mark.parametrize("refinements", [-1, 1.5, "2", True, None])
def test_refinements_are_a_whole_number_from_0(refinements: object) -> None:
    content = json.loads(nano().to_json())
    content["sam"]["refinements"] = refinements
    with pytest.raises(ValueError, match=r"refinements .*: expected a whole number from 0"):
        GleSamConfig.from_json(json.dumps(content))
    del content["sam"]["refinements"]
    assert GleSamConfig.from_json(json.dumps(content)).sam.refinements == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"config"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a GleSAM config\.json"):
        GleSamConfig.from_json(text)


RELEASED_BYTES: dict[SamType, int] = {
    "vit_b": 375_042_383,
    "vit_l": 1_249_524_607,
    "vit_h": 2_564_550_879,
}
"""Sizes of sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth and sam_vit_h_4b8939.pth, of float32."""


@pytest.mark.parametrize("sam_type", RELEASED_BYTES)
def test_the_official_sams_are_as_large_as_the_released_files(sam_type: SamType) -> None:
    sam = official(sam_type, "sd15").sam
    with torch.device("meta"):
        parts = (
            build_image_encoder(sam.encoder, sam.image_size),
            build_prompt_encoder(sam),
            build_mask_decoder(sam),
        )
    size = sum(4 * tensor.numel() for part in parts for tensor in part.state_dict().values())
    assert size == pytest.approx(RELEASED_BYTES[sam_type], rel=5e-4)  # the rest is names


def test_an_official_models_alpha_is_its_rank() -> None:
    """Whoever reads the authors' LoRA files presumes it: there is no alpha in them."""
    gle = official("vit_l", "sd21", lora_rank=16).gle
    assert gle.lora_alpha == gle.lora_rank == 16
    assert (gle.gamma, gle.timestep, gle.text_tokens) == (3.0, 1, 77)


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        ({"no_mem_embed": "inside"}, "no_mem_embed 'inside': expected before_gle or after_gle"),
        ({"stages": [1, 2, 3]}, "expected four of each"),
    ],
)
def test_a_sam_2_of_odd_settings_is_refused(encoder: dict[str, object], match: str) -> None:
    content = json.loads(tiny_sam2().to_json())
    content["sam"]["encoder"] |= encoder
    with pytest.raises(InputError, match=match):
        GleSamConfig.from_json(json.dumps(content))
