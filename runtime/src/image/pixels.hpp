// A caller's picture, as the resizer reads it.
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

/// The view's pixels, in place: `data` is a device address where the view's is. Throws ImageError for a view that shows
/// no picture.
Pixels pixels_of(const glesam_image_view& view);

/// Whether `memory`, a caller's glesam_memory, is on a device. Throws ImageError for any other value.
bool is_on_device(const char* name, std::int32_t memory);

}  // namespace glesam::core
