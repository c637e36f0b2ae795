"""Every system of the paper at a small size, trained alike and compared in one table.

    python benchmarks/systems.py DATA TEST [--sam-steps 4000] [--steps 1000] [--only SYSTEM] [--pictures N]

At this size the table proves the code, not the paper: the networks have about a hundredth of the paper's
parameters and start from random weights, where the paper's start from SAM and Stable Diffusion. Each system
is trained once, so differences of a hundredth or two between rows may be chance.

Systems of one family share its image encoder, in the column `encoder`. RobustSAM needs SAM's ViT and GleSAM2
SAM 2's Hiera; nano's encoder could serve neither, and starts from ImageNet's weights, which would decide the
comparison (nano_variants.py compares what it can serve). Both have eight blocks and see 256 px. Stage "sam"
has --sam-steps steps, every other one --steps, in batches of the same pictures with the same degradations, at
the same rate. The column `stages` counts those behind a row, the ones that it shares with others included:

    SAM                  sam: all of it, on clean pictures
    SAM, tuned           sam, decoder: the control, tuned on degraded pictures with nothing that restores them
    RobustSAM            sam, robust: its tokens and features learn from SAM on the clean picture
    restore, then SAM    sam, restorer: a U-Net from degraded to clean pictures, run by --methods restored
    GleSAM, GleSAM2      sam, prior, restore, decoder; "prior" takes the place of Stable Diffusion's training
    adaptive GLE         as GleSAM, with a stage "level"
    DDIM                 sam, decoder: the authors' other design, five denoising steps inside the decoder

`pictures`: "seen", the development tenth of DATA's sets, of which the rest was trained on; "unseen", all of
TEST. Prompts are boxes, the same ones for all rows, in one glesam-eval for each of the two.
`gflop` and `image_to_mask_ms` are of a picture of 640 x 480 px and one box, PyTorch eager, fp32; the times
are medians of interleaved rounds. Operations are counted as restore_then_segment.py does, without RobustSAM's
Fourier transforms. An interrupted run resumes. --size tiny, at 64 px, shows that the script runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness.evaluated import METRICS, Means, columns_of, evaluated
from harness.interleaved import Figures, interleaved, milliseconds
from harness.operations import flops, parameters
from harness.options import NoteOption, PicturesOption, RecordOption, RoundsOption
from harness.record import Run, slug
from harness.systems.lab import Lab
from harness.systems.networks import SIZES, Family, encoder_title
from harness.systems.restorer import restored, trained_restorer, write_restorer
from harness.systems.robust import robust_sam
from harness.systems.stages import adaptive_glesam, denoising_sam, glesam, trained_sam, tuned_sam
from harness.table import Row

from glesam.data.batches import SamplePool
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.evaluation.score import RESTORED, ROBUST_METHOD
from glesam.reference import Model, reference_manifest, torch_engines
from glesam.training.session import make_accelerator, use_threads
from glesam_runtime import Predictor
from glesam_runtime.cli.errors import one_line_errors

SAM, GLESAM = "sam", "glesam"
"""glesam-eval's methods without and with GLE."""
PICTURE, BOX = (480, 640, 3), (100, 100, 500, 400)


@dataclass(frozen=True)
class System:
    """A row: the method of glesam-eval that runs its checkpoint, its stages, and what trains or loads it."""

    method: str
    stages: tuple[str, ...]
    train: Callable[[Lab, str], Model]
    family: Family = "vit"


def of_family(family: Family) -> System:
    return System(SAM, ("sam",), lambda lab, _: trained_sam(lab, family), family)


GLE_STAGES = ("sam", "prior", "restore", "decoder")
SYSTEMS = {
    "SAM": of_family("vit"),
    "SAM, tuned": System(SAM, ("sam", "decoder"), tuned_sam),
    "RobustSAM": System(ROBUST_METHOD, ("sam", "robust"), robust_sam),
    "restore, then SAM": System(RESTORED, ("sam", "restorer"), lambda lab, _: trained_sam(lab, "vit")),
    "GleSAM": System(GLESAM, GLE_STAGES, partial(glesam, family="vit")),
    "adaptive GLE": System(GLESAM, ("sam", "prior", "level", "restore", "decoder"), adaptive_glesam),
    "DDIM": System(SAM, ("sam", "decoder"), denoising_sam),
    "SAM 2": of_family("hiera"),
    "GleSAM2": System(GLESAM, GLE_STAGES, partial(glesam, family="hiera"), "hiera"),
}


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What glesam-train --data takes.")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="Sets that were not trained on.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="SYSTEM", help="Repeatable. Default: all.")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of a stage.")] = 1_000,
    sam_steps: Annotated[int, typer.Option(metavar="N", min=1, help='Of stage "sam".')] = 4_000,
    size: Annotated[str, typer.Option(metavar="|".join(SIZES), help="Size of the networks.")] = "small",
    pictures: PicturesOption = None,
    rounds: RoundsOption = 5,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the checkpoints.")] = Path(
        "out/systems"
    ),
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    with one_line_errors("systems.py", "export"):
        if unknown := set(only or ()) - SYSTEMS.keys():
            raise typer.BadParameter(f"--only {', '.join(unknown)}: expected any of {', '.join(SYSTEMS)}")
        if size not in SIZES:
            raise typer.BadParameter(f"--size {size}: expected {' or '.join(SIZES)}")
        budget = f"{steps:,} steps a stage, SAM's {sam_steps:,}"
        run = Run.begin("systems", f"The paper's systems, {size} size, {budget}")
        use_threads(None)
        load_datasets(data, split="dev"), load_datasets(test, split="all")  # what is missing is missed now
        pool = SamplePool(in_memory(load_datasets(data)))
        lab = Lab(SIZES[size](), pool, out, steps, sam_steps, make_accelerator("no"))
        models = {name: trained(lab, name) for name in SYSTEMS if not only or name in only}
        quality = {
            "seen": quality_of(lab, models, data, "seen", "dev", pictures),
            "unseen": quality_of(lab, models, test, "unseen", "all", pictures),
        }
        run.finish(rows_of(models, quality, costs_of(lab, models, rounds)), record, note)


def trained(lab: Lab, name: str) -> Model:
    """Trains what a system still lacks, and writes its checkpoint to OUT/NAME, NAME in lower case."""
    system = SYSTEMS[name]
    print(f"{name}: {', '.join(system.stages)}", flush=True)
    model = system.train(lab, slug(name))
    model.save_pretrained(model_folder(lab, name))
    if system.method == RESTORED:
        write_restorer(trained_restorer(lab), lab.size.tile, restorer_file(lab))
    return model


def model_folder(lab: Lab, name: str) -> Path:
    return lab.out / slug(name) / "model"


def restorer_file(lab: Lab) -> Path:
    return lab.out / "restore-then-sam/restorer.onnx"


def quality_of(
    lab: Lab, models: Iterable[str], data: Path, name: str, split: str, pictures: int | None
) -> dict[str, Means]:
    """Returns the means of every system on `data`, from one glesam-eval whose files are in OUT/`name`."""
    methods = {each: SYSTEMS[each].method for each in models}
    checkpoints = [
        f"{each}={model_folder(lab, each)}" + ("" if method == ROBUST_METHOD else f":{method}")
        for each, method in methods.items()
    ]
    restorer = [f"--restorer={restorer_file(lab)}"] if RESTORED in methods.values() else []
    means = evaluated(data, checkpoints, lab.out / name, f"--split={split}", *restorer, pictures=pictures)
    return {source: each for (source, _), each in means.items()}


def costs_of(lab: Lab, models: Mapping[str, Model], rounds: int) -> dict[str, Row]:
    """Returns parameters, operations and time from image to mask of every system."""
    calls = {name: image_to_mask(lab, name, model) for name, model in models.items()}
    timed: dict[str, Callable[[], Figures]] = {
        name: partial(milliseconds_of, call) for name, call in calls.items()
    }
    times = interleaved(timed, rounds)
    return {
        name: {
            "parameters_m": round(parameters_of(lab, name, models[name]), 3),
            "gflop": round(flops(call), 3),
            **times[name],
        }
        for name, call in calls.items()
    }


def image_to_mask(lab: Lab, name: str, model: Model) -> Callable[[], None]:
    """Returns what restores a picture, where the system does, encodes it and predicts the mask of one box."""
    method, engines = SYSTEMS[name].method, torch_engines(model)
    if method in (SAM, RESTORED):
        engines = replace(engines, gle=None)
    predictor = Predictor(reference_manifest(model), engines)
    picture = np.random.default_rng(0).integers(0, 256, PICTURE).astype(np.uint8)
    restorer = trained_restorer(lab) if method == RESTORED else None

    def call() -> None:
        whole = picture if restorer is None else restored(restorer, lab.size.tile, picture)
        predictor.set_image(whole)
        predictor.predict(box=BOX)

    return call


def milliseconds_of(call: Callable[[], None]) -> Figures:
    return {"image_to_mask_ms": milliseconds(call)}


def parameters_of(lab: Lab, name: str, model: Model) -> float:
    """Number of parameters that the system runs [million]."""
    method = SYSTEMS[name].method
    parts = ("image_encoder", "prompt_encoder", "mask_decoder", *(["gle"] if method == GLESAM else []))
    restorer = parameters(trained_restorer(lab)) if method == RESTORED else 0
    return restorer + sum(parameters(model.get_submodule(part)) for part in parts)


def rows_of(
    models: Mapping[str, Model], quality: Mapping[str, Mapping[str, Means]], costs: Mapping[str, Row]
) -> list[Row]:
    """Returns a row for each system on seen pictures, then on unseen ones."""
    return [
        {
            "system": name,
            "encoder": encoder_title(model.config),
            "pictures": pictures,
            **{key: value for metric in METRICS for key, value in columns_of(means[name], metric).items()},
            **costs[name],
            "stages": len(SYSTEMS[name].stages),
        }
        for pictures, means in quality.items()
        for name, model in models.items()
    ]


if __name__ == "__main__":
    typer.run(main)
