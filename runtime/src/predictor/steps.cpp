// The steps of set_image and predict, one by one.
#include <algorithm>
#include <cstdint>
#include <string>

#include "common/error.hpp"
#include "image/geometry.hpp"
#include "predictor/feeds.hpp"
#include "predictor/predictor.hpp"

namespace glesam::core {

namespace {

constexpr const char* cannot_read =
    "expected host memory, found device memory, which this backend cannot read; copy it to the host";

bool same_geometry(const glesam_geometry& a, const glesam_geometry& b) {
    return a.original_height == b.original_height && a.original_width == b.original_width &&
           a.resized_height == b.resized_height && a.resized_width == b.resized_width && a.image_size == b.image_size &&
           a.direct_masks == b.direct_masks;
}

}  // namespace

std::size_t Predictor::input_size() const { return 3 * squared(model_->manifest.image_size); }

std::size_t Predictor::encoded_size() const {
    return features_at(nullptr, model_->engines.image_encoder->spec().outputs).size();
}

std::size_t Predictor::features_size() const {
    return features_at(nullptr, model_->engines.mask_decoder->spec().inputs).size();
}

glesam_geometry Predictor::geometry_of(int height, int width) const {
    check_picture_size(height, width);
    return core::geometry_of(height, width, static_cast<int>(model_->manifest.image_size), model_->resize);
}

glesam_geometry Predictor::preprocess(const glesam_image_view& view, float* input) {
    Pixels picture = pixels_of(view);
    if (is_on_device("image", view.memory)) {
        picture = device("image", cannot_read).on_host(picture, view.stream);
    }
    Preprocessor& preprocessor = preprocessor_for(picture.height, picture.width);
    preprocessor(picture, input);
    return preprocessor.geometry();
}

/// A caller's preprocessed picture, in memory that the engines can read.
Tensor Predictor::readable_input(const glesam_tensor_view& view) {
    const std::int64_t side = model_->manifest.image_size;
    if (view.image_size != side) {
        throw argument_error("input: expected float32 [1,3,S,S] with S = " + std::to_string(side) + ", found S = " +
                             std::to_string(view.image_size) + "; make it as glesam_preprocess does for this model");
    }
    Tensor input = input_tensor(view.data, side);
    if (!is_on_device("input", view.memory)) return input;
    input.on_device = true;
    input.stream = view.stream;
    return device("input", cannot_read).aligned("input", input);
}

/// Throws BackendError, "NAME: REFUSAL, or ...", where the backend computes on the host.
DeviceStore& Predictor::device(const char* name, const char* refusal) {
    if (device_) return *device_;
    throw backend_error(std::string(name) + ": " + refusal + ", or open the bundle with backend tensorrt");
}

void Predictor::encode(const float* input, float* encoded) {
    const Tensor tensor = input_tensor(input, model_->manifest.image_size);
    const std::vector<Tensor>& outputs = image_encoder_.run(&tensor);
    copy_tensors(outputs.data(), outputs.size(), encoded);
}

void Predictor::enhance(const float* encoded, float* features) {
    if (!gle_) throw backend_error("gle: this predictor was opened without GLE; open it with enhance");
    const Features input = features_at(encoded, model_->engines.image_encoder->spec().outputs);
    std::fill(auxiliary_.begin(), auxiliary_.end(), 0.0F);
    float* rest = copy_tensors(run_gle(input.tensors[0], false).data(), 1, features);
    copy_tensors(&input.tensors[1], input.count - 1, rest);
}

glesam_prompt_feeds Predictor::encode_prompts(const glesam_geometry& geometry, const glesam_prompt* prompts,
                                              std::size_t count) {
    return prompt_encoder_(prompts, count, geometry);
}

glesam_decoded Predictor::decode(const float* features, const glesam_prompt_feeds& feeds) {
    return decode(features_at(features, model_->engines.mask_decoder->spec().inputs), feeds);
}

glesam_decoded Predictor::decode(const Features& features, const glesam_prompt_feeds& feeds) {
    const auto& outputs = mask_decoder_.run(decoder_inputs(features, feeds).data());
    return {outputs[0].floats(), outputs[1].floats(), feeds.num_prompts};
}

void Predictor::postprocess(const glesam_geometry& geometry, const float* low_res_masks, std::size_t count,
                            std::uint8_t* masks) {
    MaskResizer& resizer = mask_resizer_for(geometry);
    const auto threshold = static_cast<float>(model_->manifest.mask_threshold);
    const std::size_t low_res = squared(geometry.image_size / 4);
    const std::size_t pixels =
        static_cast<std::size_t>(geometry.original_height) * static_cast<std::size_t>(geometry.original_width);
    if (count > static_cast<std::size_t>(PTRDIFF_MAX) / std::max(pixels, low_res * sizeof(float))) {
        throw argument_error("count: expected the number of masks in memory, found " + std::to_string(count) +
                             "; give how many low_res_masks holds");
    }
    for (std::size_t i = 0; i < count; ++i) resizer(low_res_masks + i * low_res, threshold, masks + i * pixels);
}

Preprocessor& Predictor::preprocessor_for(int height, int width) {
    if (!preprocessor_ || preprocessor_->geometry().original_height != height ||
        preprocessor_->geometry().original_width != width) {
        preprocessor_.emplace(model_->manifest, height, width, model_->resize);
    }
    return *preprocessor_;
}

MaskResizer& Predictor::mask_resizer_for(const glesam_geometry& geometry) {
    if (!mask_resizer_ || !same_geometry(mask_geometry_, geometry)) {
        mask_resizer_.emplace(geometry);
        mask_geometry_ = geometry;
    }
    return *mask_resizer_;
}

}  // namespace glesam::core
