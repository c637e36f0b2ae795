"""GLE's constant context: the empty prompt, encoded by the base model's own text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glesam.file_limits import check_is_file
from glesam.model import GleSam
from glesam.official.tensor_files import read_object
from glesam.official.weights import check_plain
from glesam_runtime.errors import CheckpointError


def load_text_embedding(model: GleSam, path: str | Path) -> None:
    """Reads or computes the context [1, 77, C]: the last hidden state, C = 768 (SD 1.5) or 1024 (SD 2.1).

    Args:
        path: a Stable Diffusion folder with `tokenizer/` and `text_encoder/`; or the encoded prompt as
            `.npy`, or as one tensor in a `.safetensors` file or saved by torch, alone or in a dict.

    Raises:
        CheckpointError: the file is unreadable, of another shape, or not finite.
    """
    path = Path(path)
    own = model.gle.get_buffer("text_embedding")
    embedding = encode_prompt(path, own.shape[-2]) if path.is_dir() else _read(path)
    if list(embedding.shape[-2:]) != list(own.shape[-2:]) or embedding.numel() != own.numel():
        raise CheckpointError(
            f"{path} holds a text embedding {list(embedding.shape)}, the model's base needs "
            f"{list(own.shape)}; encode the empty prompt with the base model's own text encoder"
        )
    check_plain({"the encoded prompt": embedding}, path)
    if not embedding.isfinite().all():
        raise CheckpointError(f"{path} holds values that are not finite; encode the empty prompt again")
    target = torch.device("cpu") if own.is_meta else own.device
    model.gle.register_buffer("text_embedding", embedding.reshape(own.shape).to(target, own.dtype))


@torch.no_grad()
def encode_prompt(folder: Path, tokens: int, prompt: str = "") -> Tensor:
    """Computes float32 [1, tokens, C]: the last hidden state after the final LayerNorm.

    The padding is the tokenizer's own: `<|endoftext|>` for SD 1.5, "!" for SD 2.1.

    Raises:
        CheckpointError: the folder lacks a tokenizer or a text encoder, or their files are incomplete.
    """
    from transformers import CLIPTextModel, CLIPTokenizer  # slow to import: half a second

    model: Any = CLIPTextModel  # its types hide what `output_loading_info` returns
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        encoder, report = model.from_pretrained(
            folder / "text_encoder", output_loading_info=True, local_files_only=True
        )
    except Exception as error:  # errors of transformers, tokenizers, safetensors, json and the OS
        raise CheckpointError(
            f"cannot encode a prompt with {folder} ({type(error).__name__}: {_first_line(error)}); "
            "expected a Stable Diffusion folder with tokenizer/ and text_encoder/, or an encoded prompt"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{folder / 'text_encoder'} lacks {len(missing)} tensors, first {missing[0]}; "
            "expected the base model's text encoder, whole"
        )
    ids = tokenizer(
        prompt, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
    ).input_ids
    hidden: Tensor = encoder.float().eval()(ids).last_hidden_state
    return hidden


def _read(path: Path) -> Tensor:
    if path.suffix == ".npy":
        check_is_file(path)
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError, TypeError, MemoryError) as error:
            raise CheckpointError(
                f"cannot read {path} as a NumPy array of floats: {_first_line(error)}"
            ) from error
    value = read_object(path)
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{path} holds {type(value).__name__}; expected one tensor, the encoded prompt")
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
