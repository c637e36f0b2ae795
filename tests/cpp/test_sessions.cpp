// Many threads on one model compute the single-threaded results. Fake engines let ThreadSanitizer see all code.
#include <atomic>
#include <thread>
#include <vector>

#include "answers.hpp"
#include "check.hpp"
#include "fake_engine.hpp"

using glesam::core::Predictor;
using glesam_tests::Answer;
using glesam_tests::answer_of;
using glesam_tests::Picture;
using glesam_tests::prompts;

namespace {

Answer segmented(Predictor& predictor, unsigned seed) {
    const Picture picture(90 + static_cast<int>(seed), 60, seed);
    predictor.set_image(picture.view());
    return answer_of(predictor);
}

void eight_threads_share_a_model() {
    const Predictor shared(glesam_tests::fake_model());
    std::vector<Answer> expected;
    const auto alone = shared.new_session();
    for (unsigned seed = 0; seed < 8; ++seed) expected.push_back(segmented(*alone, seed));
    CHECK(!(expected[0] == expected[1]));

    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 8; ++thread) {
        threads.emplace_back([&, thread] {
            const auto session = shared.new_session();
            for (unsigned round = 0; round < 20; ++round) {
                const unsigned seed = (thread + round) % 8;
                if (!(segmented(*session, seed) == expected[seed])) ++wrong;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
}

void the_steps_give_what_predict_gives(glesam::core::Family family) {
    Predictor predictor(glesam_tests::fake_model(family));
    const Answer expected = segmented(predictor, 3);
    const Picture picture(93, 60, 3);
    std::vector<float> input(predictor.input_size());
    const auto geometry = predictor.preprocess(picture.view(), input.data());
    std::vector<float> encoded(predictor.encoded_size());
    std::vector<float> features(predictor.features_size());
    predictor.encode(input.data(), encoded.data());
    predictor.enhance(encoded.data(), features.data());
    const auto feeds = predictor.encode_prompts(geometry, prompts.data(), prompts.size());
    CHECK(feeds.num_points == 4);  // two points, one background point, one padding
    const auto decoded = predictor.decode(features.data(), feeds);
    std::vector<std::uint8_t> masks(std::size_t{93} * 60);
    predictor.postprocess(geometry, decoded.low_res_masks + 16 * 16, 1, masks.data());
    CHECK(std::equal(masks.begin(), masks.end(), expected.masks.begin()));
    CHECK(decoded.iou_predictions[1] == expected.scores[0]);
}

void a_picture_has_the_degradation_level_that_gle_predicts(glesam::core::Family family) {
    Predictor plain(glesam_tests::fake_model(family));
    Predictor adaptive(glesam_tests::fake_model(family, true));
    const auto refusal = glesam_tests::thrown_by<glesam::core::Error>([&] { adaptive.degradation_level(); });
    CHECK(glesam_tests::contains(refusal, "no picture yet"));
    CHECK(segmented(plain, 3) == segmented(adaptive, 3));
    CHECK(!plain.degradation_level());
    const auto first = adaptive.degradation_level();
    CHECK(first.has_value());
    segmented(adaptive, 4);
    CHECK(adaptive.degradation_level() != first);
    segmented(adaptive, 3);
    CHECK(adaptive.degradation_level() == first);
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"eight threads share a model", eight_threads_share_a_model},
        {"the steps give what predict gives",
         [] {
             for (const auto family : glesam_tests::families) the_steps_give_what_predict_gives(family);
         }},
        {"a picture has the degradation level that GLE predicts",
         [] {
             for (const auto family : {glesam::core::Family::sam, glesam::core::Family::sam2}) {
                 a_picture_has_the_degradation_level_that_gle_predicts(family);
             }
         }},
    });
}
