"""Measures a bundle's speed and memory on this machine; docs/evaluation.md explains each figure."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...bundle.reader import Bundle
from ...predictor import Predictor
from ...preprocess import Pixels
from ...prompts import Box, Prompt
from ..machine import DeviceMemory, HostMemory, device_memory, host_memory
from ..progress import Track, untracked

WHOLE = "image to mask"
"""Name of the stage that is set_image and predict together, timed from outside."""
PREDICT = "predict"
"""Name of predict as a whole, timed from outside."""


@dataclass(frozen=True)
class Plan:
    """What to measure: `rounds` after `warmup` rounds that do not count, with these numbers of prompts in
    one call and of threads at once. `cpu_threads`: threads of the CPU in each call, 0 for the default."""

    warmup: int = 3
    rounds: int = 30
    prompts: tuple[int, ...] = (1, 16, 64)
    threads: tuple[int, ...] = (1, 2)
    cpu_threads: int = 0


@dataclass(frozen=True)
class Spread:
    """Percentiles (linear between samples) and mean of one stage's times [ms]."""

    p50: float
    p90: float
    p99: float
    mean: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Spread:
        figures = *np.percentile(times_ms, [50, 90, 99]).tolist(), float(np.mean(times_ms))
        return cls(*(round(ms, 3) for ms in figures))


@dataclass(frozen=True)
class FirstRun:
    """Times of the first run [ms]: importing the backend and compiling the graphs, then the first picture
    and its first prompt."""

    load_ms: float
    set_image_ms: float
    predict_ms: float


@dataclass(frozen=True)
class PromptsResult:
    """Times of predict() with `prompts` prompts in one call, after set_image."""

    prompts: int
    decode_ms: Spread
    postprocess_ms: Spread
    predict_ms: Spread
    prompts_per_s: float

    @classmethod
    def of(cls, prompts: int, calls: Sequence[Mapping[str, float]]) -> PromptsResult:
        """Returns the figures of calls that `call_of` timed."""
        stages = ("decode", "postprocess", PREDICT)
        decode, postprocess, whole = (Spread.of([call[stage] for call in calls]) for stage in stages)
        return cls(prompts, decode, postprocess, whole, round(prompts * 1000 / whole.mean, 3))


@dataclass(frozen=True)
class ThreadsResult:
    """Speed of `threads` sessions at once on the same engines: `images` pictures, one prompt each."""

    threads: int
    images: int
    images_per_s: float


@dataclass(frozen=True)
class Benchmark:
    """Results of bench(). `before`: the host's memory before a graph was opened; `after`: at the end."""

    first_run: FirstRun
    stages_ms: dict[str, Spread]
    prompts: tuple[PromptsResult, ...]
    threads: tuple[ThreadsResult, ...]
    before: HostMemory
    after: HostMemory
    device: DeviceMemory


def bench(
    bundle: Bundle,
    image: Pixels,
    box: Box | None = None,
    plan: Plan | None = None,
    backend: str = "auto",
    track: Track = untracked,
) -> Benchmark:
    """Opens `bundle` and measures it on `image`, uint8 [H,W,3] RGB; `box` is the prompt (None: the middle).

    Raises BackendError, ImageError and PromptError like Predictor.
    """
    plan = plan or Plan()
    prompt = Prompt(box or middle(image))
    before, start = host_memory(), time.perf_counter()
    with Predictor.from_bundle(bundle, backend, threads=plan.cpu_threads) as predictor:
        first = _first_run(predictor, image, prompt, start)
        return Benchmark(
            first,
            _stages(predictor, image, prompt, plan, track),
            tuple(_prompts(predictor, prompt, count, plan, track) for count in plan.prompts),
            tuple(_threads(predictor, image, prompt, count, plan) for count in plan.threads),
            before,
            host_memory(),
            device_memory(),
        )


def synthetic_image() -> Pixels:
    """Returns fixed noise of 640 x 480 pixels: the time depends only on a picture's size."""
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def pixels_sha256(image: Pixels) -> str:
    """Returns the sha256 of the decoded pixels, row by row: decoders of a JPEG differ."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def middle(image: Pixels) -> Box:
    """Returns the box in the middle of half the picture's width and height."""
    height, width = image.shape[:2]
    return (width / 4, height / 4, width * 3 / 4, height * 3 / 4)


def stages_of_one(predictor: Predictor, image: Pixels, prompt: Prompt) -> dict[str, float]:
    """Takes one image to one mask; returns the milliseconds of each stage and of the whole."""
    start = time.perf_counter()
    predictor.set_image(image)
    predictor.predict(prompts=[prompt])
    return predictor.timings | {WHOLE: _ms(start, time.perf_counter())}


def call_of(predictor: Predictor, prompt: Prompt, count: int) -> dict[str, float]:
    """Answers `count` prompts in one call, after set_image; returns the milliseconds of stages and call."""
    start = time.perf_counter()
    predictor.predict(prompts=[prompt] * count)
    return predictor.timings | {PREDICT: _ms(start, time.perf_counter())}


def _first_run(predictor: Predictor, image: Pixels, prompt: Prompt, start: float) -> FirstRun:
    loaded = time.perf_counter()
    predictor.set_image(image)
    encoded = time.perf_counter()
    predictor.predict(prompts=[prompt])
    return FirstRun(_ms(start, loaded), _ms(loaded, encoded), _ms(encoded, time.perf_counter()))


def _stages(
    predictor: Predictor, image: Pixels, prompt: Prompt, plan: Plan, track: Track
) -> dict[str, Spread]:
    """Measures each stage of set_image and predict."""
    times: dict[str, list[float]] = {}
    for number in track(range(plan.warmup + plan.rounds), plan.warmup + plan.rounds, "pictures"):
        round_ms = stages_of_one(predictor, image, prompt)
        for stage, ms in round_ms.items() if number >= plan.warmup else ():
            times.setdefault(stage, []).append(ms)
    return {stage: Spread.of(values) for stage, values in times.items()}


def _prompts(predictor: Predictor, prompt: Prompt, count: int, plan: Plan, track: Track) -> PromptsResult:
    """Measures predict() with `count` prompts in one call."""
    total = plan.warmup + plan.rounds
    calls = [call_of(predictor, prompt, count) for _ in track(range(total), total, f"{count} prompts")]
    return PromptsResult.of(count, calls[plan.warmup :])


def _threads(predictor: Predictor, image: Pixels, prompt: Prompt, count: int, plan: Plan) -> ThreadsResult:
    """Measures `count` sessions at once."""

    def segment(session: Predictor, rounds: int) -> None:
        for _ in range(rounds):
            session.set_image(image)
            session.predict(prompts=[prompt])

    sessions = [predictor.new_session() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(segment, sessions, [plan.warmup] * count))
        start = time.perf_counter()
        list(pool.map(segment, sessions, [plan.rounds] * count))
        seconds = time.perf_counter() - start
    images = count * plan.rounds
    return ThreadsResult(count, images, round(images / seconds, 3))


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
