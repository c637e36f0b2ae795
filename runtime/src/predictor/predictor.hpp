// From a picture and prompts to masks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engines/backends.hpp"
#include "engines/device_store.hpp"
#include "engines/engine.hpp"
#include "image/postprocess.hpp"
#include "image/preprocess.hpp"
#include "predictor/feeds.hpp"
#include "predictor/prompts.hpp"

namespace glesam::core {

/// The constant part that sessions share.
struct Model {
    Manifest manifest;
    std::string hash;
    Engines engines;
    Resize resize;
};

/// Segments one picture at a time. For several threads, give each its new_session().
class Predictor {
   public:
    explicit Predictor(std::shared_ptr<const Model> model);

    const Model& model() const { return *model_; }
    const glesam_timings& timings() const { return timings_; }

    /// The current picture's predicted degradation, 0 to 3; none where the bundle does not predict it or GLE is off.
    std::optional<float> degradation_level() const;
    std::unique_ptr<Predictor> new_session() const { return std::make_unique<Predictor>(model_); }

    void set_image(const glesam_image_view& view, const glesam_auxiliary_view* auxiliary = nullptr);
    void set_tensor(const glesam_tensor_view& view, const glesam_geometry& geometry);
    glesam_geometry geometry_of(int height, int width) const;
    glesam_prediction predict(const glesam_prompt* prompts, std::size_t count, bool multimask);
    glesam_device_prediction predict_on_device(const glesam_prompt* prompts, std::size_t count, bool multimask);

    // The steps, one by one, all in host memory. None of them touches the current picture.
    glesam_geometry preprocess(const glesam_image_view& view, float* input);
    // Features that the encoder gives, or that the decoder reads, lie one after the other.
    void encode(const float* input, float* encoded);
    void enhance(const float* encoded, float* features);
    glesam_prompt_feeds encode_prompts(const glesam_geometry& geometry, const glesam_prompt* prompts,
                                       std::size_t count);
    glesam_decoded decode(const float* features, const glesam_prompt_feeds& feeds);
    void postprocess(const glesam_geometry& geometry, const float* low_res_masks, std::size_t count,
                     std::uint8_t* masks);

    std::size_t input_size() const;     // elements of [3, S, S]
    std::size_t encoded_size() const;   // elements that the encoder gives
    std::size_t features_size() const;  // elements that the decoder reads

   private:
    void encode_picture(const Tensor& input, const glesam_geometry& geometry);
    bool takes_auxiliary() const;
    void check_auxiliary(const glesam_auxiliary_view& view, const glesam_image_view& picture) const;
    const std::vector<Tensor>& run_gle(const Tensor& embeddings, bool on_device);
    std::optional<float> level_of(const std::vector<Tensor>& outputs);
    void keep(Features features);
    glesam_decoded decode(const Features& features, const glesam_prompt_feeds& feeds);
    Tensor readable_input(const glesam_tensor_view& view);
    DeviceStore& device(const char* name, const char* refusal);
    Preprocessor& preprocessor_for(int height, int width);
    MaskResizer& mask_resizer_for(const glesam_geometry& geometry);
    void check_multimask() const;
    const glesam_geometry& current() const;
    void keep_candidates(const glesam_decoded& decoded, std::size_t first, std::size_t candidates);
    void check_finite() const;
    Error not_finite(const char* what) const;

    std::shared_ptr<const Model> model_;
    CheckedRequest image_encoder_;
    std::optional<CheckedRequest> gle_;
    CheckedRequest mask_decoder_;
    PromptEncoder prompt_encoder_;
    std::optional<DeviceStore> device_;  // if the backend computes on one
    glesam_timings timings_{};

    // Replaced only when the picture's size changes.
    std::optional<Preprocessor> preprocessor_;
    std::optional<MaskResizer> mask_resizer_;
    glesam_geometry mask_geometry_{};

    // The current picture.
    std::optional<glesam_geometry> picture_;
    std::optional<float> level_;
    Features features_;  // on the device, or in host_features_
    std::vector<float> host_features_;

    std::vector<float> auxiliary_;  // GLE's further input [S, S]; empty where it has none

    // Grown once, then reused: predict allocates nothing.
    std::vector<float> input_;
    std::vector<float> low_res_masks_;
    std::vector<float> iou_predictions_;
    std::vector<std::uint8_t> masks_;
};

}  // namespace glesam::core
