"""One run of glesam-run: checks the paths, opens the model, and segments every picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...automatic.options import AutomaticOptions
from ...bundle.reader import Bundle
from ...engines import pick_for_bundle
from ...predictor import Predictor
from ..progress import counter, track
from .automatic import SegmentedAll, run_automatic
from .job import Failed, Job, Segmented, check_paths, run_job

Result = Segmented | SegmentedAll | Failed


@dataclass(frozen=True)
class Model:
    """What to run: a bundle's folder (None: the one in this package), a backend, and how pictures go in.

    public_key: of whoever must have signed the bundle.
    threads: threads of the CPU, 0 for one on each core that this process may use.
    """

    bundle: Path | None = None
    backend: str = "auto"
    enhance: bool = True
    resize: str | None = None
    public_key: Path | None = None
    threads: int = 0


@dataclass(frozen=True, eq=False)
class Opened:
    """An opened model, which backend runs the bundle, and why."""

    bundle: Bundle
    backend: str
    reason: str
    predictor: Predictor


@dataclass(frozen=True, eq=False)
class Run:
    """An opened model: which backend runs the bundle, and why; `results` segments while it is read."""

    bundle: Bundle
    backend: str
    reason: str
    results: Iterator[Result]


@contextmanager
def opened_model(model: Model) -> Iterator[Opened]:
    """Yields the opened `model`, which is closed after the block.

    Raises BundleError and BackendError as Predictor.from_bundle does.
    """
    bundle = Bundle.open(model.bundle, model.public_key)
    backend, reason = pick_for_bundle(model.backend, bundle)
    with Predictor.from_bundle(
        bundle, model.backend, model.enhance, model.resize, threads=model.threads
    ) as predictor:
        yield Opened(bundle, backend, reason, predictor)


@contextmanager
def segmented(images: Sequence[Path], job: Job, model: Model) -> Iterator[Run]:
    """Yields the run of `job` on `images`; the model is closed after the block.

    Raises ImageError for a missing picture and OutputError where results would overwrite anything, both
    before the model is loaded; then as opened_model does.
    """
    check_paths(images, job)
    with opened_model(model) as opened:
        results = _results(opened.predictor, images, job)
        yield Run(opened.bundle, opened.backend, opened.reason, results)


def _results(predictor: Predictor, images: Sequence[Path], job: Job) -> Iterator[Result]:
    """Segments each picture and shows the progress."""
    if job.automatic is None:
        yield from track(run_job(predictor, images, job), len(images), "pictures")
        return
    options = AutomaticOptions.for_model(predictor.manifest.sam_type, **job.automatic)
    # One bar over the points of all pictures: a single picture takes half a minute.
    with counter(len(images) * options.points_per_picture(), "points") as on_points:
        yield from run_automatic(predictor, images, options, job.out, on_points)
