#include "predictor/predictor.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <utility>

#include "common/error.hpp"
#include "common/text.hpp"
#include "image/auxiliary.hpp"

namespace glesam::core {

namespace {

/// Writes the milliseconds of its lifetime.
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

constexpr int decoder_candidates = 4;  // per prompt: SAM's single mask, and three with multimask

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

}  // namespace

Predictor::Predictor(std::shared_ptr<const Model> model)
    : model_(std::move(model)),
      image_encoder_(*model_->engines.image_encoder),
      mask_decoder_(*model_->engines.mask_decoder),
      prompt_encoder_(model_->manifest.family),
      input_(input_size()) {
    if (model_->engines.gle) gle_.emplace(*model_->engines.gle);
    if (takes_auxiliary()) auxiliary_.resize(squared(model_->manifest.image_size));
    if (auto memory = model_->engines.image_encoder->new_device_memory()) {
        device_.emplace(std::move(memory));
    } else {
        host_features_.resize(features_size());
    }
}

void Predictor::set_image(const glesam_image_view& view, const glesam_auxiliary_view* auxiliary) {
    glesam_geometry geometry{};
    {
        const Timed timed(timings_.preprocess_ms);
        if (auxiliary != nullptr) check_auxiliary(*auxiliary, view);
        geometry = preprocess(view, input_.data());
        std::fill(auxiliary_.begin(), auxiliary_.end(), 0.0F);
        if (auxiliary != nullptr) write_auxiliary(*auxiliary, geometry, auxiliary_);
    }
    encode_picture(input_tensor(input_.data(), geometry.image_size), geometry);
}

void Predictor::set_tensor(const glesam_tensor_view& view, const glesam_geometry& geometry) {
    const Tensor input = readable_input(view);
    std::fill(auxiliary_.begin(), auxiliary_.end(), 0.0F);
    encode_picture(input, geometry);
}

bool Predictor::takes_auxiliary() const { return gle_ && model_->engines.gle->spec().inputs.size() > 1; }

void Predictor::check_auxiliary(const glesam_auxiliary_view& view, const glesam_image_view& picture) const {
    pixels_of(picture);  // refuses what is no picture first
    if (takes_auxiliary()) return core::check_auxiliary(view, picture.height, picture.width);
    const std::string name = repr(model_->manifest.name);
    throw image_error("auxiliary image: " + (gle_ ? "the GLE of model " + name + " has no such input" : "GLE is off") +
                      "; leave it out, or open a bundle whose GLE has it");
}

/// GLE on the picture's embeddings, and on the auxiliary image where it has that input.
const std::vector<Tensor>& Predictor::run_gle(const Tensor& embeddings, bool on_device) {
    const std::int64_t side = model_->manifest.image_size;
    const std::array<Tensor, 2> inputs{{embeddings, {auxiliary_.data(), {1, 1, side, side}}}};
    return on_device ? gle_->run_on_device(inputs.data()) : gle_->run(inputs.data());
}

void Predictor::encode_picture(const Tensor& input, const glesam_geometry& geometry) {
    mask_resizer_for(geometry);
    Features features;
    std::optional<float> level;
    {
        const Timed timed(timings_.encode_ms);
        const std::vector<Tensor>& encoded = image_encoder_.run_on_device(&input);
        features.count = encoded.size();
        std::copy(encoded.begin(), encoded.end(), features.tensors.begin());
    }
    if (gle_) {
        const Timed timed(timings_.enhance_ms);
        const auto& outputs = run_gle(features.tensors[0], true);
        features.tensors[0] = outputs.front();
        level = level_of(outputs);
    }
    keep(features);
    level_ = level;
    picture_ = geometry;
}

/// The degradation level among GLE's outputs, which are in the order of its spec.
std::optional<float> Predictor::level_of(const std::vector<Tensor>& outputs) {
    if (outputs.size() == 1) return std::nullopt;
    return device_ ? device_->first(outputs.back()) : outputs.back().floats()[0];
}

std::optional<float> Predictor::degradation_level() const {
    current();
    if (level_ && !std::isfinite(*level_)) throw not_finite("a NaN or infinite degradation level");
    return level_;
}

/// Copies the features, so that a later picture that fails leaves this one in place. 0.1 ms on the host.
void Predictor::keep(Features features) {
    if (device_) {
        device_->keep(features.tensors.data(), features.count);
        features_ = features;
        return;
    }
    copy_tensors(features.tensors.data(), features.count, host_features_.data());
    features_ = features_at(host_features_.data(), model_->engines.mask_decoder->spec().inputs);
}

glesam_prediction Predictor::predict(const glesam_prompt* prompts, std::size_t count, bool multimask) {
    if (multimask) check_multimask();
    const glesam_geometry& geometry = current();
    // Output 0 is SAM's single mask, 1 to 3 its candidates.
    const std::size_t candidates = multimask ? 3 : 1;
    {
        const Timed timed(timings_.decode_ms);
        const glesam_prompt_feeds feeds = encode_prompts(geometry, prompts, count);
        keep_candidates(decode(features_, feeds), multimask ? 1 : 0, candidates);
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

glesam_device_prediction Predictor::predict_on_device(const glesam_prompt* prompts, std::size_t count, bool multimask) {
    device("predict_on_device", "this backend keeps results on the host; call predict");
    if (multimask) check_multimask();
    const glesam_geometry& geometry = current();
    const Timed timed(timings_.decode_ms);
    const glesam_prompt_feeds feeds = encode_prompts(geometry, prompts, count);
    const auto& outputs = mask_decoder_.run_on_device(decoder_inputs(features_, feeds).data());
    const std::size_t first = multimask ? 1 : 0;
    return {outputs[0].floats() + first * squared(geometry.image_size / 4),
            outputs[1].floats() + first,
            feeds.num_prompts,
            multimask ? 3 : 1,
            decoder_candidates,
            geometry.image_size / 4,
            outputs[0].stream};
}

void Predictor::check_multimask() const {
    if (model_->manifest.multimask) return;
    throw prompt_error("model " + repr(model_->manifest.name) +
                       " has no multimask: its mask heads 1 to 3 are dead (its decoder was trained with one mask "
                       "output) or, as RobustSAM's, have no scores; call it without multimask, or the command "
                       "without --multimask");
}

const glesam_geometry& Predictor::current() const {
    if (!picture_) throw image_error("no picture yet: call set_image(image) before predict(...)");
    return *picture_;
}

/// Copies `candidates` of each prompt's four outputs, from `first` on.
void Predictor::keep_candidates(const glesam_decoded& decoded, std::size_t first, std::size_t candidates) {
    const auto count = static_cast<std::size_t>(decoded.num_prompts);
    const std::size_t low_res = squared(model_->manifest.image_size / 4);
    low_res_masks_.resize(count * candidates * low_res);
    iou_predictions_.resize(count * candidates);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t start = i * decoder_candidates + first;
        std::copy_n(decoded.low_res_masks + start * low_res, candidates * low_res,
                    &low_res_masks_[i * candidates * low_res]);
        std::copy_n(decoded.iou_predictions + start, candidates, &iou_predictions_[i * candidates]);
    }
}

void Predictor::check_finite() const {
    if (!all_finite(low_res_masks_) || !all_finite(iou_predictions_)) throw not_finite("NaN or infinite masks");
}

Error Predictor::not_finite(const char* what) const {
    return backend_error("the " + model_->manifest.precision + " graphs gave " + what +
                         " here; export the bundle with --precision fp32, and report the picture");
}

}  // namespace glesam::core
