// The C API answers null pointers, wrong values and wrong orders of calls with a status and a message.
#include <glesam/glesam.hpp>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "check.hpp"

using glesam_tests::contains;
using glesam_tests::thrown_by;

namespace {

bool says(glesam_status actual, glesam_status expected, const char* part) {
    return actual == expected && contains(glesam_last_error(), part);
}

void null_pointers_are_refused() {
    glesam_bundle* bundle = nullptr;
    glesam_predictor* predictor = nullptr;
    glesam_model_info info;
    const auto refused = GLESAM_ARGUMENT_ERROR;
    CHECK(says(glesam_bundle_open(nullptr, &bundle), refused, "path: expected a pointer"));
    CHECK(says(glesam_bundle_open("x", nullptr), refused, "bundle: expected a pointer"));
    CHECK(says(glesam_bundle_describe(nullptr, &info), refused, "bundle"));
    CHECK(says(glesam_bundle_choose_backend(nullptr, "auto", nullptr), refused, "bundle"));
    CHECK(says(glesam_predictor_open_threads(nullptr, "auto", 1, "longest-side", 0, &predictor), refused, "bundle"));
    CHECK(says(glesam_predictor_open(nullptr, "auto", 1, "longest-side", &predictor), refused, "bundle"));
    CHECK(says(glesam_predictor_new_session(nullptr, &predictor), refused, "predictor"));
    CHECK(says(glesam_predictor_describe(nullptr, &info), refused, "predictor"));
    CHECK(says(glesam_set_image(nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_predict(nullptr, nullptr, 0, 0, nullptr), refused, "predictor"));
    CHECK(says(glesam_predict_on_device(nullptr, nullptr, 0, 0, nullptr), refused, "predictor"));
    CHECK(says(glesam_geometry_of(nullptr, 1, 1, nullptr), refused, "predictor"));
    CHECK(says(glesam_set_tensor(nullptr, nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_get_timings(nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_preprocess(nullptr, nullptr, nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_encode(nullptr, nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_enhance(nullptr, nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_encode_prompts(nullptr, nullptr, nullptr, 0, nullptr), refused, "predictor"));
    CHECK(says(glesam_decode(nullptr, nullptr, nullptr, nullptr), refused, "predictor"));
    CHECK(says(glesam_postprocess(nullptr, nullptr, nullptr, 0, nullptr), refused, "predictor"));
    glesam_bundle_free(nullptr);
    glesam_predictor_free(nullptr);
}

void a_message_belongs_to_its_thread() {
    glesam_bundle* bundle = nullptr;
    CHECK(glesam_bundle_open("/nonexistent", &bundle) == GLESAM_BUNDLE_ERROR);
    std::string elsewhere = "untouched";
    std::thread([&] { elsewhere = glesam_last_error(); }).join();
    CHECK(elsewhere.empty());
    CHECK(contains(glesam_last_error(), "bundle /nonexistent: expected a folder with bundle.json, found nothing"));
}

void an_endless_message_is_cut() {
    glesam_bundle* bundle = nullptr;
    const std::string path(100000, 'x');
    CHECK(glesam_bundle_open(path.c_str(), &bundle) == GLESAM_BUNDLE_ERROR);
    CHECK(std::strlen(glesam_last_error()) == 4095);
}

void a_bundle_describes_itself() {
    const auto bundle = glesam::Bundle::open(GLESAM_NANO);
    const auto info = bundle.info();
    CHECK(std::string(info.name) == "nano");
    CHECK(info.image_size == 512);
    CHECK(std::strlen(info.hash) == 64);
    CHECK(std::string(glesam_version()) == GLESAM_EXPECTED_VERSION);
}

void an_error_of_cpp_has_the_status_of_c() {
    try {
        glesam::Bundle::open("/nonexistent");
        CHECK(false);
    } catch (const glesam::Error& error) {
        CHECK(error.status() == GLESAM_BUNDLE_ERROR);
    }
    const auto bundle = glesam::Bundle::open(GLESAM_NANO);
    const auto open = [&](const char* backend) { glesam::Predictor::from_bundle(bundle, {backend}); };
    CHECK(contains(thrown_by<glesam::Error>([&] { open("abacus"); }), "backend 'abacus'"));
#ifndef GLESAM_HAS_CPU_BACKEND
    const auto refusal = thrown_by<glesam::Error>([&] { open("auto"); });
    CHECK(contains(refusal, "built without any") || contains(refusal, "tensorrt: no engines of the bundle"));
#endif
}

void a_device_prediction_finds_its_candidates() {
    const std::vector<float> logits(std::size_t{2} * 4 * 256);
    const std::vector<float> scores(std::size_t{2} * 4);
    glesam::DevicePrediction prediction{};
    prediction.low_res_masks = logits.data() + 256;  // without output 0 of each prompt's four
    prediction.iou_predictions = scores.data() + 1;
    prediction.prompt_stride = 4;
    prediction.low_res_size = 16;
    CHECK(prediction.logits() == logits.data() + 256);
    CHECK(prediction.logits(1, 2) == logits.data() + std::ptrdiff_t{7} * 256);
    CHECK(prediction.score(1, 2) == scores.data() + 7);
}

#ifdef GLESAM_HAS_CPU_BACKEND
void predict_needs_a_picture_and_sound_prompts() {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO);
    const auto box = glesam::Prompt::from_box({1, 1, 9, 9});
    const auto refusal = [&](const glesam::Prompt& prompt) {
        return thrown_by<glesam::Error>([&] { predictor.predict(prompt); });
    };
    CHECK(contains(refusal(box), "no picture yet"));
    const std::vector<std::uint8_t> grey(std::size_t{20} * 10, 90);
    predictor.set_image({grey.data(), 20, 10, 0, GLESAM_MONO8});
    CHECK(refusal(box) == "nothing");
    CHECK(contains(refusal({}), "no prompt"));
    CHECK(contains(thrown_by<glesam::Error>([&] { predictor.predict(std::vector<glesam::Prompt>{}); }), "no prompt"));
    CHECK(refusal(glesam::Prompt::from_points({{21, -1}})) == "nothing");  // a pixel outside is clipped
    CHECK(contains(refusal(glesam::Prompt::from_points({{22, 0}})), "expected 0 <= X < 20"));
    CHECK(contains(refusal(glesam::Prompt::from_box({0.1, 0.1, 0.9, 1})), "as of a normalised box"));
    CHECK(contains(refusal(glesam::Prompt::from_box({-0.01, 0.1, 1.004, 0.9})), "as of a normalised box"));
    CHECK(contains(thrown_by<glesam::Error>([&] { predictor.encode({1.0F}); }), "expected 786432 floats, found 1"));
    const glesam::Geometry wrong{10, 20, 512, 9999, 512, 0};
    CHECK(contains(thrown_by<glesam::Error>([&] { predictor.encode_prompts(wrong, {box}); }), "geometry: expected"));
    CHECK(contains(thrown_by<glesam::Error>([&] { predictor.set_image({}); }), "no data"));
    CHECK(refusal(box) == "nothing");  // the first picture is still set
}

void the_essay_of_the_header_is_true() {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO);
    const std::vector<std::uint8_t> pixels(std::size_t{400} * 400 * 4, 90);
    predictor.set_image({pixels.data(), 400, 390, std::int64_t{1600}, GLESAM_BGRA});
    const auto prediction = predictor.predict(glesam::Prompt::from_box({20, 5, 380, 300}));
    CHECK(prediction.mask() == prediction.masks);
    glesam::Prompt cup = glesam::Prompt::from_points({{250, 350}, {260, 300}});
    cup.background_points = {{40, 40}};
    cup.mask_input = prediction.logits();
    const auto both = predictor.predict({cup, glesam::Prompt::from_box({0, 0, 90, 90})}, /*multimask=*/true);
    CHECK(both.num_prompts == 2);
    CHECK(both.num_candidates == 3);
    CHECK(both.mask(1, 2) == both.masks + std::ptrdiff_t{5} * 400 * 390);
    std::thread worker([&pixels, session = predictor.new_session()]() mutable {
        session.set_image({pixels.data(), 300, 200});
        CHECK(session.predict(glesam::Prompt::from_box({1, 1, 99, 99})).width == 300);
    });
    worker.join();
}

void the_steps_are_public_one_by_one() {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO);
    const std::vector<std::uint8_t> pixels(std::size_t{200} * 100 * 3, 90);
    const glesam::ImageView picture{pixels.data(), 200, 100};
    const std::vector<glesam::Prompt> prompts = {glesam::Prompt::from_box({10, 10, 150, 90})};
    const auto preprocessed = predictor.preprocess(picture);
    const auto embeddings = predictor.enhance(predictor.encode(preprocessed.input));
    const auto feeds = predictor.encode_prompts(preprocessed.geometry, prompts);
    const auto decoded = predictor.decode(embeddings, feeds);
    const auto masks = predictor.postprocess(preprocessed.geometry, decoded.low_res_masks, 1);
    predictor.set_image(picture);
    const auto expected = predictor.predict(prompts);
    CHECK(std::equal(masks.begin(), masks.end(), expected.mask()));
    CHECK(decoded.iou_predictions[0] == expected.score());
}

void a_preprocessed_picture_gives_the_masks_of_the_picture() {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO);
    std::vector<std::uint8_t> pixels(std::size_t{200} * 100 * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i % 251);
    const auto box = glesam::Prompt::from_box({10, 10, 150, 90});
    predictor.set_image({pixels.data(), 200, 100});
    const auto expected = predictor.predict(box);
    const std::vector<std::uint8_t> mask(expected.mask(), expected.mask() + std::ptrdiff_t{200} * 100);
    const auto preprocessed = predictor.preprocess({pixels.data(), 200, 100});
    predictor.set_image({pixels.data(), 20, 10});
    predictor.set_tensor({preprocessed.input.data(), 512}, predictor.geometry_of(100, 200));
    CHECK(std::equal(mask.begin(), mask.end(), predictor.predict(box).mask()));

    const auto set = [&](const glesam::TensorView& input, const glesam::Geometry& geometry) {
        return thrown_by<glesam::Error>([&] { predictor.set_tensor(input, geometry); });
    };
    CHECK(contains(set({}, preprocessed.geometry), "data: expected a pointer"));
    CHECK(contains(set({preprocessed.input.data(), 64}, preprocessed.geometry), "with S = 512, found S = 64"));
    CHECK(contains(set({preprocessed.input.data(), 512}, {100, 200, 256, 513, 512, 0}), "geometry: expected one that"));
    CHECK(contains(set({preprocessed.input.data(), 512}, {100, 200, 32, 64, 64, 0}), "geometry: expected one that"));
    // Products that overflow: of int, of 64 bits with the number of masks, of memory.
    const int most = 2147483647;
    for (const auto& [height, width] :
         {std::pair{most, most}, {65536, 65536}, {1, most}, {most, 1}, {1 << 20, 1 << 12}}) {
        const glesam::Geometry huge{height, width, 512, 512, 512, 1};
        CHECK(contains(set({preprocessed.input.data(), 512}, huge), "geometry: expected one that"));
        const auto postprocess = [&] { predictor.postprocess(huge, preprocessed.input.data(), 1); };
        CHECK(contains(thrown_by<glesam::Error>(postprocess), "geometry: expected one that"));
        const auto feeds = [&] { predictor.encode_prompts(huge, {box}); };
        CHECK(contains(thrown_by<glesam::Error>(feeds), "geometry: expected one that"));
        const auto geometry = [&] { predictor.geometry_of(height, width); };
        CHECK(contains(thrown_by<glesam::Error>(geometry), "expected at most 1048576 pixels on a side and 2147483647"));
    }
    const auto many = [&] { predictor.postprocess(preprocessed.geometry, preprocessed.input.data(), SIZE_MAX / 2); };
    CHECK(contains(thrown_by<std::length_error>(many), "more masks than fit into memory"));
    CHECK(std::equal(mask.begin(), mask.end(), predictor.predict(box).mask()));
}

void device_memory_is_refused_on_a_cpu() {
    auto predictor = glesam::Predictor::from_bundle(GLESAM_NANO);
    const std::vector<std::uint8_t> grey(std::size_t{64} * 64, 90);
    const auto box = glesam::Prompt::from_box({8, 8, 50, 50});
    predictor.set_image({grey.data(), 64, 64, 0, GLESAM_MONO8});
    try {
        predictor.set_image({grey.data(), 64, 64, 0, GLESAM_MONO8, GLESAM_DEVICE});
        CHECK(false);
    } catch (const glesam::Error& error) {
        CHECK(error.status() == GLESAM_BACKEND_ERROR);
        CHECK(contains(error.what(), "image: expected host memory, found device memory"));
    }
    CHECK(contains(thrown_by<glesam::Error>([&] { predictor.predict_on_device({box}); }), "keeps results on the host"));
    CHECK(predictor.predict(box).width == 64);
}

void a_session_outlives_its_predictor_and_its_bundle() {
    auto first = std::make_unique<glesam::Predictor>(glesam::Predictor::from_bundle(GLESAM_NANO));
    auto session = first->new_session();
    first.reset();
    const std::vector<std::uint8_t> grey(std::size_t{64} * 64 * 3, 90);
    session.set_image({grey.data(), 64, 64});
    const auto prediction = session.predict(glesam::Prompt::from_box({8, 8, 50, 50}), true);
    CHECK(prediction.num_candidates == 3);
    CHECK(prediction.mask(0, 2)[0] <= 1);
    CHECK(std::string(session.info().name) == "nano");
    CHECK(session.timings().encode_ms > 0);
}
#endif

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"null pointers are refused", null_pointers_are_refused},
        {"a message belongs to its thread", a_message_belongs_to_its_thread},
        {"an endless message is cut", an_endless_message_is_cut},
        {"a bundle describes itself", a_bundle_describes_itself},
        {"an error of C++ has the status of C", an_error_of_cpp_has_the_status_of_c},
        {"a device prediction finds its candidates", a_device_prediction_finds_its_candidates},
#ifdef GLESAM_HAS_CPU_BACKEND
        {"predict needs a picture and sound prompts", predict_needs_a_picture_and_sound_prompts},
        {"the essay of the header is true", the_essay_of_the_header_is_true},
        {"the steps are public one by one", the_steps_are_public_one_by_one},
        {"a preprocessed picture gives the masks of the picture",
         a_preprocessed_picture_gives_the_masks_of_the_picture},
        {"device memory is refused on a CPU", device_memory_is_refused_on_a_cpu},
        {"a session outlives its predictor and its bundle", a_session_outlives_its_predictor_and_its_bundle},
#endif
    });
}
