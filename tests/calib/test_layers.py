"""Which layers become int8."""

from __future__ import annotations

import pytest
from small_graph import NAMES, small_graph

from glesam_calib import CalibrationError, Policy
from glesam_calib.quantization.layers import layers_of


def taken(policy: Policy) -> list[str]:
    return [layer.name for layer in policy.choose(layers_of(small_graph().graph))]


def test_layers_are_what_has_a_weight() -> None:
    """Not the two products of an attention."""
    assert [layer.name for layer in layers_of(small_graph().graph)] == list(NAMES)


def test_what_enters_and_leaves_the_unet_and_its_shortcuts_stay_in_float() -> None:
    policy = Policy()
    assert taken(policy) == [name for name in NAMES if "conv_out" not in name]
    for name in ("gle.unet.conv_in.reduce/Conv", "gle.unet.up_blocks.0.resnets.1.conv_shortcut/Conv"):
        assert not policy.takes(name)


def test_the_first_layers_of_an_efficientnet_stay_in_float() -> None:
    policy, backbone = Policy(), "image_encoder.backbone"
    for name in ("stem", "blocks.0.depthwise", "blocks.0.project", "blocks.1.expand"):
        assert not policy.takes(f"{backbone}.{name}/Conv")
    for name in ("blocks.2.expand", "blocks.10.project", "blocks.11.depthwise"):
        assert policy.takes(f"{backbone}.{name}/Conv")


def test_of_hiera_what_makes_the_fine_features_and_the_answer_stays_in_float() -> None:
    policy, hiera = Policy(), "image_encoder"
    for name in (
        "patches/Conv",
        *("stages.0.0/MatMul", "stages.0.1.mlp.proj_in/MatMul"),
        *("stages.1.0.shortcut/MatMul", "stages.3.0.shortcut/MatMul"),
        *("pyramid/MatMul", "pyramid/MatMul_3"),
    ):
        assert not policy.takes(f"{hiera}.{name}"), name
    for name in (
        "stages.1.0/MatMul",
        "stages.2.0.proj/MatMul",
        "stages.2.10/MatMul",
        "stages.3.0.mlp.proj_out/MatMul",
    ):
        assert policy.takes(f"{hiera}.{name}"), name


def test_what_a_layer_costs_decides_where_it_was_measured() -> None:
    """But not for what steers a whole step."""
    policy = Policy()
    for name in ("image_encoder.backbone.stem/Conv", "gle.unet.conv_in/Conv", "image_encoder.pyramid/MatMul"):
        assert policy.takes(name, measured=True) and policy.may_return(name)
    for name in ("gle.level_head.0/Gemm", "gle.unet.time_embedding.linear_1/Gemm"):
        assert not policy.takes(name, measured=True) and not policy.may_return(name)
    assert not Policy(exclude=["*.stem/*"]).takes("image_encoder.backbone.stem/Conv", measured=True)


def test_patterns_include_and_exclude() -> None:
    assert taken(Policy(include=["*.conv_out/*"])) == list(NAMES)
    assert taken(Policy(exclude=["*/Conv"])) == list(NAMES[:4])
    assert taken(Policy(include=["*.conv_out/*"], exclude=["*/Conv"])) == list(NAMES[:4])


def test_a_pattern_that_fits_no_layer_is_an_error() -> None:
    with pytest.raises(CalibrationError, match=r"no layer is called '\*.qkv/\*'"):
        Policy(exclude=["*/Conv", "*.qkv/*"]).check(NAMES)
