"""A model on disk: a folder with `config.json` and `model.safetensors`, written whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glesam.config import ModelConfig, config_from_json
from glesam.file_limits import check_is_file, check_weights_file
from glesam.official.weights import check_floats, check_plain
from glesam.tensor_output import refused_writes
from glesam_runtime.bundle.reader import WEIGHTS
from glesam_runtime.errors import CheckpointError, InputError, first_line
from glesam_runtime.image_io.file_kinds import stand_in
from glesam_runtime.output import replaced_file

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
ModelT = TypeVar("ModelT", bound="SavedModel")


class SavedModel(nn.Module):
    """A network with its configuration: how its input is normalized, and its folder on disk."""

    config: ModelConfig
    config_type: ClassVar[type[ModelConfig]]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def normalize(self, image: Tensor) -> Tensor:
        """RGB float [B, 3, S, S] in [0, 255] -> SAM's normalized input."""
        mean = image.new_tensor(self.config.sam.pixel_mean).reshape(3, 1, 1)
        std = image.new_tensor(self.config.sam.pixel_std).reshape(3, 1, 1)
        return (image - mean) / std

    def with_refinements(self: ModelT, refinements: int) -> ModelT:
        """Returns this model with another `SamConfig.refinements`; both share all weights.

        Raises:
            InputError: its decoder has none.
        """
        other = copy.copy(self)
        other.config = replace(self.config, sam=replace(self.config.sam, refinements=refinements))
        return other

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes `config.json` and `model.safetensors`.

        Each file is replaced whole, and both only once both are complete.

        Args:
            folder: created where missing; only these two files in it are replaced.
            dtype: type of the floating-point tensors on disk.

        Raises:
            InputError: a finite tensor would overflow `dtype`.
            OSError: a file cannot be written.
        """
        write_checkpoint(Path(folder), self.config, self.state_dict(), dtype)

    @classmethod
    def from_pretrained(cls: type[ModelT], folder_or_hub_id: str | Path) -> ModelT:
        """Reads what `save_pretrained` wrote; weights become float32, the model is in eval mode.

        float32 weights stay mapped from the file, so that a full-size model is not held twice.

        Args:
            folder_or_hub_id: a folder, or the id of a Hugging Face Hub repository.

        Raises:
            CheckpointError: files are missing or unreadable, are another model's, or tensors do not fit the
                config.
        """
        folder, kind = cls.resolve(folder_or_hub_id), cls.config_type.kind
        try:
            config, tensors = read_checkpoint(folder)
            if not isinstance(config, cls.config_type):
                raise CheckpointError(f"it is a {config.kind}; give the folder of a {kind}")
            with torch.device("meta"):  # no weight is drawn at random, and none is held twice
                model = cls(config)
        except Exception as error:  # safetensors raises its own, json and the OS theirs
            raise CheckpointError(f"cannot read a {kind} checkpoint from {folder}: {error}") from error
        model.load_tensors(tensors, str(folder / WEIGHTS_FILE))
        return model.eval()

    def load_tensors(self, tensors: dict[str, Tensor], source: str) -> None:
        """Loads a whole state dict; `source` names it in the message of a CheckpointError."""
        own = self.state_dict()
        check_tensors(own, tensors, source, self.config.name)
        like = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
        self.load_state_dict(like, assign=all(tensor.is_meta for tensor in own.values()))

    @staticmethod
    def resolve(folder_or_hub_id: str | Path) -> Path:
        """The local folder of a checkpoint; see `resolve_folder`."""
        return resolve_folder(folder_or_hub_id)


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
    folder: Path, config: ModelConfig, state: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    """Writes both files; see `SavedModel.save_pretrained`."""
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


def read_checkpoint(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and tensors, which stay mapped from the file.

    Raises:
        Exception: of safetensors, json or the operating system, each with its own.
    """
    config = read_config(folder)
    check_no_stand_in(folder / WEIGHTS_FILE)
    check_weights_file(folder / WEIGHTS_FILE)
    return config, load_file(folder / WEIGHTS_FILE)


def read_config(folder: Path) -> ModelConfig:
    """A checkpoint's configuration. Raises as `read_checkpoint` does."""
    check_no_stand_in(folder / CONFIG_FILE)
    return config_from_json((folder / CONFIG_FILE).read_text("utf-8"))


def check_no_stand_in(path: Path) -> None:
    """Raises CheckpointError for a file that stands in for another, such as a pointer of Git LFS."""
    check_is_file(path)
    if found := stand_in(path):
        raise CheckpointError(f"{path.name} is {found}")


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
    """The local folder of a checkpoint; a hub id is downloaded first, and "nano" is the shipped one.

    Raises:
        CheckpointError: there is no such folder, nor such a model on the hub.
    """
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    if str(folder) == "nano" and not folder.exists():
        return shipped_checkpoint()
    if folder.suffix in WEIGHTS:
        raise CheckpointError(
            f"{folder}: expected a checkpoint's folder, found the name of one file of weights; "
            "make a folder of official files with glesam-convert"
        )
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
