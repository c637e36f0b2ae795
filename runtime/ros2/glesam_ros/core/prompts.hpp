// Converts a message's prompts to glesam's, for a picture of a certain size.
#pragma once

#include <glesam/glesam.hpp>
#include <optional>
#include <string>
#include <vector>

#include "boxes.hpp"

namespace glesam_ros {

/// One object: a box, points on it, points beside it. The two strings are copied to the result.
struct ObjectPrompt {
    std::optional<CentredBox> box;
    std::vector<glesam::Point> points;
    std::vector<glesam::Point> background_points;
    std::string id;        ///< vision_msgs/Detection2D.id, a tracker's
    std::string class_id;  ///< of the detector's best hypothesis
};

/// The prompt for a picture of this size; boxes are clipped to it.
/// Throws InputError where nothing of the box is left, a point lies outside, or the prompt is empty.
glesam::Prompt fitted(const ObjectPrompt& prompt, int width, int height);

}  // namespace glesam_ros
