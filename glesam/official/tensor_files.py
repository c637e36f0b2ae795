"""Reads files of named tensors: safetensors, and torch's own format without any code in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from glesam.file_limits import check_weights_file, is_archive
from glesam.official.weights import check_floats, check_plain
from glesam_runtime.errors import CheckpointError
from glesam_runtime.image_io.file_kinds import stand_in

SHOWN = 3
"""Number of names listed in an error message."""


def read_tensors(path: str | Path, inside: str | None = None) -> dict[str, Tensor]:
    """Reads a file's tensors to the CPU, mapped into memory rather than copied where the format allows it.

    Args:
        path: a `.safetensors` file, or any other that torch.save wrote; only tensors are unpickled.
        inside: name under which the tensors may stand in a mapping of their own, beside others.

    Raises:
        CheckpointError: it cannot be read, or holds anything but named tensors.
    """
    tensors = read_object(path)
    if isinstance(tensors, Mapping) and isinstance(tensors.get(inside), Mapping):
        tensors = tensors[inside]
    if not isinstance(tensors, Mapping) or not all(map(_is_named_tensor, tensors.items())):
        raise CheckpointError(
            f"{path} holds {_described(tensors)}; "
            "expected a state dict, names to tensors, and nothing around it"
        )
    check_plain(tensors, path)
    return dict(tensors)


def read_object(path: str | Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Reads what a file holds, limited to what `torch.load(weights_only=True)` admits."""
    path = Path(path)
    check_weights_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        zipped = is_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version, beside the one line of ours
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # safetensors, zip, pickle and the OS each raise their own
        raise CheckpointError(
            f"cannot read tensors from {path} ({unreadable(path, error)}); "
            "expected tensors alone, in a .safetensors file or as torch.save writes a state dict"
        ) from error


def unreadable(path: Path, error: Exception) -> str:
    """Returns why a file cannot be read, without torch's advice to unpickle whatever it holds."""
    if found := stand_in(path):
        return f"found {found}"
    if isinstance(error, UnpicklingError):
        return "it holds more than tensors, which may be code, or is damaged"
    reason = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {reason}" if "weights_only" not in reason else type(error).__name__


def check_fit(
    source: str | Path,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Raises CheckpointError where names or shapes differ, or values are no finite floats.

    Nothing may be missing or left over. `name_in_file` says how the file calls a tensor, for the message.
    """
    shapes = [name for name in found if name in expected and found[name].shape != expected[name].shape]
    missing, unknown = expected.keys() - found.keys(), found.keys() - expected.keys()
    problems = [
        _listed("missing", sorted(set(map(name_in_file, missing)))),
        _listed("unknown", sorted(set(map(name_in_file, unknown)))),
        _listed("misshapen", [_misshapen(name, found, expected, name_in_file(name)) for name in shapes]),
    ]
    if any(problems):
        raise CheckpointError(f"{source} does not fit this model: {', '.join(filter(None, problems))}")
    check_floats(found, expected, source, name_in_file)


def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads a whole state dict in `module`'s dtypes.

    On the CPU and on the meta device the tensors themselves become the module's, so that a U-Net of 3.4 GB
    is not held twice. Optimizers must be built afterwards.
    """
    own = module.state_dict()
    like = {name: tensors[name].to(own[name].dtype) for name in own}
    module.load_state_dict(like, assign=all(t.device.type in ("cpu", "meta") for t in own.values()))


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {what} tensor{'s' * (len(names) > 1)} ({', '.join(names[:SHOWN])}{more})"


def _misshapen(
    name: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], name_in_file: str
) -> str:
    return f"{name_in_file} {list(found[name].shape)} instead of {list(expected[name].shape)}"


def _is_named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        odd, item = next(item for item in value.items() if not _is_named_tensor(item))
        name = repr(odd)[:80] if isinstance(odd, str | int) else f"a {type(odd).__name__}"
        return f"a {type(item).__name__} named {name}"
    return f"a {type(value).__name__}"
