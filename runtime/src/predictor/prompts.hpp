// Checks a user's prompts and turns them into the decoder's feeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "glesam/glesam.h"

namespace glesam::core {

/// SAM's point labels.
enum PointLabel : std::int32_t { padding = -1, background = 0, foreground = 1, box_top_left = 2, box_bottom_right = 3 };

/// Encodes prompts and reuses its memory.
class PromptEncoder {
   public:
    /// The point_coords, point_labels, mask_input and has_mask_input of N prompts, valid until the next call.
    /// Prompts shorter than their neighbours are padded with label -1 at their end.
    /// Throws PromptError where a prompt is empty or does not fit the picture.
    glesam_prompt_feeds operator()(const glesam_prompt* prompts, std::size_t count, const glesam_geometry& geometry);

   private:
    void write_points(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row);
    void write_mask(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row);

    std::size_t num_points_ = 0;
    std::vector<float> coords_;
    std::vector<std::int32_t> labels_;
    std::vector<float> masks_;
    std::vector<float> has_mask_;
};

}  // namespace glesam::core
