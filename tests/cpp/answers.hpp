// Two prompts, and a predictor's results for them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "predictor/predictor.hpp"

namespace glesam_tests {

inline const glesam_box box{1, 2, 50, 40};
inline const std::array<glesam_point, 2> points = {{{3, 4}, {20.5, 30.25}}};
/// A box; then two points and a background point.
inline const std::array<glesam_prompt, 2> prompts = {
    {{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0}, {nullptr, points.data(), 2, points.data(), 1, nullptr, 0, 0}}};

/// A copy of a prediction.
struct Answer {
    std::vector<std::uint8_t> masks;
    std::vector<float> scores;
    std::vector<float> logits;
    bool operator==(const Answer& other) const {
        return masks == other.masks && scores == other.scores && logits == other.logits;
    }
};

/// The predictor's results for both prompts.
inline Answer answer_of(glesam::core::Predictor& predictor, bool multimask = true) {
    const auto prediction = predictor.predict(prompts.data(), prompts.size(), multimask);
    const auto count =
        static_cast<std::size_t>(prediction.num_prompts) * static_cast<std::size_t>(prediction.num_candidates);
    const auto pixels = static_cast<std::size_t>(prediction.height) * static_cast<std::size_t>(prediction.width);
    const auto low_res =
        static_cast<std::size_t>(prediction.low_res_size) * static_cast<std::size_t>(prediction.low_res_size);
    return {{prediction.masks, prediction.masks + count * pixels},
            {prediction.iou_predictions, prediction.iou_predictions + count},
            {prediction.low_res_masks, prediction.low_res_masks + count * low_res}};
}

}  // namespace glesam_tests
