// Checks a user's prompts and turns them into the decoder's feeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle/spec.hpp"
#include "glesam/glesam.h"

namespace glesam::core {

/// SAM's point labels.
enum PointLabel : std::int32_t { padding = -1, background = 0, foreground = 1, box_top_left = 2, box_bottom_right = 3 };

/// Encodes prompts and reuses its memory.
class PromptEncoder {
   public:
    /// SAM 2 has two rules of its own, as its official predictor: a box is followed by a padding point too, and logits
    /// of a mask are limited.
    explicit PromptEncoder(Family family) : is_sam2_(family == Family::sam2) {}

    /// The point_coords, point_labels, mask_input and has_mask_input of N prompts, valid until the next call.
    /// Prompts shorter than their neighbours are padded with label -1 at their end.
    /// Throws PromptError where a prompt is empty or does not fit the picture.
    glesam_prompt_feeds operator()(const glesam_prompt* prompts, std::size_t count, const glesam_geometry& geometry);

   private:
    void write_points(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row);
    void write_mask(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row);
    std::size_t points_of(const glesam_prompt& prompt) const;

    bool is_sam2_;
    std::size_t num_points_ = 0;
    std::vector<float> coords_;
    std::vector<std::int32_t> labels_;
    std::vector<float> masks_;
    std::vector<float> has_mask_;
};

}  // namespace glesam::core
