"""The settings of the stages: the paper's by default, and refused in one line where they are wrong."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from glesam.training.settings import SETTINGS
from glesam.training.stage_config import (
    STAGES,
    DecoderStageConfig,
    GleStageConfig,
    parse_stage_config,
    read_stage_config,
    settings_table,
)

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


def parse(stage: int | None = None, /, **values: object) -> object:
    return parse_stage_config(json.dumps(values), stage, "file.json")


def test_stage_1_defaults_to_the_papers_numbers() -> None:
    config = parse(1)
    assert isinstance(config, GleStageConfig)
    loop = config.loop_for(1000)
    assert (loop.steps, loop.lr, loop.warmup, loop.weight_decay, loop.clip) == (100_000, 1e-4, 500, 0.01, 10)
    assert (loop.optimizer, config.batch_size, config.generator_every) == ("adamw", 4, 5)
    assert (config.distribution_matching, config.gan) == (0, 0)
    assert config.plan(1024).with_degraded
    assert config.plan(1024).clean_share == 0


def test_stage_2_defaults_to_the_papers_numbers() -> None:
    config = parse(2)
    assert isinstance(config, DecoderStageConfig)
    loop, plan, loss = config.loop_for(1000), config.plan(1024), config.mask_loss(1024)
    assert (loop.steps, loop.lr, loop.weight_decay, loop.optimizer) == (1500, 1e-4, 1e-5, "adam")
    assert (plan.prompts, plan.points, plan.image_size) == ("points", (3, 3), 1024)
    assert (loss.pixel, loss.size, loss.iou) == ("focal", 512, 0)
    assert loss.multimask > 0, "masks 1 to 3 would die"


def test_every_key_reaches_the_settings() -> None:
    values = {
        "stage": 2,
        "lr": 0.5,
        "points": [1, 2],
        "prompts": "box",
        "image_size": 64,
        "multimask_share": 0.25,
    }
    config = parse(**values)
    assert isinstance(config, DecoderStageConfig)
    assert (config.loop.lr, config.points, config.prompts) == (0.5, (1, 2), "box")
    assert config.plan(1024).image_size == 64
    loss = config.mask_loss(1024)
    assert (loss.size, loss.single, loss.multimask) == (64, 0.75, 0.25)


@pytest.mark.parametrize("number", STAGES)
def test_a_file_of_every_key_gives_loop_and_stage_what_it_says(number: int) -> None:
    """The keys lie flat in a file, whether they are the loop's or the stage's."""
    default = STAGES[number]()
    keys = {key: value for key, value in default.settings().items() if value is not None}
    assert parse(number, **keys) == default
    changed = parse(number, lr=0.5, seed=3, save_every=7, accumulation=2, clean_share=0.25)
    assert isinstance(changed, type(default))
    loop = replace(default.loop, lr=0.5, seed=3, save_every=7, accumulation=2)
    assert changed == replace(default, loop=loop, clean_share=0.25)
    assert changed.settings().keys() == default.settings().keys()


def test_an_epoch_is_every_picture_once() -> None:
    config = parse(1, epochs=2, batch_size=4)
    assert isinstance(config, GleStageConfig)
    assert config.loop_for(10).steps == 5
    steps = parse(2, steps=7)
    assert isinstance(steps, DecoderStageConfig)
    assert steps.loop_for(10).steps == 7


@pytest.mark.parametrize(
    ("stage", "values", "message"),
    [
        (1, {"learning_rate": 1}, "file.json (stage 1): unknown key 'learning_rate'; expected batch_size, "),
        (1, {"multimask_share": 0.5}, "(stage 1): unknown key 'multimask_share'"),
        (2, {"lora_rank": 8}, "(stage 2): unknown key 'lora_rank'"),
        (1, {"seed": 2**31}, "(stage 1): seed is 2147483648; expected a whole number, 0 to 2147483647"),
        (2, {"views": 0}, "(stage 2): views is 0; expected a whole number, 1 or more, or null"),
        (2, {"raw_share": 0.5}, "(stage 2): raw_share and mixed_share are shares of `views`, with `enhance`"),
        (2, {"views": 9, "mixed_share": 0.5, "enhance": False}, "are shares of `views`, with `enhance`"),
        (2, {"views": 9, "raw_share": 0.6, "mixed_share": 0.5}, "mixed_share 0.5 add up to more than 1"),
        (1, {"lr": "1e-4"}, 'lr is "1e-4"; expected a number above 0'),
        (1, {"lr": True}, "lr is true; expected a number above 0"),
        (1, {"steps": 1.5}, "steps is 1.5; expected a whole number, 1 or more, or null"),
        (1, {"image_size": 100}, "image_size is 100; expected a whole number, 16 or more, a multiple of 16"),
        (1, {"mixed_precision": "fp8"}, 'mixed_precision is "fp8"; expected one of no, fp16, bf16'),
        (1, {"mixed_precision": ["no"]}, 'mixed_precision is ["no"]; expected one of no, fp16, bf16'),
        (1, {"scale": [2, 1]}, "scale is [2, 1]; expected a range [low, high]"),
        (1, {"steps": 5, "epochs": 1}, "steps and epochs are both given; expected one of them"),
        (1, {"steps": None}, "steps and epochs are both null; expected one of them"),
        (2, {"points": [1, 4]}, "points is [1, 4]; expected a range"),
        (2, {"stage": 1}, "stage is 1; expected 2"),
        (None, {}, "stage is None; expected 1 or 2"),
        (None, {"stage": [1]}, "stage is [1]; expected 1 or 2"),
        (2, {"enhance": 1}, "enhance is 1; expected true or false"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_in_one_line(
    stage: int | None, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse(stage, **values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "expected JSON: "), (b"[]", "expected settings such as"), (b"\xff{}", "expected JSON in UTF-8")],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        read_stage_config(path, 1)


def test_every_key_has_a_rule_that_its_own_default_fits() -> None:
    for kind in STAGES.values():
        for key, value in kind().settings().items():
            assert SETTINGS[key].rule.fits(list(value) if isinstance(value, tuple) else value), key


@pytest.mark.parametrize("stage", STAGES)
def test_the_table_lists_every_setting_of_a_stage_with_its_default(stage: int) -> None:
    rows = [re.split(r" {2,}", line, maxsplit=2) for line in settings_table(stage).splitlines()]
    defaults = STAGES[stage]().settings()
    assert {key: json.loads(value) for key, value, _ in rows} == json.loads(json.dumps(defaults))
    assert all(meaning.startswith(f"{SETTINGS[key].meaning} (") for key, _, meaning in rows)


def test_every_setting_belongs_to_a_stage() -> None:
    assert {key for kind in STAGES.values() for key in kind().settings()} == SETTINGS.keys()


def test_the_examples_of_the_documentation_are_settings() -> None:
    examples = re.findall(r"```json\n(\{.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(examples) >= 2
    stages = {type(parse_stage_config(text, None, "docs/training.md")) for text in examples}
    assert stages == {GleStageConfig, DecoderStageConfig}
