"""A training process that is killed outright resumes from its checkpoint, and ends bit for bit the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_process import STEPS

SCRIPT = Path(__file__).with_name("training_process.py")


def start(data: Path, run: Path, stage: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(data), str(run), str(stage)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[str]:
    """The lines it still said."""
    output, _ = process.communicate()
    assert process.returncode == 0
    return output.splitlines()


def kill_after(process: subprocess.Popen[str], step: int) -> None:
    """SIGKILL as soon as the process says that it has done the step, which it may be saving then."""
    assert process.stdout is not None
    for line in process.stdout:
        if f" {step}/{STEPS} " in line:
            process.kill()
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL


def weights(run: Path) -> dict[str, Tensor]:
    actual: dict[str, Tensor] = torch.load(run / "weights.pt", weights_only=True)
    return actual


@pytest.mark.parametrize("stage", [1, 2])
def test_a_process_killed_at_a_random_step_ends_with_the_weights_of_one_that_was_not(
    data: Path, tmp_path: Path, stage: int
) -> None:
    step = int(np.random.default_rng(stage).integers(2, STEPS))
    whole, killed = (start(data, tmp_path / name, stage) for name in ("whole", "killed"))
    kill_after(killed, step)
    assert not (tmp_path / "killed" / "weights.pt").exists()
    assert 0 < len(finish(start(data, tmp_path / "killed", stage))) < STEPS
    finish(whole)
    expected, actual = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
