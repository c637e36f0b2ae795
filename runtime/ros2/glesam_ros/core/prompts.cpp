#include "prompts.hpp"

#include <sstream>

#include "error.hpp"

namespace glesam_ros {

namespace {

std::string size_text(int width, int height) {
    return std::to_string(width) + " x " + std::to_string(height) + " pixels";
}

glesam::Box fitted_box(const CentredBox& box, int width, int height) {
    const auto part = clipped(corners_of(box), width, height);
    if (part) return *part;
    std::ostringstream line;
    line << "box: expected one that covers a part of a picture of " << size_text(width, height) << ", found centre "
         << box.center_x << " " << box.center_y << " and size " << box.size_x << " " << box.size_y
         << "; give pixels of the picture";
    throw InputError(line.str());
}

/// Throws InputError for a point outside the picture. Written so that NaN is refused, too.
void check_points(const std::vector<glesam::Point>& points, int width, int height) {
    for (const auto [x, y] : points) {
        if (0 <= x && x < width && 0 <= y && y < height) continue;
        std::ostringstream line;
        line << "point: expected 0 <= x < " << width << " and 0 <= y < " << height << " in a picture of "
             << size_text(width, height) << ", found " << x << " " << y << "; give pixels of the picture";
        throw InputError(line.str());
    }
}

}  // namespace

glesam::Prompt fitted(const ObjectPrompt& prompt, int width, int height) {
    if (!prompt.box && prompt.points.empty() && prompt.background_points.empty()) {
        throw InputError("prompt: expected a box or a point, found neither; mark the object");
    }
    check_points(prompt.points, width, height);
    check_points(prompt.background_points, width, height);
    glesam::Prompt result;
    if (prompt.box) result.box = fitted_box(*prompt.box, width, height);
    result.points = prompt.points;
    result.background_points = prompt.background_points;
    return result;
}

}  // namespace glesam_ros
