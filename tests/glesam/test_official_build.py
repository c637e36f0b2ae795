"""A whole model from official files, and glesam-convert, which makes a checkpoint of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from glesam.cli.convert import app, next_command
from glesam.config import GleSamConfig, official, tiny
from glesam.gle import build_base_unet, load_base_weights
from glesam.model import GleSam
from glesam.official.build import OfficialFiles, base_of, build_official, config_of
from glesam.official.decoder import save_decoder
from glesam.official.lora import lora_parameters, save_lora
from glesam_runtime.errors import CheckpointError

SD15 = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
"""The model's own config.json, without `use_linear_projection`."""
SD21 = SD15 | {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}


@dataclass(frozen=True)
class Files:
    """The files of the parts of `model`."""

    model: GleSam
    sam: Path
    unet: Path
    text_embedding: Path
    lora: Path
    decoder: Path

    def build(self) -> GleSam:
        return build_official(
            self.sam, self.unet, self.text_embedding, self.lora, self.decoder, self.model.config
        )


@pytest.fixture
def files(model: GleSam, tmp_path: Path) -> Files:
    base = build_base_unet(model.config.gle.unet)
    base.save_pretrained(tmp_path / "unet")
    load_base_weights(model.gle.unet, base)
    model.gle.get_buffer("text_embedding").normal_()
    sam = {name: t for name, t in model.state_dict().items() if not name.startswith("gle.")}
    torch.save(sam, tmp_path / "sam.pth")
    torch.save(model.gle.get_buffer("text_embedding"), tmp_path / "empty.pt")
    with torch.no_grad():
        for parameter in [*lora_parameters(model).values(), *model.mask_decoder.parameters()]:
            parameter.normal_(std=0.1)
    save_lora(model, tmp_path / "lora.safetensors")
    save_decoder(model, tmp_path / "ft-decoder.pth")
    names = ("sam.pth", "unet", "empty.pt", "lora.safetensors", "ft-decoder.pth")
    return Files(model, *(tmp_path / name for name in names))


def test_a_model_of_official_files_is_the_one_they_were_written_from(files: Files) -> None:
    built = files.build()
    assert not built.training
    own, actual = files.model.state_dict(), built.state_dict()
    assert own.keys() == actual.keys()
    for name, tensor in actual.items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, own[name]), name


@torch.no_grad()
def test_it_computes_what_the_original_computed(files: Files) -> None:
    """Nothing that is not in a state dict may have stayed on the meta device."""
    embeddings = torch.randn(1, 256, 4, 4)
    torch.testing.assert_close(files.build().enhance(embeddings), files.model.enhance(embeddings))


def test_training_it_leaves_the_files_alone(files: Files) -> None:
    """Their tensors are mapped into the model, not copied."""
    before = {path: path.read_bytes() for path in files.sam.parent.rglob("*") if path.is_file()}
    built = files.build()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(1)
    assert all(path.read_bytes() == content for path, content in before.items())


@torch.no_grad()
def test_without_a_lora_file_gle_is_its_base(files: Files) -> None:
    built = build_official(files.sam, files.unet, files.text_embedding, config=files.model.config)
    factors = lora_parameters(built)
    assert all((factor == 0).all() for name, factor in factors.items() if "lora_B" in name)
    assert all(factor.std() > 0 for name, factor in factors.items() if "lora_A" in name)
    assert all(factor.requires_grad for factor in factors.values())


def write_config(folder: Path, config: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("width", "sam_type"), [(768, "vit_b"), (1024, "vit_l"), (1280, "vit_h")])
@pytest.mark.parametrize(("unet", "base"), [(SD15, "sd15"), (SD21, "sd21")])
def test_sizes_are_read_off_the_files(
    tmp_path: Path, width: int, sam_type: str, unet: dict[str, object], base: str
) -> None:
    sam = {"image_encoder.patch_embed.proj.weight": torch.zeros(width, 3, 16, 16)}
    torch.save(sam, tmp_path / "sam.pth")
    lora = {"unet.x.attn2.to_k.lora.down.weight": torch.zeros(4, 768)}
    save_file(lora, tmp_path / "lora.safetensors")
    folder = write_config(tmp_path / "unet", unet)
    assert config_of(tmp_path / "sam.pth", folder) == official(sam_type, base)  # type: ignore[arg-type]
    actual = config_of(tmp_path / "sam.pth", folder, tmp_path / "lora.safetensors", gamma=5.0)
    assert actual == official(sam_type, base, gamma=5.0, lora_rank=4)  # type: ignore[arg-type]
    assert actual.gle.lora_alpha == 4.0


def test_a_sam_of_an_unknown_width_is_refused(tmp_path: Path) -> None:
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(192, 3, 16, 16)}, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match=r"width 192; expected 768 \(vit_b\)"):
        config_of(tmp_path / "sam.pth", write_config(tmp_path / "unet", SD15))


def test_a_base_that_is_neither_is_refused(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "unet", SD15 | {"block_out_channels": [320, 640, 1280]})
    with pytest.raises(CheckpointError, match=r"neither Stable Diffusion 1\.5's U-Net nor 2\.1-base's"):
        base_of(folder)


def test_a_lora_of_the_other_base_is_refused_before_anything_else_fails(files: Files) -> None:
    tensors = {"unet.x.attn2.to_k.lora.down.weight": torch.zeros(4, 1024)}
    save_file(tensors, files.lora)
    with pytest.raises(CheckpointError, match=r"rank 4 for Stable Diffusion 2\.1, but the model has rank 4"):
        files.build()


def test_a_config_that_the_files_do_not_fit_is_refused(files: Files) -> None:
    config = replace(tiny("sd21"), sam=files.model.config.sam)
    with pytest.raises(CheckpointError, match="attention_head_dim"):
        build_official(files.sam, files.unet, files.text_embedding, config=config)


@pytest.fixture
def tiny_config(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts files of a size that is neither SAM's nor Stable Diffusion's."""

    def config_of(*_: object, timestep: int, **_options: object) -> GleSamConfig:
        config = files.model.config
        return replace(config, gle=replace(config.gle, timestep=timestep))

    monkeypatch.setattr("glesam.official.build.config_of", config_of)


def official_files(files: Files) -> OfficialFiles:
    return OfficialFiles(files.sam, files.unet, files.lora, files.decoder, files.text_embedding)


@pytest.mark.usefixtures("tiny_config")
def test_a_commands_options_become_the_model_and_the_files_it_was_made_from(files: Files) -> None:
    official = replace(official_files(files), sam_type="tiny", timestep=7)
    built = official.load()
    assert built.config.gle.timestep == 7
    own = files.model.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in built.state_dict().items())
    actual = official.files()
    assert all(path.is_file() for path in actual.values())
    assert actual["sam_checkpoint/sam.pth"] == files.sam
    assert actual["decoder/ft-decoder.pth"] == files.decoder
    assert actual["unet/diffusion_pytorch_model.safetensors"].parent == files.unet
    assert {"unet/config.json", "lora/lora.safetensors", "text_embedding/empty.pt"} < actual.keys()


@pytest.mark.usefixtures("tiny_config")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sam_checkpoint": None, "lora": None}, "lack --sam-checkpoint and --lora; expected"),
        ({"unet": None}, "lack --unet; expected --sam-checkpoint, --unet, --lora together"),
        ({"sam_type": "vit_h"}, "sam.pth is a SAM tiny, expected vit_h; give the other file"),
        ({"text_embedding": None}, "no tokenizer/ and text_encoder/ in .* --text-embedding"),
        ({"gamma": 0.0}, "gamma 0: expected a number above 0"),
        ({"gamma": float("nan")}, "gamma nan: expected"),
        ({"timestep": 1000}, "timestep 1000: expected a whole number from 0 to 999"),
        ({"new_lora": True}, "--new-lora starts a LoRA, and --lora .* is a trained one; leave one"),
    ],
)
def test_options_that_make_no_model_are_refused(files: Files, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        replace(official_files(files), **change).load()


def test_the_text_encoder_may_lie_beside_the_unet(files: Files) -> None:
    for part in ("tokenizer", "text_encoder"):
        (files.unet.parent / part).mkdir()
        (files.unet.parent / part / "config.json").write_text("{}")
    for unet in (files.unet, files.unet.parent):
        actual = replace(official_files(files), unet=unet, text_embedding=None).files()
        assert actual["text_encoder/config.json"] == files.unet.parent / "text_encoder" / "config.json"


def convert(files: Files, **changes: object) -> tuple[int, str, str]:
    """Runs glesam-convert on `files`; None leaves an option out, True makes it a flag."""
    arguments = {
        "--sam-checkpoint": files.sam,
        "--unet": files.unet,
        "--lora": files.lora,
        "--decoder": files.decoder,
        "--text-embedding": files.text_embedding,
    }
    arguments |= {f"--{name}": value for name, value in changes.items()}
    options = [
        str(part) for pair in arguments.items() for part in pair if None not in pair and part is not True
    ]
    result = CliRunner().invoke(app, options)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("tiny_config")
def test_glesam_convert_writes_the_checkpoint_of_the_pieces(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the second time it replaces a checkpoint
        code, stdout, stderr = convert(files, out=out)
        assert (code, stderr) == (0, "")
    assert re.fullmatch(rf"wrote {out}, \d+\.\d MiB; next: glesam-export {out} --precision fp16\n", stdout)
    own = files.model.state_dict()
    actual = GleSam.from_pretrained(out).state_dict()
    assert own.keys() == actual.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in actual.items())


@pytest.mark.usefixtures("tiny_config")
def test_what_cannot_be_converted_is_refused_in_one_line(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"unet.x.attn2.to_k.lora.down.weight": torch.zeros(4, 1024)}, other)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.png").write_text("mine")
    foreign, older = tmp_path / "foreign", tmp_path / "older"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "clip"}')
    (foreign / "model.safetensors").write_text("another model")
    files.model.save_pretrained(older)
    (older / "lora.safetensors").write_bytes(files.lora.read_bytes())
    refusals: list[tuple[dict[str, object], str]] = [
        ({"lora": other}, "rank 4 for Stable Diffusion 2.1, but the model has rank 4"),
        ({"lora": None}, "the official files lack --lora; expected"),
        ({"unet": None}, "the official files lack --unet; expected"),
        ({"decoder": tmp_path / "absent.pth"}, "absent.pth"),
        ({"out": photos}, f"{photos} exists and is not a checkpoint; choose another folder with --out"),
        ({"out": photos / "holiday.png"}, "exists and is not a checkpoint"),
        ({"out": foreign}, f"{foreign} exists and is not a checkpoint"),
        ({"out": older, "lora": older / "lora.safetensors"}, f"lora.safetensors lies in {older}, which is"),
    ]
    for changes, message in refusals:
        code, stdout, stderr = convert(files, **({"out": tmp_path / "out"} | changes))
        (line,) = stderr.splitlines()
        assert (code, stdout) == (2, "")
        assert line.startswith("error: ")
        assert message in line
        assert not (tmp_path / "out").exists()
    assert [path.name for path in photos.iterdir()] == ["holiday.png"]
    assert (foreign / "model.safetensors").read_text() == "another model"
    assert (older / "lora.safetensors").read_bytes() == files.lora.read_bytes()


@pytest.mark.usefixtures("tiny_config")
def test_an_older_checkpoint_is_replaced_with_all_that_lies_beside_it(files: Files, tmp_path: Path) -> None:
    """Its calibration and tuned parts belong to the older weights."""
    out = tmp_path / "out"
    files.model.save_pretrained(out)
    (out / "calibration.json").write_text("{}")
    before = (out / "model.safetensors").read_bytes()
    assert convert(files, out=out, decoder=None)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert (out / "model.safetensors").read_bytes() != before  # SAM's own decoder


@pytest.mark.usefixtures("tiny_config")
def test_a_failed_conversion_leaves_the_older_checkpoint(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    files.model.save_pretrained(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(self: GleSam, folder: Path) -> None:
        (folder / "config.json").write_text("half")
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(GleSam, "save_pretrained", full)
    code, _, stderr = convert(files, out=out)
    assert code == 2
    assert "No space left on device" in stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.usefixtures("tiny_config")
def test_a_new_lora_changes_nothing_yet_and_is_trained_next(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, _ = convert(files, out=out, lora=None, **{"new-lora": True})
    assert code == 0
    assert stdout.endswith(f"next: glesam-train --stage 1 --model {out} --data DIR\n")
    factors = lora_parameters(GleSam.from_pretrained(out))
    assert all((factor == 0).all() for name, factor in factors.items() if "lora_B" in name)
    assert all(factor.std() > 0 for name, factor in factors.items() if "lora_A" in name)


def test_the_next_command_has_paths_in_quotes_where_a_shell_needs_them() -> None:
    out = Path("my models/new")
    assert next_command(out, False, None) == "glesam-export 'my models/new' --precision fp16"
    assert next_command(out, True, None) == "glesam-train --stage 1 --model 'my models/new' --data DIR"
    taught = next_command(out, False, "my models/old")
    assert taught == "glesam-train --stage 1 --model 'my models/new' --teacher 'my models/old' --data DIR"
