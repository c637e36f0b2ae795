// What marks an object, as messages carry it, and as a picture's size lets glesam take it.
#pragma once

#include <glesam/glesam.hpp>
#include <optional>
#include <string>
#include <vector>

#include "boxes.hpp"

namespace glesam_ros {

/// One object: a box, points on it, points beside it. The two strings are carried through to the answer.
struct ObjectPrompt {
    std::optional<CentredBox> box;
    std::vector<glesam::Point> points;
    std::vector<glesam::Point> background_points;
    std::string id;        ///< vision_msgs/Detection2D.id, a tracker's
    std::string class_id;  ///< of the detector's best hypothesis
};

/// The prompt within a picture of this size. Detectors' boxes may overhang it: they are clipped.
/// Throws InputError where nothing of the box is left, where a point lies outside, or where nothing is marked at all.
glesam::Prompt fitted(const ObjectPrompt& prompt, int width, int height);

}  // namespace glesam_ros
