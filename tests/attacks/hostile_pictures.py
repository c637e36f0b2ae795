"""Picture files that would fill the memory, never end or start a program; each writes to a path of its own.

Those of REFUSED end in one line. Those of READ hold a sound picture, RED, among what is hostile.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from picture_files import bomb, chunk, jpeg_bomb, jpeg_of, profile, with_segment
from PIL import Image

Generator = Callable[[Path], object]
REFUSED: dict[str, Generator] = {}
READ: dict[str, Generator] = {}
RED = Image.new("RGB", (48, 32), (255, 0, 0))
SIDE = 30_000
ENTRIES = 5000


def refused(generator: Generator) -> Generator:
    REFUSED[generator.__name__] = generator
    return generator


def read(generator: Generator) -> Generator:
    READ[generator.__name__] = generator
    return generator


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    RED.save(buffer, kind, **options)
    return buffer.getvalue()


def packed_zeros(count: int) -> bytes:
    """Returns about `count` zeros, a multiple of 2^22, as zlib packs them: a thousandth of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + block * (count >> 22) + packer.flush() + bytes(4)


def tiff_of(fields: list[tuple[int, int, int, bytes]], after: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: its one directory at byte 8, then `after`."""
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in fields)
    header = b"II*\0" + struct.pack("<IH", 8, len(fields))
    return header + entries + struct.pack("<I", following) + after


def with_segments(jpeg: bytes, marker: int, blocks: list[bytes]) -> bytes:
    segments = [with_segment(b"", marker, block) for block in blocks]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def number(tag: int, value: int) -> tuple[int, int, int, bytes]:
    return (tag, 4, 1, struct.pack("<I", value))


def tiff_fields(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int, bytes]]:
    numbers = {
        256: width,
        257: height,
        258: 8,
        259: compression,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: 64,
    }
    return [number(tag, value) for tag, value in numbers.items()]


def overlapping_fields(data_size: int) -> list[tuple[int, int, int, bytes]]:
    """Thousands of fields, each of which holds the whole file."""
    return [(50_000 + i, 7, data_size, struct.pack("<I", 8)) for i in range(ENTRIES)]


# --- more pixels than there is memory, by the header alone


@refused
def png_of_900_megapixels(path: Path) -> None:
    path.write_bytes(bomb(SIDE))


@refused
def png_of_exapixels(path: Path) -> None:
    path.write_bytes(bomb(2**31 - 1))


@refused
def png_of_no_pixels(path: Path) -> None:
    path.write_bytes(bomb(0))


@read
def png_that_unpacks_to_gigabytes(path: Path) -> None:
    """What its data hold beyond the picture must not be kept."""
    header = struct.pack(">IIBBBBB", *RED.size, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\xff\0\0" * RED.width for _ in range(RED.height))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"\x78\x9c" + packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH) + packed_zeros(4 << 30)[2:]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*x) for x in ((b"IHDR", header), (b"IDAT", data))))


@refused
def jpeg_of_900_megapixels(path: Path) -> None:
    path.write_bytes(jpeg_bomb())


@refused
def bmp_of_900_megapixels(path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, *[0] * 6)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header)


@refused
def bmp_of_runs(path: Path) -> None:
    """Run-length coding: two bytes stand for 255 pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, *[0] * 3, 256, 0)
    path.write_bytes(
        b"BM" + struct.pack("<IHHI", 2000, 0, 0, 1078) + header + bytes(1024) + b"\xff\x01" * 500
    )


@refused
def gif_of_gigapixels(path: Path) -> None:
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + saved("GIF")[13:])


@refused
def gif_whose_frame_is_larger_than_its_screen(path: Path) -> None:
    start = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\x00;"
    path.write_bytes(start + frame)


@refused
def webp_of_its_largest_size(path: Path) -> None:
    """A lossless header of 16,384 x 16,384 pixels, and nothing behind it."""
    data = b"\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + bytes(20)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + b"\0"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@refused
def tiff_of_gigapixels(path: Path) -> None:
    path.write_bytes(tiff_of(tiff_fields(60_000, 60_000), bytes(64)))


@refused
def tiff_of_huge_tiles(path: Path) -> None:
    """A picture of 64 pixels in one packed tile of 2^30 x 2^30."""
    fields = [x for x in tiff_fields(8, 8, compression=8) if x[0] not in (273, 278, 279)]
    fields += [number(322, 1 << 30), number(323, 1 << 30), number(324, 8), number(325, 64)]
    path.write_bytes(tiff_of(fields, bytes(64)))


@refused
def tiff_of_thousands_of_channels(path: Path) -> None:
    fields = [x for x in tiff_fields(8000, 8000) if x[0] != 277]
    path.write_bytes(tiff_of([*fields, number(277, 65_535)], bytes(64)))


@refused
def ppm_of_gigapixels(path: Path) -> None:
    path.write_bytes(b"P6\n60000 60000\n255\n" + bytes(64))


@refused
def ppm_of_endless_digits(path: Path) -> None:
    path.write_bytes(b"P6\n" + b"9" * 5_000_000 + b" 1\n255\n")


@refused
def ppm_of_an_endless_comment(path: Path) -> None:
    path.write_bytes(b"P6\n#" + b"x" * 5_000_000)


@refused
def ppm_of_an_endless_blank(path: Path) -> None:
    path.write_bytes(b"P6\n" + b" " * 5_000_000)


@read
def ppm_of_a_long_comment(path: Path) -> None:
    content = saved("PPM")
    path.write_bytes(content[:3] + b"#" + b"x" * 50_000 + b"\n" + content[3:])


@refused
def avif_of_gigapixels(path: Path) -> None:
    """A sound AVIF whose declared size is another."""
    content = saved("AVIF")
    at = content.index(b"ispe") + 8
    path.write_bytes(content[:at] + struct.pack(">II", 65_535, 65_535) + content[at + 8 :])


# --- time


@refused
def jpeg_of_thousands_of_scans(path: Path) -> None:
    """Each scan of some bytes goes over all of 100 megapixels once more."""
    side = 10_000
    tables = with_segment(b"", 0xDB, b"\0" + b"\1" * 64) + with_segment(
        b"", 0xC4, b"\x10" + bytes([1]) + bytes(15) + b"\xe0"
    )
    frame = with_segment(b"", 0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    blocks = (side // 8 + 1) ** 2
    runs = blocks // 16_384 + 1
    # The code 0 stands for 0xE0: a run of 2^14 blocks and more without coefficients.
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    scan = with_segment(b"", 0xDA, b"\1\1\x10" + bytes([1, 63, 0])) + data
    path.write_bytes(b"\xff\xd8" + tables + frame + scan * 20_000 + b"\xff\xd9")


@refused
def tiff_whose_directories_form_a_loop(path: Path) -> None:
    path.write_bytes(tiff_of(tiff_fields(8, 8, compression=99), following=8))


@read
def tiff_that_follows_itself(path: Path) -> None:
    content = bytearray(saved("TIFF"))
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    path.write_bytes(content)


@read
def tiff_of_overlapping_fields(path: Path) -> None:
    content = saved("TIFF")
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    own = content[start + 2 : start + 2 + 12 * count]
    size = 1 << 20
    more = b"".join(struct.pack("<HHI", tag, kind, n) + v for tag, kind, n, v in overlapping_fields(size))
    directory = struct.pack("<H", count + ENTRIES) + own + more + bytes(4)
    padded = content + bytes(size)
    path.write_bytes(padded[:4] + struct.pack("<I", len(padded)) + padded[8:] + directory)


@read
def jpeg_of_overlapping_exif(path: Path) -> None:
    """One block of EXIF in hundreds of segments, whose fields are all of it."""
    exif = tiff_of(overlapping_fields(8 << 20), bytes(8 << 20))
    blocks = [b"Exif\0\0" + exif[start : start + 65_000] for start in range(0, len(exif), 65_000)]
    path.write_bytes(with_segments(jpeg_of(RED), 0xE1, blocks))


@read
def jpeg_whose_exif_forms_a_loop(path: Path) -> None:
    exif = tiff_of([number(0x8769, 8), number(0x8825, 8), number(0x014A, 8)], following=8)
    path.write_bytes(with_segment(jpeg_of(RED), 0xE1, b"Exif\0\0" + exif))


@read
def jpeg_of_a_huge_profile(path: Path) -> None:
    blocks = [b"ICC_PROFILE\0" + bytes([index + 1, 255]) + bytes(65_000) for index in range(255)]
    path.write_bytes(with_segments(jpeg_of(RED), 0xE2, blocks))


@read
def jpeg_of_a_hundred_thousand_segments(path: Path) -> None:
    content = jpeg_of(RED)
    path.write_bytes(content[:2] + b"\xff\xfe\0\2" * 100_000 + content[2:])


@read
def gif_of_a_long_comment(path: Path) -> None:
    content = saved("GIF")
    palette = 13 + 3 * (2 << (content[10] & 7))
    comment = b"\x21\xfe" + (b"\xff" + b"x" * 255) * 40_000 + b"\0"
    path.write_bytes(content[:palette] + comment + content[palette:])


@read
def gif_of_a_million_frames(path: Path) -> None:
    content = saved("GIF")
    palette = 13 + 3 * (2 << (content[10] & 7))
    path.write_bytes(content[:-1] + content[palette:-1] * (2_000_000 // len(content[palette:-1])) + b";")


@read
def png_that_promises_a_billion_frames(path: Path) -> None:
    content = saved("PNG")
    path.write_bytes(content[:33] + chunk(b"acTL", struct.pack(">II", 2**30, 0)) + content[33:])


@refused
def png_of_a_million_empty_chunks(path: Path) -> None:
    content = saved("PNG")
    path.write_bytes(content[:33] + chunk(b"prVt", b"") * 200_000 + content[33:])


@read
def png_of_packed_text(path: Path) -> None:
    """Megabytes that unpack to gigabytes."""
    content, text = saved("PNG"), b"k\0\0" + packed_zeros(1 << 28)
    path.write_bytes(content[:33] + chunk(b"zTXt", text) * 40 + content[33:])


@refused
def png_of_a_packed_profile(path: Path) -> None:
    content = saved("PNG")
    path.write_bytes(content[:33] + chunk(b"iCCP", b"p\0\0" + packed_zeros(4 << 30)) + content[33:])


@read
def png_of_a_profile_that_lies_about_its_size(path: Path) -> None:
    broken = struct.pack(">I", 2**32 - 1) + profile(b"RGB ", 2.2)[4:200]
    path.write_bytes(saved("PNG", icc_profile=broken))


@refused
def png_whose_chunk_has_gigabytes(path: Path) -> None:
    content = saved("PNG")
    path.write_bytes(content[:33] + struct.pack(">I", 2**31 - 1) + b"zTXt" + content[33:])


# --- programs, pipes, links


@refused
def postscript_in_a_jpeg(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n{} loop\n")


@refused
def pdf_in_a_jpeg(path: Path) -> None:
    path.write_bytes(b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n")


@refused
def fits_in_a_jpeg(path: Path) -> None:
    path.write_bytes(b"SIMPLE  =                    T".ljust(2880))


@refused
def pipe_without_a_writer(path: Path) -> None:
    os.mkfifo(path)


@refused
def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@refused
def link_to_an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@refused
def link_to_a_file_of_the_kernel(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


@refused
def folder_in_place_of_a_picture(path: Path) -> None:
    path.mkdir()


def _cut(kind: str) -> Generator:
    def generate(path: Path) -> None:
        content = saved(kind)
        path.write_bytes(content[: len(content) * 2 // 3])

    generate.__name__ = f"{kind.lower()}_that_is_cut"
    return generate


for _kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):
    refused(_cut(_kind))
