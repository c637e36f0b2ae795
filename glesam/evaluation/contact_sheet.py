"""Rows of captioned pictures below titles, drawn as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE_PX = 320
"""Width and height of the square that a picture is fitted into."""
TITLE_PX, TITLE_FONT_PX, CAPTION_PX, FONT_PX, MARGIN_PX = 34, 18, 22, 14, 8


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture with its caption."""

    caption: str
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Section:
    """Rows of tiles below a title."""

    title: str
    rows: Sequence[Sequence[Tile]]


def contact_sheet(sections: Sequence[Section]) -> Image.Image:
    """Draws every section's rows below its title, each tile fitted into `TILE_PX` and captioned."""
    columns = max(len(tiles) for section in sections for tiles in section.rows)
    width = columns * (TILE_PX + MARGIN_PX) + MARGIN_PX
    strips = []
    for section in sections:
        strips.append(titled_strip(section.title, width))
        strips += [row_strip(tiles, width) for tiles in section.rows]
    return stacked(strips)


def titled_strip(title: str, width: int) -> Image.Image:
    """A white strip with `title` on it."""
    strip = Image.new("RGB", (width, TITLE_PX), "white")
    write(strip, title, (MARGIN_PX, MARGIN_PX), width - 2 * MARGIN_PX, TITLE_FONT_PX)
    return strip


def row_strip(tiles: Sequence[Tile], width: int) -> Image.Image:
    """A row of captions above pictures, as high as the highest picture."""
    pictures = [ImageOps.contain(tile.picture, (TILE_PX, TILE_PX)) for tile in tiles]
    height = CAPTION_PX + max(picture.height for picture in pictures) + MARGIN_PX
    strip = Image.new("RGB", (width, height), "white")
    for column, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        x = MARGIN_PX + column * (TILE_PX + MARGIN_PX)
        write(strip, tile.caption, (x, 3), TILE_PX, FONT_PX)
        strip.paste(picture, (x, CAPTION_PX))
    return strip


def stacked(strips: Sequence[Image.Image]) -> Image.Image:
    """Stacks pictures of one width, one below the other."""
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)))
    y = 0
    for strip in strips:
        sheet.paste(strip, (0, y))
        y += strip.height
    return sheet


def write(picture: Image.Image, text: str, corner: tuple[int, int], width_px: int, font_px: int) -> None:
    """Writes `text` in black, its top left corner at `corner`."""
    font = ImageFont.load_default(font_px)
    ImageDraw.Draw(picture).text(corner, fitted(text, width_px, font), "black", font)


def fitted(text: str, width_px: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shortens `text` in its middle where it is too long, since a caption ends in its figure."""
    shown, cut = text, 0
    while font.getlength(shown) > width_px and cut < len(text):
        cut += 1
        keep = (len(text) - cut) // 2
        shown = f"{text[:keep]}…{text[keep + cut :]}"
    return shown
