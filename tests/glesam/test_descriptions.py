"""Descriptions of data sets, and their errors in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from glesam.data.descriptions import (
    EXPECTED,
    DatasetDescription,
    parse_descriptions,
    read_descriptions,
    shipped_descriptions,
)

GOOD = {"name": "set", "kind": "label_maps"}


def test_every_key_arrives() -> None:
    entry = {
        "name": "lvis",
        "kind": "coco",
        "path": "coco",
        "images": "train2017",
        "masks": "",
        "mask_suffix": "_m",
        "annotations": "lvis_v1_train.json",
        "ignored_labels": [0, 255],
        "dev": "none",
        "dev_sequences": ["a", "b"],
        "weight": 0.5,
    }
    assert set(entry) == set(EXPECTED)
    (actual,) = parse_descriptions(json.dumps([entry]), "text")
    assert actual == DatasetDescription(
        "lvis",
        "coco",
        path="coco",
        images="train2017",
        mask_suffix="_m",
        annotations="lvis_v1_train.json",
        ignored_labels=(0, 255),
        dev="none",
        dev_sequences=("a", "b"),
        weight=0.5,
    )
    assert actual.folder(Path("data")) == Path("data/coco")
    assert DatasetDescription("set").folder(Path("data")) == Path("data/set")


NANOS = ["coco_mini", "coco_street", "coco_person", "animals", "pets", "litter", "mushrooms"]
OTHERS = ["bsds500", "ccp", "camvid", "human", "bags"]


def test_the_shipped_descriptions_are_nanos_training_sets_and_others_for_evaluation() -> None:
    shipped = {description.name: description for description in shipped_descriptions()}
    assert list(shipped) == [*NANOS, *OTHERS, "ufo120", "suim8"]
    for names in (NANOS, OTHERS):
        assert sum(shipped[name].weight for name in names) == pytest.approx(1)
        assert all(shipped[name].dev != "all" for name in names)
    assert shipped["ufo120"].dev == shipped["suim8"].dev == "all"
    assert shipped["camvid"].ignored_labels == (11,), "label 0 is the sky"


def test_a_tenth_is_for_development_a_different_one_in_every_set() -> None:
    chosen = []
    for name in ("ccp", "human"):
        description = DatasetDescription(name)
        chosen.append({stem for stem in map(str, range(2000)) if description.is_dev(stem)})
        assert 140 < len(chosen[-1]) < 260
    assert len(chosen[0] & chosen[1]) < 60


def test_the_tenth_is_the_same_on_every_machine_and_in_every_version() -> None:
    """Otherwise an upgrade would train on pictures that the last version was evaluated on."""
    actual = [i for i in range(60) if DatasetDescription("bsds500").is_dev(f"picture{i}")]
    assert actual == [3, 29]


def test_sequences_all_and_none_overrule_the_tenth() -> None:
    by_sequence = DatasetDescription("set", dev_sequences=("0006R0", "Seq05VD"))
    assert [by_sequence.is_dev(n) for n in ("0006R0_f1", "x_Seq05VD_2", "0001TP_1")] == [True, True, False]
    assert all(DatasetDescription("set", dev="all").is_dev(str(i)) for i in range(30))
    assert not any(DatasetDescription("set", dev="none").is_dev(str(i)) for i in range(30))


BAD = {
    "no JSON": ("[", "expected JSON"),
    "no list": ("{}", "expected a list of sets"),
    "an empty list": ("[]", "expected a list of sets"),
    "a number in the list": ("[3]", r"set 1: expected \{"),
    "no name": ('[{"kind": "pairs"}]', "set 1: 'name' is missing; expected a name"),
    "no kind": (
        '[{"name": "a"}]',
        r"set 1 \(a\): 'kind' is missing; expected one of label_maps, pairs, coco",
    ),
    "an unknown key": (
        '[{"name": "a", "kind": "pairs", "wieght": 1}]',
        "unknown key 'wieght'; expected name",
    ),
    "an unknown kind": ('[{"name": "a", "kind": "voc"}]', 'kind is "voc"; expected one of'),
    "a kind that is no text": ('[{"name": "a", "kind": [1]}]', r"kind is \[1\]; expected one of"),
    "an empty name": ('[{"name": "", "kind": "pairs"}]', 'name is ""; expected a name'),
    "a negative weight": (
        '[{"name": "a", "kind": "pairs", "weight": -1}]',
        "weight is -1; expected a number",
    ),
    "an infinite one": ('[{"name": "a", "kind": "pairs", "weight": Infinity}]', "weight is Infinity"),
    "a true one": ('[{"name": "a", "kind": "pairs", "weight": true}]', "weight is true"),
    "a label that is text": (
        '[{"name": "a", "kind": "pairs", "ignored_labels": ["0"]}]',
        r'ignored_labels is \["0"\]; expected a list of numbers',
    ),
    "one label": ('[{"name": "a", "kind": "pairs", "ignored_labels": 0}]', "ignored_labels is 0"),
    "an unknown split": ('[{"name": "a", "kind": "pairs", "dev": "half"}]', 'dev is "half"'),
    "coco without annotations": ('[{"name": "a", "kind": "coco"}]', "a coco set needs 'annotations'"),
    "one name twice": (json.dumps([GOOD, GOOD]), "set is described twice"),
}


@pytest.mark.parametrize("damage", BAD)
def test_a_bad_description_is_one_line(damage: str) -> None:
    text, named = BAD[damage]
    with pytest.raises(ValueError, match=f"^sets.json: .*{named}") as caught:
        parse_descriptions(text, "sets.json")
    assert "\n" not in str(caught.value)


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    path.write_text(json.dumps([GOOD]))
    assert read_descriptions(path) == (DatasetDescription("set", "label_maps"),)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=rf"{path}: expected JSON in UTF-8"):
        read_descriptions(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"sets\.json"):
        read_descriptions(path)


def test_the_documentations_example_is_one_and_its_table_has_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text("utf-8")
    text = page.partition("\n## Data\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert [d.kind for d in parse_descriptions(example, "docs/training.md")] == [
        "pairs",
        "label_maps",
        "coco",
        "coco",
    ]
    cells = re.findall(r"^\| (`[a-z_`, ]+) \|", text, re.MULTILINE)
    assert {key.strip(" `") for cell in cells for key in cell.split(",")} == set(EXPECTED)
