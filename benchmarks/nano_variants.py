"""What GLE adds to nano, and what each of its parts does: variants trained alike and measured together.

    python benchmarks/nano_variants.py DATA TEST [--only baseline] [--part .2] [--out out/variants]
    python benchmarks/nano_variants.py DATA TEST --run runs/nano

All variants begin with the image encoder and mask decoder of a finished model and a new GLE; that decoder has
learnt beside the model's own GLE. With --run they begin as the model itself did, with stage "sam" of a run of
glesam-train nano on DATA, and share its views. All have the recipe's steps up to stage "joint", on the same
batches of DATA, which the model was trained on. TEST are the pictures that all of them and the model ("nano")
are then measured on, by one glesam-eval with boxes, at --levels.

The baseline is the decoder trained as long on as many degraded embeddings without GLE; "again" is another
seed of stage "joint". The rival is an encoder that has learnt its clean embeddings from degraded pictures,
with and without GLE. The others change GLE alone: LoRA in place of full rank, CRE, no FDA, a strength that
follows the degradation level. "DDIM" is the authors' other design, five denoising steps inside the decoder.
"tuned" is the finished model itself after the recipe's last stage, "tune", in which encoder, GLE and decoder
learn together; "tuned, without GLE" has learnt the same without it. --model takes a model from before "tune".
Each ends as OUT/NAME/model for glesam-eval, and an interrupted one resumes. With --part .2 all have a fifth
of the steps, and of the views where they are not a run's; --joint-part is for stage "joint", which costs
most. "full rank", nano's own recipe up to there, is what they are then compared with.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from harness.evaluated import columns_of, evaluated
from harness.options import NoteOption, PicturesOption, RecordOption
from harness.record import Run
from harness.table import Row

from glesam.config import nano
from glesam.data.batches import SamplePool
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.model import GleSam, shipped_checkpoint
from glesam.nano.recipe import (
    NANO,
    Recipe,
    RobustStage,
    encode_views,
    start_gle,
    train_after_sam,
    train_model,
    tune,
)
from glesam.nano.recipe import Run as TrainingRun
from glesam.training.encoded_views import VIEWS
from glesam.training.loop import LoopConfig
from glesam.training.session import make_accelerator, precision_of, use_threads

ROBUST = RobustStage(LoopConfig(4_000, lr=5e-4, warmup=50, clip=1.0, average=0.995, seed=6))
UNTUNED = replace(NANO, tune=None)
"""All but the tuned variants end with stage "joint"."""
SEED_AGAIN = 14
BEFORE_GLE = ("sam.pt", VIEWS)
BETWEEN = ("robust.pt", VIEWS, "prior.pt", "restore.pt")
"""What a variant has of another one that is the same up to there."""
SHORTENED = ("prior", "restore", "robust", "joint", "tune")
"""Stages that --part is of; "level" takes a minute."""


@dataclass(frozen=True)
class Variant:
    """Changes of GLE's configuration and of the recipe.

    Attributes:
        shared: what it has of a run, where there is one.
        beside: a variant that is the same until its last stages; where it is there, those before are shared.
        finished: it is the finished model, its GLE included, after stage "tune" alone.
    """

    gle: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = UNTUNED
    shared: tuple[str, ...] = BEFORE_GLE
    beside: str = ""
    finished: bool = False


AGAIN = replace(UNTUNED, joint=replace(NANO.joint, loop=replace(NANO.joint.loop, seed=SEED_AGAIN)))
GLE_STAGES = (*BEFORE_GLE, "prior.pt", "restore.pt")
VARIANTS = {
    "baseline": Variant(recipe=replace(UNTUNED, enhance=False)),
    "baseline, again": Variant(recipe=replace(AGAIN, enhance=False)),
    "rival": Variant(recipe=replace(UNTUNED, robust=ROBUST, enhance=False), shared=("sam.pt",)),
    "rival and GLE": Variant(recipe=replace(UNTUNED, robust=ROBUST), shared=("sam.pt",), beside="rival"),
    "full rank": Variant(),
    "GLE, again": Variant(recipe=AGAIN, shared=GLE_STAGES, beside="full rank"),
    "rank 4": Variant({"lora_rank": 4, "lora_alpha": 4.0}),
    "rank 8": Variant({"lora_rank": 8, "lora_alpha": 8.0}),
    "rank 16": Variant({"lora_rank": 16, "lora_alpha": 16.0}),
    "CRE, rank 8": Variant({"lora_rank": 8, "lora_alpha": 8.0, "channel_expansion": True}),
    "no FDA": Variant({"gamma": 1.0}),
    "adaptive": Variant({"adaptive": True}),
    "DDIM": Variant(recipe=replace(UNTUNED, enhance=False, denoise=True)),
    "GLE and DDIM": Variant(recipe=replace(UNTUNED, denoise=True), shared=GLE_STAGES, beside="full rank"),
    "tuned": Variant(recipe=NANO, shared=(), finished=True),
    "tuned, without GLE": Variant(recipe=replace(NANO, enhance=False), shared=(), finished=True),
}


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What glesam-train nano --data took.")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="What glesam-eval --data takes.")],
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A finished run, whose stages are shared.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What variants begin with otherwise. Default: the shipped nano."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Variants. Default: all.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Prompt file for glesam-eval.")] = None,
    levels: Annotated[str, typer.Option(metavar="LEVELS", help="glesam-eval's.")] = "clean,3",
    pictures: PicturesOption = None,
    part: Annotated[
        float, typer.Option(metavar="FRACTION", min=0.001, max=1, help="Of steps and views.")
    ] = 1.0,
    joint_part: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", min=0.001, max=1, help="Of the last stage's steps. Default: --part."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the variants.")] = Path("out/variants"),
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    if unknown := set(only or ()) - VARIANTS.keys():
        raise typer.BadParameter(f"{', '.join(unknown)}: expected any of {', '.join(VARIANTS)}")
    if run and model:
        raise typer.BadParameter("--run and --model: expected one of them")
    began = Run.begin("nano_quality", "Variants of nano: GLE, its baseline, its rival and its parts")
    use_threads(None)
    accelerator = make_accelerator(precision_of(run or out / "shared"))
    model = run / "model" if run else model or shipped_checkpoint()
    finished = GleSam.from_pretrained(model).to(accelerator.device)
    start = None if run else finished
    pool = SamplePool(in_memory(load_datasets(data)))
    sources = [f"nano={model}:sam,glesam"]
    variants = {
        name: shortened(VARIANTS[name], part, joint_part, with_views=not run) for name in only or VARIANTS
    }
    made = TrainingRun(run or out / "shared", accelerator=accelerator)
    if start is not None:
        encode_shared_views(start, pool, made, list(variants.values()))
    for name, variant in variants.items():
        folder = out / name
        own = TrainingRun(folder, accelerator=accelerator)
        if variant.finished:
            trained = tuned(variant, pool, own, finished)
        else:
            share(made.folder, folder, variant.shared)
            if variant.beside:
                share(out / variant.beside, folder, BETWEEN)
            trained = train(variant, pool, own, start)
        trained.save_pretrained(folder / "model")
        sources.append(f"{name}={folder / 'model'}:{'glesam' if variant.recipe.enhance else 'sam'}")
    began.finish(evaluate(test, prompts, sources, out / "eval", levels, pictures=pictures), record, note)


def encode_shared_views(start: GleSam, pool: SamplePool, run: TrainingRun, variants: list[Variant]) -> None:
    """Encodes the views that variants of a finished model share, if any does; a run has them already."""
    sharing = [variant.recipe for variant in variants if VIEWS in variant.shared]
    if sharing:
        encode_views(start.eval().requires_grad_(False), pool, run, sharing[0])


def shortened(variant: Variant, part: float, joint_part: float | None, *, with_views: bool) -> Variant:
    """Returns the variant with this part of the steps; it shares no stage that a run trained for longer.

    Args:
        joint_part: another part, of stage "joint".
        with_views: it also has this part of the views.
    """
    if part == 1 and joint_part in (None, 1):
        return variant
    parts = dict.fromkeys(SHORTENED, part) | {"joint": part if joint_part is None else joint_part}
    recipe = variant.recipe
    stages = {name: stage for name in SHORTENED if (stage := getattr(recipe, name)) is not None}
    short: dict[str, Any] = {
        name: replace(stage, loop=replace(stage.loop, steps=max(1, round(parts[name] * stage.loop.steps))))
        for name, stage in stages.items()
    }
    if with_views:
        short["views"] = max(1, round(part * recipe.views))
    shared = tuple(name for name in variant.shared if name in BEFORE_GLE)
    return replace(variant, recipe=replace(recipe, **short), shared=shared)


def train(variant: Variant, pool: SamplePool, run: TrainingRun, start: GleSam | None) -> GleSam:
    """Returns nano after the variant's recipe; stages that the run's folder holds are loaded.

    Args:
        start: a finished model, whose image encoder and mask decoder it begins with; None: it begins with
            stage "sam".
    """
    torch.manual_seed(0)
    config = nano()
    model = GleSam(replace(config, gle=replace(config.gle, **variant.gle)))
    if start is not None:
        kept = {name: t for name, t in start.state_dict().items() if not name.startswith("gle.")}
        model.load_state_dict(kept, strict=False)
    if run.accelerator is not None:
        model.to(run.accelerator.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the command trains
    if start is None:
        train_model(model, pool, run, variant.recipe)
    else:
        start_gle(model, variant.recipe.prior.loop.seed)
        train_after_sam(model.eval().requires_grad_(False), pool, run, variant.recipe)
    return model


def tuned(variant: Variant, pool: SamplePool, run: TrainingRun, finished: GleSam) -> GleSam:
    """Returns the finished model after the variant's stage "tune"."""
    assert variant.recipe.tune is not None
    torch.manual_seed(0)
    model = copy.deepcopy(finished).eval().requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the command trains
    tune(model, pool, run, variant.recipe.tune, enhance=variant.recipe.enhance)
    return model


def evaluate(
    test: Path,
    prompts: Path | None,
    sources: list[str],
    out: Path,
    levels: str = "clean,3",
    metrics: Sequence[str] = ("iou",),
    pictures: int | None = None,
) -> list[Row]:
    """Runs glesam-eval; returns the mean of each metric by source, method and level over the pictures."""
    fixed = [f"--prompts={prompts}"] if prompts else []
    means = evaluated(test, sources, out, f"--levels={levels}", "--split=all", *fixed, pictures=pictures)
    return [
        {
            "variant": source,
            "method": method,
            **{column: value for metric in metrics for column, value in columns_of(each, metric).items()},
        }
        for (source, method), each in means.items()
    ]


def share(run: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Links what a run or another variant has made already into a variant's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in [*(run / name for name in names), *run.glob("statistics-*.safetensors")]:
        target = folder / source.name
        if source.exists() and not target.exists():
            os.symlink(source.resolve(), target)


if __name__ == "__main__":
    typer.run(main)
