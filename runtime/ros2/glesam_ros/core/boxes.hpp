// Converts boxes from a detector's form, centre and size, to glesam's, corners.
#pragma once

#include <glesam/glesam.hpp>
#include <optional>

namespace glesam_ros {

/// vision_msgs/BoundingBox2D: pixels, theta in radians. (0, 0) is the outer corner of the top left pixel.
struct CentredBox {
    double center_x = 0;
    double center_y = 0;
    double size_x = 0;
    double size_y = 0;
    double theta = 0;
};

/// The box by its corners. A rotated one becomes the upright box around it, since SAM has no others.
glesam::Box corners_of(const CentredBox& box);

CentredBox centred(const glesam::Box& box);

/// The part of a box inside the picture; nothing where it lies outside or has NaN.
std::optional<glesam::Box> clipped(const glesam::Box& box, int width, int height);

}  // namespace glesam_ros
