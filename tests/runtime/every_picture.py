"""Picture files of every kind that both languages read, by name."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from picture_files import (
    GREY,
    GREY_ALPHA,
    ODD_FIELDS,
    PALETTE,
    RGB,
    RGB_ALPHA,
    TURN,
    exif,
    gama,
    iccp,
    jpeg_of,
    png,
    profile,
    with_segment,
)
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 32


def noise(
    *shape: int, top: int = 255, dtype: type[np.unsignedinteger] = np.uint8
) -> NDArray[np.unsignedinteger]:
    return np.random.default_rng(7).integers(0, top + 1, shape).astype(dtype)


def smooth(channels: int = 3) -> Image.Image:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    planes = [rows * 9 + columns, columns * 7, 255 - rows * 5, rows * 3 + columns * 4][:channels]
    pixels = np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
    return Image.fromarray(
        pixels[..., 0] if channels == 1 else pixels, {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    )


def png_files() -> dict[str, bytes]:
    grey, rgb, wide = (
        noise(HEIGHT, WIDTH),
        noise(HEIGHT, WIDTH * 3),
        partial(noise, top=65535, dtype=np.uint16),
    )
    colours = noise(16 * 3).tobytes()
    key = (b"tRNS", b"\0" + bytes([int(grey[3, 3])]))
    files = {
        "grey": png(grey, GREY),
        "grey 1": png(noise(HEIGHT, 4), GREY, 1),
        "grey 1 keyed": png(noise(HEIGHT, 4), GREY, 1, [(b"tRNS", b"\0\0")]),
        "grey 2": png(noise(HEIGHT, 8), GREY, 2),
        "grey 2 keyed": png(noise(HEIGHT, 8), GREY, 2, [(b"tRNS", b"\0\2")]),
        "grey 4 keyed": png(noise(HEIGHT, 16), GREY, 4, [(b"tRNS", b"\0\5")]),
        "grey keyed": png(grey, GREY, 8, [key]),
        "grey 16": png(wide(HEIGHT, WIDTH), GREY, 16),
        "grey 16 keyed": png(grey.astype(np.uint16) * 257, GREY, 16, [(b"tRNS", grey[3, 3].tobytes() * 2)]),
        "grey alpha": png(noise(HEIGHT, WIDTH * 2), GREY_ALPHA),
        "grey alpha 16": png(wide(HEIGHT, WIDTH * 2), GREY_ALPHA, 16),
        "rgb": png(rgb, RGB),
        "rgb keyed": png(rgb, RGB, 8, [(b"tRNS", b"".join(b"\0" + bytes([v]) for v in rgb[2, 3:6]))]),
        "rgb 16 keyed": png(
            wide(HEIGHT, WIDTH * 3),
            RGB,
            16,
            [(b"tRNS", wide(HEIGHT, WIDTH * 3)[2, 3:6].astype(">u2").tobytes())],
        ),
        "rgb 16": png(wide(HEIGHT, WIDTH * 3), RGB, 16),
        "rgb alpha": png(noise(HEIGHT, WIDTH * 4), RGB_ALPHA),
        "rgb alpha 16": png(wide(HEIGHT, WIDTH * 4), RGB_ALPHA, 16),
        "interlaced rgb alpha": png(noise(HEIGHT, WIDTH * 4), RGB_ALPHA, interlaced=True),
        "interlaced grey 1": png(noise(HEIGHT, 4), GREY, 1, interlaced=True),
        "interlaced palette 2": png(noise(HEIGHT, 8), PALETTE, 2, [(b"PLTE", colours[:12])], interlaced=True),
        "palette with missing colours": png(noise(HEIGHT, WIDTH), PALETTE, 8, [(b"PLTE", colours)]),
        "palette 4": png(noise(HEIGHT, 16), PALETTE, 4, [(b"PLTE", colours)]),
        "palette 8": png(noise(HEIGHT, WIDTH, top=15), PALETTE, 8, [(b"PLTE", colours)]),
        "palette alpha": png(
            noise(HEIGHT, WIDTH, top=15), PALETTE, 8, [(b"PLTE", colours), (b"tRNS", bytes([0, 90, 200]))]
        ),
        "long texts": png(
            rgb,
            RGB,
            before=[(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))],
            after=[(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000)))],
        ),
        "exif behind the pixels": png(rgb, RGB, after=[(b"eXIf", exif(TURN))]),
        "exif before the pixels": png(rgb, RGB, before=[(b"eXIf", exif(TURN))]),
    }
    for gamma in (0.3, 0.45455, 0.5, 1.0, 0.00001, 2.2):
        files[f"gAMA {gamma}"] = png(grey, GREY, 8, [gama(gamma)])
        files[f"gAMA {gamma} rgb alpha"] = png(noise(HEIGHT, WIDTH * 4), RGB_ALPHA, 8, [gama(gamma)])
        files[f"gAMA {gamma} 16"] = png(wide(HEIGHT, WIDTH), GREY, 16, [gama(gamma)])
        files[f"gAMA {gamma} palette"] = png(noise(HEIGHT, 16), PALETTE, 4, [gama(gamma), (b"PLTE", colours)])
    files["gAMA under sRGB"] = png(grey, GREY, 8, [gama(1.0), (b"sRGB", b"\0")])
    return files | profiled_png_files(grey, rgb)


def profiled_png_files(grey: NDArray[np.generic], rgb: NDArray[np.generic]) -> dict[str, bytes]:
    adobe, light, grey_18 = profile(b"RGB ", 2.2), profile(b"RGB ", 1.0), profile(b"GRAY", 1.8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "Adobe RGB": png(rgb, RGB, 8, [iccp(adobe)]),
        "linear RGB": png(rgb, RGB, 8, [iccp(light)]),
        "Adobe RGB alpha": png(noise(HEIGHT, WIDTH * 4), RGB_ALPHA, 8, [iccp(adobe)]),
        "grey profile": png(grey, GREY, 8, [iccp(grey_18)]),
        "grey profile 16": png(grey.astype(np.uint16) * 257, GREY, 16, [iccp(grey_18)]),
        "profile over gAMA": png(rgb, RGB, 8, [gama(1.0), iccp(adobe)]),
        "sRGB profile": png(rgb, RGB, 8, [iccp(srgb)]),
        "a profile of other pixels": png(grey, GREY, 8, [iccp(adobe)]),
        "a broken profile": png(rgb, RGB, 8, [iccp(b"x" * 200)]),
    }


COLOUR_KINDS = {
    **{f"grey {bits}": (GREY, bits) for bits in (1, 2, 4, 8, 16)},
    **{f"rgb {bits}": (RGB, bits) for bits in (8, 16)},
    **{f"palette {bits}": (PALETTE, bits) for bits in (1, 2, 4, 8)},
    **{f"grey alpha {bits}": (GREY_ALPHA, bits) for bits in (8, 16)},
    **{f"rgb alpha {bits}": (RGB_ALPHA, bits) for bits in (8, 16)},
}
"""Colour type and bits of a channel of every kind of PNG."""
_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def chunk_files(kind: str) -> dict[str, bytes]:
    """PNG files of one kind with every combination of chunks that say how pixels are shown."""
    colour_type, bits = COLOUR_KINDS[kind]
    channels = {GREY_ALPHA: 2, RGB: 3, RGB_ALPHA: 4}.get(colour_type, 1)
    # Eight pixels wide.
    rows = noise(6, 8 * channels, top=65535, dtype=np.uint16) if bits == 16 else noise(6, channels * bits)
    palette = [(b"PLTE", noise(3 << bits).tobytes())] if colour_type == PALETTE else []
    choices = [
        {"": [], "linear": [gama(1.0)], "sRGB's": [gama(0.45455)]},
        {
            "": [],
            "Adobe RGB": [iccp(profile(b"RGB ", 2.2))],
            "grey profile": [iccp(profile(b"GRAY", 1.8))],
            "no profile": [iccp(b"x" * 200)],
        },
        {"": [], "sRGB": [(b"sRGB", b"\0")]},
        {"": [], "cHRM": [(b"cHRM", struct.pack(">8I", *_PRIMARIES))], "cHRM 0": [(b"cHRM", bytes(32))]},
    ]
    files = {}
    for number, names in enumerate(product(*choices, keys(colour_type, bits, rows))):
        chunks = [one for choice, name in zip(choices, names, strict=False) for one in choice[name]]
        ordered = chunks if number % 2 else chunks[::-1]
        transparent = keys(colour_type, bits, rows)[names[-1]]
        files[f"{kind}: {names}"] = png(
            rows, colour_type, bits, [*ordered, *palette, *transparent], interlaced=number % 3 == 0
        )
    return files


def keys(colour_type: int, bits: int, rows: NDArray[np.generic]) -> dict[str, list[tuple[bytes, bytes]]]:
    """Chunks tRNS that a PNG of these rows may have, by name."""
    if colour_type == PALETTE:
        return {"": [], "one": [(b"tRNS", b"\0")], "all": [(b"tRNS", noise(1 << bits).tobytes())]}
    if colour_type == GREY:
        value = int(rows[2, 0]) >> max(8 - bits, 0) if bits < 16 else int(rows[2, 0])
        high = [value + (1 << bits)] if bits < 16 else []
        return {"": []} | {f"key {v}": [(b"tRNS", struct.pack(">H", v))] for v in (value, *high)}
    if colour_type == RGB:
        colour = [int(value) for value in rows[2, 3:6]]
        near = [value ^ 1 for value in colour]  # of 16 bits, one that differs in the lower byte alone
        return {"": []} | {f"key {v}": [(b"tRNS", struct.pack(">3H", *v))] for v in (colour, near)}
    return {"": []}


def jpeg_files() -> dict[str, bytes]:
    picture, adobe = smooth(), profile(b"RGB ", 2.2)
    plain = jpeg_of(picture)
    files = {
        "jpeg": plain,
        "jpeg grey": jpeg_of(smooth(1)),
        "jpeg cmyk": jpeg_of(smooth(4)),
        "jpeg progressive": jpeg_of(picture, progressive=True),
        "jpeg progressive cmyk": jpeg_of(smooth(4), progressive=True),
        "jpeg of RGB": jpeg_of(picture, keep_rgb=True),
        "jpeg with restarts": jpeg_of(picture, restart_marker_blocks=2),
        **{f"jpeg subsampling {s}": jpeg_of(picture.resize((37, 29)), subsampling=s) for s in (0, 1, 2)},
        **{
            f"jpeg of {name} with Adobe's transform {transform}": with_segment(
                content, 0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])
            )
            for name, content in (("three", plain), ("four inks", jpeg_of(smooth(4))))
            for transform in (0, 1, 2)
        },
        "jpeg profile of which a part is missing": with_segment(plain, 0xE2, b"ICC_PROFILE\0\1\2" + adobe),
        "jpeg Adobe RGB": jpeg_of(picture, icc_profile=adobe),
        "jpeg large profile": jpeg_of(picture, icc_profile=adobe + bytes(150_000)),
        "jpeg grey profile": jpeg_of(smooth(1), icc_profile=profile(b"GRAY", 1.8)),
        "jpeg bytes behind its end": plain + b"trailing",
        "jpeg odd bytes between markers": plain.replace(b"\xff\xdb", b"\0\0\xff\xdb", 1),
        "jpeg XMP of other letters": with_segment(
            plain, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>\xa8\xff</x:xmpmeta>"
        ),
        "jpeg cut exif": with_segment(plain, 0xE1, b"Exif\0\0" + exif(TURN)[:15]),
        "jpeg big-endian exif": with_segment(
            plain, 0xE1, b"Exif\0\0MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\10\0\0\0\0\0\0"
        ),
    }
    for turn in range(10):
        block = exif((274, 3, 1, bytes([turn, 0, 0, 0])))
        files[f"jpeg turned {turn}"] = with_segment(plain, 0xE1, b"Exif\0\0" + block)
    for name, field in ODD_FIELDS.items():
        files[f"jpeg {name}"] = with_segment(plain, 0xE1, b"Exif\0\0" + exif(TURN, field))
        files[f"jpeg {name} first"] = with_segment(plain, 0xE1, b"Exif\0\0" + exif(field, TURN))
    return files
