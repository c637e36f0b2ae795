"""SAM 2's official files and transformers' folders: every name and shape, read whole or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refused_files import equal, refusal
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.sam2.configuration_sam2 import Sam2Config, Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2.modeling_sam2 import Sam2Model
from typer.testing import CliRunner

from glesam.cli.convert import app
from glesam.config import (
    HIERA,
    GleSamConfig,
    HieraEncoderConfig,
    NoMemEmbed,
    SamType,
    official_sam,
    tiny,
    tiny_sam2,
)
from glesam.gle import build_base_unet
from glesam.model import GleSam
from glesam.official.decoder import load_decoder, save_decoder
from glesam.official.sam import load_sam, sam_type_of
from glesam.official.sam2 import (
    from_official,
    from_transformers,
    image_part,
    name_in_file,
    sam2_type,
    to_official_decoder,
)
from glesam.sam import build_image_encoder, build_mask_decoder, build_prompt_encoder
from glesam_runtime.errors import CheckpointError

Tensors = dict[str, Tensor]

KEYS: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "sam2_keys.json").read_text()
)
"""Official names and shapes of the image part by size, from building the official modules."""
VIDEO = ("memory_attention.norm.weight", "no_mem_pos_enc", "maskmem_tpos_enc", "obj_ptr_proj.layers.0.bias")
VIDEO_OF_2_1 = (*VIDEO, "no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")
PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


def parts_of(sam_type: SamType) -> Tensors:
    """Our tensors of a released SAM, on the meta device."""
    sam = official_sam(sam_type)
    with torch.device("meta"):
        built = build_image_encoder(sam.encoder, 1024), build_prompt_encoder(sam), build_mask_decoder(sam)
    return {
        f"{part}.{name}": tensor
        for part, module in zip(PARTS, built, strict=True)
        for name, tensor in module.state_dict().items()
    }


def shapes(tensors: Tensors) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def meta(keys: dict[str, list[int]]) -> Tensors:
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


@pytest.mark.parametrize("size", HIERA)
def test_official_names_and_shapes_are_ours(size: str) -> None:
    loaded = from_official(meta(KEYS[size]), "before_gle")
    sam_type: SamType = f"sam2.1_hiera_{size}"  # type: ignore[assignment]
    assert shapes(loaded) == shapes(parts_of(sam_type))
    assert sam2_type(meta(KEYS[size]), "sam2.pt") == sam_type


@pytest.mark.parametrize(
    ("size", "count"), [("tiny", 311), ("small", 359), ("base_plus", 455), ("large", 743)]
)
def test_the_key_list_is_whole(size: str, count: int) -> None:
    assert len(KEYS[size]) == count


@pytest.mark.parametrize("size", HIERA)
def test_transformers_names_and_shapes_are_ours(size: str) -> None:
    hiera = HIERA[size]
    widths = [hiera.embed_dim << i for i in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=hiera.embed_dim,
        num_attention_heads=hiera.num_heads,
        window_positional_embedding_background_size=[hiera.background_size] * 2,
        blocks_per_stage=list(hiera.stages),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[hiera.num_heads << i for i in range(4)],
        window_size_per_stage=list(hiera.window_sizes),
        global_attention_blocks=list(hiera.global_attn_indexes),
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    with torch.device("meta"):
        theirs = Sam2Model(Sam2Config(vision_config=vision)).state_dict()
    theirs.pop("shared_image_embedding.positional_embedding")  # meta tensors cannot be compared
    assert shapes(from_transformers(theirs, "before_gle")) == shapes(parts_of(f"sam2.1_hiera_{size}"))  # type: ignore[arg-type]


# --- files of the tiny size


@pytest.fixture
def source() -> GleSam:
    return random_model(1)


def random_model(seed: int, no_mem_embed: NoMemEmbed = "before_gle") -> GleSam:
    """Every tensor of it random, the zeros of Hiera's positions too."""
    torch.manual_seed(seed)
    model = GleSam(tiny_sam2(no_mem_embed)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_()
    return model


def tiny_names() -> list[str]:
    """Official names of `tiny_sam2`, whose last stage starts at block 6 where SAM 2 tiny's starts at 10."""
    names = [name for name in KEYS["tiny"] if not any(f".blocks.{i}." in name for i in range(6, 10))]
    return [name.replace(".blocks.10.", ".blocks.6.").replace(".blocks.11.", ".blocks.7.") for name in names]


def official_tensors(model: GleSam) -> Tensors:
    own = sam_tensors(model)
    place = model.config.sam.encoder.no_mem_embed  # type: ignore[union-attr]
    ours = {name: next(iter(from_official({name: torch.empty(0)}, place))) for name in tiny_names()}
    assert sorted(ours.values()) == sorted(own)
    return {name: own[ours[name]].clone() for name in ours}


def sam_tensors(model: GleSam) -> Tensors:
    return {name: t for name, t in model.state_dict().items() if name.partition(".")[0] in PARTS}


@pytest.mark.parametrize("video", [(), VIDEO, VIDEO_OF_2_1])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
def test_an_official_file_is_read_whole_or_its_image_part_alone(
    tmp_path: Path, source: GleSam, video: tuple[str, ...], nested: bool, place: NoMemEmbed
) -> None:
    tensors = official_tensors(source) | {name: torch.zeros(2) for name in video}
    torch.save({"model": tensors} if nested else tensors, tmp_path / "sam2.pt")
    target = random_model(2, place)
    load_sam(target, tmp_path / "sam2.pt")
    expected = sam_tensors(source)
    if place == "after_gle":
        expected["mask_decoder.no_mem_embed"] = expected.pop("image_encoder.no_mem_embed")
    assert equal(sam_tensors(target), expected)


def transformers_tensors(model: GleSam) -> Tensors:
    """Under transformers' names, by the inverse of what is tested against transformers above."""
    encoder = model.config.sam.encoder
    assert isinstance(encoder, HieraEncoderConfig)
    widths = [encoder.embed_dim << i for i in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=encoder.embed_dim,
        window_positional_embedding_background_size=[encoder.background_size] * 2,
        blocks_per_stage=list(encoder.stages),
        embed_dim_per_stage=widths,
        window_size_per_stage=list(encoder.window_sizes),
    )
    config = Sam2Config(
        vision_config=Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    )
    config.mask_decoder_config.mlp_dim = 64  # type: ignore[union-attr]
    own = model.state_dict()
    theirs: Tensors = {}
    for name in Sam2Model(config).state_dict():
        if name == "prompt_encoder.point_embed.weight":
            theirs[name] = torch.cat([own[f"prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)])
        else:
            (ours,) = from_transformers({name: torch.empty(0)}, encoder.no_mem_embed)
            theirs[name] = own[ours].clone()
    return theirs


def save_folder(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def test_transformers_folder_is_read_with_and_without_its_video_part(tmp_path: Path, source: GleSam) -> None:
    tensors = transformers_tensors(source)
    video = {"memory_attention.layer_norm.weight": torch.zeros(2), "no_object_pointer": torch.zeros(2)}
    once = {name: t for name, t in tensors.items() if name != "shared_image_embedding.positional_embedding"}
    for number, content in enumerate((tensors, tensors | video, once)):
        target = random_model(2)
        load_sam(target, save_folder(tmp_path / str(number), content))
        assert equal(sam_tensors(target), sam_tensors(source))


def test_what_is_no_sam_2_of_this_size_is_refused(tmp_path: Path, source: GleSam) -> None:
    path, target, whole = tmp_path / "sam2.pt", random_model(2), official_tensors(source)

    def refused(tensors: Tensors, target: GleSam = target) -> str:
        torch.save({"model": tensors}, path)
        return refusal(load_sam, target, path)

    torch.manual_seed(0)
    sam = GleSam(tiny())
    assert "sam2.pt is a SAM of width 32, the model a tiny_sam2; choose" in refused(sam_tensors(sam))
    assert "sam2.pt is a SAM 2 of width 16 and 8 blocks, the model a tiny; choose" in refused(whole, sam)
    large = whole | {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(144, 3, 7, 7)}
    assert "is a SAM 2 of width 144 and 8 blocks, the model a tiny_sam2" in refused(large)
    lacking = {name: tensor for name, tensor in whole.items() if name != "no_mem_embed"}
    assert "1 missing tensor (no_mem_embed)" in refused(lacking)
    assert "1 unknown tensor (no_obj_pointer)" in refused(whole | {"no_obj_pointer": torch.zeros(1)})
    nan = whole | {"no_mem_embed": torch.full((1, 1, 256), float("nan"))}
    assert "sam2.pt: no_mem_embed holds NaN" in refused(nan)
    encoder = {name: tensor for name, tensor in whole.items() if name.startswith("image_encoder.")}
    assert "missing tensors (no_mem_embed, sam_mask_decoder.conv_s0.bias" in refused(encoder)
    twice = whole | {"mask_decoder.iou_token.weight": whole["sam_mask_decoder.iou_token.weight"]}
    assert "holds mask_decoder.iou_token.weight under two names; expected one kind" in refused(twice)
    assert "expected a whole SAM with a ViT encoder, such as sam_vit_b_01ec64.pth, or a SAM 2" in refused(
        {"backbone.weight": torch.zeros(1)}
    )


def test_every_tensor_is_called_as_in_its_file(tmp_path: Path, source: GleSam) -> None:
    """In both kinds of files, with any tensor missing, misshapen or not a number."""
    for kind, whole in enumerate((official_tensors(source), transformers_tensors(source))):
        ours = image_part(whole, "before_gle", "file")
        copied = ("prompt_encoder.shared_embedding.positional_embedding",) if kind else ()
        assert {name_in_file(name, whole) for name in ours} | {*copied} == whole.keys()
    for name in ("image_encoder.trunk.blocks.3.mlp.layers.1.bias", "sam_mask_decoder.conv_s1.weight"):
        torch.save(official_tensors(source) | {name: torch.zeros(5)}, tmp_path / "sam2.pt")
        assert f"1 misshapen tensor ({name} [5] instead of" in refusal(
            load_sam, random_model(2), tmp_path / "sam2.pt"
        )
    name = "vision_encoder.backbone.blocks.3.mlp.proj_out.bias"
    lacking = {n: tensor for n, tensor in transformers_tensors(source).items() if n != name}
    assert f"1 missing tensor ({name})" in refusal(
        load_sam, random_model(2), save_folder(tmp_path / "lacking", lacking)
    )


def test_two_matrices_of_positions_are_refused(tmp_path: Path, source: GleSam) -> None:
    tensors = transformers_tensors(source)
    tensors["shared_image_embedding.positional_embedding"] += 1
    message = refusal(load_sam, random_model(2), save_folder(tmp_path / "folder", tensors))
    assert message.endswith(
        "prompt_encoder.shared_embedding.positional_embedding differ; expected one matrix"
    )


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "model.safetensors" in refusal(load_sam, random_model(2), tmp_path / "empty")


@pytest.mark.parametrize(
    ("video", "expected", "found"),
    [
        (VIDEO, None, "sam2_hiera_small"),
        (VIDEO, "sam2.1_hiera_small", "sam2_hiera_small"),
        (VIDEO_OF_2_1, "sam2_hiera_small", "sam2.1_hiera_small"),
        ((), None, "sam2.1_hiera_small"),
        ((), "sam2_hiera_small", "sam2_hiera_small"),
        ((), "sam2_hiera_tiny", "sam2.1_hiera_small"),
    ],
)
def test_the_release_is_read_from_the_video_part_or_told(
    video: tuple[str, ...], expected: str | None, found: str
) -> None:
    tensors = meta(KEYS["small"]) | {name: torch.zeros(2) for name in video}
    assert sam2_type(tensors, "sam2.pt", expected) == found


def test_a_size_that_was_never_released_is_refused(tmp_path: Path, source: GleSam) -> None:
    torch.save({"model": official_tensors(source)}, tmp_path / "sam2.pt")
    with pytest.raises(
        CheckpointError, match=r"width 16 and 8 blocks; expected 96 and 12 \(tiny\), 96 and 16"
    ):
        sam_type_of(tmp_path / "sam2.pt")


# --- the mask decoder


@pytest.mark.parametrize("prefix", ["", "module.", "sam_mask_decoder.", "module.sam_mask_decoder."])
def test_a_decoder_is_read_with_each_of_the_four_prefixes(
    tmp_path: Path, source: GleSam, prefix: str
) -> None:
    path, target = tmp_path / "decoder.pth", random_model(2, "after_gle")
    start = "sam_mask_decoder."
    decoder = {n.removeprefix(start): t for n, t in official_tensors(source).items() if n.startswith(start)}
    assert len(decoder) == 131
    torch.save({prefix + name: tensor for name, tensor in decoder.items()}, path)
    before = target.mask_decoder.get_parameter("no_mem_embed").clone()
    load_decoder(target, path)
    assert torch.equal(target.mask_decoder.get_parameter("no_mem_embed"), before)
    save_decoder(target, path)
    assert equal(torch.load(path, weights_only=True), decoder)


def decoder_file(path: Path, model: GleSam, keep: Callable[[str], bool], prefix: str = "module.") -> Path:
    """A decoder's file with some of its tensors."""
    save_decoder(model, path)
    tensors = torch.load(path, weights_only=True)
    torch.save({f"{prefix}{name}": tensor for name, tensor in tensors.items() if keep(name)}, path)
    return path


IOU = ("iou_token.", "iou_prediction_head.")


@pytest.mark.parametrize(
    "lacking", [IOU, ("conv_s0.", "conv_s1."), (*IOU, "pred_obj_score_head.", "conv_s0.", "conv_s1.")]
)
def test_a_decoder_may_lack_what_is_never_tuned(
    tmp_path: Path, source: GleSam, lacking: tuple[str, ...]
) -> None:
    path = decoder_file(tmp_path / "ft.pth", source, lambda name: not name.startswith(lacking))
    target = random_model(2)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    load_decoder(target, path)
    for name, tensor in to_official_decoder(target.state_dict()).items():
        origin = before if name.startswith(lacking) else source.state_dict()
        assert torch.equal(tensor, to_official_decoder(origin)[name]), name


def test_a_decoder_that_lacks_more_is_refused(tmp_path: Path, source: GleSam) -> None:
    lacking = {
        "transformer.layers.1.mlp.layers.0.bias": "tensor (module.transformer.layers.1.mlp.layers.0.bias)",
        "output_hypernetworks_mlps.2.": "6 missing tensors (module.output_hypernetworks_mlps.2.layers.0.bias",
        "iou_prediction_head.layers.2.bias": "1 missing tensor (module.iou_prediction_head.layers.2.bias)",
    }
    for start, message in lacking.items():
        path = decoder_file(tmp_path / "ft.pth", source, lambda name, s=start: not name.startswith(s))  # type: ignore
        assert message in refusal(load_decoder, random_model(2), path)
    torch.manual_seed(0)
    sam = GleSam(tiny())
    path = decoder_file(
        tmp_path / "sam.pth", sam, lambda name: not name.startswith(IOU), "module.mask_decoder."
    )
    load_decoder(sam, path)
    path = decoder_file(path, sam, lambda name: not name.startswith("mask_tokens"), "mask_decoder.")
    assert "1 missing tensor (mask_decoder.mask_tokens.weight)" in refusal(load_decoder, sam, path)


def test_a_decoder_of_the_other_sam_is_refused(tmp_path: Path, source: GleSam) -> None:
    torch.manual_seed(0)
    sam = GleSam(tiny())
    save_decoder(sam, tmp_path / "sam.pth")
    save_decoder(source, tmp_path / "sam2.pth")
    assert "sam.pth has no obj_score_token.weight among its 120 tensors; expected SAM 2's" in refusal(
        load_decoder, source, tmp_path / "sam.pth"
    )
    assert "sam2.pth is SAM 2's mask decoder, expected that of a tiny" in refusal(
        load_decoder, sam, tmp_path / "sam2.pth"
    )


# --- glesam-convert


@pytest.fixture
def arguments(tmp_path: Path, source: GleSam, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of glesam-convert, which accepts these sizes though they were never released."""
    torch.save({"model": official_tensors(source)}, tmp_path / "sam2.pt")
    build_base_unet(tiny().gle.unet).save_pretrained(tmp_path / "unet")
    torch.save(torch.zeros(1, 5, 24), tmp_path / "empty.pt")

    def tiny_config(*_: object, no_mem_embed: NoMemEmbed, **_options: object) -> GleSamConfig:
        return tiny_sam2(no_mem_embed)

    monkeypatch.setattr("glesam.official.build.config_of", tiny_config)
    paths = {"--sam-checkpoint": "sam2.pt", "--unet": "unet", "--text-embedding": "empty.pt", "--out": "out"}
    return ["--new-lora", *(part for name, file in paths.items() for part in (name, str(tmp_path / file)))]


@pytest.mark.parametrize("place", ["before_gle", "after_gle"])
def test_glesam_convert_writes_a_sam_2(
    tmp_path: Path, arguments: list[str], source: GleSam, place: str
) -> None:
    result = CliRunner().invoke(app, [*arguments, "--sam-type", "tiny_sam2", "--no-mem-embed", place])
    assert (result.exit_code, result.stderr) == (0, "")
    model = GleSam.from_pretrained(tmp_path / "out")
    assert model.config == tiny_sam2(place)  # type: ignore[arg-type]
    assert model.state_dict()[f"{PARTS[0] if place == 'before_gle' else PARTS[2]}.no_mem_embed"].any()
    positions = "image_encoder.backbone.pos_embed"
    assert torch.equal(model.state_dict()[positions], source.state_dict()[positions])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-mem-embed", "inside"], "error: no-mem-embed inside: expected before_gle or after_gle"),
        (["--sam-type", "sam2_hiera_large"], "is a SAM tiny_sam2, expected sam2_hiera_large; give the other"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(
    arguments: list[str], options: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, [*arguments, *options])
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert message in line


def test_a_decoder_of_another_sam_or_a_part_of_one_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], source: GleSam
) -> None:
    torch.manual_seed(0)
    save_decoder(GleSam(tiny()), tmp_path / "sam.pth")
    decoder_file(tmp_path / "part.pth", source, lambda name: name != "mask_tokens.weight", "")
    files = {
        "sam.pth": "has no obj_score_token.weight among its 120 tensors; expected SAM 2's mask decoder",
        "part.pth": "does not fit this model: 1 missing tensor (mask_tokens.weight)",
    }
    for file, message in files.items():
        result = CliRunner().invoke(app, [*arguments, "--decoder", str(tmp_path / file)])
        (line,) = result.stderr.splitlines()
        assert result.exit_code == 2
        assert f"error: {tmp_path / file} {message}" in line
        assert not (tmp_path / "out").exists()


def test_a_file_of_another_size_is_refused_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    whole = torch.load(tmp_path / "sam2.pt", weights_only=True)["model"]
    whole = {name: tensor for name, tensor in whole.items() if ".blocks.7." not in name}
    torch.save({"model": whole}, tmp_path / "sam2.pt")
    result = CliRunner().invoke(app, arguments)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert "sam2.pt is a SAM 2 of width 16 and 7 blocks, the model a tiny_sam2; choose the sam_type" in line


def test_the_setting_of_sam_2_is_refused_with_a_sam(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam.official.build.config_of", lambda *_, **__: tiny())
    result = CliRunner().invoke(app, [*arguments, "--no-mem-embed", "after_gle"])
    (line,) = result.stderr.splitlines()
    assert "is a SAM tiny, which has no no_mem_embed; leave --no-mem-embed out" in line
