"""The exact folds: each takes a `StaticGle` and returns one that computes the same with less."""

from __future__ import annotations

from collections.abc import Callable

from glesam.config import GleConfig
from glesam.gle import Gle
from glesam_export.folds.channels import factor_conv_in, factor_conv_out
from glesam_export.folds.lora import merge_lora
from glesam_export.folds.report import FoldReport, report_fold
from glesam_export.folds.scales import fold_gamma, fold_noise_scale
from glesam_export.folds.text_context import fold_text_context
from glesam_export.folds.timestep import fold_timestep
from glesam_export.rewrites.static_gle import StaticGle, static_gle

FOLDS: tuple[Callable[[StaticGle], StaticGle], ...] = (
    factor_conv_in,
    factor_conv_out,
    merge_lora,
    fold_gamma,
    fold_noise_scale,
    fold_timestep,
    fold_text_context,
)
"""In the order they apply: the factorings read LoRA's factors, the later ones plain weights."""
CRE_FOLDS = (factor_conv_in, factor_conv_out)
"""The folds that presume channel replication and expansion."""


def folds_of(config: GleConfig) -> list[Callable[[StaticGle], StaticGle]]:
    """Returns the folds that a GLE of this configuration can have, in the order they apply."""
    impossible: set[Callable[[StaticGle], StaticGle]] = set()
    if not config.channel_expansion:
        impossible.update(CRE_FOLDS)
    if not config.lora_rank:
        impossible.add(merge_lora)
    if config.adaptive:  # every picture has a timestep of its own
        impossible.add(fold_timestep)
    return [fold for fold in FOLDS if fold not in impossible]


def fold_all(gle: Gle) -> tuple[StaticGle, list[FoldReport]]:
    """Returns GLE with its constants in place and every fold of `folds_of` applied, with a report of each."""
    folded = static_gle(gle)
    reports = [report_fold("static_gle", gle, folded)]
    for fold in folds_of(gle.config):
        before, folded = folded, fold(folded)
        reports.append(report_fold(fold.__name__, before, folded))
    return folded, reports


__all__ = [
    "FOLDS",
    "FoldReport",
    "factor_conv_in",
    "factor_conv_out",
    "fold_all",
    "fold_gamma",
    "fold_noise_scale",
    "fold_text_context",
    "fold_timestep",
    "folds_of",
    "merge_lora",
]
