#include "image/resample.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace glesam::core {

namespace {

// A pixel takes 8 of an int's 32 bits and the overshoot of a bicubic sum 2: 22 are left.
constexpr int precision_bits = 32 - 8 - 2;
constexpr std::int32_t half = 1 << (precision_bits - 1);

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

/// Keys' cubic with a = -0.5.
double cubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

std::int32_t fixed_point(double weight) {
    return static_cast<std::int32_t>(weight * (1 << precision_bits) + (weight < 0 ? -0.5 : 0.5));
}

std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> precision_bits, 0, 255)); }

AxisWeights<std::int32_t> fixed_point_weights(int input_size, int output_size, Filter filter) {
    const AxisWeights<double> axis = axis_weights(input_size, output_size, filter);
    AxisWeights<std::int32_t> result{axis.taps, axis.first, axis.count, {}};
    for (const double weight : axis.weights) result.weights.push_back(fixed_point(weight));
    return result;
}

}  // namespace

AxisWeights<double> axis_weights(int input_size, int output_size, Filter filter) {
    const auto shape = filter == Filter::bilinear ? triangle : cubic;
    const double scale = static_cast<double>(input_size) / output_size;
    const double stretch = std::max(scale, 1.0);  // shrinking widens the filter: that is the antialiasing
    const double support = (filter == Filter::bilinear ? 1.0 : 2.0) * stretch;

    AxisWeights<double> axis;
    axis.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
    axis.weights.assign(static_cast<std::size_t>(output_size) * static_cast<std::size_t>(axis.taps), 0);
    for (int i = 0; i < output_size; ++i) {
        const double centre = (i + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(centre - support + 0.5));
        // The minimum is taken in double: the sum may exceed the largest int.
        const int end = static_cast<int>(std::min<double>(input_size, centre + support + 0.5));
        const int count = end - first;
        double total = 0;
        double* weights = &axis.weights[static_cast<std::size_t>(i) * static_cast<std::size_t>(axis.taps)];
        for (int t = 0; t < count; ++t) {
            // Multiplied, not divided, as in Pillow: the last bit may decide a rounding.
            total += weights[t] = shape((t + first - centre + 0.5) * (1.0 / stretch));
        }
        for (int t = 0; t < count; ++t) weights[t] /= total;
        axis.first.push_back(first);
        axis.count.push_back(count);
    }
    return axis;
}

Resampler::Resampler(int height, int width, int output_height, int output_width, Filter filter)
    : height_(height),
      output_height_(output_height),
      output_width_(output_width),
      horizontal_(fixed_point_weights(width, output_width, filter)),
      vertical_(fixed_point_weights(height, output_height, filter)),
      narrowed_(static_cast<std::size_t>(height) * static_cast<std::size_t>(output_width) * 3),
      resized_(static_cast<std::size_t>(output_height) * static_cast<std::size_t>(output_width) * 3),
      sums_(static_cast<std::size_t>(output_width) * 3) {}

Pixels Resampler::operator()(const Pixels& picture) {
    // An axis that keeps its size has weights of exactly 1, so a pass over it is a copy.
    resize_rows(picture);
    resize_columns();
    return {resized_.data(), output_width_, output_height_, std::ptrdiff_t{output_width_} * 3, 3, {0, 1, 2}};
}

void Resampler::resize_rows(const Pixels& picture) {
    const auto [red, green, blue] = picture.rgb;
    std::uint8_t* output = narrowed_.data();
    for (int y = 0; y < height_; ++y) {
        const std::uint8_t* row = picture.data + y * picture.stride;
        const std::int32_t* weights = horizontal_.weights.data();
        for (std::size_t x = 0; x < horizontal_.first.size(); ++x, weights += horizontal_.taps, output += 3) {
            const std::uint8_t* pixel = row + std::ptrdiff_t{horizontal_.first[x]} * picture.step;
            std::int32_t sums[3] = {half, half, half};
            for (int t = 0; t < horizontal_.count[x]; ++t, pixel += picture.step) {
                sums[0] += weights[t] * pixel[red];
                sums[1] += weights[t] * pixel[green];
                sums[2] += weights[t] * pixel[blue];
            }
            for (int channel = 0; channel < 3; ++channel) output[channel] = to_byte(sums[channel]);
        }
    }
}

void Resampler::resize_columns() {
    const std::size_t row_bytes = sums_.size();
    for (std::size_t y = 0; y < vertical_.first.size(); ++y) {
        const std::int32_t* weights = &vertical_.weights[y * static_cast<std::size_t>(vertical_.taps)];
        const std::uint8_t* row = narrowed_.data() + static_cast<std::size_t>(vertical_.first[y]) * row_bytes;
        std::fill(sums_.begin(), sums_.end(), half);
        for (int t = 0; t < vertical_.count[y]; ++t, row += row_bytes) {
            for (std::size_t i = 0; i < row_bytes; ++i) sums_[i] += weights[t] * row[i];
        }
        std::transform(sums_.begin(), sums_.end(), resized_.begin() + static_cast<std::ptrdiff_t>(y * row_bytes),
                       to_byte);
    }
}

FloatResampler::FloatResampler(int height, int width, int output_height, int output_width)
    : horizontal_(axis_weights(width, output_width, Filter::bilinear)),
      vertical_(axis_weights(height, output_height, Filter::bilinear)),
      sums_(static_cast<std::size_t>(output_width) * 3),
      output_(sums_.size()) {
    rows_.resize(static_cast<std::size_t>(vertical_.taps) * sums_.size());
}

void FloatResampler::resize_row(const Pixels& picture, int y) {
    const auto [red, green, blue] = picture.rgb;
    const std::uint8_t* input = picture.data + y * picture.stride;
    const double* weights = horizontal_.weights.data();
    float* output = row(y);
    for (std::size_t x = 0; x < horizontal_.first.size(); ++x, weights += horizontal_.taps, output += 3) {
        const std::uint8_t* pixel = input + std::ptrdiff_t{horizontal_.first[x]} * picture.step;
        double sums[3] = {0, 0, 0};
        for (int t = 0; t < horizontal_.count[x]; ++t, pixel += picture.step) {
            sums[0] += weights[t] * pixel[red];
            sums[1] += weights[t] * pixel[green];
            sums[2] += weights[t] * pixel[blue];
        }
        for (int channel = 0; channel < 3; ++channel) output[channel] = static_cast<float>(sums[channel]);
    }
}

/// Output row `y`: the weighted sum of the rows that are ready.
const float* FloatResampler::combined(std::size_t y) {
    const double* weights = &vertical_.weights[y * static_cast<std::size_t>(vertical_.taps)];
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (int t = 0; t < vertical_.count[y]; ++t) {
        const float* input = row(vertical_.first[y] + t);
        for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += weights[t] * static_cast<double>(input[i]);
    }
    std::transform(sums_.begin(), sums_.end(), output_.begin(), [](double sum) { return static_cast<float>(sum); });
    return output_.data();
}

}  // namespace glesam::core
