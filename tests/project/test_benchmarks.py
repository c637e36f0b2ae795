"""Every benchmark imports, explains itself, and shares the options and the record of all others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from benchmark_modules import BENCHMARKS, NAMES, benchmark
from typer.testing import CliRunner

from glesam.config import official, tiny
from glesam.evaluation.results import COLUMNS
from glesam.gle import Gle
from glesam.model import GleSam
from glesam_runtime import Bundle
from glesam_runtime.image_io.folders import Found

ROOT = Path(__file__).parents[2]
SCORES = [("x", "clean", 0.8), ("y", "clean", 0.9), ("x", "3", 0.6), ("y", "3", 0.8)]


def test_there_are_benchmarks() -> None:
    assert {"nano_latency", "decoder_prompts", "golden_parity"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_parses_its_options(name: str) -> None:
    module = benchmark(name)
    app = typer.Typer()
    app.command()(module.main)
    result = CliRunner().invoke(app, ["--help"], terminal_width=200)
    assert result.exit_code == 0, result.output
    assert "--record" in result.output and "--note" in result.output
    assert f"python benchmarks/{name}.py" in (module.__doc__ or ""), "the docstring says how to run it"


def test_large_figures_are_shown_with_four_digits() -> None:
    column = benchmark("harness.table").column
    assert column([84.462, 140.75, None]) == ["84.5", "140.8", ""]
    assert column([1805.662, 5.1]) == ["1,806", "5"]
    assert column([0.99999, 1.0]) == ["0.99999", "1.00000"]
    assert column([1.1e-05, 0.012]) == ["1.1e-05", "1.2e-02"]


def test_a_run_prints_its_table_and_writes_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = benchmark("harness.record")
    monkeypatch.setattr(record, "REPOSITORY", tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["/here/benchmarks/x.py", "/there/photos", "--note", "busy", "--rounds", "2"]
    )
    run = record.Run.begin("nano_speed", "Something")
    path = run.finish([{"what": "a", "encode_ms": 1.25}], record=False, note="busy")
    assert path.parent == tmp_path / "out/measurements/nano_speed"
    read = record.load(path)
    assert (read.benchmark, read.title, read.proof, read.note) == ("x", "Something", "ran", "busy")
    assert read.command == "python benchmarks/x.py photos --rounds 2"
    assert read.figures == [{"what": "a", "encode_ms": 1.25}]
    assert read.machine.cores == len(os.sched_getaffinity(0))
    again = run.finish([{"what": "b"}], record=False)
    assert again != path and path.exists(), "an earlier record stays"


def test_a_record_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    record = benchmark("harness.record")
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"schema": 1, "speed": 3}))
    with pytest.raises(ValueError, match=r"a\.json: expected the fields .*'speed'"):
        record.load(path)


def test_interleaved_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contender(name: str) -> dict[str, float]:
        calls.append(name)
        return {"ms": float(len(calls))}

    medians = benchmark("harness.interleaved").interleaved(
        {"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=3
    )
    assert calls == ["a", "b"] * 4
    assert medians == {"a": {"ms": 5.0}, "b": {"ms": 6.0}}


def test_a_table_has_units_in_its_headings_and_decimals_in_line() -> None:
    table = benchmark("harness.table").markdown_table(
        [
            {"what": "a", "image_to_mask_ms": 1.5, "mean_iou": 0.97},
            {"what": "b", "mean_iou": 0.9993, "mib": 3491},
        ]
    )
    assert table.splitlines() == [
        "| what | image to mask [ms] | mean IoU | MiB |",
        "| --- | --- | --- | --- |",
        "| a | 1.5 | 0.9700 |  |",
        "| b |  | 0.9993 | 3,491 |",
    ]


@pytest.mark.parametrize("name", ["decoder_prompts --prompts 2 --rounds 1", "golden_parity"])
def test_a_benchmark_of_the_shipped_model_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark("harness.record"), "REPOSITORY", tmp_path)
    script, *options = name.split()
    app = typer.Typer()
    app.command()(benchmark(script).main)
    result = CliRunner().invoke(app, [*options, "--backend", "onnxruntime"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "| nano" in result.output
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_variants_are_read_from_the_csv_of_glesam_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = benchmark("nano_variants")

    def eval_of_two_pictures(command: list[str], check: bool) -> None:
        assert command[1:3] == ["--data=DATA", "--levels=clean,3"]
        lines = [f"a,{name},box,{level},baseline,sam,1,0,{iou},0,0,0" for name, level, iou in SCORES]
        (tmp_path / "results.csv").write_text("\n".join([",".join(COLUMNS[:12]), *lines]))

    monkeypatch.setattr(benchmark("harness.evaluated").subprocess, "run", eval_of_two_pictures)
    rows = variants.evaluate(Path("DATA"), None, ["baseline=nano:sam"], tmp_path)
    assert rows == [{"variant": "baseline", "method": "sam", "clean_iou": 0.85, "lq3_iou": 0.7}]


def test_levels_are_summed_up_for_a_set_of_pictures() -> None:
    """Two of three pictures are left as they are."""

    class Predictor:
        degradation_level: float | None = None

        def set_image(self, image: np.ndarray) -> None:
            self.degradation_level = 1.5 if image.mean() > 100 else 0.0

    module, photo = benchmark("degradation_level"), ROOT / "examples/photos/astronaut_lq3.jpg"
    brightness = iter([0, 0, 200])
    row = module.level_row(Predictor(), "clean", [photo] * 3, lambda image, _: image * 0 + next(brightness))
    assert row == {"pictures": "clean", "level": 0.5, "deviation": 0.707, "zero": 0.667}
    assert list(module.spread(photo.parent, 2)) == [photo]


@pytest.mark.parametrize("count", [150, 199, 100, 3])
def test_pictures_of_a_folder_are_spread_over_all_of_it(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, paths = benchmark("degradation_level"), [Path(f"{i:03}.jpg") for i in range(count)]
    monkeypatch.setattr(module, "pictures_below", lambda _: Found(tuple(paths)))
    chosen = [paths.index(path) for path in module.spread(tmp_path, 100)]
    assert len(chosen) == min(count, 100)
    assert chosen[0] == 0 and chosen[-1] >= count - 2
    assert len(set(np.diff(chosen))) <= 2
    paths.clear()
    with pytest.raises(typer.BadParameter, match="expected pictures, found none"):
        module.spread(tmp_path, 100)


def test_the_memory_of_sam_alone_is_without_gles_unet() -> None:
    module = benchmark("restore_then_segment")
    config = module.merged(official("vit_b", "sd21"))
    alone = module.without_gle(config)
    assert alone.sam == config.sam
    with torch.device("meta"):
        weights = sum(parameter.numel() for parameter in Gle(alone.gle).parameters())
    assert weights < 1_000_000


def test_contenders_without_gle_are_built_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module, built = benchmark("restore_then_segment"), list[object]()
    model = module.GleSam
    monkeypatch.setattr(module, "GleSam", lambda config: built.append(config) or model(config))
    sizes = replace(module.sizes_of("tiny", ""), glesam=module.merged(tiny("sd15")))
    for name in (module.SAM, module.RESTORED, module.GLESAM):
        module.contender(name, sizes, 1)
    without = module.without_gle(sizes.glesam)
    assert built == [without, without, sizes.glesam]


def test_a_variant_of_nano_is_trained_on_the_accelerators_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for a GPU."""
    variants, devices = benchmark("nano_variants"), list[str]()
    monkeypatch.setattr(
        variants, "train_model", lambda model, *_: devices.append(next(model.parameters()).device.type)
    )
    run = variants.TrainingRun(Path(), accelerator=SimpleNamespace(device=torch.device("meta")))
    variants.train(variants.VARIANTS["rank 4"], None, run, None)
    assert devices == ["meta"]


def test_variants_begin_with_a_models_encoder_and_decoder_and_a_new_gle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variants, reached = benchmark("nano_variants"), list[bool]()
    start = GleSam(variants.nano())
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.fill_(0.25)

    def after_sam(model: GleSam, *_: object) -> None:
        new, given = model.state_dict(), start.state_dict()
        same = {name for name in given if torch.equal(new[name], given[name])}
        assert {name for name in given if not name.startswith("gle.")} <= same
        assert not any(name.startswith("gle.unet.") for name in same)
        assert not new["gle.unet.conv_out.weight"].any(), "it begins as the skip of its step"
        reached.append(not any(parameter.requires_grad for parameter in model.parameters()))

    monkeypatch.setattr(variants, "train_after_sam", after_sam)
    variants.train(variants.VARIANTS["full rank"], None, variants.TrainingRun(Path()), start)
    assert reached == [True]


def test_a_tuned_variant_is_the_finished_model_its_gle_included_which_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = benchmark("nano_variants")
    finished = GleSam(variants.nano())
    before = {name: tensor.clone() for name, tensor in finished.state_dict().items()}

    def tune(model: GleSam, _pool: None, _run: object, stage: object, *, enhance: bool) -> None:
        assert stage == variants.NANO.tune and not enhance
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name
            tensor.zero_()

    monkeypatch.setattr(variants, "tune", tune)
    own = variants.TrainingRun(tmp_path)
    trained = variants.tuned(variants.VARIANTS["tuned, without GLE"], None, own, finished)
    assert not any(tensor.any() for tensor in trained.state_dict().values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in finished.state_dict().items())


def test_variants_of_nano_share_what_their_run_has_made(tmp_path: Path) -> None:
    """A variant whose encoder differs shares no views, and none shares the last stage."""
    variants = benchmark("nano_variants")
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "views").mkdir(parents=True)
    for name in ("sam.pt", "prior.pt", "restore.pt", "joint.pt", "statistics-0.safetensors"):
        (run / name).write_text(name)
    for name, variant in variants.VARIANTS.items():
        if variant.finished:
            assert not variant.shared
            continue
        variants.share(run, out / name, variant.shared)
        shared = {path.name for path in (out / name).iterdir()}
        assert {"sam.pt", "statistics-0.safetensors"} <= shared
        assert "joint.pt" not in shared
        assert ("views" in shared) == (variant.recipe.robust is None), name


def test_a_variant_shares_the_stages_of_one_that_is_the_same_until_then(tmp_path: Path) -> None:
    variants = benchmark("nano_variants")
    for name in ("robust.pt", "baseline.pt"):
        (tmp_path / name).write_text(name)
    shared = tmp_path / "shared"
    (shared / "views").mkdir(parents=True)
    variants.share(shared, tmp_path / "rival and GLE", variants.VARIANTS["rival and GLE"].shared)
    variants.share(tmp_path, tmp_path / "rival and GLE", variants.BETWEEN)
    assert [path.name for path in (tmp_path / "rival and GLE").iterdir()] == ["robust.pt"]
    variants.share(shared, tmp_path / "rank 4", variants.BEFORE_GLE)
    assert [path.name for path in (tmp_path / "rank 4").iterdir()] == ["views"]
    assert {variant.beside for variant in variants.VARIANTS.values()} - {""} <= variants.VARIANTS.keys()


def test_a_shortened_variant_has_its_part_of_the_steps_and_no_longer_stage_of_the_run() -> None:
    variants = benchmark("nano_variants")
    again = variants.VARIANTS["GLE, again"]
    short, joint = variants.shortened(again, 0.2, None, with_views=False), again.recipe.joint
    assert variants.shortened(again, 1.0, None, with_views=True) is again
    assert short.shared == ("sam.pt", "views")
    assert short.recipe.joint == replace(joint, loop=replace(joint.loop, steps=joint.loop.steps // 5))
    assert short.recipe.restore.loop.steps == again.recipe.restore.loop.steps // 5
    assert short.recipe.sam == again.recipe.sam and short.recipe.robust is None
    assert short.recipe.views == again.recipe.views
    rival = variants.shortened(variants.VARIANTS["rival"], 0.2, 0.01, with_views=True).recipe
    assert rival.robust.loop.steps == 800 and rival.views == again.recipe.views // 5
    assert rival.joint.loop.steps == 30


def test_an_export_has_its_parity_in_a_row() -> None:
    row = benchmark("fullsize_export").parity_of(Bundle.open().root)
    assert list(row)[:3] == ["image_encoder_error", "gle_error", "mask_decoder_error"]
    assert 0.95 < row["worst_iou"] <= row["mean_iou"] <= 1 and row["masks"] == 48


def test_a_line_of_the_cpp_program_becomes_a_row() -> None:
    figures = benchmark("native_overhead").figures
    line = " 1920 x 1080  engine   11.00 ms   overhead  1.130 ms, of it mask upscaling  1.110 ms"
    row = {"picture": "1920 x 1080", "engine_call_ms": 11.0, "overhead_ms": 1.13, "upscaling_ms": 1.11}
    assert figures(line) == row
    with pytest.raises(ValueError, match="make cpp"):
        figures("error: no such bundle")


def test_a_benchmark_runs_from_any_folder(tmp_path: Path) -> None:
    script = BENCHMARKS / "degradation_speed.py"
    command = [sys.executable, str(script), "--rounds", "1", "--size", "64"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| level | CPU [ms] | pictures per second |" in done.stdout
