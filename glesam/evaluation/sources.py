"""Where masks come from: a PyTorch checkpoint or an exported bundle, with GLE ("glesam") or without ("sam").

A source is written `[NAME=]FOLDER[:METHODS]`: "runs/a", "GLE off=runs/off:sam", "runs/b:sam,glesam".
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from glesam.evaluation.methods import Image, RowName, Segmentation
from glesam.evaluation.prompts import ObjectPrompt
from glesam_runtime import Bundle, Engines, GlesamError, Predictor, Prompt
from glesam_runtime.bundle.manifest import Manifest
from glesam_runtime.bundle.reader import sha256_of
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.engines import Engine, open_engines
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.errors import InputError

MODEL_METHODS = ("sam", "glesam")
"""GLE off, GLE on."""


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user wrote it. `path` "" is the shipped bundle; no `methods`: the run's."""

    kind: Literal["checkpoint", "bundle"]
    path: str
    name: str = ""
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """An opened model; `origin` says in one line where it came from."""

    name: str
    manifest: Manifest
    engines: Engines
    origin: str


@dataclass(frozen=True)
class ModelMethod:
    """`glesam.evaluation.methods.Method` of one predictor; every call has a session of its own."""

    row: RowName
    predictor: Predictor

    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        session = self.predictor.new_session()
        try:
            session.set_image(image)
            asked = [Prompt(box=prompt.box, points=prompt.points) for prompt in prompts]
            return Segmentation(session.predict(prompts=asked).masks)
        except GlesamError as error:
            raise InputError(f"{self.row}: {error}") from error


class LastAnswer:
    """An engine that does not compute twice in a row what it was just asked, by the same thread.

    sam and glesam share the image encoder, which takes most of the time of both.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = threading.local()

    @property
    def spec(self) -> GraphSpec:
        return self._engine.spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        """On the host in any case: what stays on a device is gone with the next call."""
        asked: Tensors | None = getattr(self._last, "feeds", None)
        if asked is None or not all(np.array_equal(asked[name], feeds[name]) for name in feeds):
            self._last.answer = self._engine(feeds)
            self._last.feeds = feeds
        answer: dict[str, Array] = self._last.answer
        return answer

    def new_session(self, stream: int | None = None) -> LastAnswer:
        return self

    def close(self) -> None:
        self._engine.close()


def parse_source(kind: Literal["checkpoint", "bundle"], text: str) -> SourceSpec:
    """`[NAME=]FOLDER[:METHODS]`; a folder whose own name looks like that wins.

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
    """Checkpoints first, each kind in the order given."""
    return [
        *(parse_source("checkpoint", text) for text in checkpoints),
        *(parse_source("bundle", text) for text in bundles),
    ]


def open_source(spec: SourceSpec, backend: str = "auto") -> Source:
    """Raises CheckpointError or a GlesamError where there is no such model, or not for `backend`."""
    source = _open_checkpoint(spec) if spec.kind == "checkpoint" else _open_bundle(spec, backend)
    shared = replace(source.engines, image_encoder=LastAnswer(source.engines.image_encoder))
    return replace(source, name=spec.name or source.name, engines=shared)


def methods_of(source: Source, methods: Sequence[str]) -> list[ModelMethod]:
    """Both share the source's engines; without GLE the engine is left out, as in the runtime."""
    engines = {"sam": replace(source.engines, gle=None), "glesam": source.engines}
    return [
        ModelMethod(RowName(source.name, method), Predictor(source.manifest, engines[method]))
        for method in methods
    ]


def _open_bundle(spec: SourceSpec, backend: str) -> Source:
    bundle = Bundle.open(spec.path or None)
    engines = Engines(**open_engines(backend, bundle))
    precision, folder = bundle.manifest.precision, Path(bundle.root).resolve().name
    name = folder if precision in folder else f"{folder} {precision}"
    origin = f"bundle {bundle.root}, sha256 {bundle.hash[:12]}, {precision}, {backend}"
    return Source(name, bundle.manifest, engines, origin)


def _open_checkpoint(spec: SourceSpec) -> Source:
    from glesam.model import WEIGHTS_FILE, GleSam
    from glesam.reference import reference_manifest, torch_engines

    folder = GleSam.resolve(spec.path)
    model = GleSam.from_pretrained(folder)
    name = Path(spec.path).resolve().name
    origin = f"checkpoint {spec.path}, sha256 {sha256_of(folder / WEIGHTS_FILE)[:12]}, fp32, PyTorch"
    return Source(name, reference_manifest(model), torch_engines(model), origin)
