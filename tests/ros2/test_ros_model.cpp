// The shipped model in the node's core, which changes no pixel of glesam's masks.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "check.hpp"
#include "pipeline.hpp"

using namespace glesam_ros;

namespace {

constexpr int width = 320;
constexpr int height = 240;

/// A bright square on a dark ground, as a camera's bgr8 with 8 bytes of padding to each row.
Frame square() {
    constexpr std::uint32_t step = width * 3 + 8;
    auto pixels = std::make_shared<std::vector<std::uint8_t>>(std::size_t{step} * height, 30);
    for (int y = 60; y < 180; ++y) {
        const auto row = pixels->begin() + std::ptrdiff_t{y} * step;
        std::fill(row + 100 * 3, row + 220 * 3, 220);
    }
    return {7, "camera", {pixels, view_of({"bgr8", height, width, step, pixels->data(), pixels->size()})}};
}

std::vector<ObjectPrompt> prompts() {
    ObjectPrompt box;
    box.box = CentredBox{160, 120, 124, 124, 0};
    ObjectPrompt outside;
    outside.points = {{400, 10}};
    ObjectPrompt point;
    point.points = {{160, 120}};
    return {box, outside, point};
}

/// Compiled once for all tests.
glesam::Predictor nano() {
    static const auto shared = glesam::Predictor::from_bundle(GLESAM_NANO);
    return shared.new_session();
}

std::vector<std::uint8_t> expected_mask(const Frame& frame) {
    auto predictor = nano();
    predictor.set_image(frame.picture.view);
    const auto prediction = predictor.predict(glesam::Prompt::from_box({98, 58, 222, 182}));
    return {prediction.mask(), prediction.mask() + std::size_t{width} * height};
}

void the_labels_are_the_masks_of_the_library() {
    Segmenter segmenter(std::make_unique<GlesamModel>(nano()));
    const Frame frame = square();
    const auto segmentation = segmenter(frame.picture, {prompts()[0]}, LabelType::mono8);
    CHECK(segmentation.labels.data == expected_mask(frame));
    CHECK(segmentation.instances[0].box && segmentation.instances[0].box->x0 > 80 &&
          segmentation.instances[0].box->x1 < 240);
    CHECK(segmentation.instances[0].score > 0.5);
}

void a_frame_goes_through_the_whole_pipeline() {
    std::vector<Outcome> outcomes;
    {
        Pipeline pipeline([&](const Frame& frame, Outcome&& outcome) {
            CHECK(frame.stamp_ns == 7 && frame.frame_id == "camera");
            outcomes.push_back(std::move(outcome));
        });
        const auto open = [] { return std::make_unique<GlesamModel>(nano()); };
        CHECK(!pipeline.configure({}, open) && !pipeline.activate());
        pipeline.add_frame(square());
        pipeline.add_prompts({7, prompts()});
        while (pipeline.health().work.total_answers == 0) std::this_thread::yield();
    }
    CHECK(outcomes.size() == 1);
    const auto& answer = std::get<Segmentation>(outcomes.at(0));
    CHECK(answer.instances.size() == 3 && answer.instances[0].box && !answer.instances[1].box);
    CHECK(!answer.instances[1].refusal.empty() && answer.instances[2].box);
}

void a_missing_bundle_is_one_line() {
    Pipeline pipeline([](const Frame&, Outcome&&) {});
    const auto open = [] { return std::make_unique<GlesamModel>(glesam::Predictor::from_bundle("nowhere")); };
    const auto failure = pipeline.configure({}, open);
    CHECK(failure && glesam_tests::contains(failure->line, "nowhere"));
    CHECK(failure && !glesam_tests::contains(failure->line, "\n"));
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"the labels are the masks of the library", the_labels_are_the_masks_of_the_library},
        {"a frame goes through the whole pipeline", a_frame_goes_through_the_whole_pipeline},
        {"a missing bundle is one line", a_missing_bundle_is_one_line},
    });
}
