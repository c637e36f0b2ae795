// Pictures in the memory of a fake device: what is copied, when, and that the masks are the host's.
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "device_fixtures.hpp"

using glesam::core::Error;
using glesam::core::Predictor;
using namespace glesam_tests;

namespace {

void a_device_view_is_preprocessed_to_the_bit(std::int32_t format, int channels, int gap) {
    const int width = 61;
    const int height = 47;
    const int stride = width * channels + gap;
    const Picture bytes(stride, height, static_cast<unsigned>(gap));  // three times as many as are needed
    // The last row ends with its last pixel: the memory beyond is invalid.
    const std::size_t size =
        static_cast<std::size_t>(stride) * (height - 1) + static_cast<std::size_t>(width * channels);
    const auto device = std::make_shared<FakeDevice>();
    const Uploaded pixels(device, bytes.pixels.data(), size);
    Predictor predictor(device_model(device));
    std::vector<float> expected(predictor.input_size());
    std::vector<float> input(predictor.input_size(), -1);
    glesam_image_view view{bytes.pixels.data(), width, height, stride, format, GLESAM_HOST, nullptr};
    predictor.preprocess(view, expected.data());
    predictor.set_image(view);
    const Answer masks = answer_of(predictor);
    view.data = pixels.pixels();
    view.memory = GLESAM_DEVICE;
    predictor.preprocess(view, input.data());
    CHECK(input == expected);
    predictor.set_image(view);
    CHECK(answer_of(predictor) == masks);
}

void device_views_give_the_masks_of_host_views() {
    const std::array<int, 5> channels = {3, 3, 4, 4, 1};
    for (const int format : {GLESAM_RGB, GLESAM_BGR, GLESAM_RGBA, GLESAM_BGRA, GLESAM_MONO8}) {
        for (const int gap : {0, 1, 33}) {
            a_device_view_is_preprocessed_to_the_bit(format, channels.at(static_cast<std::size_t>(format)), gap);
        }
    }
}

void pixels_are_read_after_the_work_of_their_stream() {
    int others = 0;
    for (void* stream : {static_cast<void*>(nullptr), static_cast<void*>(&others)}) {
        const auto device = std::make_shared<FakeDevice>();
        const Picture before(90, 60, 1);
        const Picture picture(90, 60, 2);
        const Uploaded pixels = uploaded(device, before);
        device->queue(stream, [&] {
            std::copy(picture.pixels.begin(), picture.pixels.end(),
                      device->bytes_at(pixels.pixels(), picture.pixels.size()));
        });
        Predictor predictor(device_model(device));
        predictor.set_image(view_of(pixels, picture, stream));
        CHECK(answer_of(predictor) == on_host(picture));
    }
}

void the_embedding_never_comes_to_the_host() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture picture(90, 60, 3);
    const Uploaded pixels = uploaded(device, picture);
    Predictor predictor(device_model(device));
    predictor.set_image(picture.view());
    CHECK(device->done() == Work{"to device image"} + encoding);
    predictor.set_image(view_of(pixels, picture));
    CHECK(device->done() == Work{"copy to host"} + Work{"to device image"} + encoding);
    CHECK(answer_of(predictor) == on_host(picture));
    CHECK(device->done() == decoding + Work{"to host low_res_masks"} + Work{"to host iou_predictions"});
    predictor.predict_on_device(prompts.data(), prompts.size(), true);
    CHECK(device->done() == decoding);
}

void a_failure_leaves_the_current_picture() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture first(90, 60, 9);
    const Picture later(50, 70, 10);
    const Preprocessed preprocessed(later);
    const Uploaded pixels = uploaded(device, later);
    const Uploaded input = preprocessed.on(device);
    Predictor predictor(device_model(device));
    predictor.set_image(first.view());
    const Answer expected = on_host(first);
    for (const char* work : {"copy to host", "run image_encoder", "run gle", "copy"}) {
        device->fail(work);
        CHECK(contains(thrown_by<Error>([&] { predictor.set_image(view_of(pixels, later)); }), work));
        CHECK(answer_of(predictor) == expected);
    }
    for (const char* work : {"run image_encoder", "run gle", "copy"}) {
        device->fail(work);
        CHECK(contains(thrown_by<Error>([&] { predictor.set_tensor(view_of(input), preprocessed.geometry); }), work));
        CHECK(answer_of(predictor) == expected);
    }
    auto nowhere = view_of(pixels, later);
    nowhere.data = later.pixels.data();
    CHECK(
        contains(thrown_by<Error>([&] { predictor.set_image(nowhere); }), "image: the fake device does not reach it"));
    CHECK(answer_of(predictor) == expected);
    predictor.set_image(view_of(pixels, later));
    CHECK(answer_of(predictor) == on_host(later));
}

void all_features_of_a_picture_stay_on_the_device(glesam::core::Family family) {
    const auto device = std::make_shared<FakeDevice>();
    Predictor predictor(device_model(device, family));
    Predictor on_host(fake_model(family));
    for (const unsigned seed : {11U, 12U, 13U}) {
        const Picture picture(90, 60, seed);
        predictor.set_image(picture.view());
        on_host.set_image(picture.view());
        CHECK(answer_of(predictor) == answer_of(on_host));
    }
}

void a_backend_of_the_host_refuses_device_memory() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture picture(90, 60, 13);
    const Preprocessed preprocessed(picture);
    const Uploaded pixels = uploaded(device, picture);
    const Uploaded input = preprocessed.on(device);
    Predictor predictor(fake_model());
    predictor.set_image(picture.view());
    const auto expected = answer_of(predictor);
    const std::string refusal =
        ": expected host memory, found device memory, which this backend cannot read; copy it to the host, or open "
        "the bundle with backend tensorrt";
    CHECK(thrown_by<Error>([&] { predictor.set_image(view_of(pixels, picture)); }) == "image" + refusal);
    CHECK(thrown_by<Error>([&] { predictor.set_tensor(view_of(input), preprocessed.geometry); }) == "input" + refusal);
    CHECK(thrown_by<Error>([&] { predictor.predict_on_device(prompts.data(), 1, false); }) ==
          "predict_on_device: this backend keeps results on the host; call predict, or open the bundle with backend "
          "tensorrt");
    CHECK(answer_of(predictor) == expected);
}

void sessions_share_a_device_and_nothing_else() {
    const auto device = std::make_shared<FakeDevice>();
    const Predictor shared(device_model(device));
    std::array<std::thread, 4> threads;
    std::array<bool, 4> right{};
    for (std::size_t thread = 0; thread < threads.size(); ++thread) {
        threads.at(thread) = std::thread([&, thread] {
            const auto session = shared.new_session();
            bool good = true;
            for (unsigned round = 0; round < 8; ++round) {
                const Picture picture(90, 60, static_cast<unsigned>(thread) + round);
                const Uploaded pixels = uploaded(device, picture);
                session->set_image(view_of(pixels, picture));
                good = good && answer_of(*session) == on_host(picture);
            }
            right.at(thread) = good;
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(right == (std::array<bool, 4>{true, true, true, true}));
}

void a_session_keeps_its_picture_while_another_sets_one() {
    const auto device = std::make_shared<FakeDevice>();
    Predictor first(device_model(device));
    const auto second = first.new_session();
    first.set_image(Picture(90, 60, 14).view());
    second->set_image(Picture(50, 70, 15).view());
    CHECK(answer_of(first) == on_host(Picture(90, 60, 14)));
    CHECK(answer_of(*second) == on_host(Picture(50, 70, 15)));
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"device views give the masks of host views", device_views_give_the_masks_of_host_views},
        {"pixels are read after the work of their stream", pixels_are_read_after_the_work_of_their_stream},
        {"the embedding never comes to the host", the_embedding_never_comes_to_the_host},
        {"a failure leaves the current picture", a_failure_leaves_the_current_picture},
        {"all features of a picture stay on the device",
         [] {
             for (const auto family : glesam_tests::families) all_features_of_a_picture_stay_on_the_device(family);
         }},
        {"a backend of the host refuses device memory", a_backend_of_the_host_refuses_device_memory},
        {"sessions share a device and nothing else", sessions_share_a_device_and_nothing_else},
        {"a session keeps its picture while another sets one", a_session_keeps_its_picture_while_another_sets_one},
    });
}
