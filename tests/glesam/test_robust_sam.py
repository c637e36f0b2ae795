"""RobustSAM: N prompts at once, the image's part once, and official files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_robust_sam import (
    CONFIG,
    EARLY_OF_FOUR,
    assert_close,
    in_float64,
    picture,
    prompts,
    tiny_robust_sam,
)

from glesam.config import (
    RobustSamConfig,
    SamConfig,
    nano,
    robust_sam,
    sam_vit_b,
    sam_vit_h,
    sam_vit_l,
    tiny,
)
from glesam.model import GleSam
from glesam.official.robust_sam import load_robust_sam
from glesam.official.sam import load_sam, sam_type_of
from glesam.reference import load_model
from glesam.restorers.robust_features import FourierBlock
from glesam.restorers.robust_sam import RobustSam
from glesam_runtime.errors import CheckpointError, InputError

KEYS = Path(__file__).parents[1] / "data" / "robustsam_decoder_keys.json"


@pytest.fixture(scope="module")
def exact() -> RobustSam:
    model: RobustSam = in_float64(tiny_robust_sam())
    return model


@pytest.mark.parametrize(("size", "sam"), [("b", sam_vit_b), ("l", sam_vit_l), ("h", sam_vit_h)])
def test_its_tensors_have_the_official_names_and_shapes(size: str, sam: Callable[[], SamConfig]) -> None:
    with torch.device("meta"):
        model = RobustSam(robust_sam(sam()))
    own = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    decoder = {name: shape for name, shape in own.items() if name.startswith("mask_decoder.")}
    assert decoder == dict(json.loads(KEYS.read_text())[size])
    assert {name.partition(".")[0] for name in own} == {"image_encoder", "prompt_encoder", "mask_decoder"}


@torch.no_grad()
def test_a_fourier_block_that_keeps_the_magnitude_keeps_the_features() -> None:
    block = FourierBlock(3).double()
    block.conv_layer.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
    block.conv_layer.bias.zero_()
    x = torch.randn(1, 3, 8, 12).double()
    assert_close(block(x), x)


@torch.no_grad()
def test_prompts_at_once_are_prompts_one_by_one(exact: RobustSam) -> None:
    model, inputs = exact, prompts()
    together = model(picture(), *inputs)
    for i in range(3):
        alone = model(picture(), *(tensor[i : i + 1] for tensor in inputs))
        for one, other in zip(together, alone, strict=True):
            assert_close(one[i : i + 1], other)


@torch.no_grad()
def test_prompts_of_two_images_share_a_batch(exact: RobustSam) -> None:
    model = exact
    inputs = [torch.cat([tensor[:2], tensor[1:]]) for tensor in prompts()]
    images = torch.cat([picture(), picture().flip(3)])
    together = model.decode(model.enhance(model.encode(images)), *inputs)
    for i in range(2):
        alone = model(images[i : i + 1], *(tensor[2 * i : 2 * i + 2] for tensor in inputs))
        for one, other in zip(together, alone, strict=True):
            assert_close(one[2 * i : 2 * i + 2], other)


@torch.no_grad()
def test_early_features_change_the_masks(exact: RobustSam) -> None:
    model, inputs = exact, prompts()
    features = model.encode(picture())
    changed = torch.cat([features[:, :256], 2 * features[:, 256:]], dim=1)
    masks, other = (model.decode(model.enhance(some), *inputs)[0] for some in (features, changed))
    assert not torch.allclose(masks, other)


@pytest.mark.parametrize(
    ("sam", "message"),
    [
        (nano().sam, "found prompt_maps on efficientnet_lite; use vit_b"),
        (sam_vit_b(), "found two_way on vit; use vit_b"),
        (replace(CONFIG.sam, image_size=80), "image_size 80: expected a multiple of 64"),
        (replace(CONFIG.sam, refinements=1), "refinements 1: expected 0, RobustSAM has none"),
        (replace(CONFIG.sam, encoder=replace(EARLY_OF_FOUR, global_attn_indexes=())), "an encoder of none"),
    ],
)
def test_a_configuration_that_it_has_not_is_refused(sam: SamConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RobustSamConfig("other", sam)


def test_gle_and_its_decoder_exclude_each_other() -> None:
    with pytest.raises(InputError, match="RobustSAM's decoder with GLE"):
        replace(tiny(), sam=CONFIG.sam)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_is_loaded_whole(tmp_path: Path, prefix: str) -> None:
    saved = tiny_robust_sam()
    file = tmp_path / "robustsam.pth"
    torch.save({prefix + name: tensor for name, tensor in saved.state_dict().items()}, file)
    loaded = load_robust_sam(file, CONFIG)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name]), name


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    saved = tiny_robust_sam()
    saved.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, RobustSam) and loaded.config == CONFIG and not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name]), name


def test_a_checkpoint_of_another_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    robust, gle = tmp_path / "robust", tmp_path / "gle"
    tiny_robust_sam().save_pretrained(robust)
    GleSam(tiny()).save_pretrained(gle)
    with pytest.raises(CheckpointError, match=r"it is a RobustSAM; give the folder of a GleSAM$"):
        GleSam.from_pretrained(robust)
    with pytest.raises(CheckpointError, match=r"it is a GleSAM; give the folder of a RobustSAM$"):
        RobustSam.from_pretrained(gle)
    (robust / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"not a GleSAM config.json[^\n]*$"):
        load_model(robust)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files of a RobustSAM, of a SAM, and of RobustSAMs that are damaged."""
    whole = dict(tiny_robust_sam().state_dict())
    name = "mask_decoder.fourier_mask_features.fgm_block.conv_layer.bias"
    first = "mask_decoder.fourier_first_layer_features.conv_layer.weight"
    sam = {
        f"{part}.{name}": tensor
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
        for name, tensor in getattr(GleSam(tiny()), part).state_dict().items()
    }
    tensors: dict[str, dict[str, torch.Tensor]] = {
        "whole": whole,
        "plain": sam,
        "missing": {key: tensor for key, tensor in whole.items() if key != name},
        "mixed": whole | {first: torch.zeros(48, 96, 3, 3)},  # another size's
        "nan": whole | {name: torch.full((64,), torch.nan)},
    }
    paths = {key: tmp_path / f"{key}.pth" for key in (*tensors, "truncated")}
    for key, some in tensors.items():
        torch.save(some, paths[key])
    paths["truncated"].write_bytes(paths["whole"].read_bytes()[:-1000])
    return paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", "it is a plain SAM, expected a RobustSAM, such as"),
        ("missing", r"1 missing tensor \(mask_decoder.fourier_mask_features"),
        ("mixed", r"1 misshapen tensor \(mask_decoder.fourier_first_layer_features"),
        ("nan", "fgm_block.conv_layer.bias"),
        ("truncated", "cannot read tensors from"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    files: dict[str, Path], name: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_robust_sam(files[name], CONFIG)
    assert f"{name}.pth" in str(refusal.value) and "\n" not in str(refusal.value)


def test_its_file_is_no_sams_file_and_names_a_released_size(files: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"width 32; expected 768[^\n]*$"):
        load_robust_sam(files["whole"])
    for read in (sam_type_of, partial(load_sam, GleSam(tiny()))):
        with pytest.raises(CheckpointError, match=r"is a RobustSAM, expected a SAM[^\n]*alone$"):
            read(files["whole"])
