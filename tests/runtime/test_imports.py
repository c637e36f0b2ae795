"""Which modules are imported, and when; each test needs a new Python process."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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
        "optional = ('openvino', 'video', 'cuda', 'compiled', 'context', 'launch', 'session', 'engine')\n"
        "for module in pkgutil.walk_packages(glesam_runtime.__path__, 'glesam_runtime.'):\n"
        "    if module.name.split('engines.')[-1].split('.')[-1] not in optional:\n"
        "        importlib.import_module(module.name)\n"
        "    print(module.name)\n"
    )
    assert status == 0, stderr
    assert "glesam_runtime.engines.onnxruntime" in names.split()
    assert "glesam_runtime.cli.run" in names.split()


def test_importing_the_package_loads_numpy_pillow_and_nothing_else_of_others() -> None:
    """This keeps `import glesam_runtime` fast: 45 ms beyond numpy (measurements/README.md)."""
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


def test_a_cpu_user_never_loads_device_arrays(bundle_path: Path) -> None:
    status, loaded, stderr = python(
        "import sys\n"
        "import numpy as np\n"
        "from glesam_runtime import Predictor\n"
        "with Predictor.from_bundle(sys.argv[1], 'onnxruntime') as predictor:\n"
        "    predictor.set_image(np.zeros((96, 128, 3), np.uint8))\n"
        "    predictor.predict(box=(8, 8, 60, 60))\n"
        "print(*(name for name in sys.modules if name.startswith('glesam_runtime.engines.')))\n",
        str(bundle_path),
    )
    assert status == 0, stderr
    modules = {name.removeprefix("glesam_runtime.engines.") for name in loaded.split()}
    assert "onnxruntime" in modules
    assert not modules & {"device_array", "dlpack", "cuda", "openvino"}


def modules_of_the_runtime() -> dict[str, Path]:
    root = RUNTIME / "glesam_runtime"
    paths = (path.relative_to(RUNTIME) for path in root.rglob("*.py"))
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): RUNTIME / path for path in paths}


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yields the modules that a module imports anywhere, also within its functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                yield from (
                    each for each in [submodule if submodule in modules else source] if each in modules
                )


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = modules_of_the_runtime()
    graph = {name: set(imports_of(name, path, modules)) & set(modules) for name, path in modules.items()}
    assert "glesam_runtime.engines.cuda" in graph["glesam_runtime.engines.device_array"]  # in a function
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


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


def test_a_reader_that_goes_away_is_no_error(bundle_path: Path, photo: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [str(photo), *BOX, "--bundle", str(bundle_path), "--out", str(tmp_path / "out")]
    code = "from glesam_runtime.cli.run import main; main()"
    status, _, stderr = python(code, *arguments, stdout=writing)
    os.close(writing)
    assert status == 141
    (line,) = stderr.splitlines()
    assert ", backend " in line  # which model runs, and nothing else


def test_a_reader_of_tables_that_goes_away_is_no_error(bundle_path: Path) -> None:
    """As `glesam-info | head -1`. By itself rich ends the process with status 1."""
    reading, writing = os.pipe()
    os.close(reading)
    status, _, stderr = python(INFO, str(bundle_path), stdout=writing)
    os.close(writing)
    assert status == 141
    assert stderr == ""


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
        "FollowOptions",
        "Followed",
        "Follower",
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
