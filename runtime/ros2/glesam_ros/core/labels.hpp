// Joins many masks into one picture of labels.
#pragma once

#include <cstdint>
#include <glesam/glesam.hpp>
#include <optional>
#include <vector>

namespace glesam_ros {

/// Bytes of a label: mono8 holds 255 objects, 16UC1 holds 65535.
enum class LabelType : std::uint8_t { mono8 = 1, mono16 = 2 };

/// The largest label.
int max_label(LabelType type);

/// A picture of labels; 0 is no object. 16-bit labels have the machine's byte order.
struct LabelImage {
    int width = 0;
    int height = 0;
    LabelType type = LabelType::mono8;
    std::vector<std::uint8_t> data;  ///< rows without a gap
};

/// A mask [height, width], 1 inside, and its label.
struct LabelledMask {
    const std::uint8_t* mask = nullptr;
    int label = 0;
};

/// Paints all masks. Where they overlap the smaller one is on top, so that the cup stays on the table; of equal ones
/// that with the lowest label. Labels must lie in [1, max_label(type)].
LabelImage compose(const std::vector<LabelledMask>& masks, int width, int height, LabelType type);

/// The tight box around a mask's pixels, outer edges; nothing where it has none.
std::optional<glesam::Box> extent(const std::uint8_t* mask, int width, int height);

}  // namespace glesam_ros
