// The conversion of messages to glesam's types and back.
#include <cmath>
#include <cstring>
#include <vector>

#include "boxes.hpp"
#include "check.hpp"
#include "error.hpp"
#include "fake_model.hpp"
#include "labels.hpp"
#include "picture.hpp"
#include "prompts.hpp"
#include "segmenter.hpp"

using namespace glesam_ros;
using glesam_tests::contains;
using glesam_tests::FakeModel;
using glesam_tests::thrown_by;

namespace {

ImageFields fields(const char* encoding, std::uint32_t width, std::uint32_t height, std::uint32_t step) {
    static const std::vector<std::uint8_t> pixels(4096);
    return {encoding, height, width, step, pixels.data(), std::size_t{step} * height};
}

std::string refusal(const ImageFields& image) {
    return thrown_by<InputError>([&] { view_of(image); });
}

void every_supported_encoding_becomes_its_view() {
    CHECK(view_of(fields("rgb8", 4, 2, 12)).format == GLESAM_RGB);
    CHECK(view_of(fields("bgr8", 4, 2, 12)).format == GLESAM_BGR);
    CHECK(view_of(fields("rgba8", 4, 2, 16)).format == GLESAM_RGBA);
    CHECK(view_of(fields("bgra8", 4, 2, 16)).format == GLESAM_BGRA);
    CHECK(view_of(fields("mono8", 4, 2, 4)).format == GLESAM_MONO8);
}

void padding_at_the_end_of_rows_is_stepped_over() {
    const auto image = fields("bgr8", 5, 3, 16);
    const auto view = view_of(image);
    CHECK(view.data == image.data && view.width == 5 && view.height == 3 && view.stride == 16);
}

void an_unknown_encoding_is_refused_with_those_that_are_known() {
    const auto line = refusal(fields("16UC1", 4, 2, 8));
    CHECK(contains(line, "expected rgb8, bgr8, rgba8, bgra8 or mono8, found '16UC1'"));
    CHECK(!contains(line, "\n"));
    CHECK(contains(refusal(fields("", 4, 2, 8)), "found ''"));
}

void fields_that_do_not_fit_together_are_refused() {
    CHECK(
        contains(refusal(fields("rgb8", 4, 2, 11)), "step: expected at least 12 bytes for 4 pixels of rgb8, found 11"));
    CHECK(contains(refusal(fields("rgb8", 0, 2, 12)), "found 0 x 2"));
    CHECK(contains(refusal(fields("rgb8", 4, 0, 12)), "found 4 x 0"));
    auto cut = fields("rgb8", 4, 2, 12);
    cut.size = 23;
    CHECK(contains(refusal(cut), "data: expected 24 bytes (step 12 x height 2), found 23"));
    auto missing = fields("rgb8", 4, 2, 12);
    missing.data = nullptr;
    CHECK(contains(refusal(missing), "data: expected"));
}

void sizes_near_the_ends_of_their_types_do_not_wrap_around() {
    auto huge = fields("rgba8", 0x40000001U, 1, 4);  // 4 * width is 4 in 32 bits
    CHECK(contains(refusal(huge), "step: expected at least 4294967300 bytes"));
    huge = fields("mono8", 0x80000000U, 1, 0x80000000U);
    CHECK(contains(refusal(huge), "found 2147483648 x 1"));
    huge = fields("mono8", 1, 0x7fffffffU, 0xffffffffU);
    huge.size = 4096;
    CHECK(contains(refusal(huge), "data: expected"));
}

void a_box_keeps_its_corners_through_centre_and_size() {
    const auto box = corners_of(centred({10, 20, 110, 60}));
    CHECK(box.x0 == 10 && box.y0 == 20 && box.x1 == 110 && box.y1 == 60);
}

void a_turned_box_becomes_the_upright_one_around_it() {
    const auto box = corners_of({50, 50, 40, 20, std::acos(-1) / 2});
    CHECK(std::abs(box.x0 - 40) < 1e-9 && std::abs(box.x1 - 60) < 1e-9);
    CHECK(std::abs(box.y0 - 30) < 1e-9 && std::abs(box.y1 - 70) < 1e-9);
}

void a_box_that_overhangs_the_picture_is_clipped() {
    const auto box = clipped({-3, 5, 700, 500}, 640, 480);
    CHECK(box && box->x0 == 0 && box->y0 == 5 && box->x1 == 640 && box->y1 == 480);
}

void a_box_beside_the_picture_or_without_area_is_none() {
    CHECK(!clipped({640, 0, 700, 100}, 640, 480));
    CHECK(!clipped({-50, 0, 0, 100}, 640, 480));
    CHECK(!clipped({10, 10, 10, 20}, 640, 480));
    CHECK(!clipped({20, 10, 10, 20}, 640, 480));  // a negative size
    CHECK(!clipped({NAN, 10, 20, 20}, 640, 480));
    CHECK(!clipped({10, 10, 20, NAN}, 640, 480));
    CHECK(!clipped({-INFINITY, 0, INFINITY, 100}, 640, 480));
}

void a_point_outside_the_picture_is_refused() {
    const auto refused = [](glesam::Point point) {
        ObjectPrompt prompt;
        prompt.points = {{1, 1}, point};
        return thrown_by<InputError>([&] { fitted(prompt, 640, 480); });
    };
    CHECK(refused({639.5, 479.5}) == "nothing");
    CHECK(contains(refused({640, 10}), "expected 0 <= x < 640"));
    CHECK(contains(refused({-0.5, 10}), "found -0.5 10"));
    CHECK(contains(refused({10, NAN}), "point:"));
}

void a_prompt_of_nothing_is_refused() {
    CHECK(contains(thrown_by<InputError>([] { fitted({}, 640, 480); }), "expected a box or a point, found neither"));
}

void where_masks_overlap_the_smaller_one_is_seen() {
    const std::uint8_t table[] = {1, 1, 1, 1};
    const std::uint8_t cup[] = {0, 1, 1, 0};
    const std::vector<std::uint8_t> expected{2, 1, 1, 2};
    CHECK(compose({{cup, 1}, {table, 2}}, 4, 1, LabelType::mono8).data == expected);
    const std::vector<std::uint8_t> swapped{1, 2, 2, 1};
    CHECK(compose({{table, 1}, {cup, 2}}, 4, 1, LabelType::mono8).data == swapped);
}

void of_equal_masks_the_first_is_seen() {
    const std::uint8_t mask[] = {0, 1};
    CHECK((compose({{mask, 1}, {mask, 2}, {mask, 3}}, 2, 1, LabelType::mono8).data == std::vector<std::uint8_t>{0, 1}));
}

void sixteen_bit_labels_hold_more_than_255_objects() {
    const std::uint8_t mask[] = {0, 1, 0};
    const auto image = compose({{mask, 40000}}, 3, 1, LabelType::mono16);
    std::uint16_t labels[3];
    CHECK(image.data.size() == sizeof labels);
    std::memcpy(labels, image.data.data(), sizeof labels);
    CHECK(labels[0] == 0 && labels[1] == 40000 && labels[2] == 0);
}

void the_box_around_a_mask_ends_where_its_pixels_end() {
    const std::uint8_t mask[] = {0, 0, 0, 0,  //
                                 0, 0, 1, 0,  //
                                 0, 1, 0, 0};
    const auto box = extent(mask, 4, 3);
    CHECK(box && box->x0 == 1 && box->y0 == 1 && box->x1 == 3 && box->y1 == 3);
    const std::uint8_t corner[] = {1};
    CHECK(extent(corner, 1, 1)->x1 == 1);
    const std::uint8_t empty[] = {0, 0};
    CHECK(!extent(empty, 2, 1));
}

ObjectPrompt boxed(double x, double y, double width, double height) {
    ObjectPrompt prompt;
    prompt.box = CentredBox{x, y, width, height, 0};
    return prompt;
}

void a_refused_prompt_leaves_the_others_labels_alone() {
    Segmenter segmenter(std::make_unique<FakeModel>());
    const glesam_tests::PixelBuffer pixels(8, 4);
    auto last = boxed(6, 2, 2, 2);
    last.id = "track 7";
    last.class_id = "cup";
    const auto segmentation =
        segmenter(pixels.picture(), {boxed(1, 1, 2, 2), boxed(90, 1, 2, 2), last}, LabelType::mono8);
    CHECK(segmentation.instances.size() == 3);
    CHECK(segmentation.instances[0].box && segmentation.instances[0].score == 0.5);
    CHECK(!segmentation.instances[1].box && contains(segmentation.instances[1].refusal, "found centre 90 1"));
    CHECK(segmentation.instances[2].id == "track 7" && segmentation.instances[2].class_id == "cup");
    CHECK(segmentation.instances[2].box->x0 == 5 && segmentation.instances[2].box->x1 == 7);
    CHECK(segmentation.labels.width == 8 && segmentation.labels.height == 4);
    CHECK(segmentation.labels.data[0] == 1 && segmentation.labels.data[8 + 5] == 3 &&
          segmentation.labels.data[8 + 3] == 0);
}

void without_prompts_the_labels_are_empty_and_the_model_rests() {
    auto model = std::make_unique<FakeModel>();
    const auto& calls = model->calls();
    Segmenter segmenter(std::move(model));
    const glesam_tests::PixelBuffer pixels(8, 4);
    const auto segmentation = segmenter(pixels.picture(), {}, LabelType::mono16);
    CHECK(segmentation.instances.empty() && segmentation.labels.data == std::vector<std::uint8_t>(64));
    CHECK(calls->images == 0 && calls->predictions == 0);
}

void the_same_picture_is_encoded_once() {
    auto model = std::make_unique<FakeModel>();
    const auto calls = model->calls();
    Segmenter segmenter(std::move(model));
    const glesam_tests::PixelBuffer first(8, 4);
    const glesam_tests::PixelBuffer second(8, 4);
    for (const auto* pixels : {&first, &first, &second}) {
        segmenter(pixels->picture(), {boxed(1, 1, 2, 2)}, LabelType::mono8);
    }
    CHECK(calls->images == 2 && calls->predictions == 3);
}

void a_picture_that_failed_is_encoded_again() {
    auto model = std::make_unique<FakeModel>();
    const auto calls = model->calls();
    Segmenter segmenter(std::move(model));
    const glesam_tests::PixelBuffer pixels(8, 4);
    const auto segment = [&] { segmenter(pixels.picture(), {boxed(1, 1, 2, 2)}, LabelType::mono8); };
    segment();
    const glesam_tests::PixelBuffer other(8, 4);
    calls->fails = true;
    CHECK(thrown_by<glesam::Error>([&] { segmenter(other.picture(), {boxed(1, 1, 2, 2)}, LabelType::mono8); }) ==
          "the backend broke");
    calls->fails = false;
    segment();  // the model's picture is unknown after the failure
    CHECK(calls->images == 3);
}

void more_prompts_than_labels_are_refused() {
    Segmenter segmenter(std::make_unique<FakeModel>());
    const glesam_tests::PixelBuffer pixels(8, 4);
    const std::vector<ObjectPrompt> prompts(256, boxed(1, 1, 2, 2));
    CHECK(contains(thrown_by<InputError>([&] { segmenter(pixels.picture(), prompts, LabelType::mono8); }),
                   "expected at most 255, found 256; set label_encoding to 16UC1"));
    CHECK(segmenter(pixels.picture(), prompts, LabelType::mono16).instances.size() == 256);
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"every supported encoding becomes its view", every_supported_encoding_becomes_its_view},
        {"padding at the end of rows is stepped over", padding_at_the_end_of_rows_is_stepped_over},
        {"an unknown encoding is refused with those that are known",
         an_unknown_encoding_is_refused_with_those_that_are_known},
        {"fields that do not fit together are refused", fields_that_do_not_fit_together_are_refused},
        {"sizes near the ends of their types do not wrap around",
         sizes_near_the_ends_of_their_types_do_not_wrap_around},
        {"a box keeps its corners through centre and size", a_box_keeps_its_corners_through_centre_and_size},
        {"a turned box becomes the upright one around it", a_turned_box_becomes_the_upright_one_around_it},
        {"a box that overhangs the picture is clipped", a_box_that_overhangs_the_picture_is_clipped},
        {"a box beside the picture or without area is none", a_box_beside_the_picture_or_without_area_is_none},
        {"a point outside the picture is refused", a_point_outside_the_picture_is_refused},
        {"a prompt of nothing is refused", a_prompt_of_nothing_is_refused},
        {"where masks overlap the smaller one is seen", where_masks_overlap_the_smaller_one_is_seen},
        {"of equal masks the first is seen", of_equal_masks_the_first_is_seen},
        {"16-bit labels hold more than 255 objects", sixteen_bit_labels_hold_more_than_255_objects},
        {"the box around a mask ends where its pixels end", the_box_around_a_mask_ends_where_its_pixels_end},
        {"a refused prompt leaves the others' labels alone", a_refused_prompt_leaves_the_others_labels_alone},
        {"without prompts the labels are empty and the model rests",
         without_prompts_the_labels_are_empty_and_the_model_rests},
        {"the same picture is encoded once", the_same_picture_is_encoded_once},
        {"a picture that failed is encoded again", a_picture_that_failed_is_encoded_again},
        {"more prompts than labels are refused", more_prompts_than_labels_are_refused},
    });
}
