"""A tokenizer and a text encoder as Stable Diffusion's folder holds them, of the tiny models' width."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from glesam.official.tensor_files import read_tensors


def save_clip(root: Path) -> CLIPTextModel:
    """A text encoder of the tiny model's width and a tokenizer of a few letters, padding with "!"."""
    words = ["!", "a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    (root / "tokenizer").mkdir(parents=True)
    (root / "tokenizer/vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (root / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    (root / "tokenizer/tokenizer_config.json").write_text(
        json.dumps({"pad_token": "!", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    )
    torch.manual_seed(3)
    config = CLIPTextConfig(
        vocab_size=7, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    encoder = CLIPTextModel(config).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 2)
    encoder.save_pretrained(root / "text_encoder")
    path = root / "text_encoder/model.safetensors"
    tensors = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in read_tensors(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})  # as the official files name them
    return encoder
