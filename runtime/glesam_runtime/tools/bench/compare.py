"""Times a bundle on several backends and thread counts in one interleaved run, with its masks' accuracy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from ...bundle.reader import Bundle
from ...engines import BACKENDS, ONNX_BACKENDS, open_engines
from ...engines.base import Engines
from ...engines.choice import split_backend
from ...errors import BackendError
from ...predictor import Predictor
from ...preprocess import Pixels
from ...prompts import Prompt
from ..parity import MaskParity
from ..progress import Track, untracked
from ..verify import verify
from .measure import WHOLE, Plan, PromptsResult, Spread, call_of, stages_of_one

_WITH_DEVICES = ("onnxruntime:cuda", "openvino:gpu")
"""Beyond each library's own default device."""
_PAUSE_S = 0.02
"""The threads of a library spin for a moment after a call, on cores that the next contender needs."""


@dataclass(frozen=True)
class Contender:
    """A backend with its threads of the CPU; 0 on a GPU, which ignores them."""

    backend: str
    threads: int

    def __str__(self) -> str:
        count = f", {self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else ""
        return f"{self.backend}{count}"


@dataclass(frozen=True)
class Result:
    """A contender's times [ms], and the IoU of its masks with PyTorch's recorded ones, all golden vectors.

    prompts: times for each number of prompts in one call that the plan has.
    """

    contender: Contender
    load_ms: float
    stages_ms: Mapping[str, Spread]
    prompts: tuple[PromptsResult, ...]
    mask_iou: MaskParity

    @property
    def whole(self) -> Spread:
        """Times from image to mask [ms]."""
        return self.stages_ms[WHOLE]


@dataclass(frozen=True)
class Comparison:
    """The results, fastest first. `absent`: the backends that do not run the bundle here, and why."""

    results: tuple[Result, ...]
    absent: Mapping[str, str]


@dataclass
class _Opened:
    """A contender that is ready to run, and its times so far [ms].

    times: of one image to one mask, by stage. calls: of each call of predict, by its number of prompts.
    """

    contender: Contender
    predictor: Predictor
    load_ms: float
    mask_iou: MaskParity
    times: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[int, list[Mapping[str, float]]] = field(default_factory=dict)

    def run(self, image: Pixels, prompt: Prompt, counts: Iterable[int]) -> None:
        """Takes one image to one mask, then answers each of these numbers of prompts in one call."""
        for stage, ms in stages_of_one(self.predictor, image, prompt).items():
            self.times.setdefault(stage, []).append(ms)
        for count in counts:
            self.calls.setdefault(count, []).append(call_of(self.predictor, prompt, count))

    def forget(self) -> None:
        """Drops the times so far: those of the warm-up."""
        self.times.clear()
        self.calls.clear()

    def result(self) -> Result:
        spreads = {stage: Spread.of(times) for stage, times in self.times.items()}
        prompts = tuple(PromptsResult.of(count, calls) for count, calls in self.calls.items())
        return Result(self.contender, self.load_ms, spreads, prompts, self.mask_iou)


def contenders(backend: str, threads: Sequence[int]) -> list[Contender]:
    """Returns what to compare: `backend`, or all of them for "auto", with each number of CPU threads."""
    names = (*BACKENDS, *_WITH_DEVICES) if backend == "auto" else (backend,)
    return [Contender(name, count) for name in names for count in (threads if _is_on_cpu(name) else (0,))]


def compare(
    bundle: Bundle,
    image: Pixels,
    prompt: Prompt,
    chosen: Iterable[Contender],
    plan: Plan,
    track: Track = untracked,
) -> Comparison:
    """Opens all that run here, then lets each take its turn in every round, on `image`, uint8 [H,W,3] RGB.

    Of the plan, the numbers of sessions have no use here: each contender runs alone.
    Raises BackendError where none of them runs, BundleError where the bundle has no golden vectors.
    """
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        opened = list(_open_all(bundle, chosen, stack, absent))
        if not opened:
            reasons = "; ".join(f"{name}: {why}" for name, why in absent.items())
            raise BackendError(f"no backend runs this bundle here: {reasons}")
        total = plan.warmup + plan.rounds
        for number in track(range(total), total, "rounds"):
            for each in opened:
                each.run(image, prompt, plan.prompts)
                time.sleep(_PAUSE_S)
            if number + 1 == plan.warmup:
                for each in opened:
                    each.forget()
        results = [each.result() for each in opened]
    return Comparison(tuple(sorted(results, key=lambda result: result.whole.p50)), absent)


def _open_all(
    bundle: Bundle, chosen: Iterable[Contender], stack: ExitStack, absent: dict[str, str]
) -> Iterator[_Opened]:
    """Yields the contenders that run here, closed with the stack; notes why the others do not."""
    for contender in chosen:
        if contender.backend in absent:
            continue
        start = time.perf_counter()
        try:
            graphs = open_engines(contender.backend, bundle, threads=contender.threads)
        except BackendError as error:
            absent[contender.backend] = str(error)
            continue
        load_ms = (time.perf_counter() - start) * 1000
        engines = Engines(graphs["image_encoder"], graphs["gle"], graphs["mask_decoder"])
        predictor = stack.enter_context(Predictor(bundle.manifest, engines))
        parity = verify(bundle, graphs).mask_iou.values()
        yield _Opened(contender, predictor, round(load_ms, 1), _joined(list(parity)))


def _joined(sets: Sequence[MaskParity]) -> MaskParity:
    """Returns the parity over all sets of masks."""
    count = sum(each.masks for each in sets)
    mean = sum(each.mean * each.masks for each in sets) / count
    return MaskParity(mean, min(each.worst for each in sets), count)


def _is_on_cpu(backend: str) -> bool:
    name, device, _ = split_backend(backend)
    return name in ONNX_BACKENDS and device in ("", "cpu")
