"""config.json holds every number and trusts nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from glesam.config import GleSamConfig, nano, tiny


@pytest.mark.parametrize("config", [tiny("sd15"), tiny("sd21"), nano()])
def test_json_gives_back_the_same_config(config: GleSamConfig) -> None:
    assert GleSamConfig.from_json(config.to_json()) == config


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        tiny().sam.image_size = 32  # type: ignore[misc]


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_says_what_to_do(version: object) -> None:
    text = json.dumps(json.loads(tiny().to_json()) | {"format_version": version})
    with pytest.raises(ValueError, match=f"format_version {version}, this glesam reads 1; upgrade glesam"):
        GleSamConfig.from_json(text)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("format_version"), "format_version"),
        (lambda c: c.pop("name"), "name"),
        (lambda c: c.pop("gle"), "gle"),
        (lambda c: c["gle"].pop("gamma"), "gamma"),
        (lambda c: c["gle"].update(gama=3), "gama"),
        (lambda c: c["sam"].pop("encoder"), "encoder"),
        (lambda c: c["sam"]["encoder"].update(kind="swin"), "swin"),
        (lambda c: c["sam"]["encoder"].pop("kind"), "kind"),
        (lambda c: c["gle"]["unet"].pop("layers_per_block"), "layers_per_block"),
        (lambda c: c.update(sam=None), "NoneType"),
    ],
)
def test_a_missing_or_unknown_field_is_named(change: Callable[[dict[str, Any]], object], named: str) -> None:
    content = json.loads(tiny().to_json())
    change(content)
    with pytest.raises(ValueError, match=f"not a GleSAM config.json: .*{named}"):
        GleSamConfig.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"config"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a GleSAM config\.json"):
        GleSamConfig.from_json(text)
