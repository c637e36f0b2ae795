// predict allocates nothing after warm-up, nor does set_image for pictures of one size: every operator new is counted.
// A backend's own allocations are not counted.
#include <cstdlib>
#include <new>
#include <utility>

#include "check.hpp"
#include "fake_device.hpp"

namespace {

// Allocations of this thread, in which all of our code runs: a backend's threads may allocate after its call returned.
thread_local long allocations = 0;
thread_local bool counting = false;

void* counted(std::size_t size) {
    if (counting) ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}

}  // namespace

// The library has no over-aligned types, so it calls no other form.
void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using glesam::core::Engine;
using glesam::core::Engines;
using glesam::core::GraphSpec;
using glesam::core::Model;
using glesam::core::Predictor;
using glesam::core::Request;
using glesam::core::Tensor;
using glesam_tests::Picture;

class UncountedRequest : public Request {
   public:
    explicit UncountedRequest(std::unique_ptr<Request> request) : request_(std::move(request)) {}
    void run(const Tensor* inputs, Tensor* outputs) override {
        const bool before = std::exchange(counting, false);
        request_->run(inputs, outputs);
        counting = before;
    }

   private:
    std::unique_ptr<Request> request_;
};

class UncountedEngine : public Engine {
   public:
    explicit UncountedEngine(std::shared_ptr<const Engine> engine) : engine_(std::move(engine)) {}
    const GraphSpec& spec() const override { return engine_->spec(); }
    std::unique_ptr<Request> new_request() const override {
        return std::make_unique<UncountedRequest>(engine_->new_request());
    }

   private:
    std::shared_ptr<const Engine> engine_;
};

std::shared_ptr<const Model> uncounted(Model model) {
    for (auto* engine : {&model.engines.image_encoder, &model.engines.gle, &model.engines.mask_decoder}) {
        *engine = std::make_shared<UncountedEngine>(*engine);
    }
    return std::make_shared<const Model>(std::move(model));
}

/// A camera's loop: pictures of one size, one to three prompts.
void one_round(Predictor& predictor, const Picture& picture) {
    predictor.set_image(picture.view());
    const glesam_box box{1, 2, 50, 40};
    const glesam_point points[3] = {{3, 4}, {20.5, 30.25}, {30, 20}};
    glesam_prompt prompts[3] = {{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0},
                                {nullptr, points, 3, points, 1, nullptr, 0, 0},
                                {&box, points, 2, nullptr, 0, nullptr, 0, 0}};
    const auto first = predictor.predict(prompts, 1, false);
    std::vector<float> kept;
    counting = false;
    kept.assign(first.low_res_masks, first.low_res_masks + first.low_res_size * first.low_res_size);
    counting = true;
    prompts[1].mask_input = kept.data();
    prompts[1].mask_input_height = prompts[1].mask_input_width = first.low_res_size;
    predictor.predict(prompts, 3, true);
    predictor.predict(prompts, 2, false);
}

long allocations_after_warm_up(Predictor& predictor) {
    const Picture picture(120, 90, 1);
    one_round(predictor, picture);
    counting = true;
    allocations = 0;
    for (int round = 0; round < 5; ++round) one_round(predictor, picture);
    counting = false;
    return allocations;
}

void the_count_sees_an_allocation() {
    Predictor predictor(uncounted(*glesam_tests::fake_model()));
    const Picture small(12, 9, 1);
    counting = true;
    allocations = 0;
    predictor.set_image(small.view());  // the first picture of a size
    counting = false;
    CHECK(allocations > 0);
}

void predict_allocates_nothing_around_fake_engines() {
    for (const auto family : glesam_tests::families) {
        Predictor predictor(uncounted(*glesam_tests::fake_model(family)));
        CHECK(allocations_after_warm_up(predictor) == 0);
    }
}

/// One round of pictures, tensors and predictions in device memory.
void one_round_on_a_device(Predictor& predictor, const glesam_image_view& picture, const glesam_tensor_view& input) {
    const glesam_box box{1, 2, 50, 40};
    const glesam_prompt prompt{&box, nullptr, 0, nullptr, 0, nullptr, 0, 0};
    predictor.set_image(picture);
    predictor.predict(&prompt, 1, false);
    predictor.set_tensor(input, predictor.geometry_of(picture.height, picture.width));
    predictor.predict_on_device(&prompt, 1, true);
}

void nothing_is_allocated_around_a_device() {
    const auto device = std::make_shared<glesam_tests::FakeDevice>();
    Predictor predictor(glesam_tests::device_model(device));
    const auto* pixels = static_cast<const std::uint8_t*>(device->allocate(std::size_t{120} * 90 * 3));
    float* unaligned = static_cast<float*>(device->allocate(4 * predictor.input_size(), 4));
    std::fill_n(device->bytes_at(unaligned, 4 * predictor.input_size()), 4 * predictor.input_size(), std::uint8_t{0});
    const glesam_image_view picture{pixels, 120, 90, 0, GLESAM_RGB, GLESAM_DEVICE, nullptr};
    const glesam_tensor_view input{unaligned, 64, GLESAM_DEVICE, nullptr};
    for (int round = 0; round < 2; ++round) one_round_on_a_device(predictor, picture, input);
    const long on_device = device->allocations();
    counting = true;
    allocations = 0;
    for (int round = 0; round < 5; ++round) one_round_on_a_device(predictor, picture, input);
    counting = false;
    CHECK(allocations == 0);
    CHECK(device->allocations() == on_device);
}

[[maybe_unused]] void predict_allocates_nothing_around(const char* backend) {
    const auto bundle = glesam::core::open_bundle(GLESAM_NANO);
    Engines engines = glesam::core::open_engines(backend, bundle, true);
    Predictor predictor(uncounted({bundle.manifest, bundle.hash, engines, glesam::core::Resize::longest_side}));
    CHECK(allocations_after_warm_up(predictor) == 0);
}

}  // namespace

int main() {
    return glesam_tests::run_all({
        {"the count sees an allocation", the_count_sees_an_allocation},
        {"predict allocates nothing around fake engines", predict_allocates_nothing_around_fake_engines},
        {"nothing is allocated around a device", nothing_is_allocated_around_a_device},
#ifdef GLESAM_HAS_OPENVINO
        {"predict allocates nothing around OpenVINO", [] { predict_allocates_nothing_around("openvino"); }},
#endif
#ifdef GLESAM_HAS_ONNXRUNTIME
        {"predict allocates nothing around ONNX Runtime", [] { predict_allocates_nothing_around("onnxruntime"); }},
#endif
    });
}
