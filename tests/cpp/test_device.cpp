// Pictures, tensors and answers in device memory, on a stand-in: what is copied, when, and that masks are the host's.
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "fake_device.hpp"

using glesam::core::Error;
using glesam::core::Predictor;
using glesam_tests::contains;
using glesam_tests::device_model;
using glesam_tests::fake_model;
using glesam_tests::FakeDevice;
using glesam_tests::Picture;
using glesam_tests::thrown_by;

namespace {

const glesam_box box{1, 2, 50, 40};
const std::array<glesam_point, 2> points = {{{3, 4}, {20.5, 30.25}}};
const std::array<glesam_prompt, 2> prompts = {
    {{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0}, {nullptr, points.data(), 2, points.data(), 1, nullptr, 0, 0}}};

struct Answer {
    std::vector<std::uint8_t> masks;
    std::vector<float> scores;
    std::vector<float> logits;
    bool operator==(const Answer& other) const {
        return masks == other.masks && scores == other.scores && logits == other.logits;
    }
};

Answer answer_of(Predictor& predictor, bool multimask = true) {
    const auto found = predictor.predict(prompts.data(), prompts.size(), multimask);
    const auto count = static_cast<std::size_t>(found.num_prompts) * static_cast<std::size_t>(found.num_candidates);
    const auto pixels = static_cast<std::size_t>(found.height) * static_cast<std::size_t>(found.width);
    const auto low_res = static_cast<std::size_t>(found.low_res_size) * static_cast<std::size_t>(found.low_res_size);
    return {{found.masks, found.masks + count * pixels},
            {found.iou_predictions, found.iou_predictions + count},
            {found.low_res_masks, found.low_res_masks + count * low_res}};
}

Answer on_host(const Picture& picture, bool multimask = true) {
    Predictor predictor(fake_model());
    predictor.set_image(picture.view());
    return answer_of(predictor, multimask);
}

/// Bytes in device memory, as another library of the process would have them there.
class Uploaded {
   public:
    Uploaded(std::shared_ptr<FakeDevice> device, const void* bytes, std::size_t size, std::size_t beyond = 0)
        : device_(std::move(device)), address_(device_->allocate(size, beyond)) {
        std::memcpy(device_->bytes_at(address_, size), bytes, size);
    }
    Uploaded(const Uploaded&) = delete;
    Uploaded& operator=(const Uploaded&) = delete;
    ~Uploaded() { device_->free(address_); }

    const std::uint8_t* pixels() const { return static_cast<const std::uint8_t*>(address_); }
    const float* floats() const { return static_cast<const float*>(address_); }

   private:
    std::shared_ptr<FakeDevice> device_;
    void* address_;
};

Uploaded uploaded(const std::shared_ptr<FakeDevice>& device, const Picture& picture) {
    return {device, picture.pixels.data(), picture.pixels.size()};
}

glesam_image_view view_of(const Uploaded& pixels, const Picture& picture, void* stream = nullptr) {
    return {pixels.pixels(), picture.width, picture.height, 0, GLESAM_RGB, GLESAM_DEVICE, stream};
}

/// A picture as set_tensor takes it.
struct Preprocessed {
    std::vector<float> input;
    glesam_geometry geometry;

    explicit Preprocessed(const Picture& picture) {
        Predictor predictor(fake_model());
        input.resize(predictor.input_size());
        geometry = predictor.preprocess(picture.view(), input.data());
    }

    Uploaded on(const std::shared_ptr<FakeDevice>& device, std::size_t beyond = 0) const {
        return {device, input.data(), 4 * input.size(), beyond};
    }
};

glesam_tensor_view view_of(const Uploaded& input, void* stream = nullptr) {
    return {input.floats(), 64, GLESAM_DEVICE, stream};
}

using Work = std::vector<std::string>;
const Work encoding = {"run image_encoder", "run gle", "copy"};
const Work decoding = {"to device point_coords", "to device point_labels", "to device mask_input",
                       "to device has_mask_input", "run mask_decoder"};

Work operator+(Work first, const Work& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

void a_device_view_is_preprocessed_to_the_bit(std::int32_t format, int channels, int gap) {
    const int width = 61;
    const int height = 47;
    const int stride = width * channels + gap;
    const Picture bytes(stride, height, static_cast<unsigned>(gap));  // three times as many as are needed
    // The last row ends with its last pixel: what is read beyond it is no memory.
    const std::size_t size =
        static_cast<std::size_t>(stride) * (height - 1) + static_cast<std::size_t>(width * channels);
    const auto device = std::make_shared<FakeDevice>();
    const Uploaded pixels(device, bytes.pixels.data(), size);
    Predictor predictor(device_model(device));
    std::vector<float> expected(predictor.input_size());
    std::vector<float> found(predictor.input_size(), -1);
    glesam_image_view view{bytes.pixels.data(), width, height, stride, format, GLESAM_HOST, nullptr};
    predictor.preprocess(view, expected.data());
    predictor.set_image(view);
    const Answer masks = answer_of(predictor);
    view.data = pixels.pixels();
    view.memory = GLESAM_DEVICE;
    predictor.preprocess(view, found.data());
    CHECK(found == expected);
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

void pixels_are_read_after_what_their_stream_was_given() {
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

void a_tensor_is_taken_where_it_is() {
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

void a_tensor_is_read_after_what_its_stream_was_given() {
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

void a_tensor_of_the_host_is_taken_everywhere() {
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

void what_fails_leaves_the_former_picture() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture former(90, 60, 9);
    const Picture later(50, 70, 10);
    const Preprocessed preprocessed(later);
    const Uploaded pixels = uploaded(device, later);
    const Uploaded input = preprocessed.on(device);
    Predictor predictor(device_model(device));
    predictor.set_image(former.view());
    const Answer expected = on_host(former);
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

void answers_on_the_device_are_those_of_the_host() {
    const auto device = std::make_shared<FakeDevice>();
    const Picture picture(90, 60, 11);
    Predictor predictor(device_model(device));
    predictor.set_image(picture.view());
    for (const bool multimask : {false, true}) {
        const Answer expected = on_host(picture, multimask);
        const auto found = predictor.predict_on_device(prompts.data(), prompts.size(), multimask);
        CHECK(found.num_prompts == 2 && found.num_candidates == (multimask ? 3 : 1) && found.low_res_size == 16);
        CHECK(found.stream != nullptr);
        std::vector<float> logits;
        std::vector<float> scores;
        for (std::size_t i = 0; i < expected.scores.size(); ++i) {
            const auto candidates = static_cast<std::size_t>(found.num_candidates);
            const std::size_t at = i / candidates * static_cast<std::size_t>(found.prompt_stride) + i % candidates;
            std::array<float, 256> mask{};
            std::memcpy(mask.data(), device->bytes_at(found.low_res_masks + at * mask.size(), sizeof mask),
                        sizeof mask);
            logits.insert(logits.end(), mask.begin(), mask.end());
            std::memcpy(&scores.emplace_back(), device->bytes_at(found.iou_predictions + at, 4), 4);
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
        {"pixels are read after what their stream was given", pixels_are_read_after_what_their_stream_was_given},
        {"the embedding never comes to the host", the_embedding_never_comes_to_the_host},
        {"a tensor is taken where it is", a_tensor_is_taken_where_it_is},
        {"a tensor is read after what its stream was given", a_tensor_is_read_after_what_its_stream_was_given},
        {"a tensor of the host is taken everywhere", a_tensor_of_the_host_is_taken_everywhere},
        {"tensors of another model are refused", tensors_of_another_model_are_refused},
        {"what fails leaves the former picture", what_fails_leaves_the_former_picture},
        {"answers on the device are those of the host", answers_on_the_device_are_those_of_the_host},
        {"answers on the device need what predict needs", answers_on_the_device_need_what_predict_needs},
        {"a backend of the host refuses device memory", a_backend_of_the_host_refuses_device_memory},
        {"sessions share a device and nothing else", sessions_share_a_device_and_nothing_else},
        {"a session keeps its picture while another sets one", a_session_keeps_its_picture_while_another_sets_one},
    });
}
