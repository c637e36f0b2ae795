#include "picture.hpp"

#include <limits>

#include "error.hpp"

namespace glesam_ros {

namespace {

struct Encoding {
    const char* name;
    glesam_pixel_format format;
    std::uint64_t bytes_per_pixel;
};

constexpr Encoding encodings[] = {{"rgb8", GLESAM_RGB, 3},
                                  {"bgr8", GLESAM_BGR, 3},
                                  {"rgba8", GLESAM_RGBA, 4},
                                  {"bgra8", GLESAM_BGRA, 4},
                                  {"mono8", GLESAM_MONO8, 1}};

const Encoding& encoding_named(const std::string& name) {
    for (const Encoding& encoding : encodings) {
        if (name == encoding.name) return encoding;
    }
    throw InputError("encoding: expected rgb8, bgr8, rgba8, bgra8 or mono8, found '" + name +
                     "'; convert the picture first, for example with image_proc");
}

void check_size(const ImageFields& image) {
    constexpr auto largest = static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max());
    if (image.width > 0 && image.height > 0 && image.width <= largest && image.height <= largest) return;
    throw InputError("picture: expected at least one pixel, found " + std::to_string(image.width) + " x " +
                     std::to_string(image.height) + "; check the camera driver");
}

void check_rows(const ImageFields& image, const Encoding& encoding) {
    const std::uint64_t row = image.width * encoding.bytes_per_pixel;
    if (image.step < row) {
        throw InputError("step: expected at least " + std::to_string(row) + " bytes for " +
                         std::to_string(image.width) + " pixels of " + encoding.name + ", found " +
                         std::to_string(image.step) + "; check what publishes the picture");
    }
    const std::uint64_t size = std::uint64_t{image.step} * image.height;
    if (image.data == nullptr || image.size < size) {
        throw InputError("data: expected " + std::to_string(size) + " bytes (step " + std::to_string(image.step) +
                         " x height " + std::to_string(image.height) + "), found " + std::to_string(image.size) +
                         "; check what publishes the picture");
    }
}

}  // namespace

glesam::ImageView view_of(const ImageFields& image) {
    const Encoding& encoding = encoding_named(image.encoding);
    check_size(image);
    check_rows(image, encoding);
    return {image.data, static_cast<int>(image.width), static_cast<int>(image.height), image.step, encoding.format};
}

}  // namespace glesam_ros
