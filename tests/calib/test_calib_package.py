"""What an import of glesam_calib loads, and what a command says where the extra is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import glesam_calib


def test_every_public_name_is_there() -> None:
    assert all(getattr(glesam_calib, name) is not None for name in glesam_calib.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = glesam_calib.nothing


@pytest.mark.parametrize("command", ["quantize", "calibrate"])
def test_a_missing_extra_is_one_line_with_the_cure(command: str) -> None:
    code = (
        "import sys\n"
        "sys.modules['onnx_ir'] = sys.modules['onnx'] = None\n"
        f"from glesam_calib.cli.{command} import main\n"
        "main()\n"
    )
    arguments = [
        sys.executable,
        "-c",
        code,
        "bundle",
        *(["--calib-images", "."] if command == "calibrate" else []),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: glesam-{command} needs onnx")
    assert line.endswith("pip install 'glesam[calib]'")
