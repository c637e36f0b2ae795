"""A model on disk: a folder with `config.json` and `model.safetensors`, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glesam.config import GleSamConfig
from glesam.file_limits import check_is_file, check_weights_file
from glesam.official.weights import check_floats, check_plain
from glesam.tensor_output import refused_writes
from glesam_runtime.errors import CheckpointError, InputError, first_line
from glesam_runtime.image_io.file_kinds import stand_in
from glesam_runtime.output import replaced_file

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def shipped_checkpoint() -> Path:
    """The folder of `nano`, the trained model: inside the source tree, or where its own wheel installs it.

    Raises:
        CheckpointError: this installation has none.
    """
    folder = Path(str(files("glesam") / "models" / "nano"))
    if not (folder / WEIGHTS_FILE).is_file():
        raise CheckpointError(
            f"nano's checkpoint is not installed ({folder} is missing); pip install glesam-nano, in a clone "
            "pip install ./glesam/models, or name a checkpoint's folder"
        )
    return folder


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """The two files of a checkpoint, by name."""
    return {name: folder / name for name in (CONFIG_FILE, WEIGHTS_FILE)}


def write_checkpoint(
    folder: Path, config: GleSamConfig, state: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    """Writes both files; see `GleSam.save_pretrained`."""
    tensors = {
        name: tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{name} is not finite in {dtype}; save it with a wider dtype")
    weights = folder / WEIGHTS_FILE
    with replaced_file(folder / CONFIG_FILE) as new_config, replaced_file(weights) as new_weights:
        with refused_writes(weights):
            save_file(tensors, new_weights, metadata={"format": "pt"})
        new_config.write_text(config.to_json())


def read_checkpoint(folder: Path) -> tuple[GleSamConfig, dict[str, Tensor]]:
    """Configuration and tensors, which stay mapped from the file.

    Raises:
        Exception: of safetensors, json or the operating system, each with its own.
    """
    for path in checkpoint_files(folder).values():
        check_is_file(path)
        if found := stand_in(path):
            raise CheckpointError(f"{path.name} is {found}")
    check_weights_file(folder / WEIGHTS_FILE)
    config = GleSamConfig.from_json((folder / CONFIG_FILE).read_text("utf-8"))
    return config, load_file(folder / WEIGHTS_FILE)


def check_tensors(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str, name: str
) -> None:
    """Raises CheckpointError where names or shapes differ, or values are no finite floats.

    `name` is the configuration's.
    """
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    misshapen = [k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape]
    for problem, names in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen)):
        if names:
            raise CheckpointError(
                f"{source}: {len(names)} {problem} tensors, first {names[0]!r}; expected the tensors "
                f"of the {name!r} configuration beside it"
            )
    check_plain(tensors, source)
    check_floats(tensors, expected, source)


def resolve_folder(folder_or_hub_id: str | Path) -> Path:
    """The local folder of a checkpoint; a hub id is downloaded first.

    Raises:
        CheckpointError: there is no such folder, nor such a model on the hub.
    """
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    if isinstance(folder_or_hub_id, Path) or folder.is_absolute() or str(folder).count("/") != 1:
        raise CheckpointError(
            f"no folder {folder}; expected one with {CONFIG_FILE} and {WEIGHTS_FILE}, "
            "or a hub id such as owner/model"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(str(folder), allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"no folder {folder}, and the hub has no such model: {first_line(error)}"
        ) from error
