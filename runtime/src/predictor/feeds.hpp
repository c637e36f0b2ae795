// Arrays as input tensors of the bundle's graphs. S is the model's image_size.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "bundle/spec.hpp"
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

/// Most tensors that a decoder reads of a picture: SAM 2's embedding and two finer features.
constexpr std::size_t most_features = 3;

/// What is known of a picture: the encoder's outputs, or the decoder's inputs before the prompts.
struct Features {
    std::array<Tensor, most_features> tensors{};
    std::size_t count = 0;

    std::size_t size() const {
        std::size_t elements = 0;
        for (std::size_t i = 0; i < count; ++i) elements += tensors[i].shape.elements();
        return elements;
    }
};

/// The features among a graph's tensors, which are those of fixed sizes, one after the other at `data` on the host.
inline Features features_at(const float* data, const std::vector<TensorSpec>& specs) {
    Features features;
    for (const TensorSpec& spec : specs) {
        if (spec.is_dynamic()) continue;
        Tensor& tensor = features.tensors.at(features.count++);
        tensor.shape.rank = spec.shape.size();
        for (std::size_t i = 0; i < spec.shape.size(); ++i) {
            tensor.shape.sizes.at(i) = std::get<std::int64_t>(spec.shape[i]);
        }
        tensor.data = data;
        if (data != nullptr) data += tensor.shape.elements();
    }
    return features;
}

/// Copies tensors on the host to `output`, one after the other; returns the end.
inline float* copy_tensors(const Tensor* tensors, std::size_t count, float* output) {
    for (std::size_t i = 0; i < count; ++i) {
        output = std::copy_n(tensors[i].floats(), tensors[i].shape.elements(), output);
    }
    return output;
}

/// The features, in place, and the prompts; in the order of the decoder's spec.
inline std::array<Tensor, most_features + 4> decoder_inputs(const Features& features,
                                                            const glesam_prompt_feeds& feeds) {
    const std::int64_t prompts = feeds.num_prompts;
    const std::int64_t points = feeds.num_points;
    const std::int64_t low_res = 4 * features.tensors[0].shape.sizes[3];
    std::array<Tensor, most_features + 4> inputs{};
    auto* next = std::copy_n(features.tensors.begin(), features.count, inputs.begin());
    *next++ = {feeds.point_coords, {prompts, points, 2}};
    *next++ = {feeds.point_labels, {prompts, points}};
    *next++ = {feeds.mask_input, {prompts, 1, low_res, low_res}};
    *next++ = {feeds.has_mask_input, {prompts}};
    return inputs;
}

}  // namespace glesam::core
