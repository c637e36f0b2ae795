// Two prompts, and what a predictor answers to them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "predictor/predictor.hpp"

namespace glesam_tests {

inline const glesam_box box{1, 2, 50, 40};
inline const std::array<glesam_point, 2> points = {{{3, 4}, {20.5, 30.25}}};
/// A box; two points and one beside the object.
inline const std::array<glesam_prompt, 2> prompts = {
    {{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0}, {nullptr, points.data(), 2, points.data(), 1, nullptr, 0, 0}}};

/// What predict said, copied.
struct Answer {
    std::vector<std::uint8_t> masks;
    std::vector<float> scores;
    std::vector<float> logits;
    bool operator==(const Answer& other) const {
        return masks == other.masks && scores == other.scores && logits == other.logits;
    }
};

/// Of both prompts.
inline Answer answer_of(glesam::core::Predictor& predictor, bool multimask = true) {
    const auto found = predictor.predict(prompts.data(), prompts.size(), multimask);
    const auto count = static_cast<std::size_t>(found.num_prompts) * static_cast<std::size_t>(found.num_candidates);
    const auto pixels = static_cast<std::size_t>(found.height) * static_cast<std::size_t>(found.width);
    const auto low_res = static_cast<std::size_t>(found.low_res_size) * static_cast<std::size_t>(found.low_res_size);
    return {{found.masks, found.masks + count * pixels},
            {found.iou_predictions, found.iou_predictions + count},
            {found.low_res_masks, found.low_res_masks + count * low_res}};
}

}  // namespace glesam_tests
