// Arrays as input tensors of the bundle's graphs. S is the model's image_size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engines/tensor.hpp"
#include "glesam/glesam.h"

namespace glesam::core {

inline std::size_t squared(std::int64_t side) {
    return static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
}

/// The encoder's input [1, 3, S, S], on the host.
inline Tensor input_tensor(const float* input, std::int64_t image_size) {
    return {input, {1, 3, image_size, image_size}};
}

/// Embeddings [1, 256, S/16, S/16], on the host.
inline Tensor embeddings_tensor(const float* image_embeddings, std::int64_t image_size) {
    return {image_embeddings, {1, 256, image_size / 16, image_size / 16}};
}

/// The embeddings, in place, and the prompts; in the order of the decoder's spec.
inline std::array<Tensor, 5> decoder_inputs(const Tensor& image_embeddings, const glesam_prompt_feeds& feeds) {
    const std::int64_t prompts = feeds.num_prompts;
    const std::int64_t points = feeds.num_points;
    const std::int64_t low_res = 4 * image_embeddings.shape.sizes[3];
    return {{image_embeddings,
             {feeds.point_coords, {prompts, points, 2}},
             {feeds.point_labels, {prompts, points}},
             {feeds.mask_input, {prompts, 1, low_res, low_res}},
             {feeds.has_mask_input, {prompts}}}};
}

}  // namespace glesam::core
