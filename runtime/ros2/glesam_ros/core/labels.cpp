#include "labels.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <tuple>

namespace glesam_ros {

namespace {

struct Layer {
    LabelledMask mask;
    std::ptrdiff_t area;
};

/// The order in which to paint: masks on top come last.
std::vector<Layer> layers_of(const std::vector<LabelledMask>& masks, std::size_t pixels) {
    std::vector<Layer> layers;
    for (const LabelledMask& mask : masks) layers.push_back({mask, std::count(mask.mask, mask.mask + pixels, 1)});
    std::sort(layers.begin(), layers.end(), [](const Layer& a, const Layer& b) {
        return std::tie(a.area, a.mask.label) > std::tie(b.area, b.mask.label);
    });
    return layers;
}

template <typename Label>
void paint(const LabelledMask& layer, std::vector<std::uint8_t>& data) {
    const auto label = static_cast<Label>(layer.label);
    for (std::size_t i = 0; i < data.size() / sizeof(Label); ++i) {
        if (layer.mask[i] != 0) std::memcpy(&data[i * sizeof(Label)], &label, sizeof(Label));
    }
}

}  // namespace

int max_label(LabelType type) {
    return type == LabelType::mono8 ? std::numeric_limits<std::uint8_t>::max()
                                    : std::numeric_limits<std::uint16_t>::max();
}

LabelImage compose(const std::vector<LabelledMask>& masks, int width, int height, LabelType type) {
    const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    LabelImage image{width, height, type, std::vector<std::uint8_t>(pixels * static_cast<std::size_t>(type))};
    for (const Layer& layer : layers_of(masks, pixels)) {
        if (type == LabelType::mono8) {
            paint<std::uint8_t>(layer.mask, image.data);
        } else {
            paint<std::uint16_t>(layer.mask, image.data);
        }
    }
    return image;
}

std::optional<glesam::Box> extent(const std::uint8_t* mask, int width, int height) {
    int left = width;
    int right = -1;
    int top = -1;
    int bottom = -1;
    for (int y = 0; y < height; ++y) {
        const std::uint8_t* row = mask + std::ptrdiff_t{y} * width;
        const std::uint8_t* first = std::find(row, row + width, 1);
        if (first == row + width) continue;
        const auto last = std::find(std::make_reverse_iterator(row + width), std::make_reverse_iterator(row), 1).base();
        left = std::min(left, static_cast<int>(first - row));
        right = std::max(right, static_cast<int>(last - row));
        if (top < 0) top = y;
        bottom = y + 1;
    }
    if (top < 0) return std::nullopt;
    return glesam::Box{static_cast<double>(left), static_cast<double>(top), static_cast<double>(right),
                       static_cast<double>(bottom)};
}

}  // namespace glesam_ros
