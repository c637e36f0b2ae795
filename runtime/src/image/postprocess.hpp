// Turns low-resolution logits into masks of the original picture.
//
// SAM resizes twice: S/4 to S, then, without the padding, to the original size. Both steps are bilinear, so linear
// along each axis; along each axis an original pixel is therefore a sum of at most three neighbouring low-resolution
// samples.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "glesam/glesam.h"

namespace glesam::core {

/// Original pixel i = sum over t of weights[i][t] * sample[first[i] + t].
struct MaskAxis {
    std::vector<int> first;
    std::vector<std::array<float, 3>> weights;
};

/// Resizes low-resolution masks to one picture: made once in set_image, used per prompt.
class MaskResizer {
   public:
    explicit MaskResizer(const glesam_geometry& geometry);

    /// float32 logits [S/4, S/4] -> `mask` [height, width], 1 where logits > threshold.
    void operator()(const float* low_res_mask, float threshold, std::uint8_t* mask);

   private:
    void stretch(const float* low_res_mask);

    int low_res_size_;
    MaskAxis rows_;
    MaskAxis columns_;
    std::vector<float> stretched_;  // [S/4, width]
};

}  // namespace glesam::core
