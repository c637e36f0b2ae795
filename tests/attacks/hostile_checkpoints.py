"""Checkpoints that hold code, lie about their tensors or are something else; each writes to its own path.

Names that end in _folder are checkpoint folders, those in _state training states, others a decoder's file.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from training_state import checkpoint_at

from glesam.config import tiny
from glesam.model import GleSam

Generator = Callable[[Path], object]
CHECKPOINTS: dict[str, Generator] = {}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = "<!DOCTYPE html><html><body>404</body></html>"


def hostile(generator: Generator) -> Generator:
    CHECKPOINTS[generator.__name__] = generator
    return generator


@cache
def model() -> GleSam:
    """The sound model; every attack copies it."""
    torch.manual_seed(0)
    return GleSam(tiny()).eval()


def decoder() -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model().mask_decoder.state_dict().items()}


class Trap:
    """Unpickling it creates a file beside the one that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (f"{self.path}.sprung", "w")


# --- code


@hostile
def pickle_with_code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": Trap(path)}))


@hostile
def archive_with_code(path: Path) -> None:
    torch.save({"weights": Trap(path)}, path)


@hostile
def old_format_with_code(path: Path) -> None:
    torch.save({"weights": Trap(path)}, path, _use_new_zipfile_serialization=False)


@hostile
def training_with_code_state(path: Path) -> None:
    torch.save({"format": 5, "step": Trap(path)}, path)


@hostile
def folder_with_code_folder(path: Path) -> None:
    model().save_pretrained(path)
    torch.save({"weights": Trap(path)}, path / "model.safetensors")


# --- safetensors that lie


def safetensors(path: Path, header: object, data: bytes = bytes(64), length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def _tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS: dict[str, object] = {
    "overlapping": {"a": _tensor(0, 64, [16]), "b": _tensor(0, 64, [16])},
    "out_of_range": {"a": _tensor(0, 1 << 40, [1 << 38])},
    "behind_the_end": {"a": _tensor(1 << 62, (1 << 62) + 64, [16])},
    "backwards": {"a": _tensor(64, 0, [16])},
    "negative": {"a": _tensor(-64, 0, [16])},
    "too_short": {"a": _tensor(0, 64, [1 << 20, 1 << 20])},
    "overflowing": {"a": _tensor(0, 64, [1 << 33, 1 << 33])},
    "of_unknown_type": {"a": _tensor(0, 64, [16], "F4096")},
    "without_offsets": {"a": {"dtype": "F32", "shape": [16]}},
    "with_a_hole": {"a": _tensor(0, 4, [1]), "b": _tensor(60, 64, [1])},
    "of_many_axes": {"a": _tensor(0, 4, [1] * 100_000)},
    "with_a_list_for_a_header": [1, 2, 3],
    "with_brackets_for_a_header": b"[" * 1_000_000,
    "with_broken_text": b"\xff\xfe{}",
}


def _safetensors_generator(header: object) -> Generator:
    return partial(safetensors, header=header)


for _name, _header in HEADERS.items():
    CHECKPOINTS[f"safetensors_{_name}.safetensors"] = _safetensors_generator(_header)


def of_kind(name: str) -> Callable[[Generator], Generator]:
    """Registers a generator under a name with a suffix."""

    def register(generator: Generator) -> Generator:
        CHECKPOINTS[name] = generator
        return generator

    return register


@of_kind("header_of_exabytes.safetensors")
def header_of_exabytes(path: Path) -> None:
    safetensors(path, {}, length=1 << 62)


@of_kind("header_of_gigabytes_of_nothing.safetensors")
def header_of_gigabytes_of_nothing(path: Path) -> None:
    safetensors(path, b" " * 1000, length=1 << 32)
    os.truncate(path, 1 << 33)


@of_kind("header_of_spaces.safetensors")
def header_of_spaces(path: Path) -> None:
    safetensors(path, b"{}" + b" " * 50_000_000)


@of_kind("tens_of_thousands_of_tensors.safetensors")
def tens_of_thousands_of_tensors(path: Path) -> None:
    safetensors(path, {f"t{i}": _tensor(0, 0, [0]) for i in range(30_000)}, b"")


# --- torch's archives that lie


@hostile
def archive_that_unpacks_to_gigabytes(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(1 << 28))


@hostile
def archive_of_another_program(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped", "x")


@hostile
def archive_that_is_cut(path: Path) -> None:
    torch.save(decoder(), path)
    path.write_bytes(path.read_bytes()[:-5000])


@hostile
def one_number_that_stands_for_terabytes(path: Path) -> None:
    """All strides are 0."""
    torch.save(decoder() | {"mask_tokens.weight": torch.zeros(1).expand(1 << 40)}, path)


@hostile
def old_storage_of_terabytes(path: Path) -> None:
    torch.save({"w": torch.zeros(1234)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes().replace(struct.pack("<H", 1234), struct.pack("<H", 65_000))
    path.write_bytes(
        content.replace(b"M" + struct.pack("<H", 65_000), b"\x8a\x06" + (1 << 42).to_bytes(6, "little"))
    )


@hostile
def hole_of_thirty_gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(30 << 30)


def _deep_key(depth: int) -> object:
    """Its hash takes 2^depth steps."""
    key: object = "k"
    for _ in range(depth):
        key = (key, key)
    return key


def _with_deep_key() -> bytes:
    """A dict with a deep key, which this process cannot make, from a list."""
    content = pickle.dumps([_deep_key(60)], 2)
    return content.replace(b"]q\x00", b"}q\x00", 1)[:-2] + b"Ns."


@hostile
def key_whose_hash_takes_an_age(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _with_deep_key())
        archive.writestr("archive/version", "3\n")


@hostile
def key_whose_hash_takes_an_age_in_a_pickle(path: Path) -> None:
    path.write_bytes(_with_deep_key())


@hostile
def list_nested_a_hundred_thousand_times(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"](" * 100_000 + b"N" + b"e" * 100_000 + b".")


# --- values


def _changed(change: Callable[[Tensor], Tensor]) -> Generator:
    def generate(path: Path) -> None:
        state = decoder()
        torch.save(state | {"mask_tokens.weight": change(state["mask_tokens.weight"])}, path)

    return generate


CHECKPOINTS |= {
    "values_not_finite": _changed(lambda t: t * float("nan")),
    "values_infinite": _changed(lambda t: t + float("inf")),
    "values_of_integers": _changed(lambda t: t.to(torch.int64)),
    "values_complex": _changed(lambda t: t.to(torch.complex64)),
    "values_meta": _changed(lambda t: t.to("meta")),
    "values_sparse": _changed(Tensor.to_sparse),
    "values_of_another_shape": _changed(lambda t: t[:1]),
}


@hostile
def keys_of_numbers(path: Path) -> None:
    torch.save(dict(enumerate(decoder().values())), path)


@hostile
def keys_that_a_terminal_acts_on(path: Path) -> None:
    torch.save({f"\x1b]0;owned\x07\n{name}": tensor for name, tensor in decoder().items()}, path)


@hostile
def pointer_in_its_place(path: Path) -> None:
    path.write_text(POINTER)


@hostile
def page_in_its_place(path: Path) -> None:
    path.write_text(PAGE)


@hostile
def pipe_in_its_place(path: Path) -> None:
    os.mkfifo(path)


@hostile
def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


# --- checkpoint folders


def _folder(change: Callable[[Path], object]) -> Generator:
    def generate(path: Path) -> None:
        model().save_pretrained(path)
        change(path)

    return generate


def _config(change: Callable[[dict[str, Any]], object]) -> Generator:
    def edit(path: Path) -> None:
        content = json.loads((path / "config.json").read_text())
        change(content)
        (path / "config.json").write_text(json.dumps(content))

    return _folder(edit)


def _weights(change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Generator:
    def edit(path: Path) -> None:
        state = {name: tensor.clone().contiguous() for name, tensor in model().state_dict().items()}
        save_file(dict(change(state)), path / "model.safetensors")

    return _folder(edit)


def _pipe(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)


CHECKPOINTS |= {
    "gamma_not_a_number_folder": _config(lambda c: c["gle"].update(gamma=float("nan"))),
    "gamma_endless_folder": _config(lambda c: c["gle"].update(gamma=float("inf"))),
    "layers_without_end_folder": _config(lambda c: c["gle"]["unet"].update(layers_per_block=10**9)),
    "width_of_exabytes_folder": _config(lambda c: c["sam"]["encoder"].update(embed_dim=1 << 60)),
    "width_of_text_folder": _config(lambda c: c["sam"]["encoder"].update(embed_dim="wide")),
    "image_of_gigapixels_folder": _config(lambda c: c["sam"].update(image_size=1 << 30)),
    "depth_negative_folder": _config(lambda c: c["sam"]["encoder"].update(depth=-1)),
    "config_of_brackets_folder": _folder(lambda p: (p / "config.json").write_text("[" * 1_000_000)),
    "config_of_digits_folder": _folder(lambda p: (p / "config.json").write_text("9" * 1_000_000)),
    "config_is_a_pipe_folder": _folder(lambda p: _pipe(p, "config.json")),
    "config_is_a_pointer_folder": _folder(lambda p: (p / "config.json").write_text(POINTER)),
    "weights_are_a_pipe_folder": _folder(lambda p: _pipe(p, "model.safetensors")),
    "weights_are_a_page_folder": _folder(lambda p: (p / "model.safetensors").write_text(PAGE)),
    "weights_not_finite_folder": _weights(lambda s: {k: v * float("nan") for k, v in s.items()}),
    "weights_lack_half_folder": _weights(lambda s: dict(list(s.items())[::2])),
    "weights_of_integers_folder": _weights(lambda s: {k: v.to(torch.int32) for k, v in s.items()}),
}


# --- training states


def _state(change: Callable[[dict[str, Any]], object]) -> Generator:
    def generate(path: Path) -> None:
        checkpoint_at(path).save(5)
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return generate


def _moment(change: Callable[[Tensor], object]) -> Callable[[dict[str, Any]], object]:
    return lambda s: s["optimizers"][0]["state"][0].update(
        exp_avg=change(s["optimizers"][0]["state"][0]["exp_avg"])
    )


def _nested(depth: int) -> object:
    """Its text would have 2^depth parts; the file has `depth`."""
    value: object = "x"
    for _ in range(depth):
        value = [value, value]
    return value


CHECKPOINTS |= {
    "moment_of_another_shape_state": _state(_moment(lambda t: t.new_zeros(7))),
    "moment_not_finite_state": _state(_moment(lambda t: t * float("nan"))),
    "moment_sparse_state": _state(_moment(Tensor.to_sparse)),
    "moment_without_values_state": _state(_moment(lambda t: t.to("meta"))),
    "moment_that_is_text_state": _state(_moment(lambda t: "text")),
    "averaged_of_another_shape_state": _state(
        lambda s: s["averaged"].update({"module.bias": torch.zeros(3)})
    ),
    "averaged_not_finite_state": _state(lambda s: s["averaged"]["module.bias"].fill_(float("nan"))),
    "keys_of_numbers_state": _state(lambda s: s.update(module=dict(enumerate(s["module"].values())))),
    "step_negative_state": _state(lambda s: s.update(step=-1)),
    "step_that_is_text_state": _state(lambda s: s.update(step="5")),
    "format_that_is_endless_text_state": _state(lambda s: s.update(format=_nested(60))),
    "learning_rate_that_is_text_state": _state(
        lambda s: s["optimizers"][0]["param_groups"][0].update(lr="fast")
    ),
    "learning_rate_not_a_number_state": _state(
        lambda s: s["optimizers"][0]["param_groups"][0].update(lr=float("nan"))
    ),
    "no_optimizers_state": _state(lambda s: s.update(optimizers=[])),
    "not_finite_state": _state(lambda s: s["module"]["bias"].fill_(float("inf"))),
    "a_list_state": lambda path: torch.save([1, 2], path),
    "a_page_state": lambda path: path.write_text(PAGE),
    "a_pipe_state": os.mkfifo,
}
