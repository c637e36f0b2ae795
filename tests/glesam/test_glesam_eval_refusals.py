"""glesam-eval refuses what does not fit in one line, with exit status 2, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from evaluation_runs import SHIPPED_BUNDLE, attempted, evaluated, write_data

from glesam.evaluation import run
from glesam.evaluation.evaluate import evaluate
from glesam_runtime import output

Refusal = Callable[..., str]
BOX = ("--methods", "box", "--levels", "clean")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", pictures=2)


@pytest.fixture
def refused(data: Path, tmp_path: Path) -> Refusal:
    """Runs glesam-eval, checks that it fails as it should and writes nothing, returns its line."""

    def ask(*options: object, data: Path = data, out: Path = tmp_path / "out") -> str:
        result = attempted(data, out, *options)
        assert result.exit_code == 2, result.output
        assert not (tmp_path / "out").exists()
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    return ask


@pytest.fixture
def prompts(data: Path, tmp_path: Path) -> Path:
    """A prompt file of `data`."""
    evaluated(data, tmp_path / "first", *BOX, "--prompts", tmp_path / "dev.json")
    return tmp_path / "dev.json"


@pytest.mark.parametrize(
    ("option", "name"),
    [("--prompts", "results.csv"), ("--sets", "table.md"), ("--sets", "prompts.json")],
)
def test_no_input_file_becomes_a_result(data: Path, tmp_path: Path, option: str, name: str) -> None:
    out = tmp_path / "first"
    evaluated(data, out, *BOX)
    before = (out / name).read_bytes()
    result = attempted(data, out, *BOX, option, tmp_path / "first" / ".." / "first" / name)
    assert result.exit_code == 2
    assert "would be written over by this run; choose another folder with --out" in result.stderr
    assert (out / name).read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--levels", "clean,4", "--level 'clean,4': expected some of clean,1,2,3"),
        ("--levels", "", "--level ''"),
        ("--levels", "real", "--level 'real'"),
        ("--methods", "sam,glsam", "--methods 'sam,glsam': expected some of box,grabcut,sam,glesam"),
        ("--prompt", "mask", "--prompt 'mask': expected box or points or innermost"),
        ("--split", "test", "--split 'test': expected dev or train or all"),
        ("--backend", "cuda", "backend 'cuda' is unknown"),
        ("--bundle", "gone", "gone"),
        ("--checkpoint", "./gone/a/model", "no folder gone/a/model"),
        ("--checkpoint", "x=runs/a:sam+glesam", "expected [NAME=]FOLDER[:METHODS]"),
        ("--bundle", "=runs/a", "expected [NAME=]FOLDER[:METHODS]"),
        ("--join", "gone", "gone/prompts.json"),
        ("--real", "gone", "gone: no such folder"),
        ("--sets", "gone.json", "gone.json"),
    ],
)
def test_an_option_that_makes_no_sense(refused: Refusal, option: str, value: str, expected: str) -> None:
    methods = () if option in ("--methods", "--backend", "--bundle", "--checkpoint") else BOX[:2]
    assert expected in refused(*methods, option, value)


@pytest.mark.parametrize("kind", ["points", "innermost"])
def test_baselines_need_boxes(refused: Refusal, kind: str) -> None:
    line = refused("--methods", "box,grabcut,sam", "--prompt", kind)
    assert f"--methods box,grabcut: expected --prompt box, found {kind}; leave them out" in line


def test_a_source_without_a_method(refused: Refusal) -> None:
    assert f"{SHIPPED_BUNDLE}: nothing to run" in refused(*BOX, "--bundle", SHIPPED_BUNDLE)


def test_two_sources_of_one_name(refused: Refusal) -> None:
    line = refused("--bundle", SHIPPED_BUNDLE, "--bundle", SHIPPED_BUNDLE)
    assert "two sources have this name; name them, as in NAME=nano fp16" in line


def test_a_folder_that_holds_no_data(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(*BOX, data=tmp_path / "empty")
    assert "gone: no such folder" in refused(*BOX, data=tmp_path / "gone")


def test_the_same_set_twice(refused: Refusal, data: Path) -> None:
    assert "two data sets are named bars" in refused(*BOX, "--real", data)


def test_prompts_of_other_pictures(refused: Refusal, data: Path, prompts: Path) -> None:
    shutil.copy(data / "bars/0.jpg", data / "bars/1.jpg")
    line = refused(*BOX, "--prompts", prompts)
    assert "bars/1: its pixels or masks are not those that the prompts were drawn on" in line


def test_prompts_of_pictures_that_are_gone(refused: Refusal, data: Path, prompts: Path) -> None:
    for suffix in (".jpg", ".png"):
        (data / f"squares/0{suffix}").unlink()
    assert "squares/0: no such picture in the data" in refused(*BOX, "--prompts", prompts)


def test_a_file_that_is_no_prompt_file(refused: Refusal, data: Path, tmp_path: Path) -> None:
    for content in (b"{}", b"\xff\xfe", b""):
        (tmp_path / "bad.json").write_bytes(content)
        assert "bad.json: not a prompt file of glesam-eval" in refused(
            *BOX, "--prompts", tmp_path / "bad.json"
        )
    assert str(data) in refused(*BOX, "--prompts", data)


def test_a_run_with_other_prompts_or_levels_is_not_joined(
    refused: Refusal, data: Path, prompts: Path, tmp_path: Path
) -> None:
    grabcut = "--methods", "grabcut", "--levels", "clean", "--join", tmp_path / "first"
    assert "its prompts.json differs from this run's" in refused(*grabcut, "--seed", 1)
    assert "its prompts.json differs from this run's" in refused(*grabcut, "--max-objects", 1)
    assert "box has no score for" in refused(*grabcut, "--levels", "clean,1", "--prompts", prompts)
    assert "box: a run given with --join has this row already" in refused(*BOX, *grabcut[-2:])
    twice = refused(*grabcut, "--join", tmp_path / "first")
    assert "box: a run given with --join has this row already" in twice
    points = refused("--prompt", "points", "--methods", "sam", "--levels", "clean", *grabcut[-2:])
    assert "a glesam-eval run with points prompts (found box prompts)" in points


def test_data_of_which_no_picture_can_be_read(data: Path, tmp_path: Path) -> None:
    for picture in data.rglob("*.jpg"):
        picture.write_bytes(b"no picture")
    result = attempted(data, tmp_path / "out", *BOX)
    assert result.exit_code == 2
    assert "error: no picture could be evaluated, 4 were skipped" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_new_prompt_file_is_not_written_by_a_run_that_is_refused(
    refused: Refusal, prompts: Path, tmp_path: Path
) -> None:
    assert prompts.exists()
    new = tmp_path / "new.json"
    refused(*BOX, "--prompts", new, "--join", tmp_path / "first")
    assert not new.exists()


def test_an_interrupted_run_leaves_prompts_and_no_half_results(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> Iterator[object]:
        yield next(evaluate(*arguments))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "evaluate", interrupted)
    assert attempted(data, tmp_path / "out", *BOX).exit_code != 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["prompts.json"]


def test_a_full_disk_is_one_line_and_keeps_what_was_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluated(data, out, *BOX)
    before = {path: path.read_bytes() for path in out.iterdir()}

    def full(descriptor: int, _: object) -> int:
        raise OSError(28, "No space left on device")

    def write_to_full_disk(contents: dict[Path, bytes], **options: Sequence[Path]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            output.write_files(contents, **options)

    monkeypatch.setattr(run, "write_files", write_to_full_disk)
    result = attempted(data, out, *BOX)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "No space left on device" in line
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_joined_csv_that_was_edited(refused: Refusal, prompts: Path, tmp_path: Path) -> None:
    path = tmp_path / "first/results.csv"
    path.write_text(path.read_text().replace("squares,0,box", "squares,0,"))
    options = "--methods", "grabcut", "--levels", "clean", "--prompts", prompts, "--join", tmp_path / "first"
    assert "results.csv: expected the results.csv of a glesam-eval run" in refused(*options)


@pytest.mark.parametrize("prompt", ["box", "innermost"])
def test_a_joined_prompt_file_that_was_edited(
    refused: Refusal, tmp_path: Path, data: Path, prompt: str
) -> None:
    evaluated(data, tmp_path / "first", *BOX)
    path = tmp_path / "first/prompts.json"
    edited = json.loads(path.read_text())
    edited["pictures"][0]["objects"][0][prompt][0] += 1
    path.write_text(json.dumps(edited))
    options = "--methods", "grabcut", "--levels", "clean", "--join", tmp_path / "first"
    assert "its prompts.json differs from this run's" in refused(*options)
