"""The recipe of `nano`: every stage in order, each resumed from its checkpoint.

1. "sam": image encoder, from ImageNet weights, and mask decoder learn on clean pictures. The encoder is
   frozen from there on, as SAM's is, and its embeddings are standardized (`glesam.nano.standardize`).
2. "views": pictures are encoded once, clean and degraded; all further stages learn from these.
3. "prior": GLE's U-Net learns how clean embeddings look, by denoising them at many levels. It takes the place
   of Stable Diffusion, of which there is none of this size.
4. "level", of an adaptive GLE only: its head learns the degradation levels of the views.
5. "restore": GLE learns to make clean embeddings of degraded ones.
6. "joint": GLE and decoder learn together, from masks and the squared error.
7. "tune": image encoder, GLE and decoder learn together, from clean and degraded pictures.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from glesam.data.batches import Batch, BatchPlan, SamplePool, batches, prefetch
from glesam.ddim import DdimDenoiser, gain
from glesam.gle import Gle, is_full_rank
from glesam.model import GleSam
from glesam.nano.batches import RegionPlan, prompt_batches
from glesam.nano.decoder import NanoDecoder
from glesam.nano.encoder import NanoEncoder
from glesam.nano.gle_losses import joint_losses, prior_losses, restoring_losses, tuning_losses
from glesam.nano.imagenet import imagenet_weights
from glesam.nano.levels import LevelStage, level_losses, leveled_batches, view_levels
from glesam.nano.losses import clean_losses
from glesam.nano.pairs import PairedViews, Pairs, pair_batches
from glesam.nano.standardize import channel_statistics, standardize
from glesam.official.tensor_files import read_tensors
from glesam.tensor_output import write_tensors
from glesam.training.checkpoint import Identity, fingerprint
from glesam.training.encoded_views import VIEWS
from glesam.training.loop import LoopConfig, Losses, Player, train_players
from glesam.training.parallel import to_device
from glesam.training.view_encoder import ViewEncoder
from glesam.training.watch import Lines, Watcher

HARMLESS = frozenset({"save_every", "report_every"})
"""Settings that change no weight."""
PASTE_SHARE = 0.2
"""Fraction of pictures into which objects of others are pasted."""


@dataclass(frozen=True)
class SamStage:
    """Stages "sam" and "tune": the loop, and how its views are drawn.

    Most steps are on crops of `crop_px`, which cost a quarter of whole pictures; every `whole_every`th step,
    and all from step `whole_from` on, is on whole pictures. The backbone's stem, its blocks before
    `first_block` and its depthwise filters stay ImageNet's; the rest of it learns at `backbone_rate` times
    the rate. `clean_share` of the pictures are not degraded.
    """

    loop: LoopConfig
    crop_px: int = 256
    crop_batch: int = 8
    crop_scale: tuple[float, float] = (1.0, 2.5)
    whole_px: int = 512
    whole_batch: int = 4
    whole_scale: tuple[float, float] = (0.75, 1.5)
    whole_every: int = 4
    whole_from: int = 10_000
    objects: int = 8
    regions: RegionPlan = RegionPlan()  # noqa: RUF009 - frozen
    first_block: int = 3
    backbone_rate: float = 0.2
    clean_share: float = 1.0

    def plan(self, step: int) -> BatchPlan:
        """How the views of a step are drawn."""
        whole = step >= self.whole_from or step % self.whole_every == 0
        return BatchPlan(
            self.whole_batch if whole else self.crop_batch,
            self.whole_px if whole else self.crop_px,
            self.loop.seed,
            objects_per_image=self.objects,
            scale=self.whole_scale if whole else self.crop_scale,
            with_degraded=self.clean_share < 1,
            clean_share=self.clean_share,
            paste_share=PASTE_SHARE,
        )


@dataclass(frozen=True)
class GleStage:
    """A stage on pairs of embeddings, `batch` windows of `side` positions; `clean_share` as in `mixed`."""

    loop: LoopConfig
    batch: int = 8
    side: int = 16
    clean_share: float = 0.15


@dataclass(frozen=True)
class JointStage:
    """Stage "joint", on whole views with `prompts` prompts each; GLE learns at `gle_rate` times the rate.

    part_weight: as `glesam.nano.batches.PART_WEIGHT`; at 1 a point may mean a part as well as the whole.
    """

    loop: LoopConfig
    batch: int = 8
    prompts: int = 8
    clean_share: float = 0.35
    gle_rate: float = 1.0
    part_weight: float = 1.0


@dataclass(frozen=True)
class RobustStage:
    """Stage "robust": the encoder learns its own clean embeddings from degraded crops. GLE's rival."""

    loop: LoopConfig
    batch: int = 8
    crop_px: int = 256
    scale: tuple[float, float] = (1.0, 2.5)
    clean_share: float = 0.2
    backbone_rate: float = 0.2

    def plan(self) -> BatchPlan:
        """How its crops are drawn."""
        return BatchPlan(
            self.batch,
            self.crop_px,
            self.loop.seed,
            objects_per_image=1,
            scale=self.scale,
            with_degraded=True,
            clean_share=self.clean_share,
            paste_share=PASTE_SHARE,
        )


@dataclass(frozen=True)
class Recipe:
    """All stages, in the order they run; `views` pairs of embeddings are drawn with `views_seed`.

    `robust` is left out of nano: it is GLE's rival. Without `enhance` GLE is left out of the stages "joint"
    and "tune", which learn from as many pictures: the baseline that GLE is measured against. `denoise` adds
    the denoiser of `glesam.ddim` to the decoder before stage "joint".
    """

    sam: SamStage
    prior: GleStage
    restore: GleStage
    joint: JointStage
    tune: SamStage | None = None
    level: LevelStage = LevelStage(  # noqa: RUF009 - frozen
        LoopConfig(1_000, lr=1e-3, warmup=50, clip=1.0, average=0.99, seed=5)
    )
    robust: RobustStage | None = None
    enhance: bool = True
    denoise: bool = False
    views: int = 6_000
    views_seed: int = 7
    statistics: int = 200

    def views_plan(self) -> BatchPlan:
        """How the views are drawn whose embeddings are stored."""
        return BatchPlan(
            1,
            self.sam.whole_px,
            self.views_seed,
            scale=self.sam.whole_scale,
            with_degraded=True,
            clean_share=0.0,
            paste_share=PASTE_SHARE,
        )


NANO = Recipe(
    sam=SamStage(
        LoopConfig(12_000, lr=1e-3, clip=1.0, average=0.998, seed=1),
        regions=RegionPlan(lasting=0.0),
    ),
    prior=GleStage(LoopConfig(1_000, lr=1e-3, warmup=50, clip=1.0, average=0.99, seed=2)),
    restore=GleStage(LoopConfig(3_000, lr=1e-3, warmup=50, clip=1.0, average=0.99, seed=3)),
    joint=JointStage(LoopConfig(3_000, lr=5e-4, warmup=50, clip=1.0, average=0.995, seed=4)),
    tune=SamStage(
        LoopConfig(1_200, lr=3e-4, warmup=50, clip=1.0, average=0.995, seed=8),
        regions=RegionPlan(part_weight=1.0),
        first_block=2,
        clean_share=0.35,
    ),
)
"""How the shipped model came about.

Regions of a hierarchy were added after the stages before "tune" had run, which therefore have none.
"""


@dataclass(frozen=True)
class Run:
    """The folder of a run's checkpoints, its watcher, and the device it is computed on."""

    folder: Path
    watch: Watcher = Lines()  # noqa: RUF009 - frozen
    accelerator: Accelerator | None = None

    def train(
        self,
        name: str,
        module: nn.Module,
        batches: Callable[[range], Iterator[Any]],
        player: Player[Any],
        loop: LoopConfig,
        settings: dict[str, Any],
    ) -> None:
        """One stage; a checkpoint of other settings or of another model is refused."""
        identity = Identity({**asdict(loop), **settings}, HARMLESS)
        checkpoint = self.folder / f"{name}.pt"
        train_players(module, batches, [player], loop, checkpoint, self.watch, self.accelerator, identity)


def train_model(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """Trains `model`; checkpoints and the state of every stage lie in the run's folder."""
    start_gle(model, recipe.prior.loop.seed)
    train_sam(model, pool, run, recipe.sam)
    model.eval().requires_grad_(False)
    standardize_embeddings(model, pool, run, recipe)
    train_after_sam(model, pool, run, recipe)


def train_after_sam(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """The stages after "sam", of a frozen model with a new GLE and standardized embeddings."""
    if recipe.robust:
        train_robust(model, pool, run, recipe.robust)
    views = encode_views(model, pool, run, recipe)
    if recipe.enhance:
        if model.gle.level_head is not None:
            train_level(model, views, view_levels(views, pool, run.folder), run, recipe.level)
        train_gle(model, views, run, recipe)
    if recipe.denoise:
        start_denoiser(model, recipe.joint.loop.seed)
    train_joint(model, views, run, recipe.joint, enhance=recipe.enhance)
    if recipe.tune:
        tune(model, pool, run, recipe.tune, enhance=recipe.enhance)
    model.eval()


def train_sam(model: GleSam, pool: SamplePool, run: Run, stage: SamStage) -> None:
    """Image encoder and mask decoder, on crops and whole pictures."""
    encoder = model.image_encoder
    assert isinstance(encoder, NanoEncoder)
    encoder.backbone.load_imagenet(imagenet_weights())
    model.requires_grad_(True)
    parts = nn.ModuleDict({"image_encoder": encoder, "mask_decoder": model.mask_decoder}).train()
    fast, slow = fast_and_slow(encoder, parts, stage.first_block)
    player = Player(fast, partial(clean_losses, model), slow=slow, slow_rate=stage.backbone_rate)
    source = prompt_batches(pool, stage.plan, stage.regions)
    run.train("sam", parts, source, player, stage.loop, sam_settings(model, stage))


def fast_and_slow(
    encoder: NanoEncoder, parts: nn.Module, first_block: int
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What of `parts` lies outside the encoder's backbone, and what the backbone trains from a block on."""
    slow = encoder.backbone.trained_from(first_block)
    backbone = set(encoder.backbone.parameters())
    return [parameter for parameter in parts.parameters() if parameter not in backbone], slow


def standardize_embeddings(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> None:
    """Standardizes the embeddings, by statistics that are computed once and kept in the run's folder."""
    path = run.folder / f"statistics-{fingerprint(model.image_encoder, repr(recipe.statistics))}.safetensors"
    if not path.exists():
        device = next(model.parameters()).device
        plan = replace(recipe.views_plan(), with_degraded=False, objects_per_image=1)
        regions = RegionPlan(share=0.0)
        with torch.no_grad():
            drawn = prompt_batches(pool, lambda _: plan, regions)(range(recipe.statistics))
            images = (to_device(batch, device).image for batch in drawn)
            clean = [model.encode(model.normalize(image)).cpu() for image in images]
        mean, deviation = channel_statistics(clean)
        write_tensors({"mean": mean, "deviation": deviation}, path)
    tensors = read_tensors(path)
    standardize(model, tensors["mean"], tensors["deviation"])


def train_robust(model: GleSam, pool: SamplePool, run: Run, stage: RobustStage) -> None:
    """All of the encoder but its depthwise filters; the decoder goes on reading the clean embeddings."""
    encoder = model.image_encoder
    assert isinstance(encoder, NanoEncoder)
    teacher = copy.deepcopy(encoder).eval().requires_grad_(False)
    encoder.requires_grad_(True).train()
    fast, slow = fast_and_slow(encoder, encoder, 0)

    def losses(batch: Batch) -> Losses:
        with torch.no_grad():
            clean = teacher(model.normalize(batch.image)).float()
        return {"loss": mse_loss(model.encode(model.normalize(batch.degraded)).float(), clean)}

    player = Player(fast, losses, slow=slow, slow_rate=stage.backbone_rate)
    run.train("robust", encoder, batches(pool, stage.plan()), player, stage.loop, settings_of(model, stage))
    model.eval().requires_grad_(False)


def encode_views(model: GleSam, pool: SamplePool, run: Run, recipe: Recipe) -> PairedViews:
    """Encodes the views that are missing in the run's folder; their regions are as in stage "sam"."""
    regions = recipe.sam.regions
    views = PairedViews(run.folder / VIEWS, recipe.views, recipe.views_plan(), lasting=regions.lasting)
    ViewEncoder(model, pool, run.accelerator or Accelerator(), run.watch).encode(views)
    return views


def start_gle(model: GleSam, seed: int) -> None:
    """GLE begins as the skip of its one step: the U-Net predicts no noise.

    Its first convolution keeps the variance of what it reads, and the text context is noise that never
    changes.
    """
    gle = model.gle
    context = gle.get_buffer("text_embedding")
    context.copy_(torch.randn(context.shape, generator=torch.Generator().manual_seed(seed)))
    first, last = (unwrapped(conv) for conv in (gle.unet.conv_in, gle.unet.conv_out))
    nn.init.kaiming_normal_(first.weight, nonlinearity="linear")
    for parameter in last.parameters():
        nn.init.zeros_(parameter)


def unwrapped(conv: Any) -> nn.Conv2d:  # noqa: ANN401 - PEFT's layer, or the convolution
    """The convolution itself, without its adapter."""
    base: nn.Conv2d = conv.get_base_layer() if isinstance(conv, LoraLayer) else conv
    return base


def select_prior(gle: Gle) -> list[nn.Parameter]:
    """What stage "prior" trains: the U-Net's own weights (`glesam.gle.is_full_rank`)."""
    return select(gle, lambda name: is_full_rank(name, gle.config))


def select_restoring(gle: Gle) -> list[nn.Parameter]:
    """What later stages train: LoRA where the U-Net has one, else all of it; the auxiliary encoder."""
    return select(
        gle,
        lambda name: (
            name.startswith("auxiliary.") or (is_unet(name) and (not gle.config.lora_rank or "lora_" in name))
        ),
    )


def is_unet(name: str) -> bool:
    """Whether a parameter of GLE is its U-Net's; an adaptive one's head is not."""
    return name.startswith("unet.")


def select(module: nn.Module, is_trained: Callable[[str], bool]) -> list[nn.Parameter]:
    """Freezes all other parameters, and returns those that are trained."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(is_trained(name))
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def train_level(model: GleSam, views: PairedViews, levels: Tensor, run: Run, stage: LevelStage) -> None:
    """Stage "level"; the head depends on the image encoder alone, and stays as it is from there on."""
    head = model.gle.level_head
    assert head is not None
    values = asdict(stage)
    del values["loop"]
    settings = {"model": fingerprint(model.image_encoder, repr(model.config.sam)), **values}
    player = Player(select(head, lambda _: True), partial(level_losses, head))
    run.train("level", head, partial(leveled_batches, views, levels, stage), player, stage.loop, settings)
    head.requires_grad_(False)


def train_gle(model: GleSam, views: PairedViews, run: Run, recipe: Recipe) -> None:
    """Stages "prior" and "restore": GLE alone, on windows of embeddings."""
    gle = model.gle
    player = Player(select_prior(gle), partial(prior_losses, gle, side=recipe.prior.side))
    run.train(
        "prior",
        gle,
        pairs_of(views, recipe.prior),
        player,
        recipe.prior.loop,
        settings_of(model, recipe.prior),
    )
    stage = recipe.restore
    losses = partial(restoring_losses, gle, side=stage.side, clean_share=stage.clean_share)
    player = Player(select_restoring(gle), losses)
    run.train("restore", gle, pairs_of(views, stage), player, stage.loop, settings_of(model, stage))


def pairs_of(views: PairedViews, stage: GleStage) -> Callable[[range], Iterator[Pairs]]:
    """A function from steps to their pairs, with the next ones read ahead."""
    return lambda steps: prefetch(lambda step: views.pairs(stage.batch, stage.loop.seed, step), steps)


def train_joint(
    model: GleSam, views: PairedViews, run: Run, stage: JointStage, *, enhance: bool = True
) -> None:
    """Stage "joint"; `enhance=False` trains the decoder alone, without GLE: the baseline to compare with."""
    decoder = model.mask_decoder.requires_grad_(True).train()
    parts = nn.ModuleDict({"mask_decoder": decoder})
    restorers = select_restoring(model.gle) if enhance else select(model.gle, lambda _: False)
    if enhance:
        parts["gle"] = model.gle
    player = Player(
        list(decoder.parameters()),
        partial(joint_losses, model, clean_share=stage.clean_share, enhance=enhance),
        slow=restorers,
        slow_rate=stage.gle_rate,
    )
    source = pair_batches(views, stage.batch, stage.prompts, stage.loop.seed, stage.part_weight)
    name = "joint" if enhance else "baseline"
    run.train(name, parts, source, player, stage.loop, settings_of(model, stage))


def tune(model: GleSam, pool: SamplePool, run: Run, stage: SamStage, *, enhance: bool = True) -> None:
    """Stage "tune"; the clean embeddings to come near to are those of the encoder as it is before."""
    encoder = model.image_encoder
    assert isinstance(encoder, NanoEncoder)
    settings = settings_of(model, stage)
    teacher = copy.deepcopy(encoder).eval().requires_grad_(False)
    parts = nn.ModuleDict({"image_encoder": encoder, "mask_decoder": model.mask_decoder})
    parts.requires_grad_(True).train()
    fast, slow = fast_and_slow(encoder, parts, stage.first_block)
    restorers = select_restoring(model.gle) if enhance else select(model.gle, lambda _: False)
    if enhance:
        parts["gle"] = model.gle
    losses = partial(tuning_losses, model, teacher, enhance=enhance)
    player = Player([*fast, *restorers], losses, slow=slow, slow_rate=stage.backbone_rate)
    source = prompt_batches(pool, stage.plan, stage.regions)
    run.train("tune", parts, source, player, stage.loop, settings)
    model.eval().requires_grad_(False)


@torch.no_grad()
def start_denoiser(model: GleSam, seed: int) -> None:
    """Adds a denoiser to nano's decoder, in place; until it has learnt, the masks stay the same.

    A new denoiser predicts no noise and only enlarges the features, which the layers that read them undo.
    """
    decoder = model.mask_decoder
    assert isinstance(decoder, NanoDecoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = DdimDenoiser(decoder.config.coarse)
    decoder.denoiser = denoiser.to(decoder.foreground.weight)
    for layer in decoder.coarse_readers():
        layer.weight /= gain()
    decoder.config = replace(decoder.config, denoise=True)
    model.config = replace(model.config, sam=replace(model.config.sam, decoder=decoder.config))


def settings_of(model: GleSam, stage: Any) -> dict[str, Any]:  # noqa: ANN401 - any stage's dataclass
    """What distinguishes one run of a stage from another, besides its loop: settings, and what is frozen."""
    values = asdict(stage)
    del values["loop"]
    return {"model": fingerprint(model, repr(model.config)), **values}


def sam_settings(model: GleSam, stage: SamStage) -> dict[str, Any]:
    """As `settings_of`, for the first stage, whose start is the package's weights and a seed."""
    values = asdict(stage)
    del values["loop"]
    return {"model": hashlib.sha256(repr(model.config.sam).encode()).hexdigest()[:16], **values}
