// Pillow's antialiased resize of 8-bit pictures, to the bit: rounded to 8 bits, or in float.
//
// Each output pixel is a weighted sum of the inputs under the filter's support, which widens when a picture shrinks.
// Rows first, then columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "image/pixels.hpp"

namespace glesam::core {

enum class Filter { bilinear, bicubic };

/// One axis of a resize: output i is the sum over t of weights[i * taps + t] * input[first[i] + t].
template <typename Weight>
struct AxisWeights {
    int taps = 0;
    std::vector<int> first;
    std::vector<int> count;  // taps in use
    std::vector<Weight> weights;
};

/// The weights of each output sum to 1.
AxisWeights<double> axis_weights(int input_size, int output_size, Filter filter);

/// Resizes pictures from one size to another and reuses its memory. Each pass rounds to 8 bits; weights are integers in
/// units of 2^-22.
class Resampler {
   public:
    Resampler(int height, int width, int output_height, int output_width, Filter filter);

    /// Packed RGB, which stays valid until the next call.
    Pixels operator()(const Pixels& picture);

   private:
    void resize_rows(const Pixels& picture);
    void resize_columns();

    int height_;
    int output_height_;
    int output_width_;
    AxisWeights<std::int32_t> horizontal_;
    AxisWeights<std::int32_t> vertical_;
    std::vector<std::uint8_t> narrowed_;  // [height, output_width, 3]
    std::vector<std::uint8_t> resized_;   // [output_height, output_width, 3]
    std::vector<std::int32_t> sums_;      // [output_width, 3]
};

/// The same in float, bilinear: sums are doubles, in the order of the pixels, and each pass rounds them to float.
/// Pillow does so for pictures of mode "F", and SAM 2 resizes this way.
class FloatResampler {
   public:
    FloatResampler(int height, int width, int output_height, int output_width);

    /// Calls `write` with every output row [output_width, 3], RGB in [0, 255], from the top.
    template <typename Write>
    void operator()(const Pixels& picture, Write write) {
        int ready = 0;
        for (std::size_t y = 0; y < vertical_.first.size(); ++y) {
            for (; ready < vertical_.first[y] + vertical_.count[y]; ++ready) resize_row(picture, ready);
            write(static_cast<std::ptrdiff_t>(y), combined(y));
        }
    }

   private:
    float* row(int y) { return &rows_[static_cast<std::size_t>(y % vertical_.taps) * sums_.size()]; }
    void resize_row(const Pixels& picture, int y);
    const float* combined(std::size_t y);

    AxisWeights<double> horizontal_;
    AxisWeights<double> vertical_;
    std::vector<float> rows_;   // [vertical taps, output_width, 3]: the latest rows, resized along x
    std::vector<double> sums_;  // [output_width, 3]
    std::vector<float> output_;
};

}  // namespace glesam::core
