"""A smaller GLE has its original's weights, computes the same where nothing was lost, and is refused else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from glesam.cli.convert import app
from glesam.config import GleSamConfig, official, tiny
from glesam.gle import Gle
from glesam.model import GleSam
from glesam.smaller_gle import Reduction, cost_of, smaller_gle
from glesam_runtime.errors import InputError

Style = Literal["sd15", "sd21"]
UNET = replace(tiny().gle.unet, layers_per_block=2)


def original(style: Style = "sd15") -> GleSam:
    """A tiny model of two layers per block and three levels, none of its weights left at zero."""
    config = tiny(style)
    unet = replace(config.gle.unet, layers_per_block=2)
    torch.manual_seed(0)
    model = GleSam(replace(config, gle=replace(config.gle, unet=unet, timestep=200)))
    with torch.no_grad():
        for parameter in model.gle.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.gle.get_buffer("text_embedding").normal_()
    return model.eval().requires_grad_(False)


def answer(model: GleSam) -> Tensor:
    """Enhanced embeddings [1, 256, 8, 8], computed in float64."""
    z = torch.randn(1, 256, 8, 8, generator=torch.Generator().manual_seed(1))
    enhanced: Tensor = copy.deepcopy(model.gle).double()(z.double())
    return enhanced


def silence(*modules: nn.Module) -> None:
    """Resnets and attentions add nothing to their input; the shortcut of a resnet passes its first half."""
    for module in modules:
        for name, parameter in module.named_parameters():
            if ("conv2." in name or ("proj_out." in name)) and "lora_A" not in name:
                parameter.zero_()
            if "conv_shortcut." in name and "lora_A" not in name:
                parameter.zero_()
                if name.endswith("weight") and "lora_" not in name:
                    parameter[:, : len(parameter), 0, 0] = torch.eye(len(parameter))


def attention_of_the_finest_level(gle: Gle) -> list[nn.Module]:
    return [*gle.unet.down_blocks[0].attentions, *gle.unet.up_blocks[-1].attentions]


def second_layers(gle: Gle) -> list[nn.Module]:
    blocks = [*gle.unet.down_blocks, *gle.unet.up_blocks]
    lists = [
        blocks_part for block in blocks for blocks_part in (block.resnets, getattr(block, "attentions", []))
    ]
    return [layers[1] for layers in lists if len(layers)]


def attention_and_second_resnet_of_the_middle(gle: Gle) -> list[nn.Module]:
    return [gle.unet.mid_block.attentions[0], gle.unet.mid_block.resnets[1]]


def middle(gle: Gle) -> list[nn.Module]:
    return [*gle.unet.mid_block.attentions, *gle.unet.mid_block.resnets]


CUTS: dict[str, tuple[Reduction, Callable[[Gle], list[nn.Module]]]] = {
    "attention": (Reduction(levels_without_attention=1), attention_of_the_finest_level),
    "layers": (Reduction(layers_per_block=1), second_layers),
    "resnet": (Reduction(mid_block="resnet"), attention_and_second_resnet_of_the_middle),
    "middle": (Reduction(mid_block="none"), middle),
    "all": (
        Reduction(1, 1, "none"),
        lambda gle: [*attention_of_the_finest_level(gle), *second_layers(gle), *middle(gle)],
    ),
}


@pytest.mark.parametrize(("cut", "style"), [*((cut, "sd15") for cut in CUTS), ("all", "sd21")])
@torch.no_grad()
def test_layers_that_compute_nothing_are_not_missed(cut: str, style: Style) -> None:
    reduction, removed = CUTS[cut]
    model = original(style)
    before, missed = answer(model), answer(smaller_gle(model, reduction))
    assert float((missed - before).abs().max()) > 1e-3, "what was left out computed something"
    silence(*removed(model.gle))
    expected = answer(model)
    assert float((expected - before).abs().max()) > 1e-3
    torch.testing.assert_close(answer(smaller_gle(model, reduction)), expected, rtol=1e-11, atol=1e-11)


def test_weights_and_adapters_that_stay_are_the_originals() -> None:
    """All but two up blocks' last layers keep their names, and nothing is new."""
    model = original()
    smaller, before = smaller_gle(model, Reduction(1, 1, "resnet")), model.state_dict()
    after = smaller.state_dict()
    last = {name: name.replace("resnets.1.", "resnets.2.").replace("attentions.1.", "attentions.2.")
            for name in after if ".up_blocks." in name}  # fmt: skip
    for name, tensor in after.items():
        assert torch.equal(tensor, before[last.get(name, name)]), name
    assert any("up_blocks.1.attentions.1.proj_out.lora_B" in name for name in last)
    gone = before.keys() - {last.get(name, name) for name in after}
    attention = {name for name in gone if "down_blocks.0.attentions" in name}
    assert attention == {name for name in before if "down_blocks.0.attentions" in name}
    assert {name for name in gone if "mid_block.resnets.0." in name} == set()
    assert all(name.startswith("gle.unet.") for name in gone)


def test_one_weight_too_few_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glesam.smaller_gle.original_name", lambda name, kept, layers: name)
    with pytest.raises(InputError, match=r"the smaller GLE: \d+ misshapen tensors"):
        smaller_gle(original(), Reduction(layers_per_block=1))


def test_the_full_size_costs_what_is_published() -> None:
    """Stable Diffusion 1.5's U-Net has 859.5 M parameters, BK-SDM-Base, of half its layers, .58 billion."""
    config = official("vit_b", "sd15")
    unet = Reduction(layers_per_block=1).of(config.gle.unet)
    whole, base = cost_of(config), cost_of(replace(config, gle=replace(config.gle, unet=unet)))
    assert whole.flop / 1e9 == pytest.approx(815, rel=0.005)
    assert whole.parameters / 1e6 == pytest.approx(859.5 + 2 * 252 * 320 * 9 / 1e6, rel=1e-4), "with CRE"
    assert base.parameters / 1e9 == pytest.approx(0.58, abs=0.005)
    assert base.flop < 0.66 * whole.flop


@pytest.mark.parametrize(
    ("reduction", "message"),
    [
        (Reduction(), "nothing to leave out; give --layers-per-block, --levels"),
        (Reduction(layers_per_block=2), "layers per block 2: expected 1 to 1, fewer than this U-Net's"),
        (Reduction(layers_per_block=0), "layers per block 0: expected 1 to 1"),
        (Reduction(levels_without_attention=4), "levels without attention 4: expected 1 to 3"),
        (Reduction(levels_without_attention=0), "levels without attention 0: expected 1 to 3"),
        (Reduction(mid_block="half"), "mid block half: expected resnet or none"),
    ],
)
def test_what_leaves_nothing_out_or_too_much_is_refused(reduction: Reduction, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reduction.of(UNET)


@pytest.mark.parametrize(
    ("reduction", "message"),
    [
        (Reduction(layers_per_block=1), "this U-Net has 1, and it must stay"),
        (Reduction(levels_without_attention=1), "the finest 1 have none already"),
        (Reduction(mid_block="resnet"), "mid block resnet: this U-Net has no more than that"),
        (Reduction(mid_block="none"), "mid block none: this U-Net has no more than that"),
    ],
)
def test_what_was_left_out_before_is_refused(reduction: Reduction, message: str) -> None:
    smallest = Reduction(1, 1, "none").of(UNET)
    with pytest.raises(InputError, match=message):
        reduction.of(smallest)


def test_a_config_says_what_is_left_of_the_mid_block_only_where_something_is_gone() -> None:
    config = replace(tiny(), gle=replace(tiny().gle, unet=UNET))
    assert "mid_block_type" not in config.to_json()
    for kept in ("resnet", "none"):
        unet = Reduction(mid_block=kept).of(config.gle.unet)
        smaller = replace(config, gle=replace(config.gle, unet=unet))
        assert GleSamConfig.from_json(smaller.to_json()) == smaller
        odd = json.loads(smaller.to_json())
        odd["gle"]["unet"]["mid_block_type"] = "odd"
        with pytest.raises(InputError, match="mid_block_type 'odd': expected UNetMidBlock2DCrossAttn"):
            GleSamConfig.from_json(json.dumps(odd))


# --- glesam-convert


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    original().save_pretrained(folder)
    return folder


def convert(*arguments: object) -> tuple[int, list[str], list[str]]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def test_glesam_convert_writes_a_smaller_gle_and_says_what_it_costs(checkpoint: Path, tmp_path: Path) -> None:
    options = ("--layers-per-block", 1, "--levels-without-attention", 1, "--mid-block", "none")
    code, stdout, stderr = convert(checkpoint, *options, "--out", tmp_path / "small")
    assert (code, stderr) == (0, [])
    model, smaller = GleSam.from_pretrained(checkpoint), GleSam.from_pretrained(tmp_path / "small")
    expected = smaller_gle(model, Reduction(1, 1, "none"))
    assert smaller.config == expected.config
    assert all(torch.equal(t, expected.state_dict()[name]) for name, t in smaller.state_dict().items())
    assert stdout[0] == f"GLE's U-Net: {cost_of(model.config)}, now {cost_of(smaller.config)}"
    assert stdout[1].endswith(
        f"next: glesam-train --stage 1 --model {tmp_path}/small --teacher {checkpoint} --data DIR"
    )
    assert len(stdout) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}"], "nothing to leave out; give --layers-per-block, --levels-without-attention or --mid"),
        (["{model}", "--layers-per-block", "2"], "layers per block 2: expected 1 to 1"),
        (["{model}", "--mid-block", "none", "--gamma", "3"], "to make its GLE smaller; leave out --gamma"),
        (["--mid-block", "none"], "a smaller GLE is made of a checkpoint; join the official files first"),
        (["{tmp}/nowhere", "--mid-block", "none"], "no folder {tmp}/nowhere"),
        (["{model}", "--mid-block", "none", "--out", "{model}"], "lies in {model}, which is replaced"),
    ],
)
def test_what_makes_no_smaller_gle_is_refused_in_one_line(
    checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    values = {"model": checkpoint, "tmp": tmp_path}
    filled = [argument.format(**values) for argument in arguments]
    code, stdout, (line,) = convert("--out", tmp_path / "out", *filled)
    assert (code, stdout) == (2, [])
    assert message.format(**values) in line
    assert not (tmp_path / "out").exists()
    assert (checkpoint / "model.safetensors").exists()
