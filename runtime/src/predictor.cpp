#include "predictor.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "error.hpp"
#include "text.hpp"

namespace glesam::core {

namespace {

/// Writes the milliseconds of its own life.
class Timed {
   public:
    explicit Timed(double& milliseconds) : milliseconds_(milliseconds) {}
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;
    ~Timed() {
        milliseconds_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
    }

   private:
    double& milliseconds_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

bool same_geometry(const glesam_geometry& a, const glesam_geometry& b) {
    return a.original_height == b.original_height && a.original_width == b.original_width &&
           a.resized_height == b.resized_height && a.resized_width == b.resized_width && a.image_size == b.image_size &&
           a.direct_masks == b.direct_masks;
}

std::size_t squared(std::int64_t side) { return static_cast<std::size_t>(side) * static_cast<std::size_t>(side); }

const float* floats(const Tensor& tensor) { return static_cast<const float*>(tensor.data); }

}  // namespace

Predictor::Predictor(std::shared_ptr<const Model> model)
    : model_(std::move(model)),
      image_encoder_(*model_->engines.image_encoder),
      mask_decoder_(*model_->engines.mask_decoder),
      image_embeddings_(embeddings_size()),
      input_(input_size()) {
    if (model_->engines.gle) gle_.emplace(*model_->engines.gle);
}

std::size_t Predictor::input_size() const { return 3 * squared(model_->manifest.image_size); }

std::size_t Predictor::embeddings_size() const { return 256 * squared(model_->manifest.image_size / 16); }

void Predictor::set_image(const glesam_image_view& view) {
    glesam_geometry geometry{};
    {
        const Timed timed(timings_.preprocess_ms);
        geometry = preprocess(view, input_.data());
        mask_resizer_for(geometry);
    }
    const float* embeddings = nullptr;
    {
        const Timed timed(timings_.encode_ms);
        embeddings = encode(input_.data());
    }
    if (gle_) {
        const Timed timed(timings_.enhance_ms);
        embeddings = enhance(embeddings);
    }
    // A copy, 0.1 ms: a later picture that fails half-way leaves this one in place.
    std::copy(embeddings, embeddings + embeddings_size(), image_embeddings_.begin());
    picture_ = geometry;
}

glesam_prediction Predictor::predict(const glesam_prompt* prompts, std::size_t count, bool multimask) {
    if (multimask) check_multimask();
    const glesam_geometry& geometry = current();
    // Output 0 is SAM's single mask, 1 to 3 its candidates.
    const std::size_t candidates = multimask ? 3 : 1;
    {
        const Timed timed(timings_.decode_ms);
        const glesam_prompt_feeds feeds = encode_prompts(geometry, prompts, count);
        keep_candidates(decode(image_embeddings_.data(), feeds), multimask ? 1 : 0, candidates);
    }
    check_finite();
    const auto height = static_cast<std::size_t>(geometry.original_height);
    const auto width = static_cast<std::size_t>(geometry.original_width);
    {
        const Timed timed(timings_.postprocess_ms);
        masks_.resize(count * candidates * height * width);
        postprocess(geometry, low_res_masks_.data(), count * candidates, masks_.data());
    }
    return {masks_.data(),           iou_predictions_.data(),      low_res_masks_.data(),
            static_cast<int>(count), static_cast<int>(candidates), geometry.original_height,
            geometry.original_width, geometry.image_size / 4};
}

glesam_geometry Predictor::preprocess(const glesam_image_view& view, float* input) {
    const Pixels picture = pixels_of(view);
    Preprocessor& preprocessor = preprocessor_for(picture.height, picture.width);
    preprocessor(picture, input);
    return preprocessor.geometry();
}

const float* Predictor::encode(const float* input) {
    const std::int64_t side = model_->manifest.image_size;
    return floats(image_encoder_.run({{input, {1, 3, side, side}}}).front());
}

const float* Predictor::enhance(const float* image_embeddings) {
    if (!gle_) throw backend_error("gle: this predictor was opened without GLE; open it with enhance");
    const std::int64_t side = model_->manifest.image_size / 16;
    return floats(gle_->run({{image_embeddings, {1, 256, side, side}}}).front());
}

glesam_prompt_feeds Predictor::encode_prompts(const glesam_geometry& geometry, const glesam_prompt* prompts,
                                              std::size_t count) {
    return prompt_encoder_(prompts, count, geometry);
}

glesam_decoded Predictor::decode(const float* image_embeddings, const glesam_prompt_feeds& feeds) {
    const std::int64_t prompts = feeds.num_prompts;
    const std::int64_t points = feeds.num_points;
    const std::int64_t side = model_->manifest.image_size / 16;
    const auto& outputs = mask_decoder_.run({{image_embeddings, {1, 256, side, side}},
                                             {feeds.point_coords, {prompts, points, 2}},
                                             {feeds.point_labels, {prompts, points}},
                                             {feeds.mask_input, {prompts, 1, side * 4, side * 4}},
                                             {feeds.has_mask_input, {prompts}}});
    return {floats(outputs[0]), floats(outputs[1]), feeds.num_prompts};
}

void Predictor::postprocess(const glesam_geometry& geometry, const float* low_res_masks, std::size_t count,
                            std::uint8_t* masks) {
    MaskResizer& resizer = mask_resizer_for(geometry);
    const auto threshold = static_cast<float>(model_->manifest.mask_threshold);
    const std::size_t low_res = squared(geometry.image_size / 4);
    const std::size_t pixels =
        static_cast<std::size_t>(geometry.original_height) * static_cast<std::size_t>(geometry.original_width);
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

void Predictor::check_multimask() const {
    if (model_->manifest.multimask) return;
    throw prompt_error("model " + repr(model_->manifest.name) +
                       " has dead mask heads 1 to 3 (its decoder was trained with one mask output), so it has no "
                       "multimask; leave --multimask out");
}

const glesam_geometry& Predictor::current() const {
    if (!picture_) throw image_error("no picture yet: call set_image(image) before predict(...)");
    return *picture_;
}

/// Outputs first to first + candidates - 1 of each prompt's four.
void Predictor::keep_candidates(const glesam_decoded& decoded, std::size_t first, std::size_t candidates) {
    const auto count = static_cast<std::size_t>(decoded.num_prompts);
    const std::size_t low_res = squared(model_->manifest.image_size / 4);
    low_res_masks_.resize(count * candidates * low_res);
    iou_predictions_.resize(count * candidates);
    for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(decoded.low_res_masks + (i * 4 + first) * low_res, candidates * low_res,
                    &low_res_masks_[i * candidates * low_res]);
        std::copy_n(decoded.iou_predictions + i * 4 + first, candidates, &iou_predictions_[i * candidates]);
    }
}

void Predictor::check_finite() const {
    if (all_finite(low_res_masks_) && all_finite(iou_predictions_)) return;
    throw backend_error("the " + model_->manifest.precision +
                        " graphs gave NaN or infinite masks here; export the bundle with --precision fp32, and "
                        "report the picture");
}

}  // namespace glesam::core
