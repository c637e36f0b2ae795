// Views, resizing and masks at every size, for the sanitizers. tests/runtime shows that they equal Python's.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "check.hpp"
#include "common/error.hpp"
#include "fake_engine.hpp"
#include "image/geometry.hpp"
#include "image/pixels.hpp"
#include "image/postprocess.hpp"
#include "image/resample.hpp"

using glesam::core::Error;
using glesam::core::Filter;
using glesam::core::Resampler;
using glesam_tests::contains;
using glesam_tests::Picture;
using glesam_tests::thrown_by;

namespace {

constexpr std::array<int, 9> sizes = {1, 2, 3, 5, 17, 64, 65, 129, 400};

std::vector<std::uint8_t> resized(const Picture& picture, int height, int width, Filter filter) {
    Resampler resampler(picture.height, picture.width, height, width, filter);
    const auto result = resampler(glesam::core::pixels_of(picture.view()));
    return {result.data, result.data + result.stride * result.height};
}

void a_picture_of_one_colour_keeps_it_at_every_size() {
    for (const int from : sizes) {
        for (const int to : sizes) {
            Picture picture(from, 66 - std::min(from, 65), 0);
            std::fill(picture.pixels.begin(), picture.pixels.end(), std::uint8_t{200});
            for (const Filter filter : {Filter::bilinear, Filter::bicubic}) {
                const auto result = resized(picture, to, 7, filter);
                CHECK(std::all_of(result.begin(), result.end(), [](int value) { return value == 200; }));
            }
        }
    }
}

void a_picture_of_the_outputs_size_is_copied() {
    const Picture picture(31, 17, 5);
    CHECK(resized(picture, 17, 31, Filter::bilinear) == picture.pixels);
    CHECK(resized(picture, 17, 31, Filter::bicubic) == picture.pixels);
}

std::string refusal(const std::uint8_t* data, int width, int height, std::int64_t stride, int format,
                    int memory = GLESAM_HOST) {
    return thrown_by<Error>([&] { glesam::core::pixels_of({data, width, height, stride, format, memory, nullptr}); });
}

void a_view_of_no_picture_is_refused() {
    const std::uint8_t pixel[4] = {};
    CHECK(contains(refusal(nullptr, 4, 4, 0, GLESAM_RGB), "and no data"));
    CHECK(contains(refusal(pixel, 0, 4, 0, GLESAM_RGB), "found 0 x 4"));
    CHECK(contains(refusal(pixel, 4, -1, 0, GLESAM_RGB), "found 4 x -1"));
    CHECK(contains(refusal(pixel, 4, 4, 11, GLESAM_RGB), "stride of at least 12 bytes"));
    CHECK(contains(refusal(pixel, 4, 4, -12, GLESAM_RGB), "found -12"));
    CHECK(contains(refusal(pixel, 4, 4, 12, GLESAM_RGBA), "stride of at least 16 bytes"));
    CHECK(contains(refusal(pixel, std::numeric_limits<int>::max(), 1, 8, GLESAM_BGRA), "8589934588"));
    CHECK(contains(refusal(pixel, 1, 1, 0, 100), "found 100"));
    CHECK(contains(refusal(pixel, 1, 1, 0, GLESAM_RGB, 7), "expected a glesam_memory, found 7"));
    CHECK(refusal(pixel, 1, 1, 0, GLESAM_BGRA) == "nothing");
}

void masks_fill_every_picture_whatever_its_size() {
    const std::vector<float> logits(16 * 16, 1.5F);
    for (const int height : sizes) {
        for (const int width : sizes) {
            for (const auto resize : {glesam::core::Resize::longest_side, glesam::core::Resize::squash_512}) {
                glesam::core::MaskResizer resizer(glesam::core::geometry_of(height, width, 64, resize));
                std::vector<std::uint8_t> mask(static_cast<std::size_t>(height) * static_cast<std::size_t>(width), 7);
                resizer(logits.data(), 1.4F, mask.data());
                CHECK(std::all_of(mask.begin(), mask.end(), [](int value) { return value == 1; }));
                resizer(logits.data(), 1.6F, mask.data());
                CHECK(std::all_of(mask.begin(), mask.end(), [](int value) { return value == 0; }));
            }
        }
    }
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"a picture of one colour keeps it at every size", a_picture_of_one_colour_keeps_it_at_every_size},
        {"a picture of the output's size is copied", a_picture_of_the_outputs_size_is_copied},
        {"a view of no picture is refused", a_view_of_no_picture_is_refused},
        {"masks fill every picture whatever its size", masks_fill_every_picture_whatever_its_size},
    });
}
