"""LoRA files are read and written under the authors' names, whoever wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glesam.config import BaseName, official, tiny
from glesam.model import GleSam
from glesam.official.build import start_adapters
from glesam.official.lora import load_lora, lora_kind, lora_parameters, read_lora, save_lora
from glesam.official.lora_alpha import alphas_of, common_alpha
from glesam.training.adapters import STUDENT, adapter_parameters, add_student
from glesam_runtime.errors import CheckpointError

DATA = Path(__file__).parent.parent / "data"
TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "down_blocks.0.resnets.0.conv1"


def model_with(seed: int) -> GleSam:
    """A tiny model with random adapters; B factors start as zeros, which would hide a swap."""
    torch.manual_seed(seed)
    model = GleSam(tiny())
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_()
    return model


def equal_adapters(one: GleSam, other: GleSam) -> bool:
    ours, theirs = lora_parameters(one), lora_parameters(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_lora_weights.safetensors"
    save_lora(model_with(1), path)
    return path


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refusal(path: Path) -> str:
    target = model_with(2)
    before = {name: tensor.clone() for name, tensor in lora_parameters(target).items()}
    with pytest.raises(CheckpointError) as caught:
        load_lora(target, path)
    assert all(torch.equal(before[name], t) for name, t in lora_parameters(target).items()), "half loaded"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("base", ["sd15", "sd21"])
def test_a_full_size_file_is_the_authors_name_by_name_and_comes_back(base: BaseName, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = GleSam(official("vit_b", base))
    start_adapters(model)
    path = tmp_path / "lora.safetensors"
    save_lora(model, path)
    expected = json.loads((DATA / f"lora_keys_{base}.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in load_file(path).items()} == expected
    saved = {name: tensor.clone() for name, tensor in lora_parameters(model).items()}
    start_adapters(model)
    load_lora(model, path)
    assert all(torch.equal(saved[name], tensor) for name, tensor in lora_parameters(model).items())
    assert str(lora_kind(read_lora(path), path)) == f"rank 8 for Stable Diffusion {base[2]}.{base[3]}"


def test_a_file_for_sd21_has_the_published_files_size(tmp_path: Path) -> None:
    """34,149,184 bytes is the size of the authors' GleSAM-H adapter: fp32, rank 8, SD 2.1."""
    with torch.device("meta"):
        model = GleSam(official("vit_b", "sd21"))
    start_adapters(model)
    save_lora(model, tmp_path / "lora.safetensors")
    assert (tmp_path / "lora.safetensors").stat().st_size == 34_149_184


def test_adapters_come_back_bit_for_bit(file: Path) -> None:
    target = model_with(2)
    assert not equal_adapters(target, model_with(1))
    load_lora(target, file)
    assert equal_adapters(target, model_with(1))


def test_a_file_means_the_same_to_readers_who_know_no_alpha(file: Path) -> None:
    """Other readers take alpha = rank; the tiny model's alpha is twice its rank."""
    model = model_with(1)
    assert model.config.gle.lora_alpha == 2 * model.config.gle.lora_rank
    tensors = read_lora(file)
    for module in (TO_K, "mid_block.attentions.0.transformer_blocks.0.ff.net.2"):
        product = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
        change = model.gle.unet.get_submodule(module).get_delta_weight("default")
        torch.testing.assert_close(product, change)


def peft_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): tensor
        for name, tensor in tensors.items()
    }


def with_infix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): tensor
        for name, tensor in peft_names(tensors).items()
    }


def old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up."): tensor
        for name, tensor in tensors.items()
    }


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}


def with_pefts_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"base_model.model.{name}": tensor for name, tensor in without_prefix(tensors).items()}


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


@pytest.mark.parametrize("writer", [peft_names, with_infix, old_names, without_prefix, with_pefts_prefix])
def test_other_writers_names_are_known(file: Path, writer: Callable[..., dict[str, Tensor]]) -> None:
    tensors = load_file(file)
    assert writer(tensors).keys() != tensors.keys()
    save_file(writer(tensors), file)
    target = model_with(2)
    load_lora(target, file)
    assert equal_adapters(target, model_with(1))


def test_pickled_files_and_half_precision_are_read_too(file: Path) -> None:
    path = file.with_suffix(".bin")
    torch.save(halved(load_file(file)), path)
    target = model_with(2)
    load_lora(target, path)
    own = lora_parameters(model_with(1))
    for name, tensor in lora_parameters(target).items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, own[name], rtol=1e-3, atol=1e-3)


def test_a_missing_a_leftover_and_a_misshapen_tensor_are_named(file: Path) -> None:
    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors[f"unet.{CONV}.lora_B.weight"]
        tensors["unet.conv_norm_out.lora_A.weight"] = torch.zeros(4, 16)
        name = f"unet.{TO_K}.lora.up.weight"
        tensors[name] = tensors[name].T.contiguous()

    rewrite(file, damage)
    message = refusal(file)
    assert f"1 missing tensor ({CONV}.lora_B.weight)" in message
    assert "1 unknown tensor (conv_norm_out.lora_A.weight)" in message
    assert f"1 misshapen tensor ({TO_K}.lora_B.weight [4, 16] instead of [16, 4])" in message


def test_a_tensor_that_is_there_twice_is_named(file: Path) -> None:
    rewrite(file, lambda tensors: tensors.update({f"{TO_K}.lora_A.weight": torch.zeros(4, 24)}))
    assert f"{TO_K}.lora_A.weight twice" in refusal(file)


def test_another_rank_and_another_base_are_named(file: Path) -> None:
    def with_rank_and_width(rank: int, width: int) -> Callable[[dict[str, Tensor]], object]:
        return lambda tensors: tensors.update({f"unet.{TO_K}.lora.down.weight": torch.zeros(rank, width)})

    rewrite(file, with_rank_and_width(16, 24))
    assert "rank 16 for a U-Net with text embeddings of 24 channels, but the model has rank 4" in refusal(
        file
    )
    rewrite(file, with_rank_and_width(8, 1024))
    assert "rank 8 for Stable Diffusion 2.1" in refusal(file)


def test_a_file_without_adapters_is_refused(file: Path) -> None:
    save_file({"lora_unet_down_blocks_0.alpha": torch.zeros(1)}, file)
    assert "no tensor ...attn2.to_k.lora_A.weight among its 1" in refusal(file)


@pytest.mark.parametrize("keep", [0, 7, 200])
def test_a_truncated_file_is_refused(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    assert f"cannot read tensors from {file}" in refusal(file)


def test_a_second_adapter_set_is_neither_saved_nor_loaded(file: Path, tmp_path: Path) -> None:
    """Distribution matching trains a student beside GLE's own adapters."""
    model = model_with(2)
    add_student(model.gle)
    student = [parameter.clone() for parameter in adapter_parameters(model.gle, STUDENT)]
    load_lora(model, file)
    assert all(map(torch.equal, student, adapter_parameters(model.gle, STUDENT)))
    save_lora(model, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


# --- alpha and rank that a file states


def strength(path: Path, alpha: float) -> float:
    """Median share of what the file says, alpha / rank times B A, that is applied."""
    target = model_with(2)
    load_lora(target, path)
    tensors, rank = read_lora(path), target.config.gle.lora_rank
    product = tensors[f"{TO_K}.lora_B.weight"] @ tensors[f"{TO_K}.lora_A.weight"]
    applied = target.gle.unet.get_submodule(TO_K).get_delta_weight("default").detach()
    return float((applied / (alpha / rank * product)).median())


def stated(file: Path, kind: str, alpha: float, rank: int = 4, **extra: object) -> Path:
    """The file once more, with alpha where writers of this kind put it."""
    tensors, values = load_file(file), {"r": rank, "lora_alpha": alpha, **extra}
    if kind == "diffusers":
        header = {
            "lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in values.items()})
        }
        save_file(tensors, file, metadata=header)
    elif kind == "PEFT":
        (file.parent / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **values}))
        return file.rename(file.with_name("adapter_model.safetensors"))
    elif kind == "header":
        save_file(tensors, file, metadata={"ss_network_alpha": str(alpha)})
    else:
        modules = {name.rsplit(".lora", 1)[0] for name in tensors}
        save_file(tensors | {f"{module}.alpha": torch.tensor(alpha) for module in modules}, file)
    return file


@pytest.mark.parametrize("kind", ["diffusers", "PEFT", "header", "tensors"])
@pytest.mark.parametrize("alpha", [2.0, 4.0, 16.0])
def test_a_stated_alpha_is_followed(file: Path, kind: str, alpha: float) -> None:
    assert strength(stated(file, kind, alpha), alpha) == pytest.approx(1.0)


def test_a_file_that_states_nothing_has_its_rank_for_alpha(file: Path) -> None:
    assert strength(file, 4.0) == pytest.approx(1.0)


def test_rank_stabilized_lora_divides_by_the_root_of_the_rank(file: Path) -> None:
    assert strength(stated(file, "diffusers", 3.0, use_rslora=True), 6.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "pattern",
    [
        TO_K,
        "attn2.to_k",
        r"attn\d\.to_k",
        f"^{TO_K}",
        r"down_blocks\.\d+\.attentions\.\d+\..*attn2\.to_k",
        "mid.*to_k|.*attn2.to_k",
    ],
)
def test_an_alpha_of_one_module_is_its_own(file: Path, pattern: str) -> None:
    stated(file, "diffusers", 4.0, alpha_pattern={pattern: 12.0})
    assert strength(file, 12.0) == pytest.approx(1.0)
    alphas = alphas_of(file, read_lora(file))
    assert alphas[CONV] == 4.0
    assert alphas[TO_K] == 12.0


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rank": 8}, "the rank of .* is 8 there, but 4 in the tensors"),
        ({"rank_pattern": {TO_K: 2}}, "is 2 there, but 4 in the tensors"),
        ({"alpha": 0.0}, "lora_alpha is 0.0; expected a number above 0"),
        ({"alpha": float("nan")}, "expected a number above 0"),
        ({"alpha": "much"}, "lora_alpha is 'much'"),
        ({"use_dora": True}, "use_dora is set"),
        ({"alpha_pattern": [1]}, "alpha_pattern is .1.; expected numbers by module"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern has the key '\\('; expected a module's name"),
        ({"alpha_pattern": {r"(\w+\.?)+x": 1}}, "expected a module's name"),
        ({"rank_pattern": {".*.*.*x": 1}}, "rank_pattern has the key .*; expected a module's name"),
        ({"lora_alpha": [4]}, "lora_alpha is .4.; expected a number above 0"),
        ({"lora_alpha": True}, "lora_alpha is True"),
        ({"r": "four"}, "r is 'four'"),
    ],
)
@pytest.mark.parametrize("kind", ["diffusers", "PEFT"])
def test_a_statement_that_cannot_hold_is_refused(
    file: Path, kind: str, values: dict[str, object], named: str
) -> None:
    path = stated(file, kind, **{"alpha": 4.0, **values})  # type: ignore[arg-type]
    assert re.search(named, refusal(path))


def test_text_that_is_a_number_is_one(file: Path) -> None:
    assert strength(stated(file, "PEFT", 4.0, lora_alpha="8"), 8.0) == pytest.approx(1.0)


@pytest.mark.parametrize("dim", ["8", "16"])
def test_a_header_with_another_rank_is_refused(file: Path, dim: str) -> None:
    save_file(load_file(file), file, metadata={"ss_network_alpha": "4.0", "ss_network_dim": dim})
    assert re.search(f"rank of .* is {dim} there, but 4 in the tensors", refusal(file))


def test_a_rank_in_words_is_none(file: Path) -> None:
    save_file(load_file(file), file, metadata={"ss_network_alpha": "8.0", "ss_network_dim": "Dynamic"})
    assert strength(file, 8.0) == pytest.approx(1.0)


def test_two_statements_that_disagree_are_refused(file: Path) -> None:
    path = stated(stated(file, "diffusers", 8.0), "PEFT", 4.0)
    message = refusal(path)
    assert re.search(r"alpha of .* is 8 in .*lora_adapter_metadata, but 4 in .*adapter_config\.json", message)


def test_the_files_alpha_becomes_the_models(tmp_path: Path, file: Path) -> None:
    assert common_alpha(alphas_of(file, read_lora(file)), 4) == 4.0
    stated(file, "diffusers", 16.0)
    assert common_alpha(alphas_of(file, read_lora(file)), 4) == 16.0
    assert official("vit_b", "sd15", lora_rank=4, lora_alpha=16.0).gle.lora_alpha == 16.0


def test_a_model_without_adapters_neither_saves_nor_loads_any(tmp_path: Path, file: Path) -> None:
    config = tiny()
    model = GleSam(replace(config, gle=replace(config.gle, lora_rank=0)))
    for refused in (save_lora, load_lora):
        with pytest.raises(CheckpointError, match=r"tiny-sd15 has no LoRA adapters \(gle\.lora_rank is 0"):
            refused(model, tmp_path / "none.safetensors" if refused is save_lora else file)
    assert not (tmp_path / "none.safetensors").exists()
