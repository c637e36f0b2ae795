"""Operations, seconds and memory from image to mask: SAM, GleSAM, and DiffBIR v2 before SAM, in one run.

    python benchmarks/restore_then_segment.py [--size full] [--sam-type vit_b] [--steps 50] [--rounds 3]

All are PyTorch, eager, fp32, on two threads, with random weights, which cost the same as any others. GLE has
its LoRA merged. The picture has 512 x 512 px; DiffBIR works on these, SAM on 1024 x 1024.

`gflop`: twice the multiply-adds of one picture and one box, by torch's FlopCounterMode on the meta device for
every contender; DiffBIR's is stage 1, the VAE and `--steps` steps, each for its two prompts. `step_s` is one
such step. `image_to_mask_s` of DiffBIR is the sum of its parts with `steps` times `step_s`, as the column
`image_to_mask` says; with --whole every step runs, which takes an hour or more at full size on two cores.
`peak_gib`: resident memory of a process of its own in one pass with one step; further steps need no more.
`gflop_ratio`, `time_ratio`: divided by GleSAM's. --size tiny, at 64 px, shows that the script runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import numpy as np
import torch
import typer
from harness.interleaved import Figures, interleaved
from harness.operations import flops, parameters
from harness.options import NoteOption, RecordOption, RoundsOption
from harness.record import Run
from harness.table import Row

from glesam.config import GleSamConfig, SamType, official, tiny
from glesam.model import GleSam
from glesam.reference import reference_manifest, torch_engines
from glesam.restorers.diffbir import DiffBir, DiffBirConfig, tiny_diffbir, torch_parts
from glesam.restorers.diffbir_loop import STEPS, DiffBirRestorer, diffusion_size, with_colours_of
from glesam.restorers.diffbir_parts import LATENT_CHANNELS, LATENT_STRIDE
from glesam.restorers.restorer import Picture, resized, to_floats
from glesam_runtime import Predictor
from glesam_runtime.tools.machine import host_memory

Result = TypeVar("Result")
SAM, GLESAM, RESTORED = "SAM", "GleSAM", "DiffBIR v2, then SAM"
THREADS = 2
TIMESTEP = 500
"""Any timestep: all cost the same."""


@dataclass(frozen=True)
class Sizes:
    """What is compared, and the picture's side [px]."""

    glesam: GleSamConfig
    diffbir: DiffBirConfig
    side: int


def main(
    size: Annotated[str, typer.Option(metavar="tiny|full", help="Size of the networks.")] = "full",
    sam_type: Annotated[
        str, typer.Option(metavar="NAME", help="vit_b, vit_l or vit_h, at full size.")
    ] = "vit_b",
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the diffusion.")] = STEPS,
    whole: Annotated[bool, typer.Option("--whole", help="Run every step instead of one.")] = False,
    rounds: RoundsOption = 3,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    torch.set_num_threads(THREADS)
    sizes = sizes_of(size, sam_type)
    if only is not None:
        contender(only, sizes, 1)()
        print(host_memory().peak)
        return
    title = (
        f"Image to mask, {size} size, SAM {sizes.glesam.sam.sam_type}: median of {rounds} interleaved rounds"
    )
    run = Run.begin("full_size", title)
    work = operations(sizes, steps)
    memory = {name: peak_memory(name, size, sam_type) for name in (SAM, GLESAM, RESTORED)}
    calls = {name: contender(name, sizes, steps if whole else 1) for name in (SAM, GLESAM, RESTORED)}
    times = interleaved(calls, rounds, progress=True)
    rows = [row(name, times[name], work[name], steps, whole) | {"peak_gib": memory[name]} for name in calls]
    run.finish(with_ratios(rows), record, note)


def sizes_of(size: str, sam_type: str) -> Sizes:
    """Raises typer.BadParameter for sizes that there are not."""
    if size == "tiny":
        return Sizes(merged(tiny("sd21")), tiny_diffbir(), 64)
    if size != "full" or sam_type not in ("vit_b", "vit_l", "vit_h"):
        raise typer.BadParameter("expected --size tiny or full, and --sam-type vit_b, vit_l or vit_h")
    known: SamType = sam_type  # type: ignore[assignment]
    return Sizes(merged(official(known, "sd21")), DiffBirConfig(), 512)


def merged(config: GleSamConfig) -> GleSamConfig:
    """The configuration without adapters: a merged LoRA leaves the base's layers alone."""
    return replace(config, gle=replace(config.gle, lora_rank=0))


def without_gle(config: GleSamConfig) -> GleSamConfig:
    """The configuration with a tiny GLE, for contenders that do not run it: its weights take no memory."""
    return merged(replace(config, gle=tiny().gle))


def operations(sizes: Sizes, steps: int) -> dict[str, Row]:
    """GFLOP and parameters [million] of each contender, counted without memory for weights."""
    with torch.device("meta"):
        glesam, diffbir = GleSam(sizes.glesam).eval(), DiffBir(sizes.diffbir).eval()
    parts = flops_of_glesam(glesam, sizes.glesam.sam.image_size)
    restorer = flops_of_diffbir(diffbir, sizes.side)
    sam = parts["encode"] + parts["decode"]
    restoring = sum(restorer.values()) + (steps - 1) * restorer["denoiser"]
    weights = {part: parameters(getattr(glesam, part)) for part in ("image_encoder", "mask_decoder", "gle")}
    sam_weights = weights["image_encoder"] + weights["mask_decoder"]
    return {
        SAM: {"parameters_m": sam_weights, "gflop": sam},
        GLESAM: {"parameters_m": sam_weights + weights["gle"], "gflop": sam + parts["enhance"]},
        RESTORED: {
            "parameters_m": sam_weights + parameters(diffbir),
            "gflop": sam + restoring,
            "step_gflop": restorer["denoiser"],
        },
    }


def flops_of_glesam(model: GleSam, image_size: int) -> dict[str, float]:
    """GFLOP of each of the model's verbs, for one box."""

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device="meta")

    embeddings, mask = zeros(1, 256, image_size // 16, image_size // 16), image_size // 4
    labels = torch.zeros(1, 2, dtype=torch.int32, device="meta")
    prompts = (zeros(1, 2, 2), labels, zeros(1, 1, mask, mask), zeros(1))
    return {
        "encode": flops(lambda: model.encode(zeros(1, 3, image_size, image_size))),
        "enhance": flops(lambda: model.enhance(embeddings)),
        "decode": flops(lambda: model.decode(embeddings, *prompts)),
    }


def flops_of_diffbir(model: DiffBir, side: int) -> dict[str, float]:
    """GFLOP of each part, of one step for the denoiser."""
    image = torch.zeros(1, 3, side, side, device="meta")
    latent = side // LATENT_STRIDE
    latents = torch.zeros(1, LATENT_CHANNELS, latent, latent, device="meta")
    timestep = torch.zeros(1, device="meta")
    return {
        "stage1": flops(lambda: model.stage1(image)),
        "vae_encoder": flops(lambda: model.vae_encoder(image)),
        "denoiser": flops(lambda: model.denoiser(latents, latents, timestep)),
        "vae_decoder": flops(lambda: model.vae_decoder(latents)),
    }


def contender(name: str, sizes: Sizes, steps: int) -> Callable[[], Figures]:
    """Returns what measures a contender's stages, with random weights; `steps` of the diffusion run."""
    torch.manual_seed(0)
    config = sizes.glesam if name == GLESAM else without_gle(sizes.glesam)
    glesam = GleSam(config).eval().requires_grad_(False)
    engines = torch_engines(glesam)
    predictor = Predictor(
        reference_manifest(glesam), engines if name == GLESAM else replace(engines, gle=None)
    )
    picture = np.random.default_rng(0).integers(0, 256, (sizes.side, sizes.side, 3)).astype(np.uint8)
    if name != RESTORED:
        return lambda: segmented(predictor, picture)
    model = DiffBir(sizes.diffbir).eval().requires_grad_(False)
    restorer = DiffBirRestorer(torch_parts(model), "random weights", steps, sizes.side)
    return lambda: {**restoring(restorer, picture), **segmented(predictor, picture)}


def segmented(predictor: Predictor, picture: Picture) -> Figures:
    """Seconds from picture to the mask of one box, and of the stages."""
    side = picture.shape[0]

    def first_mask() -> None:
        predictor.set_image(picture)
        predictor.predict(box=(side // 4, side // 4, side // 2, side // 2))

    _, whole = timed(first_mask)
    timings = {f"{stage}_s": value / 1000 for stage, value in predictor.timings.items()}
    stages = {key: timings[key] for key in ("encode_s", "enhance_s", "decode_s") if key in timings}
    return {**stages, "segment_s": whole}


def restoring(restorer: DiffBirRestorer, picture: Picture) -> Figures:
    """Seconds of each part of a restoration, in the loop's own order; `step_s` is the mean of its steps."""
    parts = restorer.parts
    image = to_floats(picture.transpose(2, 0, 1)[None])
    cleaned, stage1 = timed(lambda: parts.stage1(image))
    small = resized(cleaned[0], diffusion_size(*picture.shape[:2], restorer.least_side))[None]
    condition, encode = timed(lambda: parts.encode(small))
    _, steps = timed(lambda: [parts.denoise(condition, condition, TIMESTEP) for _ in range(restorer.steps)])
    painted, decode = timed(lambda: parts.decode(condition))
    _, colours = timed(lambda: with_colours_of(small[0], painted[0]))
    return {
        "stage1_s": stage1,
        "vae_encode_s": encode,
        "step_s": steps / restorer.steps,
        "vae_decode_s": decode,
        "colours_s": colours,
    }


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Returns what a call returns, and how long it took [s]."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def peak_memory(name: str, size: str, sam_type: str) -> float:
    """Returns the peak resident memory of one pass in a process of its own [GiB]."""
    command = [sys.executable, __file__, "--size", size, "--sam-type", sam_type, "--only", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return round(int(done.stdout.splitlines()[-1]) / 2**30, 2)


def row(name: str, times: dict[str, float], work: Row, steps: int, whole: bool) -> Row:
    """Returns a contender's figures; says whether its total was measured or computed."""
    total, kind = times["segment_s"], "measured"
    if name == RESTORED:
        once = ("stage1_s", "vae_encode_s", "vae_decode_s", "colours_s", "segment_s")
        total = sum(times[key] for key in once) + steps * times["step_s"]
        kind = f"parts with {steps} steps" if whole else f"computed, {steps} times one step"
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in work.items()}
    return {"contender": name, **rounded, **times, "image_to_mask_s": round(total, 3), "image_to_mask": kind}


def with_ratios(rows: list[Row]) -> list[Row]:
    """Adds operations and time as multiples of GleSAM's."""
    ours = next(each for each in rows if each["contender"] == GLESAM)
    for each in rows:
        for key, ratio in (("gflop", "gflop_ratio"), ("image_to_mask_s", "time_ratio")):
            each[ratio] = round(float(each[key] or 0) / float(ours[key] or 1), 2)
    return rows


if __name__ == "__main__":
    typer.run(main)
