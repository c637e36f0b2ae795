"""RobustSAM: N prompts at once, the image's part once, and official files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_robust_sam import CONFIG, assert_close, in_float64, picture, prompts, tiny_robust_sam

from glesam.config import SamConfig, nano, sam_vit_b, sam_vit_h, sam_vit_l, tiny
from glesam.model import GleSam
from glesam.official.robust_sam import load_robust_sam
from glesam.official.sam import load_sam, sam_type_of
from glesam.restorers.robust_features import FourierBlock
from glesam.restorers.robust_sam import RobustSam
from glesam_runtime.errors import CheckpointError, InputError

KEYS = Path(__file__).parents[1] / "data" / "robustsam_decoder_keys.json"


@pytest.fixture(scope="module")
def exact() -> RobustSam:
    model: RobustSam = in_float64(tiny_robust_sam())
    return model


@pytest.mark.parametrize(("size", "config"), [("b", sam_vit_b), ("l", sam_vit_l), ("h", sam_vit_h)])
def test_its_tensors_have_the_official_names_and_shapes(size: str, config: Callable[[], SamConfig]) -> None:
    with torch.device("meta"):
        model = RobustSam(config())
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
    embeddings, early = model.encode(images)
    together = model.decode(embeddings, model.restore(embeddings, early), *inputs)
    for i in range(2):
        alone = model(images[i : i + 1], *(tensor[2 * i : 2 * i + 2] for tensor in inputs))
        for one, other in zip(together, alone, strict=True):
            assert_close(one[2 * i : 2 * i + 2], other)


@torch.no_grad()
def test_robust_masks_are_not_sams(exact: RobustSam) -> None:
    model, (coords, labels, masks, has_mask) = exact, prompts()
    embeddings, early = model.encode(picture())
    robust, _ = model.decode(embeddings, model.restore(embeddings, early), coords, labels, masks, has_mask)
    other, _ = model.decode(embeddings, model.restore(embeddings, 2 * early), coords, labels, masks, has_mask)
    assert not torch.allclose(robust, other)


def test_it_needs_sams_own_networks() -> None:
    with pytest.raises(InputError, match="found efficientnet_lite with prompt_maps; use vit_b"):
        RobustSam(nano().sam)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_is_loaded_whole(tmp_path: Path, prefix: str) -> None:
    saved = tiny_robust_sam()
    file = tmp_path / "robustsam.pth"
    torch.save({prefix + name: tensor for name, tensor in saved.state_dict().items()}, file)
    loaded = load_robust_sam(file, CONFIG)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name]), name


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    robust, plain, damaged = (tmp_path / name for name in ("robust.pth", "sam.pth", "damaged.pth"))
    tensors = tiny_robust_sam().state_dict()
    torch.save(tensors, robust)
    del tensors["mask_decoder.fourier_mask_features.fgm_block.conv_layer.bias"]
    torch.save(tensors, damaged)
    sam = {
        f"{part}.{name}": tensor
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
        for name, tensor in getattr(GleSam(tiny()), part).state_dict().items()
    }
    torch.save(sam, plain)
    with pytest.raises(CheckpointError, match=r"plain SAM, expected a RobustSAM, such as[^\n]*$"):
        load_robust_sam(plain, CONFIG)
    with pytest.raises(CheckpointError, match=r"1 missing tensor \(mask_decoder.fourier_mask[^\n]*$"):
        load_robust_sam(damaged, CONFIG)
    with pytest.raises(CheckpointError, match=r"width 32; expected 768[^\n]*$"):
        load_robust_sam(robust)
    with pytest.raises(CheckpointError, match=r"is a RobustSAM, expected a SAM[^\n]*$"):
        load_sam(GleSam(tiny()), robust)
    with pytest.raises(CheckpointError, match=r"is a RobustSAM, expected a SAM[^\n]*$"):
        sam_type_of(robust)
