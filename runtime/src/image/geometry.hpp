// Where the original picture lies in the model's S x S input.
#pragma once

#include <string>

#include "glesam/glesam.h"

namespace glesam::core {

/// "longest-side", SAM's own, or "squash-512", the one that reproduces the authors' published table.
enum class Resize { longest_side, squash_512 };

/// Throws ImageError for a name that is neither.
Resize resize_from_name(const std::string& name);

/// longest_side: the longest side becomes S, the aspect ratio is kept, the rest is padding.
/// squash_512: the picture fills the S x S input and loses its aspect ratio.
glesam_geometry geometry_of(int height, int width, int image_size, Resize resize);

/// (x, y) in pixels of the original picture -> in pixels of the input, rounded to float once.
struct InputPoint {
    float x;
    float y;
};
InputPoint to_input(const glesam_geometry& geometry, double x, double y);

/// Throws an ArgumentError for a geometry that geometry_of() cannot have made for S = `image_size`.
void check_geometry(const glesam_geometry& geometry, int image_size);

}  // namespace glesam::core
