"""The rows of the table: baselines first, then every source's methods."""

from __future__ import annotations

from collections.abc import Sequence

from glesam.evaluation.methods import BASELINES, Method
from glesam.evaluation.prompts import PromptKind
from glesam.evaluation.sources import MODEL_METHODS, SourceSpec, methods_of, open_source
from glesam_runtime.errors import InputError

SHIPPED = SourceSpec("bundle", "")


def open_methods(
    asked: Sequence[str], sources: Sequence[SourceSpec], kind: PromptKind, backend: str
) -> tuple[list[Method], list[str]]:
    """Every row's method, and a line per source that says where it came from.

    Sources without methods of their own run those of `asked`; without sources the shipped bundle does.

    Raises:
        InputError: a baseline was asked for points prompts, a source has nothing to run, or two rows
            would have the same name; CheckpointError, a ValueError, where a checkpoint cannot be read.
        GlesamError: a bundle or its backend cannot be opened.
    """
    baselines = [name for name in asked if name in BASELINES]
    models = tuple(name for name in asked if name in MODEL_METHODS)
    if baselines and kind != "box":
        raise InputError(
            f"--methods {','.join(baselines)}: expected --prompt box, found {kind}; leave them out"
        )
    methods: list[Method] = [BASELINES[name]() for name in baselines]
    origins = []
    for spec in sources or ([SHIPPED] if models else []):
        if not (chosen := spec.methods or models):
            raise InputError(
                f"{spec.path}: nothing to run; add sam or glesam to --methods, or :sam to the folder"
            )
        source = open_source(spec, backend)
        methods += methods_of(source, chosen)
        origins.append(f"{source.name}: {source.origin}")
    _refuse_equal_names(methods)
    return methods, origins


def _refuse_equal_names(methods: Sequence[Method]) -> None:
    rows = [method.row for method in methods]
    for row in rows:
        if rows.count(row) > 1:
            raise InputError(f"{row}: two sources have this name; name them, as in NAME={row.source}")
