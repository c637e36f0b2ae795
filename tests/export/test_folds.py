"""Each fold computes exactly what the unfolded model computes, in float64, on both U-Net styles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from tiny_model import STYLES, Style, random_model
from torch import Tensor, nn

from glesam.config import tiny
from glesam.gle import LATENT_CHANNELS, Gle
from glesam_export.folds import (
    FOLDS,
    factor_conv_in,
    factor_conv_out,
    fold_all,
    fold_gamma,
    fold_noise_scale,
    fold_text_context,
    fold_timestep,
    merge_lora,
)
from glesam_export.rewrites.static_gle import StaticGle, static_gle
from glesam_runtime.errors import FoldError

Fold = Callable[[StaticGle], StaticGle]
RANK = 4
LORA_SCALE = 2.0  # alpha 8 / rank 4: not 1, so that a fold cannot forget it


@pytest.fixture(params=STYLES, scope="module")
def gle(request: pytest.FixtureRequest) -> Gle:
    """In float64; read only."""
    return random_model(request.param).gle.double()


@pytest.fixture(scope="module")
def unfolded(gle: Gle) -> StaticGle:
    """Read only."""
    return static_gle(gle)


@pytest.fixture(scope="module")
def stages(unfolded: StaticGle) -> list[tuple[Fold, StaticGle, StaticGle]]:
    """Every fold of `fold_all`, with the model that it takes and the one that it returns."""
    steps, inputs = [], unfolded
    for fold in FOLDS:
        steps.append((fold, inputs, fold(inputs)))
        inputs = steps[-1][2]
    return steps


@pytest.fixture(scope="module")
def merged(unfolded: StaticGle) -> StaticGle:
    """Read only."""
    return merge_lora(unfolded)


@pytest.fixture(scope="module")
def folded(stages: list[tuple[Fold, StaticGle, StaticGle]]) -> StaticGle:
    """What `fold_all` returns, step by step. Read only."""
    return stages[-1][2]


def embeddings() -> Tensor:
    """Two embeddings of 8 x 12 tokens: most of them lie at a border of some level of the U-Net."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 256, 8, 12, dtype=torch.float64, generator=generator)


@cache
@torch.no_grad()
def output(expected: nn.Module) -> Tensor:
    """Kept: most tests expect the same."""
    return expected(embeddings())


@torch.no_grad()
def relative_error(actual: nn.Module, expected: nn.Module) -> float:
    a, b = actual(embeddings()), output(expected)
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
def correction_error(actual: nn.Module, expected: nn.Module) -> float:
    """Relative error of the U-Net's part alone, which is small beside z and contains all that is folded."""
    a, b = actual(embeddings()), output(expected)
    correction = b - expected.skip_scale * embeddings()
    return float((a - b).abs().max() / correction.abs().max())


def count(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in [*module.parameters(), *module.buffers()])


@pytest.mark.parametrize("style", STYLES)
def test_the_report_counts_what_each_fold_removes(style: Style) -> None:
    gle = random_model(style).gle
    folded, reports = fold_all(gle)
    of = {report.fold: report for report in reports}
    modules = dict(gle.unet.named_modules())
    projections = [m for name, m in modules.items() if name.endswith("time_emb_proj.base_layer")]
    assert of["fold_timestep"].layers == {"time_emb_proj": len(projections), "time_embedding": 1}
    embedding = count(modules["time_embedding"])
    assert (
        of["fold_timestep"].removed
        == sum(map(count, projections)) + gle.unet.config.block_out_channels[0] * 4
    )
    assert of["static_gle"].removed == embedding + gle.get_buffer("text_embedding").numel()
    text = [m for n, m in modules.items() if n.endswith(("attn2.to_k.base_layer", "attn2.to_v.base_layer"))]
    context = gle.get_buffer("text_embedding").numel()
    assert of["fold_text_context"].removed == sum(map(count, text)) + context
    assert of["fold_text_context"].layers["attn2.to_k"] == len(text) // 2
    assert count(gle) - count(folded) == sum(report.removed - report.added for report in reports)


def test_the_static_model_computes_what_gle_computes(gle: Gle, unfolded: StaticGle) -> None:
    assert correction_error(unfolded, gle) <= 1e-12


def test_lora_the_context_and_the_timestep_matter_to_these_tests() -> None:
    """Else a fold that forgot them would pass."""
    unchanged = random_model("sd15").gle.double()
    for change in (
        lambda other: [p.zero_() for n, p in other.named_parameters() if "lora_B" in n],
        lambda other: other.get_buffer("text_embedding").zero_(),
        lambda other: [p.zero_() for n, p in other.named_parameters() if "time_emb_proj" in n],
    ):
        other = random_model("sd15").gle.double()
        with torch.no_grad():
            change(other)
        assert correction_error(other, unchanged) > 1e-6


def test_merging_lora_is_exact_and_leaves_no_adapter(unfolded: StaticGle, merged: StaticGle) -> None:
    assert correction_error(merged, unfolded) <= 1e-12
    assert any(isinstance(module, LoraLayer) for module in unfolded.modules())
    assert not any(isinstance(module, LoraLayer) for module in merged.modules())
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_merged_weights_are_the_base_plus_alpha_over_rank_times_b_a(
    unfolded: StaticGle, merged: StaticGle
) -> None:
    conv = unfolded.unet.down_blocks[0].resnets[0].conv1
    a, b = conv.lora_A["default"].weight, conv.lora_B["default"].weight
    update = LORA_SCALE * torch.einsum("or,rikl->oikl", b[:, :, 0, 0], a)
    actual = merged.unet.down_blocks[0].resnets[0].conv1.weight
    torch.testing.assert_close(actual, conv.base_layer.weight + update, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("before", [merge_lora, lambda x: merge_lora(factor_conv_in(x))])
def test_folding_gamma_is_exact_and_leaves_a_scale_of_one(unfolded: StaticGle, before: Fold) -> None:
    plain = before(unfolded)
    folded = fold_gamma(plain)
    assert correction_error(folded, unfolded) <= 1e-12
    assert (plain.input_scale, folded.input_scale) == (3.0, 1.0)
    assert folded.output_scale == plain.output_scale


@pytest.mark.parametrize("before", [merge_lora, lambda x: merge_lora(factor_conv_out(x))])
def test_folding_the_noise_scale_is_exact_and_leaves_a_scale_of_one(
    unfolded: StaticGle, before: Fold
) -> None:
    plain = before(unfolded)
    folded = fold_noise_scale(plain)
    assert correction_error(folded, unfolded) <= 1e-12
    assert plain.output_scale < 0.02
    assert folded.output_scale == 1
    assert folded.input_scale == plain.input_scale


def test_folding_the_timestep_is_exact_and_removes_every_projection(
    unfolded: StaticGle, merged: StaticGle
) -> None:
    folded = fold_timestep(merged)
    assert correction_error(folded, unfolded) <= 1e-12
    assert folded.unet.time_embedding is None
    projections = [m for name, m in merged.named_modules() if name.endswith("time_emb_proj")]
    assert len(projections) == 11
    assert merged.unet.time_embedding is not None
    removed = merged.unet.time_embedding.numel() + sum(map(count, projections))
    assert count(folded) == count(merged) - removed


def test_folding_the_text_context_is_exact_and_removes_keys_and_values(
    unfolded: StaticGle, merged: StaticGle
) -> None:
    folded = fold_text_context(merged)
    assert correction_error(folded, unfolded) <= 1e-12
    assert folded.unet.context is None
    names = [name for name, _ in folded.named_modules()]
    assert any(name.endswith("attn1.to_k") for name in names)
    assert not any(name.endswith(("attn2.to_k", "attn2.to_v")) for name in names)


def test_the_text_context_folds_through_adapters_too(unfolded: StaticGle) -> None:
    assert correction_error(merge_lora(fold_text_context(unfolded)), unfolded) <= 1e-12


def test_factoring_conv_in_is_exact_and_keeps_only_four_plus_rank_channels(unfolded: StaticGle) -> None:
    factored = factor_conv_in(unfolded)
    assert correction_error(factored, unfolded) <= 1e-12
    reduce, expand = factored.unet.conv_in
    assert reduce.weight.shape == (LATENT_CHANNELS + RANK, 256, 3, 3)
    assert expand.weight.shape == (16, LATENT_CHANNELS + RANK, 3, 3)
    assert reduce.bias is None


def test_factoring_conv_out_is_exact_and_keeps_only_four_plus_rank_channels(unfolded: StaticGle) -> None:
    factored = factor_conv_out(unfolded)
    assert correction_error(factored, unfolded) <= 1e-12
    reduce, expand = factored.unet.conv_out
    assert reduce.weight.shape == (LATENT_CHANNELS + RANK, 16, 3, 3)
    assert expand.weight.shape == (256, LATENT_CHANNELS + RANK, 1, 1)
    assert reduce.bias is None


@pytest.mark.parametrize(("name", "factor"), [("conv_in", factor_conv_in), ("conv_out", factor_conv_out)])
def test_factoring_a_convolution_without_lora_keeps_only_four_channels(
    gle: Gle, name: str, factor: Fold
) -> None:
    adapted = static_gle(gle)
    setattr(adapted.unet, name, getattr(adapted.unet, name).get_base_layer())
    factored = factor(adapted)
    assert correction_error(factored, adapted) <= 1e-12
    assert getattr(factored.unet, name)[0].out_channels == LATENT_CHANNELS


def test_all_folds_together_are_exact(gle: Gle, unfolded: StaticGle) -> None:
    folded, _ = fold_all(gle)
    assert relative_error(folded, gle) <= 1e-12
    assert correction_error(folded, unfolded) <= 1e-12
    assert (folded.input_scale, folded.output_scale) == (1, 1)
    assert folded.unet.time_embedding is None
    assert folded.unet.context is None
    assert not any(isinstance(module, LoraLayer) for module in folded.modules())


def test_all_folds_together_are_exact_at_the_models_own_size(gle: Gle, folded: StaticGle) -> None:
    x = embeddings()[:1, :, :4, :4]
    with torch.no_grad():
        torch.testing.assert_close(folded(x), gle(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("channel_expansion", [True, False])
@pytest.mark.parametrize("lora_rank", [0, RANK])
def test_folds_that_a_model_does_not_need_are_left_out(channel_expansion: bool, lora_rank: int) -> None:
    config = replace(tiny("sd21").gle, channel_expansion=channel_expansion, lora_rank=lora_rank)
    torch.manual_seed(0)
    gle = Gle(config).double().eval()
    with torch.no_grad():
        gle.get_buffer("text_embedding").normal_()
        for name, parameter in gle.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    folded, reports = fold_all(gle)
    assert relative_error(folded, gle) <= 1e-12
    left_out = {"merge_lora"} if not lora_rank else set()
    left_out |= set() if channel_expansion else {"factor_conv_in", "factor_conv_out"}
    assert [r.fold for r in reports[1:]] == [f.__name__ for f in FOLDS if f.__name__ not in left_out]
    assert isinstance(folded.unet.conv_in, nn.Sequential) == channel_expansion


def test_no_fold_changes_the_model_it_is_given(unfolded: StaticGle) -> None:
    inputs, x = unfolded, embeddings()[:1]
    for fold in FOLDS:
        tensors = {name: tensor.clone() for name, tensor in inputs.state_dict().items()}
        modules = [(name, type(module)) for name, module in inputs.named_modules()]
        scales = inputs.input_scale, inputs.output_scale, inputs.skip_scale
        with torch.no_grad():
            before = inputs(x)
            folded = fold(inputs)
            assert torch.equal(inputs(x), before), fold
        assert [(name, type(module)) for name, module in inputs.named_modules()] == modules
        assert (inputs.input_scale, inputs.output_scale, inputs.skip_scale) == scales
        after = inputs.state_dict()
        assert after.keys() == tensors.keys()
        assert all(torch.equal(after[name], tensors[name]) for name in tensors), fold
        inputs = folded


NEW_TENSORS: dict[Fold, tuple[str, ...]] = {
    factor_conv_in: ("conv_in.reduce.weight", "conv_in.expand.weight"),
    factor_conv_out: ("conv_out.reduce.weight", "conv_out.expand.weight"),
    fold_gamma: ("conv_in.reduce.weight",),
    fold_noise_scale: ("conv_out.expand.weight", "conv_out.expand.bias"),
    fold_timestep: ("conv1.bias",),
    fold_text_context: ("attn2.key", "attn2.value"),
}
"""Endings of the tensors a fold makes; everything else must be the caller's own."""


def test_a_fold_shares_every_tensor_that_it_does_not_replace(
    gle: Gle, unfolded: StaticGle, stages: list[tuple[Fold, StaticGle, StaticGle]]
) -> None:
    own = {tensor.data_ptr() for tensor in [*gle.parameters(), *gle.buffers()]}
    static = dict(unfolded.named_parameters())
    assert all(tensor.data_ptr() in own for tensor in static.values())
    for fold, inputs, folded in stages:
        known = {tensor.data_ptr() for tensor in inputs.state_dict().values()}
        new = [name for name, t in folded.state_dict().items() if t.data_ptr() not in known]
        if fold is merge_lora:
            adapted = [n for n, m in inputs.named_modules() if isinstance(m, LoraLayer)]
            assert sorted(new) == sorted(f"{name}.weight" for name in adapted)
        else:
            assert new
            assert all(name.endswith(NEW_TENSORS[fold]) for name in new), new
            assert all(any(n.endswith(end) for n in new) for end in NEW_TENSORS[fold]), new


@pytest.mark.parametrize(("name", "factor"), [("conv_in", factor_conv_in), ("conv_out", factor_conv_out)])
def test_a_convolution_that_is_not_cres_repetition_is_not_factored(gle: Gle, name: str, factor: Fold) -> None:
    other = static_gle(gle)
    conv = getattr(other.unet, name).get_base_layer()
    trained = conv.weight.clone()
    trained[-1, -1, 0, 0] += 1e-9
    conv.weight = nn.Parameter(trained)
    with pytest.raises(FoldError, match=f"{name}: expected CRE's weight"):
        factor(other)


@pytest.mark.parametrize("fold", [fold_gamma, fold_noise_scale, fold_timestep])
def test_a_fold_that_needs_plain_weights_refuses_adapters(unfolded: StaticGle, fold: Fold) -> None:
    with pytest.raises(FoldError, match="merge_lora comes first"):
        fold(unfolded)


@pytest.mark.parametrize("factor", [factor_conv_in, factor_conv_out])
def test_a_factoring_refuses_merged_weights(merged: StaticGle, factor: Fold) -> None:
    with pytest.raises(FoldError, match="expected CRE's weight"):
        factor(merged)


@pytest.mark.parametrize("factor", [factor_conv_in, factor_conv_out])
def test_what_is_factored_already_is_not_factored_again(unfolded: StaticGle, factor: Fold) -> None:
    once = factor(unfolded)
    with pytest.raises(FoldError, match="already"):
        factor(once)


@pytest.mark.parametrize("fold", [fold_timestep, fold_text_context])
def test_what_is_folded_already_is_not_folded_again(merged: StaticGle, fold: Fold) -> None:
    once = fold(merged)
    with pytest.raises(FoldError, match="already"):
        fold(once)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_two_active_adapters_are_merged_but_not_factored() -> None:
    other = random_model("sd15").gle
    second = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["conv_in"], init_lora_weights=False)
    other.unet.add_adapter(second, "second")
    other.unet.set_adapters(["default", "second"])
    expected = static_gle(other.double())
    assert correction_error(merge_lora(expected), expected) <= 1e-12
    with pytest.raises(FoldError, match="one active LoRA adapter, found 2"):
        factor_conv_in(expected)
