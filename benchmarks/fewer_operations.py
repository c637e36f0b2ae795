"""Quality against operations: what of nano's GLE can be left out, and what that costs in masks.

    python benchmarks/fewer_operations.py DATA TEST [--model DIR] [--steps 2000] [--out out/fewer]

The model is the teacher. Students have less of its U-Net (`glesam.smaller_gle`), or half of its width
and new weights; each learns for --steps by stage 1 of our training with that teacher
(`glesam.training.teacher`) on DATA, which the model was trained on. Image encoder and mask decoder stay the
model's. TEST are the pictures that all are then measured on, by one glesam-eval with boxes: also "GLE off",
and students before their training ("untrained"), where their weights are the teacher's.

Parameters and GFLOP are the U-Net's, nothing folded; milliseconds are gle.onnx's in fp32 on ONNX Runtime, the
median of interleaved rounds. A student ends as OUT/NAME/model, and an interrupted one resumes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from harness.interleaved import interleaved, milliseconds
from harness.options import NoteOption, PicturesOption, RecordOption, RoundsOption
from harness.record import Run
from harness.table import Row
from nano_variants import evaluate

from glesam.config import EMBEDDING_CHANNELS
from glesam.data.batches import SamplePool
from glesam.data.datasets import load_datasets
from glesam.data.in_memory import in_memory
from glesam.gle import Gle
from glesam.model import GleSam, shipped_checkpoint
from glesam.nano.recipe import start_gle
from glesam.smaller_gle import Reduction, cost_of, smaller_gle
from glesam.training.loop import LoopConfig
from glesam.training.session import make_accelerator, use_threads
from glesam.training.stage_config import GleStageConfig
from glesam.training.stages import StageRun, ready, train_stage
from glesam_calib.graph.files import save_onnx
from glesam_export.graphs import graphs
from glesam_export.to_onnx import onnx_from_graph
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine

TEACHER, OFF, UNTRAINED = "nano", "GLE off", ", untrained"
METRICS = ("iou", "boundary_iou")
LOOP = LoopConfig(0, lr=5e-4, warmup=50, clip=1.0)
"""The loop of a student; --steps says how long."""


def half_width(model: GleSam) -> GleSam:
    """The model with half of every width in its U-Net, which starts as the skip of GLE's step."""
    gle = model.config.gle
    widths = tuple(width // 2 for width in gle.unet.block_out_channels)
    unet = replace(gle.unet, block_out_channels=widths, norm_num_groups=gle.unet.norm_num_groups // 2)
    torch.manual_seed(0)
    half = GleSam(replace(model.config, gle=replace(gle, unet=unet)))
    start_gle(half, seed=0)
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith("gle.unet.")}
    half.load_state_dict(kept, strict=False)
    return half.eval()


def cut(reduction: Reduction) -> Callable[[GleSam], GleSam]:
    """What makes a student with weights of its own: its training must not change the teacher's."""
    return lambda model: smaller_gle(copy.deepcopy(model), reduction)


CUTS = {
    "without attention": cut(Reduction(mid_block="resnet")),
    "without mid block": cut(Reduction(mid_block="none")),
}
"""nano has one layer per block, and attention in its mid block alone."""
STUDENTS: dict[str, Callable[[GleSam], GleSam]] = {
    **CUTS,
    "half width": half_width,
    "half width, without mid block": lambda model: CUTS["without mid block"](half_width(model)),
}


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What glesam-train nano --data took.")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="What glesam-eval --data takes.")],
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="nano's kind of model. Default: the shipped nano.")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of each student.")] = 2_000,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures of a step.")] = 4,
    teacher_weight: Annotated[float, typer.Option(metavar="F", help="As glesam-train's setting.")] = 4.0,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Students. Default: all.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Prompt file for glesam-eval.")] = None,
    pictures: PicturesOption = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the students.")] = Path("out/fewer"),
    rounds: RoundsOption = 30,
    record: RecordOption = False,
    note: NoteOption = "",
) -> None:
    if unknown := set(only or ()) - STUDENTS.keys():
        raise typer.BadParameter(f"{', '.join(unknown)}: expected any of {', '.join(STUDENTS)}")
    began = Run.begin("nano_quality", f"Fewer operations in nano's GLE: students of {steps} steps")
    use_threads(None)
    config = settings(steps, batch, teacher_weight)
    teacher = GleSam.from_pretrained(folder := model or shipped_checkpoint())
    pool = SamplePool(in_memory(load_datasets(data)))
    models, sources = {TEACHER: teacher}, [f"{TEACHER}={folder}:sam,glesam"]
    for name in only or STUDENTS:
        student = STUDENTS[name](teacher)
        if name in CUTS:
            sources.append(saved(student, f"{name}{UNTRAINED}", out))
        models[name] = trained(student, teacher.gle, pool, config, out / name)
        sources.append(saved(models[name], name, out))
    work = {name: operations(each) | {"ms": 0.0} for name, each in models.items()}
    for name, ms in times(models, out, rounds).items():
        work[name]["ms"] = ms
    scores = evaluate(test, prompts, sources, out / "eval", metrics=METRICS, pictures=pictures)
    began.finish([row(score, work) for score in scores], record, note)


def settings(steps: int, batch: int, teacher_weight: float) -> GleStageConfig:
    """The settings of stage 1 for every student."""
    loop = replace(LOOP, steps=steps)
    return GleStageConfig(loop, batch_size=batch, clean_share=0.35, teacher_weight=teacher_weight)


def trained(student: GleSam, teacher: Gle, pool: SamplePool, config: GleStageConfig, folder: Path) -> GleSam:
    """Returns the student after stage 1, resumed from the folder's checkpoint; both models end on the CPU."""
    accelerator = make_accelerator(config.mixed_precision)
    folder.mkdir(parents=True, exist_ok=True)
    frozen = teacher.eval().requires_grad_(False)
    model = ready(student, config, accelerator, frozen)
    train_stage(model, pool, config, StageRun(folder, accelerator, teacher=frozen))
    frozen.cpu()
    return model.cpu()


def saved(model: GleSam, name: str, out: Path) -> str:
    """Writes the model; returns it as a --checkpoint of glesam-eval."""
    model.save_pretrained(out / name / "model")
    return f"{name}={out / name / 'model'}:glesam"


def operations(model: GleSam) -> Row:
    cost = cost_of(model.config)
    return {"parameters_m": round(cost.parameters / 1e6, 2), "gflop": round(cost.flop / 1e9, 2)}


@torch.no_grad()
def times(models: Mapping[str, GleSam], folder: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of each model's gle.onnx, medians of interleaved rounds."""
    contenders = {}
    for name, model in models.items():
        (graph,) = (each for each in graphs(model.eval()) if each.name == "gle")
        path = folder / name / "gle.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_onnx(onnx_from_graph(graph), path)
        size = model.config.sam.image_size
        engine = open_engine("onnxruntime", path, bundle_contract(size)["gle"])
        z = torch.randn(1, EMBEDDING_CHANNELS, size // 16, size // 16).numpy()
        contenders[name] = lambda engine=engine, z=z: {
            "ms": milliseconds(lambda: engine({"image_embeddings": z}))
        }
    return {name: figures["ms"] for name, figures in interleaved(contenders, rounds).items()}


def row(score: Row, work: Mapping[str, Row]) -> Row:
    """A row of the table: what glesam-eval measured, behind the operations."""
    name = str(score["variant"]) if score["method"] == "glesam" else OFF
    nothing: Row = {"parameters_m": 0.0, "gflop": 0.0, "ms": 0.0}
    figures = {key: value for key, value in score.items() if key not in ("variant", "method")}
    return {"gle": name, **(work[name.removesuffix(UNTRAINED)] if name != OFF else nothing), **figures}


if __name__ == "__main__":
    typer.run(main)
