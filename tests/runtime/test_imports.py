"""What is imported, and when; each claim needs a fresh Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_glesam_run import BOX

import glesam_runtime

INFO = "from glesam_runtime.cli.info import main; main()"
RUNTIME = Path(glesam_runtime.__file__).parent.parent


def python(code: str, *arguments: str, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        timeout=60,
    )
    return done.returncode, done.stdout or "", done.stderr


def test_every_module_imports_without_torch_and_onnx() -> None:
    status, names, stderr = python(
        "import importlib, pkgutil, sys\n"
        "absent = 'torch onnx openvino tensorrt tensorrt_rtx cuda glesam glesam_export'\n"
        "for name in absent.split():\n"
        "    sys.modules[name] = None\n"
        "import glesam_runtime\n"
        "optional = ('openvino', 'cuda', 'compiled', 'launch', 'session', 'engine')\n"
        "for module in pkgutil.walk_packages(glesam_runtime.__path__, 'glesam_runtime.'):\n"
        "    if module.name.split('engines.')[-1].split('.')[-1] not in optional:\n"
        "        importlib.import_module(module.name)\n"
        "    print(module.name)\n"
    )
    assert status == 0, stderr
    assert "glesam_runtime.engines.onnxruntime" in names.split()
    assert "glesam_runtime.cli.run" in names.split()


def test_importing_the_package_loads_numpy_pillow_and_nothing_else_of_others() -> None:
    """What keeps `import glesam_runtime` fast: 45 ms beyond numpy (measurements/README.md)."""
    status, names, stderr = python(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import glesam_runtime\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*loaded - set(sys.stdlib_module_names))\n"
    )
    assert status == 0, stderr
    assert set(names.split()) == {"glesam_runtime", "numpy", "PIL"}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_vendor_library_loads_with_the_first_engine_and_no_other_does(
    bundle_path: Path, backend: str
) -> None:
    status, loaded, stderr = python(
        "import sys\n"
        "from glesam_runtime import Bundle, Predictor\n"
        "from glesam_runtime.engines import candidates, pick_backend\n"
        "vendors = {'onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx', 'cuda', 'torch'}\n"
        "bundle = Bundle.open(sys.argv[1])\n"
        "pick_backend('auto', bundle.manifest.precision), candidates('bf16')\n"
        "assert not vendors & set(sys.modules)\n"
        "Predictor.from_bundle(bundle, sys.argv[2])\n"
        "print(*vendors & set(sys.modules))\n",
        str(bundle_path),
        backend,
    )
    assert status == 0, stderr
    assert loaded.split() == [backend]


def test_help_loads_no_backend() -> None:
    status, text, stderr = python(
        "import sys\n"
        "from glesam_runtime.cli.run import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'onnxruntime', 'openvino', 'pycocotools', 'torch'} & set(sys.modules)\n",
        "--help",
    )
    assert status == 0, stderr
    assert "--box X0 Y0 X1 Y1" in text


def test_a_reader_that_goes_away_is_one_line(bundle_path: Path, photo: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [str(photo), *BOX, "--bundle", str(bundle_path), "--out", str(tmp_path / "out")]
    code = "from glesam_runtime.cli.run import main; main()"
    status, _, stderr = python(code, *arguments, stdout=writing)
    os.close(writing)
    assert status == 2
    assert "error: the reader of this output went away" in stderr
    assert "Traceback" not in stderr


def test_a_reader_of_tables_that_goes_away_is_one_line(bundle_path: Path) -> None:
    """rich ends the process by itself, with status 1, unless it is told otherwise."""
    reading, writing = os.pipe()
    os.close(reading)
    status, _, stderr = python(INFO, str(bundle_path), stdout=writing)
    os.close(writing)
    assert status == 2
    assert stderr.startswith("error: the reader of this output went away")


def test_a_disk_that_is_full_behind_the_output_is_one_line(bundle_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        status, _, stderr = python(INFO, str(bundle_path), "--json", stdout=full.fileno())
    (line,) = stderr.splitlines()
    assert status == 2
    assert line == "error: cannot write to the output (No space left on device); free some space on its disk"


def test_a_closed_output_does_no_harm(bundle_path: Path) -> None:
    status, _, stderr = python(f"import sys; sys.stdout = None; {INFO}", str(bundle_path))
    assert (status, stderr) == (0, "")


def test_the_public_names_are_these() -> None:
    assert glesam_runtime.__all__ == [
        "AutomaticMask",
        "AutomaticMasks",
        "AutomaticOptions",
        "BackendError",
        "Bundle",
        "BundleError",
        "DevicePrediction",
        "Engine",
        "Engines",
        "Geometry",
        "GlesamError",
        "ImageError",
        "Manifest",
        "MaskResizer",
        "OutputError",
        "ParityError",
        "Prediction",
        "Predictor",
        "Prompt",
        "PromptError",
        "draw_overlay",
        "logits_from_mask",
        "read_image",
        "read_mask",
    ]
    assert all(hasattr(glesam_runtime, name) for name in glesam_runtime.__all__)
