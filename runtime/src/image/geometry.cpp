#include "image/geometry.hpp"

#include <algorithm>

#include "common/error.hpp"
#include "common/text.hpp"

namespace glesam::core {

Resize resize_from_name(const std::string& name) {
    if (name == "longest-side") return Resize::longest_side;
    if (name == "squash") return Resize::squash;
    if (name == "squash-512") return Resize::squash_512;
    throw image_error("resize " + repr(name) + " is unknown; choose longest-side or squash or squash-512");
}

glesam_geometry geometry_of(int height, int width, int image_size, Resize resize) {
    if (resize != Resize::longest_side) return {height, width, image_size, image_size, image_size, 1};
    const double scale = static_cast<double>(image_size) / std::max(height, width);
    // SAM rounds the short side of an extreme panorama to 0 pixels, which nothing can resize to.
    const auto resized = [scale](int side) { return std::max(1, static_cast<int>(side * scale + 0.5)); };
    return {height, width, resized(height), resized(width), image_size, 0};
}

InputPoint to_input(const glesam_geometry& geometry, double x, double y) {
    // In double like ResizeLongestSide.apply_coords.
    const double scale_x = static_cast<double>(geometry.resized_width) / geometry.original_width;
    const double scale_y = static_cast<double>(geometry.resized_height) / geometry.original_height;
    return {static_cast<float>(x * scale_x), static_cast<float>(y * scale_y)};
}

namespace {

bool fits(int height, int width) {
    return height >= 1 && width >= 1 && height <= max_side_px && width <= max_side_px &&
           std::int64_t{height} * width <= max_pixels;
}

}  // namespace

void check_picture_size(int height, int width) {
    if (fits(height, width)) return;
    const std::string size = std::to_string(height) + " x " + std::to_string(width);
    if (height < 1 || width < 1) {
        throw image_error("picture: expected at least 1 x 1 pixels, found " + size + "; give its height and width");
    }
    throw image_error("picture: expected at most " + std::to_string(max_side_px) + " pixels on a side and " +
                      std::to_string(max_pixels) + " in all, found " + size + "; make it smaller");
}

void check_geometry(const glesam_geometry& geometry, int image_size) {
    const auto inside = [image_size](int resized) { return resized >= 1 && resized <= image_size; };
    if (geometry.image_size == image_size && fits(geometry.original_height, geometry.original_width) &&
        inside(geometry.resized_height) && inside(geometry.resized_width)) {
        return;
    }
    throw argument_error(
        "geometry: expected one that glesam_preprocess or glesam_geometry_of gave for this model, found another; "
        "pass it on unchanged");
}

}  // namespace glesam::core
