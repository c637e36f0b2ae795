#include "image/pixels.hpp"

#include <string>

#include "common/error.hpp"

namespace glesam::core {

namespace {

struct Layout {
    int step;
    std::array<int, 3> rgb;
};

Layout layout_of(std::int32_t format) {
    switch (format) {
        case GLESAM_RGB: return {3, {0, 1, 2}};
        case GLESAM_BGR: return {3, {2, 1, 0}};
        case GLESAM_RGBA: return {4, {0, 1, 2}};
        case GLESAM_BGRA: return {4, {2, 1, 0}};
        case GLESAM_MONO8: return {1, {0, 0, 0}};
        default:
            throw image_error("image: expected a glesam_pixel_format, found " + std::to_string(format) +
                              "; convert the picture to RGB, BGR, RGBA, BGRA or mono8");
    }
}

}  // namespace

Pixels pixels_of(const glesam_image_view& view) {
    if (view.data == nullptr || view.width < 1 || view.height < 1) {
        throw image_error("image: expected pixels and at least 1 x 1 of them, found " + std::to_string(view.width) +
                          " x " + std::to_string(view.height) + (view.data == nullptr ? " and no data" : "") +
                          "; give a view of the whole picture");
    }
    const Layout layout = layout_of(view.format);
    const std::int64_t packed = std::int64_t{view.width} * layout.step;
    if (view.stride != 0 && view.stride < packed) {
        throw image_error("image: expected a stride of at least " + std::to_string(packed) + " bytes (" +
                          std::to_string(view.width) + " pixels of " + std::to_string(layout.step) + "), found " +
                          std::to_string(view.stride) + "; give the bytes from one row to the next, or 0");
    }
    is_on_device("image", view.memory);  // refuses a value that is no glesam_memory
    const std::int64_t stride = view.stride == 0 ? packed : view.stride;
    return {view.data, view.width, view.height, static_cast<std::ptrdiff_t>(stride), layout.step, layout.rgb};
}

bool is_on_device(const char* name, std::int32_t memory) {
    if (memory == GLESAM_HOST || memory == GLESAM_DEVICE) return memory == GLESAM_DEVICE;
    throw image_error(std::string(name) + ": expected a glesam_memory, found " + std::to_string(memory) +
                      "; give GLESAM_HOST or GLESAM_DEVICE");
}

}  // namespace glesam::core
