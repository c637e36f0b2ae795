"""DiffBIR v2 is read from its official files, strictly, and runs in glesam-eval."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_runs import attempted, evaluated, rows_of, write_data
from tiny_diffbir import BASE, built, official_tensors, write_official_files
from tiny_text_encoder import save_clip
from torch import Tensor

from glesam.official import diffbir as official
from glesam.official.diffbir import load_diffbir, read_diffbir
from glesam.restorers.diffbir import tiny_diffbir
from glesam_runtime.errors import CheckpointError

CONTROL_CONV = "input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def tensors() -> dict[str, dict[str, Tensor]]:
    return official_tensors()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Official files of the tests' size."""
    return write_official_files(tmp_path / "diffbir")


@torch.no_grad()
def test_every_tensor_is_read(folder: Path) -> None:
    model, expected = read_diffbir(folder, tiny_diffbir()), built().float()
    own = dict(model.named_parameters())
    for name, tensor in expected.named_parameters():
        assert torch.equal(own[name], tensor), name
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


@torch.no_grad()
def test_the_prompts_are_encoded_the_negative_one_first(folder: Path) -> None:
    contexts = read_diffbir(folder, tiny_diffbir()).denoiser.get_buffer("contexts")
    start_end_and_padding = torch.tensor([[5, 6, 0, 0, 0, 0, 0]])
    encoder = save_clip(folder / "again")
    torch.testing.assert_close(contexts[1:], encoder(start_end_and_padding).last_hidden_state)
    assert not torch.equal(contexts[0], contexts[1])


def test_other_writers_files_are_read(folder: Path, tensors: dict[str, dict[str, Tensor]]) -> None:
    """The base as Lightning's .ckpt, and a network that DataParallel saved."""
    (folder / f"{BASE}.safetensors").unlink()
    torch.save({"state_dict": tensors[BASE] | {"betas": torch.zeros(3)}, "epoch": 3}, folder / f"{BASE}.ckpt")
    torch.save({f"module.{name}": tensor for name, tensor in tensors["v2"].items()}, folder / "v2.pth")
    model = read_diffbir(folder, tiny_diffbir())
    assert torch.equal(model.denoiser.control.conv_in.weight, tensors["v2"][CONTROL_CONV])


def changed(file: str, change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        contents = torch.load(folder / file, weights_only=True)
        change(contents)
        torch.save(contents, folder / file)

    return write


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (
        lambda folder: (folder / "v2.pth").unlink(),
        "lacks v2.pth; expected DiffBIR v2's BSRNet.pth",
    ),
    "no base": (lambda folder: (folder / f"{BASE}.safetensors").unlink(), f"lacks {BASE}.safetensors"),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer").rename(folder / "t"),
        "cannot encode a prompt with",
    ),
    "a tensor less": (
        changed("v2.pth", lambda named: named.pop("zero_convs.3.0.bias")),
        "v2.pth does not fit this model: 1 missing tensor (zero_convs.3.0.bias)",
    ),
    "a tensor more": (
        changed("BSRNet.pth", lambda named: named.update(more=torch.zeros(1))),
        "BSRNet.pth does not fit this model: 1 unknown tensor (more)",
    ),
    "a plain ControlNet": (
        changed("v2.pth", lambda named: named.update({CONTROL_CONV: torch.zeros(32, 4, 3, 3)})),
        f"{CONTROL_CONV} [32, 4, 3, 3] instead of [32, 8, 3, 3]",
    ),
    "not finite": (
        changed("v2.pth", lambda named: named[CONTROL_CONV].fill_(torch.nan)),
        f"{CONTROL_CONV} holds NaN or infinite values",
    ),
    "code": (lambda folder: torch.save(print, folder / "v2.pth"), "it holds more than tensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_files_are_refused_in_one_line(folder: Path, what: str) -> None:
    change, expected = REFUSED[what]
    change(folder)
    with pytest.raises(CheckpointError) as error:
        load_diffbir(folder, tiny_diffbir())
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_text_encoder_of_another_width_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"encodes prompts to \[2, 5, 24\], DiffBIR takes \[2, 7, 24\]"):
        original = official.encode_prompt
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(official, "encode_prompt", lambda path, _, text: original(path, 5, text))
            load_diffbir(folder, tiny_diffbir())


def test_its_row_stands_in_the_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "DiffBirConfig", tiny_diffbir)
    few = partial(official.DiffBirRestorer, steps=2, least_side=64)
    monkeypatch.setattr(official, "DiffBirRestorer", few)
    data, out = write_data(tmp_path / "data", 1), tmp_path / "out"
    evaluated(data, out, "--methods", "box,restored", "--levels", "clean", "--restorer", folder)
    assert {row["method"] for row in rows_of(out)} == {"box", "restored"}
    table = (out / "table.md").read_text()
    assert f"restored: DiffBIR v2 {folder}, sha256 BSRNet.pth " in table
    assert "2 steps, guidance 4, seed 0" in table


def test_an_empty_folder_is_refused_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    data = write_data(tmp_path / "data", 1)
    result = attempted(data, tmp_path / "out", "--methods", "restored", "--restorer", tmp_path / "empty")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert f"lacks BSRNet.pth, v2.pth, {BASE}.safetensors; expected DiffBIR v2's" in line
