#include "image/auxiliary.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "common/error.hpp"
#include "image/resample.hpp"

namespace glesam::core {

namespace {

std::string size_text(int height, int width) {
    return "[" + std::to_string(height) + ", " + std::to_string(width) + "]";
}

/// The view's values in [0, 1], [height, width].
std::vector<float> scaled(const glesam_auxiliary_view& view) {
    const std::int64_t pixel_bytes = view.bits / 8;
    const std::int64_t stride = view.stride != 0 ? view.stride : pixel_bytes * view.width;
    const float largest = view.bits == 8 ? 255.0F : 65535.0F;
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(view.height) * static_cast<std::size_t>(view.width));
    for (int y = 0; y < view.height; ++y) {
        const auto* pixel = static_cast<const std::uint8_t*>(view.data) + y * stride;
        for (int x = 0; x < view.width; ++x, pixel += pixel_bytes) {
            std::uint16_t value = *pixel;
            if (view.bits == 16) std::memcpy(&value, pixel, sizeof value);  // rows may begin at odd addresses
            values.push_back(static_cast<float>(value) / largest);
        }
    }
    return values;
}

/// Lines of floats resized along one axis: `line` is the distance between lines, `step` that between their elements.
struct Lines {
    int count;
    std::ptrdiff_t line;
    std::ptrdiff_t step;
};

void resize(const AxisWeights<double>& axis, const float* input, Lines from, float* output, Lines to) {
    for (int k = 0; k < from.count; ++k) {
        const float* source = input + k * from.line;
        float* target = output + k * to.line;
        const double* weights = axis.weights.data();
        for (std::size_t i = 0; i < axis.first.size(); ++i, weights += axis.taps, target += to.step) {
            const float* value = source + axis.first[i] * from.step;
            double sum = 0;  // in double, then rounded to float: as Pillow does in each pass
            for (int t = 0; t < axis.count[i]; ++t, value += from.step) sum += *value * weights[t];
            *target = static_cast<float>(sum);
        }
    }
}

}  // namespace

void check_auxiliary(const glesam_auxiliary_view& view, int height, int width) {
    const bool is_sound = view.data != nullptr && (view.bits == 8 || view.bits == 16) &&
                          (view.stride == 0 || view.stride >= std::int64_t{view.width} * (view.bits / 8));
    if (is_sound && view.height == height && view.width == width) return;
    throw image_error("auxiliary image: expected uint8 or uint16 of the picture's size " + size_text(height, width) +
                      ", found " + (view.data == nullptr ? "no data" : "uint" + std::to_string(view.bits)) + " " +
                      size_text(view.height, view.width) + "; align and scale it first");
}

void write_auxiliary(const glesam_auxiliary_view& view, const glesam_geometry& geometry, std::vector<float>& input) {
    const int height = geometry.original_height;
    const int side = geometry.image_size;
    const auto horizontal = axis_weights(geometry.original_width, geometry.resized_width, Filter::bilinear);
    const auto vertical = axis_weights(height, geometry.resized_height, Filter::bilinear);
    const std::vector<float> values = scaled(view);
    const auto narrow = static_cast<std::size_t>(geometry.resized_width);
    std::vector<float> narrowed(static_cast<std::size_t>(height) * narrow);
    resize(horizontal, values.data(), {height, geometry.original_width, 1}, narrowed.data(),
           {height, geometry.resized_width, 1});
    std::fill(input.begin(), input.end(), 0.0F);
    resize(vertical, narrowed.data(), {geometry.resized_width, 1, geometry.resized_width}, input.data(),
           {geometry.resized_width, 1, side});
}

}  // namespace glesam::core
