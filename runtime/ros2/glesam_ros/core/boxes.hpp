// Boxes as detectors give them, by centre and size, and as glesam takes them, by corners.
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

/// The corners. Of a turned box: of the upright one around it, since SAM knows no others.
glesam::Box corners_of(const CentredBox& box);

CentredBox centred(const glesam::Box& box);

/// The part of a box that lies in the picture; nothing where none does. NaN is nothing too.
std::optional<glesam::Box> clipped(const glesam::Box& box, int width, int height);

}  // namespace glesam_ros
