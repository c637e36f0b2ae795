// Preprocessed inputs and predictions in the memory of a fake device.
#include <array>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "device_fixtures.hpp"

using glesam::core::Error;
using glesam::core::Predictor;
using namespace glesam_tests;

namespace {

void a_tensor_is_read_in_place() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture picture(90, 60, 4);
    const Preprocessed preprocessed(picture);
    const Uploaded aligned = preprocessed.on(device);
    const Uploaded unaligned = preprocessed.on(device, 4);
    Predictor predictor(device_model(device));
    predictor.set_tensor(view_of(aligned), preprocessed.geometry);
    CHECK(device->done() == encoding);
    CHECK(answer_of(predictor) == on_host(picture));
    predictor.set_image(Picture(20, 30, 5).view());
    device->done();
    predictor.set_tensor(view_of(unaligned), preprocessed.geometry);
    CHECK(device->done() == Work{"copy"} + encoding);
    CHECK(answer_of(predictor) == on_host(picture));
}

void a_tensor_is_read_after_the_work_of_its_stream() {
    const Preprocessed preprocessed(Picture(90, 60, 6));
    for (const std::size_t beyond : {0, 128}) {
        const auto device = std::make_shared<FakeDevice>();
        const std::vector<float> before(preprocessed.input.size());
        const Uploaded input(device, before.data(), 4 * before.size(), beyond);
        int stream = 0;
        device->queue(&stream, [&] {
            std::memcpy(device->bytes_at(input.floats(), 4 * before.size()), preprocessed.input.data(),
                        4 * before.size());
        });
        Predictor predictor(device_model(device));
        predictor.set_tensor(view_of(input, &stream), preprocessed.geometry);
        CHECK(answer_of(predictor) == on_host(Picture(90, 60, 6)));
    }
}

void a_host_tensor_is_accepted_everywhere() {
    const Picture picture(90, 60, 7);
    const Preprocessed preprocessed(picture);
    const glesam_tensor_view input{preprocessed.input.data(), 64, GLESAM_HOST, nullptr};
    for (const auto& model : {fake_model(), device_model(std::make_shared<FakeDevice>())}) {
        Predictor predictor(model);
        const auto geometry = predictor.geometry_of(60, 90);
        CHECK(geometry.resized_height == 43 && geometry.resized_width == 64 && geometry.image_size == 64);
        predictor.set_tensor(input, geometry);
        CHECK(answer_of(predictor) == on_host(picture));
    }
}

void tensors_of_another_model_are_refused() {
    const auto device = std::make_shared<FakeDevice>();
    const Preprocessed preprocessed(Picture(90, 60, 8));
    const Uploaded input = preprocessed.on(device);
    Predictor predictor(device_model(device));
    const auto refusal = [&](const glesam_tensor_view& view) {
        return thrown_by<Error>([&] { predictor.set_tensor(view, preprocessed.geometry); });
    };
    CHECK(contains(refusal({input.floats(), 128, GLESAM_DEVICE, nullptr}), "with S = 64, found S = 128"));
    CHECK(contains(refusal({input.floats(), 64, 2, nullptr}), "input: expected a glesam_memory, found 2"));
    CHECK(
        contains(refusal({preprocessed.input.data(), 64, GLESAM_DEVICE, nullptr}), "input: the fake device does not"));
    CHECK(contains(thrown_by<Error>([&] { predictor.geometry_of(0, 5); }), "at least 1 x 1 pixels, found 0 x 5"));
    CHECK(device->done().empty());
}

void answers_on_the_device_are_those_of_the_host() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture picture(90, 60, 11);
    Predictor predictor(device_model(device));
    predictor.set_image(picture.view());
    for (const bool multimask : {false, true}) {
        const Answer expected = on_host(picture, multimask);
        const auto prediction = predictor.predict_on_device(prompts.data(), prompts.size(), multimask);
        CHECK(prediction.num_prompts == 2 && prediction.num_candidates == (multimask ? 3 : 1) &&
              prediction.low_res_size == 16);
        CHECK(prediction.stream != nullptr);
        std::vector<float> logits;
        std::vector<float> scores;
        for (std::size_t i = 0; i < expected.scores.size(); ++i) {
            const auto candidates = static_cast<std::size_t>(prediction.num_candidates);
            const std::size_t at = i / candidates * static_cast<std::size_t>(prediction.prompt_stride) + i % candidates;
            std::array<float, 256> mask{};
            std::memcpy(mask.data(), device->bytes_at(prediction.low_res_masks + at * mask.size(), sizeof mask),
                        sizeof mask);
            logits.insert(logits.end(), mask.begin(), mask.end());
            std::memcpy(&scores.emplace_back(), device->bytes_at(prediction.iou_predictions + at, 4), 4);
        }
        CHECK(logits == expected.logits);
        CHECK(scores == expected.scores);
    }
}

void answers_on_the_device_need_what_predict_needs() {
    Predictor predictor(device_model(std::make_shared<FakeDevice>()));
    const auto refusal = [&](std::size_t count) {
        return thrown_by<Error>([&] { predictor.predict_on_device(prompts.data(), count, false); });
    };
    CHECK(contains(refusal(1), "no picture yet"));
    predictor.set_image(Picture(90, 60, 12).view());
    CHECK(contains(refusal(0), "no prompt"));
    CHECK(refusal(1) == "nothing");
}

void a_degradation_level_is_copied_to_the_host() {
    Predictor host(fake_model(glesam::core::Family::sam, true));
    Predictor on_device(device_model(std::make_shared<FakeDevice>(), glesam::core::Family::sam, true));
    for (const unsigned seed : {7U, 8U}) {
        const Picture picture(90, 60, seed);
        host.set_image(picture.view());
        on_device.set_image(picture.view());
        CHECK(host.degradation_level().has_value());
        CHECK(on_device.degradation_level() == host.degradation_level());
    }
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"a tensor is read in place", a_tensor_is_read_in_place},
        {"a tensor is read after the work of its stream", a_tensor_is_read_after_the_work_of_its_stream},
        {"a host tensor is accepted everywhere", a_host_tensor_is_accepted_everywhere},
        {"tensors of another model are refused", tensors_of_another_model_are_refused},
        {"answers on the device are those of the host", answers_on_the_device_are_those_of_the_host},
        {"answers on the device need what predict needs", answers_on_the_device_need_what_predict_needs},
        {"a degradation level is copied to the host", a_degradation_level_is_copied_to_the_host},
    });
}
