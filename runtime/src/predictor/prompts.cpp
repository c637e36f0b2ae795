#include "predictor/prompts.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/error.hpp"
#include "common/text.hpp"
#include "image/geometry.hpp"

namespace glesam::core {

namespace {

std::string size_text(const glesam_geometry& geometry) {
    return std::to_string(geometry.original_width) + " x " + std::to_string(geometry.original_height) + " pixels";
}

Error no_prompt() { return prompt_error("no prompt: give a box, a point or a mask"); }

/// Throws PromptError unless 0 <= x < width and 0 <= y < height. Written so that NaN is refused, too.
void check_points(const char* kind, const glesam_point* points, std::size_t count, const glesam_geometry& geometry) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto [x, y] = points[i];
        if (0 <= x && x < geometry.original_width && 0 <= y && y < geometry.original_height) continue;
        throw prompt_error(std::string(kind) + " " + general(x) + " " + general(y) + ": expected 0 <= X < " +
                           std::to_string(geometry.original_width) + " and 0 <= Y < " +
                           std::to_string(geometry.original_height) + " in a picture of " + size_text(geometry) +
                           "; give pixels as a viewer shows them");
    }
}

/// Throws PromptError where a box is empty or leaves the picture; its edges may lie on the picture's.
void check_box(const glesam_box& box, const glesam_geometry& geometry) {
    const auto [x0, y0, x1, y1] = box;
    const int width = geometry.original_width;
    const int height = geometry.original_height;
    if (0 <= x0 && x0 < x1 && x1 <= width && 0 <= y0 && y0 < y1 && y1 <= height) return;
    throw prompt_error("box " + general(x0) + " " + general(y0) + " " + general(x1) + " " + general(y1) +
                       ": expected 0 <= X0 < X1 <= " + std::to_string(width) +
                       " and 0 <= Y0 < Y1 <= " + std::to_string(height) + " in a picture of " + size_text(geometry) +
                       "; give the top left corner, then the bottom right");
}

Error unfit_logits(int side, const std::string& actual) {
    const std::string size = std::to_string(side);
    return prompt_error("mask_input: expected finite float32 logits [" + size + ", " + size + "], found " + actual +
                        "; give one of a prediction's low_res_masks");
}

void check_logits(const glesam_prompt& prompt, int side) {
    if (prompt.mask_input_height != side || prompt.mask_input_width != side) {
        throw unfit_logits(side, "[" + std::to_string(prompt.mask_input_height) + ", " +
                                     std::to_string(prompt.mask_input_width) + "]");
    }
    const auto is_finite = [](float logit) { return std::isfinite(logit); };
    if (!std::all_of(prompt.mask_input, prompt.mask_input + std::ptrdiff_t{side} * side, is_finite)) {
        throw unfit_logits(side, "NaN or infinite values");
    }
}

void check_prompt(const glesam_prompt& prompt, const glesam_geometry& geometry) {
    check_points("point", prompt.points, prompt.num_points, geometry);
    check_points("background point", prompt.background_points, prompt.num_background_points, geometry);
    if (prompt.box != nullptr) {
        check_box(*prompt.box, geometry);
    } else if (prompt.num_points + prompt.num_background_points == 0 && prompt.mask_input == nullptr) {
        throw no_prompt();
    }
}

/// Number of a prompt's points, with the box's two corners or the padding point in their place.
std::size_t points_of(const glesam_prompt& prompt) {
    return prompt.num_points + prompt.num_background_points + (prompt.box != nullptr ? 2 : 1);
}

/// Writes one prompt's points, one after the other.
struct PointWriter {
    const glesam_geometry& geometry;
    float* coords;
    std::int32_t* labels;

    void operator()(double x, double y, PointLabel label) {
        const InputPoint point = to_input(geometry, x, y);
        *coords++ = point.x;
        *coords++ = point.y;
        *labels++ = label;
    }
};

}  // namespace

glesam_prompt_feeds PromptEncoder::operator()(const glesam_prompt* prompts, std::size_t count,
                                              const glesam_geometry& geometry) {
    if (count == 0) throw no_prompt();
    num_points_ = 0;
    for (std::size_t i = 0; i < count; ++i) {
        check_prompt(prompts[i], geometry);
        num_points_ = std::max(num_points_, points_of(prompts[i]));
    }
    const auto side = static_cast<std::size_t>(geometry.image_size / 4);
    coords_.assign(count * num_points_ * 2, 0.0F);
    labels_.assign(count * num_points_, padding);
    masks_.assign(count * side * side, 0.0F);
    has_mask_.assign(count, 0.0F);
    for (std::size_t i = 0; i < count; ++i) {
        write_points(prompts[i], geometry, i);
        write_mask(prompts[i], geometry, i);
    }
    return {coords_.data(),   labels_.data(),          masks_.data(),
            has_mask_.data(), static_cast<int>(count), static_cast<int>(num_points_)};
}

/// Writes SAM's order: points, then the box's corners; the padding is already there.
void PromptEncoder::write_points(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row) {
    PointWriter write{geometry, &coords_[row * num_points_ * 2], &labels_[row * num_points_]};
    for (std::size_t i = 0; i < prompt.num_points; ++i) write(prompt.points[i].x, prompt.points[i].y, foreground);
    for (std::size_t i = 0; i < prompt.num_background_points; ++i) {
        write(prompt.background_points[i].x, prompt.background_points[i].y, background);
    }
    if (prompt.box == nullptr) return;
    write(prompt.box->x0, prompt.box->y0, box_top_left);
    write(prompt.box->x1, prompt.box->y1, box_bottom_right);
}

void PromptEncoder::write_mask(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row) {
    if (prompt.mask_input == nullptr) return;
    const int side = geometry.image_size / 4;
    check_logits(prompt, side);
    const std::ptrdiff_t size = std::ptrdiff_t{side} * side;
    std::copy(prompt.mask_input, prompt.mask_input + size, masks_.begin() + static_cast<std::ptrdiff_t>(row) * size);
    has_mask_[row] = 1;
}

}  // namespace glesam::core
