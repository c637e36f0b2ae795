"""The alpha and rank that a LoRA file states, wherever its writer put them.

- diffusers: `lora_adapter_metadata` in the safetensors header, with keys `unet.r`, `unet.lora_alpha` ...
- PEFT: `adapter_config.json` beside the file, with keys `r`, `lora_alpha` ...
- others: a tensor `<module>.alpha` for every module; or `ss_network_alpha` in the header

Without any of them alpha is the rank, as in the authors' file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from glesam.file_limits import check_is_file
from glesam_runtime.errors import CheckpointError

A_FACTOR, ALPHA = ".lora_A.weight", ".alpha"
PEFT_CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"
PATTERN = re.compile(r"\^?(?:[\w|-]|\\?\.(?![*+])|\\w|\\d(?:[+*](?!\\d))?|\.[*+])+\$?")
"""What a key of a pattern may be: names of modules, with `.*` and `\\d+` in them.

PEFT takes any regular expression, of which some never end.
"""
MOST_WILDCARDS = 2
"""Largest number of `.*` in such a key: each multiplies the time by the length of a name."""
TOLERANCE = 1e-3
"""Relative difference of two alphas that are the same: `.alpha` tensors may be float16."""


@dataclass(frozen=True)
class Statement:
    """What one source says about the adapters, in PEFT's terms; `where` names it."""

    where: str
    values: Mapping[str, Any]

    def of(self, module: str, key: str, pattern_key: str) -> float | None:
        """Returns a number for `module`: by the patterns first, as PEFT does, else the one for all."""
        for pattern, value in (self.values.get(pattern_key) or {}).items():
            if not PATTERN.fullmatch(pattern) or len(re.findall(r"\.[*+]", pattern)) > MOST_WILDCARDS:
                raise CheckpointError(
                    f"{self.where}: {pattern_key} has the key {pattern[:100]!r}; expected a module's name"
                )
            if re.match(rf"(.*\.)?({pattern})$", module):
                return self._number(pattern_key, value)
        value = self.values.get(key)
        return None if value is None else self._number(key, value)

    def alpha(self, module: str, rank: int) -> float | None:
        """Returns alpha; alpha / rank is the strength, where rank-stabilized LoRA has alpha / sqrt(rank)."""
        alpha = self.of(module, "lora_alpha", "alpha_pattern")
        return alpha if alpha is None or not self.values.get("use_rslora") else alpha * math.sqrt(rank)

    def _number(self, key: str, value: object) -> float:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not (math.isfinite(number) and number > 0):
            raise CheckpointError(f"{self.where}: {key} is {value!r}; expected a number above 0")
        return number


def alphas_of(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns alpha for every module of a file's `tensors`, which have their plain names.

    Raises:
        CheckpointError: two sources disagree, a stated rank is not that of the tensors, or it is DoRA's file.
    """
    modules = {
        name.removesuffix(A_FACTOR): t.shape[0] for name, t in tensors.items() if name.endswith(A_FACTOR)
    }
    statements = _statements(path)
    for statement in statements:
        _check(statement, modules)
    return {module: _alpha(path, module, rank, tensors, statements) for module, rank in modules.items()}


def factors_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a file's tensors without the alphas of modules that have factors."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not (name.endswith(ALPHA) and name.removesuffix(ALPHA) + A_FACTOR in tensors)
    }


def common_alpha(alphas: Mapping[str, float], rank: int) -> float:
    """Returns the alpha of a model with these adapters: theirs where all have one, else the rank."""
    values = set(alphas.values())
    return values.pop() if len(values) == 1 else float(rank)


def config_beside(path: Path) -> Path | None:
    """Returns PEFT's file beside a LoRA, where there is one."""
    config = path.parent / PEFT_CONFIG
    return config if config.is_file() else None


def _alpha(
    path: Path, module: str, rank: int, tensors: Mapping[str, Tensor], statements: list[Statement]
) -> float:
    stated = [(alpha, s.where) for s in statements if (alpha := s.alpha(module, rank)) is not None]
    if (tensor := tensors.get(module + ALPHA)) is not None:
        own = Statement(
            f"{path}: {module}{ALPHA}", {"lora_alpha": tensor.item() if tensor.numel() == 1 else None}
        )
        stated.append((own._number("lora_alpha", own.values["lora_alpha"]), own.where))
    if not stated:
        return float(rank)
    first, where = stated[0]
    for other, elsewhere in stated[1:]:
        if not math.isclose(first, other, rel_tol=TOLERANCE):
            raise CheckpointError(
                f"alpha of {module} is {first:g} in {where}, but {other:g} in {elsewhere}; "
                "remove the one that is wrong"
            )
    return first


def _check(statement: Statement, modules: Mapping[str, int]) -> None:
    """Raises CheckpointError where the tensors are not of the stated rank, or of another method."""
    if statement.values.get("use_dora"):
        raise CheckpointError(
            f"{statement.where}: use_dora is set; expected a LoRA without DoRA's magnitudes"
        )
    for module, rank in modules.items():
        stated = statement.of(module, "r", "rank_pattern")
        if stated is not None and stated != rank:
            raise CheckpointError(
                f"{statement.where}: the rank of {module} is {stated:g} there, but {rank} in the tensors; "
                "give the file that belongs to it"
            )


def _statements(path: Path) -> list[Statement]:
    header = _header(path)
    found = []
    if METADATA in header:
        values = _object(header[METADATA], f"{path}: {METADATA}")
        own = {key.removeprefix("unet."): value for key, value in values.items()}
        found.append(Statement(f"{path}: {METADATA}", own))
    if "ss_network_alpha" in header:
        values = {"lora_alpha": header["ss_network_alpha"], "r": _rank_of(header)}
        found.append(Statement(f"{path}: ss_network_alpha", values))
    if config := config_beside(path):
        check_is_file(config)
        try:
            found.append(Statement(str(config), _object(config.read_text("utf-8"), str(config))))
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"cannot read {config} ({type(error).__name__})") from error
    return found


def _rank_of(header: Mapping[str, str]) -> str | None:
    """Returns the rank in a header that has alpha; some writers put a word there."""
    rank = header.get("ss_network_dim", "")
    return rank if rank.isdecimal() else None


def _header(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    check_is_file(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read tensors from {path} ({type(error).__name__})") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: expected JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: expected a JSON object, found {type(values).__name__}")
    for key in ("alpha_pattern", "rank_pattern", "unet.alpha_pattern", "unet.rank_pattern"):
        if not isinstance(values.get(key) or {}, dict):
            raise CheckpointError(f"{where}: {key} is {values[key]!r}; expected numbers by module")
    return values
