"""Colours as a viewer shows them: 8-bit sRGB from every depth, palette, profile and transparency.

The C++ command (examples/cpp/colours.cpp) computes the same bits.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFile

from ..errors import ImageError

SIXTEEN_BITS = 0xFFFF
"""White in a picture of 16 bits."""
_SRGB_GAMMA = 0.45455
"""gAMA of pictures that are sRGB already, and what may differ from it: libpng's threshold."""
_GAMMA_TOLERANCE = 0.05
_GAMMA_RANGE = (0.00016, 6250.0)
"""Values of gAMA that libpng takes; others are no gamma."""
_SPACES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "LAB"}
"""Modes of pixels by the colour space of a profile."""
_KEYS = {"1": (1, 255), "L;2": (3, 85), "L;4": (15, 17), "L": (255, 1)}
"""Bits that count in a PNG's transparent grey, and the step between greys, by Pillow's name for pixels."""
_PROBE_STEP = 51
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
"""Tags of a TIFF file."""


def shown(picture: Image.Image, ground: str) -> Image.Image:
    """Returns a loaded `picture` in RGB, sRGB, with `ground`, a colour, behind what is transparent."""
    colours, alpha = separated(picture)
    srgb = _in_srgb(colours, picture)
    if alpha is None:
        return srgb
    srgb.putalpha(alpha)
    behind = Image.new("RGBA", picture.size, ground)
    return Image.alpha_composite(behind, srgb).convert("RGB")


def loaded(picture: ImageFile.ImageFile) -> Image.Image:
    """Decodes `picture`; a PNG of grey and alpha in 16 bits becomes LA, and not RGBA as in Pillow."""
    raw_mode = picture.tile[0][3] if picture.tile and picture.format == "PNG" else None
    if isinstance(raw_mode, str):
        _scale_key(picture, raw_mode)
    picture.load()
    if raw_mode != "LA;16B":
        return picture
    grey = picture.convert("LA")
    grey.format = picture.format
    return grey


def _scale_key(picture: ImageFile.ImageFile, raw_mode: str) -> None:
    """Makes a PNG's transparent colour one of the 8-bit pixels that Pillow decodes.

    Pillow keeps it as it is stored, where the bits above a pixel's do not count. As in libpng, more
    alphas than colours in a palette count as none.
    """
    key, palette = picture.info.get("transparency"), picture.palette
    if isinstance(key, tuple):  # of 16 bits Pillow decodes the upper 8
        picture.info["transparency"] = tuple(v >> 8 if raw_mode == "RGB;16B" else v & 255 for v in key)
    elif isinstance(key, int) and raw_mode in _KEYS:
        bits, step = _KEYS[raw_mode]
        picture.info["transparency"] = (key & bits) * step
    elif palette is not None and key is not None:
        alphas = len(key) if isinstance(key, bytes) else key + 1
        if 3 * alphas > len(palette.palette):
            del picture.info["transparency"]


def separated(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns the colours of 8 bits in L, RGB, CMYK or LAB, and the alpha L, None where all is opaque."""
    if picture.mode == "F":
        raise ImageError("floating-point pixels have no white level; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        return _eight_bits(picture), _keyed_sixteen_bits(picture)
    if picture.has_transparency_data:
        mode = "LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA"
        *colours, alpha = picture.convert(mode).split()
        return colours[0] if mode == "LA" else Image.merge("RGB", colours), alpha
    if picture.mode in ("L", "RGB", "CMYK", "LAB"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def numbers_of(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Returns the whole numbers of a grey picture of more than 8 bits, 0 being black."""
    values = np.asarray(picture).astype(np.int64)
    if picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        return white_of(picture) - values  # WhiteIsZero, which Pillow leaves as it is at this depth
    return values


def white_of(picture: Image.Image) -> int:
    """Returns the number that is white in a grey picture of more than 8 bits."""
    if picture.format == "TIFF" and picture.mode.startswith("I;16"):
        (bits, *_) = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        return (1 << int(bits)) - 1
    return SIXTEEN_BITS


def whole_numbers(picture: Image.Image) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], int]:
    """Returns the numbers of a grey picture of 9 to 16 bits and its white; ImageError where it has none."""
    values, white = numbers_of(picture), white_of(picture)
    wide = picture.format == "TIFF" and picture.mode == "I"
    if wide or values.min(initial=0) < 0 or values.max(initial=0) > white:
        raise ImageError("32-bit and signed pixels have no white level; save it with 8 or 16 bits")
    return values, white


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Returns the grey picture scaled to 8 bits; PIL's own convert would clip above 255 to white."""
    values, white = whole_numbers(picture)
    gamma = gamma_of(picture)
    if gamma is not None:
        return Image.fromarray(gamma_table(gamma, white)[values])
    return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))


def _keyed_sixteen_bits(picture: Image.Image) -> Image.Image | None:
    """Returns the alpha of a picture of which one grey is transparent."""
    key = picture.info.get("transparency")
    if not isinstance(key, int):
        return None
    return Image.fromarray(np.where(np.asarray(picture) == key, 0, 255).astype(np.uint8))


def _in_srgb(colours: Image.Image, source: Image.Image) -> Image.Image:
    """Returns `colours` in RGB, converted from the profile or gamma that `source` names."""
    profile = source.info.get("icc_profile") or b""
    if _SPACES.get(profile[16:20]) == colours.mode and (converted := _from_profile(colours, profile)):
        return converted
    if colours.mode == "LAB":
        return _from_lab(colours)
    rgb = colours.convert("RGB")
    gamma = None if source.mode.startswith("I") else gamma_of(source)  # deeper pixels have it applied
    return rgb if gamma is None else rgb.point(gamma_table(gamma, 255).tolist() * 3)


def gamma_of(picture: Image.Image) -> float | None:
    """Returns a PNG's gAMA where it differs from sRGB's and neither sRGB nor a profile overrides it."""
    gamma = picture.info.get("gamma")
    if picture.format != "PNG" or gamma is None or "srgb" in picture.info or _profile_space(picture) != "":
        return None
    if not _GAMMA_RANGE[0] <= gamma <= _GAMMA_RANGE[1]:
        return None
    return None if abs(gamma / _SRGB_GAMMA - 1) <= _GAMMA_TOLERANCE else float(gamma)


def _profile_space(picture: Image.Image) -> str:
    """Returns the mode of pixels that the profile is for; "" without one for these pixels."""
    space = _SPACES.get((picture.info.get("icc_profile") or b"")[16:20], "")
    grey = picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I")
    return "" if (space == "L") != grey else space


def gamma_table(gamma: float, white: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Returns the 8-bit sRGB value of every number up to `white`, encoded as light ** `gamma`."""
    return np.array([_srgb_byte((i / white) ** (1 / gamma)) for i in range(white + 1)], np.uint8)


def _srgb_byte(light: float) -> int:
    """Returns linear light, 0 to 1, by the transfer function of IEC 61966-2-1."""
    encoded = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return int(255 * encoded + 0.5)


def _from_profile(colours: Image.Image, profile: bytes) -> Image.Image | None:
    """Returns `colours` converted to sRGB; None where the profile is broken or changes nothing.

    Pictures tagged with some sRGB profile keep their bits: a change by 1 is the profile's rounding.
    """
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), colours.mode, "RGB"
        )
        if colours.mode in ("L", "RGB") and _changes_little(transform, colours.mode):
            return None
        return ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _changes_little(transform: object, mode: str) -> bool:
    """True where the transform moves no colour of a coarse grid by more than 1."""
    from PIL import ImageCms

    levels = np.arange(0, 256, _PROBE_STEP, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(np.ascontiguousarray(grid if mode == "RGB" else grid[..., 0]))
    moved = ImageCms.applyTransform(probe, transform)  # type: ignore[arg-type]
    before = np.asarray(probe.convert("RGB")).astype(np.int16)
    return bool(np.abs(np.asarray(moved).astype(np.int16) - before).max() <= 1)


def _from_lab(colours: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        colours, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:
        raise ImageError("its CIELAB colours cannot be converted; save it in RGB")
    return converted
