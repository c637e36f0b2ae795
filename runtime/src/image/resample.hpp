// Pillow's antialiased resize of 8-bit pictures, to the bit.
//
// Each output pixel is a weighted sum of the inputs under the filter's support, which widens when a picture shrinks.
// Rows first, then columns; each pass rounds to 8 bits. Weights are integers in units of 2^-22.
#pragma once

#include <cstdint>
#include <vector>

#include "image/pixels.hpp"

namespace glesam::core {

enum class Filter { bilinear, bicubic };

/// One axis of a resize: output i is the sum over t of weights[i * taps + t] * input[first[i] + t].
struct AxisWeights {
    int taps = 0;
    std::vector<int> first;
    std::vector<int> count;  // taps in use
    std::vector<std::int32_t> weights;
};

/// The same before rounding to integers: weights of an output that sum up to 1.
struct AxisCoefficients {
    int taps = 0;
    std::vector<int> first;
    std::vector<int> count;
    std::vector<double> weights;
};

AxisCoefficients axis_coefficients(int input_size, int output_size, Filter filter);

AxisWeights axis_weights(int input_size, int output_size, Filter filter);

/// Resizes pictures from one size to another and reuses its memory.
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
    AxisWeights horizontal_;
    AxisWeights vertical_;
    std::vector<std::uint8_t> narrowed_;  // [height, output_width, 3]
    std::vector<std::uint8_t> resized_;   // [output_height, output_width, 3]
    std::vector<std::int32_t> sums_;      // [output_width, 3]
};

}  // namespace glesam::core
