#include "boxes.hpp"

#include <algorithm>
#include <cmath>

namespace glesam_ros {

glesam::Box corners_of(const CentredBox& box) {
    const double cosine = std::abs(std::cos(box.theta));
    const double sine = std::abs(std::sin(box.theta));
    const double half_width = (box.size_x * cosine + box.size_y * sine) / 2;
    const double half_height = (box.size_x * sine + box.size_y * cosine) / 2;
    return {box.center_x - half_width, box.center_y - half_height, box.center_x + half_width,
            box.center_y + half_height};
}

CentredBox centred(const glesam::Box& box) {
    return {(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.x1 - box.x0, box.y1 - box.y0, 0};
}

std::optional<glesam::Box> clipped(const glesam::Box& box, int width, int height) {
    const glesam::Box part{std::max(box.x0, 0.0), std::max(box.y0, 0.0), std::min(box.x1, static_cast<double>(width)),
                           std::min(box.y1, static_cast<double>(height))};
    const bool is_whole = std::isfinite(box.x0 + box.y0 + box.x1 + box.y1);
    if (is_whole && part.x0 < part.x1 && part.y0 < part.y1) return part;
    return std::nullopt;
}

}  // namespace glesam_ros
