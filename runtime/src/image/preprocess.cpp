#include "image/preprocess.hpp"

#include <algorithm>

namespace glesam::core {

namespace {

constexpr int authors_size_px = 512;  // the authors' evaluation squashes every picture to 512 x 512 first

std::array<float, 256> normalised_levels(double mean, double std) {
    std::array<float, 256> values{};
    for (int level = 0; level < 256; ++level) {
        values[static_cast<std::size_t>(level)] =
            (static_cast<float>(level) - static_cast<float>(mean)) / static_cast<float>(std);
    }
    return values;
}

std::vector<Resampler> resampling_steps(const glesam_geometry& geometry, Resize resize) {
    const int height = geometry.original_height;
    const int width = geometry.original_width;
    const int resized_height = geometry.resized_height;
    const int resized_width = geometry.resized_width;
    if (resize == Resize::squash) return {};
    if (resize == Resize::longest_side) return {{height, width, resized_height, resized_width, Filter::bilinear}};
    return {{height, width, authors_size_px, authors_size_px, Filter::bicubic},
            {authors_size_px, authors_size_px, resized_height, resized_width, Filter::bilinear}};
}

}  // namespace

Preprocessor::Preprocessor(const Manifest& manifest, int height, int width, Resize resize)
    : geometry_(geometry_of(height, width, static_cast<int>(manifest.image_size), resize)),
      steps_(resampling_steps(geometry_, resize)) {
    for (std::size_t i = 0; i < 3; ++i) {
        mean_[i] = static_cast<float>(manifest.pixel_mean[i]);
        std_[i] = static_cast<float>(manifest.pixel_std[i]);
        normalised_[i] = normalised_levels(manifest.pixel_mean[i], manifest.pixel_std[i]);
    }
    if (resize == Resize::squash) {
        unrounded_.emplace(height, width, geometry_.resized_height, geometry_.resized_width);
    }
}

void Preprocessor::operator()(const Pixels& picture, float* input) {
    if (unrounded_) {
        squash(picture, input);
        return;
    }
    Pixels resized = picture;
    for (Resampler& step : steps_) resized = step(resized);
    const std::ptrdiff_t plane = std::ptrdiff_t{geometry_.image_size} * geometry_.image_size;
    std::fill(input, input + 3 * plane, 0.0F);
    for (int channel = 0; channel < 3; ++channel) write_channel(resized, channel, input + channel * plane);
}

/// Fills the whole input: no padding is left.
void Preprocessor::squash(const Pixels& picture, float* input) {
    const std::ptrdiff_t side = geometry_.image_size;
    (*unrounded_)(picture, [&](std::ptrdiff_t y, const float* row) {
        for (std::ptrdiff_t channel = 0; channel < 3; ++channel) {
            const float mean = mean_[static_cast<std::size_t>(channel)];
            const float std = std_[static_cast<std::size_t>(channel)];
            float* output = input + (channel * side + y) * side;
            for (std::ptrdiff_t x = 0; x < side; ++x) output[x] = (row[3 * x + channel] - mean) / std;
        }
    });
}

void Preprocessor::write_channel(const Pixels& resized, int channel, float* plane) const {
    const auto& levels = normalised_[static_cast<std::size_t>(channel)];
    for (int y = 0; y < resized.height; ++y) {
        const std::uint8_t* row = resized.data + y * resized.stride + channel;
        float* output = plane + std::ptrdiff_t{y} * geometry_.image_size;
        for (int x = 0; x < resized.width; ++x) output[x] = levels[row[std::ptrdiff_t{x} * 3]];
    }
}

}  // namespace glesam::core
