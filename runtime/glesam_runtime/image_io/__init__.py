"""The one reader of pictures and masks, for running, calibrating, degrading, training and evaluating.

files          opens a picture: formats, limits, orientation; every failure is an ImageError
colours        8-bit sRGB from depths, palettes, transparency, gAMA and ICC profiles
pictures       photographs as arrays, and PNG files
inputs         an image as a caller has it: a path, a PIL image, an array
orientation    pictures turned upright by their EXIF orientation
png_files      long texts left out, missing rows noticed, the limit on chunks
netpbm_headers the limit on the header of a PPM
auxiliary      the image of a second sensor, for a GLE that has that input
masks          black and white masks, and the numbers of label maps
file_kinds     pipes, Git LFS pointers and web pages in place of a file
jpeg_scans     the limit on scans of a JPEG
folders        the pictures below a folder, without the masks beside them
"""

from .files import MAX_PIXELS, check_exists
from .folders import SUFFIXES, Found, pictures_below, written_to
from .masks import read_mask, read_numbers
from .pictures import pixels_of, png_bytes, read_image

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Found",
    "check_exists",
    "pictures_below",
    "pixels_of",
    "png_bytes",
    "read_image",
    "read_mask",
    "read_numbers",
    "written_to",
]
