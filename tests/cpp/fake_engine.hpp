// A fake backend: graphs of the contract's shapes that compute something simple from all of their inputs.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "engines/engine.hpp"
#include "predictor/predictor.hpp"

namespace glesam_tests {

using glesam::core::Dimension;
using glesam::core::Engine;
using glesam::core::GraphSpec;
using glesam::core::Request;
using glesam::core::Shape;
using glesam::core::Tensor;

/// Every output is the sum of 7 elements from each float input, plus its own index, minus a constant.
class FakeRequest : public Request {
   public:
    explicit FakeRequest(const GraphSpec& spec) : spec_(spec), memory_(spec.outputs.size()) {}

    void run(const Tensor* inputs, Tensor* outputs) override {
        const float sum = sampled(inputs);
        for (std::size_t i = 0; i < memory_.size(); ++i) {
            outputs[i].shape = shape_of(spec_.outputs[i].shape, inputs);
            memory_[i].resize(outputs[i].shape.elements());
            for (std::size_t k = 0; k < memory_[i].size(); ++k) {
                memory_[i][k] = sum + static_cast<float>(k % 97) - 48.0F;
            }
            outputs[i].data = memory_[i].data();
        }
    }

   private:
    float sampled(const Tensor* inputs) const {
        float sum = 0;
        for (std::size_t i = 0; i < spec_.inputs.size(); ++i) {
            if (spec_.inputs[i].dtype != "float32") continue;
            const auto* values = static_cast<const float*>(inputs[i].data);
            const std::size_t size = inputs[i].shape.elements();
            for (std::size_t k = 0; k < size; k += std::max<std::size_t>(1, size / 7)) sum += values[k];
        }
        return sum / 100;
    }

    /// Number of prompts: the first size of the last input.
    Shape shape_of(const std::vector<Dimension>& dimensions, const Tensor* inputs) const {
        Shape shape;
        shape.rank = dimensions.size();
        for (std::size_t i = 0; i < shape.rank; ++i) {
            const auto* fixed = std::get_if<std::int64_t>(&dimensions[i]);
            shape.sizes[i] = fixed != nullptr ? *fixed : inputs[spec_.inputs.size() - 1].shape.sizes[0];
        }
        return shape;
    }

    const GraphSpec& spec_;
    std::vector<std::vector<float>> memory_;
};

class FakeEngine : public Engine {
   public:
    explicit FakeEngine(GraphSpec spec) : spec_(std::move(spec)) {}
    const GraphSpec& spec() const override { return spec_; }
    std::unique_ptr<Request> new_request() const override { return std::make_unique<FakeRequest>(spec_); }

   private:
    GraphSpec spec_;
};

constexpr std::array<glesam::core::Family, 3> families = {glesam::core::Family::sam, glesam::core::Family::sam2,
                                                          glesam::core::Family::robustsam};

/// A model of S = 64 whose engines are fakes; with `levels`, its GLE predicts degradation levels.
inline std::shared_ptr<const glesam::core::Model> fake_model(glesam::core::Family family = glesam::core::Family::sam,
                                                             bool levels = false) {
    glesam::core::Model model;
    model.manifest.family = family;
    model.manifest.encoder_channels = family == glesam::core::Family::robustsam ? 32 : 0;
    model.manifest.name = "fake";
    model.manifest.multimask = true;
    model.manifest.image_size = 64;
    model.manifest.pixel_mean = {123.675, 116.28, 103.53};
    model.manifest.pixel_std = {58.395, 57.12, 57.375};
    model.resize = glesam::core::Resize::longest_side;
    auto specs = model.manifest.contract();
    if (levels) {
        specs[1] = glesam::core::with_options(specs[1], {{glesam::core::degradation_level, "float32", {}}});
    }
    model.engines = {std::make_shared<FakeEngine>(specs[0]), std::make_shared<FakeEngine>(specs[1]),
                     std::make_shared<FakeEngine>(specs[2])};
    return std::make_shared<const glesam::core::Model>(std::move(model));
}

/// A picture that differs with `seed`, packed RGB.
struct Picture {
    int width;
    int height;
    std::vector<std::uint8_t> pixels;

    Picture(int width_px, int height_px, unsigned seed) : width(width_px), height(height_px) {
        pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
        std::uint32_t state = seed * 2654435761U + 1;
        for (auto& value : pixels) {
            state = state * 1664525U + 1013904223U;
            value = static_cast<std::uint8_t>(state >> 24U);
        }
    }

    glesam_image_view view() const { return {pixels.data(), width, height, 0, GLESAM_RGB, GLESAM_HOST, nullptr}; }
};

}  // namespace glesam_tests
