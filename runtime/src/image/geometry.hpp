// The place of the original picture in the model's S x S input.
#pragma once

#include <cstdint>
#include <string>

#include "glesam/glesam.h"

namespace glesam::core {

/// How a picture is resized: "longest-side", as in SAM, "squash", as in SAM 2, or "squash-512", as in the authors'
/// published table.
enum class Resize { longest_side, squash, squash_512 };

/// The way of resizing with this name. Throws ImageError for an unknown name.
Resize resize_from_name(const std::string& name);

/// longest_side: the longest side becomes S, the aspect ratio is kept, the rest is padding.
/// squash, squash_512: the picture fills the S x S input and loses its aspect ratio.
glesam_geometry geometry_of(int height, int width, int image_size, Resize resize);

/// A point in pixels of the input: (x, y) in pixels of the original picture, rounded to float once.
struct InputPoint {
    float x;
    float y;
};
InputPoint to_input(const glesam_geometry& geometry, double x, double y);

/// Largest side and largest number of pixels of a picture: sizes in memory then fit into 64 bits with room for every
/// factor, and indices of pixels into 32.
constexpr int max_side_px = 1 << 20;
constexpr std::int64_t max_pixels = 0x7FFFFFFF;

/// Throws an ImageError for fewer than 1 x 1 pixels, and for more than the limits.
void check_picture_size(int height, int width);

/// Throws an ArgumentError for a geometry that geometry_of() cannot have made for S = `image_size`.
void check_geometry(const glesam_geometry& geometry, int image_size);

}  // namespace glesam::core
