"""save_pretrained and from_pretrained: whole or not at all, and nothing is guessed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glesam import checkpoint_folder
from glesam.config import nano
from glesam.model import GleSam, shipped_checkpoint
from glesam.training.checkpoint import Checkpoint
from glesam_runtime.errors import CheckpointError

NAME = "gle.unet.conv_in.base_layer.weight"


@pytest.fixture
def folder(model: GleSam, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        GleSam.from_pretrained(folder)
    return str(caught.value)


def test_fp32_comes_back_bit_for_bit_and_in_eval_mode(model: GleSam, folder: Path) -> None:
    loaded = GleSam.from_pretrained(folder)
    assert loaded.config == model.config
    assert not loaded.training
    own, actual = model.state_dict(), loaded.state_dict()
    assert own.keys() == actual.keys()
    assert all(torch.equal(own[name], actual[name]) for name in own)


def test_fp16_halves_the_file_and_loads_as_fp32(model: GleSam, folder: Path, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "half", torch.float16)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")]
    assert 0.49 < sizes[1] / sizes[0] < 0.55  # the header stays
    half, own = GleSam.from_pretrained(tmp_path / "half").state_dict(), model.state_dict()
    assert {tensor.dtype for tensor in half.values()} == {tensor.dtype for tensor in own.values()}
    assert all(torch.equal(half[name], own[name].half().to(own[name].dtype)) for name in own)


def test_the_text_context_and_the_frozen_norms_are_saved(tmp_path: Path) -> None:
    model = GleSam(nano())
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and ("scale" in name or "text" in name):
            buffer.uniform_(0.5, 1)
    model.save_pretrained(tmp_path)
    loaded = dict(GleSam.from_pretrained(tmp_path).named_buffers())
    assert any(name.endswith(".scale") for name in loaded)
    assert all(torch.equal(loaded[name], buffer) for name, buffer in model.named_buffers())


def test_saving_replaces_an_older_checkpoint_and_leaves_other_files_alone(
    model: GleSam, folder: Path
) -> None:
    (folder / "notes.txt").write_text("mine")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]
    loaded = GleSam.from_pretrained(folder)
    assert torch.equal(next(loaded.parameters()), next(model.parameters()))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    model: GleSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises a RuntimeError that does not mention the disk."""

    def full(_: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 7212160\nmore")

    checkpoint = Checkpoint(tmp_path / "stage2.pt", model, [])
    checkpoint.save(1)
    before = checkpoint.path.read_bytes()
    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OSError, match=r"cannot write .*stage2.pt .*7212160\); free some space on its disk$"):
        checkpoint.save(2)
    assert checkpoint.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [checkpoint.path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_old_files(
    model: GleSam, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(tensors: dict[str, Tensor], path: Path, **_: Any) -> None:  # noqa: ANN401
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(checkpoint_folder, "save_file", interrupted)
    with pytest.raises(error):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_files_are_readable_by_whoever_may_read_new_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    modes = {path.stat().st_mode for path in [*folder.iterdir(), tmp_path / "plain"]}
    assert len(modes) == 1


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(NAME))
    assert f"1 missing tensors, first '{NAME}'" in refusal(folder)


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    assert "1 unknown tensors, first 'extra'" in refusal(folder)


def test_a_misshapen_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({NAME: torch.zeros(16, 256, 1, 1)}))
    message = refusal(folder)
    assert f"1 misshapen tensors, first '{NAME}'" in message
    assert "'tiny-sd15' configuration" in message


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"cannot read a GleSAM checkpoint from {folder}" in refusal(folder)


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    torch.save({"weights": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").write_bytes(trap)
    refusal(folder)
    (folder / "model.safetensors").unlink()
    refusal(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("gle", "named"),
    [({"gamma": 0.0}, "gamma 0.0"), ({"timestep": 1000}, "timestep 1000"), ({"gamma": "3"}, "gamma '3'")],
)
def test_numbers_that_make_no_model_are_refused(folder: Path, gle: dict[str, object], named: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["gle"].update(gle)
    (folder / "config.json").write_text(json.dumps(config))
    assert named in refusal(folder)


def test_a_missing_folder_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", str(tmp_path / "absent"), Path("owner/model"), "absent"):
        with pytest.raises(CheckpointError, match="no folder"):
            GleSam.resolve(path)


def test_nano_is_the_shipped_checkpoint_unless_a_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder.resolve_folder("nano") == shipped_checkpoint()
    (tmp_path / "nano").mkdir()
    assert checkpoint_folder.resolve_folder("nano") == Path("nano")


def test_a_model_the_hub_has_not_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(*_: object, **__: object) -> None:
        raise OSError("404 Client Error\n\nRepository Not Found")

    monkeypatch.setattr("huggingface_hub.snapshot_download", not_found)
    with pytest.raises(CheckpointError) as error:
        GleSam.resolve("owner/model")
    assert str(error.value) == "no folder owner/model, and the hub has no such model: 404 Client Error"


def test_an_installation_without_the_shipped_model_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_folder, "files", lambda _: tmp_path)
    with pytest.raises(CheckpointError, match=r"not installed .* pip install glesam-nano"):
        shipped_checkpoint()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / "model.safetensors")
    assert f"{name} holds NaN or infinite values" in refusal(folder)


def test_weights_of_another_kind_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file(tensors | {name: tensors[name].to(torch.int8)}, folder / "model.safetensors")
    assert f"{name} holds int8, expected floats" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_git_lfs_pointer_is_called_one(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert f"{name} is a Git LFS pointer in its place; run git lfs pull" in refusal(folder)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused_in_the_configuration(folder: Path, constant: str) -> None:
    text = (folder / "config.json").read_text()
    config = json.loads(text)
    changed = text.replace(f'"gamma": {config["gle"]["gamma"]}', f'"gamma": {constant}')
    assert changed != text
    (folder / "config.json").write_text(changed)
    assert f"config.json holds {constant}; expected finite numbers" in refusal(folder)
