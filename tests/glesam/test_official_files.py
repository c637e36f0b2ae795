"""Official SAM, decoder, U-Net and text files: read whole, written under the official names, or refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from refused_files import equal, refusal
from safetensors.torch import save_file
from tiny_text_encoder import save_clip
from torch import Tensor

from glesam.config import official, tiny
from glesam.gle import build_base_unet, expand_channels
from glesam.model import GleSam
from glesam.official.decoder import load_decoder, save_decoder
from glesam.official.sam import load_sam
from glesam.official.tensor_files import read_tensors
from glesam.official.text_embedding import load_text_embedding
from glesam.official.unet import load_unet
from glesam.sam import build_mask_decoder

Tensors = dict[str, Tensor]


def model_with(seed: int) -> GleSam:
    torch.manual_seed(seed)
    return GleSam(tiny())


@pytest.fixture
def target() -> GleSam:
    return model_with(2)


# --- ft-decoder.pth


@pytest.mark.parametrize("prefix", ["", "mask_decoder.", "module.", "module.mask_decoder."])
def test_a_decoder_is_read_with_each_of_the_four_prefixes(
    target: GleSam, tmp_path: Path, prefix: str
) -> None:
    source = model_with(1).mask_decoder.state_dict()
    torch.save({prefix + name: tensor for name, tensor in source.items()}, tmp_path / "ft-decoder.pth")
    load_decoder(target, tmp_path / "ft-decoder.pth")
    assert equal(source, target.mask_decoder.state_dict())


def test_a_saved_decoder_is_segment_anythings_own_state_dict(tmp_path: Path) -> None:
    """At full size, as segment-anything's MaskDecoder reads it: 120 tensors, strictly."""
    config = official("vit_b", "sd15").sam
    model = model_with(1)
    model.mask_decoder = build_mask_decoder(config).half()
    path = tmp_path / "ft-decoder.pth"
    save_decoder(model, path)
    saved = torch.load(path, weights_only=True)
    assert len(saved) == 120
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    fresh = build_mask_decoder(config)
    fresh.load_state_dict(saved, strict=True)
    assert equal({n: t.float() for n, t in model.mask_decoder.state_dict().items()}, fresh.state_dict())
    trained = [p.numel() for name, p in fresh.named_parameters() if "iou" not in name]
    assert sum(trained) == 3_925_472  # what the paper's second stage trains
    assert 16_200_000 < path.stat().st_size < 16_350_000  # the authors' file: 16,275,711 bytes


def test_a_whole_sam_in_a_decoders_place_is_refused(target: GleSam, tmp_path: Path) -> None:
    torch.save(sam_tensors(model_with(1)), tmp_path / "sam.pth")
    message = refusal(load_decoder, target, tmp_path / "sam.pth")
    assert "120 missing tensors" in message
    assert "unknown tensors (image_encoder.blocks.0" in message


def test_a_decoder_that_lacks_a_tensor_is_refused(target: GleSam, tmp_path: Path) -> None:
    tensors = model_with(1).mask_decoder.state_dict()
    del tensors["mask_tokens.weight"]
    torch.save(tensors, tmp_path / "ft-decoder.pth")
    assert "1 missing tensor (mask_tokens.weight)" in refusal(
        load_decoder, target, tmp_path / "ft-decoder.pth"
    )


# --- sam_vit_*.pth, GleSAM-l.pth


def sam_tensors(model: GleSam) -> Tensors:
    parts = ("image_encoder", "prompt_encoder", "mask_decoder")
    return {name: t for name, t in model.state_dict().items() if name.partition(".")[0] in parts}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_whole_sam_is_read_and_gle_stays(target: GleSam, tmp_path: Path, prefix: str) -> None:
    source = sam_tensors(model_with(1))
    gle = {name: tensor.clone() for name, tensor in target.gle.state_dict().items()}
    torch.save({prefix + name: tensor for name, tensor in source.items()}, tmp_path / "sam.pth")
    load_sam(target, tmp_path / "sam.pth")
    assert equal(source, sam_tensors(target))
    assert equal(gle, target.gle.state_dict())


def test_files_older_than_torch_1_6_are_read(target: GleSam, tmp_path: Path) -> None:
    source = sam_tensors(model_with(1))
    torch.save(source, tmp_path / "sam.pth", _use_new_zipfile_serialization=False)
    load_sam(target, tmp_path / "sam.pth")
    assert equal(source, sam_tensors(target))


def test_another_sams_size_is_named(target: GleSam, tmp_path: Path) -> None:
    tensors = sam_tensors(model_with(1)) | {
        "image_encoder.patch_embed.proj.weight": torch.zeros(768, 3, 16, 16)
    }
    torch.save(tensors, tmp_path / "sam.pth")
    assert "is a SAM vit_b, the model a tiny" in refusal(load_sam, target, tmp_path / "sam.pth")


def test_a_decoder_in_a_sams_place_is_refused(target: GleSam, tmp_path: Path) -> None:
    save_decoder(target, tmp_path / "ft-decoder.pth")
    message = refusal(load_sam, target, tmp_path / "ft-decoder.pth")
    assert "no image_encoder.patch_embed.proj.weight among its 120 tensors" in message


# --- Stable Diffusion's unet/


def save_stable_diffusion(root: Path, seed: int = 1, prediction: str = "epsilon", **options: Any) -> Tensors:  # noqa: ANN401
    """Written by diffusers itself; returns the tensors as the model should hold them."""
    torch.manual_seed(seed)
    base = build_base_unet(tiny().gle.unet)
    base.save_pretrained(root / "unet", **options)
    DDIMScheduler(prediction_type=prediction).save_pretrained(root / "scheduler")
    expand_channels(base)
    return dict(base.state_dict())


def base_tensors(model: GleSam) -> Tensors:
    return {
        name.replace("base_layer.", ""): tensor
        for name, tensor in model.gle.unet.state_dict().items()
        if "lora_" not in name
    }


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ({}, "diffusion_pytorch_model.safetensors"),
        ({"variant": "fp16"}, "diffusion_pytorch_model.fp16.safetensors"),
        ({"safe_serialization": False}, "diffusion_pytorch_model.bin"),
        ({"safe_serialization": False, "variant": "fp16"}, "diffusion_pytorch_model.fp16.bin"),
    ],
)
@pytest.mark.parametrize("named", ["the U-Net's folder", "the folder that holds it"])
def test_a_unet_folder_goes_under_the_adapters(
    target: GleSam, tmp_path: Path, options: dict[str, Any], file: str, named: str
) -> None:
    expected = save_stable_diffusion(tmp_path, **options)
    assert (tmp_path / "unet" / file).is_file()
    adapters = {n: t.clone() for n, t in target.gle.unet.state_dict().items() if "lora_" in n}
    load_unet(target, tmp_path / "unet" if named == "the U-Net's folder" else tmp_path)
    assert equal(expected, base_tensors(target))
    assert equal(adapters, {n: t for n, t in target.gle.unet.state_dict().items() if "lora_" in n})


def test_half_precision_becomes_the_models_own(target: GleSam, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path)
    path = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    tensors = {name: tensor.half() for name, tensor in read_tensors(path).items()}
    path.unlink()
    save_file(tensors, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    load_unet(target, tmp_path)
    actual = base_tensors(target)
    assert actual["conv_norm_out.weight"].dtype == torch.float32
    name = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(actual[name], tensors[name].float())


def test_a_v_prediction_model_is_refused(target: GleSam, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path, prediction="v_prediction")
    message = refusal(load_unet, target, tmp_path / "unet")
    assert "belongs to a v_prediction model" in message
    assert "expected epsilon" in message


def test_a_v_prediction_unet_without_its_scheduler_is_known_by_its_sample_size(
    target: GleSam, tmp_path: Path
) -> None:
    save_stable_diffusion(tmp_path)
    (tmp_path / "scheduler" / "scheduler_config.json").unlink()
    path = tmp_path / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"sample_size": 64}))
    load_unet(target, tmp_path)
    path.write_text(json.dumps(config | {"sample_size": 96}))
    assert "v_prediction (sample_size 96)" in refusal(load_unet, target, tmp_path)


def change_config(root: Path, **changes: object) -> None:
    path = root / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_number_of_heads_is_refused_though_every_tensor_fits(target: GleSam, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path)
    change_config(tmp_path, attention_head_dim=4)
    assert "attention_head_dim 4, the model's base" in refusal(load_unet, target, tmp_path)


@pytest.mark.parametrize("damage", ["no config", "no JSON", "no weights", "a key less", "truncated"])
def test_a_damaged_unet_folder_is_refused(target: GleSam, tmp_path: Path, damage: str) -> None:
    save_stable_diffusion(tmp_path)
    config, weights = (tmp_path / "unet" / n for n in ("config.json", "diffusion_pytorch_model.safetensors"))
    if damage == "no config":
        config.unlink()
    elif damage == "no JSON":
        config.write_text("{")
    elif damage == "no weights":
        weights.unlink()
    elif damage == "a key less":
        config.write_text(json.dumps({"attention_head_dim": 2}))
    else:
        weights.write_bytes(weights.read_bytes()[:-100])
    assert str(tmp_path / "unet") in refusal(load_unet, target, tmp_path)


def test_an_inpainting_unet_of_nine_channels_is_refused(target: GleSam, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path)
    path = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    save_file(dict(read_tensors(path)) | {"conv_in.weight": torch.zeros(16, 9, 3, 3)}, path)
    message = refusal(load_unet, target, tmp_path)
    assert "misshapen tensor (conv_in.weight [16, 9, 3, 3] instead of [16, 4, 3, 3])" in message


# --- the encoded empty prompt


@pytest.mark.parametrize("shape", [(1, 5, 24), (5, 24)])
@pytest.mark.parametrize("kind", [".npy", ".safetensors", ".pt"])
def test_an_encoded_prompt_is_read_from_three_formats(
    target: GleSam, tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    values, path = torch.randn(shape), tmp_path / f"empty{kind}"
    if kind == ".npy":
        np.save(path, values.half().numpy())
        values = values.half().float()
    elif kind == ".pt":
        torch.save(values, path)
    else:
        save_file({"last_hidden_state": values}, path)
    load_text_embedding(target, path)
    actual = target.gle.get_buffer("text_embedding")
    assert torch.equal(actual, values.reshape(1, 5, 24))
    assert actual.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (torch.zeros(1, 5, 32), r"[1, 5, 32], the model's base needs [1, 5, 24]"),
        (torch.zeros(2, 5, 24), r"[2, 5, 24], the model's base needs [1, 5, 24]"),
        (torch.full((1, 5, 24), float("nan")), "not finite"),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused(
    target: GleSam, tmp_path: Path, values: Tensor, named: str
) -> None:
    torch.save(values, tmp_path / "empty.pt")
    assert named in refusal(load_text_embedding, target, tmp_path / "empty.pt")


@torch.no_grad()
def test_a_stable_diffusion_folder_encodes_the_empty_prompt_itself(target: GleSam, tmp_path: Path) -> None:
    encoder = save_clip(tmp_path)
    load_text_embedding(target, tmp_path)
    start_end_and_padding = torch.tensor([[5, 6, 0, 0, 0]])
    expected = encoder(start_end_and_padding).last_hidden_state
    torch.testing.assert_close(target.gle.get_buffer("text_embedding"), expected)


def test_a_text_encoder_that_is_not_whole_is_refused(target: GleSam, tmp_path: Path) -> None:
    """transformers itself would start the missing tensors at random, with a warning."""
    save_clip(tmp_path)
    path = tmp_path / "text_encoder/model.safetensors"
    tensors = read_tensors(path)
    lost = next(name for name in tensors if "final_layer_norm.weight" in name)
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    assert "lacks 1 tensors, first" in refusal(load_text_embedding, target, tmp_path)


@pytest.mark.parametrize("lost", ["tokenizer", "text_encoder"])
def test_a_folder_without_a_text_encoder_is_refused(target: GleSam, tmp_path: Path, lost: str) -> None:
    save_clip(tmp_path)
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    message = refusal(load_text_embedding, target, tmp_path)
    assert "expected a Stable Diffusion folder with tokenizer/ and text_encoder/" in message


# --- every official file


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("load", [load_decoder, load_sam, load_text_embedding])
@pytest.mark.parametrize("writer", ["torch.save", "torch.save before 1.6", "pickle"])
def test_a_file_that_would_run_code_is_refused(
    target: GleSam, tmp_path: Path, load: Callable[[GleSam, Path], None], writer: str
) -> None:
    path, trap = tmp_path / "model.pth", {"weights": Trap(tmp_path / "sprung")}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=writer == "torch.save")
    assert f"cannot read tensors from {path}" in refusal(load, target, path)
    assert not (tmp_path / "sprung").exists()


def test_a_unet_that_would_run_code_is_refused(target: GleSam, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path)
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Trap(tmp_path / "sprung")}, tmp_path / "unet/diffusion_pytorch_model.bin")
    assert "cannot read tensors" in refusal(load_unet, target, tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("value", "actual"),
    [({"epoch": 3, "w": torch.zeros(1)}, "a int named 'epoch'"), ([torch.zeros(1)], "a list")],
)
def test_what_is_around_a_state_dict_is_named(
    target: GleSam, tmp_path: Path, value: object, actual: str
) -> None:
    torch.save(value, tmp_path / "ft-decoder.pth")
    assert f"holds {actual}; expected a state dict" in refusal(
        load_decoder, target, tmp_path / "ft-decoder.pth"
    )


@pytest.mark.parametrize("load", [load_decoder, load_sam, load_unet, load_text_embedding])
def test_a_missing_file_is_named(
    target: GleSam, tmp_path: Path, load: Callable[[GleSam, Path], None]
) -> None:
    assert str(tmp_path / "absent") in refusal(load, target, tmp_path / "absent")


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ft-decoder.pth"
    save_decoder(model_with(1), path)
    before = path.read_bytes()

    def interrupted(tensors: Tensors, partial: Path) -> None:
        partial.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_decoder(model_with(2), path)
    assert [actual.name for actual in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


# --- what weights hold


def decoder_with(model: GleSam, path: Path, change: Callable[[Tensor], Tensor]) -> Path:
    """The model's decoder with one weight changed, and that weight's name where all may see it."""
    state = {name: tensor.clone() for name, tensor in model.mask_decoder.state_dict().items()}
    state["mask_tokens.weight"] = change(state["mask_tokens.weight"])
    torch.save(state, path)
    return path


def with_first(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


ODD_WEIGHTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "NaN": (with_first(float("nan")), "holds NaN or infinite values"),
    "infinite": (with_first(float("inf")), "holds NaN or infinite values"),
    "too large for float32": (lambda t: t.double() * 1e300, "holds NaN or infinite values"),
    "integers": (lambda t: t.to(torch.int8), "holds int8, expected floats"),
    "truths": (lambda t: t > 0, "holds bool, expected floats"),
    "complex": (lambda t: t.to(torch.complex64), "is complex"),
    "sparse": (lambda t: t.to_sparse(), "is sparse"),
    "meta": (lambda t: t.to("meta"), "is a tensor without values"),
}


@pytest.mark.parametrize("kind", ODD_WEIGHTS)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_weights_that_are_no_finite_floats_are_refused(target: GleSam, tmp_path: Path, kind: str) -> None:
    change, named = ODD_WEIGHTS[kind]
    path = decoder_with(target, tmp_path / "ft-decoder.pth", change)
    message = refusal(load_decoder, target, path)
    assert f"{path}: mask_tokens.weight {named}" in message


def test_half_precision_is_no_reason_to_refuse(target: GleSam, tmp_path: Path) -> None:
    path = decoder_with(target, tmp_path / "ft-decoder.pth", lambda t: t.to(torch.bfloat16))
    load_decoder(target, path)


@pytest.mark.parametrize("name", ["ft-decoder.pth", "ft-decoder.safetensors"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "found a Git LFS pointer in its place",
        ),
        ("<!DOCTYPE html><html>", "found a web page in its place; download the file itself"),
    ],
)
def test_what_was_downloaded_instead_is_named(
    target: GleSam, tmp_path: Path, name: str, content: str, named: str
) -> None:
    (tmp_path / name).write_text(content)
    assert named in refusal(load_decoder, target, tmp_path / name)


def test_torchs_advice_to_unpickle_anything_reaches_no_user(target: GleSam, tmp_path: Path) -> None:
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "model.pth")
    message = refusal(load_decoder, target, tmp_path / "model.pth")
    assert "weights_only" not in message
    assert "it holds more than tensors, which may be code" in message


def test_a_model_without_channel_expansion_takes_no_stable_diffusion(tmp_path: Path) -> None:
    config = tiny()
    target = GleSam(replace(config, gle=replace(config.gle, channel_expansion=False)))
    message = refusal(load_unet, target, tmp_path)
    assert "tiny-sd15 takes no Stable Diffusion U-Net, whose 4 channels need channel expansion" in message
