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

/// How far outside the picture a box or a point is still clipped to it: detectors round to there.
constexpr double clipped_px = 1;
/// A box within 0 to 1 and this far past it is taken for a normalised one, as detectors emit them.
constexpr double normalised_past = 0.5;
/// Limit of the logits that SAM 2's official predictor returns, and so takes as a mask input.
constexpr float largest_logit = 32;

bool near_range(double value, int size) { return -clipped_px <= value && value <= size + clipped_px; }

/// Throws PromptError for a point more than a pixel outside. Written so that NaN is refused, too.
void check_points(const char* kind, const glesam_point* points, std::size_t count, const glesam_geometry& geometry) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto [x, y] = points[i];
        if (near_range(x, geometry.original_width) && near_range(y, geometry.original_height)) continue;
        throw prompt_error(std::string(kind) + " " + general(x) + " " + general(y) + ": expected 0 <= X < " +
                           std::to_string(geometry.original_width) + " and 0 <= Y < " +
                           std::to_string(geometry.original_height) + " in a picture of " + size_text(geometry) +
                           "; give pixels as a viewer shows them");
    }
}

/// A checked coordinate of a point: outside the picture it becomes that of the border pixel.
double clipped_point(double value, int size) {
    return 0 <= value && value < size ? value : std::clamp(value, 0.0, static_cast<double>(size - 1));
}

/// A checked coordinate of a box, whose edges may lie on the picture's.
double clipped_edge(double value, int size) { return std::clamp(value, 0.0, static_cast<double>(size)); }

std::string box_text(const glesam_box& box) {
    return "box " + general(box.x0) + " " + general(box.y0) + " " + general(box.x1) + " " + general(box.y1);
}

/// Throws PromptError where a box is empty or more than a pixel outside the picture, or normalised to 0..1.
void check_box(const glesam_box& box, const glesam_geometry& geometry) {
    const auto [x0, y0, x1, y1] = box;
    const int width = geometry.original_width;
    const int height = geometry.original_height;
    const bool is_near =
        near_range(x0, width) && near_range(x1, width) && near_range(y0, height) && near_range(y1, height);
    if (!is_near || !(clipped_edge(x0, width) < clipped_edge(x1, width)) ||
        !(clipped_edge(y0, height) < clipped_edge(y1, height))) {
        throw prompt_error(box_text(box) + ": expected 0 <= X0 < X1 <= " + std::to_string(width) +
                           " and 0 <= Y0 < Y1 <= " + std::to_string(height) + " in a picture of " +
                           size_text(geometry) + "; give the top left corner, then the bottom right");
    }
    if (-normalised_past <= std::min(x0, y0) && std::max(x1, y1) <= 1 + normalised_past &&
        1 + normalised_past < std::max(width, height)) {
        throw prompt_error(box_text(box) + ": expected pixels in a picture of " + size_text(geometry) +
                           ", found numbers from 0 to 1, as of a normalised box; multiply X by the width and Y by the "
                           "height");
    }
}

Error unfit_logits(int side, const std::string& actual) {
    const std::string size = std::to_string(side);
    return prompt_error("mask_input: expected finite float32 logits [" + size + ", " + size + "], found " + actual +
                        "; give one of a prediction's low_res_masks");
}

/// Throws PromptError for numbers that can only be a mask: logits of an object all over the picture.
void check_no_mask(const float* logits, int side) {
    const auto [lowest, highest] = std::minmax_element(logits, logits + std::ptrdiff_t{side} * side);
    if (*lowest < 0 || (*highest != 1 && *highest != 255)) return;
    const std::string size = std::to_string(side);
    throw prompt_error("mask_input: expected finite float32 logits [" + size + ", " + size +
                       "], found a mask of 0 to " + general(*highest) +
                       "; logits_from_mask(mask, predictor.geometry) makes them");
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
    check_no_mask(prompt.mask_input, side);
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

/// Writes one prompt's points, one after the other.
class PointWriter {
   public:
    PointWriter(const glesam_geometry& geometry, float* coords, std::int32_t* labels)
        : geometry_(geometry), coords_(coords), labels_(labels) {}

    /// A point of the prompt, clipped to the picture.
    void point(const glesam_point& at, PointLabel label) {
        write(clipped_point(at.x, geometry_.original_width), clipped_point(at.y, geometry_.original_height), label);
    }

    /// A corner of the box, clipped to the picture.
    void corner(double x, double y, PointLabel label) {
        write(clipped_edge(x, geometry_.original_width), clipped_edge(y, geometry_.original_height), label);
    }

   private:
    void write(double x, double y, PointLabel label) {
        const InputPoint point = to_input(geometry_, x, y);
        *coords_++ = point.x;
        *coords_++ = point.y;
        *labels_++ = label;
    }

    const glesam_geometry& geometry_;
    float* coords_;
    std::int32_t* labels_;
};

}  // namespace

/// Number of a prompt's points, with the box's two corners and the padding point.
std::size_t PromptEncoder::points_of(const glesam_prompt& prompt) const {
    const std::size_t corners = prompt.box != nullptr ? 2 : 0;
    const std::size_t padding_points = prompt.box == nullptr || is_sam2_ ? 1 : 0;
    return prompt.num_points + prompt.num_background_points + corners + padding_points;
}

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
    PointWriter writer(geometry, &coords_[row * num_points_ * 2], &labels_[row * num_points_]);
    for (std::size_t i = 0; i < prompt.num_points; ++i) writer.point(prompt.points[i], foreground);
    for (std::size_t i = 0; i < prompt.num_background_points; ++i) {
        writer.point(prompt.background_points[i], background);
    }
    if (prompt.box == nullptr) return;
    writer.corner(prompt.box->x0, prompt.box->y0, box_top_left);
    writer.corner(prompt.box->x1, prompt.box->y1, box_bottom_right);
}

void PromptEncoder::write_mask(const glesam_prompt& prompt, const glesam_geometry& geometry, std::size_t row) {
    if (prompt.mask_input == nullptr) return;
    const int side = geometry.image_size / 4;
    check_logits(prompt, side);
    const std::ptrdiff_t size = std::ptrdiff_t{side} * side;
    const auto limited = [this](float logit) {
        return is_sam2_ ? std::clamp(logit, -largest_logit, largest_logit) : logit;
    };
    std::transform(prompt.mask_input, prompt.mask_input + size,
                   masks_.begin() + static_cast<std::ptrdiff_t>(row) * size, limited);
    has_mask_[row] = 1;
}

}  // namespace glesam::core
