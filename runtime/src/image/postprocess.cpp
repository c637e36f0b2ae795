#include "image/postprocess.hpp"

#include <algorithm>

namespace glesam::core {

namespace {

/// A sample as a sum of low-resolution samples, in double until both steps are composed.
struct Sum {
    int first;
    std::array<double, 3> weights;
};

double weight_at(const Sum& sum, int index) {
    const int tap = index - sum.first;
    return tap < 0 || tap > 2 ? 0.0 : sum.weights[static_cast<std::size_t>(tap)];
}

Sum blended(const Sum& before, const Sum& after, double weight) {
    Sum result{before.first, {}};
    for (int tap = 0; tap < 3; ++tap) {
        const int index = before.first + tap;
        result.weights[static_cast<std::size_t>(tap)] =
            weight_at(before, index) * (1 - weight) + weight_at(after, index) * weight;
    }
    return result;
}

/// torch's F.interpolate(mode="bilinear", align_corners=False) along one axis.
std::vector<Sum> bilinear(const std::vector<Sum>& samples, int size) {
    const int last = static_cast<int>(samples.size()) - 1;
    const double scale = static_cast<double>(samples.size()) / size;
    std::vector<Sum> stretched;
    stretched.reserve(static_cast<std::size_t>(size));
    for (int i = 0; i < size; ++i) {
        const double centre = std::max((i + 0.5) * scale - 0.5, 0.0);
        const int before = static_cast<int>(centre);
        const int after = std::min(before + 1, last);
        stretched.push_back(blended(samples[static_cast<std::size_t>(before)], samples[static_cast<std::size_t>(after)],
                                    centre - before));
    }
    return stretched;
}

/// The low-resolution samples as sums of themselves; the last two begin earlier, so that each has three.
std::vector<Sum> identity(int size) {
    std::vector<Sum> samples;
    for (int i = 0; i < size; ++i) {
        Sum sample{std::min(i, size - 3), {}};
        sample.weights[static_cast<std::size_t>(i - sample.first)] = 1;
        samples.push_back(sample);
    }
    return samples;
}

MaskAxis mask_axis(int size, int resized_size, const glesam_geometry& geometry) {
    std::vector<Sum> samples = identity(geometry.image_size / 4);
    if (geometry.direct_masks == 0) {
        samples = bilinear(samples, geometry.image_size);
        samples.resize(static_cast<std::size_t>(resized_size));  // without the padding
    }
    MaskAxis axis;
    for (const Sum& sum : bilinear(samples, size)) {
        axis.first.push_back(sum.first);
        axis.weights.push_back({static_cast<float>(sum.weights[0]), static_cast<float>(sum.weights[1]),
                                static_cast<float>(sum.weights[2])});
    }
    return axis;
}

}  // namespace

MaskResizer::MaskResizer(const glesam_geometry& geometry)
    : low_res_size_(geometry.image_size / 4),
      rows_(mask_axis(geometry.original_height, geometry.resized_height, geometry)),
      columns_(mask_axis(geometry.original_width, geometry.resized_width, geometry)),
      stretched_(static_cast<std::size_t>(low_res_size_) * columns_.first.size()) {}

void MaskResizer::stretch(const float* low_res_mask) {
    float* output = stretched_.data();
    for (int y = 0; y < low_res_size_; ++y, low_res_mask += low_res_size_) {
        for (std::size_t x = 0; x < columns_.first.size(); ++x) {
            const float* samples = low_res_mask + columns_.first[x];
            const auto& weights = columns_.weights[x];
            *output++ = samples[0] * weights[0] + samples[1] * weights[1] + samples[2] * weights[2];
        }
    }
}

void MaskResizer::operator()(const float* low_res_mask, float threshold, std::uint8_t* mask) {
    stretch(low_res_mask);
    const std::size_t width = columns_.first.size();
    for (std::size_t y = 0; y < rows_.first.size(); ++y, mask += width) {
        const float* top = stretched_.data() + static_cast<std::size_t>(rows_.first[y]) * width;
        const float* middle = top + width;
        const float* bottom = middle + width;
        const auto [above, at, below] = rows_.weights[y];
        for (std::size_t x = 0; x < width; ++x) {
            mask[x] = top[x] * above + middle[x] * at + bottom[x] * below > threshold ? 1 : 0;
        }
    }
}

}  // namespace glesam::core
