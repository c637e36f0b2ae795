// A caller's picture as the resizing reads it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "glesam/glesam.h"

namespace glesam::core {

/// Rows of `stride` bytes, pixels of `step` bytes, in which R, G and B lie at `rgb`.
struct Pixels {
    const std::uint8_t* data;
    int width;
    int height;
    std::ptrdiff_t stride;
    int step;
    std::array<int, 3> rgb;
};

/// Where they lie the pixels stay: `data` is a device's address where the view's is. Throws ImageError for a view that
/// shows no picture.
Pixels pixels_of(const glesam_image_view& view);

/// Whether `memory`, a glesam_memory of a caller's, is a device's. Throws ImageError for a value that is none of them.
bool is_on_device(const char* name, std::int32_t memory);

}  // namespace glesam::core
