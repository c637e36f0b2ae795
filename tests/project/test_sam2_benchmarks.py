"""The benchmarks of SAM 2 at full size run as they are, on a tiny SAM 2."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CalledProcessError

import pytest
import torch
import typer
from benchmark_modules import benchmark
from typer.testing import CliRunner

from glesam.config import tiny_sam2
from glesam.model import GleSam
from glesam.official.build import build_official
from glesam_runtime.errors import OutputError


def test_files_in_the_official_format_are_read_with_every_tensor(tmp_path: Path) -> None:
    official = benchmark("harness.official")
    official.write_official_files(tiny_sam2(), tmp_path)
    names = torch.load(tmp_path / official.SAM, weights_only=True)["model"].keys()
    assert {"no_mem_embed", "sam_mask_decoder.conv_s0.weight", "image_encoder.trunk.pos_embed"} <= names
    sam, unet, text = (tmp_path / name for name in (official.SAM, official.UNET, official.TEXT))
    lora, decoder = tmp_path / official.LORA, tmp_path / official.DECODER
    model = build_official(sam, unet, text, lora, decoder, tiny_sam2())
    parts = (model.image_encoder, model.prompt_encoder, model.mask_decoder)
    assert all(bool(parameter.any()) for part in parts for parameter in part.parameters())


def test_official_files_whose_writing_ends_early_are_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official, export = benchmark("harness.official"), benchmark("fullsize_export")
    files, commands = tmp_path / "vit_b-sd15", list[str]()
    interrupted: list[BaseException] = [KeyboardInterrupt(), CalledProcessError(-9, "write")]

    def write(words: list[str], check: bool) -> None:
        assert check
        folder = Path(words[-1])
        (folder / official.SAM).write_bytes(b"half")
        if interrupted:
            raise interrupted.pop()
        (folder / official.DECODER).write_bytes(b"whole")

    monkeypatch.setattr(official.subprocess, "run", write)
    monkeypatch.setattr(export, "command", lambda program, _: commands.append(program))
    for kind in (CalledProcessError, KeyboardInterrupt):
        with pytest.raises(kind):
            export.checkpoint_of("vit_b-sd15", tmp_path)
        assert list(tmp_path.iterdir()) == []
    assert commands == []
    export.checkpoint_of("vit_b-sd15", tmp_path)
    assert sorted(path.name for path in files.iterdir()) == sorted([official.SAM, official.DECODER])
    interrupted.append(AssertionError("they are written once"))
    export.checkpoint_of("vit_b-sd15", tmp_path)
    assert commands == ["glesam-convert"] * 2


def test_what_an_earlier_run_left_half_written_is_refused(tmp_path: Path) -> None:
    """The harness wrote into the folder itself once."""
    (tmp_path / "vit_b-sd15").mkdir()
    (tmp_path / "vit_b-sd15" / benchmark("harness.official").SAM).write_bytes(b"half")
    with pytest.raises(OutputError, match="vit_b-sd15 exists and is not a folder of official files"):
        benchmark("fullsize_export").checkpoint_of("vit_b-sd15", tmp_path)


def test_a_small_gle_leaves_sam_as_it_is(sam2_checkpoint: Path, tmp_path: Path) -> None:
    before = GleSam.from_pretrained(sam2_checkpoint)
    before.save_pretrained(tmp_path / "checkpoint")
    small = GleSam.from_pretrained(benchmark("fullsize_export").with_small_gle(tmp_path / "checkpoint"))
    assert small.config.sam == before.config.sam
    after = small.state_dict()
    same = {name: torch.equal(tensor, after[name]) for name, tensor in before.state_dict().items()}
    assert all(equal for name, equal in same.items() if not name.startswith("gle."))
    assert not all(same.values())


def test_the_speed_of_a_sam_2_is_compared_with_transformers_that_computes_the_same(
    sam2_checkpoint: Path, sam2_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = benchmark("sam2_speed")
    monkeypatch.setattr(benchmark("harness.record"), "REPOSITORY", tmp_path)
    app = typer.Typer()
    app.command()(speed.main)
    options = [str(sam2_bundle), "--checkpoint", str(sam2_checkpoint), "--rounds", "1"]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0
    (record,) = (json.loads(path.read_text()) for path in tmp_path.rglob("*.json"))
    rows = {row["contender"]: row for row in record["figures"]}
    assert list(rows) == [speed.EAGER, "onnxruntime fp32", "openvino fp32"]
    assert all(row["mask_iou"] > 0.99 for row in rows.values())
    assert all(0 < row["gle_share"] < 1 and row["encode_ratio"] > 0 for row in rows.values())
    assert (rows[speed.EAGER]["ratio"], record["topic"]) == (1, "full_size")
