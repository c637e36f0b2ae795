"""Models to evaluate: PyTorch checkpoints and exported bundles, with GLE ("glesam") or without it ("sam").

"restored" is a model without it, on pictures that a restorer has improved.
A source is written `[NAME=]FOLDER[:METHODS]`: "runs/a", "GLE off=runs/off:sam", "runs/b:sam,glesam".
A RobustSAM runs the method "robustsam" alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from glesam.evaluation.methods import BASELINES, Candidates, Image, Method, Segmentation
from glesam.evaluation.prompts import ObjectPrompt, PromptKind
from glesam.evaluation.remembered import LastAnswer, LastPicture
from glesam.evaluation.score import MODEL_METHODS, RESTORED, ROBUST_METHOD, RowName
from glesam.restorers.restorer import Restorer
from glesam_runtime import Bundle, Engines, GlesamError, Predictor, Prompt
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.engines import open_engines
from glesam_runtime.errors import InputError

SourceKind = Literal["checkpoint", "bundle"]


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user wrote it. `path` "" is the shipped bundle; no `methods`: the run's."""

    kind: SourceKind
    path: str
    name: str = ""
    methods: tuple[str, ...] = ()


SHIPPED = SourceSpec("bundle", "")


@dataclass(frozen=True)
class Source:
    """An opened model; `origin` describes in one line where it came from."""

    name: str
    manifest: Manifest
    engines: Engines
    origin: str


@dataclass(frozen=True)
class ModelMethod:
    """A `Method` that segments with one predictor; every call has a session of its own.

    `restorer`: what a picture goes through first; its size stays.
    The source's engines are LastAnswers: the candidates cost no second call of the decoder.
    """

    row: RowName
    predictor: Predictor
    restorer: Restorer | None = None

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        session = self.predictor.new_session()
        try:
            session.set_image(image if self.restorer is None else self.restorer(image))
            converted = [Prompt(box=prompt.box, points=prompt.points) for prompt in prompts]
            masks = session.predict(prompts=converted).masks
            if not self.predictor.manifest.multimask:
                return Segmentation(masks)
            several = session.predict(prompts=converted, multimask=True)
            return Segmentation(masks, candidates=Candidates(several.masks, several.iou_predictions))
        except GlesamError as error:
            raise InputError(f"{self.row}: {error}") from error


def parse_source(kind: SourceKind, text: str) -> SourceSpec:
    """Parses `[NAME=]FOLDER[:METHODS]`; an existing folder whose own name looks like that wins.

    Raises InputError for an empty name or folder, or an unknown method.
    """
    if Path(text).is_dir():
        return SourceSpec(kind, text)
    name, named, rest = text.partition("=") if "=" in text else ("", "", text)
    path, divided, methods = (rest, "", "") if Path(rest).is_dir() else rest.partition(":")
    chosen = tuple(methods.split(",")) if divided else ()
    if not path or (named and not name) or not set(chosen) <= set(MODEL_METHODS):
        raise InputError(
            f"--{kind} {text!r}: expected [NAME=]FOLDER[:METHODS] with METHODS of "
            f"{', '.join(MODEL_METHODS)}, such as 'GLE off=runs/off:sam'"
        )
    return SourceSpec(kind, path, name, chosen)


def parse_sources(checkpoints: Sequence[str], bundles: Sequence[str]) -> list[SourceSpec]:
    """Parses checkpoints, then bundles, each in the order given."""
    return [
        *(parse_source("checkpoint", text) for text in checkpoints),
        *(parse_source("bundle", text) for text in bundles),
    ]


def open_methods(
    names: Sequence[str],
    sources: Sequence[SourceSpec],
    kind: PromptKind,
    backend: str,
    restorer: Path | None = None,
) -> tuple[list[Method], list[str]]:
    """The method of every row, baselines first, and a line per source that describes where it came from.

    Sources without methods of their own run those of `names`; without sources the shipped bundle does.
    `restorer`: what "restored" runs before a model (`glesam.restorers.opening`).

    Raises:
        InputError: a baseline is to run without boxes, a source has nothing to run, "restored" lacks its
            restorer or the reverse, or two rows would have the same name; CheckpointError, a ValueError,
            where a checkpoint cannot be read.
        GlesamError: a bundle or its backend cannot be opened.
    """
    baselines = [name for name in names if name in BASELINES]
    models = tuple(name for name in names if name in MODEL_METHODS)
    if baselines and kind != "box":
        raise InputError(
            f"--methods {','.join(baselines)}: expected --prompt box, found {kind}; leave them out"
        )
    methods: list[Method] = [BASELINES[name]() for name in baselines]
    sources = sources or ([SHIPPED] if models else [])
    opened = [(spec, open_source(spec, backend)) for spec in sources]
    chosen = [chosen_methods(spec, source, models) for spec, source in opened]
    before = _open_restorer(chosen, restorer, backend)
    origins = [] if before is None else [f"{RESTORED}: {before.origin}"]
    for (_, source), names in zip(opened, chosen, strict=True):
        methods += methods_of(source, names, before)
        origins.append(f"{source.name}: {source.origin}")
    _refuse_equal_names(methods)
    return methods, origins


def _open_restorer(methods: Sequence[Sequence[str]], path: Path | None, backend: str) -> Restorer | None:
    """Opens the restorer that `methods` of the sources need; None where none does. Raises InputError."""
    is_needed = any(RESTORED in names for names in methods)
    if is_needed and path is None:
        raise InputError("--methods restored: expected a restorer, found none; name one with --restorer")
    if path is None:
        return None
    if not is_needed:
        raise InputError(f"--restorer {path}: no method uses it; add restored to --methods, or leave it out")
    from glesam.restorers.opening import open_restorer

    return LastPicture(open_restorer(path, backend))


def chosen_methods(spec: SourceSpec, source: Source, models: Sequence[str]) -> Sequence[str]:
    """Methods that a source runs: its own, or those of the run, `models`; of a RobustSAM always its one.

    Raises InputError where there is none, or none that the model has.
    """
    if source.manifest.family == "robustsam":
        if spec.methods:
            raise InputError(
                f"{spec.path} is a RobustSAM, which runs the method {ROBUST_METHOD} alone; "
                f"leave :{','.join(spec.methods)} out"
            )
        return (ROBUST_METHOD,)
    if not (chosen := spec.methods or models):
        raise InputError(
            f"{spec.path}: nothing to run; add sam or glesam to --methods, or :sam to the folder"
        )
    return chosen


def open_source(spec: SourceSpec, backend: str = "auto") -> Source:
    """Raises CheckpointError or a GlesamError where there is no such model, or not for `backend`."""
    source = _open_checkpoint(spec) if spec.kind == "checkpoint" else _open_bundle(spec, backend)
    return replace(source, name=spec.name or source.name, engines=remembering(source.engines))


def remembering(engines: Engines) -> Engines:
    """The engines, each as a LastAnswer; the one of GLE only because a LastAnswer's feeds are on the host."""
    gle = LastAnswer(engines.gle) if engines.gle is not None else None
    return Engines(LastAnswer(engines.image_encoder), gle, LastAnswer(engines.mask_decoder))


def methods_of(source: Source, names: Sequence[str], restorer: Restorer | None = None) -> list[ModelMethod]:
    """Methods that share the source's engines; "sam" and "restored" leave out the engine of GLE."""
    without = replace(source.engines, gle=None)
    engines = {"sam": without, "glesam": source.engines, RESTORED: without, ROBUST_METHOD: source.engines}
    return [
        ModelMethod(
            RowName(source.name, name),
            Predictor(source.manifest, engines[name]),
            restorer if name == RESTORED else None,
        )
        for name in names
    ]


def _open_bundle(spec: SourceSpec, backend: str) -> Source:
    bundle = Bundle.open(spec.path or None)
    engines = Engines(**open_engines(backend, bundle))
    precision, folder = bundle.manifest.precision, Path(bundle.root).resolve().name
    name = folder if precision in folder else f"{folder} {precision}"
    origin = f"bundle {bundle.root}, sha256 {bundle.hash[:12]}, {precision}, {backend}"
    return Source(name, bundle.manifest, engines, origin)


def _open_checkpoint(spec: SourceSpec) -> Source:
    from glesam.checkpoint_folder import WEIGHTS_FILE, resolve_folder
    from glesam.reference import load_model, reference_manifest, torch_engines

    folder = resolve_folder(spec.path)
    model = load_model(folder)
    name = Path(spec.path).resolve().name
    origin = f"checkpoint {spec.path}, sha256 {sha256_of(folder / WEIGHTS_FILE)[:12]}, fp32, PyTorch"
    return Source(name, reference_manifest(model), torch_engines(model), origin)


def _refuse_equal_names(methods: Sequence[Method]) -> None:
    rows = [method.row for method in methods]
    for row in rows:
        if rows.count(row) > 1:
            raise InputError(f"{row}: two sources have this name; name them, as in NAME={row.source}")
