"""Who types another program's command or option is told what it is called here."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glesam_runtime.cli import umbrella
from glesam_runtime.cli.habits import HABITS

ROOT = Path(__file__).parents[2]
SCRIPTS = dict(re.findall(r'^(glesam[\w-]*) = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))


def run(command: str, *arguments: object) -> Result:
    app = import_module(SCRIPTS[command].split(":")[0]).app
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name=command)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("glesam-run --image x.jpg", "IMAGE needs no option: glesam-run x.jpg"),
        ("glesam-run --source=x.jpg --box 1 2 3 4", "IMAGE needs no option: glesam-run x.jpg"),
        ("glesam-run x.jpg --bbox 1 2 3 4", "glesam-run has no --bbox; write --box X0 Y0 X1 Y1"),
        ("glesam-run x.jpg --box 1 2 3 4 --model m.onnx", "write --bundle PATH"),
        ("glesam-run x.jpg --box 1 2 3 4 -o out", "write --out DIR"),
        ("glesam-run x.jpg --everything", "write --auto"),
        ("glesam-run x.mp4 --track", "write --follow"),
        ("glesam-run x.jpg 1 2 3 4", "found 1 2 3 4 among the pictures; write --box 1 2 3 4"),
        ("glesam-run x.jpg 10 20.5", "write --point 10 20.5"),
        ("glesam-run x.jpg --box 1,2,3,4", "with spaces between"),
        ("glesam-run x.mp4 --box 1 2 3 4", "found a video; follow objects in it with glesam-run --follow"),
        ("glesam-run x.jpg --max-frames 3", "--max-frames is an option of --follow"),
        ("glesam-verify --bundle out/nano", "BUNDLE needs no option: glesam-verify out/nano"),
        ("glesam-bench --device cuda", "write --backend NAME[:DEVICE]"),
        ("glesam-degrade --input x.jpg", "IMAGE needs no option: glesam-degrade x.jpg"),
        ("glesam-degrade x.jpg --input y.jpg", "IMAGE needs no option: glesam-degrade x.jpg y.jpg"),
        ("glesam-degrade x.jpg --severity 3", "write --level N"),
        ("glesam-export --weights out/a", "CHECKPOINT needs no option: glesam-export out/a"),
        ("glesam-export out/a --fp16", "write --precision NAME"),
        ("glesam-quantize --bundle a", "BUNDLE needs no option: glesam-quantize a"),
        ("glesam-build a --sm 86", "write --target SM"),
        ("glesam segment x.jpg", "glesam has no command 'segment'; write glesam run"),
        ("glesam x.jpg --box 1 2 3 4", "write glesam run x.jpg"),
        ("glesam glesam-export", "write glesam export"),
        ("glesam quantise", "write glesam quantize"),
        ("glesam qwertz", "choose one of run, info, verify"),
        ("glesam version", "write glesam --version"),
        ("glesam help", "write glesam -h"),
        ("glesam-view --image x.jpg", "IMAGE needs no option: glesam-view x.jpg"),
        ("glesam-view x.jpg y.jpg", "expected one picture or folder, found 2; give their folder"),
        ("glesam-view -p 80", "write --port N"),
        ("glesam-view --open", "leave it out: a browser opens where there is a screen"),
        ("glesam-view --token abc", "--host 0.0.0.0 makes a token and prints it"),
        ("glesam-view x.jpg --degrade", "leave it out: the page has a slider"),
        ("glesam-run x.jpg --half", "a bundle has one precision, from glesam-export --precision"),
        ("glesam-run x.jpg --show", "overlays are written to --out DIR, and glesam-view"),
        ("glesam-run x.jpg --visualize", "overlays are written to --out DIR, and glesam-view"),
        ("glesam-run x.jpg --save-txt", "write --json: masks as COCO RLE"),
        ("glesam-run x.jpg --project a", "write --out DIR"),
        ("glesam-run x.mp4 --vid-stride 2", "--follow takes every frame"),
        ("glesam-run x.jpg --retina-masks", "masks always have the picture's own size"),
        ("glesam-run x.jpg --degrade 3", "glesam-degrade writes degraded pictures"),
        ("glesam-degrade x.jpg --level LQ-4", "level 4: expected one of 1, 2, 3"),
        ("glesam-view x.jpg --image y.jpg", "IMAGE is x.jpg here; leave --image out"),
        (
            "glesam-run x.mp4",
            "found a video; follow objects in it with glesam-run --follow, and --box X0 Y0 X1 Y1",
        ),
        ("glesam-verify --backend cuda", "choose onnxruntime:cuda, tensorrt or tensorrt-rtx"),
        ("glesam-verify --backend trt", "choose tensorrt"),
        ("glesam-verify --backend gpu", "openvino:gpu for Intel's"),
        ("glesam-verify sam_b.pt", "glesam-convert makes a checkpoint of official"),
        ("glesam-export sam_vit_b.pth", "make a folder of official files with glesam-convert"),
        ("glesam export model=nano", "CHECKPOINT needs no option: glesam export nano"),
        ("glesam-build nano --engine x", "engines go into the cache, whose folder $GLESAM_CACHE names"),
        ("glesam-verify out/nano --model x", "BUNDLE is out/nano here; leave --model out"),
        (
            "glesam-run source=x.jpg model=nano",
            "takes no source=x.jpg; IMAGE needs no option: glesam-run x.jpg",
        ),
        ("glesam-run x.jpg model=nano", "takes no model=nano; write --bundle PATH"),
        ("glesam-run x.jpg backend=openvino", "write --backend openvino"),
        ("glesam-run x.jpg --labels 1", "--point X Y for points on the object and --background-point X Y"),
        ("glesam-run x.jpg --point-labels 1", "and --background-point X Y for those beside it"),
        ("glesam-run x.jpg --auto --conf 0.5", "write --pred-iou-thresh F"),
        ("glesam-run x.jpg --auto --iou 0.5", "write --box-nms-thresh F"),
        ("glesam-verify --iou 0.9", "write --min-iou F"),
        ("glesam-run x.jpg --imgsz 640", "the bundle says to what size"),
        ("glesam-run x.jpg --text dog", "write --box or --point"),
        ("glesam-run x.jpg --save-crop", "write --json: each mask has its bbox"),
        ("glesam-run x.jpg --classes 3", "masks have no classes"),
        ("glesam-run x.jpg", "no prompt: give --box X0 Y0 X1 Y1, --point X Y or --mask-input PNG, or --auto"),
        ("glesam-export --format onnx", "a bundle holds ONNX graphs"),
        ("glesam-export --calib-data photos", "write --calib-images DIR"),
        ("glesam-quantize a --int8", "leave it out: the new bundle is int8"),
        ("glesam-quantize a --calib-data photos", "write --calib-images DIR"),
        ("glesam-calibrate a --calib-data photos", "write --calib-images DIR"),
        ("glesam-build a --fp16", "an engine has the precision of its bundle"),
        ("glesam-bench --iterations 5", "write --rounds N"),
        ("glesam-view --server 0.0.0.0", "write --host NAME"),
        ("glesam-view --listen", "write --host NAME"),
        ("glesam-view --share", "write --host 0.0.0.0"),
        ("glesam run --image x.jpg", "IMAGE needs no option: glesam run x.jpg"),
    ],
)
def test_a_likely_mistake_is_answered_with_the_right_words(line: str, advice: str) -> None:
    result = run(*line.split())
    assert result.exit_code == 2
    assert advice in result.stderr
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1


def test_advice_names_options_and_arguments_that_a_command_has() -> None:
    """A cure that no command has would never be given; its name here is then wrong."""
    from typer.main import get_command

    commands = [get_command(import_module(each.split(":")[0]).app) for each in SCRIPTS.values()]
    options = {name for command in commands for param in command.params for name in param.opts}
    arguments = {
        (param.metavar or param.name or "").upper()
        for command in commands
        for param in command.params
        if param.param_type_name == "argument"
    }
    assert [habit for habit in HABITS if habit.option.split(" ")[0] not in options] == []
    assert {each for habit in HABITS for each in habit.arguments} <= arguments


def test_an_own_option_is_never_taken_for_another_programs(tmp_path: Path) -> None:
    """glesam-bench has --image and --threads itself."""
    assert "expected a picture, found nothing" in run("glesam-bench", "--image", tmp_path / "none.png").stderr


def test_glesam_names_every_command_and_imports_none_for_its_help() -> None:
    hyphenated = {name.removeprefix("glesam-"): each.split(":")[0] for name, each in SCRIPTS.items()}
    assert {name: module for name, (module, _) in umbrella.COMMANDS.items()} == {
        name: module for name, module in hyphenated.items() if name != "glesam"
    }
    shown = run("glesam", "-h").stdout
    assert all(f"\n  {name} " in shown for name in umbrella.COMMANDS)
    assert max(map(len, shown.splitlines())) <= 80
    code = "from glesam_runtime.cli.umbrella import app\nimport sys\n"
    code += "try:\n    app(['-h'], prog_name='glesam')\nexcept SystemExit:\n    pass\n"
    code += "assert not {'torch', 'onnx', 'glesam_export', 'glesam_runtime.cli.run'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_glesam_run_is_the_command_of_that_name(bundle_path: Path, photo: Path, tmp_path: Path) -> None:
    options = ["--bundle", bundle_path, "--box", 24, 16, 104, 80]
    for command, out in ((["glesam-run"], "a"), (["glesam", "run"], "b")):
        assert run(*command, photo, *options, "--out", tmp_path / out).exit_code == 0
    names = [sorted(path.name for path in (tmp_path / out).iterdir()) for out in "ab"]
    assert names == [["photo.mask0.png", "photo.overlay.jpg"]] * 2
    assert run("glesam", "--version").stdout == run("glesam-run", "--version").stdout
    assert run("glesam", "verify", "-h").stdout.startswith("Usage: glesam verify")


def test_glesam_completes_commands_and_their_options() -> None:
    shell = {"_GLESAM_COMPLETE": "complete_bash", "COMP_WORDS": "glesam ver", "COMP_CWORD": "1"}
    result = CliRunner().invoke(umbrella.app, [], env=shell, prog_name="glesam")
    assert result.stdout.split() == ["verify"]
    shell |= {"COMP_WORDS": "glesam run --fol", "COMP_CWORD": "2"}
    result = CliRunner().invoke(umbrella.app, [], env=shell, prog_name="glesam")
    assert result.stdout.split() == ["--follow"]


def test_a_file_with_an_equals_sign_and_an_options_value_are_no_habit(tmp_path: Path) -> None:
    (tmp_path / "model=a.png").write_bytes(b"no picture")
    for words in ([f"{tmp_path}/model=a.png"], [tmp_path / "b.png", "--out", "model=a"]):
        result = run("glesam-run", *words, "--box", 1, 1, 9, 9)
        assert "expected a picture" in result.stderr, result.stderr


def test_a_folder_is_its_pictures_without_the_masks_beside_them(bundle_path: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / name)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "a_mask.png")
    result = run("glesam-run", folder, "--box", 8, 8, 40, 40, "--bundle", bundle_path, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.glob("*.overlay.jpg")) == ["a.overlay.jpg", "b.overlay.jpg"]
    assert "left out 1 mask of pictures" in result.stderr
    inside = folder / "out"
    for _ in range(2):  # what the first run writes is no picture of the second
        again = run("glesam-run", folder, "--box", 8, 8, 40, 40, "--bundle", bundle_path, "--out", inside)
        assert again.exit_code == 0, again.output
    assert len(list(inside.iterdir())) == 4
    (tmp_path / "empty").mkdir()
    assert (
        "expected a folder of pictures, found none"
        in run("glesam-run", tmp_path / "empty", "--box", 1, 1, 9, 9).stderr
    )
