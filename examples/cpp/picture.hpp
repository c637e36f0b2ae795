// Reads pictures with libpng, libjpeg and Little CMS, and writes masks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// A picture of 8-bit RGB, its rows without gaps.
struct Picture {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> pixels;
};

/// Reads a PNG or JPEG file as a viewer shows it: upright by its EXIF, in 8-bit sRGB by its gAMA or ICC profile,
/// transparent pixels blended with white. Throws std::runtime_error.
Picture read_picture(const std::string& path);

/// Writes a mask of 0 and 1 as a black and white PNG, whole or not at all. Throws std::runtime_error.
void write_mask(const std::string& path, const std::uint8_t* mask, int width, int height);
