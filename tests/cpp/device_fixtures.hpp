// Fixtures of the device memory tests: pictures and tensors on a FakeDevice, and the work that they cause.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "answers.hpp"
#include "fake_device.hpp"

namespace glesam_tests {

/// The results of the same graphs on the host.
inline Answer on_host(const Picture& picture, bool multimask = true) {
    glesam::core::Predictor predictor(fake_model());
    predictor.set_image(picture.view());
    return answer_of(predictor, multimask);
}

/// Bytes in device memory, written by another library of the process.
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

inline Uploaded uploaded(const std::shared_ptr<FakeDevice>& device, const Picture& picture) {
    return {device, picture.pixels.data(), picture.pixels.size()};
}

inline glesam_image_view view_of(const Uploaded& pixels, const Picture& picture, void* stream = nullptr) {
    return {pixels.pixels(), picture.width, picture.height, 0, GLESAM_RGB, GLESAM_DEVICE, stream};
}

/// A preprocessed picture for set_tensor.
struct Preprocessed {
    std::vector<float> input;
    glesam_geometry geometry;

    explicit Preprocessed(const Picture& picture) {
        glesam::core::Predictor predictor(fake_model());
        input.resize(predictor.input_size());
        geometry = predictor.preprocess(picture.view(), input.data());
    }

    Uploaded on(const std::shared_ptr<FakeDevice>& device, std::size_t beyond = 0) const {
        return {device, input.data(), 4 * input.size(), beyond};
    }
};

inline glesam_tensor_view view_of(const Uploaded& input, void* stream = nullptr) {
    return {input.floats(), 64, GLESAM_DEVICE, stream};
}

/// The work as FakeDevice lists it.
using Work = std::vector<std::string>;
inline const Work encoding = {"run image_encoder", "run gle", "copy"};
inline const Work decoding = {"to device point_coords", "to device point_labels", "to device mask_input",
                              "to device has_mask_input", "run mask_decoder"};

inline Work operator+(Work first, const Work& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

}  // namespace glesam_tests
