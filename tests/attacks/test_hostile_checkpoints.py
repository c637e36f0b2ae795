"""Hostile checkpoints end in one line, run no code, and stay within limits of time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from answers import SECONDS, answers_of
from hostile_checkpoints import CHECKPOINTS, model


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the path of every attack by its name, after a sound folder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {name: folder / name for name in ("sound_folder", *CHECKPOINTS)}
    model().save_pretrained(paths["sound_folder"])
    for name, write in CHECKPOINTS.items():
        write(paths[name])
    return paths


@pytest.fixture(scope="session")
def answers(checkpoints: dict[str, Path]) -> dict[str, dict[str, object]]:
    return answers_of("attempt_files.py", "checkpoints", checkpoints.values())


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_is_refused_in_one_line(answers: dict[str, dict[str, object]], name: str) -> None:
    answer = answers[name]
    assert answer["kind"] == "CheckpointError", answer
    assert str(answer["error"]).isprintable()
    assert len(str(answer["error"])) < 1000
    assert "weights_only" not in str(answer["error"])
    assert float(str(answer["seconds"])) < SECONDS


def test_a_sound_one_is_read(answers: dict[str, dict[str, object]]) -> None:
    assert answers["sound_folder"]["answer"] == "read"


@pytest.mark.usefixtures("answers")
def test_no_code_has_run(checkpoints: dict[str, Path]) -> None:
    assert not list(checkpoints["sound_folder"].parent.rglob("*.sprung"))
